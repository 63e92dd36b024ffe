"""Networks in ONNX files, made by hand: what is taken, what is refused, what tiles give."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from esc_sr import Upscaler
from esc_sr.errors import InputError
from esc_sr.inference.onnx_network import OnnxNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def write(tmp_path):
    """Write a network that repeats pixels."""

    def make(
        *, shape=("b", 3, "h", "w"), factors=(1, 1, 2, 2), kind="FLOAT", outputs=1, metadata=None
    ):
        kind = getattr(onnx.TensorProto, kind)
        helper = onnx.helper
        scales = helper.make_tensor("scales", onnx.TensorProto.FLOAT, [4], factors)
        names = [f"sr{i}" for i in range(outputs)]
        graph = helper.make_graph(
            [helper.make_node("Resize", ["x", "", "scales"], [name]) for name in names],
            "nearest",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(name, kind, [None] * 4) for name in names],
            [scales],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, metadata or {})
        path = tmp_path / "network.onnx"
        onnx.save(model, path)
        return path

    return make


def repeated(lq, scale=2):
    return lq.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


@pytest.mark.parametrize("shape", [("b", 3, "h", "w"), (1, 3, "h", "w"), ("b", "c", "h", "w")])
def test_it_is_called_as_any_network(write, shape):
    network = OnnxNetwork(write(shape=shape))
    lq = torch.rand(3, 3, 5, 7)
    assert network.scale == 2
    assert network.window_size == (1, 1)
    assert torch.equal(network(lq), repeated(lq))


def test_half_precision_goes_in_and_single_comes_out(write):
    network = OnnxNetwork(write(kind="FLOAT16"))
    lq = torch.rand(1, 3, 5, 7)
    sr = network(lq)
    assert sr.dtype == torch.float32
    torch.testing.assert_close(sr, repeated(lq), atol=1e-3, rtol=0)


def test_what_it_says_of_itself_is_heeded(write):
    told = {"window_size": "[16, 8]", "bytes_per_pixel": "1000", "layout": "NCHW"}
    network = OnnxNetwork(write(metadata=told))
    assert network.window_size == (16, 8)
    assert network.bytes_per_pixel == 1000
    plan = Upscaler(network, memory_gib=1e-3).plan(100, 100)
    assert plan.method == "overlap"
    assert (plan.tile[0] % 16, plan.tile[1] % 8) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": 2}, "1 inputs and 2 outputs"),
        ({"shape": ("b", 1, "h", "w")}, "has the shape"),
        ({"shape": ("b", 3, "w")}, "has the shape|cannot read"),
        ({"kind": "DOUBLE"}, "double|cannot read"),
        ({"kind": "INT32"}, "int32|cannot read"),
        ({"factors": (1, 1, 1.5, 1.5)}, "no enlargement of RGB by a whole number"),
        ({"factors": (1, 1, 2, 3)}, "no enlargement"),
        ({"factors": (1, 2, 2, 2)}, "no enlargement"),
        ({"shape": ("b", 3, 8, "w")}, "one height or width only"),
        ({"metadata": {"value_range": "[0, 255]"}}, r"value_range is \[0, 255\]"),
        ({"metadata": {"layout": "NHWC"}}, "layout is NHWC"),
        ({"metadata": {"window_size": "wide"}}, "not understood"),
        ({"metadata": {"bytes_per_pixel": "0"}}, "cannot be"),
    ],
)
def test_another_interface_is_refused_in_one_line(write, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        OnnxNetwork(write(**changes))
    assert "\n" not in str(caught.value)


def test_what_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no network")
    with pytest.raises(InputError, match="cannot read"):
        OnnxNetwork(path)
    with pytest.raises(InputError, match="not found"):
        OnnxNetwork(tmp_path / "missing.onnx")


def test_a_picture_is_enlarged_in_tiles_as_in_one_piece(write):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 4), dtype=np.uint8)
    path = write()
    whole = Upscaler(path)(pixels)
    assert np.array_equal(whole, pixels.repeat(2, 0).repeat(2, 1))
    tiled = Upscaler(path, tiling="overlap", tile=16, overlap=4)
    assert tiled.plan(37, 53).method == "overlap"
    assert np.array_equal(tiled(pixels), whole)


def test_one_size_only_is_told(write):
    network = OnnxNetwork(write(shape=(1, 3, 8, 9)))
    assert network.fixed_size == (8, 9)
    assert network(torch.rand(1, 3, 8, 9)).shape == (1, 3, 16, 18)
    with pytest.raises(InputError, match="8×9 only, got 5×5"):
        network(torch.rand(1, 3, 5, 5))
    with pytest.raises(InputError, match="8×9 only: export it for any size"):
        Upscaler(network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "an ONNX file has its own"),
        ({"device": "cuda"}, "computes on the CPU"),
        ({"tiling": "exact"}, "not network.onnx"),
    ],
)
def test_what_the_file_does_not_leave_open_is_refused(write, options, message):
    with pytest.raises(InputError, match=message):
        Upscaler(write(), **options)


def test_onnxruntime_is_silenced_before_its_import_and_any_session(write, monkeypatch):
    done = []

    class Runtime:
        def disable_telemetry_events(self):
            done.append("silence")

        def __getattr__(self, name):
            done.append(name)
            return getattr(onnxruntime, name)

    def imported(name, extra):
        done.append((name, os.environ.get("ORT_DISABLE_TELEMETRY")))
        return Runtime()

    import onnxruntime

    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setattr("esc_sr.inference.onnx_network.require_extra", imported)
    OnnxNetwork(write())
    assert done[:2] == [("onnxruntime", "1"), "silence"]
    assert "InferenceSession" in done


def test_one_place_only_imports_onnxruntime():
    root = Path(__file__).parents[2]
    imports = re.compile(
        r"^[ \t]*(?:import|from) onnxruntime|(?:require_extra|import_module)\(\s*.onnxruntime", re.M
    )
    found = [
        path.name
        for folder in ("src/esc_sr", "benchmarks")
        for path in sorted((root / folder).rglob("*.py"))
        for match in imports.finditer(path.read_text(encoding="utf-8"))
        # The example for readers, which is text and not code of ours.
        if path.name != "model_card.py"
    ]
    assert found == ["onnx_network.py"]
