"""What the tests of biases and kernels share: random inputs and a reference written as a loop."""

import pytest
import torch

from esc_sr.attention.bias import AxialBias, FourierBias, TableBias

BIASES = {
    "table": TableBias(),
    "axial": AxialBias(),
    "fourier": FourierBias(rank=16),
    "fourier-fixed": FourierBias(rank=12, learned_frequencies=False),
}


@pytest.fixture(params=BIASES)
def bias(request):
    """Every kind of bias."""
    return BIASES[request.param]


@pytest.fixture(scope="session")
def random_parameters():
    """Make parameters of a size that moves the output: amplitudes of one, any frequencies."""

    def make(bias, heads, window, dtype=torch.float64, *, device="cpu", grad=False, seed=0):
        generator = torch.Generator().manual_seed(seed)
        parameters = {}
        for name, value in bias.initial(heads, window).items():
            drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            # Frequencies of both signs up to π, the highest that offsets of whole pixels know.
            drawn = drawn.clamp(-3, 3) if name == "fourier_frequencies" else drawn * 0.3
            parameters[name] = drawn.to(device, dtype).requires_grad_(grad)
        return parameters

    return make


@pytest.fixture(scope="session")
def random_qkv():
    """Make q, k and v of some windows."""

    def make(windows, heads, window, head_dim, dtype, *, device="cpu", grad=False, seed=1):
        generator = torch.Generator().manual_seed(seed)
        shape = (windows, heads, window[0] * window[1], head_dim)
        drawn = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
        return [value.to(device, dtype).requires_grad_(grad) for value in drawn]

    return make


@pytest.fixture(scope="session")
def loop_over_pairs():
    """Fill a dense bias pair by pair from `value_of(dy, dx)`, one value for each head."""

    def fill(value_of, heads, window):
        height, width = window
        tokens = [(y, x) for y in range(height) for x in range(width)]
        dense = torch.empty(heads, len(tokens), len(tokens), dtype=torch.float64)
        for i, (query_y, query_x) in enumerate(tokens):
            for j, (key_y, key_x) in enumerate(tokens):
                dense[:, i, j] = value_of(key_y - query_y, key_x - query_x)
        return dense

    return fill
