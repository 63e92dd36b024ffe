"""What holds for every network that ESC is compared with."""

import copy
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esc_sr.config import compose_config, instantiate
from esc_sr.models.peers.parts import pixel_shuffle_stages
from esc_sr.models.peers.rcan import RCAN
from esc_sr.models.peers.rdn import RDN
from esc_sr.models.peers.swinir import SwinIRLight
from esc_sr.profiling.macs import count_macs, count_parameters

TINY = {
    RDN: {"dim": 8, "growth": 4, "num_blocks": 2, "num_layers": 2},
    RCAN: {"dim": 8, "num_groups": 2, "num_blocks": 2, "reduction": 4},
    SwinIRLight: {"dim": 8, "num_groups": 2, "num_blocks": 2, "num_heads": 2, "window_size": 4},
}
PEERS = {"rdn": RDN, "rcan": RCAN, "swinir_light": SwinIRLight}
TITLES = {RDN: "RDN", RCAN: "RCAN", SwinIRLight: "SwinIR-light"}
every_peer = pytest.mark.parametrize("cls", TINY)


def tiny(cls, **changes):
    """Make a small network whose every parameter matters."""
    torch.manual_seed(0)
    network = cls(**{"scale": 2, **TINY[cls], **changes})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


@pytest.mark.parametrize("name", PEERS)
def test_the_yaml_is_the_papers_network_which_the_defaults_are_too(name):
    node = compose_config("evaluate", [f"model={name}", "scale=3"]).model
    with torch.device("meta"):
        network = instantiate(node)
    assert type(network) is PEERS[name]
    assert (network.scale, network.title) == (3, TITLES[PEERS[name]])
    parameters = inspect.signature(PEERS[name]).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.name != "scale"}
    assert {key: node[key] for key in node if key not in ("_target_", "scale")} == defaults


# Parameters in thousands, and the G multiply-adds of Table 2 of the ESC paper (1280×720 output);
# SwinIR-light's are in test_swinir.py.
PUBLISHED = {
    RDN: {2: (22_123, 5096.2), 3: (22_308, 2281.2), 4: (22_271, 1309.2)},
    RCAN: {2: (15_445, 3529.7), 3: (15_629, 1586.1), 4: (15_592, 917.6)},
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("cls", PUBLISHED)
def test_costs_equal_the_published_ones(cls, scale):
    params_k, macs_g = PUBLISHED[cls][scale]
    with torch.device("meta"):
        network = cls(scale=scale)
    assert round(count_parameters(network) / 1e3) == params_k
    macs = count_macs(network, (-(-720 // scale), -(-1280 // scale)))
    assert macs / 1e9 == pytest.approx(macs_g, rel=0.01)


@settings(max_examples=15)
@given(
    cls=st.sampled_from(list(TINY)),
    scale=st.sampled_from([1, 2, 3, 4, 8]),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
)
def test_any_size(cls, scale, height, width):
    network = tiny(cls, scale=scale)
    with torch.no_grad():
        sr = network(torch.rand(1, 3, height, width))
    assert sr.shape == (1, 3, scale * height, scale * width)
    assert sr.isfinite().all()


@settings(max_examples=15)
@given(
    scale=st.integers(1, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    window_size=st.integers(1, 9),
)
def test_swinir_takes_any_scale_and_window(scale, height, width, window_size):
    network = tiny(SwinIRLight, scale=scale, window_size=window_size, num_groups=1)
    with torch.no_grad():
        sr = network(torch.rand(1, 3, height, width))
    assert sr.shape == (1, 3, scale * height, scale * width)
    assert sr.isfinite().all()


@every_peer
def test_a_batch_equals_its_images_in_train_and_eval(cls):
    network, lq = tiny(cls), torch.rand(3, 3, 7, 13)
    trained = network.train()(lq)
    torch.testing.assert_close(network.eval()(lq), trained)
    singles = torch.cat([network(image) for image in lq.split(1)])
    torch.testing.assert_close(singles, trained, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(network(lq), trained, rtol=1e-4, atol=1e-5)


@every_peer
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_the_input_is_never_written_to(cls, size):
    network, lq = tiny(cls), torch.rand(2, 3, *size)
    before = lq.clone()
    with torch.no_grad():
        network(lq)
    assert torch.equal(lq, before)


@every_peer
def test_every_parameter_gets_a_gradient(cls):
    network = tiny(cls)
    network(torch.rand(1, 3, 12, 12)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@every_peer
def test_a_deep_copy_and_reloaded_weights_are_the_networks_own(cls):
    network, lq = tiny(cls), torch.rand(1, 3, 9, 8)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        expected = network(lq)
        for parameter in network.parameters():
            parameter.mul_(1.5)
        assert not torch.allclose(network(lq), expected)
        assert torch.equal(twin(lq), expected)
        network.load_state_dict(twin.state_dict(), assign=True)
        assert torch.equal(network(lq), expected)


@every_peer
def test_the_state_dict_holds_parameters_only(cls):
    network = tiny(cls)
    assert list(network.state_dict()) == [name for name, _ in network.named_parameters()]


@every_peer
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_floating_dtype(cls, dtype):
    network, lq = tiny(cls).eval(), torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        expected = network(lq)
        sr = network.to(dtype)(lq.to(dtype))
    assert sr.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.06
    assert (sr.float() - expected).abs().max() < tolerance * expected.abs().max()


@every_peer
def test_bfloat16_autocast_trains(cls):
    network, lq = tiny(cls), torch.rand(1, 3, 9, 7)
    expected = network(lq).detach()
    with torch.autocast("cpu", torch.bfloat16):
        sr = network(lq)
    assert (sr.float() - expected).abs().max() < 0.06 * expected.abs().max()
    sr.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    "cls",
    [RDN, RCAN, pytest.param(SwinIRLight, marks=pytest.mark.slow)],
    ids=lambda cls: cls.__name__,
)
def test_compiles_without_a_graph_break(cls):
    torch._dynamo.reset()
    network = tiny(cls, **{("num_blocks" if cls is RDN else "num_groups"): 1})
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    for size in ((9, 14), (4, 4)):
        lq = torch.rand(2, 3, *size)
        torch.testing.assert_close(compiled(lq), network(lq), rtol=1e-4, atol=1e-5)
    compiled(lq).sum().backward()


@every_peer
def test_multiply_adds_are_counted_and_the_network_is_left_alone(cls):
    network = tiny(cls)
    macs = count_macs(network, (8, 8))
    assert count_macs(network, (16, 16)) == pytest.approx(4 * macs, rel=0.05)
    assert {p.device.type for p in [*network.parameters(), *network.buffers()]} == {"cpu"}


def test_a_scale_of_1_needs_no_stage_and_4_needs_two():
    shuffles = {
        scale: [m.upscale_factor for m in stages if isinstance(m, torch.nn.PixelShuffle)]
        for scale in (1, 2, 3, 4, 8)
        for stages in [pixel_shuffle_stages(2, scale)]
    }
    assert shuffles == {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
