# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---


# %% [markdown]
# # Who computes the attention?
#
# ESC's self-attention is `softmax(q kᵀ · scale + B) v` within windows. `attention=` chooses two
# parts of it: the **bias** B belongs to the weights and makes the network what it is; the
# **kernel** only computes. Both are looked at here in two blocks of ESC with fresh weights, so
# nothing below says how good a picture becomes. At full size this takes two minutes or more on two
# cores, a good part of them for compiling `flex`.

# %%
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from esc_sr import InputError, create_model, for_inference, load_model, save_model
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.functional.psnr import psnr
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.bias_conversion import convert_bias
from esc_sr.profiling.fresh import FreshProcess, Setting, time_in_turn
from esc_sr.profiling.latency import spread_of

SMALL = os.environ.get("ESC_SR_NOTEBOOK_SIZE", "full") == "small"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WINDOW, SIDE = (8, 24) if SMALL else (32, 128)  # of the attention, and of the image in LQ pixels
BUILD = partial(
    create_model, "esc", scale=2, num_blocks=1 if SMALL else 2, num_conv_attn=2, window_size=WINDOW
)
# FlexAttention is compiled, by Triton on CUDA or by a C++ compiler, which takes its time.
FLEX = ["flex"] if DEVICE == "cuda" or (not SMALL and shutil.which("g++")) else []

# %% [markdown]
# ## A bias
#
# The authors' bias is a table: for each head one number for every offset from query to key. Fresh
# tables are small noise. So that there is something to see, they are filled by hand: near pixels
# count more, in every head over another distance.

# %%
torch.manual_seed(0)
network = BUILD()
layers = {name: m for name, m in network.named_modules() if isinstance(m, WindowAttention)}
offsets = torch.arange(1 - WINDOW, WINDOW)
distance = torch.hypot(offsets[:, None].float(), offsets[None].float()).flatten()
reaches = torch.tensor([2.0, 4.0, 8.0, 16.0])
for layer in layers.values():
    table = 4 * torch.exp(-distance / reaches[:, None])
    layer.replace_bias(TableBias(), {"relative_position_bias": table})

HEAD = 2
bias = layers["blocks.0.attn"].bound_bias()
table, dense = bias.values()[HEAD].detach(), bias.dense()[HEAD].detach()
query = WINDOW // 4 * (WINDOW + 1)  # a pixel on the diagonal of the window
figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
ends = (0.5 - WINDOW, WINDOW - 0.5)
panels[0].imshow(table.view(2 * WINDOW - 1, -1), extent=(*ends, *ends[::-1]))
panels[0].set_title("the table: every offset")
panels[1].imshow(dense[query].view(WINDOW, WINDOW))
panels[1].set_title("what one query sees of it")
panels[2].imshow(dense)
panels[2].set_title("the mask: query × key")
plt.show()

# %% [markdown]
# ## Kernels differ by rounding
#
# `eager` is the formula written out, and the reference. `sdpa` hands the dense bias to PyTorch's
# kernel as a mask, `flex` reads the table within the kernel. `flash` takes no mask, so it cannot
# carry a table, and nothing is put in its place silently.


# %%
def compare_kernels(network, kernels):
    """Print the largest difference of the outputs to those of `eager`."""
    network = network.to(DEVICE)
    network.set_attention("eager")
    with torch.no_grad():
        reference = network(image)
        for kernel in kernels:
            network.set_attention(kernel)
            difference = (network(image) - reference).abs().max().item()
            print(f"{kernel:10}  {difference:.1e}, outputs up to {reference.abs().max():.2f}")


image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(DEVICE)
compare_kernels(network, ["sdpa", *FLEX])
try:
    network.set_attention("flash")
except InputError as error:
    print("flash:", error)

# %% [markdown]
# ## Biases are other networks
#
# `axial` is a sum of two short tables, `fourier` one of a few waves. Both are products of something
# of the query and something of the key, which flash carries as more channels of q and k, exactly.
# They have fewer numbers than a table, so a trained table is only *fitted*. How much of it is left
# over, and how far apart the outputs are, depends on the table; `esc-sr convert` tells both for
# trained weights and refuses where the outputs differ too much.

# %%
network.set_attention("eager")
with torch.no_grad():
    before = network(image).clamp(0, 1)
for bias in (AxialBias(), FourierBias(rank=16), FourierBias(rank=48)):
    numbers = sum(p.numel() // len(p) for p in bias.initial(4, (WINDOW, WINDOW)).values())
    converted, fits = convert_bias(network, bias)
    left = torch.cat([fit.relative_rms for fit in fits.values()])
    with torch.no_grad():
        between = psnr(converted(image).clamp(0, 1), before, data_range=1.0).item()
    print(
        f"{bias.kind} {getattr(bias, 'rank', ''):2}  {numbers:4} of {table.numel()} numbers a head,"
        f" left {100 * left.min():.1f}–{100 * left.max():.1f} %, outputs {between:.1f} dB apart"
    )

# %% [markdown]
# The last one, in every kernel. `flash:sdpa` is flash by the kernels that PyTorch brings; `flash`
# alone wants the package flash-attn.

# %%
compare_kernels(converted, ["sdpa", "flash:sdpa", *FLEX])

# %% [markdown]
# ## Time and memory
#
# Each runs in a process of its own, since memory on a CPU is that of a whole process, and all run
# in turn, A B C A B C, so that what disturbs the machine disturbs all. Even so a shared machine is
# noisy: mind the spread (a tenth of the runs was faster, a tenth slower). `eager` stores a score
# for every pair of pixels of a window. `flex` is left out: on a CPU its compiler would be measured
# too. `conv_attn`, without any self-attention, is another network again.

# %%
weights = save_model(converted, Path(tempfile.mkdtemp()) / "fourier.safetensors")
plain = Setting(lq_size=(SIDE, SIDE), device=DEVICE)
flash = partial(load_model, weights, attention="flash:sdpa")
subjects = {
    "eager": FreshProcess(partial(load_model, weights, attention="eager"), plain),
    "flash:sdpa": FreshProcess(flash, plain),
}
if not SMALL:
    subjects |= {
        "sdpa": FreshProcess(partial(load_model, weights, attention="sdpa"), plain),
        "flash:sdpa, for_inference": FreshProcess(flash, replace(plain, fast=True)),
        "conv_attn": FreshProcess(partial(BUILD, attention="conv_attn"), plain),
    }
with ExitStack() as stack:
    processes = [stack.enter_context(process) for process in subjects.values()]
    times = time_in_turn(processes, rounds=3 if SMALL else 5)
    for name, process, found in zip(subjects, processes, times, strict=True):
        spread, memory = spread_of(found), process.memory().increase_mib
        told = f"{spread.median:7.1f} ms ({spread.p10:.1f}–{spread.p90:.1f})"
        print(f"{name:26} {told:28} {memory:6.1f} MiB above the network")

# %% [markdown]
# ## Another network, and a faster copy
#
# A kernel is chosen for given weights at any time; a network without self-attention is not, because
# its weights are others. `for_inference` returns a copy that computes the same faster.

# %%
try:
    converted.set_attention("conv_attn")
except InputError as error:
    print(error)

fast, done = for_inference(converted)
print(*done, sep="\n")
with torch.no_grad():
    print(f"largest difference: {(fast(image) - converted(image)).abs().max():.1e}")

# %% [markdown]
# ## What to make of it
#
# - Choose a kernel by what it costs on your machine, at your size: `esc-sr bench model=esc
#   attention=[eager,sdpa]`, and `--compare` for ratios. Training costs something else, and so does
#   16 bit on a GPU, where flash kernels are at home. Rank 48 makes heads of 16 channels 64 wide, so
#   that on a CPU, without gradients, `sdpa` may well be faster than `flash`.
# - Choose a bias before training; or convert and look at the outputs, since the fit alone does not
#   tell. How far those of trained weights would lie apart is not known from these fresh ones.
# - More in `docs/attention.md` and `docs/performance.md`.
