import re
from pathlib import Path

import pytest
import torch

from esc_sr import Upscaler, load_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.models.packaged import default_weights, find_weights, packaged_weights
from esc_sr.tasks import evaluate

PACKAGED = packaged_weights()


def measured(path, *overrides):
    """Return PSNR-Y by set and network, "network" and "bicubic"."""
    found = {}
    scale = f"scale={load_model(path).scale}"
    for given in (f"checkpoint={path}", "model=bicubic"):
        cfg = compose_config("evaluate", [given, "device=cpu", scale, *overrides])
        (evaluation,) = evaluate.run(cfg)
        name = "bicubic" if "bicubic" in given else "network"
        found |= {(s, name): result.means()["psnr_y"] for s, result in evaluation.sets.items()}
    return found


@pytest.mark.parametrize("name", PACKAGED)
def test_they_are_small_half_precision_and_have_a_card(name):
    path = PACKAGED[name]
    assert path.stat().st_size <= 3 * 2**20
    checkpoint = read_checkpoint(name)
    assert checkpoint.path == path
    halves = [v.dtype == torch.float16 for v in checkpoint.state_dict.values() if v.ndim]
    assert sum(halves) > 0.9 * len(halves)
    network = load_model(name)
    assert name == f"{name.rpartition('_x')[0]}_x{network.scale}"
    card = path.with_name(f"{path.name}.md").read_text()
    for section in ("Training data", "Recipe", "Measured", "Limits"):
        assert f"## {section}\n" in card
    assert f"# {path.name}" in card
    assert "license:" in card


@pytest.mark.parametrize("name", PACKAGED)
def test_the_card_tells_what_evaluate_measures(name, shared_dir):
    """With photographs and benchmarks that no training has seen."""
    card = PACKAGED[name].with_name(f"{name}.safetensors.md").read_text()
    rows = dict(re.findall(r"^\| (Set\d+) \| .*?([\d.]+) \|.*$", card, re.MULTILINE))
    found = measured(name, "sets=[Set5]", f"benchmark_dir={shared_dir}/benchmarks")
    assert found["Set5", "network"] == pytest.approx(float(rows["Set5"]), abs=0.01)
    assert found["Set5", "network"] > found["Set5", "bicubic"] + 1


@pytest.mark.parametrize("name", PACKAGED)
def test_they_are_better_than_bicubic_on_the_packaged_photographs(name):
    found = measured(name, "sets=[sample]")
    assert found["sample", "network"] > found["sample", "bicubic"] + 0.4


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = next(iter(PACKAGED))
    assert find_weights(name) == PACKAGED[name]
    Path(name).write_bytes(b"mine")
    assert find_weights(name) == Path(name)


def test_the_next_larger_scale_serves():
    assert default_weights(1.5) == default_weights(2) == PACKAGED["esc_tiny_x2"]
    assert default_weights(3.5) == default_weights(4) == default_weights()
    with pytest.raises(InputError, match=r"no weights for scale=5 come with .* give your own"):
        default_weights(5)
    assert Upscaler(scale=3).scale == 3
