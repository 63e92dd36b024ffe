import math

import pytest
import torch
from torch import nn

from esc_sr.analysis.spectrum import feature_spectra
from esc_sr.errors import InputError


def spectrum_of(*images):
    network = nn.Sequential(nn.Identity())
    return feature_spectra(network, ["0"], images)["0"]


def wave(frequency, size=32):
    x = torch.arange(float(size))
    return (1 + torch.cos(2 * math.pi * frequency * x)).expand(1, 3, size, size)


def test_a_wave_is_found_at_its_frequency():
    for cycles in (3, 12):
        found = spectrum_of(wave(cycles / 32))
        assert found.frequencies[found.log_amplitude.argmax()] == pytest.approx(cycles / 32)
        assert found.high_share == pytest.approx(float(cycles > 8), abs=1e-9)
        assert found.low_share == pytest.approx(1 - found.high_share)


def test_white_noise_is_flat():
    found = spectrum_of(*torch.randn(8, 4, 32, 48).split(3))
    assert found.frequencies[0] == pytest.approx(1 / 32)
    assert found.frequencies[-1] == 0.5
    assert found.log_amplitude[0] == 0
    assert found.log_amplitude.abs().max() < 0.25
    # what lies outside a circle of 0.25 in a square of side 1
    assert found.high_share == pytest.approx(1 - math.pi / 16, abs=0.02)


def test_blurring_takes_high_frequencies_away_and_flat_maps_have_none():
    noise = torch.randn(2, 3, 32, 32)
    blurred = spectrum_of(nn.functional.avg_pool2d(noise, 5, 1, 2))
    assert blurred.log_amplitude[-1] < -1
    assert blurred.high_share < 0.2
    flat = spectrum_of(torch.ones(1, 3, 8, 8))
    assert flat.high_share == 0
    assert flat.log_amplitude.isfinite().all()


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).movedim(1, 2)


def test_other_layouts_and_several_layers():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), Tokens())
    found = feature_spectra(network, ["1", "0"], torch.rand(2, 3, 8, 12).split(1))
    assert list(found) == ["0", "1"]
    assert len(found["0"].frequencies) == 4
    torch.testing.assert_close(found["1"].log_amplitude, found["0"].log_amplitude)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="one size"):
        spectrum_of(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(InputError, match="at least 4×4"):
        spectrum_of(torch.rand(1, 3, 3, 8))
