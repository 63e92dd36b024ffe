import copy
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esc_sr import create_model, list_models
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import fold_large_kernel
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP
from esc_sr.profiling.macs import count_macs

TINY = {
    "dim": 16,
    "partial_dim": 8,
    "num_blocks": 2,
    "num_conv_attn": 2,
    "window_size": 8,
    "num_heads": 2,
}
NETWORKS = [
    (ESC, {"attention": "sdpa"}),
    (ESC, {"attention": "eager"}),
    (ESC, {"attention": None}),
    (ESC, {"self_attention_only": True}),
    (ESCFP, {"attention": "sdpa"}),
    (ESCFP, {"attention": None}),
    (ESCFP, {"self_attention_only": True}),
    (ESC, {"shared_large_kernel": False, "dynamic_kernel": False}),
    (ESCFP, {"shared_large_kernel": False}),
]


def tiny(cls=ESC, attention="sdpa", **changes):
    """Make a small network whose every parameter matters (the generators start at zero)."""
    torch.manual_seed(0)
    network = cls(**{"scale": 2, **TINY, "attention": attention, **changes})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


PUBLISHED_PARAMETERS = {
    "esc": (946_728, 955_383, 967_500),
    "esc_lt": (603_600, 612_255, 624_372),
    "esc_fp": (523_675, 530_170, 539_263),
}
# Table 2 of the paper, G multiply-adds for a 1280×720 output.
PUBLISHED_MACS = {
    "esc": (592.0, 267.6, 149.2),
    "esc_lt": (359.4, 162.8, 91.0),
    "esc_fp": (239.8, 110.0, 60.8),
}


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_equal_the_published_counts(name, scale):
    network = create_model(name, scale=scale)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == PUBLISHED_PARAMETERS[name][scale - 2]


@pytest.mark.parametrize("name", PUBLISHED_MACS)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_multiply_adds_equal_the_papers_table(name, scale, attention):
    network = create_model(name, scale=scale, attention=attention)
    lq_size = (-(-720 // scale), -(-1280 // scale))
    published = PUBLISHED_MACS[name][scale - 2]
    assert count_macs(network, lq_size) / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("cls", "changes"), NETWORKS)
def test_a_batch_equals_its_images_in_train_and_eval(cls, changes):
    network, lq = tiny(cls, **changes), torch.rand(3, 3, 11, 21)
    trained = network.train()(lq)
    torch.testing.assert_close(network.eval()(lq), trained)
    singles = torch.cat([network(image) for image in lq.split(1)])
    torch.testing.assert_close(singles, trained, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cls", "changes"), NETWORKS)
@pytest.mark.parametrize("mode", [True, False])
def test_the_input_is_never_written_to(cls, changes, mode):
    network, lq = tiny(cls, **changes).train(mode), torch.rand(2, 3, 9, 8)
    before = lq.clone()
    with torch.no_grad():
        network(lq)
    assert torch.equal(lq, before)


@pytest.mark.parametrize(("cls", "changes"), NETWORKS)
def test_every_parameter_gets_a_gradient(cls, changes):
    network = tiny(cls, **changes)
    network(torch.rand(1, 3, 12, 12)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@settings(max_examples=25, deadline=None)
@given(
    scale=st.integers(1, 5),
    height=st.integers(1, 35),
    width=st.integers(1, 35),
    window=st.one_of(st.integers(1, 12), st.tuples(st.integers(1, 12), st.integers(1, 12))),
)
def test_any_scale_size_and_window(scale, height, width, window):
    network = tiny(scale=scale, window_size=window, num_blocks=1, num_conv_attn=1)
    with torch.no_grad():
        sr = network(torch.rand(1, 3, height, width))
    assert sr.shape == (1, 3, scale * height, scale * width)
    assert sr.isfinite().all()


@pytest.mark.parametrize("only", [False, True])
def test_a_deep_copy_reads_its_own_bias(only):
    """Upstream's score function closed over the original's table, so an EMA copy went stale."""
    network = tiny(self_attention_only=only)
    twin, lq = copy.deepcopy(network), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for attn in self_attentions(network):
            attn.relative_position_bias.add_(torch.randn(2, 225) * 3)
        assert not torch.allclose(network(lq), twin(lq))
        network.load_state_dict(twin.state_dict(), assign=True)
        assert torch.equal(network(lq), twin(lq))


@pytest.mark.parametrize("shape", [(3, 9, 14), (9, 14), (1, 1, 3, 9, 14)])
def test_what_are_no_images_is_told(shape):
    with pytest.raises(InputError, match=r"images \(B, 3, H, W\), got \("):
        tiny()(torch.rand(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_floating_dtype(dtype):
    network, lq = tiny().eval(), torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        expected = network(lq)
        sr = network.to(dtype)(lq.to(dtype))
    assert sr.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.06
    assert (sr.float() - expected).abs().max() < tolerance * expected.abs().max()


# Compiling takes long: one of each kind of mixer, attention and kernel; the others are slow tests.
COMPILED = [
    pytest.param(*network, marks=() if i in (0, 2, 7) else pytest.mark.slow)
    for i, network in enumerate(NETWORKS)
]


@pytest.mark.parametrize(("cls", "changes"), COMPILED)
def test_compiles_without_a_graph_break(cls, changes):
    torch._dynamo.reset()
    network = tiny(cls, **changes, num_blocks=1, num_conv_attn=1)
    lq = torch.rand(2, 3, 9, 14)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(lq), network(lq))
    compiled(lq).sum().backward()


def test_the_papers_network_is_built_quickly_and_holds_no_index():
    """Upstream loops over 4·1024² index pairs for every block: ten seconds."""
    start = time.process_time()
    network = ESC(scale=4)
    assert time.process_time() - start < 3
    assert not list(network.buffers())


def test_folding_the_kernel_keeps_the_output():
    network, lq = tiny().eval(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = network(lq)
        before = network.plk_filter.clone()
        fold_large_kernel(network)
        assert not torch.equal(network.plk_filter, before)
        torch.testing.assert_close(network(lq), expected)
        network.geometric_ensemble = True
        torch.testing.assert_close(network(lq), expected)  # averaging again changes nothing


@pytest.mark.parametrize("cls", [ESC, ESCFP])
def test_own_kernels_that_are_all_alike_compute_what_a_shared_one_does(cls):
    shared, own = tiny(cls), tiny(cls, shared_large_kernel=False)
    names = shared.large_kernel_names
    weights = {
        name: shared.state_dict()[name.split(".")[-1] if name.endswith(names) else name]
        for name in own.state_dict()
    }
    own.load_state_dict(weights)
    lq = torch.rand(2, 3, 19, 13)
    expected = shared(lq)
    assert torch.allclose(own(lq), expected, atol=1e-6)
    kernels = [name for name in own.state_dict() if name.endswith(names)]
    assert len(kernels) == 4 * len(names)  # two blocks of two
    for name in kernels:  # each one counts
        own.load_state_dict(weights | {name: weights[name] + 0.1})
        assert not torch.allclose(own(lq), expected, atol=1e-6)


@pytest.mark.parametrize("cls", [ESC, ESCFP])
def test_without_dynamic_kernels_it_computes_what_a_network_does_whose_kernels_are_zero(cls):
    with_zeros, without = cls(scale=2, **TINY), cls(scale=2, **TINY, dynamic_kernel=False)
    weights = {name: with_zeros.state_dict()[name] for name in without.state_dict()}
    assert len(with_zeros.state_dict()) - len(weights) == 4 * 4  # tensors of each generator
    without.load_state_dict(weights)
    lq = torch.rand(2, 3, 19, 13)
    assert torch.allclose(without(lq), with_zeros(lq), atol=1e-6)


def test_own_kernels_are_folded_one_by_one():
    network, lq = tiny(shared_large_kernel=False).eval(), torch.rand(1, 3, 16, 24)
    before = network(lq)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    fold_large_kernel(network)
    assert not any(module.geometric_ensemble for module in network.large_kernel_owners())
    assert network.config["geometric_ensemble"] is False
    changed = {name for name, now in network.state_dict().items() if (now != weights[name]).any()}
    assert changed == {f"blocks.{i}.pconvs.{j}.plk_filter" for i in range(2) for j in range(2)}
    assert torch.allclose(network(lq), before, atol=1e-5)


def test_the_large_kernel_is_shared_by_the_whole_network():
    shapes = [tuple(p.shape) for p in tiny().parameters() if p.shape[-2:] == (13, 13)]
    assert shapes == [(8, 8, 13, 13)]


def test_the_dynamic_kernel_depends_on_the_input():
    plk = tiny().blocks[0].pconvs[0].plk
    dark, bright = (plk.dwc_proj(torch.full((1, 8, 4, 4), value)) for value in (0.0, 1.0))
    assert not torch.allclose(dark, bright)


def test_fresh_generators_start_at_zero():
    network = ESC(scale=2, **TINY)
    assert network.blocks[1].pconvs[0].plk.dwc_proj(torch.rand(1, 8, 4, 4)).abs().max() == 0


def test_without_self_attention_there_is_none():
    names = tiny(attention=None).state_dict().keys()
    assert not any("to_qkv" in name or "relative_position_bias" in name for name in names)
    assert "blocks.0.attn.plk.dwc_proj.1.weight" in names


def self_attentions(network):
    return [module for module in network.modules() if isinstance(module, WindowAttention)]


@pytest.mark.parametrize("cls", [ESC, ESCFP])
def test_with_self_attention_only_there_is_no_conv_attn(cls):
    names = tiny(cls, self_attention_only=True).state_dict().keys()
    assert not any("plk" in name or name.startswith("lk_") for name in names)
    mixer, attn = (
        {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        for prefix in ("blocks.1.pconvs.1.", "blocks.1.attn.")
    )
    assert mixer == attn
    assert {"to_qkv.weight", "relative_position_bias", "to_out.weight"} <= mixer


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_multiply_adds_of_self_attention_are_those_counted_by_hand(attention):
    macs = {
        name: count_macs(create_model(name, scale=4, attention=attention), (64, 96))
        for name in ("esc", "esc_attn")
    }
    dim, tokens, partial_dim, generator = 64, 32**2, 16, 16 * 8 + 8 * 16 * 9
    of_attention = 64 * 96 * (4 * dim**2 + 2 * tokens * dim)
    of_conv_attn = 64 * 96 * (dim**2 + partial_dim**2 * 13**2 + partial_dim * 9) + generator
    assert macs["esc_attn"] - macs["esc"] == 25 * (of_attention - of_conv_attn)


def test_with_self_attention_only_what_concerns_conv_attn_is_void():
    network = tiny(self_attention_only=True)
    assert tiny(self_attention_only=True, partial_dim=99, large_kernel_size=2)
    before = copy.deepcopy(network.state_dict())
    assert fold_large_kernel(network) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.shared_kernel() == ()
    with pytest.raises(InputError, match=r"no shared large kernel.*self_attention_only=true"):
        network.large_kernel()


@pytest.mark.parametrize("only", [False, True])
def test_set_attention_changes_the_kernel_only(only):
    network, lq = tiny(self_attention_only=only), torch.rand(1, 3, 17, 20)
    expected = network(lq)
    keys = network.state_dict().keys()
    network.set_attention("eager")
    kernels = [attn.attention.kernel.name for attn in self_attentions(network)]
    assert kernels == ["eager"] * (6 if only else 2)
    assert network.state_dict().keys() == keys
    torch.testing.assert_close(network(lq), expected)


def test_set_attention_refuses_another_network():
    with pytest.raises(InputError, match="conv_attn is another network"):
        tiny(self_attention_only=True).set_attention("conv_attn")
    with pytest.raises(InputError, match="conv_attn is another network"):
        tiny().set_attention("conv_attn")
    with pytest.raises(InputError, match="no self-attention"):
        tiny(attention=None).set_attention("sdpa")
    with pytest.raises(InputError, match=r"attention must be a name \(eager, .*, got None"):
        tiny().set_attention(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "num_heads=3 must divide model.dim=16"),
        ({"partial_dim": 17}, "partial_dim=17 must not exceed model.dim=16"),
        ({"large_kernel_size": 12}, "large_kernel_size must be odd, got 12"),
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"scale": 10**6}, "scale must be at most 64, got 1000000"),
        ({"dim": 16.0}, "dim must be an integer of at least 1, got 16.0"),
        ({"window_size": 0}, "window_size must be"),
        ({"window_size": (8, 8, 8)}, "window_size must be"),
        ({"num_conv_attn": -1}, "num_conv_attn must be an integer of at least 0"),
        ({"num_conv_attn": "a"}, "num_conv_attn must be an integer of at least 0"),
        ({"large_kernel_size": 2.5}, "large_kernel_size must be an integer"),
        ({"window_size": 2.5}, "window_size must be"),
        ({"ffn_ratio": 0}, "ffn_ratio=0 leaves no hidden channels"),
        ({"attention": "fast"}, "unknown attention 'fast'"),
        ({"attention": 3}, r"attention must be a name \(eager, .*\) or a SelfAttention .*, got 3"),
        ({"self_attention_only": True, "num_conv_attn": 0}, "num_conv_attn must be .* at least 1"),
        (
            {"self_attention_only": True, "attention": "conv_attn"},
            "model.self_attention_only=true and attention=conv_attn exclude each other",
        ),
        ({"self_attention_only": True, "attention": None}, "exclude each other"),
        ({"shared_large_kernel": 0}, "model.shared_large_kernel is true or false, got 0"),
        ({"dynamic_kernel": "no"}, "model.dynamic_kernel is true or false, got no"),
        (
            {"shared_large_kernel": False, "num_conv_attn": 0},
            "gives a kernel to each ConvAttn, and model.num_conv_attn=0 leaves none",
        ),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        ESC(**{"scale": 2, **TINY, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [ESC, ESCFP])
def test_a_single_mixed_channel_is_enough(cls):
    sr = tiny(cls, partial_dim=1)(torch.rand(1, 3, 8, 8))
    assert sr.shape == (1, 3, 16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", None])
def test_compiles_for_fixed_sizes_with_gradient_at_several(attention):
    """Inductor of torch 2.13 fails on the backward pass of dynamic sizes, hence dynamic=False."""
    torch._dynamo.reset()
    network = tiny(ESC, attention, num_blocks=1, num_conv_attn=1)
    compiled = torch.compile(network, fullgraph=True, dynamic=False)
    for size in ((1, 9, 14), (2, 16, 8)):
        lq = torch.rand(size[0], 3, *size[1:])
        network.zero_grad()
        network(lq).square().sum().backward()
        expected = [parameter.grad.clone() for parameter in network.parameters()]
        network.zero_grad()
        compiled(lq).square().sum().backward()
        for parameter, gradient in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)


def test_its_title_says_that_it_is_another_network():
    assert tiny().title == "ESC"
    assert tiny(ESCFP, None).title == "ESCFP (conv_attn)"
    assert create_model("esc_attn", num_blocks=1).title == "ESC (self-attention)"
    assert tiny(shared_large_kernel=False).title == "ESC (own large kernels)"
    both = tiny(ESCFP, None, shared_large_kernel=False, dynamic_kernel=False)
    assert both.title == "ESCFP (conv_attn, own large kernels, no dynamic kernel)"


def test_create_model_takes_constructor_arguments():
    network = create_model("esc", scale=3, attention="eager", window_size=16, num_blocks=1)
    assert (network.window_size, len(network.blocks), network.scale) == ((16, 16), 1, 3)
    assert not network.training


def test_create_model_names_what_it_does_not_know():
    with pytest.raises(InputError, match="unknown model 'edsr'; choose one of: esc, esc_attn"):
        create_model("edsr")
    with pytest.raises(InputError, match="window_sizes"):
        create_model("esc", window_sizes=16)
    with pytest.raises(InputError, match="no argument '_target_'; choose from: scale, dim"):
        create_model("esc", _target_="os.system")
    with pytest.raises(InputError, match=r"attention must be a name .*, got 3"):
        create_model("esc", attention=3)
    assert set(PUBLISHED_PARAMETERS) <= set(list_models())


def test_create_model_makes_the_network_of_self_attention_only():
    network = create_model("esc_attn", scale=2, attention="eager", num_blocks=1, num_conv_attn=2)
    assert [attn.attention.kernel.name for attn in self_attentions(network)] == ["eager"] * 3
    with pytest.raises(InputError, match="exclude each other"):
        create_model("esc_attn", attention="conv_attn")
