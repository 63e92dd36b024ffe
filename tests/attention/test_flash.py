"""The kernel that needs no mask: exactness, gradients, who attends, what is refused."""

import sys
from copy import deepcopy
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.attention import SelfAttention, attention_by_name
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.flash import KERNELS, FlashKernel, _check_runs, attend_by_package
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.errors import InputError

ON_A_CPU = ["math", "sdpa", "sdpa_flash"]
BIASES = {
    "axial": AxialBias(),
    "fourier-16": FourierBias(rank=16),
    "fourier-48": FourierBias(rank=48),
    "fourier-fixed": FourierBias(rank=16, learned_frequencies=False),
}
every_bias = pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)


def attend(kernel, qkv, bias, parameters, window):
    bound = bias.bind(parameters, window)
    return kernel(*qkv, bias=bound, softmax_scale=qkv[0].shape[-1] ** -0.5)


def largest_error(out, expected):
    return (out.double() - expected.double()).abs().max().item()


@every_bias
@pytest.mark.parametrize("kernel", ON_A_CPU)
@pytest.mark.parametrize(("window", "windows", "heads"), [
    ((8, 8), 5, 4), ((8, 8), 2, 3), ((16, 16), 2, 3), ((12, 20), 2, 4), ((32, 32), 1, 4),
    ((48, 48), 1, 1),
])  # fmt: skip
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_equals_the_materialised_bias(
    bias, kernel, window, windows, heads, dtype, tolerance, random_parameters, random_qkv
):
    qkv = random_qkv(windows, heads, window, 16, dtype)
    parameters = random_parameters(bias, heads, window, dtype)
    with torch.no_grad():
        expected = attend(SDPAKernel(), qkv, bias, parameters, window)
        out = attend(FlashKernel(kernel=kernel), qkv, bias, parameters, window)
    assert largest_error(out, expected) <= tolerance


@every_bias
@pytest.mark.parametrize("kernel", ON_A_CPU)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [(8, 8), (32, 32)])
def test_16_bits_cost_no_more_than_with_a_mask(
    bias, kernel, dtype, window, random_parameters, random_qkv
):
    """Against the same inputs in double precision; root mean squares, because single ones vary."""
    qkv = random_qkv(2, 4, window, 16, dtype)
    parameters = random_parameters(bias, 4, window, torch.float32)

    def in_double(tensors):
        return [tensor.double() for tensor in tensors]

    names = list(parameters)
    exact = dict(zip(names, in_double(parameters.values()), strict=True))
    expected = attend(EagerKernel(), in_double(qkv), bias, exact, window)
    errors = []
    for candidate in (FlashKernel(kernel=kernel), SDPAKernel()):
        with torch.no_grad():
            out = attend(candidate, qkv, bias, parameters, window)
        errors.append((out.double() - expected).square().mean().sqrt().item())
    ours, masked = errors
    assert ours <= 1.1 * masked


@every_bias
@pytest.mark.parametrize("kernel", ON_A_CPU)
@pytest.mark.parametrize(("window", "heads"), [((8, 8), 4), ((5, 7), 3), ((16, 16), 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_gradients_are_those_through_the_materialised_bias(
    bias, kernel, window, heads, dtype, tolerance, random_parameters, random_qkv
):
    gradients = []
    for candidate in (FlashKernel(kernel=kernel), EagerKernel()):
        qkv = random_qkv(2, heads, window, 16, dtype, grad=True)
        parameters = random_parameters(bias, heads, window, dtype, grad=True)
        # Not symmetric in the offset, so that wrong signs are seen.
        weights = torch.linspace(-1, 2, qkv[0].numel(), dtype=dtype).view_as(qkv[0])
        (attend(candidate, qkv, bias, parameters, window) * weights).sum().backward()
        named = {**dict(zip("qkv", qkv, strict=True)), **parameters}
        gradients.append({name: tensor.grad for name, tensor in named.items()})
    ours, expected = gradients
    assert set(expected) >= {"q", "k", "v", *bias.initial(1, window)}
    for name, value in expected.items():
        scale = value.abs().max().item()
        assert scale > 0
        assert largest_error(ours[name], value) <= tolerance * scale, name


def test_frequencies_pass_the_numerical_check(random_parameters, random_qkv):
    bias, window = FourierBias(rank=4), (3, 4)
    qkv = random_qkv(1, 2, window, 4, torch.float64)
    parameters = random_parameters(bias, 2, window, grad=True)

    def of_parameters(*values):
        named = dict(zip(parameters, values, strict=True))
        return attend(FlashKernel(kernel="math"), qkv, bias, named, window)

    assert torch.autograd.gradcheck(of_parameters, tuple(parameters.values()))


@given(
    bias=st.sampled_from(list(BIASES.values())),
    windows=st.integers(1, 4),
    heads=st.integers(1, 4),
    window=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    head_dim=st.integers(1, 33),
)
def test_the_layout_of_the_packages_is_right_for_any_shape(
    bias, windows, heads, window, head_dim, random_parameters, random_qkv
):
    """A stand-in with what both packages ask for: layout, equal widths, multiples of 8."""
    qkv = random_qkv(windows, heads, window, head_dim, torch.float64)
    parameters = random_parameters(bias, heads, window)
    seen = []

    def flash_attn_func(q, k, v, softmax_scale=None, causal=True):
        tokens = window[0] * window[1]
        width = q.shape[-1]
        assert q.shape == k.shape == v.shape == (windows, tokens, heads, width)
        assert width % 8 == 0
        assert not causal
        seen.append(width)
        parts = (part.transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(*parts, scale=softmax_scale).transpose(1, 2)
        # Version 4 gives the log-sum-exp too.
        return (out, torch.zeros(())) if heads % 2 else out

    scale = head_dim**-0.5
    of_query, of_key = bias.bind(parameters, window).features()
    q, k, v = qkv
    wide_q = torch.cat([q, (of_query / scale).expand(windows, -1, -1, -1)], -1)
    wide_k = torch.cat([k, of_key.expand(windows, -1, -1, -1)], -1)
    out = attend_by_package(flash_attn_func, wide_q, wide_k, v, scale)
    expected = attend(EagerKernel(), qkv, bias, parameters, window)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    rank = of_query.shape[-1]
    assert seen == [(head_dim + rank + 7) // 8 * 8]


def test_it_stores_no_scores_but_where_it_is_told_to():
    stored = {kernel for kernel in KERNELS if FlashKernel(kernel=kernel).stores_scores}
    assert stored == {"math"}


def test_tables_are_told_who_attends():
    flash = SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel="sdpa"))
    assert flash.title == "flash:sdpa+fourier"
    assert SelfAttention(bias=TableBias(), kernel=SDPAKernel()).title == "sdpa"
    assert SelfAttention(bias=AxialBias(), kernel=SDPAKernel()).title == "sdpa+axial"


def test_its_name_means_the_package():
    flash = attention_by_name("flash")
    assert flash == SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel="flash_attn"))
    assert deepcopy(flash) == flash


@pytest.mark.parametrize("kernel", KERNELS)
def test_who_attends_is_named_behind_a_colon(kernel):
    found = attention_by_name(f"flash:{kernel}")
    assert found == SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel=kernel))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flash:cudnn", "attention=flash:cudnn: unknown flash kernel 'cudnn'; choose one of"),
        ("flash:", "attention=flash:: unknown flash kernel ''; choose one of"),
        ("sdpa:math", "attention=sdpa:math: sdpa leaves nothing to choose"),
        ("conv_attn:x", "attention=conv_attn:x: conv_attn leaves nothing to choose"),
        ("fast:x", "unknown attention 'fast'; choose one of"),
    ],
)
def test_a_wrong_choice_behind_a_colon_is_told(name, message):
    with pytest.raises(InputError, match=message):
        attention_by_name(name)


def test_an_unknown_kernel_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown flash kernel 'cudnn'; choose one of: flash_attn"):
        FlashKernel(kernel="cudnn")


def test_a_table_is_refused_with_the_command_that_fits_it(random_qkv):
    with pytest.raises(InputError, match=r"'flash' cannot carry the bias 'table'.*esc-sr convert"):
        SelfAttention(bias=TableBias(), kernel=FlashKernel())
    # A kernel by itself says it too.
    bound = TableBias().bind({"relative_position_bias": torch.zeros(1, 49)}, (4, 4))
    qkv = random_qkv(1, 1, (4, 4), 8, torch.float32)
    with pytest.raises(InputError, match=r"no product of query and key.*attention=sdpa"):
        FlashKernel(kernel="math")(*qkv, bias=bound, softmax_scale=1.0)


@pytest.mark.parametrize("kernel", ["flash_attn", "flash_attn_4"])
def test_packages_are_refused_on_a_cpu(kernel, random_parameters, random_qkv):
    bias, window = FourierBias(rank=4), (4, 4)
    qkv = random_qkv(1, 1, window, 8, torch.float32)
    parameters = random_parameters(bias, 1, window, torch.float32)
    with pytest.raises(InputError, match=rf"{kernel} runs on CUDA, not on cpu.*sdpa_flash, sdpa"):
        attend(FlashKernel(kernel=kernel), qkv, bias, parameters, window)


def on(device, dtype):
    """A stand-in for q on a device that is not here."""
    return SimpleNamespace(
        device=SimpleNamespace(type=device), is_cuda=device == "cuda", dtype=dtype
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("device", ["cuda", "cpu", "mps"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_runs_where(kernel, device, dtype):
    is_package = kernel.startswith("flash_attn")
    of_cuda = is_package or kernel == "sdpa_flash"
    if device == "cuda":
        fits = dtype in (torch.bfloat16, torch.float16) or not of_cuda
        message = r"computes in 16 bit on CUDA, got float\d\d; choose precision bf16.*sdpa or math"
    else:
        fits = not is_package and (kernel != "sdpa_flash" or device == "cpu")
        message = f"runs on CUDA.* not on {device}; choose another.*sdpa or math"
    if fits:
        _check_runs(kernel, on(device, dtype))
    else:
        with pytest.raises(InputError, match=message) as caught:
            _check_runs(kernel, on(device, dtype))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "package", "module"),
    [
        ("flash_attn", "flash-attn", "flash_attn.flash_attn_interface"),
        ("flash_attn_4", "flash-attn-4", "flash_attn.cute"),
    ],
)
@pytest.mark.parametrize("state", ["absent", "broken", "without the function", "there"])
def test_packages_are_found_where_they_are(monkeypatch, kernel, package, module, state):
    from esc_sr.attention import flash

    function = object()
    made = ModuleType(module)
    if state == "there":
        made.__dict__["flash_attn_func"] = function
    monkeypatch.setattr(flash, "_FOUND", {})
    # None makes the import fail.
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    monkeypatch.setitem(sys.modules, module, None if state == "absent" else made)
    if state == "broken":

        def import_module(name):
            raise OSError("undefined symbol")

        monkeypatch.setattr(flash.importlib, "import_module", import_module)
    if state == "there":
        assert flash._package_function(kernel) is function
        return
    with pytest.raises(InputError, match=rf"needs the package {package} \(pip.*kernel=sdpa_flash"):
        flash._package_function(kernel)


def test_a_package_leaves_the_compiled_graph_whole(monkeypatch):
    from esc_sr.attention import flash

    def flash_attn_func(q, k, v, softmax_scale, causal):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, scale=softmax_scale, is_causal=causal
        ).transpose(1, 2)

    module = ModuleType("flash_attn.flash_attn_interface")
    module.__dict__["flash_attn_func"] = flash_attn_func
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(flash, "_FOUND", {})

    def attend(q, k, v):
        return flash.attend_by_package(flash._package_function("flash_attn"), q, k, v, 0.25)

    q, k, v = torch.randn(3, 1, 2, 16, 8)
    expected = attend(q, k, v)  # finds the package
    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(q, k, v), expected)


def test_packages_are_asked_for_a_fixed_order_where_that_is_wanted():
    given = []

    def flash_attn_func(q, k, v, **options):
        given.append(options)
        return v

    q, k, v = torch.randn(3, 1, 2, 16, 8)
    attend_by_package(flash_attn_func, q, k, v, 0.25)
    torch.use_deterministic_algorithms(True)
    try:
        attend_by_package(flash_attn_func, q, k, v, 0.25)
    finally:
        torch.use_deterministic_algorithms(False)
    assert "deterministic" not in given[0]
    assert given[1]["deterministic"] is True


def test_counting_needs_no_package():
    """On the meta device nothing is computed, and multiply-adds are those of attention itself."""
    q, k, v = (torch.empty(2, 3, 16, 8, device="meta") for _ in range(3))
    bias = FourierBias(rank=4)
    parameters = {name: value.to("meta") for name, value in bias.initial(3, (4, 4)).items()}
    out = attend(FlashKernel(), (q, k, v), bias, parameters, (4, 4))
    assert out.shape == v.shape
    assert out.is_meta


@pytest.mark.gpu
@every_bias
@pytest.mark.parametrize("kernel", ["flash_attn", "flash_attn_4", "sdpa_flash", "sdpa", "math"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [(16, 16), (32, 32), (7, 9)])
def test_gpu_kernels_have_the_values_and_gradients_of_eager(
    bias, kernel, dtype, window, random_parameters, random_qkv
):
    module = {
        "flash_attn": "flash_attn.flash_attn_interface",
        "flash_attn_4": "flash_attn.cute",
    }.get(kernel)
    if module is not None and (not find_spec("flash_attn") or not find_spec(module)):
        pytest.skip(f"the package of kernel={kernel} is not installed")
    results = []
    for candidate in (FlashKernel(kernel=kernel), EagerKernel()):
        qkv = random_qkv(5, 4, window, 16, dtype, device="cuda", grad=True)
        parameters = random_parameters(bias, 4, window, torch.float32, device="cuda", grad=True)
        out = attend(candidate, qkv, bias, parameters, window)
        out.float().square().sum().backward()
        results.append([out, *(tensor.grad for tensor in (*qkv, *parameters.values()))])
    for ours, expected in zip(*results, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(ours, expected, rtol=0, atol=3e-2 * scale)
