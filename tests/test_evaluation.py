import pytest
import torch
from torch import nn

from esc_sr.errors import InputError
from esc_sr.evaluation import SetResult, evaluate_network, measure_sets
from esc_sr.inference.planning import Plan
from esc_sr.metrics.image_quality import PSNR
from esc_sr.metrics.protocol import Protocol
from esc_sr.models.bicubic import Bicubic

PAPER = Protocol("paper", "y", 2, "y")
RGB = Protocol("rgb", "rgb", 2, "rgb")


def batches(sizes=((16, 20), (24, 18))):
    generator = torch.Generator().manual_seed(0)
    for i, (height, width) in enumerate(sizes):
        yield {
            "lq": torch.rand(1, 3, height, width, generator=generator),
            "gt": torch.rand(1, 3, 2 * height, 2 * width, generator=generator),
            "name": [f"image{i}"],
        }


def test_values_are_by_image_and_means_over_images():
    results = evaluate_network(Bicubic(scale=2), {"A": batches()}, [PAPER, RGB], scale=2)
    result = results["A"]
    assert result.images == ["image0", "image1"]
    assert list(result.values) == ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"]
    for batch, value in zip(batches(), result.values["psnr_rgb"], strict=True):
        sr = Bicubic(scale=2)(batch["lq"])
        assert value == pytest.approx(RGB.measure(sr, batch["gt"])["psnr_rgb"].item())
    assert result.means()["psnr_y"] == pytest.approx(sum(result.values["psnr_y"]) / 2)
    assert result.seconds > 0


def test_further_metrics_stand_beside_and_are_not_changed():
    metric = PSNR(crop_border=2, channel="y")
    results = measure_sets(
        lambda batch: batch["gt"] * 0.9, {"A": batches()}, [PAPER], metrics={"again": metric}
    )
    assert results["A"].values["again"] == pytest.approx(results["A"].values["psnr_y"], abs=1e-4)
    assert metric.num_images == 0


def test_every_image_is_told_with_its_result():
    told = []
    measure_sets(
        lambda batch: batch["gt"],
        {"A": batches(), "B": batches(((18, 30),))},
        [RGB],
        on_image=lambda set_name, name, sr: told.append((set_name, name, tuple(sr.shape))),
    )
    assert told == [
        ("A", "image0", (1, 3, 32, 40)),
        ("A", "image1", (1, 3, 48, 36)),
        ("B", "image0", (1, 3, 36, 60)),
    ]


def test_the_mode_of_the_network_is_restored():
    class Spy(Bicubic):
        def forward(self, lq):
            seen.append((self.training, torch.is_inference_mode_enabled()))
            return super().forward(lq)

    seen: list[tuple[bool, bool]] = []
    network = Spy(scale=2).train()
    evaluate_network(network, {"A": batches()}, [PAPER], scale=2)
    assert seen == [(False, True)] * 2
    assert network.training


def test_the_ensemble_turns_the_image_and_the_plan_sees_it():
    sizes = []

    def plan(size):
        sizes.append(size)
        return Plan("whole")

    class Edge(nn.Module):
        """Depends on where up is."""

        def forward(self, lq):
            ramp = torch.linspace(0, 0.2, lq.shape[-2])[:, None]
            return nn.functional.interpolate(lq * 0.5 + ramp, scale_factor=2)

    options = {"scale": 2, "plan": plan}
    loader = list(batches(((16, 20),)))
    plain = evaluate_network(Edge(), {"A": loader}, [RGB], **options)
    ensemble = evaluate_network(Edge(), {"A": loader}, [RGB], ensemble=True, **options)
    assert ensemble["A"].values != plain["A"].values
    assert sizes.count((16, 20)) == 1 + 4
    assert sizes.count((20, 16)) == 4


def test_protocols_that_collide_are_refused_before_any_work():
    with pytest.raises(InputError, match="both write psnr_y"):
        measure_sets(lambda batch: 1 / 0, {"A": batches()}, [PAPER, Protocol("p", "y", 0, "y")])


def test_an_infinite_value_makes_the_mean_infinite():
    result = SetResult(["a", "b"], {"psnr_y": [30.0, float("inf")]})
    assert result.means()["psnr_y"] == float("inf")
