"""ESC-Real and ESC-Real-M; what equals the authors' networks is in test_golden.py."""

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from esc_sr import create_model, for_inference, load_model, save_model
from esc_sr.errors import InputError
from esc_sr.inference.layerwise import enlarge_layerwise
from esc_sr.inference.planning import _head_width, bytes_per_pixel, plan_tiles
from esc_sr.layers.upsampling import UPSAMPLERS
from esc_sr.models.checkpoints import deduce_config, warm_start
from esc_sr.models.esc_real import ESCReal, ESCRealM

TINY = {
    "dim": 16,
    "partial_dim": 8,
    "num_blocks": 1,
    "num_conv_attn": 1,
    "window_size": 8,
    "num_heads": 2,
}
HEADS = [
    {"scale": 2, "upsampler": "pixelshuffledirect", "unshuffle": False},
    {"scale": 5, "upsampler": "pixelshuffledirect"},
    {"scale": 3, "upsampler": "pixelshuffle", "mid_dim": 12},
    {"scale": 8, "upsampler": "pixelshuffle", "mid_dim": 12},
    {"scale": 1, "upsampler": "pixelshuffle", "mid_dim": 12},
    {"scale": 2, "upsampler": "pixelshuffle", "mid_dim": 12},
    {"scale": 1, "upsampler": "conv", "unshuffle": False},
    {"scale": 1, "upsampler": "nearest+conv", "unshuffle": False},
    {"scale": 2, "upsampler": "nearest+conv", "unshuffle": False},
    {"scale": 3, "upsampler": "nearest+conv"},
    {"scale": 3, "upsampler": "dysample", "mid_dim": 16},
    {"scale": 2, "upsampler": "dysample", "mid_dim": 12, "unshuffle": False},
    {"scale": 1, "upsampler": "dysample", "mid_dim": 12},
    {"scale": 2, "upsampler": "transpose+conv", "unshuffle": False},
    {"scale": 3, "upsampler": "transpose+conv"},
    {"scale": 4, "upsampler": "transpose+conv"},
]


def tiny(cls=ESCRealM, **changes):
    """Make a small network whose every parameter matters."""
    torch.manual_seed(0)
    network = cls(**{"scale": 4, **TINY, **changes})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


def test_every_head_is_tried():
    assert {head["upsampler"] for head in HEADS} == set(UPSAMPLERS)


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("size", [(11, 21), (1, 2)])
def test_any_image_is_enlarged_and_a_batch_equals_its_images(head, size):
    network, lq = tiny(**head), torch.rand(2, 3, *size)
    with torch.no_grad():
        sr = network(lq)
        assert sr.shape == (2, 3, *(side * head["scale"] for side in size))
        one_by_one = torch.cat([network(image) for image in lq.split(1)])
    assert torch.allclose(sr, one_by_one, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_files_with_and_without_configuration_give_the_same_network(tmp_path, head):
    made, lq = tiny(**head), torch.rand(1, 3, 9, 12)
    torch.save({"params_ema": made.state_dict()}, tmp_path / "x.pth")
    for path in (tmp_path / "x.pth", save_model(made, tmp_path / "x.safetensors")):
        loaded = load_model(path)
        assert type(loaded) is ESCRealM
        assert {**loaded.config, "geometric_ensemble": True} == made.config
        with torch.no_grad():
            assert torch.equal(loaded(lq), made(lq))


def test_the_defaults_are_the_authors():
    for name, cls in (("esc_real", ESCReal), ("esc_real_m", ESCRealM)):
        network = create_model(name, scale=4)
        assert type(network) is cls
        assert len(network.blocks) == 10
        assert network.config == cls(scale=4).config


def test_what_the_head_records_outlives_averaging_and_copies():
    network = tiny()
    record = network.state_dict()["to_img.MetaUpsample"]
    assert record.tolist() == [2, 3, 4, 16, 3, 48, 4]
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(network)
    for copied in (averaged.module, copy.deepcopy(network).half()):
        assert torch.equal(copied.state_dict()["to_img.MetaUpsample"], record)


@pytest.mark.parametrize(
    "network",
    [
        tiny(ESCReal),
        tiny(scale=3, upsampler="pixelshuffle"),
        tiny(scale=4, upsampler="transpose+conv"),
    ],
)
def test_layer_by_layer_gives_the_untiled_result(network):
    lq = torch.rand(1, 3, 40, 48)
    with torch.inference_mode():
        whole = network(lq)
        rows = torch.cat(list(enlarge_layerwise(network, lq, tile=(16, 16))), -2)
    assert torch.allclose(rows, whole, atol=1e-5 * float(whole.abs().max()))


def test_blocks_of_pixels_are_tiled_with_overlap():
    network = tiny(scale=2)
    options = {"scale": 2, "budget": 3e6}
    assert plan_tiles(network, (300, 300), **options).method == "overlap"
    assert plan_tiles(tiny(scale=3), (300, 300), scale=3, budget=1e8).method == "exact"
    with pytest.raises(InputError, match=r"not ESCRealM, which works on blocks of pixels"):
        plan_tiles(network, (300, 300), **options, tiling="exact")
    with pytest.raises(InputError, match="works on blocks of pixels"):
        next(enlarge_layerwise(network, torch.rand(1, 3, 16, 16), tile=(8, 8)))


def test_a_head_that_samples_anywhere_is_tiled_with_overlap():
    network = tiny(scale=3, upsampler="dysample")
    assert plan_tiles(network, (300, 300), scale=3, budget=3e6).method == "overlap"
    with pytest.raises(InputError, match=r"which samples its features anywhere \(model.upsampler"):
        plan_tiles(network, (300, 300), scale=3, budget=3e6, tiling="exact")


def test_planning_counts_what_transposed_convolutions_make():
    small, large = (
        bytes_per_pixel(tiny(scale=scale, upsampler="transpose+conv"), scale=scale)
        for scale in (2, 4)
    )
    assert large > small
    assert _head_width(tiny(scale=4, upsampler="transpose+conv")) == 16 * 4  # dim, at ×2


@pytest.mark.parametrize(
    "head",
    [{}, {"scale": 2}, {"scale": 3, "upsampler": "dysample"}, {"upsampler": "transpose+conv"}],
)
def test_fast_copies_compute_the_same(head):
    network, lq = tiny(**head), torch.rand(1, 3, 18, 25)
    with torch.no_grad():
        expected = network(lq)
    fast, _ = for_inference(network)
    assert torch.allclose(fast(lq), expected, atol=1e-5 * float(expected.abs().max()))
    fast, _ = for_inference(network, precision="bf16")
    assert fast(lq).dtype == torch.float32
    assert (fast(lq) - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsampler": "bilinear"}, "unknown model.upsampler 'bilinear'; choose one of: conv, "),
        ({"upsampler": "conv"}, "upsampler=conv does not enlarge, and the scale is 4"),
        ({"upsampler": "pixelshuffle", "scale": 5}, "scale=5: this upsampler knows powers of two"),
        ({"upsampler": "transpose+conv", "scale": 5}, r"transpose\+conv knows 2, 3 and 4"),
        ({"upsampler": "dysample", "mid_dim": 18}, "which 18 channels do not divide into"),
        ({"upsampler": "pixelshuffle", "mid_dim": 256}, "are at most 255, which is what its"),
        ({"mid_dim": 0}, "mid_dim must be an integer of at least 1"),
        ({"unshuffle": 1}, "model.unshuffle is true or false"),
    ],
)
def test_impossible_heads_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_esc_real_has_one_scale():
    with pytest.raises(
        InputError, match="ESC-Real enlarges ×4 only, got scale=2: model=esc_real_m"
    ):
        tiny(ESCReal, scale=2)


def test_heads_of_others_are_refused():
    weights = dict(tiny().state_dict())
    for record in ([3, 6, 4, 16, 3, 16, 4], [254, 3, 4, 16, 3, 16, 4], [2, 3]):
        others = weights | {"to_img.MetaUpsample": torch.tensor(record).byte()}
        with pytest.raises(
            InputError, match=rf"upsampler that is not known here .*\[{record[0]}, "
        ):
            deduce_config(others)
    del weights["to_img.MetaUpsample"], weights["skip.0.weight"]
    message = r"a head that is not known here \(to_img.0.bias, .*, as other trainers' 'esc'"
    with pytest.raises(InputError, match=message):
        deduce_config(weights)


@pytest.mark.parametrize("scale", [2, 4])
def test_esc_of_neosr_samples_dynamically_under_names_of_its_own(tmp_path, scale):
    """Its head has no record and is the layer itself; so is that of the authors' ESC-Real."""
    made = tiny(scale=scale, upsampler="dysample", mid_dim=16, unshuffle=False)
    theirs = {name.replace("to_img.0.", "to_img."): v for name, v in made.state_dict().items()}
    assert "to_img.MetaUpsample" in theirs
    del theirs["to_img.MetaUpsample"]
    zeros = {name: torch.zeros_like(value) for name, value in theirs.items()}
    torch.save({"params": zeros, "params-ema": theirs}, tmp_path / "net_g_ema.pth")
    once = load_model(tmp_path / "net_g_ema.pth")
    for loaded in (once, load_model(save_model(once, tmp_path / "again.safetensors"))):
        assert loaded.config == made.config
        lq = torch.rand(1, 3, 9, 12)
        with torch.no_grad():
            assert torch.equal(loaded(lq), made(lq))
    fresh = tiny(scale=scale, upsampler="dysample", mid_dim=16, unshuffle=False)
    torch.nn.init.zeros_(fresh.last.weight)
    warm_start(fresh, tmp_path / "net_g_ema.pth")
    assert torch.equal(fresh.last.weight, made.last.weight)


def test_other_heads_of_neosr_and_of_early_esc_real_are_refused():
    weights = dict(tiny(ESCReal).state_dict())
    theirs = {
        name.replace("to_img.4.", "to_img.3.").replace("to_img.8.", "to_img.10."): value
        for name, value in weights.items()
    }
    early = {name: value for name, value in weights.items() if "to_img.8." not in name}
    for others in (theirs, early):
        with pytest.raises(InputError, match=r"a head that is not known here \(to_img.1.bias"):
            deduce_config(others)


def test_warm_start_is_from_the_same_scale(tmp_path):
    path = save_model(tiny(), tmp_path / "x4.safetensors")
    fresh = ESCRealM(scale=4, **TINY)
    warm_start(fresh, path)
    assert torch.equal(fresh.last.weight, tiny().last.weight)
    with pytest.raises(InputError, match="is ×4, not ×3; ESCRealM starts from weights of its own"):
        warm_start(ESCRealM(scale=3, **TINY), path)
