import json

import pytest
import torch

from esc_sr import create_model, save_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.profiling.macs import count_macs
from esc_sr.tasks import train
from esc_sr.tasks.info import describe, main

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}


@pytest.mark.parametrize("name", ["esc", "esc_lt", "esc_fp", "esc_attn", "esc_real", "esc_real_m"])
def test_variants_are_recognised(tmp_path, name):
    network = create_model(name, scale=4)
    facts = describe(save_model(network, tmp_path / "x.safetensors"))
    assert facts["variant"] == name
    assert facts["scale"] == 4
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert facts["multiply_adds_g"] == round(count_macs(network, (180, 320)) / 1e9, 1)
    assert facts["network"] == network.title


def test_what_differs_from_a_variant_is_said(tmp_path):
    network = create_model("esc", scale=2, attention="flash:sdpa", **TINY, dynamic_kernel=False)
    facts = describe(save_model(network, tmp_path / "x.safetensors"))
    assert facts["variant"].startswith("esc but dim=16, ")
    assert "dynamic_kernel=False" in facts["variant"]
    assert facts["network"] == "ESC (no dynamic kernel, fourier bias)"
    assert facts["attention"] == "1 × self-attention, fourier bias"
    assert "flash" in facts["kernels"]
    assert facts["sees"] == "windows of 8×8 by self-attention; 13×13 by each ConvAttn"


def test_files_of_others_say_where_their_weights_lie(tmp_path):
    network = create_model("esc", scale=2, **TINY, num_heads=2).half()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "x.pth")
    facts = describe(tmp_path / "x.pth")
    assert facts["kind"] == "weights under 'params_ema', averaged weights"
    assert facts["dtype"] == ["float16", "float32"]  # biases are never cast


def test_without_self_attention_there_is_no_kernel(tmp_path):
    network = create_model("esc", scale=2, attention="conv_attn", **TINY)
    facts = describe(save_model(network, tmp_path / "x.safetensors"))
    assert facts["attention"] == "none: each one is a ConvAttn"
    assert facts["kernels"] is None


def test_files_of_a_run_say_how_they_were_trained(tmp_path):
    changes = [f"model.{key}={value}" for key, value in TINY.items()]
    run = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch_size=1"]
    rest = ["callbacks=checkpoint", "final_table=false", "seed=3", f"paths.output_dir={tmp_path}"]
    train.run(compose_config("train", ["experiment=quickstart", *changes, *run, *rest]))
    checkpoint = describe(tmp_path / "checkpoints" / "best.ckpt")
    weights = describe(tmp_path / "model.safetensors")
    assert checkpoint["kind"].startswith("Lightning checkpoint, which training can resume")
    assert weights["kind"] == "weights with their configuration"
    assert (checkpoint["steps"], checkpoint["steps_wanted"], checkpoint["seed"]) == (2, 2, 3)
    assert weights["best"].startswith("val/psnr_y ")
    (tmp_path / "run.json").unlink()
    assert describe(tmp_path / "checkpoints" / "best.ckpt")["seed"] == 3  # it says so itself
    assert describe(tmp_path / "model.safetensors")["seed"] is None


def test_it_is_printed_and_given_as_json(tmp_path, capsys):
    network = create_model("esc", scale=2, **TINY, num_heads=2)
    path = str(save_model(network, tmp_path / "a[b].safetensors"))
    main([path])
    printed = capsys.readouterr().out
    assert "a[b].safetensors" in printed.replace("\n", "")
    assert "window_size=8×8" in printed
    main([path, path, "json=true"])
    assert json.loads(capsys.readouterr().out) == [describe(path)] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "checkpoint not found: "),
        (b"not weights", "it is damaged or holds objects other than tensors"),
        ({"conv_first.weight": torch.ones(3)}, r"not the weights of .*conv_first\.weight"),
    ],
)
def test_what_is_no_network_of_the_family_is_told_in_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        describe(path)
    with pytest.raises(SystemExit, match="1"):
        main([str(path)])
    assert capsys.readouterr().err.count("\n") == 1
