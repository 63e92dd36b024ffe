"""Flash attention with an exactly relative bias: more channels of q and k in place of a mask."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from esc_sr.attention.bias import FourierBias
from esc_sr.attention.interface import BoundBias, FactoredBias, SelfAttention, validate_inputs
from esc_sr.errors import InputError

# What PyTorch brings: the one backend that is allowed, or None for its own choice.
_PYTORCH: dict[str, SDPBackend | None] = {
    "sdpa_flash": SDPBackend.FLASH_ATTENTION,
    "sdpa": None,
    "math": SDPBackend.MATH,
}
# Packages, and where their function lies. flash-attn 4 makes `import flash_attn` succeed without
# version 2, hence the submodules.
_PACKAGES = {
    "flash_attn": ("flash-attn", "flash_attn.flash_attn_interface"),
    "flash_attn_4": ("flash-attn-4", "flash_attn.cute"),
}
_MOST_CHANNELS = 256  # of a head, in flash kernels on CUDA
KERNELS = (*_PACKAGES, *_PYTORCH)


@dataclass(frozen=True, kw_only=True)
class FlashKernel:
    """Append the features of the bias to q and k, and let a kernel without a mask attend.

    `q kᵀ · s + B` is `[q, f_q / s] [k, f_k]ᵀ · s` where the bias is `B = f_q f_kᵀ`. Nothing of
    size N² is stored, forward or backward, and the gradients of the bias are those of q and k.

    Args:
        kernel: Who attends. `flash_attn` and `flash_attn_4` are those packages (CUDA, 16 bit);
            `sdpa_flash` is PyTorch's own FlashAttention (CUDA in 16 bit, a CPU in any dtype);
            `sdpa` is whatever PyTorch chooses among its kernels; `math` stores the scores, on any
            device and dtype.

    Raises:
        ValueError: There is no such kernel.
    """

    kernel: str = "flash_attn"
    name: ClassVar[str] = "flash"
    biases: ClassVar[frozenset[str]] = frozenset({"axial", "fourier"})
    default_bias: ClassVar[str] = "fourier"

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(
                f"unknown flash kernel {self.kernel!r}; choose one of: {', '.join(KERNELS)}"
            )

    @property
    def title(self) -> str:
        """What tables call it: who attends makes the difference."""
        return f"{self.name}:{self.kernel}"

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored."""
        return self.kernel == "math"

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows; see `interface.Kernel`.

        Raises:
            InputError: The bias has no features, a package is missing, or the kernel chosen runs
                neither on this device nor in this dtype.
        """
        validate_inputs(q, k, v, bias)
        if not isinstance(bias, FactoredBias):
            raise InputError(
                f"attention=flash cannot carry the bias '{bias.kind}', which is no product of "
                "query and key features; choose attention=sdpa"
            )
        if q.is_meta:
            # Nothing is computed there: what remains are the shape, and the multiply-adds that a
            # counter sees, which are those of attention whichever kernel computes it.
            return F.scaled_dot_product_attention(q, k, v, scale=softmax_scale)
        _check_runs(self.kernel, q)
        of_query, of_key = bias.features()
        # The scale is applied to the bias too, so it is taken out of it before.
        q, k = _append(q, of_query / softmax_scale), _append(k, of_key)
        if q.is_cuda and q.shape[-1] > _MOST_CHANNELS and self.kernel not in ("sdpa", "math"):
            raise InputError(
                f"attention=flash with kernel={self.kernel} takes heads of {_MOST_CHANNELS} "
                f"channels at most, with the bias there are {q.shape[-1]}; choose a smaller "
                "model.attention.bias.rank or window, or kernel=sdpa"
            )
        if self.kernel in _PACKAGES:
            return attend_by_package(_package_function(self.kernel), q, k, v, softmax_scale)
        return _attend_by_pytorch(_PYTORCH[self.kernel], q, k, v, softmax_scale)


def _check_runs(kernel: str, q: Tensor) -> None:
    """Refuse a device or dtype that a kernel does not have."""
    otherwise = "choose another model.attention.kernel.kernel: "
    if kernel in _PACKAGES and not q.is_cuda:
        raise InputError(
            f"attention=flash with kernel={kernel} runs on CUDA, not on {q.device.type}; "
            f"{otherwise}sdpa_flash, sdpa or math"
        )
    if kernel == "sdpa_flash" and q.device.type not in ("cuda", "cpu"):
        raise InputError(
            f"attention=flash with kernel={kernel} runs on CUDA and on a CPU, not on "
            f"{q.device.type}; {otherwise}sdpa or math"
        )
    is_flash = kernel in _PACKAGES or kernel == "sdpa_flash"
    if is_flash and q.is_cuda and q.dtype not in (torch.float16, torch.bfloat16):
        raise InputError(
            f"attention=flash with kernel={kernel} computes in 16 bit on CUDA, got "
            f"{str(q.dtype).removeprefix('torch.')}; choose precision bf16 (or fp16), or "
            f"{otherwise}sdpa or math"
        )


def _append(x: Tensor, features: Tensor) -> Tensor:
    """Give every window the features of its tokens: `(B·nW, heads, N, d + rank)`."""
    features = features.to(x.dtype).expand(x.shape[0], *features.shape)
    return torch.cat([x, features], dim=-1)


def _attend_by_pytorch(
    backend: SDPBackend | None, q: Tensor, k: Tensor, v: Tensor, softmax_scale: float
) -> Tensor:
    # Only the kernel that stores the scores takes values of another size than q and k.
    values = v if backend is SDPBackend.MATH else _widened(v, q.shape[-1])
    with nullcontext() if backend is None else sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, values, scale=softmax_scale)
    return out[..., : v.shape[-1]]


# Found once: the compiler cannot follow an import, but looks a function up.
_FOUND: dict[str, Callable[..., Any]] = {}


def _package_function(kernel: str) -> Callable[..., Any]:
    if kernel in _FOUND:
        return _FOUND[kernel]
    package, module = _PACKAGES[kernel]
    try:
        _FOUND[kernel] = importlib.import_module(module).flash_attn_func
    except (ImportError, OSError, AttributeError) as error:  # OSError: built for another CUDA
        raise InputError(
            f"attention=flash with kernel={kernel} needs the package {package} (pip install "
            f"{package}), which cannot be imported here ({error}); without it choose "
            "model.attention.kernel.kernel=sdpa_flash, PyTorch's own FlashAttention"
        ) from error
    return _FOUND[kernel]


def attend_by_package(
    function: Callable[..., Any], q: Tensor, k: Tensor, v: Tensor, softmax_scale: float
) -> Tensor:
    """Call `flash_attn_func` of flash-attn 2 or 4.

    Both take windows × tokens × heads × channels, the same number of channels for q, k and v, and
    multiples of 8; version 4 may return the log-sum-exp beside the result.

    Args:
        function: The package's `flash_attn_func`.
        q: `(B·nW, heads, N, D)`.
        k: `(B·nW, heads, N, D)`.
        v: `(B·nW, heads, N, d)`, d at most D.
        softmax_scale: Factor of q kᵀ.

    Returns:
        `(B·nW, heads, N, d)`.
    """
    width = -(-q.shape[-1] // 8) * 8
    q, k, values = (_widened(x, width).transpose(1, 2) for x in (q, k, v))
    # Their gradients are summed in no fixed order unless asked.
    exact = {"deterministic": True} if torch.are_deterministic_algorithms_enabled() else {}
    out = function(q, k, values, softmax_scale=softmax_scale, causal=False, **exact)
    out = out[0] if isinstance(out, tuple) else out
    return out.transpose(1, 2)[..., : v.shape[-1]]


def _widened(x: Tensor, width: int) -> Tensor:
    """Append zeros to the last dimension."""
    return F.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x


def attention(kernel: str = "flash_attn") -> SelfAttention:
    """Return what `attention=flash`, or "flash:KERNEL", stands for."""
    return SelfAttention(bias=FourierBias(), kernel=FlashKernel(kernel=kernel))
