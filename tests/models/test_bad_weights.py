"""Files of weights that are damaged, hostile or of something else: one line, nothing executed."""

import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save

from esc_sr import load_model, save_model
from esc_sr.cli import main
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.models.esc import ESC
from esc_sr.models.esc_real import ESCRealM

TINY = {"dim": 4, "partial_dim": 2, "num_blocks": 1, "num_conv_attn": 1, "window_size": 2}
TINY |= {"num_heads": 1, "large_kernel_size": 3}


def weights():
    torch.manual_seed(0)
    return dict(ESC(scale=2, **TINY).state_dict())


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def lightning():
    state = {f"network.{name}": value for name, value in weights().items()}
    return {
        "pytorch-lightning_version": "2.6.6",
        "optimizer_states": [],
        "global_step": 3,
        "state_dict": state,
    }


def refused(path, match=None):
    """Check that a file is refused in one line that names it, and return the line."""
    with pytest.raises(InputError, match=match) as caught:
        load_model(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert len(line) < 600
    return line


WHOLE = {
    "a.pth": lambda: saved(weights()),
    "legacy.pth": lambda: saved(weights(), _use_new_zipfile_serialization=False),
    "a.ckpt": lambda: saved(lightning()),
    "a.safetensors": lambda: save(weights()),
}


@pytest.mark.parametrize("name", WHOLE)
def test_truncated_files(tmp_path, name):
    path, content = tmp_path / name, WHOLE[name]()
    path.write_bytes(content)
    load_model(path)  # the whole one is sound
    eighths = [len(content) * part // 8 for part in range(9)]
    for length in (*eighths[:-1], *(cut - 1 for cut in eighths[1:])):
        path.write_bytes(content[:length])
        refused(path)


@pytest.mark.parametrize("name", WHOLE)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    """Every other byte of what describes the tensors, changed: whatever torch raises is told."""
    path, content = tmp_path / name, bytearray(WHOLE[name]())
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        damaged = bytearray(content)
        for place in torch.randint(len(content) // 2, (3,), generator=generator).tolist():
            damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            load_model(path)


class Calls:
    """Pickled, it is a call of something with a command that leaves a file behind."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class OfItsOwn:
    pass


def hostile(path):
    command = f"touch {path}"
    by_name = b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."  # protocol 0: os itself
    return {
        "os.system": by_name,
        os.system.__module__ + ".system": pickle.dumps(Calls(os.system, command)),
        "builtins.eval": pickle.dumps({"a": Calls(eval, f"open({str(path)!r}, 'w')")}),
        "subprocess.Popen": saved({"params": {"a": Calls(subprocess.Popen, command.split())}}),
        f"{__name__}.OfItsOwn": saved({"state_dict": weights(), "hyper_parameters": OfItsOwn()}),
        "builtins.exec": saved(
            Calls(exec, f"open({str(path)!r}, 'w')"), _use_new_zipfile_serialization=False
        ),
    }


@pytest.mark.parametrize("asked_for", hostile("x"))
@pytest.mark.parametrize("name", ["x.pth", "x.ckpt", "x.safetensors"])
def test_nothing_is_called_and_what_was_asked_for_is_named(tmp_path, asked_for, name):
    trace = tmp_path / "executed"
    (tmp_path / name).write_bytes(hostile(trace)[asked_for])
    line = refused(tmp_path / name)
    if not name.endswith(".safetensors"):
        assert f"never unpickled (it asks for '{asked_for}')" in line
    assert not trace.exists()


def test_what_is_hostile_is_hostile(tmp_path):
    """The files above leave a trace where they are unpickled."""
    exec_only = hostile(tmp_path / "executed")["os.system"]
    pickle.loads(exec_only)
    assert (tmp_path / "executed").exists()


def of_something_else():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    return buffer.getvalue()


def header(tensors, *, length=None, data=b"\0" * 64):
    """Make a safetensors file of a header that says anything."""
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def with_view(size, stride, storage=4):
    """Make a `.pth` whose tensor claims a size and strides over a few numbers."""

    class View:
        def __reduce_ex__(self, protocol):
            kept = torch.zeros(storage).untyped_storage()
            typed = torch.storage.TypedStorage(
                wrap_storage=kept, dtype=torch.float32, _internal=True
            )
            arguments = (typed, 0, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    return saved({"last.weight": View()})


BAD = {
    "empty": (b"", "damaged"),
    "zeros": (b"\0" * 5000, "damaged"),
    "text": (b"these are weights\n" * 9, "damaged"),
    "zip": (of_something_else(), "damaged"),
    "huge": (with_view((2**40,), (1,)), "damaged"),
    "repeated": (with_view((2**40,), (0,)), "'last.weight' claims more numbers than the file"),
    "negative": (with_view((2,), (-1,)), "damaged"),
    "header.safetensors": (header({}, length=2**60), "as safetensors"),
    "overlap.safetensors": (
        header({"a": entry([8], 0, 32), "b": entry([8], 16, 48)}),
        "as safetensors",
    ),
    "outside.safetensors": (header({"a": entry([2**40], 0, 2**42)}), "as safetensors"),
    "less.safetensors": (header({"a": entry([8], 0, 16)}), "as safetensors"),
    "deep.safetensors": (header(b"[" * 10_000 + b"]" * 10_000), "as safetensors"),
    "no_json.safetensors": (header(b"hello"), "as safetensors"),
    "number": (saved(7), "it holds a int, not a dict"),
    "keys": (saved({5: torch.ones(1)}), "entry 5 is not a tensor"),
    "long_key": (saved({"k" * 10**5: 1}), "entry 'kkk.*… is not a tensor"),
    "nested": (b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 1000 + b"N" + b"s" * 1000 + b".", "damaged"),
    "sparse": (saved({"a": torch.eye(3).to_sparse()}), "'a' is not an ordinary tensor"),
    "complex": (saved({"a": torch.ones(3, dtype=torch.cfloat)}), "'a' holds complex numbers"),
    "meta": (saved({"a": torch.ones(3, device="meta")}), "'a' claims more numbers than the file"),
    "twice": (
        saved(weights() | {f"module.{name}": value for name, value in weights().items()}),
        "there are two of the name '",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_files_of_something_else(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / (name if "." in name else f"{name}.pth")
    path.write_bytes(content)
    refused(path, message)


def test_a_dict_that_is_nested_is_no_weights(tmp_path):
    content = None
    for _ in range(100):
        content = {"a": content}
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "entry 'a' is not a tensor")


def changed(**tensors):
    given = weights()
    return {name: value for name, value in (given | tensors).items() if value is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # A small file that would have asked for terabytes.
        (changed(**{"last.weight": torch.zeros(10**6, 1)}), "1 blocks of 1000000 channels have at"),
        (
            changed(**{f"blocks.{i}.x": torch.zeros(1) for i in range(10**3)}),
            "1000 blocks of 4 channels",
        ),
        (changed(**{"last.weight": torch.zeros(())}), "do not have the shapes of any ESC's"),
        (changed(**{"plk_filter": torch.zeros(())}), "do not have the shapes of any ESC's"),
        (changed(**{"last.weight": torch.zeros(0, 0)}), "do not have the shapes of any ESC's"),
        (changed(**{"blocks.0.proj.proj.weight": None}), "there is no 'blocks.0.proj.proj.weight'"),
        (changed(**{"to_img.weight": torch.zeros(5)}), "a head that is not known here"),
        (changed(**{"to_img.weight": torch.zeros(5, 4, 3, 3)}), "of another shape"),
        (changed(**{"blocks.0.attn.relative_position_bias": torch.zeros(1)}), "bias"),
    ],
)
def test_shapes_that_lie(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", message)


def test_a_head_that_lies_about_itself(tmp_path):
    made = ESCRealM(scale=2, **TINY).state_dict()
    for name, value in (
        ("to_img.MetaUpsample", torch.full((7,), torch.nan)),
        ("to_img.MetaUpsample", torch.tensor([2, 3, 0, 4, 3, 0, 4])),
        ("to_img.MetaUpsample", torch.tensor(2)),
        ("proj.1.weight", torch.ones(())),
        ("proj.1.weight", torch.ones(4, 1, 3, 3)),
    ):
        torch.save(made | {name: value}, tmp_path / "x.pth")
        refused(tmp_path / "x.pth")


def test_a_recorded_configuration_that_lies(tmp_path):
    path = tmp_path / "x.safetensors"
    for config, is_used in (
        ({"window_size": [10**9, 10**9]}, True),
        ({"num_heads": 10**9}, True),
        ({"geometric_ensemble": 3}, True),
        ({"dim": 10**9, "scale": -1}, False),
        ("[" * 10**5, True),
    ):
        text = config if isinstance(config, str) else json.dumps(config)
        path.write_bytes(save(weights(), metadata={"config": text}))
        if is_used:
            refused(path)
        else:
            assert load_model(path).scale == 2


def test_weights_that_are_not_numbers_are_loaded(tmp_path):
    """Who looks at a run that went wrong needs them; `upscale` and `evaluate` refuse the images."""
    content = changed(**{"last.bias": torch.full((4,), torch.nan)})
    torch.save(content, tmp_path / "x.pth")
    assert load_model(tmp_path / "x.pth").last.bias.isnan().all()


@pytest.mark.parametrize("asked_for", ["os.system", "cut", "rrdb"])
def test_the_command_line_says_one_line(tmp_path, capsys, asked_for):
    trace = tmp_path / "executed"
    content = {
        "os.system": hostile(trace)["os.system"],
        "cut": WHOLE["a.pth"]()[:3000],
        "rrdb": saved({"params_ema": {"body.0.rdb1.conv1.weight": torch.ones(1)}}),
    }[asked_for]
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["info", str(tmp_path / "x.pth")])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("esc-sr: error: ")
    told = {"os.system": "it asks for 'os.system'", "cut": "damaged", "rrdb": "RRDBNet"}
    assert told[asked_for] in line
    assert not trace.exists()


def test_nothing_is_left_of_what_was_refused(tmp_path):
    path = save_model(ESC(scale=2, **TINY), tmp_path / "x.safetensors")
    assert read_checkpoint(path).state_dict.keys() == weights().keys()
    assert [one.name for one in tmp_path.iterdir()] == ["x.safetensors"]


def repacked(content, compression):
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(buffer, "w", compression) as other,
    ):
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    return buffer.getvalue()


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    path.write_bytes(repacked(saved(weights()), zipfile.ZIP_STORED))
    load_model(path)
    bomb = repacked(saved(weights() | {"more": torch.zeros(2**20)}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    path.write_bytes(bomb)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    refused(path, match="its entries are compressed, or claim more than the file holds")


def test_a_zip_whose_entries_overlap_is_not_read(tmp_path, monkeypatch):
    """Stored as they are, and each of the same bytes: many times the file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", bytes(50_000))
        archive.filelist += 20 * archive.filelist
    (tmp_path / "overlap.pth").write_bytes(buffer.getvalue())
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    refused(tmp_path / "overlap.pth", match="claim more than the file holds")
