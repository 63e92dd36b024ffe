"""ESC: emulating self-attention with convolution (Lee et al., ICCV 2025, arXiv 2503.06671)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.attention import SelfAttention, attention_by_name
from esc_sr.attention.bias import record_of_bias
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.layers.conv_attn import (
    ConvAttn,
    LargeKernelConv,
    OwnKernelConvAttn,
    SeparableLargeKernelConv,
    kernel_parts,
)
from esc_sr.layers.conv_ffn import ConvFFN
from esc_sr.layers.norm import LayerNorm2d
from esc_sr.layers.window_attention import WindowAttention

NUM_COLORS = 3
# The last convolution has 27·dim weights for each of scale² sub-pixels: 7 million at dim=64.
_LARGEST_SCALE = 64


class ESCBlock(nn.Module):
    """One self-attention, then several mixers, each behind a ConvFFN; a 3×3 convolution last.

    Args:
        dim: Channels.
        attn: What mixes tokens first: a `WindowAttention`, or a `ConvAttn` in the ablation.
        attn_ffn_ratio: Widening of the ConvFFN before `attn`.
        mixers: The ConvAttn modules; in the network that these were made to emulate,
            `WindowAttention` in their place.
        ffn_ratio: Widening of the ConvFFN before each mixer.
        use_ln: LayerNorm before each of those ConvFFN.
    """

    def __init__(
        self,
        dim: int,
        *,
        attn: WindowAttention | ConvAttn,
        attn_ffn_ratio: float,
        mixers: list[ConvAttn | WindowAttention],
        ffn_ratio: float,
        use_ln: bool,
    ) -> None:
        super().__init__()
        self.ln_proj = LayerNorm2d(dim)
        self.proj = ConvFFN(dim, attn_ffn_ratio)
        self.ln_attn = LayerNorm2d(dim)
        self.attn = attn
        self.lns = nn.ModuleList(LayerNorm2d(dim) if use_ln else nn.Identity() for _ in mixers)
        self.convffns = nn.ModuleList(ConvFFN(dim, ffn_ratio) for _ in mixers)
        self.pconvs = nn.ModuleList(mixers)
        self.ln_out = LayerNorm2d(dim)
        self.conv_out = nn.Conv2d(dim, dim, 3, padding=1)

    def enter(self, x: Tensor) -> Tensor:
        """Return what the block starts from, `(B, dim, H, W)`: it sees one pixel around."""
        return self.proj(self.ln_proj(x))

    def leave(self, x: Tensor) -> Tensor:
        """Return what is added to the block's input, `(B, dim, H, W)`: it sees one pixel around."""
        return self.conv_out(self.ln_out(x))

    def forward(self, x: Tensor, shared_kernel: tuple[Tensor, ...]) -> Tensor:
        """Map `(B, dim, H, W)` and the kernel of the whole network to the same shape as x."""
        skip = x
        x = self.enter(x)
        x = x + self.attn(self.ln_attn(x), shared_kernel)
        for ln, conv_ffn, mixer in zip(self.lns, self.convffns, self.pconvs, strict=True):
            x = x + mixer(conv_ffn(ln(x)), shared_kernel)
        return self.leave(x) + skip


class ESCBase(nn.Module):
    """What the members of the family share: the blocks, the attention seam, the settings.

    Names of parameters are the authors', so that their weights load with `strict=True`: `proj`
    makes the shallow features, `pconvs` are the ConvAttn modules or what stands in their place,
    `last` ends the deep features, `to_img` is the convolution before the pixel shuffle.

    Attributes:
        scale: Super-resolution factor.
        window_size: (height, width) of the attention windows, in feature pixels.
        geometric_ensemble: Whether each forward averages the large kernel over its flips and
            rotations. False after `models.checkpoints.fold_large_kernel`, and where there is no
            such kernel.
        shared_large_kernel: Whether one large kernel serves every ConvAttn.
        has_self_attention: False if every self-attention is a ConvAttn.
        self_attention_only: True if every ConvAttn is a self-attention.
        config: The constructor's arguments, the class's name as `architecture` and, in place of
            `attention`, whether there is `self_attention` and the kind and settings of its `bias`,
            all plain values: what a checkpoint records. A network of self-attention only leaves
            out the arguments of the ConvAttn that it does not have.
    """

    large_kernel_conv: ClassVar[type[LargeKernelConv] | type[SeparableLargeKernelConv]]
    # Names of a large kernel's parameters, in the order in which they are applied. The last has
    # its extent, and the geometric ensemble averages it.
    large_kernel_names: ClassVar[tuple[str, ...]]
    # LQ pixels around a pixel that `reconstruct` looks at; None where a network cannot be run layer
    # by layer in tiles of the LQ image, for the reason that follows.
    reconstruct_halo: int | None = 2
    undivided_because: str = ""

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        partial_dim: int,
        large_kernel_size: int,
        num_blocks: int,
        num_conv_attn: int,
        window_size: int | tuple[int, int] | list[int],
        num_heads: int,
        ffn_ratio: float,
        attn_ffn_ratio: float,
        use_ln: bool,
        geometric_ensemble: bool,
        shared_large_kernel: bool,
        dynamic_kernel: bool,
        self_attention_only: bool,
        attention: SelfAttention | str | None,
        head: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        check_integers(1, scale=scale, dim=dim, num_blocks=num_blocks, num_heads=num_heads)
        if scale > _LARGEST_SCALE:
            raise InputError(f"scale must be at most {_LARGEST_SCALE}, got {scale}")
        check_flags(
            **{
                "model.geometric_ensemble": geometric_ensemble,
                "model.shared_large_kernel": shared_large_kernel,
                "model.dynamic_kernel": dynamic_kernel,
            }
        )
        check_integers(1 if self_attention_only else 0, num_conv_attn=num_conv_attn)
        if not self_attention_only:
            check_integers(1, partial_dim=partial_dim, large_kernel_size=large_kernel_size)
            if partial_dim > dim:
                raise InputError(f"model.partial_dim={partial_dim} must not exceed model.dim={dim}")
            if large_kernel_size % 2 == 0:
                raise InputError(f"model.large_kernel_size must be odd, got {large_kernel_size}")
            has_self_attention = attention not in (None, "conv_attn")
            if not shared_large_kernel and num_conv_attn == 0 and has_self_attention:
                raise InputError(
                    "model.shared_large_kernel=false gives a kernel to each ConvAttn, and "
                    "model.num_conv_attn=0 leaves none; set it to 1 or more"
                )
        for name, ratio in (("ffn_ratio", ffn_ratio), ("attn_ffn_ratio", attn_ffn_ratio)):
            if int(dim * ratio) < 1:
                raise InputError(f"model.{name}={ratio} leaves no hidden channels of dim={dim}")
        if attention is not None and not isinstance(attention, SelfAttention):
            attention = attention_by_name(attention)
        if self_attention_only and attention is None:
            raise InputError(
                "model.self_attention_only=true and attention=conv_attn exclude each other: the "
                "one makes every ConvAttn a self-attention, the other every self-attention a "
                "ConvAttn; choose one"
            )
        self.scale = scale
        self.has_self_attention = attention is not None
        self.self_attention_only = self_attention_only
        self.window_size = _as_pair(window_size)
        self.geometric_ensemble = geometric_ensemble and not self_attention_only
        self.shared_large_kernel = shared_large_kernel and not self_attention_only
        self.config: dict[str, Any] = {
            "architecture": type(self).__name__,
            "scale": scale,
            "dim": dim,
            "num_blocks": num_blocks,
            "num_conv_attn": num_conv_attn,
            "window_size": list(self.window_size),
            "num_heads": num_heads,
            "ffn_ratio": ffn_ratio,
            "attn_ffn_ratio": attn_ffn_ratio,
            "use_ln": use_ln,
            "self_attention_only": self_attention_only,
            "self_attention": self.has_self_attention,
        }
        if attention is not None:
            self.config["bias"] = record_of_bias(attention.bias)
        if not self_attention_only:
            self.config |= {
                "partial_dim": partial_dim,
                "large_kernel_size": large_kernel_size,
                "geometric_ensemble": geometric_ensemble,
                "shared_large_kernel": shared_large_kernel,
                "dynamic_kernel": dynamic_kernel,
            }

        def conv_attn() -> ConvAttn:
            conv = self.large_kernel_conv(partial_dim, is_dynamic=dynamic_kernel)
            if shared_large_kernel:
                return ConvAttn(dim, conv)
            return OwnKernelConvAttn(
                dim,
                conv,
                kernel=self.new_large_kernel(partial_dim, large_kernel_size),
                geometric_ensemble=geometric_ensemble,
            )

        def window_attention() -> WindowAttention:
            assert attention is not None
            return WindowAttention(
                dim, num_heads=num_heads, window_size=self.window_size, attention=attention
            )

        # The one or the other in both places is another network than ESC.
        make_attn = window_attention if self.has_self_attention else conv_attn
        make_mixer = window_attention if self_attention_only else conv_attn
        self.proj = nn.Conv2d(NUM_COLORS, dim, 3, padding=1)
        self.blocks = nn.ModuleList(
            ESCBlock(
                dim,
                attn=make_attn(),
                attn_ffn_ratio=attn_ffn_ratio,
                mixers=[make_mixer() for _ in range(num_conv_attn)],
                ffn_ratio=ffn_ratio,
                use_ln=use_ln,
            )
            for _ in range(num_blocks)
        )
        self.last = nn.Conv2d(dim, dim, 3, padding=1)
        self.to_img = head()
        if self.shared_large_kernel:
            for name, parameter in self.new_large_kernel(partial_dim, large_kernel_size).items():
                self.register_parameter(name, parameter)

    @staticmethod
    def new_large_kernel(partial_dim: int, size: int) -> dict[str, nn.Parameter]:
        """Make the parameters of a large kernel, by `large_kernel_names`."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What tables call it."""
        return title_of(self.config)

    def large_kernel(self) -> Tensor:
        """Return the shared large kernel, averaged over its flips and rotations if asked.

        Raises:
            InputError: There is no such kernel.
        """
        if self.self_attention_only:
            raise InputError(
                "this network has no shared large kernel: it was made with "
                "model.self_attention_only=true, and every ConvAttn is a self-attention"
            )
        if not self.shared_large_kernel:
            raise InputError(
                "this network has no shared large kernel: it was made with "
                "model.shared_large_kernel=false, and every ConvAttn has one of its own"
            )
        return self.shared_kernel()[-1]

    def shared_kernel(self) -> tuple[Tensor, ...]:
        """Return what every ConvAttn of the network convolves with, part by part.

        Returns:
            The parts, the last averaged over its flips and rotations if asked; none where no
            kernel is shared.
        """
        return kernel_parts(self, self.large_kernel_names) if self.shared_large_kernel else ()

    def large_kernel_owners(self) -> Iterator[nn.Module]:
        """Yield the modules whose parameters are large kernels: the network, or each ConvAttn."""
        if self.shared_large_kernel:
            yield self
        yield from (m for m in self.modules() if isinstance(m, OwnKernelConvAttn))

    def enter(self, lq: Tensor) -> Tensor:
        """Make the shallow features, `(B, dim, H, W)`, in the type of the weights."""
        return self.proj(lq.to(self.last.weight.dtype))

    def reconstruct(self, deep: Tensor, shallow: Tensor, lq: Tensor) -> Tensor:
        """Make the image from what the blocks have refined.

        Args:
            deep: `(B, dim, H, W)`, behind the last block.
            shallow: `(B, dim, H, W)`, before the first block.
            lq: `(B, 3, H, W)`.

        Returns:
            `(B, 3, s·H, s·W)`, not clamped.
        """
        raise NotImplementedError

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1].

        Returns:
            `(B, 3, s·H, s·W)`, not clamped.

        Raises:
            InputError: There are not four dimensions.
        """
        if lq.ndim != 4:
            raise InputError(
                f"a network takes images (B, 3, H, W), got {tuple(lq.shape)}; lq[None] makes a "
                "batch of one image"
            )
        shared_kernel = self.shared_kernel()
        shallow = self.enter(lq)
        deep = shallow
        for block in self.blocks:
            deep = block(deep, shared_kernel)
        return self.reconstruct(deep, shallow, lq)

    def set_attention(self, attention: SelfAttention | str) -> None:
        """Change the kernel that computes the self-attention, e.g. after loading.

        The bias stays: it belongs to the weights.

        Args:
            attention: Bias and kernel, or the name of one, e.g. "eager".

        Raises:
            InputError: No name or an unknown one, a kernel that cannot carry the bias of these
                weights, a bias that is asked for in its place, or one of the two networks has no
                self-attention (`conv_attn` is another network).
        """
        if not isinstance(attention, SelfAttention):
            named = attention_by_name(attention)
            if named is None:
                raise InputError(
                    "attention=conv_attn is another network, not another kernel for this one: "
                    "create or train it with attention=conv_attn"
                )
            attention = named
        mixers = [module for module in self.modules() if isinstance(module, WindowAttention)]
        if not mixers:
            raise InputError(
                "this network has no self-attention (it was made with attention=conv_attn), "
                "so there is no attention kernel to set"
            )
        kernel = attention.computing_with(mixers[0].attention.bias).kernel
        for mixer in mixers:
            mixer.set_kernel(kernel)


def pixel_shuffle_conv(dim: int, scale: int) -> nn.Conv2d:
    """Make the convolution before a pixel shuffle."""
    return nn.Conv2d(dim, NUM_COLORS * scale**2, 3, padding=1)


def new_full_kernel(partial_dim: int, size: int) -> dict[str, nn.Parameter]:
    """Make a large kernel of one part, `(partial_dim, partial_dim, K, K)`."""
    kernel = nn.Parameter(torch.empty(partial_dim, partial_dim, size, size))
    nn.init.orthogonal_(kernel)
    return {"plk_filter": kernel}


class ESC(ESCBase):
    """ESC for any integer scale, image size, batch size, device and floating dtype.

    Training and evaluation compute the same values.

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
        use_ln: LayerNorm in the convolutional part too, as the XL networks have.
        geometric_ensemble: Average the large kernel over its flips and rotations.
        shared_large_kernel: One large kernel for the whole network; False: one for each ConvAttn,
            for an ablation, and another network.
        dynamic_kernel: Add the 3×3 kernels that are made from the input; False leaves them out,
            for an ablation, and is another network.
        self_attention_only: Make every ConvAttn a self-attention of its own. This is the network
            that ConvAttn was made to emulate; it is another one than ESC, and does not look at
            `partial_dim`, `large_kernel_size`, `geometric_ensemble`, `shared_large_kernel` and
            `dynamic_kernel`.
        attention: Bias and kernel of the self-attention, or its name. None or "conv_attn": every
            self-attention is a ConvAttn, the paper's ablation; that is another network, and not
            together with `self_attention_only`.

    Raises:
        InputError: A value is out of range; the message names it.

    Example:
        >>> import torch
        >>> network = ESC(scale=2, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1,
        ...               window_size=8, num_heads=2)
        >>> network(torch.rand(1, 3, 17, 20)).shape
        torch.Size([1, 3, 34, 40])
    """

    large_kernel_conv = LargeKernelConv
    large_kernel_names = ("plk_filter",)
    new_large_kernel = staticmethod(new_full_kernel)

    def __init__(
        self,
        *,
        scale: int,
        dim: int = 64,
        partial_dim: int = 16,
        large_kernel_size: int = 13,
        num_blocks: int = 5,
        num_conv_attn: int = 5,
        window_size: int | tuple[int, int] | list[int] = 32,
        num_heads: int = 4,
        ffn_ratio: float = 1.25,
        attn_ffn_ratio: float = 2.0,
        use_ln: bool = False,
        geometric_ensemble: bool = True,
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

    def reconstruct(self, deep: Tensor, shallow: Tensor, lq: Tensor) -> Tensor:
        """Add the long skip, shuffle pixels, add the repeated pixels of the input."""
        deep = self.last(deep) + shallow
        residual = F.pixel_shuffle(self.to_img(deep), self.scale)
        size = [side * self.scale for side in lq.shape[-2:]]
        return residual + F.interpolate(lq, size, mode="nearest")


def title_of(config: Mapping[str, Any]) -> str:
    """Return what tables and errors call a network.

    Args:
        config: As `ESCBase.config`.

    Returns:
        The architecture, and in parentheses what makes it another network than its namesake.
    """
    differences = []
    if not config["self_attention"]:
        differences.append("conv_attn")
    if config["self_attention_only"]:
        differences.append("self-attention")
    # Not in a network of self-attention only.
    if not config.get("shared_large_kernel", True):
        differences.append("own large kernels")
    if not config.get("dynamic_kernel", True):
        differences.append("no dynamic kernel")
    if config["self_attention"] and (bias := config["bias"]["kind"]) != "table":
        differences.append(f"{bias} bias")
    return config["architecture"] + (f" ({', '.join(differences)})" if differences else "")


def _as_pair(window_size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    pair = tuple(window_size) if isinstance(window_size, list | tuple) else (window_size,) * 2
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise InputError(
            f"model.window_size must be a positive integer or (height, width), got {window_size}"
        )
    return pair[0], pair[1]
