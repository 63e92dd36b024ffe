"""ESC-FP: ESC for fewer parameters and operations (Lee et al., ICCV 2025)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.attention import SelfAttention
from esc_sr.layers.conv_attn import SeparableLargeKernelConv
from esc_sr.layers.norm import LayerNorm2d
from esc_sr.models.esc import ESCBase, pixel_shuffle_conv


class ESCFP(ESCBase):
    """ESC with its shared kernel taken apart into a 1×1 and a depthwise 13×13 part.

    Beside that: narrower ConvFFN before the self-attention, LayerNorm everywhere, and a bicubic
    image skip.

    Args:
        scale: Super-resolution factor, 1 to 64.
        dim: Channels of the features.
        partial_dim: Channels that ConvAttn mixes over space (upstream `pdim`).
        large_kernel_size: Side of the shared kernel, odd.
        num_blocks: ESC blocks.
        num_conv_attn: ConvAttn modules in a block.
        window_size: Side of the attention windows, or (height, width), in feature pixels.
        num_heads: Attention heads; divides dim.
        ffn_ratio: Widening of the ConvFFN before each ConvAttn (upstream `exp_ratio`).
        attn_ffn_ratio: Widening of the ConvFFN before the self-attention.
        use_ln: LayerNorm in the convolutional part too.
        geometric_ensemble: Average the depthwise kernel over its flips and rotations; the authors'
            ESC-FP does not.
        shared_large_kernel: One large kernel for the whole network; False: one for each ConvAttn,
            for an ablation, and another network.
        dynamic_kernel: Add the 3×3 kernels that are made from the input; False leaves them out,
            for an ablation, and is another network.
        self_attention_only: Make every ConvAttn a self-attention of its own; that is another
            network, and does not look at `partial_dim`, `large_kernel_size`,
            `geometric_ensemble`, `shared_large_kernel` and `dynamic_kernel`.
        attention: Bias and kernel of the self-attention, or its name. None or "conv_attn": every
            self-attention is a ConvAttn; that is another network, and not together with
            `self_attention_only`.

    Raises:
        InputError: A value is out of range; the message names it.

    Example:
        >>> network = ESCFP(scale=3, dim=12, num_blocks=1, num_conv_attn=1, partial_dim=4)
        >>> network(torch.rand(1, 3, 17, 20)).shape
        torch.Size([1, 3, 51, 60])
    """

    large_kernel_conv = SeparableLargeKernelConv
    large_kernel_names = ("lk_channel", "lk_spatial")

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 48,
        partial_dim: int = 16,
        large_kernel_size: int = 13,
        num_blocks: int = 5,
        num_conv_attn: int = 5,
        window_size: int | tuple[int, int] | list[int] = 32,
        num_heads: int = 3,
        ffn_ratio: float = 1.25,
        attn_ffn_ratio: float = 1.5,
        use_ln: bool = True,
        geometric_ensemble: bool = False,
        shared_large_kernel: bool = True,
        dynamic_kernel: bool = True,
        self_attention_only: bool = False,
        attention: SelfAttention | str | None = "sdpa",
    ) -> None:
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
            head=partial(pixel_shuffle_conv, dim, scale),
        )
        self.ln_last = LayerNorm2d(dim)

    @staticmethod
    def new_large_kernel(partial_dim: int, size: int) -> dict[str, nn.Parameter]:
        """Make the 1×1 part and the depthwise part, `(partial_dim, 1, K, K)`."""
        channel = nn.Parameter(torch.empty(partial_dim, partial_dim, 1, 1))
        spatial = nn.Parameter(torch.empty(partial_dim, 1, size, size))
        nn.init.orthogonal_(channel)
        nn.init.orthogonal_(spatial)
        return {"lk_channel": channel, "lk_spatial": spatial}

    def reconstruct(self, deep: Tensor, shallow: Tensor, lq: Tensor) -> Tensor:
        """Add the long skip, shuffle pixels, add the bicubically enlarged input."""
        deep = self.last(self.ln_last(deep)) + shallow
        residual = F.pixel_shuffle(self.to_img(deep), self.scale)
        size = [side * self.scale for side in lq.shape[-2:]]
        return residual + F.interpolate(lq, size, mode="bicubic")
