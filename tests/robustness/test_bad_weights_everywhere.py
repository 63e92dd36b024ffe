"""Bad files of weights and programs through every command that reads one.

What is refused and why is tested in `tests/models/test_bad_weights.py`; here, that no command lets
it through in another way.
"""

import io
import os
import pickle
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from broken import RUN
from tiny import TRAINING

SR = ["sets=[sample]", "device=cpu"]
# By command, what stands around the name of the file.
COMMANDS = {
    "upscale": lambda file: ["upscale", "in.png", "-o", "out.png", "--checkpoint", file],
    "evaluate": lambda file: ["evaluate", file, *SR, "output_dir=out"],
    "info": lambda file: ["info", file],
    "export": lambda file: ["export", file, "format=pth", "-o", "out.pth"],
    "convert": lambda file: ["convert", file, "bias=fourier", "rank=4", "-o", "out.safetensors"],
    "analyze": lambda file: ["analyze", "kind=kernels", f"checkpoint='{file}'", "output_dir=out"],
    "init_from": lambda file: ["train", *TRAINING, "run_dir=r", f"init_from='{file}'"],
    "ckpt_path": lambda file: ["train", *TRAINING, "run_dir=r", f"ckpt_path='{file}'"],
}


class Calls:
    def __reduce__(self):
        return os.system, ("touch executed",)


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def bad(weights):
    state = load_file(weights)
    whole = saved(state)
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x/data.pkl", b"cposix\nsystem\n(S'touch executed'\ntR.")
        hostile_zip = buffer.getvalue()
    return {
        "cut.pth": whole[: len(whole) // 2],
        "without last byte.safetensors": save(state)[:-1],
        "empty.ckpt": b"",
        "picture.pth": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "pickle.pth": pickle.dumps(Calls()),
        "saved pickle.ckpt": saved({"state_dict": state, "hyper_parameters": Calls()}),
        "zip.pth": hostile_zip,
        "other keys.pth": saved({"params": {"body.0.rdb1.conv1.weight": torch.ones(1)}}),
        "no tensors.pth": saved({"params": {}}),
        "huge.pth": saved({**state, "last.weight": torch.zeros(10**6, 1)}),
    }


@pytest.fixture
def here(tmp_path, weights):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    for name, content in bad(weights).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", ["cut.pth", "saved pickle.ckpt", "other keys.pth"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses(attack, here, command, name):
    attack(*COMMANDS[command](name), named=name, leaves=RUN)


@pytest.mark.parametrize("command", ["upscale", "info"])
def test_every_file_is_refused(attack, here, weights, command):
    for name in bad(weights):
        attack(*COMMANDS[command](name), named=name)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_file_is_refused_by_every_command(attack, here, weights, command):
    for name in bad(weights):
        attack(*COMMANDS[command](name), named=name, leaves=RUN)
        shutil.rmtree(here / "r", ignore_errors=True)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("command", ["upscale", "evaluate", "export", "convert"])
def test_weights_that_are_no_numbers_give_no_result(attack, here, weights, command, value):
    state = load_file(weights)
    state["last.bias"] = torch.full_like(state["last.bias"], value)
    save_file(state, here / "nan.safetensors")
    told = attack(*COMMANDS[command]("nan.safetensors"), many=command == "upscale")
    assert len(told.lines) == 1


PROGRAMS = {
    "noise.onnx": bytes(range(256)) * 8,
    "empty.onnx": b"",
    "text.onnx": b"onnx",
    "noise.pt2": bytes(range(256)) * 8,
    "empty.pt2": b"",
    "pickle.pt2": b"cposix\nsystem\n(S'touch executed'\ntR.",
}


def program(inputs, outputs, nodes=(("Identity", "x", "y"),)):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper

    def ports(described):
        return [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in described]

    graph = helper.make_graph(
        [helper.make_node(kind, [a], [b]) for kind, a, b in nodes],
        "g",
        ports(inputs),
        ports(outputs),
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def interfaces():
    image = ("x", 1, [1, 3, "h", "w"])
    return {
        "two inputs": program([image, ("z", 1, [1])], [("y", 1, None)]),
        "a text": program([("x", 8, [1])], [("y", 8, [1])]),
        "a vector": program([("x", 1, [10])], [("y", 1, [10])]),
        "one channel": program([("x", 1, [1, 1, "h", "w"])], [("y", 1, [1, 1, "h", "w"])]),
        "bytes": program([("x", 2, [1, 3, "h", "w"])], [("y", 2, [1, 3, "h", "w"])]),
        "unknown operator": program([image], [("y", 1, None)], [("NoSuchThing", "x", "y")]),
        "scale 0": program([image], [("y", 1, None)], [("GlobalAveragePool", "x", "y")]),
        "shape for an image": program([image], [("y", 7, [4])], [("Shape", "x", "y")]),
    }


def test_programs_that_are_none(attack, here):
    for name, content in PROGRAMS.items():
        (here / name).write_bytes(content)
        attack("info", name, named=name)
        if name.endswith(".onnx"):
            attack("upscale", "in.png", "-o", "out.png", "--checkpoint", name, named=name)


def test_programs_of_another_interface(attack, here):
    pytest.importorskip("onnxruntime")
    for name, content in interfaces().items():
        path = here / f"{name}.onnx"
        path.write_bytes(content)
        attack("upscale", "in.png", "-o", "out.png", "--checkpoint", path.name, named=path.name)
