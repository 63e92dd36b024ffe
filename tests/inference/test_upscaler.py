from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from esc_sr import Upscaler, create_model, save_model
from esc_sr.errors import InputError
from esc_sr.functional.resize import matlab_imresize
from esc_sr.models.bicubic import Bicubic

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("esc", scale=2, **TINY)


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def faint(*shape):
    """A picture that fresh weights neither take below black nor above white."""
    return 120 + pixels(*shape) // 16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (9, 13, 2), (9, 13, 3), (9, 13, 4)])
def test_every_kind_keeps_its_kind(network, shape, dtype):
    result = Upscaler(network)(pixels(*shape, dtype=dtype))
    assert result.dtype == dtype
    assert result.shape == (18, 26, *shape[2:])


def test_the_order_of_bytes_does_not_matter(network):
    picture = pixels(5, 7, 3, dtype=np.uint16)
    expected = Upscaler(network)(picture)
    for order in "<>":
        result = Upscaler(network)(picture.astype(f"{order}u2"))
        assert result.dtype == np.uint16
        assert np.array_equal(result, expected)


def test_colours_are_what_the_network_gives(network):
    picture = pixels(11, 17, 3)
    lq = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        # Padded to whole windows as the papers evaluate.
        sr = network(nn.functional.pad(lq, (0, 7, 0, 5), mode="reflect"))[..., :22, :34]
    expected = sr[0].clamp(0, 1).mul(255).add(0.5).floor().to(torch.uint8).permute(1, 2, 0)
    assert np.array_equal(Upscaler(network)(picture), expected.numpy())


def test_grey_is_grey_rgb_averaged(network):
    grey = faint(16, 16)
    rgb = Upscaler(network)(np.repeat(grey[..., None], 3, axis=-1)).astype(float)
    assert abs(Upscaler(network)(grey) - rgb.mean(-1)).max() <= 1


def test_alpha_is_enlarged_like_grey_and_a_constant_one_is_copied(network):
    upscaler = Upscaler(network)
    picture = pixels(8, 12, 4)
    assert np.array_equal(upscaler(picture)[..., 3], upscaler(picture[..., 3]))
    picture[..., 3] = 200
    assert np.all(upscaler(picture)[..., 3] == 200)
    assert np.array_equal(upscaler(picture)[..., :3], upscaler(picture[..., :3]))


def test_sixteen_bits_are_more_than_eight():
    ramp = np.linspace(0, 65535, 100).astype(np.uint16)[None].repeat(16, 0)
    result = Upscaler(Bicubic(scale=4))(ramp)
    assert len(np.unique(result)) > 256  # with 8 bits there could be no more
    assert np.array_equal(Upscaler(Bicubic(scale=1))(ramp), ramp)


def test_batches_equal_single_pictures(network):
    batch = pixels(3, 10, 14, 3)
    upscaler = Upscaler(network)
    together = upscaler(batch)
    assert together.shape == (3, 20, 28, 3)
    for one, result in zip(batch, together, strict=True):
        assert abs(upscaler(one).astype(int) - result).max() <= 1
    # too large together: one by one, with the same result
    small = Upscaler(network, memory_gib=1e-4, tiling="exact")
    assert abs(small(batch).astype(int) - together).max() <= 1


@pytest.mark.parametrize("options", [{"tiling": "exact"}, {"tiling": "exact", "tile": 8}])
def test_exact_tiles_change_nothing(network, options):
    picture = pixels(45, 37, 3)
    whole = Upscaler(network, tiling="whole")(picture).astype(int)
    assert abs(Upscaler(network, **options)(picture) - whole).max() <= 1


def test_overlapping_tiles_differ_little():
    picture = pixels(60, 50, 3)
    network = Bicubic(scale=3)
    whole = Upscaler(network, tiling="whole")(picture)
    tiled = Upscaler(network, tiling="overlap", tile=16, overlap=8)(picture)
    assert np.array_equal(whole, tiled)  # bicubic reaches two pixels


def test_the_memory_decides_the_plan(network):
    size = (256, 256)
    methods = [Upscaler(network, memory_gib=gib).plan(*size).method for gib in (4.0, 0.07, 0.002)]
    assert methods == ["whole", "exact", "overlap"]
    assert Upscaler(network).plan(*size, batch_size=2).method == "whole"


@pytest.mark.parametrize("scale", [1, 1.5, 3, 2.5])
def test_smaller_scales_are_matlabs_shrinking_of_the_networks_result(scale):
    picture = pixels(21, 30, 3)
    network = Bicubic(scale=4)
    full = Upscaler(network)(picture)
    result = Upscaler(network, scale=scale)(picture)
    expected = matlab_imresize(
        torch.from_numpy(full).permute(2, 0, 1)[None].double() / 255, float(Fraction(scale) / 4)
    )
    levels = expected[0].permute(1, 2, 0).numpy() * 255
    assert result.shape == (int(np.ceil(21 * scale)), int(np.ceil(30 * scale)), 3)
    # the enlargement that is shrunk is not rounded to 8 bits before
    assert abs(result - levels.clip(0, 255)).max() < 1.5


def test_self_ensemble_is_the_mean_over_flips_and_rotations(network):
    picture = faint(16, 24, 3)
    plain, ensemble = Upscaler(network), Upscaler(network, self_ensemble=True)
    turned = [
        np.rot90(plain(np.rot90(flip(picture), k)), -k)
        for flip in (np.array, np.fliplr)
        for k in range(4)
    ]
    turned = [t if i < 4 else np.fliplr(t) for i, t in enumerate(turned)]
    mean = np.mean([t.astype(float) for t in turned], axis=0)
    result = ensemble(picture)
    assert abs(result - mean).max() <= 1.5
    assert not np.array_equal(result, plain(picture))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_close(network, precision):
    picture = pixels(24, 24, 3)
    full = Upscaler(network)(picture).astype(int)
    assert abs(Upscaler(network, precision=precision)(picture) - full).mean() < 2


def test_progress_rises_to_one(network):
    seen = []
    Upscaler(network, tiling="exact", tile=8)(pixels(24, 24, 4), on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 4


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40), (3, 500, 3)])
def test_tiny_and_narrow_pictures(network, shape):
    assert Upscaler(network)(pixels(*shape)).shape[:2] == (2 * shape[0], 2 * shape[1])


def test_a_path_is_a_network(network, tmp_path):
    picture = pixels(8, 8, 3)
    path = save_model(network, tmp_path / "x2.safetensors")
    assert np.array_equal(Upscaler(path)(picture), Upscaler(network)(picture))


def test_broken_weights_are_told():
    class Broken(nn.Module):
        scale = 2

        def forward(self, lq):
            return lq.repeat_interleave(2, -1).repeat_interleave(2, -2) * float("nan")

    with pytest.raises(InputError, match=r"not finite: its weights are broken$"):
        Upscaler(Broken())(pixels(4, 4, 3))
    with pytest.raises(InputError, match="or bf16 overflows; use fp32"):
        Upscaler(Broken(), precision="bf16")(pixels(4, 4, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "scale=3 is out of range: this network enlarges ×2"),
        ({"scale": 0.5}, "scale=0.5 is out of range"),
        ({"precision": "int8"}, "unknown precision 'int8'; choose one of: fp32, bf16, fp16"),
        ({"tiling": "all"}, "unknown tiling 'all'"),
        ({"tile": 0}, "tile must be an integer of at least 1"),
        ({"overlap": -1}, "overlap must be"),
        ({"memory_gib": 0}, "memory must be a positive number"),
        ({"device": "tpu9"}, "device=tpu9 is not available"),
    ],
)
def test_wrong_options_are_refused_at_once(network, options, message):
    with pytest.raises(InputError, match=message):
        Upscaler(network, **options)


def test_exact_is_refused_where_there_are_no_known_layers():
    with pytest.raises(InputError, match=r"tiling=exact .* not Bicubic; use tiling=overlap"):
        Upscaler(Bicubic(scale=2), tiling="exact")


def test_what_is_no_network_is_told():
    with pytest.raises(InputError, match=r"must be a torch\.nn\.Module, the path .*, got 3"):
        Upscaler(3)


def test_a_network_must_say_its_scale():
    with pytest.raises(InputError, match="Identity does not say its scale"):
        Upscaler(nn.Identity())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(network, array):
    with pytest.raises(InputError, match="a picture"):
        Upscaler(network)(array)


def test_a_result_larger_than_the_memory_is_refused_before_any_work(network, monkeypatch):
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    upscaler = Upscaler(network, memory_gib=1)
    with pytest.raises(InputError, match=r"the result of 40×20 needs 0.0 GiB of memory"):
        upscaler(pixels(10, 20, 3))
    assert upscaler(pixels(10, 20)).shape == (20, 40)


@pytest.mark.gpu
def test_the_accelerator_gives_the_same_picture(network):
    picture = pixels(40, 56, 3)
    on_cpu = Upscaler(network, device="cpu")(picture).astype(int)
    for tiling in ("whole", "exact"):
        on_gpu = Upscaler(network, device="cuda", tiling=tiling)(picture)
        assert abs(on_gpu - on_cpu).max() <= 1
    network.cpu()
