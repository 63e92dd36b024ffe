"""Networks whose self-attention has another bias than the authors' table."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file

from esc_sr import create_model, load_model, save_model
from esc_sr.attention import SelfAttention
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flash import FlashKernel
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import deduce_config, warm_start
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP

TINY = {"dim": 24, "partial_dim": 8, "num_blocks": 2, "num_conv_attn": 1, "window_size": 8}
NETWORKS = [
    pytest.param(ESC, {"num_heads": 4}, id="esc"),
    pytest.param(ESCFP, {"num_heads": 3}, id="esc_fp"),
    pytest.param(ESC, {"num_heads": 3, "self_attention_only": True}, id="esc_attn"),
    pytest.param(ESC, {"num_heads": 4, "window_size": (4, 6)}, id="rectangular"),
]
BIASES = [
    AxialBias(),
    FourierBias(rank=8),
    FourierBias(rank=16),
    FourierBias(rank=6, learned_frequencies=False),
]
every_bias = pytest.mark.parametrize("bias", BIASES, ids=str)
every_network = pytest.mark.parametrize(("cls", "changes"), NETWORKS)


def network_of(cls, changes, bias, kernel=None):
    torch.manual_seed(3)
    attention = SelfAttention(bias=bias, kernel=kernel or EagerKernel())
    network = cls(scale=2, **{**TINY, **changes}, attention=attention).eval()
    for layer in attentions_of(network):
        for name in layer.bias_names:
            if name != "fourier_frequencies":
                torch.nn.init.normal_(layer.get_parameter(name))
    return network


def attentions_of(network):
    return [module for module in network.modules() if isinstance(module, WindowAttention)]


@every_network
@every_bias
@pytest.mark.parametrize("kernel", ["math", "sdpa", "sdpa_flash"])
def test_flash_gives_the_network_of_the_materialised_bias(cls, changes, bias, kernel):
    """Odd sizes and a batch of two, values and the gradient of every parameter."""
    lq = torch.rand(2, 3, 13, 19)
    network = network_of(cls, changes, bias).train()
    found = []
    for attention in (EagerKernel(), FlashKernel(kernel=kernel)):
        network.set_attention(SelfAttention(bias=bias, kernel=attention))
        network.zero_grad()
        sr = network(lq)
        sr.square().mean().backward()
        gradients = {name: value.grad.clone() for name, value in network.named_parameters()}
        found.append((sr.detach(), gradients))
    (expected, expected_gradients), (sr, gradients) = found
    torch.testing.assert_close(sr, expected, rtol=0, atol=1e-5)
    for name, gradient in expected_gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            gradients[name], gradient, rtol=0, atol=max(1e-4 * scale, 1e-9), msg=name
        )
    moved = [name for name in gradients if "bias_" in name or "fourier" in name]
    assert moved
    assert all(expected_gradients[name].abs().max() > 0 for name in moved)


@every_bias
def test_a_deep_copy_reads_its_own_bias(bias):
    network = network_of(ESC, {}, bias, FlashKernel(kernel="sdpa"))
    lq = torch.rand(1, 3, 9, 11)
    copied = deepcopy(network)
    before = network(lq)
    assert torch.equal(copied(lq), before)
    for layer in attentions_of(copied):
        for name in layer.bias_names:
            torch.nn.init.normal_(layer.get_parameter(name))
    assert not torch.allclose(copied(lq), before)
    assert torch.equal(network(lq), before)
    for assign in (False, True):
        copied.load_state_dict(network.state_dict(), assign=assign)
        assert torch.equal(copied(lq), before)


@every_network
@every_bias
def test_it_is_saved_and_loaded_with_its_bias(cls, changes, bias, tmp_path):
    network = network_of(cls, changes, bias, SDPAKernel())
    loaded = load_model(save_model(network, tmp_path / "x.safetensors"))
    assert loaded.config == network.config
    assert loaded.blocks[0].attn.attention == SelfAttention(bias=bias, kernel=SDPAKernel())
    lq = torch.rand(1, 3, 9, 11)
    assert torch.equal(loaded(lq), network(lq))
    for attention in (
        "eager",
        SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel="math")),
        SelfAttention(bias=bias, kernel=FlashKernel(kernel="sdpa")),
    ):
        other = load_model(tmp_path / "x.safetensors", attention=attention)
        assert other.blocks[0].attn.attention.bias == bias
        torch.testing.assert_close(other(lq), network(lq), rtol=0, atol=1e-5)


def test_bare_weights_tell_what_they_can(tmp_path):
    axial = network_of(ESC, {"window_size": (4, 6)}, AxialBias())
    assert deduce_config(axial.state_dict())["window_size"] == [4, 6]
    save_file(axial.state_dict(), tmp_path / "axial.safetensors")
    assert load_model(tmp_path / "axial.safetensors").window_size == (4, 6)
    fourier = network_of(ESC, {}, FourierBias())
    assert "window_size" not in deduce_config(fourier.state_dict())
    save_file(fourier.state_dict(), tmp_path / "fourier.safetensors")
    with pytest.raises(InputError, match=r"does not record the window.*esc_sr.save_model"):
        load_model(tmp_path / "fourier.safetensors")


def test_set_attention_keeps_the_bias():
    network = network_of(ESC, {}, AxialBias())
    # Its name stands for a Fourier bias, but the weights decide.
    network.set_attention(SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel="sdpa")))
    assert {layer.attention.title for layer in attentions_of(network)} == {"flash:sdpa+axial"}
    network.set_attention("eager")
    assert {layer.attention.title for layer in attentions_of(network)} == {"eager+axial"}
    with pytest.raises(InputError, match=r"hold the bias 'axial', 'fourier' was asked for"):
        network.set_attention(SelfAttention(bias=FourierBias(), kernel=SDPAKernel()))
    network = network_of(ESC, {}, FourierBias(rank=8))
    network.set_attention("flash:sdpa")
    asked = SelfAttention(bias=FourierBias(rank=48), kernel=FlashKernel(kernel="sdpa"))
    with pytest.raises(InputError, match=r"hold the bias .*rank=8.* .*rank=48.* was asked for"):
        network.set_attention(asked)


def test_a_table_into_flash_is_an_error_that_names_the_conversion(tmp_path):
    table = network_of(ESC, {}, TableBias())
    with pytest.raises(InputError, match=r"`esc-sr convert bias=fourier` fits a trained table"):
        table.set_attention("flash")
    path = save_model(table, tmp_path / "table.safetensors")
    with pytest.raises(InputError, match=r"table.safetensors: .*`esc-sr convert bias=fourier`"):
        load_model(path, attention="flash")
    flash = network_of(ESC, {}, FourierBias(), FlashKernel(kernel="math"))
    with pytest.raises(InputError, match=r"fit its table first, `esc-sr convert bias=fourier`"):
        warm_start(flash, path)


def test_warm_start_names_a_bias_of_other_settings(tmp_path):
    path = save_model(network_of(ESC, {}, FourierBias(rank=8)), tmp_path / "x.safetensors")
    other = network_of(ESC, {}, FourierBias(rank=16))
    with pytest.raises(InputError, match=r"rank=8.*rank=16.*model.attention.bias.rank=8"):
        warm_start(other, path)
    fixed = network_of(ESC, {}, FourierBias(rank=8, learned_frequencies=False))
    with pytest.raises(InputError, match=r"model.attention.bias.learned_frequencies=true"):
        warm_start(fixed, path)
    same = network_of(ESC, {}, FourierBias(rank=8))
    warm_start(same, path)
    with pytest.raises(InputError, match=r"axial bias.*choose attention/bias=fourier"):
        warm_start(network_of(ESC, {}, AxialBias()), path)


def test_a_network_in_16_bits_keeps_its_frequencies():
    """They were cast with the rest, and the bias of a 32×32 window was off by some percent."""
    network = network_of(ESC, {}, FourierBias(rank=16), FlashKernel(kernel="sdpa"))
    lq = torch.rand(1, 3, 12, 20)
    expected = network(lq)
    network.to(torch.bfloat16)
    kept = {name for name, value in network.state_dict().items() if value.dtype == torch.float32}
    assert kept == {name for name in network.state_dict() if "fourier" in name}
    out = network(lq.to(torch.bfloat16))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("kernel", ["math", "sdpa"])
def test_autocast_leaves_the_bias_in_32_bits(kernel):
    network = network_of(ESC, {}, FourierBias(rank=16), FlashKernel(kernel=kernel))
    lq = torch.rand(1, 3, 12, 20)
    expected = network(lq)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(lq)
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "bias"),
    [
        ("math", FourierBias(rank=8)),
        ("sdpa", FourierBias(rank=6, learned_frequencies=False)),
        ("sdpa_flash", AxialBias()),
    ],
    ids=str,
)
def test_flash_compiles_without_a_graph_break(kernel, bias):
    network = network_of(ESC, {"num_blocks": 1}, bias, FlashKernel(kernel=kernel))
    lq = torch.rand(1, 3, 12, 20)
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(lq), network(lq), rtol=0, atol=1e-5)
    compiled(lq).square().sum().backward()
    assert network.get_parameter(f"blocks.0.attn.{next(iter(bias.initial(1, (1, 1))))}").grad.any()


def test_create_model_makes_it_by_name():
    network = create_model("esc_lt", scale=2, attention="flash", **TINY, num_heads=3)
    assert network.config["bias"] == {"kind": "fourier", "rank": 16, "learned_frequencies": True}
    assert network.title == "ESC (fourier bias)"
    network = create_model("esc_lt", scale=2, attention="flash:sdpa", **TINY, num_heads=3)
    assert network.blocks[0].attn.attention.title == "flash:sdpa+fourier"
    assert network(torch.rand(1, 3, 9, 11)).shape == (1, 3, 18, 22)
