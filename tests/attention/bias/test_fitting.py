import pytest
import torch

from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.bias.fitting import fit_bias
from esc_sr.attention.bias.offsets import offset_grid, share_of_pairs, without_mean
from esc_sr.attention.bias.waves import ROUNDING, best_waves
from esc_sr.errors import InputError

ALL = [
    TableBias(),
    AxialBias(),
    FourierBias(rank=8),
    FourierBias(rank=8, learned_frequencies=False),
]
WINDOWS = [(1, 1), (1, 6), (4, 4), (3, 7), (8, 8)]


def drawn(heads, window, seed=0):
    generator = torch.Generator().manual_seed(seed)
    offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
    return torch.randn(heads, offsets, generator=generator, dtype=torch.float64)


def smooth(window, sides=(3.0, 8.0)):
    dy, dx = offset_grid(window)
    return torch.stack([3 * torch.exp(-(dy**2 + dx**2) / (2 * s**2)) for s in sides])


@pytest.mark.parametrize("window", WINDOWS)
def test_the_share_of_pairs_is_counted(window):
    height, width = window
    tokens = [(y, x) for y in range(height) for x in range(width)]
    counted = torch.zeros(2 * height - 1, 2 * width - 1, dtype=torch.float64)
    for query in tokens:
        for key in tokens:
            counted[key[0] - query[0] + height - 1, key[1] - query[1] + width - 1] += 1
    torch.testing.assert_close(share_of_pairs(window), counted.flatten() / len(tokens) ** 2)


@pytest.mark.parametrize("bias", ALL, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_what_is_left_is_measured_over_the_pairs_of_a_window(bias, window):
    values = drawn(2, window)
    fit = fit_bias(bias, values, window)
    fitted, wanted = (
        kind.bind(parameters, window).dense().flatten(1)
        for kind, parameters in (
            (bias, fit.parameters),
            (TableBias(), {"relative_position_bias": values}),
        )
    )
    wanted = wanted - wanted.mean(1, keepdim=True)
    difference = fitted - fitted.mean(1, keepdim=True) - wanted
    size = wanted.square().mean(1).sqrt()
    expected = torch.where(size > 1e-12, difference.square().mean(1).sqrt() / size, 0.0)
    torch.testing.assert_close(fit.rms, size)
    torch.testing.assert_close(fit.relative_rms, expected)
    torch.testing.assert_close(fit.largest, difference.abs().amax(1))
    assert fit.relative_rms.shape == (2,)
    assert (fit.relative_rms <= 1).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_a_table_is_the_values_themselves(window):
    values = drawn(3, window)
    fit = fit_bias(TableBias(), values, window)
    assert torch.equal(fit.parameters["relative_position_bias"], values)
    assert fit.largest.max() == 0


@pytest.mark.parametrize("bias", ALL, ids=str)
def test_values_that_a_bias_makes_are_found_again(bias, random_parameters):
    window = (6, 7)
    values = bias.bind(random_parameters(bias, 2, window), window).values()
    fit = fit_bias(bias, values, window)
    # Amplitudes cost a little, and one descent may end beside the waves that were drawn.
    tolerance = {"fourier": 0.15 if getattr(bias, "learned_frequencies", False) else 1e-4}
    assert fit.relative_rms.max() <= tolerance.get(bias.kind, 1e-12)


def test_an_axial_fit_is_the_best_of_least_squares():
    window = (4, 5)
    values, share = drawn(1, window), share_of_pairs(window)
    dy, dx = (d.long() for d in offset_grid(window))
    columns = torch.cat([torch.eye(7)[dy + 3], torch.eye(9)[dx + 4]], dim=1).double()
    root = share.sqrt()[:, None]
    target = without_mean(values, share).T
    solution = torch.linalg.lstsq(root * columns, root * target, driver="gelsd").solution
    expected = ((root * (columns @ solution - target)).norm() / (root * target).norm()).item()
    fit = fit_bias(AxialBias(), values, window)
    assert fit.relative_rms.item() == pytest.approx(expected, rel=1e-9)


def test_amplitudes_are_the_best_of_least_squares():
    window = (5, 6)
    values, share = drawn(1, window), share_of_pairs(window)
    frequencies = torch.tensor([[[0.3, 0.9], [1.2, -0.4]]], dtype=torch.float64)
    target = without_mean(values, share)
    waves = best_waves(frequencies, target, window)
    root = share.sqrt()[:, None]
    price = ROUNDING**0.5 * torch.eye(4, dtype=torch.float64)
    columns = torch.cat([root * waves.basis[0].T, price])
    wanted = torch.cat([root * target.T, torch.zeros(4, 1, dtype=torch.float64)])
    expected = torch.linalg.lstsq(columns, wanted).solution[:, 0]
    torch.testing.assert_close(waves.amplitudes[0], expected)


@pytest.mark.parametrize("window", [(8, 8), (5, 12)])
def test_more_waves_and_refinement_come_nearer(window):
    values = smooth(window)
    left = {
        (rank, refine): fit_bias(FourierBias(rank=rank), values, window, refine=refine).relative_rms
        for rank in (4, 16)
        for refine in (False, True)
    }
    assert (left[16, True] < left[16, False]).all()
    assert (left[4, True] < left[4, False]).all()
    assert (left[16, False] < left[4, False]).all()
    assert left[16, True].max() < 0.02


def test_a_constant_is_not_seen():
    window = (6, 6)
    fit, moved = (fit_bias(FourierBias(rank=6), smooth(window) + c, window) for c in (0, 50))
    torch.testing.assert_close(fit.relative_rms, moved.relative_rms, rtol=1e-6, atol=0)
    constant = fit_bias(FourierBias(rank=6), torch.full((2, 121), 3.0), window)
    assert constant.relative_rms.max() == 0
    assert constant.largest.max() < 1e-12


def test_large_waves_that_cancel_are_avoided():
    """A parabola is the limit of two opposite waves of no frequency: amplitudes without end."""
    window = (32, 32)
    dy, dx = offset_grid(window)
    fit = fit_bias(FourierBias(rank=16), ((dy**2 + dx**2) / 256)[None], window)
    assert fit.relative_rms.max() < 0.01
    assert fit.largest_amplitude < 8
    of_query, of_key = FourierBias(rank=16).bind(fit.parameters, window).features()
    exact = of_query @ of_key.transpose(1, 2)
    rounded = of_query.bfloat16().double() @ of_key.bfloat16().double().transpose(1, 2)
    mask = exact.bfloat16().double()
    errors = [(value - exact).square().mean().sqrt() for value in (rounded, mask)]
    assert errors[0] < 3 * errors[1]


def test_frequencies_stay_below_the_sign_that_pixels_tell():
    fit = fit_bias(FourierBias(rank=32), drawn(2, (6, 6)), (6, 6))
    assert fit.parameters["fourier_frequencies"].abs().max() <= torch.pi
    assert fit.parameters["fourier_frequencies"].shape == (2, 16, 2)


def test_what_cannot_be_fitted_is_told():
    with pytest.raises(ValueError, match=r"expected \(heads, 49\) values of a 4×4 window"):
        fit_bias(FourierBias(), torch.zeros(2, 48), (4, 4))
    with pytest.raises(ValueError, match="not finite"):
        fit_bias(FourierBias(), torch.full((2, 49), torch.inf), (4, 4))

    class OtherBias:
        kind = "other"

    with pytest.raises(InputError, match="how to fit the bias 'other'"):
        fit_bias(OtherBias(), torch.zeros(2, 49), (4, 4))
