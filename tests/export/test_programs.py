"""Every network there is, tiny and with all parts at work, as a program for any size."""

import zipfile

import pytest
import torch

from esc_sr import create_model
from esc_sr.attention import SelfAttention
from esc_sr.attention.bias import AxialBias, FourierBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.errors import InputError
from esc_sr.export.check import compare, sizes_to_check
from esc_sr.export.metadata import metadata_of
from esc_sr.export.onnx_file import DEFAULT_OPSET, write_onnx
from esc_sr.export.program import deployable, least_side, program_of
from esc_sr.export.torch_program import read_program, write_program
from esc_sr.inference.onnx_model import read_onnx
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.models.peers.rcan import RCAN
from esc_sr.models.peers.rdn import RDN
from esc_sr.models.peers.swinir import SwinIRLight

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

TINY = {
    "dim": 8,
    "partial_dim": 4,
    "num_blocks": 1,
    "num_conv_attn": 1,
    "window_size": 4,
    "num_heads": 2,
    "large_kernel_size": 5,
}


def at_work(network):
    """Give random values to what is zero at first, such as the dynamic kernels."""
    for parameter in network.parameters():
        if parameter.ndim > 0 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def of(name="esc", scale=2, **changes):
    return lambda: create_model(name, scale=scale, **{**TINY, **changes})


def real_m(upsampler, scale, unshuffle):
    return of("esc_real_m", scale, upsampler=upsampler, unshuffle=unshuffle, mid_dim=8)


def with_bias(bias):
    return of(attention=SelfAttention(bias=bias, kernel=EagerKernel()))


PEERS = {
    "rdn": lambda: RDN(scale=2, growth=4, num_layers=2, num_blocks=2, dim=8),
    "rdn x3": lambda: RDN(scale=3, growth=4, num_layers=2, num_blocks=2, dim=8),
    "rcan": lambda: RCAN(scale=4, dim=8, num_groups=1, num_blocks=2, reduction=4),
    "swinir_light": lambda: SwinIRLight(
        scale=2, dim=8, num_groups=1, num_blocks=2, num_heads=2, window_size=4
    ),
}
FAMILY = {
    "esc": of(),
    "esc x1": of(scale=1),
    "esc_lt x4": of("esc_lt", 4, num_blocks=2),
    "esc_fp": of("esc_fp"),
    "esc_fp x3": of("esc_fp", 3),
    "esc_attn": of("esc_attn"),
    "esc_real": of("esc_real", 4),
    "real_m direct": real_m("pixelshuffledirect", 3, False),
    "real_m direct, blocks of 2x2": real_m("pixelshuffledirect", 2, True),
    "real_m pixelshuffle": real_m("pixelshuffle", 4, False),
    "real_m pixelshuffle, blocks of 2x2": real_m("pixelshuffle", 2, True),
    "real_m nearest": real_m("nearest+conv", 2, False),
    "real_m nearest, blocks of 2x2": real_m("nearest+conv", 2, True),
    "real_m nearest, blocks of 4x4": real_m("nearest+conv", 1, True),
    "real_m dysample": real_m("dysample", 3, False),
    "real_m transpose": real_m("transpose+conv", 4, False),
    "real_m conv": real_m("conv", 1, False),
    "conv_attn": of(attention="conv_attn"),
    "conv_attn, fp": of("esc_fp", attention="conv_attn"),
    "axial": with_bias(AxialBias()),
    "fourier": with_bias(FourierBias()),
    "rectangular window": of(window_size=[4, 6]),
    "use_ln": of(use_ln=True),
    "no use_ln": of("esc_fp", use_ln=False),
    "own kernels": of(shared_large_kernel=False),
    "own kernels, fp": of("esc_fp", shared_large_kernel=False),
    "no dynamic kernel": of(dynamic_kernel=False),
    "no ConvAttn": of(num_conv_attn=0),
}
FAST = {"rcan"}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=[] if name in FAST else [pytest.mark.slow])
        for name, build in (PEERS | FAMILY).items()
    ],
)
def test_every_network_becomes_a_program_for_any_size(build, tmp_path):
    network = at_work(build())
    made = deployable(network)
    told = metadata_of(made, scale=network.scale, precision="fp32", source=None, license=None)
    program = program_of(made)
    write_onnx(program, tmp_path / "x.onnx", opset=DEFAULT_OPSET, metadata=told)
    write_program(program, tmp_path / "x.pt2", metadata=told)
    read, in_archive = read_program(tmp_path / "x.pt2")
    in_onnx = OnnxNetwork(tmp_path / "x.onnx")
    window = getattr(network, "window_size", (1, 1))
    sizes = sizes_to_check(window, least=least_side(network))
    for exported in (read, in_onnx):
        compare(network, exported, sizes, tolerance=1e-5)
    assert in_archive == in_onnx.metadata == told
    assert in_onnx.scale == network.scale
    (given,) = read_onnx(tmp_path / "x.onnx").inputs
    assert str(given) == "lq: float (batch, 3, height, width)"
    with zipfile.ZipFile(tmp_path / "x.pt2") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert str(tmp_path).encode() not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swinir_light", "real_m nearest, blocks of 2x2"])
def test_every_network_becomes_a_program_for_one_size(name, tmp_path):
    network = at_work((PEERS | FAMILY)[name]())
    program = program_of(deployable(network), lq_size=(9, 14), batch_size=2)
    write_onnx(program, tmp_path / "x.onnx", opset=DEFAULT_OPSET, metadata={})
    exported = OnnxNetwork(tmp_path / "x.onnx")
    assert exported.fixed_size == (9, 14)
    compare(network, exported, [(2, 9, 14)], tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [20, 21, 22, 23])
def test_opsets_that_are_newer(opset, tmp_path):
    network = at_work(FAMILY["rectangular window"]())
    write_onnx(program_of(deployable(network)), tmp_path / "x.onnx", opset=opset, metadata={})
    assert read_onnx(tmp_path / "x.onnx").opsets[""] == opset
    compare(network, OnnxNetwork(tmp_path / "x.onnx"), [(2, 5, 9), (1, 1, 1)], tolerance=1e-5)


def test_an_opset_is_written_or_refused(tmp_path, capfd):
    """PyTorch's exporter goes on where its conversion fails, and leaves what nobody reads."""
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.GELU())
    newest = onnx.defs.onnx_opset_version()
    try:
        write_onnx(program_of(layers), tmp_path / "x.onnx", opset=newest, metadata={})
    except InputError as error:
        assert f"of opset {newest}: PyTorch's exporter stays at 18" in str(error)  # noqa: PT017
        assert not list(tmp_path.iterdir())
        assert capfd.readouterr() == ("", "")
    else:
        assert read_onnx(tmp_path / "x.onnx").opsets[""] == newest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["esc", "esc_fp", "rcan"])
def test_half_precision(name, tmp_path):
    network = at_work((PEERS | FAMILY)[name]())
    program = program_of(deployable(network, precision="fp16"))
    write_onnx(program, tmp_path / "x.onnx", opset=DEFAULT_OPSET, metadata={})
    exported = OnnxNetwork(tmp_path / "x.onnx")
    sizes = sizes_to_check(getattr(network, "window_size", (1, 1)))
    assert compare(network, exported, sizes, tolerance=2e-2).max_error > 0
