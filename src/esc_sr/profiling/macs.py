"""Multiply-adds and parameters of a network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
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
    height, width = check_lq_size(lq_size)
    on_meta = copy.deepcopy(module).to("meta").eval()
    dtype = next((p.dtype for p in on_meta.parameters() if p.is_floating_point()), torch.float32)
    example = torch.empty(1, 3, height, width, dtype=dtype, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        on_meta(example)
    return counter.get_total_flops() // 2


def count_parameters(module: nn.Module, *, only_trainable: bool = False) -> int:
    """Count the parameters of a module, each shared one once.

    Args:
        module: Any module.
        only_trainable: Count only those that require a gradient.

    Returns:
        Number of scalars; buffers are not parameters.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not only_trainable)
