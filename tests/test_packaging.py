"""The wheel holds everything and works from another directory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_code_configuration_and_photographs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for folder, where in ((ROOT / "src" / "esc_sr", "esc_sr"), (ROOT / "conf", "esc_sr/conf")):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{where}/{path.relative_to(folder)}" in inside
    assert "esc_sr/py.typed" in inside
    assert wheel.stat().st_size < 4 * 2**20


def test_the_wheel_trains_and_evaluates_from_any_directory(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    code = f"""
import esc_sr.config
from esc_sr.cli import main
print(esc_sr.config.__file__, esc_sr.config.conf_dir())
main({["train", "experiment=quickstart", "debug=fast", "run_dir=run", "trainer.accelerator=cpu"]})
print("trained")
main({["evaluate", "checkpoint=run/model.safetensors", "scale=2", "sets=[sample]"]})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=elsewhere, env=environment
    )
    assert done.returncode == 0, done.stderr
    where, _, rest = done.stdout.partition("\n")
    assert where.count(str(site)) == 2, where
    assert (elsewhere / "run" / "model.safetensors").is_file()
    assert "model.safetensors" in rest.partition("trained\n")[2]
