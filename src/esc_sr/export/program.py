"""Make of a network a program of tensor operations, for images of any size or of one."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from esc_sr.attention.eager import EagerKernel
from esc_sr.errors import InputError, first_line
from esc_sr.functional.large_conv import unfolded_convs
from esc_sr.layers.conv_attn import ConvAttn
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import fold_large_kernel
from esc_sr.models.esc import ESCBase
from esc_sr.models.for_inference import DTYPES, Precision

COLORS = 3


def deployable(network: nn.Module, *, precision: Precision = "fp32") -> nn.Module:
    """Return a copy that holds and computes what an exported file shall.

    Of the family of ESC the large kernel is averaged over its flips and rotations, attention is
    written out one head at a time, and the dynamic convolutions are matrix products: operations
    that every exporter knows for any size and batch. Names and shapes of the weights stay.

    Args:
        network: The network; not changed.
        precision: Type of the weights. In fp16 members of the family still take and return fp32.

    Returns:
        The copy, on the CPU, in eval mode, asking for no gradients.
    """
    made = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    if isinstance(made, ESCBase):
        fold_large_kernel(made)
        for module in made.modules():
            if isinstance(module, ConvAttn):
                module.plk.spatial_conv = unfolded_convs
            elif isinstance(module, WindowAttention):
                module.set_kernel(EagerKernel(max_heads=1))
    return made.to(DTYPES[precision])


def program_of(
    network: nn.Module, *, lq_size: tuple[int, int] | None = None, batch_size: int = 1
) -> ExportedProgram:
    """Record what a network computes.

    Args:
        network: What `deployable` returns.
        lq_size: (height, width) of the only image that the program will take; None: any.
        batch_size: Images of that size; with any size there may be any number.

    Returns:
        The program; it names no file of this machine.

    Raises:
        InputError: The network does what cannot be recorded, such as looking at the size of an
            image to decide what to do.
    """
    window, least = getattr(network, "window_size", (1, 1)), least_side(network)
    dtype = torch.float32 if isinstance(network, ESCBase) else _dtype_of(network)
    if lq_size is None:
        # No multiples of anything: what holds for them by chance must not become part of it.
        example = torch.rand(2, COLORS, window[0] + 3, window[1] + 5, dtype=dtype)
        open_sides = {
            0: Dim("batch", min=1), 2: Dim("height", min=least), 3: Dim("width", min=least)
        }  # fmt: skip
    else:
        example = torch.rand(batch_size, COLORS, *lq_size, dtype=dtype)
        open_sides = None
    try:
        # Else the program would be for sides and batches of 2 and more only.
        with (
            torch.no_grad(),
            _config.patch(  # pyright: ignore
                backed_size_oblivious=True
            ),
        ):
            program = torch.export.export(
                network, (example,), dynamic_shapes=(open_sides,), strict=False
            )
    except Exception as error:  # whatever the exporter and the network raise
        sizes = "any size and batch" if lq_size is None else f"{lq_size[0]}×{lq_size[1]}"
        remedy = "; try lq_size=[height,width], for one size" if lq_size is None else ""
        raise InputError(
            f"{type(network).__name__} cannot be exported for images of {sizes}: "
            f"{first_line(error)}{remedy}"
        ) from error
    # What a convolution asks of a side to choose a memory layout, and a matrix product of the
    # number of windows, would refuse sides of 1 and single windows. Neither changes the result.
    guards = getattr(program, "_guards_code", [])
    guards[:] = [guard for guard in guards if not guard.endswith((" > 1", " != 1"))]
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of this machine
    return program


def least_side(network: nn.Module) -> int:
    """Return the smallest side for which a program for any size is recorded.

    Args:
        network: One that works on blocks of pixels needs two: PyTorch's tracer asks whether
            there is more than one block. Any other takes single pixels.
    """
    factor = getattr(network, "unshuffle_factor", 1)
    return factor + 1 if factor > 1 else 1


def _dtype_of(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters()), torch.float32)
