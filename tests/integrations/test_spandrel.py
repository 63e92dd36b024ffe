"""With the real package where it is installed, else with as much of its interface as is used."""

import sys
import types
from importlib.util import find_spec

import pytest
import torch

from esc_sr import create_model
from esc_sr.errors import MissingExtraError
from esc_sr.integrations import spandrel as integration
from esc_sr.models.peers.rdn import RDN

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}
IDS = ["ESC", "ESCFP", "ESCReal", "ESCRealM"]


class Architecture:
    def __init__(self, *, id, detect, name=None):
        self.id, self.name, self.detect = id, name or id, detect


class ArchSupport:
    def __init__(self, architecture):
        self.architecture = architecture

    @classmethod
    def from_architecture(cls, architecture):
        return cls(architecture)


class Registry:
    def __init__(self):
        self.by_id = {}

    def add(self, *supports, ignore_duplicates=False):
        assert ignore_duplicates
        new = [one for one in supports if one.architecture.id not in self.by_id]
        self.by_id |= {one.architecture.id: one for one in new}
        return new

    def load(self, state_dict):
        for support in self.by_id.values():
            if support.architecture.detect(state_dict):
                return support.architecture.load(state_dict)
        raise LookupError("unsupported")


class ImageModelDescriptor:
    def __init__(
        self, model, state_dict, architecture, purpose, tags, supports_half, supports_bfloat16,
        scale, input_channels, output_channels,
    ):  # fmt: skip
        assert input_channels == output_channels == 3
        model.load_state_dict(state_dict)  # as spandrel does once more
        self.model, self.architecture = model, architecture
        self.purpose, self.tags, self.scale = purpose, tags, scale

    def __call__(self, image):
        return self.model(image).clamp(0, 1)


@pytest.fixture
def spandrel(monkeypatch):
    if find_spec("spandrel") is not None:
        import spandrel

        monkeypatch.setattr(spandrel, "MAIN_REGISTRY", spandrel.MAIN_REGISTRY.copy())
        return spandrel
    package = types.ModuleType("spandrel")
    parts = {"Architecture": Architecture, "ArchSupport": ArchSupport, "MAIN_REGISTRY": Registry()}
    for name, part in (parts | {"ImageModelDescriptor": ImageModelDescriptor}).items():
        setattr(package, name, part)
    monkeypatch.setitem(sys.modules, "spandrel", package)
    return package


def test_it_is_installed_once(spandrel):
    assert integration.install() == IDS
    assert integration.install() == []


@pytest.mark.parametrize(
    ("name", "changes", "shown"),
    [
        ("esc", {"scale": 2}, ("ESC", "SR", ["16dim", "1x1", "8win"])),
        ("esc_fp", {"scale": 3, "num_heads": 2}, ("ESC-FP", "SR", ["16dim", "1x1", "8win"])),
        ("esc_real", {}, ("ESC-Real", "SR", ["16dim", "1x1", "8win"])),
        ("esc_real_m", {"scale": 1}, ("ESC-Real-M", "Restoration", ["16dim", "1x1", "8win"])),
        (
            "esc",
            {"scale": 2, "attention": "conv_attn", "dynamic_kernel": False},
            ("ESC", "SR", ["16dim", "1x1", "conv_attn", "no dynamic kernel"]),
        ),
    ],
)
def test_a_network_is_detected_and_computes_what_it_does_here(spandrel, name, changes, shown):
    integration.install()
    network = create_model(name, **TINY, **changes)
    found = spandrel.MAIN_REGISTRY.load(network.state_dict())
    assert (found.architecture.name, found.purpose, found.tags) == shown
    assert found.scale == network.scale
    lq = torch.rand(1, 3, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(found(lq), network(lq).clamp(0, 1))


def test_names_of_neosr_are_ours_to_spandrel_too(spandrel):
    integration.install()
    changes = {"upsampler": "dysample", "mid_dim": 16, "unshuffle": False}
    network = create_model("esc_real_m", **TINY, **changes)
    theirs = {
        name.replace("to_img.0.", "to_img."): value
        for name, value in network.state_dict().items()
        if not name.endswith("MetaUpsample")
    }
    found = spandrel.MAIN_REGISTRY.load(theirs)
    assert found.architecture.name == "ESC-Real-M"
    lq = torch.rand(1, 3, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(found(lq), network(lq).clamp(0, 1))


def test_others_weights_are_left_to_others():
    others = RDN(scale=2, dim=8, num_blocks=1, num_layers=1, growth=4).state_dict()
    for weights in (
        others,
        {},
        {"plk_filter": torch.ones(3)},
        {"plk_filter": torch.ones(2, 2, 3, 3)},
    ):
        assert not any(integration.is_of(weights, name) for name in IDS)
    ours = create_model("esc", **TINY).state_dict()
    assert [name for name in IDS if integration.is_of(ours, name)] == ["ESC"]


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match=r"esc-sr\[spandrel\]"):
        integration.install()
