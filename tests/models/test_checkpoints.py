import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from esc_sr import create_model, load_model, save_model
from esc_sr.attention import attention_by_name
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import (
    change_scale,
    deduce_config,
    read_checkpoint,
    warm_start,
)
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP

TINY = {
    "dim": 16,
    "partial_dim": 8,
    "num_blocks": 2,
    "num_conv_attn": 1,
    "window_size": 8,
    "num_heads": 2,
}
LQ = torch.rand(1, 3, 13, 18, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(1)
    return ESC(scale=2, **TINY).eval()


def wrappings(state_dict):
    other = {key: torch.zeros_like(value) for key, value in state_dict.items()}
    return {
        "bare": state_dict,
        "params": {"params": state_dict},
        "ema_wins": {"params": other, "params_ema": state_dict},
        "neosr": {"params": other, "params-ema": state_dict},
        "state_dict": {"meta": {"name": "x"}, "state_dict": state_dict},
        "ddp": {"params": {f"module.{key}": value for key, value in state_dict.items()}},
        "lightning": {
            "pytorch-lightning_version": "2.6.6",
            "state_dict": {
                **{f"network.{key}": value for key, value in state_dict.items()},
                "loss.weight": torch.ones(1),
            },
            "current_model_state": {f"network.{key}": value for key, value in other.items()},
        },
        "twice": {f"module.network.{key}": value for key, value in state_dict.items()},
        "compiled": {"params": {f"_orig_mod.{key}": v for key, v in state_dict.items()}},
    }


@pytest.mark.parametrize("kind", wrappings({}))
def test_weights_are_found_in_every_wrapping(network, tmp_path, kind):
    path = tmp_path / "x.pth"
    torch.save(wrappings(network.state_dict())[kind], path)
    loaded = load_model(path)
    assert torch.equal(loaded(LQ), network(LQ))
    assert not loaded.training


@pytest.mark.parametrize("cls", [ESC, ESCFP])
@pytest.mark.parametrize("attention", ["sdpa", None])
@pytest.mark.parametrize("changes", [{}, {"use_ln": True, "ffn_ratio": 1.7, "scale": 3}])
def test_a_file_without_configuration_gives_the_same_network(tmp_path, cls, attention, changes):
    made = cls(**{"scale": 2, **TINY, "attention": attention, **changes}).eval()
    torch.save({"params": made.state_dict()}, tmp_path / "x.pth")
    loaded = load_model(tmp_path / "x.pth")
    assert type(loaded) is cls
    assert torch.equal(loaded(LQ), made(LQ))


@pytest.mark.parametrize("cls", [ESC, ESCFP])
@pytest.mark.parametrize("attention", ["sdpa", None])
@pytest.mark.parametrize(
    "changes",
    [
        {"shared_large_kernel": False},
        {"dynamic_kernel": False},
        {"shared_large_kernel": False, "dynamic_kernel": False},
    ],
)
def test_the_weights_tell_what_an_ablation_left_out(tmp_path, cls, attention, changes):
    made = cls(**{"scale": 2, **TINY, "attention": attention, **changes}).eval()
    torch.save({"params": made.state_dict()}, tmp_path / "x.pth")
    loaded = load_model(tmp_path / "x.pth")
    assert loaded.title == made.title
    assert torch.equal(loaded(LQ), made(LQ))
    whole = cls(**{"scale": 2, **TINY, "attention": attention})
    with pytest.raises(InputError, match=f"holds an {re.escape(made.title)}, not an "):
        warm_start(whole, tmp_path / "x.pth")


def test_without_conv_attn_the_file_says_whether_there_were_dynamic_kernels(tmp_path):
    made = ESC(**{"scale": 2, **TINY, "num_conv_attn": 0, "dynamic_kernel": False})
    assert load_model(save_model(made, tmp_path / "x.safetensors")).title == made.title


@pytest.mark.parametrize("name", ["esc", "esc_lt", "esc_fp", "esc_attn", "esc_real", "esc_real_m"])
def test_the_configuration_of_every_variant_is_deduced(name):
    made = create_model(name, scale=4)
    deduced = deduce_config(made.state_dict())
    deduced["window_size"] = [deduced["window_size"]] * 2
    made.config.pop("geometric_ensemble", None)  # the one thing that weights do not tell
    assert deduced == made.config


def test_safetensors_remember_what_shapes_do_not_tell(tmp_path):
    made = ESC(**{"scale": 2, **TINY, "window_size": (4, 8)}).eval()
    path = save_model(made, tmp_path / "new" / "x.safetensors")
    loaded = load_model(path)
    assert loaded.window_size == (4, 8)
    assert torch.equal(loaded(LQ), made(LQ))


@pytest.mark.parametrize("cls", [ESC, ESCFP])
@pytest.mark.parametrize("ensemble", [True, False])
def test_the_geometric_ensemble_is_remembered(tmp_path, cls, ensemble):
    """Shapes do not tell it, and the wrong one gives another image without an error."""
    made = cls(scale=2, **TINY, geometric_ensemble=ensemble).eval()
    loaded = load_model(save_model(made, tmp_path / "x.safetensors"))
    assert loaded.geometric_ensemble is ensemble
    assert torch.equal(loaded(LQ), made(LQ))


def test_a_rectangular_window_that_is_not_recorded_is_told(tmp_path):
    made = ESC(**{"scale": 2, **TINY, "window_size": (4, 8)})
    torch.save(made.state_dict(), tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"does not record the window.*esc_sr.save_model"):
        load_model(tmp_path / "x.pth")


def test_foreign_metadata_is_ignored(network, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(network.state_dict(), path, metadata={"config": "[1]"})
    assert torch.equal(load_model(path)(LQ), network(LQ))


def test_half_precision_weights_load_into_float32(network, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({key: value.half() for key, value in network.state_dict().items()}, path)
    loaded = load_model(path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(LQ), network(LQ), rtol=1e-2, atol=1e-2)


def test_load_model_sets_the_attention(network, tmp_path):
    path = save_model(network, tmp_path / "x.safetensors")
    assert load_model(path, attention="eager").blocks[0].attn.attention.kernel.name == "eager"


def test_conv_attn_is_told_apart(network, tmp_path):
    with_attention = save_model(network, tmp_path / "a.safetensors")
    without = save_model(ESC(scale=2, **TINY, attention=None), tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="another network"):
        load_model(with_attention, attention="conv_attn")
    for attention in ("eager", attention_by_name("eager")):
        with pytest.raises(InputError, match=r"without self-attention.*attention=eager does not"):
            load_model(without, attention=attention)
    assert load_model(without, attention="conv_attn") is not None


@pytest.mark.parametrize("cls", [ESC, ESCFP])
@pytest.mark.parametrize("changes", [{}, {"use_ln": True, "ffn_ratio": 1.75, "scale": 3}])
def test_self_attention_only_is_told_apart_by_the_weights(tmp_path, cls, changes):
    made = cls(**{"scale": 2, **TINY, "self_attention_only": True, **changes}).eval()
    torch.save({"params": made.state_dict()}, tmp_path / "x.pth")
    for path in (tmp_path / "x.pth", save_model(made, tmp_path / "x.safetensors")):
        loaded = load_model(path)
        assert type(loaded) is cls
        assert loaded.config == made.config
        assert torch.equal(loaded(LQ), made(LQ))
        with pytest.raises(InputError, match="another network"):
            load_model(path, attention="conv_attn")
        mixer = load_model(path, attention="eager").blocks[1].pconvs[0]
        assert mixer.attention.kernel.name == "eager"


def test_a_missing_tensor_of_self_attention_only_is_named(tmp_path):
    weights = ESC(scale=2, **TINY, self_attention_only=True).state_dict()
    del weights["blocks.0.attn.to_qkv.weight"]
    torch.save(weights, tmp_path / "x.pth")
    message = r"this ESC \(self-attention\): 1 missing \(blocks.0.attn.to_qkv.weight\)"
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "x.pth")


def test_warm_start_tells_the_networks_of_one_architecture_apart(network, tmp_path):
    other = ESC(scale=2, **TINY, self_attention_only=True)
    with pytest.raises(InputError, match=r"holds an ESC, not an ESC \(self-attention\)"):
        warm_start(other, save_model(network, tmp_path / "a.safetensors"))
    path = save_model(other, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"holds an ESC \(self-attention\), not an ESC;"):
        warm_start(network, path)
    with pytest.raises(InputError, match=r"not an ESC \(conv_attn\)"):
        warm_start(ESC(scale=2, **TINY, attention=None), path)
    bigger = ESC(scale=3, **TINY, self_attention_only=True)
    warm_start(bigger, path)
    for name, value in other.state_dict().items():
        if not name.startswith("to_img"):
            assert torch.equal(bigger.state_dict()[name], value)


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_bad_files_are_told_in_one_line(network, tmp_path, capsys):
    good = tmp_path / "good.pth"
    torch.save(network.state_dict(), good)
    files = {
        "empty.pth": (b"", "it is damaged"),
        "text.pth": (b"hello", "it is damaged"),
        "cut.pth": (good.read_bytes()[:2000], "it is damaged"),
        "cut.safetensors": (b"\xff" * 40, "cannot read"),
        "evil.pth": (pickle.dumps(Evil()), r"never unpickled \(it asks for 'builtins.print'\)"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_checkpoint(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert "never run" not in capsys.readouterr().out
    with pytest.raises(InputError, match="checkpoint not found"):
        read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv_first.weight": torch.ones(1)}, "not the weights of an ESC.*conv_first.weight"),
        ({"block_1.c1_r.sk.weight": torch.ones(1)}, "they look like SPAN, see model=spandrel"),
        ({"a": 1}, "'a' is not a tensor"),
        ([1, 2], "it holds a list"),
        ({}, "the file is empty"),
        ({"plk_filter": torch.ones(8, 8, 13, 13)}, "a head that is not known here"),
    ],
)
def test_other_contents_are_named(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "x.pth")


@pytest.mark.parametrize("path", [None, 7, ["a.pth"]])
def test_what_is_no_path_is_told(path):
    message = r"the path of a file or the name of packaged ones \(esc_tiny_x2, .*\), got"
    with pytest.raises(InputError, match=message):
        load_model(path)


@pytest.mark.parametrize("own", ["sdpa", None])
def test_what_is_no_attention_is_told(tmp_path, own):
    path = save_model(ESC(scale=2, **TINY, attention=own), tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"attention must be a name|attention=3 does not apply"):
        load_model(path, attention=3)


@pytest.mark.parametrize("name", ["esc_x4", "esc_real_x4", "esc_real_m_unshuffle_x2"])
def test_golden_files_load_as_they_are(shared_dir, name):
    path = shared_dir / "golden" / f"{name}.pt"
    data = torch.load(path, weights_only=True)
    with torch.no_grad():
        error = (load_model(path, attention="eager")(data["lr"].float()) - data["sr_eval"]).abs()
    assert error.max() <= 1e-5 * data["sr_eval"].abs().max()


def test_a_missing_tensor_is_named(network, tmp_path):
    weights = network.state_dict()
    del weights["blocks.1.conv_out.bias"]
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"1 missing \(blocks.1.conv_out.bias\)"):
        load_model(tmp_path / "x.pth")


def test_warm_start_resizes_the_sub_pixel_filters_bilinearly(network, tmp_path):
    path = save_model(network, tmp_path / "x2.safetensors")
    for scale in (3, 4):
        bigger = ESC(scale=scale, **TINY)
        warm_start(bigger, path)
        for key, value in network.state_dict().items():
            if not key.startswith("to_img"):
                assert torch.equal(bigger.state_dict()[key], value)
        # bilinear by hand, sampled at sub-pixel centres
        old = network.to_img.weight.detach().reshape(3, 2, 2, -1)
        new = bigger.to_img.weight.detach().reshape(3, scale, scale, -1)
        position = ((torch.arange(scale) + 0.5) * 2 / scale - 0.5).clamp(0, 1)
        rows = old[:, :1] + position.view(1, -1, 1, 1) * (old[:, 1] - old[:, 0]).unsqueeze(1)
        expected = rows[:, :, :1] + position.view(1, 1, -1, 1) * (rows[:, :, 1:] - rows[:, :, :1])
        torch.testing.assert_close(new, expected)


def test_changing_to_the_same_scale_changes_nothing(network):
    weights = network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in change_scale(weights, 2).items())


def test_warm_start_refuses_another_network(network, tmp_path):
    path = save_model(network, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds an ESC, not an ESCFP"):
        warm_start(ESCFP(scale=2, **TINY), path)
    with pytest.raises(InputError, match="of another shape"):
        warm_start(ESC(**{"scale": 2, **TINY, "dim": 32}), path)


def test_saving_leaves_no_half_file(network, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("esc_sr.models.checkpoints.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(network, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_only_what_could_be_loaded_is_saved(network, tmp_path):
    with pytest.raises(InputError, match=r"networks of create_model and load_model .*got Linear"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "x.safetensors")
    for name in ("x.foo", "x.pth", "x"):
        with pytest.raises(InputError, match=rf"writes a \.safetensors file, got .*/{name}$"):
            save_model(network, tmp_path / name)
    assert not list(tmp_path.iterdir())
    save_model(torch.compile(network, backend="eager"), tmp_path / "x.safetensors")
    assert load_model(tmp_path / "x.safetensors").config == network.config


def test_others_may_read_what_is_saved_where_they_may_read_other_files(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    path = save_model(create_model("esc", scale=2, **TINY), tmp_path / "model.safetensors")
    assert path.stat().st_mode == usual.stat().st_mode
