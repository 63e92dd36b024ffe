"""Every kernel with every bias against eager: outputs and every gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.attention import SelfAttention, attention_by_name, attention_names
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flash import FlashKernel
from esc_sr.attention.flex import FlexKernel
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.config import compose_config, conf_dir, instantiate
from esc_sr.errors import InputError

TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-4, "atol": 5e-6},
    # one unit in the last place of values around one
    torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}
BIASES = {
    "table": TableBias(),
    "axial": AxialBias(),
    "fourier": FourierBias(rank=16),
    "fourier-fixed": FourierBias(rank=12, learned_frequencies=False),
}
# What runs on a CPU, with every bias that it carries.
KERNELS = {
    "eager:1": EagerKernel(max_heads=1),
    "sdpa": SDPAKernel(),
    "flash:math": FlashKernel(kernel="math"),
    "flash:sdpa": FlashKernel(kernel="sdpa"),
    "flash:sdpa_flash": FlashKernel(kernel="sdpa_flash"),
}
PAIRS = [
    pytest.param(kernel, bias, id=f"{kernel_name}+{bias_name}")
    for kernel_name, kernel in KERNELS.items()
    for bias_name, bias in BIASES.items()
    if bias.kind in kernel.biases
]


def attend(kernel, qkv, bias, parameters, window):
    bound = bias.bind(parameters, window)
    return kernel(*qkv, bias=bound, softmax_scale=qkv[0].shape[-1] ** -0.5)


def definition(qkv, bias, parameters, window):
    q, k, v = qkv
    dense = bias.bind(parameters, window).dense()
    out = torch.empty_like(v)
    for w in range(q.shape[0]):
        for h in range(q.shape[1]):
            scores = q[w, h] @ k[w, h].T / q.shape[-1] ** 0.5 + dense[h]
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            out[w, h] = weights @ v[w, h]
    return out


def test_eager_is_the_definition(bias, random_parameters, random_qkv):
    window = (3, 5)
    qkv = random_qkv(3, 2, window, 4, torch.float64)
    parameters = random_parameters(bias, 2, window)
    expected = definition(qkv, bias, parameters, window)
    torch.testing.assert_close(attend(EagerKernel(), qkv, bias, parameters, window), expected)


@pytest.mark.parametrize(("kernel", "bias"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [(1, 1), (4, 4), (7, 5), (16, 16)])
def test_kernels_equal_eager_without_gradient(
    kernel, bias, dtype, window, random_parameters, random_qkv
):
    qkv = random_qkv(3, 2, window, 8, dtype)
    # The parameters of a bias stay in float32 at least.
    parameters = random_parameters(bias, 2, window, torch.promote_types(dtype, torch.float32))
    with torch.no_grad():
        out, expected = (attend(k, qkv, bias, parameters, window) for k in (kernel, EagerKernel()))
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected, **TOLERANCE[dtype])


@pytest.mark.parametrize(("kernel", "bias"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("heads", [1, 3])
def test_kernels_have_the_gradients_of_eager(
    kernel, bias, dtype, heads, random_parameters, random_qkv
):
    window, gradients = (5, 4), []
    for candidate in (kernel, EagerKernel()):
        qkv = random_qkv(2, heads, window, 8, dtype, grad=True)
        parameters = random_parameters(bias, heads, window, dtype, grad=True)
        attend(candidate, qkv, bias, parameters, window).square().sum().backward()
        named = {**dict(zip("qkv", qkv, strict=True)), **parameters}
        gradients.append({name: tensor.grad for name, tensor in named.items()})
    ours, expected = gradients
    for name in expected:
        scale = expected[name].abs().max().item()
        assert scale > 0
        torch.testing.assert_close(
            ours[name], expected[name], rtol=0, atol=TOLERANCE[dtype]["atol"] * max(scale, 1)
        )


@given(
    pair=st.sampled_from([pair.values for pair in PAIRS]),
    windows=st.integers(1, 5),
    heads=st.integers(1, 4),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    head_dim=st.integers(1, 24),
)
def test_kernels_equal_eager_for_any_shape(
    pair, windows, heads, window, head_dim, random_parameters, random_qkv
):
    kernel, bias = pair
    qkv = random_qkv(windows, heads, window, head_dim, torch.float64)
    parameters = random_parameters(bias, heads, window)
    out, expected = (attend(k, qkv, bias, parameters, window) for k in (kernel, EagerKernel()))
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_equals_eager_without_gradient(bias, random_parameters, random_qkv):
    window = (4, 4)
    qkv = random_qkv(2, 2, window, 16, torch.float32)
    parameters = random_parameters(bias, 2, window, torch.float32)
    out, expected = (
        attend(kernel, qkv, bias, parameters, window)
        for kernel in (FlexKernel(compile=False), EagerKernel())
    )
    torch.testing.assert_close(out, expected, **TOLERANCE[torch.float32])


@pytest.mark.slow
def test_compiled_flex_equals_eager_without_gradient(bias, random_parameters, random_qkv):
    window = (16, 16)
    qkv = random_qkv(2, 2, window, 16, torch.float32)
    parameters = random_parameters(bias, 2, window, torch.float32)
    out, expected = (
        attend(k, qkv, bias, parameters, window) for k in (FlexKernel(), EagerKernel())
    )
    torch.testing.assert_close(out, expected, **TOLERANCE[torch.float32])


def test_flex_refuses_to_train_on_a_cpu_and_names_the_way_out(random_parameters, random_qkv):
    window = (4, 4)
    qkv = random_qkv(1, 1, window, 16, torch.float32, grad=True)
    parameters = random_parameters(TableBias(), 1, window, torch.float32, grad=True)
    with pytest.raises(InputError, match=r"attention=flex cannot train on a CPU.*attention=sdpa"):
        attend(FlexKernel(), qkv, TableBias(), parameters, window)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [SDPAKernel(), SDPAKernel(max_windows=2), FlexKernel()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_kernels_have_the_values_and_gradients_of_eager(
    kernel, bias, dtype, random_parameters, random_qkv
):
    window, results = (16, 16), []
    for candidate in (kernel, EagerKernel()):
        qkv = random_qkv(5, 4, window, 16, dtype, device="cuda", grad=True)
        parameters = random_parameters(bias, 4, window, torch.float32, device="cuda", grad=True)
        out = attend(candidate, qkv, bias, parameters, window)
        out.float().square().sum().backward()
        results.append([out, *(tensor.grad for tensor in (*qkv, *parameters.values()))])
    for ours, expected in zip(*results, strict=True):
        scale = expected.abs().max().item()
        tolerance = 1e-4 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    "kernel",
    [EagerKernel(), SDPAKernel(), FlexKernel(compile=False), FlashKernel(kernel="math")],
    ids=lambda kernel: kernel.name,
)
def test_wrong_shapes_are_refused(kernel, random_parameters, random_qkv):
    bias = AxialBias()
    q, k, v = random_qkv(1, 1, (4, 4), 16, torch.float32)
    parameters = random_parameters(bias, 1, (4, 5), torch.float32)
    with pytest.raises(ValueError, match="16 tokens for a 4×5 window"):
        attend(kernel, (q, k, v), bias, parameters, (4, 5))
    parameters = random_parameters(bias, 1, (4, 4), torch.float32)
    with pytest.raises(ValueError, match="must share one"):
        attend(kernel, (q, k[:, :, :8], v), bias, parameters, (4, 4))


def test_a_kernel_refuses_a_bias_it_cannot_carry():
    class OtherBias(TableBias):
        kind = "other"

    with pytest.raises(InputError, match="'eager' cannot carry the bias 'other'"):
        SelfAttention(bias=OtherBias(), kernel=EagerKernel())


# Files that choose what a name leaves open.
CHOICES = {"flash_sdpa": "flash:sdpa"}


def test_every_file_of_the_group_is_a_name_and_means_the_same():
    files = sorted(path.stem for path in (conf_dir() / "attention").glob("*.yaml"))
    assert files == sorted([*attention_names(), *CHOICES])
    for name in files:
        node = compose_config("train", [f"attention={name}"]).model.attention
        assert instantiate(node) == attention_by_name(CHOICES.get(name, name))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown attention 'flash9'; choose one of: eager, flash"):
        attention_by_name("flash9")
