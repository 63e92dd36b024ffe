"""DySample: enlarge features by sampling them where the features themselves say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.errors import InputError

NUM_GROUPS = 4  # of channels, each sampled at positions of its own


class DySample(nn.Module):
    """Sample features bilinearly at learned positions, and make an image of the samples.

    Every output pixel of every group of channels is read at its own place in the low-resolution
    features, moved by an offset that a 1×1 convolution makes, times half a gate in (0, 1) made by
    another. Beyond the border the features go on as they end. Without offsets it is bilinear
    interpolation. On CUDA PyTorch has no deterministic gradient of sampling, and says so where
    `trainer.deterministic=true` asks for one.

    Args:
        dim: Channels of the features, a multiple of four.
        scale: Factor, at least 1.
        num_colors: Channels of the image.

    Raises:
        InputError: The channels do not divide into the groups.

    Source: Liu et al., "Learning to Upsample by Learning to Sample", ICCV 2023 (arXiv 2308.15085),
    with static initial positions and a dynamic scope factor; names are those of the authors' ESC.
    """

    init_pos: Tensor

    def __init__(self, *, dim: int, scale: int, num_colors: int = 3) -> None:
        super().__init__()
        if dim % NUM_GROUPS:
            raise InputError(
                f"model.upsampler=dysample samples {NUM_GROUPS} groups of channels, which "
                f"{dim} channels do not divide into; change model.mid_dim or model.dim"
            )
        self.scale = scale
        num_coordinates = 2 * NUM_GROUPS * scale**2
        self.end_conv = nn.Conv2d(dim, num_colors, 1)
        self.offset = nn.Conv2d(dim, num_coordinates, 1)
        self.scope = nn.Conv2d(dim, num_coordinates, 1, bias=False)
        nn.init.trunc_normal_(self.offset.weight, std=0.02)
        nn.init.zeros_(self.scope.weight)
        self.register_buffer("init_pos", initial_positions(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge features.

        Args:
            x: `(B, dim, H, W)`.

        Returns:
            `(B, num_colors, s·H, s·W)`, in the type of `x`.
        """
        batch, _, height, width = x.shape
        offset = self.offset(x) * self.scope(x).sigmoid() * 0.5
        # 16 bits do not tell the pixels of an image apart.
        offset = offset.float() + self.init_pos.float()
        across, down = offset.unflatten(1, (2, -1)).unbind(1)
        columns = torch.arange(width, device=x.device) + 0.5
        rows = (torch.arange(height, device=x.device) + 0.5).unsqueeze(-1)
        positions = [
            F.pixel_shuffle((centres + moved) * (2 / side) - 1, self.scale)
            for centres, moved, side in ((columns, across, width), (rows, down, height))
        ]
        grid = torch.stack(positions, -1)
        # The last convolution is linear, pixel by pixel, and so is sampling: colours are sampled
        # in the place of all channels, the same in a fraction of time and memory.
        colors = self._colors_of_groups(x).float()
        sampled = F.grid_sample(
            colors.reshape(batch * NUM_GROUPS, -1, height, width),
            grid.flatten(0, 1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        image = sampled.reshape(batch, NUM_GROUPS, -1, *sampled.shape[-2:]).sum(1)
        assert self.end_conv.bias is not None
        return image.to(x.dtype) + self.end_conv.bias.to(x.dtype).view(1, -1, 1, 1)

    def _colors_of_groups(self, x: Tensor) -> Tensor:
        """Return what each group of channels adds to the image, `(B, groups · colours, H, W)`."""
        weight = self.end_conv.weight
        by_group = weight.unflatten(1, (NUM_GROUPS, -1)).transpose(0, 1).flatten(0, 1)
        return F.conv2d(x, by_group, groups=NUM_GROUPS)


def initial_positions(scale: int) -> Tensor:
    """Return where in a low-resolution pixel the pixels of the result lie, from its centre.

    Args:
        scale: Factor.

    Returns:
        `(1, 2 · groups · s², 1, 1)`: first all steps across, then all steps down, each for every
        group, row by row.

    Example:
        >>> initial_positions(2)[0, :4, 0, 0]
        tensor([-0.2500,  0.2500, -0.2500,  0.2500])
    """
    steps = (torch.arange(scale) + 0.5) / scale - 0.5
    across, down = steps.expand(scale, scale), steps.unsqueeze(-1).expand(scale, scale)
    groups = [one.expand(NUM_GROUPS, scale, scale) for one in (across, down)]
    return torch.stack(groups).reshape(1, -1, 1, 1)
