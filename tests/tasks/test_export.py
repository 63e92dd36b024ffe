import json
import pickletools
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from esc_sr import create_model, load_model, save_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.files import file_digest
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.models.peers.rdn import RDN
from esc_sr.tasks import export, upscale

TINY = {
    "dim": 8,
    "partial_dim": 4,
    "num_blocks": 1,
    "num_conv_attn": 1,
    "window_size": 4,
    "num_heads": 2,
    "large_kernel_size": 5,
}


def exported(checkpoint, *overrides):
    return export.run(compose_config("export", [f"checkpoint={checkpoint}", *map(str, overrides)]))


def network_with_all_parts_at_work(name="esc", scale=2, **changes):
    torch.manual_seed(0)
    network = create_model(name, scale=scale, **{**TINY, **changes})
    for parameter in network.parameters():
        if parameter.ndim > 0 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # such as the dynamic kernels
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    network = network_with_all_parts_at_work()
    return save_model(network, tmp_path_factory.mktemp("weights") / "model.safetensors")


@pytest.fixture(scope="module")
def onnx_export(checkpoint):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return exported(checkpoint, "license=MIT")


def test_onnx_takes_any_size_and_batch(onnx_export, checkpoint):
    assert onnx_export.output == checkpoint.with_name("model.onnx")
    assert len(onnx_export.check.cases) >= 6
    assert {case.size[0] for case in onnx_export.check.cases} == {1, 2, 3}
    assert onnx_export.check.max_error < 1e-5
    network, original = OnnxNetwork(onnx_export.output), load_model(checkpoint)
    for shape in [(2, 3, 1, 9), (1, 3, 6, 11), (4, 3, 8, 4)]:
        lq = torch.rand(shape)
        with torch.inference_mode():
            torch.testing.assert_close(network(lq), original(lq), atol=1e-5, rtol=0)


def test_onnx_says_what_it_is_and_not_where_it_was_made(onnx_export, checkpoint):
    network = OnnxNetwork(onnx_export.output)
    told = dict(network.metadata)
    assert told == onnx_export.metadata
    assert (told["scale"], told["license"], told["value_range"]) == ("2", "MIT", "[0, 1]")
    assert told["source_digest"] == file_digest(checkpoint)
    assert json.loads(told["config"])["geometric_ensemble"] is False  # folded
    assert network.window_size == (4, 4)
    assert network.scale == 2
    content = onnx_export.output.read_bytes()
    assert b"esc_sr/" not in content  # no traces of the source
    assert str(checkpoint.parent).encode() not in content


def test_the_card_tells_what_was_checked_and_how_it_is_used(onnx_export):
    assert onnx_export.card.name == "model.onnx.md"
    text = onnx_export.card.read_text()
    assert text.startswith('---\nlicense: "MIT"\n')
    assert "any B, H and W" in text
    for case in onnx_export.check.cases:
        assert f"| {case} | {case.max_error:.1e} |" in text
    (code,) = (part.partition("```")[0] for part in text.split("```python\n")[1:])
    names: dict = {}
    exec(code.replace('"model.onnx"', repr(str(onnx_export.output))), names)
    assert names["sr"].shape == (1, 3, 90, 160)


def test_upscale_gives_the_pictures_of_torch(onnx_export, checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (19, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    results = []
    for weights, *options in (
        [checkpoint],
        [onnx_export.output],
        [onnx_export.output, "--backend", "onnxruntime", "--self-ensemble"],
        [checkpoint, "--self-ensemble"],
    ):
        out = tmp_path / f"{len(results)}.png"
        arguments = [str(tmp_path / "a.png"), "-o", str(out), "--checkpoint", str(weights)]
        assert upscale.run(upscale.parser().parse_args([*arguments, *options])) == 0
        results.append(np.asarray(Image.open(out)).astype(int))
    torch_sr, onnx_sr, onnx_ensemble, torch_ensemble = results
    assert np.abs(torch_sr - onnx_sr).max() <= 1
    assert np.abs(torch_ensemble - onnx_ensemble).max() <= 1
    assert np.abs(torch_sr - torch_ensemble).max() > 1  # the comparison can fail


def test_safetensors_are_folded_and_loaded_by_load_model(checkpoint):
    done = exported(checkpoint, "format=safetensors", "overwrite=true", "license=CC0-1.0")
    assert done.output.name == "model_export.safetensors"
    loaded, original = load_model(done.output), load_model(checkpoint)
    assert not loaded.geometric_ensemble
    lq = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(loaded(lq), original(lq))
    # What is known of the weights stays known.
    assert exported(done.output, "format=pth", "overwrite=true").metadata["license"] == "CC0-1.0"


def test_pth_holds_tensors_and_plain_values_under_the_authors_names(checkpoint):
    done = exported(checkpoint, "format=pth", "overwrite=true")
    content = torch.load(done.output, weights_only=True)
    names = load_model(checkpoint).state_dict().keys()
    assert content["params"].keys() == content["params_ema"].keys() == names
    for key in ("params", "params_ema"):
        load_model(checkpoint).load_state_dict(content[key], strict=True)
        assert all(type(value) is torch.Tensor for value in content[key].values())
    assert content["network_config"]["architecture"] == "ESC"
    assert all(type(value) is str for value in content["metadata"].values())
    with zipfile.ZipFile(done.output) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        found = {
            argument
            for code, argument, _ in pickletools.genops(archive.read(name))
            if code.name in ("GLOBAL", "STACK_GLOBAL")
        }
    assert found <= {
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "collections OrderedDict",
    }
    numbers = sum(value.nbytes for value in content["params"].values())
    assert done.output.stat().st_size < 2 * numbers  # stored once


def test_half_the_bytes_in_fp16(checkpoint):
    done = exported(checkpoint, "format=safetensors", "precision=fp16", "overwrite=true")
    assert done.output.name == "model_export_fp16.safetensors"
    assert 0 < done.check.max_error < 5e-3
    assert load_model(done.output).last.weight.dtype == torch.float32


def test_other_networks_are_exported_as_weights_too(tmp_path):
    network = RDN(scale=2, growth=4, num_layers=2, num_blocks=2, dim=8)
    torch.save(network.state_dict(), tmp_path / "rdn.pth")
    arguments = ["growth=4", "num_layers=2", "num_blocks=2", "dim=8"]
    done = exported(
        tmp_path / "rdn.pth",
        "format=safetensors",
        "model=rdn",
        "scale=2",
        *(f"model.{argument}" for argument in arguments),
    )
    assert done.metadata["architecture"] == "RDN"
    assert "config" not in done.metadata


def test_what_differs_is_not_written(checkpoint, tmp_path):
    output = tmp_path / "new" / "model.pth"
    with pytest.raises(InputError, match="more than tolerance=1e-12: nothing was written"):
        exported(checkpoint, "format=pth", "precision=fp16", "tolerance=1e-12", f"output={output}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["format=torchscript"], "format=torchscript is not written"),
        (["format=coreml"], "unknown format 'coreml'"),
        (["precision=bf16"], "unknown precision 'bf16'"),
        (["format=pth", "lq_size=[4,4]"], "leave lq_size out"),
        (["format=torch_export", "lq_size=4"], r"lq_size is \[height,width\]"),
        (["format=torch_export", "lq_size=[4,0]"], r"lq_size\[1\] must be an integer"),
        (["format=torch_export", "batch_size=2"], "leave batch_size out"),
        (["format=pth", "tolerance=0"], "tolerance must be"),
        (["format=pth", "license=''"], "license must be"),
        (["format=pth", "scale=3"], "enlarges ×2, scale=3 was asked for"),
        (["format=pth", "output=model.onnx"], "needs a .pth file"),
        (["format=pth", "model=rdn"], "scale is needed"),
    ],
)
def test_wrong_values_are_refused_at_once(checkpoint, overrides, message):
    with pytest.raises(InputError, match=message):
        exported(checkpoint, "overwrite=true", *overrides)


@pytest.mark.parametrize("opset", [9, 999])
def test_an_opset_that_cannot_be_written_is_refused(checkpoint, opset):
    pytest.importorskip("onnxscript")
    with pytest.raises(InputError, match="opset"):
        exported(checkpoint, f"opset={opset}")


def test_files_are_not_overwritten_by_chance(checkpoint):
    safetensors = ["format=safetensors", "output=" + str(checkpoint)]
    with pytest.raises(InputError, match="is the checkpoint itself"):
        exported(checkpoint, *safetensors, "overwrite=true")
    taken = checkpoint.with_name("taken.pth")
    taken.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        exported(checkpoint, "format=pth", f"output={taken}")
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "onnxruntime"], "needs an .onnx file"),
        (["--checkpoint", "other.onnx", "--backend", "torch"], "does not compute other.onnx"),
        (["--checkpoint", "other.onnx", "--attention", "eager"], "written in the file"),
    ],
)
def test_upscale_refuses_a_backend_that_does_not_fit(checkpoint, tmp_path, options, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "-o", "b.png", "--checkpoint", str(checkpoint)]
    with pytest.raises(InputError, match=message):
        upscale.run(upscale.parser().parse_args([*arguments, *options]))


@pytest.mark.slow
def test_one_size_and_half_precision(checkpoint, onnx_export, tmp_path):
    done = exported(
        checkpoint, "lq_size=[9,14]", "batch_size=2", f"output={tmp_path / 'fixed.onnx'}"
    )
    assert {case.size for case in done.check.cases} == {(2, 9, 14)}
    assert "only B = 2, H = 9, W = 14" in done.card.read_text()
    assert OnnxNetwork(done.output).fixed_size == (9, 14)
    half = exported(checkpoint, "precision=fp16", "opset=20", f"output={tmp_path / 'half.onnx'}")
    assert 0 < half.check.max_error < 5e-3
    assert half.output.stat().st_size < onnx_export.output.stat().st_size
