import math

import pytest
import torch
from torch import nn

from esc_sr.analysis.kernels import (
    dynamic_kernels,
    image_dependence,
    kernel_spectrum,
    kernel_strength,
    outer_share,
    shared_large_kernel,
)
from esc_sr.errors import InputError
from esc_sr.functional.geometry import dihedral, dihedral_mean
from esc_sr.models.esc import ESC
from esc_sr.models.esc_fp import ESCFP

TINY = {
    "scale": 2, "dim": 8, "partial_dim": 4, "num_blocks": 2, "num_conv_attn": 2,
    "large_kernel_size": 5, "window_size": 4, "num_heads": 2,
}  # fmt: skip


def noisy(cls):
    network = cls(**TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network


@pytest.mark.parametrize(("cls", "shape"), [(ESC, (4, 4, 5, 5)), (ESCFP, (4, 1, 5, 5))])
def test_the_shared_kernel_is_the_one_that_convolves(cls, shape):
    network = noisy(cls)
    kernel = shared_large_kernel(network)
    assert kernel.shape == shape
    assert not kernel.requires_grad
    parameter = network.get_parameter(network.large_kernel_names[-1])
    assert torch.equal(kernel, dihedral_mean(parameter) if cls is ESC else parameter)
    strength = kernel_strength(kernel)
    assert strength[1, 3] == pytest.approx(float(kernel[..., 1, 3].square().mean().sqrt()))
    if cls is ESC:
        for i in range(8):
            torch.testing.assert_close(dihedral(strength, i), strength)


def test_the_spectrum_of_known_kernels():
    dot, box = torch.zeros(1, 1, 5, 5), torch.full((1, 1, 5, 5), 1 / 25)
    dot[..., 2, 2] = 1
    torch.testing.assert_close(kernel_spectrum(dot, 16), torch.ones(16, 16, dtype=torch.float64))
    spectrum = kernel_spectrum(box, 20)
    assert spectrum[10, 10] == pytest.approx(1)  # frequency 0
    # Dirichlet: sin(5πf) / (5 sin(πf)) at f = 3/20
    f = math.pi * 3 / 20
    assert spectrum[10, 13] == pytest.approx(abs(math.sin(5 * f) / (5 * math.sin(f))))
    assert spectrum[10, 14] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="at least the kernel's 5"):
        kernel_spectrum(box, 4)
    assert outer_share(dot) == 0
    assert outer_share(box) == pytest.approx(16 / 25)
    assert outer_share(torch.zeros(1, 1, 5, 5)) == 0


@pytest.mark.parametrize("cls", [ESC, ESCFP])
def test_dynamic_kernels_are_those_of_each_image(cls):
    network, images = noisy(cls), torch.rand(3, 3, 8, 8)
    found = dynamic_kernels(network, images.split(2))
    assert list(found) == [f"blocks.{b}.pconvs.{c}.plk" for b in (0, 1) for c in (0, 1)]
    assert {kernels.shape for kernels in found.values()} == {(3, 4, 3, 3)}
    alone = dynamic_kernels(network, [images[2:]])
    for name in found:
        torch.testing.assert_close(found[name][2:], alone[name], rtol=1e-4, atol=1e-5)
        assert 0 < image_dependence(found[name]) < 1


def test_how_far_kernels_depend_on_the_image():
    assert image_dependence(torch.zeros(4, 2, 3, 3)) == 0
    same = torch.randn(1, 2, 3, 3).expand(4, 2, 3, 3)
    assert image_dependence(same) == pytest.approx(0, abs=1e-12)
    assert image_dependence(torch.cat([same, -same])) == pytest.approx(1)
    assert image_dependence(torch.tensor([1.0, 3]).reshape(2, 1, 1, 1)) == pytest.approx(0.2)


def test_other_networks_are_refused():
    with pytest.raises(InputError, match="Conv2d has no shared large kernel"):
        shared_large_kernel(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match="makes no kernels from its input"):
        dynamic_kernels(nn.Conv2d(3, 3, 1), [])
    with pytest.raises(InputError, match=r"ESC \(no dynamic kernel\) makes no kernels"):
        dynamic_kernels(ESC(**TINY, dynamic_kernel=False), [])
    with pytest.raises(InputError, match=r"made with model\.shared_large_kernel=false"):
        shared_large_kernel(ESC(**TINY, shared_large_kernel=False))
