"""Every kernel against eager: outputs and every gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.attention import SelfAttention, attention_by_name, attention_names
from esc_sr.attention.bias import TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flex import FlexKernel
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.config import compose_config, conf_dir, instantiate
from esc_sr.errors import InputError

TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-4, "atol": 2e-6},
    # one unit in the last place of values around one
    torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}


def inputs(windows, heads, window, head_dim, dtype, device="cpu", grad=True):
    generator = torch.Generator().manual_seed(0)
    tokens = window[0] * window[1]

    def random(*shape):
        value = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return value.to(device, dtype).requires_grad_(grad)

    qkv = [random(windows, heads, tokens, head_dim) for _ in range(3)]
    return qkv, random(heads, (2 * window[0] - 1) * (2 * window[1] - 1))


def attend(kernel, qkv, table, window):
    bias = TableBias().bind({"relative_position_bias": table}, window)
    return kernel(*qkv, bias=bias, softmax_scale=qkv[0].shape[-1] ** -0.5)


def definition(qkv, table, window):
    q, k, v = qkv
    bias = TableBias().bind({"relative_position_bias": table}, window).dense()
    out = torch.empty_like(v)
    for w in range(q.shape[0]):
        for h in range(q.shape[1]):
            scores = q[w, h] @ k[w, h].T / q.shape[-1] ** 0.5 + bias[h]
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            out[w, h] = weights @ v[w, h]
    return out


def test_eager_is_the_definition():
    qkv, table = inputs(3, 2, (3, 5), 4, torch.float64, grad=False)
    expected = definition(qkv, table, (3, 5))
    torch.testing.assert_close(attend(EagerKernel(), qkv, table, (3, 5)), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [(1, 1), (4, 4), (7, 5), (16, 16)])
def test_sdpa_equals_eager_without_gradient(dtype, window):
    qkv, table = inputs(3, 2, window, 8, dtype, grad=False)
    with torch.no_grad():
        out, expected = (attend(k, qkv, table, window) for k in (SDPAKernel(), EagerKernel()))
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("heads", [1, 3])
def test_sdpa_has_the_gradients_of_eager(dtype, heads):
    gradients = {}
    for kernel in (SDPAKernel(), EagerKernel()):
        qkv, table = inputs(2, heads, (5, 4), 8, dtype)
        attend(kernel, qkv, table, (5, 4)).square().sum().backward()
        gradients[kernel.name] = [tensor.grad for tensor in (*qkv, table)]
    for ours, expected in zip(gradients["sdpa"], gradients["eager"], strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(ours, expected, **TOLERANCE[dtype])


@given(
    windows=st.integers(1, 5),
    heads=st.integers(1, 4),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    head_dim=st.integers(1, 24),
)
def test_sdpa_equals_eager_for_any_shape(windows, heads, window, head_dim):
    qkv, table = inputs(windows, heads, window, head_dim, torch.float64, grad=False)
    out, expected = (attend(k, qkv, table, window) for k in (SDPAKernel(), EagerKernel()))
    torch.testing.assert_close(out, expected)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_equals_eager_without_gradient():
    qkv, table = inputs(2, 2, (4, 4), 16, torch.float32, grad=False)
    out, expected = (
        attend(kernel, qkv, table, (4, 4)) for kernel in (FlexKernel(compile=False), EagerKernel())
    )
    torch.testing.assert_close(out, expected, **TOLERANCE[torch.float32])


@pytest.mark.slow
def test_compiled_flex_equals_eager_without_gradient():
    qkv, table = inputs(2, 2, (16, 16), 16, torch.float32, grad=False)
    out, expected = (attend(k, qkv, table, (16, 16)) for k in (FlexKernel(), EagerKernel()))
    torch.testing.assert_close(out, expected, **TOLERANCE[torch.float32])


def test_flex_refuses_to_train_on_a_cpu_and_names_the_way_out():
    qkv, table = inputs(1, 1, (4, 4), 16, torch.float32)
    with pytest.raises(InputError, match=r"attention=flex cannot train on a CPU.*attention=sdpa"):
        attend(FlexKernel(), qkv, table, (4, 4))


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [SDPAKernel(), SDPAKernel(max_windows=2), FlexKernel()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_kernels_have_the_values_and_gradients_of_eager(kernel, dtype):
    results = []
    for candidate in (kernel, EagerKernel()):
        qkv, table = inputs(5, 4, (16, 16), 16, dtype, device="cuda")
        out = attend(candidate, qkv, table, (16, 16))
        out.float().square().sum().backward()
        results.append([out, *(tensor.grad for tensor in (*qkv, table))])
    for ours, expected in zip(*results, strict=True):
        scale = expected.abs().max().item()
        tolerance = 1e-4 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("kernel", [EagerKernel(), SDPAKernel(), FlexKernel(compile=False)])
def test_wrong_shapes_are_refused(kernel):
    (q, k, v), table = inputs(1, 1, (4, 4), 16, torch.float32, grad=False)
    with pytest.raises(ValueError, match="16 tokens for a 4×5 window"):
        attend(kernel, (q, k, v), torch.zeros(1, 7 * 9), (4, 5))
    with pytest.raises(ValueError, match="must share one"):
        attend(kernel, (q, k[:, :, :8], v), table, (4, 4))


def test_a_kernel_refuses_a_bias_it_cannot_carry():
    class OtherBias(TableBias):
        kind = "other"

    with pytest.raises(InputError, match="'eager' cannot carry the bias 'other'"):
        SelfAttention(bias=OtherBias(), kernel=EagerKernel())


def test_every_file_of_the_group_is_a_name_and_means_the_same():
    files = sorted(path.stem for path in (conf_dir() / "attention").glob("*.yaml"))
    assert files == sorted(attention_names())
    for name in files:
        node = compose_config("train", [f"attention={name}"]).model.attention
        assert instantiate(node) == attention_by_name(name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown attention 'flash9'; choose one of: eager, flash"):
        attention_by_name("flash9")
