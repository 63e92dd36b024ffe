"""RDN: residual dense network (Zhang et al., CVPR 2018, arXiv 1802.08797)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.errors import check_integers
from esc_sr.models.esc import NUM_COLORS
from esc_sr.models.peers.parts import pixel_shuffle_stages


class DenseLayer(nn.Module):
    """Append new channels to those there are.

    Args:
        dim: Channels in.
        growth: Channels appended.
    """

    def __init__(self, dim: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` to `(B, dim + growth, H, W)`."""
        return torch.cat([x, F.relu(self.conv(x))], dim=1)


class ResidualDenseBlock(nn.Module):
    """Densely connected layers, narrowed again by a 1×1 convolution, around a skip.

    Args:
        dim: Channels in and out, G0 of the paper.
        growth: Channels that each layer appends, G.
        num_layers: Layers, C.

    Source: Sec. 3.2; `lff` is the local feature fusion.
    """

    def __init__(self, dim: int, *, growth: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(DenseLayer(dim + i * growth, growth) for i in range(num_layers))
        )
        self.lff = nn.Conv2d(dim + num_layers * growth, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, dim, H, W)` to the same shape."""
        return x + self.lff(self.layers(x))


class RDN(nn.Module):
    """RDN for scales of 3 and powers of two, any image size, batch size and floating dtype.

    The defaults are the network of the paper's tables, D = 16, C = 8, G = 64: 22,123 K / 22,308 K /
    22,271 K parameters at ×2 / ×3 / ×4. No mean color is subtracted. Parameters have the names of
    the PyTorch checkpoints in circulation: `sfe` the shallow features, `rdbs` the blocks, `gff` the
    global feature fusion.

    Args:
        scale: Super-resolution factor, 3 or a power of two.
        dim: Channels of the features, G0 of the paper.
        growth: Channels that each dense layer appends, G.
        num_blocks: Residual dense blocks, D.
        num_layers: Dense layers in a block, C.

    Raises:
        InputError: A value is out of range; the message names it.

    Source: Zhang et al., CVPR 2018, Sec. 3.

    Example:
        >>> import torch
        >>> network = RDN(scale=3, dim=8, growth=4, num_blocks=2, num_layers=2)
        >>> network(torch.rand(1, 3, 5, 7)).shape
        torch.Size([1, 3, 15, 21])
    """

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 64,
        growth: int = 64,
        num_blocks: int = 16,
        num_layers: int = 8,
    ) -> None:
        super().__init__()
        check_integers(
            1, scale=scale, dim=dim, growth=growth, num_blocks=num_blocks, num_layers=num_layers
        )
        self.scale = scale
        self.sfe1 = nn.Conv2d(NUM_COLORS, dim, 3, padding=1)
        self.sfe2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.rdbs = nn.ModuleList(
            ResidualDenseBlock(dim, growth=growth, num_layers=num_layers) for _ in range(num_blocks)
        )
        self.gff = nn.Sequential(
            nn.Conv2d(num_blocks * dim, dim, 1), nn.Conv2d(dim, dim, 3, padding=1)
        )
        self.upscale = pixel_shuffle_stages(dim, scale)
        self.output = nn.Conv2d(dim, NUM_COLORS, 3, padding=1)

    @property
    def title(self) -> str:
        """What tables call it."""
        return "RDN"

    def hierarchical_features(self, x: Tensor) -> Tensor:
        """Run the blocks on `(B, dim, H, W)`; return all results, `(B, num_blocks·dim, H, W)`."""
        results = []
        for block in self.rdbs:
            x = block(x)
            results.append(x)
        return torch.cat(results, dim=1)

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1].

        Returns:
            `(B, 3, s·H, s·W)`, not clamped.
        """
        shallow = self.sfe1(lq)
        deep = self.gff(self.hierarchical_features(self.sfe2(shallow))) + shallow
        return self.output(self.upscale(deep))
