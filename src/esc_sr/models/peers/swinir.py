"""SwinIR-light: restoration by shifted windows (Liang et al., ICCVW 2021, arXiv 2108.10257)."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.attention.bias import BoundTableBias
from esc_sr.attention.sdpa import SDPAKernel
from esc_sr.errors import InputError, check_integers
from esc_sr.functional.windows import (
    crop,
    from_windows,
    is_open,
    pad_to_multiple,
    to_windows,
)
from esc_sr.models.esc import NUM_COLORS
from esc_sr.models.peers.parts import rgb_mean

# Windows of 8×8 are small: so many make the calls, and the gradient of the bias, that fit a GPU.
_ATTEND = SDPAKernel(max_windows=4096)


class ShiftedWindowAttention(nn.Module):
    """Attend within windows, which every second block shifts by half a window.

    Swin rolls the map cyclically and masks what came from the opposite border out. So masked, a
    window at a border is two or four smaller windows that do not see each other; they are cut from
    the map that was not rolled, and there is nothing to mask.

    Args:
        dim: Channels in and out.
        num_heads: Heads; divides dim.
        window_size: Side of the windows.
        shift: How far right and down the windows are moved; less than `window_size`.

    Source: Liu et al., ICCV 2021, Sec. 3.2; Liang et al., Sec. 3.2. The table is the authors',
        `((2·window_size − 1)², heads)`, offset query minus key, row-major.
    """

    def __init__(self, dim: int, *, num_heads: int, window_size: int, shift: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.softmax_scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, dim)` to the same shape; H and W are multiples of the window."""
        qkv = self.qkv(x).movedim(3, 1)  # B, 3·dim, H, W
        if is_open(*qkv.shape[-2:]):
            return self.proj(self._attend_padded(qkv).movedim(1, 3))
        rows = []
        for band, height in self._bands(qkv, -2):
            parts = [self._attend(part, (height, width)) for part, width in self._bands(band, -1)]
            rows.append(torch.cat(parts, dim=-1))
        return self.proj(torch.cat(rows, dim=-2).movedim(1, 3))

    def attention_map(self, x: Tensor) -> Tensor:
        """Return where each token looks, in the whole windows that Swin rolls and masks.

        Args:
            x: `(B, H, W, dim)`, what `forward` gets.

        Returns:
            `softmax(q kᵀ · scale + bias)`, `(B·nW, heads, N, N)`, query before key, in float32 at
            least; 0 between what the roll has brought together, rows sum to 1.
        """
        side, height, width = self.window_size, x.shape[1], x.shape[2]
        window = (side, side)
        rolled = self.qkv(x).movedim(3, 1).roll((-self.shift, -self.shift), (2, 3))
        q, k, _ = to_windows(rolled, window, 3 * self.num_heads).chunk(3, dim=1)
        # Tokens of a window see each other if the roll has brought them across the same borders.
        came_over = [torch.arange(n, device=x.device) >= n - self.shift for n in (height, width)]
        region = 2 * came_over[0][:, None].int() + came_over[1]
        region = to_windows(region[None, None], window, 1).flatten(1)  # nW, N
        apart = (region[:, :, None] != region[:, None, :]).repeat(len(x), 1, 1)[:, None]
        scores = (q * self.softmax_scale) @ k.transpose(-2, -1)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        scores = scores + self._bias(window).dense()
        return scores.masked_fill(apart, -torch.inf).softmax(-1)

    def _bands(self, x: Tensor, dim: int) -> list[tuple[Tensor, int]]:
        """Split a side into what comes before, in and behind whole windows; with their windows."""
        side, shift, length = self.window_size, self.shift, x.shape[dim]
        if shift == 0:
            return [(x, side)]
        bands = x.split([shift, length - side, side - shift], dim)
        windows = (shift, side, side - shift)
        return [(b, w) for b, w in zip(bands, windows, strict=True) if b.shape[dim] > 0]

    def _attend(self, qkv: Tensor, window_size: tuple[int, int]) -> Tensor:
        """Map `(B, 3·dim, H, W)` to `(B, dim, H, W)` in windows of this size."""
        q, k, v = to_windows(qkv, window_size, 3 * self.num_heads).chunk(3, dim=1)
        out = _ATTEND(q, k, v, bias=self._bias(window_size), softmax_scale=self.softmax_scale)
        return from_windows(out, window_size, (qkv.shape[-2], qkv.shape[-1]))

    def _attend_padded(self, qkv: Tensor) -> Tensor:
        """Do what `forward` does with bands, for sides that are still open.

        Whether there is a band between the two at the borders must not be asked. The map is
        surrounded instead, so that all windows are whole, and nobody sees what lies around it.
        """
        side, height, width = self.window_size, qkv.shape[-2], qkv.shape[-1]
        before, behind = (side - self.shift, self.shift) if self.shift else (0, 0)
        window = (side, side)
        padded = F.pad(qkv, (before, behind, before, behind)) if self.shift else qkv
        q, k, v = to_windows(padded, window, 3 * self.num_heads).chunk(3, dim=1)
        scores = (q * self.softmax_scale) @ k.transpose(-2, -1) + self._bias(window).dense()
        if self.shift:
            rows, columns = (
                (position < before) | (position >= before + length)
                for length in (height, width)
                for position in [torch.arange(length + side, device=qkv.device)]
            )
            outside = rows.view(-1, 1, side, 1) | columns.view(1, -1, 1, side)
            outside = outside.reshape(1, -1, 1, 1, side**2)  # of keys, window by window
            scores = scores.unflatten(0, (qkv.shape[0], -1)).masked_fill(outside, -torch.inf)
            scores = scores.flatten(0, 1)
        out = from_windows(scores.softmax(-1) @ v, window, (padded.shape[-2], padded.shape[-1]))
        for dim, length in ((-2, height), (-1, width)):
            out = out.index_select(dim, torch.arange(length, device=out.device) + before)
        return out

    def _bias(self, window_size: tuple[int, int]) -> BoundTableBias:
        """Bind the middle of the table, which holds the offsets of a smaller window."""
        side, (height, width) = self.window_size, window_size
        table = self.relative_position_bias_table.unflatten(0, (2 * side - 1, 2 * side - 1))
        table = table[side - height : side + height - 1, side - width : side + width - 1]
        # Turned round, because `BoundTableBias` takes offsets key minus query.
        return BoundTableBias(table.flip(0, 1).flatten(0, 1).T, window_size)


class SwinBlock(nn.Module):
    """Window attention and an MLP, each behind a LayerNorm and around a skip.

    Args:
        dim: Channels in and out.
        num_heads: Attention heads; divides dim.
        window_size: Side of the windows.
        shift: How far the windows are moved.
        mlp_ratio: Widening of the MLP.

    Source: Sec. 3.2, "Swin Transformer layer" (STL).
    """

    def __init__(
        self, dim: int, *, num_heads: int, window_size: int, shift: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ShiftedWindowAttention(
            dim, num_heads=num_heads, window_size=window_size, shift=shift
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, dim)` to the same shape; H and W are multiples of the window."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SwinGroup(nn.Module):
    """Several Swin blocks and a 3×3 convolution, around a skip.

    Args:
        dim: Channels.
        blocks: The Swin blocks.

    Source: Sec. 3.2, "residual Swin Transformer block" (RSTB).
    """

    def __init__(self, dim: int, blocks: list[SwinBlock]) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks)))
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, dim)` to the same shape; H and W are multiples of the window."""
        deep = self.residual_group(x).movedim(3, 1)  # B, dim, H, W
        return x + self.conv(deep).movedim(1, 3)


class SwinIRLight(nn.Module):
    """SwinIR-light for any integer scale, image size, batch size and floating dtype.

    The defaults are the paper's lightweight network: 910,152 / 918,267 / 929,628 parameters at
    ×2 / ×3 / ×4, which other papers print. SwinIR's own table prints 878 K / 886 K / 897 K: the
    difference, 32,400, is the 24 tables of the relative position bias, 225 offsets × 6 heads each.
    The multiply-adds that the ESC paper prints, 244.2 G / 110.8 G / 63.6 G, are 1.5 % to 1.7 %
    above `profiling.macs.count_macs`: they count five operations for each value normalised.

    Parameters have the authors' names. Their files hold `relative_position_index` and `attn_mask`
    too, which follow from sizes and have no place here. The authors train with stochastic depth of
    0.1; here training and evaluation compute the same values.

    Args:
        scale: Super-resolution factor, at least 1.
        dim: Channels of the features.
        num_groups: Residual Swin Transformer blocks.
        num_blocks: Swin Transformer layers in each of them; every second one shifts its windows.
        num_heads: Attention heads; divides dim.
        window_size: Side of the attention windows in pixels; images are reflect-padded to whole
            windows and the result is cropped.
        mlp_ratio: Widening of the MLP.

    Attributes:
        window_size: (height, width) of the attention windows.

    Raises:
        InputError: A value is out of range; the message names it.

    Source: Liang et al., ICCVW 2021, Sec. 3 and 4.1.

    Example:
        >>> import torch
        >>> network = SwinIRLight(
        ...     scale=2, dim=8, num_groups=1, num_blocks=2, num_heads=2, window_size=4)
        >>> network(torch.rand(1, 3, 5, 7)).shape
        torch.Size([1, 3, 10, 14])
    """

    mean: Tensor

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 60,
        num_groups: int = 4,
        num_blocks: int = 6,
        num_heads: int = 6,
        window_size: int = 8,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        check_integers(
            1,
            scale=scale,
            dim=dim,
            num_groups=num_groups,
            num_blocks=num_blocks,
            num_heads=num_heads,
            window_size=window_size,
        )
        if dim % num_heads:
            raise InputError(f"model.num_heads={num_heads} must divide model.dim={dim}")
        if int(dim * mlp_ratio) < 1:
            raise InputError(f"model.mlp_ratio={mlp_ratio} leaves no hidden channels of dim={dim}")
        self.scale = scale
        self.window_size = (window_size, window_size)

        def block(index: int) -> SwinBlock:
            return SwinBlock(
                dim,
                num_heads=num_heads,
                window_size=window_size,
                shift=window_size // 2 if index % 2 else 0,
                mlp_ratio=mlp_ratio,
            )

        self.register_buffer("mean", rgb_mean(), persistent=False)
        self.conv_first = nn.Conv2d(NUM_COLORS, dim, 3, padding=1)
        self.patch_embed = nn.Sequential(OrderedDict(norm=nn.LayerNorm(dim)))
        self.layers = nn.Sequential(
            *(SwinGroup(dim, [block(i) for i in range(num_blocks)]) for _ in range(num_groups))
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(dim, NUM_COLORS * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def title(self) -> str:
        """What tables call it."""
        return "SwinIR-light"

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1].

        Returns:
            `(B, 3, s·H, s·W)`, not clamped.
        """
        height, width = lq.shape[-2:]
        shallow = self.conv_first(pad_to_multiple(lq, self.window_size) - self.mean)
        deep = self.norm(self.layers(self.patch_embed(shallow.movedim(1, 3))))  # B, H, W, dim
        deep = self.conv_after_body(deep.movedim(3, 1)) + shallow
        sr = self.upsample(deep) + self.mean
        return crop(sr, height * self.scale, width * self.scale)
