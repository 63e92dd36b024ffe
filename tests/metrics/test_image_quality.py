from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchmetrics import Metric, MetricCollection

from esc_sr.errors import InputError
from esc_sr.metrics.image_quality import PSNR, SSIM, image_quality, to_measured_range


def _read(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def _pair(batch, seed=0, size=16, error=0.1):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(batch, 3, size, size, generator=generator)
    preds = target + error * torch.randn(target.shape, generator=generator)
    return preds, target


@pytest.mark.parametrize(
    ("scale", "psnr_y", "ssim_y"), [(2, 38.00, 0.9605), (3, 34.36, 0.9270), (4, 32.21, 0.8948)]
)
def test_a_published_network_gets_its_published_numbers(shared_dir, scale, psnr_y, ssim_y):
    metrics = MetricCollection(
        {
            "psnr": PSNR(crop_border=scale, channel="y"),
            "ssim": SSIM(crop_border=scale, channel="y"),
        }
    )
    outputs = sorted((shared_dir / "golden" / "imdn_set5" / f"X{scale}").glob("*.png"))
    assert len(outputs) == 5
    for path in outputs:
        sr = _read(path)
        gt = _read(shared_dir / "benchmarks" / "Set5" / "HR" / path.name)
        metrics.update(sr, gt[..., : sr.shape[-2], : sr.shape[-1]])
    values = metrics.compute()
    # The published numbers are rounded to two and four decimals.
    assert values["psnr"].item() == pytest.approx(psnr_y, abs=0.005)
    assert values["ssim"].item() == pytest.approx(ssim_y, abs=0.0001)


@pytest.mark.parametrize("metric_class", [PSNR, SSIM])
@pytest.mark.parametrize("channel", ["y", "rgb"])
@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_the_mean_is_over_images_however_they_are_batched(metric_class, channel, sizes, seed):
    preds, target = _pair(sum(sizes), seed)
    preds[0] = target[0] + 0.5 * (preds[0] - target[0])  # so that pooling the errors would show
    batched = metric_class(crop_border=2, channel=channel)
    for p, t in zip(preds.split(sizes), target.split(sizes), strict=True):
        batched.update(p, t)
    singles = torch.cat(
        [batched.per_image(p[None], t[None]) for p, t in zip(preds, target, strict=True)]
    )
    torch.testing.assert_close(batched.compute().double(), singles.mean(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_classes_and_function_agree(channel):
    preds, target = _pair(3)
    values = image_quality(preds, target, crop_border=1, channel=channel)
    for name, metric in {"psnr": PSNR, "ssim": SSIM}.items():
        per_image = metric(crop_border=1, channel=channel).per_image(preds, target)
        torch.testing.assert_close(values[name], per_image)
        assert values[name].dtype == torch.float64


def test_the_output_is_rounded_to_8_bits_and_clamped():
    target = torch.full((1, 3, 16, 16), 1.0)
    # 0.4 levels below white, and far above it: both are white in a file
    for preds in (target - 0.4 / 255, target + 3.0):
        metric = PSNR(crop_border=0, channel="rgb")
        assert metric.per_image(preds, target).item() == float("inf")


def test_y_is_not_rounded():
    levels = to_measured_range(torch.full((1, 3, 1, 1), 100 / 255), crop_border=0, channel="y")
    assert levels.item() == pytest.approx(16 + 219 * 100 / 255, abs=1e-4)


def test_the_border_does_not_count_and_the_inside_does():
    preds, target = _pair(1, size=20)
    expected = PSNR(crop_border=4, channel="y").per_image(preds, target)
    spoilt = preds.clone()
    spoilt[..., :4, :] = 0
    spoilt[..., :, -4:] = 0
    metric = PSNR(crop_border=4, channel="y")
    assert torch.equal(metric.per_image(spoilt, target), expected)
    spoilt[..., 4, 4] += 0.5
    assert not torch.equal(metric.per_image(spoilt, target), expected)


def test_a_perfect_image_makes_the_mean_infinite():
    preds, target = _pair(2)
    preds[1] = target[1]
    metric = PSNR(crop_border=0, channel="y")
    metric.update(preds, target)
    assert metric.compute().item() == float("inf")


def test_a_nan_output_is_told():
    preds, target = _pair(1)
    preds[0, 0, 8, 8] = float("nan")
    metric = PSNR(crop_border=0, channel="y")
    metric.update(preds, target)
    assert metric.compute().isnan()


@pytest.mark.parametrize("metric_class", [PSNR, SSIM])
def test_reset_and_merge_behave_as_in_torchmetrics(metric_class):
    (p1, t1), (p2, t2) = _pair(1, seed=1), _pair(3, seed=2)
    whole, first, second = (metric_class(crop_border=1, channel="y") for _ in range(3))
    assert isinstance(whole, Metric)
    assert whole.higher_is_better
    whole.update(torch.cat([p1, p2]), torch.cat([t1, t2]))
    first.update(p1, t1)
    second.update(p2, t2)
    first.merge_state(second)  # what two processes do
    torch.testing.assert_close(first.compute(), whole.compute())
    whole.reset()
    whole.update(p1, t1)
    torch.testing.assert_close(
        whole.compute().double(), whole.per_image(p1, t1)[0], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_measured_in_full_precision(dtype):
    preds, target = _pair(1)
    preds = preds.to(dtype)
    metric = PSNR(crop_border=0, channel="y")
    assert torch.equal(metric.per_image(preds, target), metric.per_image(preds.float(), target))


def test_mistakes_are_told_by_name():
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(InputError, match="channel must be 'y' or 'rgb', got 'Y'"):
        PSNR(crop_border=0, channel="Y")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="crop_border must be an integer of at least 0"):
        SSIM(crop_border=-1, channel="y")
    with pytest.raises(InputError, match="crop_border=8 leaves nothing of a 16x16"):
        PSNR(crop_border=8, channel="y").update(image, image)
    with pytest.raises(InputError, match="one shape"):
        PSNR(crop_border=0, channel="y").update(image, image[..., :-1])
    with pytest.raises(InputError, match="grey"):
        PSNR(crop_border=0, channel="y").update(image[:, :1], image[:, :1])


@pytest.mark.gpu
@pytest.mark.parametrize("metric_class", [PSNR, SSIM])
def test_the_gpu_gives_the_number_of_the_cpu(metric_class):
    preds, target = _pair(2)
    metric = metric_class(crop_border=2, channel="y").cuda()
    metric.update(preds.cuda(), target.cuda())
    torch.testing.assert_close(
        metric.compute().cpu().double(), metric.per_image(preds, target).mean(), rtol=1e-6, atol=0
    )
