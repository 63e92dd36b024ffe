"""What is made fast gives the same, and everything still works with it."""

import copy

import pytest
import torch

from esc_sr import create_model, for_inference, load_model, save_model
from esc_sr.errors import InputError
from esc_sr.inference.layerwise import enlarge_layerwise
from esc_sr.models.bicubic import Bicubic
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP

SMALL = {"num_blocks": 2, "num_conv_attn": 2, "window_size": 16}
GOLDEN = {"esc_x2": ESC, "esc_x4": ESC, "esc_ln_x3": ESC, "esc_fp_x4": ESCFP}
UPSTREAM = {
    "pdim": "partial_dim",
    "n_blocks": "num_blocks",
    "conv_blocks": "num_conv_attn",
    "exp_ratio": "ffn_ratio",
    "kernel_size": "large_kernel_size",
    "upscaling_factor": "scale",
}


def stirred(network):
    """Give the dynamic kernels, which are zero at first, something to do."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".plk." in name:
                parameter.normal_(std=0.1)
    return network


def relative_error(ours, expected):
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", GOLDEN)
def test_fp32_output_equals_the_authors(name, shared_dir):
    data = torch.load(shared_dir / "golden" / f"{name}.pt", weights_only=True)
    kwargs = {UPSTREAM.get(key, key): value for key, value in data["meta"]["kwargs"].items()}
    network = GOLDEN[name](**kwargs)
    network.load_state_dict({key: value.float() for key, value in data["state_dict"].items()})
    fast, _ = for_inference(network)
    assert relative_error(fast(data["lr"].float()), data["sr_eval"]) <= 1e-5


@pytest.mark.parametrize(
    ("model", "attention", "changes"),
    [
        ("esc", "sdpa", {}),
        ("esc", "eager", {}),
        ("esc", "conv_attn", {}),
        ("esc", "sdpa", {"shared_large_kernel": False}),
        ("esc", "sdpa", {"dynamic_kernel": False}),
        ("esc_lt", "sdpa", {}),
        ("esc_fp", "sdpa", {}),
        ("esc_fp", "sdpa", {"dynamic_kernel": False, "shared_large_kernel": False}),
        ("esc_attn", "sdpa", {}),
    ],
)
@pytest.mark.parametrize("size", [(1, 16, 32), (3, 21, 37), (1, 1, 2)])
def test_the_result_is_the_same_and_the_network_is_not_changed(model, attention, changes, size):
    made = create_model(model, scale=2, attention=attention, **SMALL, **changes)
    network = stirred(made).train()
    before = copy.deepcopy(network.state_dict())
    lq = torch.rand(size[0], 3, *size[1:])
    with torch.no_grad():
        expected = network(lq)
    fast, done = for_inference(network)
    assert relative_error(fast(lq), expected) <= 1e-5
    assert done
    assert all(isinstance(line, str) for line in done)
    assert not fast.training
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert before.keys() == fast.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("model", ["esc_lt", "esc_fp"])
def test_16_bits_are_close_and_the_result_is_float32(model):
    network = stirred(create_model(model, scale=4, **SMALL))
    lq = torch.rand(1, 3, 24, 40)
    fast, done = for_inference(network, precision="bf16")
    sr = fast(lq)
    assert sr.dtype == torch.float32
    assert fast.proj.weight.dtype == torch.bfloat16
    assert "weights and features are in bf16" in done
    with torch.no_grad():
        expected = network(lq)
    assert (sr - expected).abs().max() < 0.05 * expected.abs().max()


def test_it_says_what_it_did():
    _, done = for_inference(create_model("esc_lt", **SMALL))
    assert "the large kernel is averaged over its flips and rotations once" in done
    assert any(line.startswith("13×13 and 3×3 kernels are one convolution") for line in done)
    assert "features are laid out channels last" in done
    _, done = for_inference(create_model("esc_attn", **SMALL))
    assert not any("kernels" in line for line in done)
    _, done = for_inference(create_model("esc_lt", **SMALL, dynamic_kernel=False))
    assert "13×13 kernels are one convolution, its rows in the frequency domain" in done
    _, done = for_inference(create_model("esc_fp", **SMALL, dynamic_kernel=False))
    assert not any("kernels" in line for line in done)


@pytest.mark.parametrize("model", ["esc_lt", "esc_fp"])
def test_no_convolution_has_to_change_the_layout(model):
    fast, _ = for_inference(create_model(model, **SMALL))
    seen = []
    for module in fast.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fast(torch.rand(1, 3, 32, 32))
    features = [x for x in seen if x.shape[1] > 3]
    assert len(features) >= 4
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in features)


def test_it_can_be_saved_copied_and_given_another_kernel(tmp_path):
    network = stirred(create_model("esc_lt", scale=2, **SMALL))
    fast, _ = for_inference(network)
    lq = torch.rand(1, 3, 20, 24)
    expected = fast(lq)
    loaded = load_model(save_model(fast, tmp_path / "fast.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(lq), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(copy.deepcopy(fast)(lq), expected)
    fast.set_attention("eager")
    torch.testing.assert_close(fast(lq), expected, rtol=1e-4, atol=1e-5)
    again, _ = for_inference(fast)
    torch.testing.assert_close(again(lq), expected, rtol=1e-4, atol=1e-5)


def test_layer_by_layer_in_tiles_it_gives_the_same():
    fast, _ = for_inference(stirred(create_model("esc_lt", scale=2, **SMALL)))
    lq = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        rows = torch.cat(list(enlarge_layerwise(fast, lq, tile=(16, 32))), -2)
    assert relative_error(rows, fast(lq)) <= 1e-5


def test_other_networks_and_values_are_refused():
    with pytest.raises(InputError, match="only the family of ESC is made fast, not Bicubic"):
        for_inference(Bicubic(scale=2))
    network = create_model("esc_lt", **SMALL)
    with pytest.raises(InputError, match="unknown precision 'fp8'"):
        for_inference(network, precision="fp8")
    with pytest.raises(InputError, match="compile is 'dynamic', 'fixed' or None"):
        for_inference(network, compile="yes")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["esc_lt", "esc_fp"])
def test_it_is_one_graph_for_every_size(model):
    network = stirred(create_model(model, scale=2, num_blocks=1, num_conv_attn=1))
    fast, _ = for_inference(network, compile="dynamic")
    graph = torch.compile(fast.forward, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((16, 32), (24, 40), (48, 33)):
        lq = torch.rand(1, 3, *size)
        with torch.no_grad():
            assert relative_error(graph(lq), network(lq)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dynamic", "fixed"])
def test_compiled_it_gives_the_same(how):
    network = stirred(create_model("esc_lt", scale=2, **SMALL))
    fast, done = for_inference(network, compile=how)
    assert done[-1].startswith("compiled for")
    for size in ((16, 32), (24, 40), (48, 33)):
        lq = torch.rand(1, 3, *size)
        with torch.no_grad():
            assert relative_error(fast(lq), network(lq)) <= 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [None, "dynamic", "fixed"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_it_gives_the_same(compile, precision):
    network = stirred(create_model("esc", scale=2, **SMALL)).cuda()
    fast, _ = for_inference(network, precision=precision, compile=compile)
    lq = torch.rand(1, 3, 40, 56, device="cuda")
    with torch.no_grad():
        error = [relative_error(fast(lq), network(lq)) for _ in range(3)][-1]
    assert error <= (1e-3 if precision == "fp32" else 0.05)


def test_a_fast_copy_that_was_trained_on_is_what_is_saved(tmp_path):
    network = stirred(create_model("esc", scale=2, dim=16, partial_dim=8, num_heads=1, **SMALL))
    fast, _ = for_inference(network)
    fast.requires_grad_(True)
    lq = torch.rand(1, 3, 16, 16)
    fast(lq).square().mean().backward()
    with torch.no_grad():
        for parameter in fast.parameters():
            parameter -= 0.1 * parameter.grad
        loaded = load_model(save_model(fast, tmp_path / "trained.safetensors"))
        assert not loaded.geometric_ensemble
        assert relative_error(loaded(lq), fast(lq)) <= 1e-5


def test_large_depthwise_kernels_return_in_16_bits():
    changes = {"dim": 16, "partial_dim": 8, "num_heads": 1, "large_kernel_size": 17}
    network = create_model("esc_fp", scale=2, **changes, **SMALL)
    fast, _ = for_inference(network, precision="bf16")
    assert fast(torch.rand(2, 3, 9, 31)).isfinite().all()
