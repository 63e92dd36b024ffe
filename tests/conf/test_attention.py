"""Biases and kernels combine on the command line as they do in Python."""

import pytest
from omegaconf import OmegaConf

from esc_sr.attention import SelfAttention
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flash import KERNELS, FlashKernel
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.config import compose_config, conf_dir, hydra_main, instantiate
from esc_sr.errors import InputError

BIASES = {"table": TableBias(), "axial": AxialBias(), "fourier": FourierBias()}


def attention_of(*overrides):
    return instantiate(compose_config("train", list(overrides)).model.attention)


def test_every_bias_has_a_file():
    assert {path.stem for path in (conf_dir() / "attention" / "bias").glob("*.yaml")} == set(BIASES)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize(("kernel", "expected"), [("eager", EagerKernel()), ("sdpa", SDPAKernel())])
def test_any_bias_goes_with_the_kernels_that_take_a_mask(bias, kernel, expected):
    found = attention_of(f"attention={kernel}", f"attention/bias={bias}")
    assert found == SelfAttention(bias=BIASES[bias], kernel=expected)


def test_settings_of_both_parts_are_keys():
    found = attention_of(
        "attention=flash",
        "model.attention.bias.rank=48",
        "model.attention.bias.learned_frequencies=false",
        "model.attention.kernel.kernel=sdpa",
    )
    assert found == SelfAttention(
        bias=FourierBias(rank=48, learned_frequencies=False), kernel=FlashKernel(kernel="sdpa")
    )
    assert attention_of("attention=flash", "attention/bias=axial").bias == AxialBias()


@pytest.mark.parametrize("config", ["train", "evaluate", "bench", "analyze"])
def test_every_command_with_an_attention_takes_a_bias(config):
    overrides = ["attention=sdpa", "attention/bias=fourier", "model.attention.bias.rank=8"]
    node = compose_config(config, overrides).model.attention
    assert instantiate(node) == SelfAttention(bias=FourierBias(rank=8), kernel=SDPAKernel())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["attention=flash", "attention/bias=table"],
            r"'flash' cannot carry the bias 'table'; it carries: axial, fourier; `esc-sr convert",
        ),
        (
            ["attention=flash", "model.attention.bias.rank=7"],
            "model.attention.bias: rank must be even",
        ),
        (
            ["attention=flash", "model.attention.kernel.kernel=fast"],
            f"model.attention.kernel: unknown flash kernel 'fast'; .*{', '.join(KERNELS)}",
        ),
        (
            ["attention=conv_attn", "attention/bias=axial"],
            "'attention/bias' cannot be chosen here: the attention chosen has no bias",
        ),
        (["attention/bias=learned"], "attention/bias/learned.*axial.*fourier.*table"),
        (
            ["attention=flash", "model.attention.bias.order=3"],
            "unknown key 'model.attention.bias.order'",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        attention_of(*overrides)
    assert "\n" not in str(caught.value)


def test_biases_are_swept_by_their_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["esc-sr"])
    found = []

    def task(cfg):
        node = OmegaConf.create(OmegaConf.to_container(cfg.model.attention, resolve=True))
        found.append(instantiate(node))

    hydra_main("bench", task, ["-m", "attention=eager,sdpa", "attention/bias=table,fourier"])
    assert found == [
        SelfAttention(bias=bias, kernel=kernel)
        for kernel in (EagerKernel(), SDPAKernel())
        for bias in (TableBias(), FourierBias())
    ]
