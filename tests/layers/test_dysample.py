"""Against sampling written out pixel by pixel; there is no file of the authors' to compare with."""

import math

import pytest
import torch
import torch.nn.functional as F

from esc_sr.errors import InputError
from esc_sr.layers.dysample import NUM_GROUPS, DySample, initial_positions


def made(scale, dim=8, *, strength=2.0):
    """Make one whose offsets reach across pixels and beyond the borders."""
    torch.manual_seed(0)
    module = DySample(dim=dim, scale=scale)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * strength)
    return module


def written_out(module, x):
    """Offsets, gate, positions, four neighbours, all channels, and the convolution behind them."""
    scale, (batch, dim, height, width) = module.scale, x.shape
    offset = F.conv2d(x, module.offset.weight, module.offset.bias)
    offset = offset * 0.5 / (1 + torch.exp(-F.conv2d(x, module.scope.weight)))
    offset = offset.reshape(batch, 2, NUM_GROUPS, scale, scale, height, width)
    images = []
    for b in range(batch):
        rows = []
        for i in range(height * scale):
            for j in range(width * scale):
                row, column, down, right = i // scale, j // scale, i % scale, j % scale
                pixel = []
                for group in range(NUM_GROUPS):
                    dx, dy = offset[b, :, group, down, right, row, column]
                    # where the centre of the output pixel lies, in input pixels
                    px = (column + (right + 0.5) / scale + dx - 0.5).clamp(0, width - 1)
                    py = (row + (down + 0.5) / scale + dy - 0.5).clamp(0, height - 1)
                    x0, y0 = math.floor(px.item()), math.floor(py.item())
                    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                    part = x[b, group * dim // NUM_GROUPS : (group + 1) * dim // NUM_GROUPS]
                    upper = part[:, y0, x0] * (1 - (px - x0)) + part[:, y0, x1] * (px - x0)
                    lower = part[:, y1, x0] * (1 - (px - x0)) + part[:, y1, x1] * (px - x0)
                    pixel.append(upper * (1 - (py - y0)) + lower * (py - y0))
                rows.append(torch.cat(pixel))
        images.append(torch.stack(rows, -1).reshape(dim, height * scale, width * scale))
    return module.end_conv(torch.stack(images))


@pytest.mark.parametrize(("scale", "size"), [(1, (3, 2)), (2, (2, 3)), (3, (1, 2))])
def test_it_samples_as_written_out_and_has_its_gradients(scale, size):
    module = made(scale)
    x = torch.randn(2, 8, *size, requires_grad=True)
    found, expected = module(x), written_out(module, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    wanted = [x, *module.parameters()]
    direction = torch.randn_like(found)
    gradients = torch.autograd.grad(found, wanted, direction)
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected, wanted, direction), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_offsets_it_is_bilinear_interpolation(scale):
    module = made(scale)
    torch.nn.init.zeros_(module.offset.weight)
    torch.nn.init.zeros_(module.offset.bias)
    x = torch.randn(2, 8, 5, 7)
    enlarged = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(x), module.end_conv(enlarged), rtol=1e-4, atol=1e-5)


def test_an_offset_of_one_pixel_moves_the_image_and_repeats_the_border():
    module = made(2)
    with torch.no_grad():
        for parameter in (module.offset.weight, module.offset.bias, module.scope.weight):
            parameter.zero_()
        module.offset.bias[: module.offset.bias.numel() // 2] = 4.0  # × gate 1/2 × 1/2, across
    x = torch.randn(1, 8, 5, 7)
    moved = torch.cat([x[..., 1:], x[..., -1:]], -1)
    still = made(2)
    torch.nn.init.zeros_(still.offset.weight)
    torch.nn.init.zeros_(still.offset.bias)
    expected = still(moved)
    # The first column lies left of the middle of its pixel, and there was one to its left.
    torch.testing.assert_close(module(x)[..., 1:], expected[..., 1:], rtol=1e-4, atol=1e-5)


def test_names_and_shapes_are_the_authors():
    assert {name: tuple(value.shape) for name, value in made(3).state_dict().items()} == {
        "end_conv.weight": (3, 8, 1, 1),
        "end_conv.bias": (3,),
        "offset.weight": (72, 8, 1, 1),
        "offset.bias": (72,),
        "scope.weight": (72, 8, 1, 1),
        "init_pos": (1, 72, 1, 1),
    }
    third = 1 / 3
    across, down = initial_positions(3).reshape(2, NUM_GROUPS, 9)
    for group in range(NUM_GROUPS):
        torch.testing.assert_close(across[group], torch.tensor([-third, 0, third] * 3))
        torch.testing.assert_close(down[group], torch.tensor([-third] * 3 + [0] * 3 + [third] * 3))


def test_positions_keep_their_digits_in_16_bits():
    """In bfloat16 a position beyond pixel 256 is off by a pixel."""
    module, x = made(2, strength=0.1), torch.randn(1, 8, 2, 600)
    expected = module.bfloat16().float()(x.bfloat16().float())
    found = module.bfloat16()(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_channels_that_do_not_divide_are_named():
    with pytest.raises(InputError, match="samples 4 groups of channels, which 10 channels do not"):
        DySample(dim=10, scale=2)
