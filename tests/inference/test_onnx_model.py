"""What ONNX files say of themselves, made by hand; and files that are none, or want too much."""

import pytest

from esc_sr import Upscaler
from esc_sr.errors import InputError, MissingExtraError
from esc_sr.inference import onnx_model
from esc_sr.inference.onnx_model import read_onnx
from esc_sr.inference.onnx_network import OnnxNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def model_of(*nodes, inputs=None, outputs=None, weights=(), **changes):
    """Make a model; by default it takes `x` and makes `sr`, any sizes."""
    graph = helper.make_graph(
        nodes or [helper.make_node("Identity", ["x"], ["sr"])],
        "graph",
        inputs or [helper.make_tensor_value_info("x", FLOAT, ["b", 3, "h", "w"])],
        outputs or [helper.make_tensor_value_info("sr", FLOAT, [None] * 4)],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 18), *changes.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **changes)


def with_external_weights(folder, **entries):
    """Write a 1×1 convolution whose weights, 36 bytes, lie in another file."""
    weight = onnx.TensorProto(name="w", data_type=FLOAT, dims=[3, 3, 1, 1])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    node = helper.make_node("Conv", ["x", "w"], ["sr"])
    path = folder / "model.onnx"
    path.write_bytes(model_of(node, weights=[weight]).SerializeToString())
    return path


def test_it_is_read_without_its_weights(tmp_path):
    weight = helper.make_tensor("w", FLOAT, [6, 3, 1, 1], [0.5] * 18)
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [3])
    inside = helper.make_tensor("inside", FLOAT, [2, 2], [1.0] * 4)
    path = tmp_path / "model.onnx"
    model = model_of(
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Constant", [], ["c"], value=inside),
        helper.make_node("Sharpen", ["y", "shape"], ["sr"], domain="mine"),
        inputs=[
            helper.make_tensor_value_info("x", FLOAT, [-1, 3, "h", None]),
            helper.make_tensor_value_info("w", FLOAT, [6, 3, 1, 1]),  # has a default
        ],
        weights=[weight, shape],
        producer_name="somebody",
        producer_version="1.2",
        opsets=[helper.make_opsetid("mine", 1)],
    )
    helper.set_model_props(model, {"key": "text"})
    onnx.save(model, path)
    found = read_onnx(path)
    assert (found.producer, found.opsets) == ("somebody 1.2", {"": 18, "mine": 1})
    assert [str(port) for port in found.inputs] == ["x: float (?, 3, h, ?)"]
    assert found.parameters == 18 + 4  # no shapes
    assert found.num_nodes == 3
    assert found.foreign_operators == ("mine.Sharpen",)
    assert found.metadata == {"key": "text"}
    assert found.interface_problem is None
    with pytest.raises(InputError, match=r"does not have: mine\.Sharpen$"):
        OnnxNetwork(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no network at all, but a text", "truncated, damaged or something else"),
        (b"PK\x03\x04 an archive", "truncated, damaged or something else"),
        (model_of().SerializeToString()[:-20], "truncated, damaged or something else"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "holds no network"),
        (onnx.ModelProto(graph=model_of().graph).SerializeToString(), "holds no opset"),
    ],
)
def test_what_is_no_whole_onnx_is_refused(tmp_path, content, message):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    for read in (read_onnx, OnnxNetwork, Upscaler):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_one_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # of nothing
    with pytest.raises(InputError, match=r"has 2\.0 GiB, and an ONNX file at most 2"):
        read_onnx(path)


def test_folders_and_missing_packages_are_told(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is a folder"):
        read_onnx(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'esc-sr\[export\]'"):
        read_onnx(tmp_path / "x.onnx")


def test_weights_beside_the_file_are_found(tmp_path):
    path = with_external_weights(tmp_path, location="model.onnx.data", offset="4", length="36")
    (tmp_path / "model.onnx.data").write_bytes(b"\0" * 40)
    assert read_onnx(path).parameters == 9
    assert OnnxNetwork(path).scale == 1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../../etc/passwd"}, r"'\.\./\.\./etc/passwd', outside its folder: refused"),
        ({"location": "/etc/passwd"}, "outside its folder"),
        ({"location": "C:\\secrets"}, "outside its folder"),
        ({"location": "inner\\..\\..\\secrets"}, "outside its folder"),
        ({"location": "link"}, "outside its folder"),
        ({"location": "missing.data"}, "'missing.data', which is not beside it"),
        ({}, "which is not beside it"),
        ({"location": "short.data", "length": "36"}, "shorter than they are"),
        ({"location": "short.data", "offset": "-8"}, "shorter than they are"),
        ({"location": "short.data", "offset": "one"}, "cannot read .* as ONNX: invalid literal"),
    ],
)
def test_weights_that_are_not_there_or_elsewhere_are_refused(tmp_path, entries, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secrets").write_bytes(b"secret" * 10)
    (folder / "link").symlink_to(tmp_path / "secrets")
    (folder / "short.data").write_bytes(b"\0" * 35)
    path = with_external_weights(folder, **entries)
    for read in (read_onnx, OnnxNetwork):
        with pytest.raises(InputError, match=message):
            read(path)


def test_weights_are_looked_for_in_every_corner(tmp_path):
    """A constant within a branch is read by onnxruntime as any other."""
    tensor = onnx.TensorProto(name="c", data_type=FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secrets")
    out = helper.make_tensor_value_info("c", FLOAT, [1])
    for branch in (
        helper.make_graph([], "branch", [], [out], [tensor]),
        helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "b", [], [out]),
    ):
        node = helper.make_node("If", ["x"], ["sr"], then_branch=branch, else_branch=branch)
        path = tmp_path / "x.onnx"
        path.write_bytes(model_of(node).SerializeToString())
        with pytest.raises(InputError, match="outside its folder"):
            read_onnx(path)


def ports(*shapes, kind=FLOAT):
    return [helper.make_tensor_value_info(f"x{i}", kind, shape) for i, shape in enumerate(shapes)]


ANY = ["b", 3, "h", "w"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        (ports(ANY, ANY), ports(ANY), "it has 2 inputs and 1 outputs"),
        (ports([3, "h", "w"]), ports(ANY), r"its input has the shape \(3, h, w\)"),
        (ports(["b", 1, "h", "w"]), ports(ANY), r"its input has the shape \(b, 1, h, w\)"),
        (ports(ANY, kind=onnx.TensorProto.INT64), ports(ANY), "its input is int64"),
        (ports(None), ports(ANY), "its input has any shape"),
        (ports(["b", 3, 8, "w"]), ports(ANY), "of one height or width only"),
        (ports(ANY), ports(["b", 1000]), r"its output has the shape \(b, 1000\)"),
        (ports(ANY), ports(["b", 1, "H", "W"]), "its output has the shape"),
        (ports(ANY), ports(None), None),
        (ports([2, 3, 8, 9]), ports(ANY), None),
    ],
)
def test_another_interface_is_told_without_computing(tmp_path, inputs, outputs, problem):
    node = helper.make_node("Identity", [inputs[0].name], [outputs[0].name])
    path = tmp_path / "x.onnx"
    path.write_bytes(model_of(node, inputs=inputs, outputs=outputs).SerializeToString())
    found = onnx_model.read_onnx(path).interface_problem
    if problem is None:
        assert found is None
    else:
        with pytest.raises(
            InputError, match=f"has another interface: .*{problem}.*; needed is one"
        ):
            OnnxNetwork(path)
