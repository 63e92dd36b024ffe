import pytest
import torch

from esc_sr.attention import attention_by_name
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flash import FlashKernel
from esc_sr.attention.interface import SelfAttention
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.errors import InputError
from esc_sr.functional.windows import from_windows, pad_to_multiple, to_windows
from esc_sr.layers.window_attention import WindowAttention

KERNELS = {"eager": EagerKernel(), "sdpa": SDPAKernel()}


def attention_layer(window_size=(4, 4)):
    layer = WindowAttention(
        8, num_heads=2, window_size=window_size, attention=attention_by_name("eager")
    )
    torch.nn.init.normal_(layer.relative_position_bias)
    return layer


def test_windows_do_not_see_each_other():
    layer, x = attention_layer(), torch.randn(1, 8, 8, 12)
    changed = x.clone()
    changed[..., :4, 4:8] += 1
    difference = (layer(changed) - layer(x)).abs().amax((0, 1))
    assert difference[:4, 4:8].min() > 0
    difference[:4, 4:8] = 0
    assert difference.max() == 0


def test_a_map_equals_its_windows_one_by_one():
    layer, x = attention_layer((2, 4)), torch.randn(2, 8, 4, 8)
    whole = layer(x)
    for top in (0, 2):
        for left in (0, 4):
            part = x[..., top : top + 2, left : left + 4]
            torch.testing.assert_close(layer(part), whole[..., top : top + 2, left : left + 4])


def test_the_bias_moves_the_output():
    layer, x = attention_layer(), torch.randn(1, 8, 4, 4)
    before = layer(x)
    with torch.no_grad():
        layer.relative_position_bias.zero_()
    assert not torch.allclose(layer(x), before)


def test_a_kernel_that_cannot_carry_the_bias_is_refused():
    layer = attention_layer()
    with pytest.raises(InputError, match="'flash' cannot carry the bias 'table'"):
        layer.set_kernel(FlashKernel(kernel="math"))
    assert layer.attention.kernel == EagerKernel()


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_the_attention_map_is_what_the_output_is_made_with(kernel, size):
    """Written out from the parts of the layer, and put back in place of the kernel."""
    layer, x = attention_layer((4, 4)), torch.randn(2, 8, *size)
    layer.set_kernel(KERNELS[kernel])
    found = layer.attention_map(x)
    assert found.shape == (2 * 4, 2, 16, 16)
    torch.testing.assert_close(found.sum(-1), torch.ones(8, 2, 16))
    padded = pad_to_multiple(x, (4, 4))
    q, k, v = (to_windows(part, (4, 4), 2) for part in layer.to_qkv(padded).chunk(3, 1))
    bias = TableBias().bind({"relative_position_bias": layer.relative_position_bias}, (4, 4))
    scores = torch.einsum("whqd,whkd->whqk", q, k) * 4**-0.5 + bias.dense()
    torch.testing.assert_close(found, scores.softmax(-1))
    out = layer.to_out(from_windows(found @ v, (4, 4), (8, 8)))[..., : size[0], : size[1]]
    torch.testing.assert_close(out, layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_windows", [1, 3, 100])
def test_attention_maps_come_in_parts(max_windows):
    layer, x = attention_layer(), torch.randn(2, 8, 8, 8)
    parts = list(layer.attention_map_chunks(x, max_windows))
    assert all(len(part) <= max_windows for part in parts)
    torch.testing.assert_close(torch.cat(parts), layer.attention_map(x))


@pytest.fixture(
    params=[TableBias(), AxialBias(), FourierBias(rank=8)], ids=lambda bias: f"{bias.kind}"
)
def layer_of_any_bias(request):
    layer = WindowAttention(
        12,
        num_heads=3,
        window_size=(4, 6),
        attention=SelfAttention(bias=request.param, kernel=EagerKernel()),
    )
    for name in layer.bias_names:
        torch.nn.init.normal_(layer.get_parameter(name))
    return layer


def test_the_parameters_of_the_bias_are_the_layers_own(layer_of_any_bias):
    layer = layer_of_any_bias
    own = {name for name, _ in layer.named_parameters(recurse=False)}
    assert own == set(layer.bias_names) == set(layer.attention.bias.initial(3, (4, 6)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_leave_the_bias_as_it_is(layer_of_any_bias, dtype):
    """In bfloat16 the frequencies of a trained network were wrong in their third digit."""
    layer, x = layer_of_any_bias, torch.rand(1, 12, 8, 12)
    layer(x).sum().backward()
    before = {name: layer.get_parameter(name).clone() for name in layer.bias_names}
    layer.to(dtype)
    assert layer.to_qkv.weight.dtype == dtype
    for name, value in before.items():
        parameter = layer.get_parameter(name)
        assert torch.equal(parameter, value)
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
    assert layer(x.to(dtype)).dtype == dtype
    assert {value.dtype for value in layer.float().state_dict().values()} == {torch.float32}
    assert {value.dtype for value in layer.double().state_dict().values()} == {torch.float64}
    assert {value.device.type for value in layer.to("meta").state_dict().values()} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", [EagerKernel(), SDPAKernel()], ids=lambda kernel: kernel.name)
def test_a_layer_in_16_bits_is_that_of_32_rounded(layer_of_any_bias, dtype, kernel):
    layer, x = layer_of_any_bias, torch.rand(2, 12, 5, 7)
    layer.set_kernel(kernel)
    expected = layer(x)
    out = layer.to(dtype)(x.to(dtype))
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.02)
