"""Every script of benchmarks/ runs, at the smallest size that it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from esc_sr import create_model, save_model
from esc_sr.data.sample import sample_dir

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
SHARED = {"in_turn", "photograph"}
# Trains networks: what it runs is tested as `esc-sr train`.
LONG = {"attention_bias"}
SMALL = {
    "attention": "--model esc_lt --lq 16x24 --windows 8 --rounds 2 "
    "--attention eager sdpa flash:math flash:sdpa:48 flash:flash_attn",
    "attention_bias": "model.dim=16 model.window_size=8 data.train.crop_size=16 data.batch_size=1 "
    "trainer.max_steps=4 trainer.val_check_interval=2 scheduler.warmup_steps=0 "
    "--train PHOTOS --valid PHOTOS --seeds 0 1 --biases table axial",
    "growth": "--windows 8 16 --window-side 16 --sides 16 32 --rounds 1",
    "fast": "--model esc_lt --lq 16x24 --rounds 2",
    "layers": "--sides 32 --rounds 2",
    "fourier_fit": "--checkpoint CHECKPOINT --window 6 --ranks 2 4",
    "training": "--models esc_lt --batch-size 1 --crop 16 --rounds 1",
    "data_loading": "--workers 0 1 --batches 1 --rounds 1",
    "resize": "--rounds 1",
    "onnx": "--checkpoint CHECKPOINT --lq 16x24 --rounds 2",
    "tiling_seams": "CHECKPOINT --side 64 --tile 32",
    "upscale_memory": "--model esc_lt --size 60x40",
    "before_after": "PHOTO@8,16 -o out.png --size 16",
}
# Print no table, but this.
PRINTED = {"upscale_memory": "working memory", "before_after": "out.png: "}


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(SMALL))
def test_script_prints_a_table(script, tmp_path):
    arguments = SMALL[script].split()
    if "CHECKPOINT" in arguments:
        network = create_model("esc_lt", scale=2, num_blocks=1, num_conv_attn=1, window_size=16)
        checkpoint = save_model(network, tmp_path / "small_x2.safetensors")
        arguments = [str(checkpoint) if a == "CHECKPOINT" else a for a in arguments]
    photos = sample_dir("valid")
    arguments = [str(photos) if a == "PHOTOS" else a for a in arguments]
    arguments = [a.replace("PHOTO@", f"{next(photos.iterdir())}@") for a in arguments]
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    if script in PRINTED:
        assert PRINTED[script] in done.stdout
        return
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) >= 4
    assert "nan" not in done.stdout


def test_no_script_is_left_out():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == SMALL.keys() | SHARED | LONG
