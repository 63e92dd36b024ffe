import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.metrics.image_quality import image_quality
from esc_sr.metrics.protocol import Protocol, check_distinct


def pair():
    gt = torch.rand(3, 3, 40, 36)
    return (gt + 0.1 * torch.randn_like(gt)), gt


@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_it_measures_what_its_fields_say(channel):
    sr, gt = pair()
    measured = Protocol("mine", channel, crop_border=3, suffix="m").measure(sr, gt)
    expected = image_quality(sr, gt, crop_border=3, channel=channel)
    assert list(measured) == ["psnr_m", "ssim_m"]
    assert torch.equal(measured["psnr_m"], expected["psnr"])
    assert torch.equal(measured["ssim_m"], expected["ssim"])


def test_its_metrics_accumulate_the_same_numbers():
    sr, gt = pair()
    protocol = Protocol("paper", "y", crop_border=4, suffix="y")
    measured = protocol.measure(sr, gt)
    for name, metric in protocol.metrics().items():
        metric.update(sr[:2], gt[:2])
        metric.update(sr[2:], gt[2:])
        assert metric.compute() == pytest.approx(measured[name].mean().item(), abs=1e-4)


def test_the_border_and_the_channel_change_the_numbers():
    sr, gt = pair()
    values = {
        Protocol("p", channel, border, "p").measure(sr, gt)["psnr_p"][0].item()
        for channel in ("y", "rgb")
        for border in (2, 4)
    }
    assert len(values) == 4


@pytest.mark.parametrize("fields", [{"channel": "hsv"}, {"crop_border": -1}])
def test_wrong_fields_are_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        Protocol(**{"name": "p", "channel": "y", "crop_border": 2, "suffix": "y"} | fields)


def test_two_protocols_must_not_write_the_same_numbers():
    paper = Protocol("paper", "y", 4, "y")
    check_distinct([paper, Protocol("rgb", "rgb", 4, "rgb")])
    with pytest.raises(InputError, match="paper and wide both write psnr_y"):
        check_distinct([paper, Protocol("wide", "y", 8, "y")])
