import sys
import types

import pytest
import torch
from torch import nn

from esc_sr.errors import InputError, MissingExtraError
from esc_sr.models.spandrel import SpandrelNetwork


class ImageModelDescriptor:
    """As much of spandrel's as is used: what it calls a loaded network."""

    def __init__(self, *, scale=2, channels=3):
        self.model = nn.Sequential(nn.Conv2d(channels, channels * 4, 1), nn.PixelShuffle(2))
        self.scale = scale
        self.input_channels = self.output_channels = channels
        self.architecture = types.SimpleNamespace(name="SPAN")

    def __call__(self, image):
        return self.model(image).clamp(0, 1)


@pytest.fixture
def spandrel(monkeypatch):
    """Stands for the package; the test says what it finds in a file."""
    package = types.ModuleType("spandrel")
    package.ImageModelDescriptor = ImageModelDescriptor
    package.found = ImageModelDescriptor()

    class ModelLoader:
        def __init__(self, device):
            assert device == "cpu"

        def load_from_file(self, path):
            if isinstance(package.found, Exception):
                raise package.found
            return package.found

    package.ModelLoader = ModelLoader
    monkeypatch.setitem(sys.modules, "spandrel", package)
    return package


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "span.pth"
    path.write_bytes(b"weights")
    return path


def test_a_network_of_another_architecture(spandrel, path):
    network = SpandrelNetwork(path=path)
    assert (network.scale, network.title) == (2, "SPAN")
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * 12 + 12


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (ImageModelDescriptor(), {"scale": 4}, "enlarges ×2, scale=4 was asked for; set scale=2"),
        (ImageModelDescriptor(channels=1), {}, "from 1 to 1 channels"),
        (object(), {}, "no network from one image to one image"),
        (ValueError("no such\narchitecture"), {}, "spandrel cannot read .*: no such$"),
        (KeyError(), {}, "spandrel cannot read .*: KeyError"),
    ],
)
def test_what_cannot_be_used_is_one_line(spandrel, path, found, options, message):
    spandrel.found = found
    with pytest.raises(InputError, match=message):
        SpandrelNetwork(path=path, **options)


def test_a_missing_file(spandrel, tmp_path):
    with pytest.raises(InputError, match="checkpoint not found"):
        SpandrelNetwork(path=tmp_path / "nowhere.pth")


def test_a_torchvision_for_another_torch_is_told_as_a_missing_extra(monkeypatch, path):
    """Its import raised RuntimeError (operator torchvision::nms does not exist): a traceback."""

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("esc_sr.errors.importlib.import_module", broken)
    with pytest.raises(MissingExtraError, match=r"nms does not exist.*esc-sr\[spandrel\]"):
        SpandrelNetwork(path=path)
