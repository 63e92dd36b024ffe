import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esc_sr.analysis.attention_maps import AttentionSimilarity, layers_with_maps, window_maps
from esc_sr.analysis.cka import LinearCKA
from esc_sr.analysis.features import capture, stages
from esc_sr.analysis.layout import choose_positions, pixel_examples
from esc_sr.analysis.similarity import feature_similarity, map_similarity
from esc_sr.errors import InputError
from esc_sr.models.esc import ESC
from esc_sr.models.peers.swinir import SwinIRLight


def esc(**changes):
    options = {"dim": 8, "partial_dim": 4, "num_blocks": 2, "num_conv_attn": 1, "num_heads": 2}
    return noisy(ESC(scale=2, window_size=changes.pop("window_size", 4), **options, **changes))


def swinir(window_size=4):
    options = {"dim": 8, "num_groups": 1, "num_blocks": 2, "num_heads": 2}
    return noisy(SwinIRLight(scale=2, window_size=window_size, **options))


def noisy(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network.eval()


BATCHES = list(torch.rand(4, 3, 12, 8, generator=torch.Generator().manual_seed(0)).split(2))


def test_pixels_of_the_same_places_are_compared():
    network, layers = esc(), ["blocks.1", "proj", "blocks.0"]
    (found,) = feature_similarity([(network, layers)], BATCHES, num_pixels=30, seed=3)
    assert found.layers_a == found.layers_b == ["proj", "blocks.0", "blocks.1"]
    generator, cka = torch.Generator().manual_seed(3), LinearCKA()
    for lq in BATCHES:
        positions = choose_positions(2, (12, 8), 30, generator)
        features = capture(network, found.layers_a, lq).items()
        cka.update([pixel_examples(f, positions, (12, 8), layer=n) for n, f in features])
    assert torch.equal(found.matrix, cka.compute())
    torch.testing.assert_close(found.matrix, found.matrix.T)
    torch.testing.assert_close(found.matrix.diag(), torch.ones(3, dtype=torch.float64))
    pairs = [float(found.matrix[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.mean() == pytest.approx(sum(pairs) / 3)
    assert found.neighbours() == pytest.approx((pairs[0] + pairs[2]) / 2)


@pytest.mark.parametrize("examples", ["pixels", "images"])
def test_two_networks_are_compared_within_and_across(examples):
    a, b = esc(), swinir()
    called = []
    found = feature_similarity(
        [(a, stages(a)), (b, stages(b))],
        BATCHES,
        examples=examples,
        estimator="plain",
        on_batch=lambda: called.append(1),
    )
    assert len(called) == 2
    of_a, of_b, across = found
    assert (of_a.within, of_b.within, across.within) == (True, True, False)
    assert across.matrix.shape == (len(stages(a)), len(stages(b)))
    assert (across.layers_a, across.layers_b) == (of_a.layers_a, of_b.layers_b)
    assert across.neighbours() is None
    assert across.mean() == pytest.approx(float(across.matrix.mean()))
    (alone,) = feature_similarity([(b, stages(b))], BATCHES, examples=examples, estimator="plain")
    torch.testing.assert_close(alone.matrix, of_b.matrix)


def test_a_network_equals_itself():
    network = esc()
    found = feature_similarity([(network, ["proj", "last"])] * 2, BATCHES)
    for one in found[1:]:
        torch.testing.assert_close(one.matrix, found[0].matrix)
    maps = map_similarity([(network, layers_with_maps(network))] * 2, BATCHES)
    torch.testing.assert_close(maps[2].matrix, maps[0].matrix)


def test_maps_are_compared_window_by_window():
    network = esc()
    layers = layers_with_maps(network)
    assert layers == ["blocks.0.attn", "blocks.1.attn"]
    (found,) = map_similarity([(network, layers)], BATCHES)
    cosines = []
    for lq in BATCHES:
        inputs = capture(network, layers, lq, inputs=True)
        with torch.no_grad():
            a, b = (network.get_submodule(n).attention_map(x) for n, x in inputs.items())
        cosines += F.cosine_similarity(a.mean(1).flatten(1), b.mean(1).flatten(1)).tolist()
    assert len(cosines) == 4 * 3 * 2
    assert found.matrix[0, 1] == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)
    torch.testing.assert_close(found.matrix.diag(), torch.ones(2, dtype=torch.float64))


def test_any_module_with_an_attention_map_takes_part():
    class Uniform(nn.Module):
        def attention_map(self, x):
            return torch.full((2, 1, 16, 16), 1 / 16)

    maps = list(window_maps(Uniform(), torch.rand(1)))
    assert [tuple(one.shape) for one in maps] == [(16, 16)] * 2
    similarity = AttentionSimilarity()
    similarity.update({"uniform": maps, "identity": [torch.eye(16)] * 2})
    assert similarity.compute()[0, 1] == pytest.approx(0.25)


def test_swinir_has_maps_of_whole_windows():
    network = swinir()
    (found,) = map_similarity([(network, layers_with_maps(network))], BATCHES)
    assert found.matrix.shape == (2, 2)
    both = [(n, layers_with_maps(n)) for n in (esc(), swinir())]
    assert [one.within for one in map_similarity(both, BATCHES)] == [True, True, False]


def test_networks_with_other_windows_are_compared_within_only():
    networks = [(n, layers_with_maps(n)) for n in (esc(), swinir(window_size=2))]
    found = map_similarity(networks, BATCHES)
    assert [one.within for one in found] == [True, True]


def test_maps_of_other_sizes_are_refused_by_name():
    network = nn.ModuleList([esc().blocks[0].attn, esc(window_size=2).blocks[0].attn])
    x = torch.rand(1, 8, 4, 4)
    with pytest.raises(InputError, match=r"'0' and '1' do not compare: windows of 16 .* of 4 tok"):
        AttentionSimilarity().update({n: window_maps(m, x) for n, m in network.named_children()})
    similarity = AttentionSimilarity()
    with pytest.raises(InputError, match="fewer windows"):
        similarity.update({"0": [torch.eye(4)] * 2, "1": [torch.eye(4)]})
    with pytest.raises(InputError, match="'proj' is a Conv2d, which has no attention maps"):
        map_similarity([(esc(), ["proj"])], BATCHES)
    with pytest.raises(ValueError, match="no window"):
        AttentionSimilarity().compute()
