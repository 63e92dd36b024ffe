"""Make a trained network as fast as its device allows, with the same results."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from torch import nn

from esc_sr.errors import InputError
from esc_sr.functional.large_conv import fused_conv, transformed_conv
from esc_sr.layers.conv_attn import ConvAttn, LargeKernelConv
from esc_sr.layers.conv_ffn import ConvFFN
from esc_sr.layers.conv_gelu import has_onednn_conv_gelu, onednn_conv_gelu
from esc_sr.models.checkpoints import fold_large_kernel
from esc_sr.models.esc import ESCBase

Precision = Literal["fp32", "bf16", "fp16"]
Compile = Literal["dynamic", "fixed"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What autocast computes in, where the weights stay as they are.
AUTOCAST_DTYPES = {**DTYPES, "fp32": None}
# Smaller kernels gain less from the transform than it costs.
_LEAST_TRANSFORMED = 9


def for_inference(
    network: nn.Module, *, precision: Precision = "fp32", compile: Compile | None = None
) -> tuple[ESCBase, list[str]]:
    """Return a copy of a network that computes the same faster, and what was done to it.

    In "fp32" the result is that of the network up to rounding. The copy has the names and shapes
    of the network's weights; it can be saved, copied, cut into tiles and given another attention
    kernel. It is in eval mode and asks for no gradients, and stays on the network's device.

    Args:
        network: An ESC or ESC-FP, on the device it will run on; not changed.
        precision: Type of weights and features, whatever it was. In 16 bits the input stays in
            float32, and so does the enlarged image that the result is added to.
        compile: "dynamic": compile for any image size at the first call; "fixed": for each size
            anew, on CUDA as a CUDA graph. Only whole forward passes are compiled, not layers
            that are run tile by tile. Needs what `torch.compile` needs, such as a C++ compiler on
            a CPU.

    Returns:
        The copy, and one line for each thing that was done.

    Raises:
        InputError: Another kind of network, or an unknown value.

    Example:
        >>> from esc_sr.models.esc import ESC
        >>> network = ESC(scale=2, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1,
        ...               window_size=8, num_heads=2)
        >>> fast, done = for_inference(network)
        >>> fast(torch.rand(1, 3, 17, 20)).shape
        torch.Size([1, 3, 34, 40])
    """
    if not isinstance(network, ESCBase):
        raise InputError(
            f"only the family of ESC is made fast, not {type(network).__name__}: leave fast out"
        )
    if precision not in get_args(Precision):
        raise InputError(
            f"unknown precision '{precision}'; choose one of: {', '.join(get_args(Precision))}"
        )
    if compile is not None and compile not in get_args(Compile):
        raise InputError(f"compile is 'dynamic', 'fixed' or None, got {compile!r}")
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    on_cpu = fast.last.weight.device.type == "cpu"
    done = []
    if fast.geometric_ensemble:
        fold_large_kernel(fast)
        done.append("the large kernel is averaged over its flips and rotations once")
    done += _fuse_convs(fast, on_cpu)
    fast.to(DTYPES[precision])
    fast.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    done.append("features are laid out channels last")
    if precision != "fp32":
        done.append(f"weights and features are in {precision}")
    # The compiler fuses by itself.
    if on_cpu and compile is None and has_onednn_conv_gelu(DTYPES[precision]):
        for module in fast.modules():
            if isinstance(module, ConvFFN):
                module.conv_gelu = onednn_conv_gelu
        done.append("convolutions apply the GELU behind them (oneDNN)")
    if compile is not None:
        done.append(_compile(fast, compile, on_cpu))
    return fast, done


def _fuse_convs(network: ESCBase, on_cpu: bool) -> list[str]:
    """Make one convolution of the large kernel and the dynamic one, if there is one."""
    convs = [module.plk for module in network.modules() if isinstance(module, ConvAttn)]
    if not convs:
        return []
    size = network.config["large_kernel_size"]
    is_dynamic = network.config["dynamic_kernel"]
    done = f"{size}×{size} {'and 3×3 ' if is_dynamic else ''}kernels are one convolution"
    # Where arithmetic is the bound; a GPU's is not, and a depthwise kernel has hardly any.
    if on_cpu and size >= _LEAST_TRANSFORMED and isinstance(convs[0], LargeKernelConv):
        spatial_conv = transformed_conv(size)
        done += ", its rows in the frequency domain"
    elif is_dynamic:
        spatial_conv = fused_conv
    else:
        return []  # they are one as it is
    for conv in convs:
        conv.spatial_conv = spatial_conv
    return [done]


def _compile(network: ESCBase, how: Compile, on_cpu: bool) -> str:
    if how == "dynamic":
        network.compile(dynamic=True)
        return "compiled for any image size"
    network.compile(dynamic=False, mode=None if on_cpu else "reduce-overhead")
    return "compiled for each image size" + ("" if on_cpu else ", as a CUDA graph")
