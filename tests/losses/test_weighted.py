from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from esc_sr.errors import InputError
from esc_sr.losses.charbonnier import CharbonnierLoss
from esc_sr.losses.weighted import WeightedLoss

CONF = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))


def test_terms_come_back_weighted_under_their_names():
    sr, gt = torch.rand(2, 1, 3, 8, 8)
    loss = WeightedLoss(
        terms={
            "l1": {"weight": 2.0, "loss": nn.L1Loss()},
            "tip": {"weight": 0.5, "loss": CharbonnierLoss(eps=0.1)},
        }
    )
    terms = loss(sr, gt)
    assert list(terms) == ["l1", "tip"]
    torch.testing.assert_close(terms["l1"], 2 * (sr - gt).abs().mean())
    torch.testing.assert_close(terms["tip"], 0.5 * CharbonnierLoss(eps=0.1)(sr, gt))


def test_a_term_of_weight_zero_is_not_computed():
    class Exploding(nn.Module):
        def forward(self, sr, gt):
            raise AssertionError("computed")

    loss = WeightedLoss(
        terms={
            "l1": {"weight": 1.0, "loss": nn.L1Loss()},
            "off": {"weight": 0.0, "loss": Exploding()},
        }
    )
    assert list(loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))) == ["l1"]


def test_terms_are_submodules_so_that_their_parameters_move_along():
    loss = WeightedLoss(terms={"net": {"weight": 1.0, "loss": nn.Bilinear(2, 2, 1)}})
    assert {p.dtype for p in loss.double().parameters()} == {torch.float64}


def test_gradient_under_autocast_is_that_of_the_parts():
    sr = torch.rand(1, 3, 8, 8, requires_grad=True)
    gt = torch.rand(1, 3, 8, 8)
    loss = WeightedLoss(terms={"l1": {"weight": 3.0, "loss": nn.L1Loss()}})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss(sr, gt)["l1"].backward()
    assert sr.grad is not None
    torch.testing.assert_close(sr.grad, 3 * (sr - gt).detach().sign() / sr.numel())


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "at least one term"),
        ({"a/b": {"weight": 1.0, "loss": nn.L1Loss()}}, "plain word"),
        ({"l1": {"weight": -1.0, "loss": nn.L1Loss()}}, "weight of loss term 'l1'"),
        ({"l1": {"weight": float("nan"), "loss": nn.L1Loss()}}, "finite"),
        ({"l1": {"weigth": 1.0, "loss": nn.L1Loss()}}, "weigth"),
        ({"l1": {"weight": 0.0, "loss": nn.L1Loss()}}, "nothing to learn"),
    ],
)
def test_mistakes_are_told(terms, message):
    with pytest.raises(InputError, match=message):
        WeightedLoss(terms=terms)


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_shipped_loss_is_zero_or_least_at_the_target_and_pulls_towards_it(path):
    config = OmegaConf.load(path)
    if config.get("_target_") != "esc_sr.losses.weighted.WeightedLoss":
        pytest.skip(f"{path.name} is not a weighted loss by itself")
    if not all(
        term.loss._target_.startswith(
            ("torch.", "esc_sr.losses.charbonnier", "esc_sr.losses.frequency")
        )
        for term in config.terms.values()
    ):
        pytest.skip(f"{path.name} needs weights or a discriminator")
    loss = instantiate(config, _convert_="all")
    gt = torch.rand(1, 3, 16, 16)
    sr = (gt + 0.1 * torch.randn(gt.shape)).requires_grad_()
    before = sum(loss(sr, gt).values())
    (gradient,) = torch.autograd.grad(before, sr)
    # A step along the error is a step down.
    assert (gradient * (sr - gt)).sum() > 0
    assert sum(loss(gt, gt).values()) < before
