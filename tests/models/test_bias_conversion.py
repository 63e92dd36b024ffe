from copy import deepcopy

import pytest
import torch

from esc_sr import load_model, save_model
from esc_sr.attention import SelfAttention
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.flash import FlashKernel
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.bias_conversion import convert_bias
from esc_sr.models.checkpoints import fold_large_kernel
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP

TINY = {
    "dim": 24,
    "partial_dim": 8,
    "num_blocks": 2,
    "num_conv_attn": 2,
    "window_size": 8,
    "num_heads": 3,
}
LQ = torch.rand(2, 3, 11, 17, generator=torch.Generator().manual_seed(0))
KINDS = [AxialBias(), FourierBias(rank=8), FourierBias(rank=8, learned_frequencies=False)]


def trained(cls=ESC, bias=None, **changes):
    attention = SelfAttention(bias=bias or TableBias(), kernel=SDPAKernel())
    network = cls(scale=2, **{**TINY, **changes}, attention=attention).eval()
    for layer in attentions_of(network).values():
        for name in layer.bias_names:
            torch.nn.init.normal_(layer.get_parameter(name))
    return network


def attentions_of(network):
    return {n: m for n, m in network.named_modules() if isinstance(m, WindowAttention)}


def smooth_table(heads, window):
    """A table that few waves make, so that fits of enough of them are exact."""
    dy, dx = torch.meshgrid(*(torch.arange(1 - s, s) for s in window), indexing="ij")
    waves = torch.cos(0.3 * dy + 0.8 * dx) + 0.5 * torch.sin(0.5 * dy - 0.2 * dx)
    return torch.stack([(1 + head) * waves + head for head in range(heads)]).flatten(1)


@pytest.mark.parametrize("cls", [ESC, ESCFP])
@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("bias", KINDS, ids=str)
def test_every_attention_is_converted_and_the_original_is_not(cls, only, bias):
    network = trained(cls, self_attention_only=only)
    before, weights = network(LQ), deepcopy(network.state_dict())
    converted, fits = convert_bias(network, bias)
    assert list(fits) == list(attentions_of(network))
    assert {layer.attention.bias for layer in attentions_of(converted).values()} == {bias}
    assert torch.equal(network(LQ), before)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    for name, value in converted.state_dict().items():
        if name in weights:
            assert torch.equal(value, weights[name])
    assert not converted.training
    assert all(parameter.requires_grad for parameter in converted.parameters())
    assert not torch.allclose(converted(LQ), before)  # random tables are no sums of few waves


@pytest.mark.parametrize("bias", KINDS, ids=str)
def test_a_table_is_exact_for_any_bias(bias, tmp_path):
    network = trained(bias=bias, window_size=(4, 6))
    converted, fits = convert_bias(network, TableBias())
    torch.testing.assert_close(converted(LQ), network(LQ), rtol=0, atol=1e-6)
    assert all(fit.relative_rms.max() < 1e-12 for fit in fits.values())
    # This is what the authors' code loads.
    assert converted.state_dict().keys() == trained(window_size=(4, 6)).state_dict().keys()
    loaded = load_model(save_model(converted, tmp_path / "x.safetensors"))
    assert torch.equal(loaded(LQ), converted(LQ))


def test_a_table_that_waves_make_is_kept_and_flash_computes_it(tmp_path):
    network = trained()
    with torch.no_grad():
        for layer in attentions_of(network).values():
            layer.relative_position_bias.copy_(smooth_table(3, (8, 8)))
    converted, fits = convert_bias(network, FourierBias(rank=4))
    assert all(fit.relative_rms.max() < 1e-3 for fit in fits.values())
    torch.testing.assert_close(converted(LQ), network(LQ), rtol=0, atol=1e-4)
    path = save_model(converted, tmp_path / "x.safetensors")
    flash = SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel="sdpa"))
    for attention in (None, "eager", flash):
        loaded = load_model(path, attention=attention)
        assert loaded.config == converted.config
        torch.testing.assert_close(loaded(LQ), converted(LQ), rtol=0, atol=1e-5)


def test_what_else_the_network_is_stays():
    network = fold_large_kernel(trained())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.endswith("relative_position_bias"))
    converted, _ = convert_bias(network.double().train(), FourierBias(rank=4))
    assert converted.training
    assert not converted.geometric_ensemble
    assert {value.dtype for value in converted.state_dict().values()} == {torch.float64}
    frozen = {n for n, p in converted.named_parameters() if not p.requires_grad}
    assert frozen == {n for n in converted.state_dict() if "fourier" in n}
    half = convert_bias(trained().to(torch.bfloat16), FourierBias(rank=4))[0]
    assert half.blocks[0].attn.fourier_cos.dtype == torch.float32


def test_layers_are_told_before_they_are_fitted():
    told = []
    convert_bias(trained(), AxialBias(), on_layer=told.append)
    assert told == ["blocks.0.attn", "blocks.1.attn"]


def test_what_cannot_be_converted_is_told():
    with pytest.raises(InputError, match="no self-attention"):
        convert_bias(ESC(scale=2, **TINY, attention=None), FourierBias())
    with pytest.raises(InputError, match=r"that bias already \(kind=table\)"):
        convert_bias(trained(), TableBias())
    with pytest.raises(InputError, match=r"already \(kind=fourier, rank=8, learned_freq.*=True\)"):
        convert_bias(trained(bias=FourierBias(rank=8)), FourierBias(rank=8))
    flash = trained(bias=AxialBias())
    flash.set_attention(SelfAttention(bias=AxialBias(), kernel=FlashKernel(kernel="math")))
    with pytest.raises(InputError, match="'flash' cannot carry the bias 'table'"):
        convert_bias(flash, TableBias())
    broken = trained()
    with torch.no_grad():
        broken.blocks[1].attn.relative_position_bias[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"blocks\.1\.attn is not finite"):
        convert_bias(broken, FourierBias())


def test_other_settings_of_the_same_kind_are_another_bias():
    network = trained(bias=FourierBias(rank=4))
    converted, fits = convert_bias(network, FourierBias(rank=12))
    assert converted.config["bias"]["rank"] == 12
    assert all(fit.relative_rms.max() < 0.05 for fit in fits.values())
