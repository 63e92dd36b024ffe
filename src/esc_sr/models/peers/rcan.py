"""RCAN: residual channel attention network (Zhang et al., ECCV 2018, arXiv 1807.02758)."""

from __future__ import annotations

from torch import Tensor, nn

from esc_sr.errors import InputError, check_integers
from esc_sr.models.esc import NUM_COLORS
from esc_sr.models.peers.parts import pixel_shuffle_stages, rgb_mean

# The authors' network computes with 8-bit values; its biases, and so its weights, depend on that.
MAX_VALUE = 255.0


class ChannelAttention(nn.Module):
    """Weigh each channel by what the means of all channels say.

    Args:
        dim: Channels in and out.
        reduction: Narrowing of the channels between the two 1×1 convolutions.

    Source: Sec. 3.3.
    """

    def __init__(self, dim: int, reduction: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // reduction, 1),
            nn.ReLU(),
            nn.Conv2d(dim // reduction, dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` to the same shape."""
        return x * self.attention(x)


class RCAB(nn.Module):
    """Residual channel attention block: two convolutions and the attention, around a skip.

    Args:
        dim: Channels in and out.
        reduction: Narrowing inside the channel attention.

    Source: Sec. 3.3, Fig. 4.
    """

    def __init__(self, dim: int, reduction: int) -> None:
        super().__init__()
        self.rcab = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            ChannelAttention(dim, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` to the same shape."""
        return x + self.rcab(x)


class ResidualGroup(nn.Module):
    """Several RCAB and a convolution, around a skip.

    Args:
        dim: Channels in and out.
        num_blocks: RCAB in the group.
        reduction: Narrowing inside the channel attention.

    Source: Sec. 3.2, residual in residual.
    """

    def __init__(self, dim: int, *, num_blocks: int, reduction: int) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(*(RCAB(dim, reduction) for _ in range(num_blocks)))
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` to the same shape."""
        return x + self.conv(self.residual_group(x))


class RCAN(nn.Module):
    """RCAN for scales of 3 and powers of two, any image size, batch size and floating dtype.

    The defaults are the paper's network: 15,445 K / 15,629 K / 15,592 K parameters at ×2 / ×3 / ×4.
    Its channel attention sees the mean of the whole image. Parameters have BasicSR's names.

    Args:
        scale: Super-resolution factor, 3 or a power of two.
        dim: Channels of the features.
        num_groups: Residual groups.
        num_blocks: Residual channel attention blocks in a group.
        reduction: Narrowing inside the channel attention; at most dim.

    Raises:
        InputError: A value is out of range; the message names it.

    Source: Zhang et al., ECCV 2018, Sec. 3; the mean color and the range of values are those of
        the authors' code.

    Example:
        >>> import torch
        >>> network = RCAN(scale=2, dim=8, num_groups=1, num_blocks=2, reduction=4)
        >>> network(torch.rand(1, 3, 5, 7)).shape
        torch.Size([1, 3, 10, 14])
    """

    mean: Tensor

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 64,
        num_groups: int = 10,
        num_blocks: int = 20,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        check_integers(
            1,
            scale=scale,
            dim=dim,
            num_groups=num_groups,
            num_blocks=num_blocks,
            reduction=reduction,
        )
        if reduction > dim:
            raise InputError(f"model.reduction={reduction} must not exceed model.dim={dim}")
        self.scale = scale
        self.register_buffer("mean", rgb_mean(), persistent=False)
        self.conv_first = nn.Conv2d(NUM_COLORS, dim, 3, padding=1)
        self.body = nn.Sequential(
            *(
                ResidualGroup(dim, num_blocks=num_blocks, reduction=reduction)
                for _ in range(num_groups)
            )
        )
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.upsample = pixel_shuffle_stages(dim, scale)
        self.conv_last = nn.Conv2d(dim, NUM_COLORS, 3, padding=1)

    @property
    def title(self) -> str:
        """What tables call it."""
        return "RCAN"

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1].

        Returns:
            `(B, 3, s·H, s·W)`, not clamped.
        """
        shallow = self.conv_first((lq - self.mean) * MAX_VALUE)
        deep = self.conv_after_body(self.body(shallow)) + shallow
        return self.conv_last(self.upsample(deep)) / MAX_VALUE + self.mean
