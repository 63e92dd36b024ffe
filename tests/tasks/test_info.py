import json
import sys

import pytest
import torch

from esc_sr import create_model, load_model, save_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.export.metadata import metadata_of
from esc_sr.export.program import deployable
from esc_sr.export.torch_program import read_metadata, write_program
from esc_sr.models.peers.rdn import RDN
from esc_sr.profiling.macs import count_macs
from esc_sr.tasks import train
from esc_sr.tasks.info import describe, main
from tiny import NETWORK as TINY


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
        (b"not weights", "it is damaged, or no file of weights at all"),
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


def test_of_several_files_the_others_are_told(tmp_path, capsys):
    path = save_model(create_model("esc", scale=2, **TINY), tmp_path / "x.safetensors")
    (tmp_path / "y.pth").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="1"):
        main([str(tmp_path / "y.pth"), str(path), "json=true"])
    captured = capsys.readouterr()
    broken, known = json.loads(captured.out)
    assert broken.keys() == {"file", "error"}
    assert known["scale"] == 2
    assert captured.err == f"esc-sr: error: 1 of 2 tell nothing: {tmp_path / 'y.pth'}\n"


@pytest.fixture(scope="module")
def onnx():
    return pytest.importorskip("onnx")


def write_onnx(onnx, path, *, metadata=None, factor=3.0, shape=("b", 3, "h", "w")):
    """Write a network that repeats pixels."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    scales = helper.make_tensor("scales", kind, [4], [1, 1, factor, factor])
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["sr"])],
        "nearest",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("sr", kind, [None] * 4)],
        [scales],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(
        graph, opset_imports=[opset], ir_version=10, producer_name="x", producer_version="2"
    )
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def told_by_export(network, **changes):
    made = deployable(network)
    told = metadata_of(made, scale=network.scale, precision="fp16", source=None, license="MIT")
    return told | {"source": "a.pth", "source_digest": "0123"} | changes


def test_an_onnx_of_ours_is_what_it_says(tmp_path, onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # nothing is computed
    network = create_model("esc_lt", scale=4)
    facts = describe(write_onnx(onnx, tmp_path / "x.onnx", metadata=told_by_export(network)))
    weights = describe(save_model(network, tmp_path / "x.safetensors"))
    for key in ("network", "variant", "scale", "parameters", "multiply_adds_g", "sees"):
        assert facts[key] == weights[key]
    assert facts["kind"].startswith("ONNX program, written by esc_sr ")
    assert (facts["dtype"], facts["license"], facts["opset"]) == ("fp16", "MIT", 18)
    assert facts["made_of"] == "a.pth, SHA-256 0123"
    assert (facts["takes"], facts["images"]) == ("any size", "NCHW, RGB, [0, 1], sRGB")
    one = told_by_export(network, lq_size="[9, 14]")
    fixed = describe(write_onnx(onnx, tmp_path / "x.onnx", metadata=one))
    assert fixed["takes"] == "images of 9×14 only"


def test_of_other_networks_of_ours_the_file_is_counted(tmp_path, onnx):
    told = told_by_export(RDN(scale=2, growth=4, num_layers=2, num_blocks=2, dim=8))
    facts = describe(write_onnx(onnx, tmp_path / "x.onnx", metadata=told))
    assert (facts["network"], facts["scale"], facts["parameters"]) == ("RDN", 2, 4)
    assert "multiply_adds_g" not in facts


def test_the_scale_of_an_onnx_of_others_is_measured(tmp_path, onnx, monkeypatch):
    pytest.importorskip("onnxruntime")
    path = write_onnx(onnx, tmp_path / "x.onnx")
    facts = describe(path)
    assert (facts["kind"], facts["scale"], facts["upscale"]) == ("ONNX program of x 2", 3, None)
    assert facts["inputs"] == ["x: float (b, 3, h, w)"]
    assert facts["outputs"] == ["sr: float (?, ?, ?, ?)"]
    facts = describe(write_onnx(onnx, tmp_path / "y.onnx", factor=1.5))
    assert facts["scale"] is None
    assert "which is no enlargement of RGB by a whole number" in facts["upscale"]
    facts = describe(write_onnx(onnx, tmp_path / "z.onnx", shape=("b", 4, "h", "w")))
    assert facts["upscale"] == "cannot run it: its input has the shape (b, 4, h, w)"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    facts = describe(path)
    assert facts["scale"] is None
    assert "pip install 'esc-sr[export]'" in facts["upscale"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "two"}, "not understood: invalid literal"),
        ({"lq_size": "[9,"}, "not understood"),
        ({"config": "[]"}, "its config is no mapping"),
        ({"config": "{"}, "not understood"),
        ({"config": '{"num_blocks": 1000000, "num_conv_attn": 5}'}, "num_blocks=1000000"),
        ({"config": '{"num_blocks": 1, "num_conv_attn": 1}'}, "of no network .*architecture"),
    ],
)
def test_what_an_onnx_cannot_mean_is_told_in_one_line(tmp_path, onnx, changes, message):
    told = told_by_export(create_model("esc", scale=2, **TINY, num_heads=2), **changes)
    with pytest.raises(InputError, match=message):
        describe(write_onnx(onnx, tmp_path / "x.onnx", metadata=told))


def test_a_program_of_torch_export_says_what_it_is(tmp_path):
    network = create_model("esc", scale=2, **TINY, num_heads=2)
    told = told_by_export(network)
    program = torch.export.export(torch.nn.Upsample(scale_factor=2), (torch.rand(1, 3, 4, 4),))
    path = tmp_path / "x.pt2"
    write_program(program, path, metadata=told)
    assert read_metadata(path) == told
    facts = describe(path)
    assert facts["kind"].startswith("torch.export program, written by esc_sr ")
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert (facts["scale"], facts["license"]) == (2, "MIT")
    write_program(program, path, metadata={})
    with pytest.raises(InputError, match="was not written by `esc-sr export`"):
        describe(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated, damaged or something else"):
        describe(path)
    with pytest.raises(InputError, match="checkpoint not found"):
        describe(tmp_path / "missing.pt2")


@pytest.mark.parametrize("name", ["x.onnx", "x.pt2"])
def test_damaged_programs_end_in_one_line(tmp_path, capsys, onnx, name):
    path = tmp_path / name
    path.write_bytes(b"no program")
    with pytest.raises(SystemExit, match="1"):
        main([str(path)])
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match="is an exported program, not weights"):
        load_model(path)
