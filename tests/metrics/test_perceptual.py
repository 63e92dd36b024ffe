import sys
import urllib.error
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torchmetrics.functional.image.dists as torchmetrics_dists
import torchmetrics.functional.image.lpips as torchmetrics_lpips
import torchmetrics.image.lpip as torchmetrics_lpip
from torch import nn
from torchmetrics.functional.image.dists import deep_image_structure_and_texture_similarity
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

from esc_sr.errors import InputError, MissingExtraError
from esc_sr.metrics.perceptual import DISTS, LPIPS

BORDER = 2
NAMES = {LPIPS: "LPIPS", DISTS: "DISTS"}
both = pytest.mark.parametrize("metric_class", [LPIPS, DISTS], ids=["lpips", "dists"])


def _layers(channels, pool_after, pool, sizes=None):
    """Layers as torchvision numbers them: convolution, ReLU, and here and there a pooling."""
    layers, last = [], 3
    for i, channel in enumerate(channels):
        size = sizes[i] if sizes else 3
        stride, padding = (4, 2) if size == 11 else (1, size // 2)
        layers += [nn.Conv2d(last, channel, size, stride, padding), nn.ReLU()]
        if i in pool_after:
            layers.append(pool())
        last = channel
    return nn.Sequential(*layers).requires_grad_(False)


class _Fire(nn.Module):
    def __init__(self, before, middle, after):
        super().__init__()
        self.squeeze = nn.Conv2d(before, middle, 1)
        self.small, self.large = nn.Conv2d(middle, after, 1), nn.Conv2d(middle, after, 3, padding=1)

    def forward(self, x):
        middle = self.squeeze(x).relu()
        return torch.cat([self.small(middle), self.large(middle)], dim=1).relu()


def _squeezenet():
    layers, last = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()], 64
    for i, after in enumerate([64, 64, 128, 128, 192, 192, 256, 256]):
        if i in (0, 2, 4):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        layers.append(_Fire(last, after // 4, after))
        last = 2 * after
    return nn.Sequential(*layers).requires_grad_(False)


@pytest.fixture(scope="module")
def backbones():
    """Classifiers of torchvision's shapes with weights by chance."""
    torch.manual_seed(0)
    vgg = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    return {
        "alexnet": _layers(
            [64, 192, 384, 256, 256], {0, 1}, lambda: nn.MaxPool2d(3, 2), [11, 5, 3, 3, 3]
        ),
        "vgg16": _layers(vgg, {1, 3, 6, 9}, lambda: nn.MaxPool2d(2)),
        "squeezenet1_1": _squeezenet(),
    }


@pytest.fixture
def torchvision(backbones, monkeypatch):
    """A torchvision that has the classifiers; everything else is torchmetrics' own."""

    def classifier(name):
        return lambda weights: SimpleNamespace(features=backbones[name])

    models = SimpleNamespace(
        AlexNet_Weights=SimpleNamespace(DEFAULT="alexnet"),
        VGG16_Weights=SimpleNamespace(DEFAULT="vgg16"),
        SqueezeNet1_1_Weights=SimpleNamespace(DEFAULT="squeezenet"),
        alexnet=classifier("alexnet"),
        squeezenet1_1=classifier("squeezenet1_1"),
        vgg16=classifier("vgg16"),
    )
    module = ModuleType("torchvision")
    module.models = models  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    for user in (torchmetrics_lpips, torchmetrics_lpip, torchmetrics_dists):
        monkeypatch.setattr(user, "_TORCHVISION_AVAILABLE", True)
    # read when torchmetrics is imported, where there is torchvision
    for name in ("vgg16", "VGG16_Weights"):
        monkeypatch.setattr(torchmetrics_dists, name, getattr(models, name), raising=False)
    return models


def _pair(batch, size=40):
    """Images of 8-bit levels."""
    generator = torch.Generator().manual_seed(batch)
    target = torch.randint(0, 256, (batch, 3, size, size), generator=generator)
    noise = torch.randint(-60, 61, target.shape, generator=generator)
    return (target + noise).clamp(0, 255) / 255, target / 255


def _expected(metric_class, preds, target):
    """torchmetrics' own value of each image, of the pixels inside the border."""
    inside = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    pair = preds[inside], target[inside]
    if metric_class is LPIPS:
        values = learned_perceptual_image_patch_similarity(*pair, reduction="none", normalize=True)
    else:
        values = deep_image_structure_and_texture_similarity(*pair)
    return values.detach().reshape(-1).double()


@both
@pytest.mark.parametrize("batch", [1, 3])
def test_values_are_those_of_torchmetrics_inside_the_border(torchvision, metric_class, batch):
    preds, target = _pair(batch)
    values = metric_class(crop_border=BORDER).per_image(preds, target)
    assert values.shape == (batch,)
    assert values.dtype == torch.float64
    assert not values.requires_grad
    assert (values > 1e-4).all()
    torch.testing.assert_close(values, _expected(metric_class, preds, target))


@both
def test_what_is_measured_is_what_a_file_holds(torchvision, metric_class):
    preds, target = _pair(1)
    metric = metric_class(crop_border=BORDER)
    expected = metric.per_image(preds, target)
    below_a_level = preds + 0.4 / 255
    outside = torch.where(preds == 1, 1.5, below_a_level)
    outside[..., :BORDER] = 0
    assert torch.equal(metric.per_image(outside, target), expected)
    outside[..., BORDER:] = 0
    assert not torch.equal(metric.per_image(outside, target), expected)


@both
def test_the_mean_is_over_images_however_they_are_batched(torchvision, metric_class):
    preds, target = _pair(4)
    metric = metric_class(crop_border=BORDER)
    for rows in (slice(0, 1), slice(1, 4)):
        metric.update(preds[rows], target[rows])
    singles = [metric.per_image(p[None], t[None]) for p, t in zip(preds, target, strict=True)]
    torch.testing.assert_close(
        metric.compute().double(), torch.cat(singles).mean(), rtol=1e-4, atol=0
    )


@both
def test_equal_images_have_no_distance_and_lower_is_better(torchvision, metric_class):
    preds, target = _pair(1)
    metric = metric_class(crop_border=0)
    assert metric.higher_is_better is False
    assert metric(target, target).item() == pytest.approx(0, abs=1e-5)
    assert metric(0.1 * preds + 0.9 * target, target) < metric(preds, target)


@both
def test_weights_are_shared_by_copies_and_stay_out_of_checkpoints(torchvision, metric_class):
    metric = metric_class(crop_border=0)
    copy = metric.clone()
    copy.update(*_pair(1))
    assert copy.formula is metric.formula
    assert metric.num_images == 0
    assert not list(metric.parameters())
    assert not list(metric.modules())[1:]
    assert not metric.state_dict()


@both
def test_autocast_and_inference_mode_do_not_change_the_value(torchvision, metric_class):
    preds, target = _pair(1)
    metric = metric_class(crop_border=BORDER)
    expected = metric.per_image(preds, target)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        measured = metric.per_image(preds.clone(), target.clone())
    torch.testing.assert_close(measured, expected, rtol=1e-6, atol=0)


@pytest.mark.gpu
@both
def test_the_gpu_gives_the_number_of_the_cpu(torchvision, metric_class):
    preds, target = _pair(2)
    metric = metric_class(crop_border=BORDER)
    expected = metric.per_image(preds, target)
    with torch.inference_mode():
        measured = metric.per_image(preds.cuda(), target.cuda())
    # convolutions there may use TF32
    torch.testing.assert_close(measured.cpu(), expected, rtol=1e-2, atol=1e-4)
    assert torch.equal(metric.per_image(preds, target), expected)


@both
def test_the_missing_extra_is_named(monkeypatch, metric_class):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"pip install 'esc-sr\[perceptual\]'") as caught:
        metric_class(crop_border=4)
    assert "\n" not in str(caught.value)


@both
def test_weights_that_cannot_be_downloaded_are_told_in_one_line(
    torchvision, monkeypatch, metric_class
):
    def offline(weights):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torchvision, "alexnet", offline)
    monkeypatch.setattr(torchmetrics_dists, "vgg16", offline)
    expected = rf"weights of {NAMES[metric_class]} could not be downloaded .*not known.*checkpoints"
    with pytest.raises(InputError, match=expected) as caught:
        metric_class(crop_border=4)
    assert "\n" not in str(caught.value)


def test_mistakes_are_told_by_name(torchvision):
    with pytest.raises(InputError, match="net must be one of alex, vgg, squeeze, got 'resnet'"):
        LPIPS(crop_border=0, net="resnet")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="crop_border must be an integer of at least 0"):
        DISTS(crop_border=-1)
    image = torch.rand(1, 3, 34, 40)
    with pytest.raises(InputError, match=r"LPIPS needs images of at least 31x31 .*got 30x36"):
        LPIPS(crop_border=2).update(image, image)
    with pytest.raises(InputError, match=r"DISTS compares two .* of one shape"):
        DISTS(crop_border=2).update(image, image[..., :-1])


@pytest.mark.parametrize(("net", "size"), [("alex", 31), ("vgg", 16), ("squeeze", 17)])
def test_the_smallest_image_allowed_is_the_smallest_that_the_network_takes(torchvision, net, size):
    metric = LPIPS(crop_border=0, net=net)
    assert metric(*_pair(1, size)).isfinite()
    with pytest.raises(InputError, match=f"LPIPS needs images of at least {size}x{size}"):
        metric(*_pair(1, size - 1))
    with pytest.raises(RuntimeError, match="Output size is too small"):
        metric.formula.network(*_pair(1, size - 1))
