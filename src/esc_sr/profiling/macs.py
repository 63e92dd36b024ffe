"""Multiply-adds, activations and parameters of a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from esc_sr.profiling.lq_size import check_lq_size


def count_macs(module: nn.Module, lq_size: Sequence[int]) -> int:
    """Count the multiply-adds of one forward pass of a `(1, 3, H, W)` image.

    Convolutions (grouped ones with their true cost), matrix products and attention; not
    element-wise operations, norms, softmax or interpolation. One multiply-add is what the papers
    call a FLOP, and half of what PyTorch's counter does. A copy on the `meta` device is run, in
    eval mode: nothing is computed, any size is free, and the attention of
    `scaled_dot_product_attention` is counted, which the counter misses on a CPU.

    Args:
        module: Network called as `module(lq)`; left as it is.
        lq_size: Height and width of the low-resolution image.

    Returns:
        Number of multiply-adds.

    Raises:
        InputError: `lq_size` is not two positive numbers.
    """
    counter = FlopCounterMode(display=False)
    _run_on_meta(module, lq_size, counter)
    return counter.get_total_flops() // 2


def count_activations(module: nn.Module, lq_size: Sequence[int]) -> int:
    """Count the numbers that the convolutions of one forward pass of a `(1, 3, H, W)` image write.

    Those whose kernels are made from the input are counted too, linear layers and matrix products
    are not. On the `meta` device, as `count_macs`.

    Args:
        module: Network called as `module(lq)`; left as it is.
        lq_size: Height and width of the low-resolution image.

    Returns:
        Number of scalars.

    Raises:
        InputError: `lq_size` is not two positive numbers.

    Source: "#Activations" of the NTIRE challenges on efficient super-resolution, which count the
        outputs of all convolutional layers (Zhang et al., AIM 2020).
    """
    counter = _ConvolutionOutputs()
    _run_on_meta(module, lq_size, counter)
    return counter.total


def count_parameters(module: nn.Module, *, only_trainable: bool = False) -> int:
    """Count the parameters of a module, each shared one once.

    Args:
        module: Any module.
        only_trainable: Count only those that require a gradient.

    Returns:
        Number of scalars; buffers are not parameters.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not only_trainable)


class _ConvolutionOutputs(TorchDispatchMode):
    """Adds up the sizes of what convolutions return."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            assert isinstance(result, Tensor)
            self.total += result.numel()
        return result


def _run_on_meta(
    module: nn.Module, lq_size: Sequence[int], counter: AbstractContextManager[Any]
) -> None:
    """Run a copy of a network on the `meta` device while a mode looks on."""
    height, width = check_lq_size(lq_size)
    on_meta = copy.deepcopy(module).to("meta").eval()
    dtype = next((p.dtype for p in on_meta.parameters() if p.is_floating_point()), torch.float32)
    example = torch.empty(1, 3, height, width, dtype=dtype, device="meta")
    with counter, torch.no_grad():
        on_meta(example)
