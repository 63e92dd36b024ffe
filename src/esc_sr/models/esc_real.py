"""ESC-Real and ESC-Real-M: ESC for photographs of unknown degradation (Lee et al., ICCV 2025)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from esc_sr.attention import SelfAttention
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.functional.windows import crop, pad_to_multiple, reflect_pad
from esc_sr.layers.conv_attn import LargeKernelConv
from esc_sr.layers.upsampling import UpsamplerHead, double_nearest_conv
from esc_sr.models.esc import NUM_COLORS, ESCBase, new_full_kernel

_SKIP_SIZE = 7  # of the depthwise convolution in the image skip
_UNSHUFFLED_SCALE = 4  # factor of the head where the input is unshuffled


class ESCReal(ESCBase):
    """ESC with a head of repeated pixels and convolutions, ×4 only.

    In the place of ESC's image skip, convolutions of the image are added to the features.

    Args:
        scale: Super-resolution factor; 4.
        dim: Channels of the features.
        partial_dim: Channels that ConvAttn mixes over space (upstream `pdim`).
        large_kernel_size: Side of the large kernel, odd.
        num_blocks: ESC blocks.
        num_conv_attn: ConvAttn modules in a block.
        window_size: Side of the attention windows, or (height, width), in feature pixels.
        num_heads: Attention heads; divides dim.
        ffn_ratio: Widening of the ConvFFN before each ConvAttn (upstream `exp_ratio`).
        attn_ffn_ratio: Widening of the ConvFFN before the self-attention.
        use_ln: LayerNorm in the convolutional part too.
        geometric_ensemble: Average the large kernel over its flips and rotations.
        shared_large_kernel: One large kernel for the whole network, or one for each ConvAttn.
        dynamic_kernel: Add the 3×3 kernels that are made from the input.
        self_attention_only: Make every ConvAttn a self-attention of its own.
        attention: Bias and kernel of the self-attention, or its name. None or "conv_attn": every
            self-attention is a ConvAttn.

    Raises:
        InputError: A value is out of range; the message names it.
    """

    large_kernel_conv = LargeKernelConv
    large_kernel_names = ("plk_filter",)
    new_large_kernel = staticmethod(new_full_kernel)
    reconstruct_halo = 6

    def __init__(
        self,
        *,
        scale: int = 4,
        dim: int = 64,
        partial_dim: int = 16,
        large_kernel_size: int = 13,
        num_blocks: int = 10,
        num_conv_attn: int = 5,
        window_size: int | tuple[int, int] | list[int] = 32,
        num_heads: int = 4,
        ffn_ratio: float = 2.0,
        attn_ffn_ratio: float = 2.0,
        use_ln: bool = True,
        geometric_ensemble: bool = True,
        shared_large_kernel: bool = True,
        dynamic_kernel: bool = True,
        self_attention_only: bool = False,
        attention: SelfAttention | str | None = "sdpa",
    ) -> None:
        if scale != 4:
            raise InputError(f"ESC-Real enlarges ×4 only, got scale={scale}: model=esc_real_m")
        super().__init__(
            scale=scale,
            dim=dim,
            partial_dim=partial_dim,
            large_kernel_size=large_kernel_size,
            num_blocks=num_blocks,
            num_conv_attn=num_conv_attn,
            window_size=window_size,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            attn_ffn_ratio=attn_ffn_ratio,
            use_ln=use_ln,
            geometric_ensemble=geometric_ensemble,
            shared_large_kernel=shared_large_kernel,
            dynamic_kernel=dynamic_kernel,
            self_attention_only=self_attention_only,
            attention=attention,
            head=partial(double_nearest_conv, dim),
        )
        self.skip = nn.Sequential(*_image_skip(NUM_COLORS, dim))

    def reconstruct(self, deep: Tensor, shallow: Tensor, lq: Tensor) -> Tensor:
        """Add the long skip and the image's features, then enlarge."""
        image = lq.to(self.last.weight.dtype)
        return self.to_img(self.last(deep) + shallow + self.skip(image)).to(lq.dtype)


class ESCRealM(ESCBase):
    """ESC-Real for several scales and heads.

    Args:
        scale: Super-resolution factor.
        dim: Channels of the features.
        partial_dim: Channels that ConvAttn mixes over space (upstream `pdim`).
        large_kernel_size: Side of the large kernel, odd.
        num_blocks: ESC blocks.
        num_conv_attn: ConvAttn modules in a block.
        window_size: Side of the attention windows, or (height, width), in feature pixels.
        num_heads: Attention heads; divides dim.
        ffn_ratio: Widening of the ConvFFN before each ConvAttn (upstream `exp_ratio`).
        attn_ffn_ratio: Widening of the ConvFFN before the self-attention.
        use_ln: LayerNorm in the convolutional part too.
        geometric_ensemble: Average the large kernel over its flips and rotations.
        shared_large_kernel: One large kernel for the whole network, or one for each ConvAttn.
        dynamic_kernel: Add the 3×3 kernels that are made from the input.
        self_attention_only: Make every ConvAttn a self-attention of its own.
        upsampler: The head: "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample",
            "transpose+conv" (traiNNer-redux's), or "conv" at scale 1; see `layers.upsampling`.
        mid_dim: Channels between, of the heads "pixelshuffle" and "dysample".
        unshuffle: At scale 1 and 2, work on blocks of 4×4 or 2×2 pixels of the image, in a
            sixteenth or a quarter of the time, and enlarge ×4 (upstream `unshuffle_mod`).
        attention: Bias and kernel of the self-attention, or its name. None or "conv_attn": every
            self-attention is a ConvAttn.

    Raises:
        InputError: A value is out of range; the message names it.
    """

    large_kernel_conv = LargeKernelConv
    large_kernel_names = ("plk_filter",)
    new_large_kernel = staticmethod(new_full_kernel)
    reconstruct_halo = 6

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 64,
        partial_dim: int = 16,
        large_kernel_size: int = 13,
        num_blocks: int = 10,
        num_conv_attn: int = 5,
        window_size: int | tuple[int, int] | list[int] = 32,
        num_heads: int = 4,
        ffn_ratio: float = 2.0,
        attn_ffn_ratio: float = 2.0,
        use_ln: bool = True,
        geometric_ensemble: bool = True,
        shared_large_kernel: bool = True,
        dynamic_kernel: bool = True,
        self_attention_only: bool = False,
        upsampler: str = "nearest+conv",
        mid_dim: int = 48,
        unshuffle: bool = True,
        attention: SelfAttention | str | None = "sdpa",
    ) -> None:
        check_integers(1, scale=scale, mid_dim=mid_dim)
        check_flags(**{"model.unshuffle": unshuffle})
        factor = _UNSHUFFLED_SCALE // scale if unshuffle and scale < 3 else 1
        super().__init__(
            scale=scale,
            dim=dim,
            partial_dim=partial_dim,
            large_kernel_size=large_kernel_size,
            num_blocks=num_blocks,
            num_conv_attn=num_conv_attn,
            window_size=window_size,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            attn_ffn_ratio=attn_ffn_ratio,
            use_ln=use_ln,
            geometric_ensemble=geometric_ensemble,
            shared_large_kernel=shared_large_kernel,
            dynamic_kernel=dynamic_kernel,
            self_attention_only=self_attention_only,
            attention=attention,
            head=partial(UpsamplerHead, upsampler, scale=scale * factor, dim=dim, mid_dim=mid_dim),
        )
        self.config |= {"upsampler": upsampler, "mid_dim": mid_dim, "unshuffle": factor > 1}
        self.unshuffle_factor = factor
        channels = NUM_COLORS * factor**2
        skip = _image_skip(channels, dim)
        if factor > 1:
            self.proj = nn.Sequential(
                nn.PixelUnshuffle(factor), nn.Conv2d(channels, dim, 3, padding=1)
            )
            skip = [nn.PixelUnshuffle(factor), *skip]
            # Its features are not those of the pixels of the image.
            self.reconstruct_halo = None
            self.undivided_because = "works on blocks of pixels (model.unshuffle=true)"
        elif upsampler == "dysample" and scale > 1:
            # Offsets have no bound: a pixel may be read from anywhere.
            self.reconstruct_halo = None
            self.undivided_because = "samples its features anywhere (model.upsampler=dysample)"
        self.skip = nn.Sequential(*skip)

    def enter(self, lq: Tensor) -> Tensor:
        """Make the shallow features, `(B, dim, H / f, W / f)` rounded up, f the unshuffling."""
        factor = self.unshuffle_factor
        return super().enter(pad_to_multiple(lq, (factor, factor)))

    def reconstruct(self, deep: Tensor, shallow: Tensor, lq: Tensor) -> Tensor:
        """Add the long skip and the image's features, enlarge, cut to the image's size."""
        height, width = (side * self.scale for side in lq.shape[-2:])
        factor = self.unshuffle_factor
        image = pad_to_multiple(lq.to(self.last.weight.dtype), (factor, factor))
        sr = self.to_img(self.last(deep) + shallow + self.skip(image))
        return crop(sr, height, width).to(lq.dtype)


class _ReflectConv(nn.Conv2d):
    """A convolution that sees the image reflected at its borders, however small it is."""

    def __init__(self, channels: int, size: int, **options: Any) -> None:
        super().__init__(channels, channels, size, **options)
        self.margin = size // 2

    def forward(self, input: Tensor) -> Tensor:  # the name of the base class
        return super().forward(reflect_pad(input, self.margin))


def _image_skip(channels: int, dim: int) -> list[nn.Module]:
    """Make features of the image without the blocks; keys are the authors'."""
    return [
        nn.Conv2d(channels, 2 * dim, 1),
        _ReflectConv(2 * dim, _SKIP_SIZE, groups=2 * dim),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * dim, dim, 1),
    ]
