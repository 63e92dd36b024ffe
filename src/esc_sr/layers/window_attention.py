"""Self-attention inside non-overlapping windows of a feature map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from esc_sr.attention.eager import attention_weights
from esc_sr.attention.interface import Bias, BoundBias, Kernel, SelfAttention
from esc_sr.errors import InputError
from esc_sr.functional.windows import crop, from_windows, pad_to_multiple, to_windows


class WindowAttention(nn.Module):
    """Attend within windows; a map of any size is reflect-padded to whole windows and cropped.

    The parameters of the bias are this module's own, under the names the bias gives them
    (`relative_position_bias` for the table); who computes is a plain attribute, `attention`. They
    stay in float32 at least when the module is cast to 16 bits.

    Args:
        dim: Channels in and out.
        num_heads: Heads; divides dim.
        window_size: (height, width) in feature pixels.
        attention: Kind of bias and kernel.

    Raises:
        InputError: `num_heads` does not divide `dim`, or the window is empty.

    Source: Lee et al., ICCV 2025; windows are not shifted.
    """

    def __init__(
        self, dim: int, *, num_heads: int, window_size: tuple[int, int], attention: SelfAttention
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise InputError(f"model.num_heads={num_heads} must divide model.dim={dim}")
        if min(window_size) < 1:
            raise InputError(f"model.window_size must be at least 1, got {window_size}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.softmax_scale = (dim // num_heads) ** -0.5
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.to_out = nn.Conv2d(dim, dim, 1)
        initial = attention.bias.initial(num_heads, window_size)
        self.bias_names = tuple(initial)
        for name, value in initial.items():
            self.register_parameter(name, nn.Parameter(value))
        self.attention = attention

    def forward(self, x: Tensor, shared_kernel: tuple[Tensor, ...] | None = None) -> Tensor:
        """Map `(B, C, H, W)` to the same shape.

        Args:
            x: `(B, C, H, W)`, any H and W.
            shared_kernel: Not looked at; a block hands it to whatever mixes its tokens.
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.window_size)
        q, k, v = self._tokens(x)
        bias = self.bound_bias()
        out = self.attention.kernel(q, k, v, bias=bias, softmax_scale=self.softmax_scale)
        out = self.to_out(from_windows(out, self.window_size, (x.shape[-2], x.shape[-1])))
        return crop(out, height, width)

    def attention_map(self, x: Tensor) -> Tensor:
        """Return where each token looks, whichever kernel computes `forward`.

        Args:
            x: `(B, C, H, W)`, what `forward` gets.

        Returns:
            `softmax(q kᵀ · scale + bias)`, `(B·nW, heads, N, N)`, query before key, in float32 at
            least; rows sum to 1. In a padded window the mirrored tokens count as any other.
        """
        return torch.cat(list(self.attention_map_chunks(x)))

    def attention_map_chunks(self, x: Tensor, max_windows: int = 1) -> Iterator[Tensor]:
        """Yield `attention_map(x)` in parts, because a 32×32 window has a million scores a head.

        Args:
            x: `(B, C, H, W)`, what `forward` gets.
            max_windows: Most windows in a part.

        Yields:
            `(windows, heads, N, N)`.
        """
        q, k, _ = self._tokens(pad_to_multiple(x, self.window_size))
        bias = self.bound_bias()
        for part in zip(q.split(max_windows), k.split(max_windows), strict=True):
            yield attention_weights(*part, bias=bias, softmax_scale=self.softmax_scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WindowAttention:
        """Move and cast as any module, but leave the bias in float32 at least.

        In bfloat16 a frequency is wrong in its third digit, which over a window of 32 pixels turns
        a fast wave by a fifth of a radian; kernels round what is made of it to their own dtype.
        """
        parameters = [self.get_parameter(name) for name in self.bias_names]
        of_bias = [*parameters, *(parameter.grad for parameter in parameters)]

        def at_least_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrow = moved.dtype in (torch.bfloat16, torch.float16)
            if narrow and any(tensor is one for one in of_bias):
                return tensor.to(moved.device)
            return moved

        return super()._apply(at_least_float32, recurse)

    def _tokens(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return q, k and v of a map of whole windows, each `(B·nW, heads, N, d)`."""
        parts = self.to_qkv(x).chunk(3, dim=1)
        return tuple(to_windows(part, self.window_size, self.num_heads) for part in parts)

    def bound_bias(self) -> BoundBias:
        """Bind the bias to the parameters as they are now."""
        parameters = {name: getattr(self, name) for name in self.bias_names}
        return self.attention.bias.bind(parameters, self.window_size)

    def set_kernel(self, kernel: Kernel) -> None:
        """Change who computes; the bias stays, because it owns the parameters.

        Raises:
            InputError: The kernel cannot carry this bias.
        """
        self.attention = SelfAttention(bias=self.attention.bias, kernel=kernel)

    def replace_bias(self, bias: Bias, parameters: Mapping[str, Tensor]) -> None:
        """Put another bias in the place of this one, which changes what the layer computes.

        Args:
            bias: The kind and its settings.
            parameters: Its values by the names of `bias.initial`; they take the device of the ones
                before and their dtype, float32 at least, and are trained if those were.

        Raises:
            InputError: The kernel cannot carry the bias.
            ValueError: Names or shapes are not those of the bias.
        """
        attention = SelfAttention(bias=bias, kernel=self.attention.kernel)
        expected = {n: v.shape for n, v in bias.initial(self.num_heads, self.window_size).items()}
        found = {name: value.shape for name, value in parameters.items()}
        if found != expected:
            raise ValueError(f"a {bias.kind} bias has the parameters {expected}, got {found}")
        old = [self.get_parameter(name) for name in self.bias_names]
        dtype = torch.promote_types(old[0].dtype, torch.float32)
        for name in self.bias_names:
            delattr(self, name)
        self.bias_names = tuple(expected)
        for name, value in parameters.items():
            value = value.detach().to(old[0].device, dtype, copy=True)
            requires_grad = any(parameter.requires_grad for parameter in old)
            self.register_parameter(name, nn.Parameter(value, requires_grad))
        self.attention = attention
