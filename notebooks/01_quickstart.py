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
# # Quickstart: train, load, enlarge
#
# A small ESC ([arXiv 2503.06671](https://arxiv.org/abs/2503.06671)) learns to enlarge photographs
# ×2 from the twelve that come with the package. Nothing is downloaded. The training takes about two
# minutes on two cores; with `ESC_SR_NOTEBOOK_SIZE=small` in the environment it has eight steps, in
# which a network learns nothing.

# %%
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import esc_sr
from esc_sr.config import compose_config
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.functional.resize import matlab_imresize
from esc_sr.tasks import train

SMALL = os.environ.get("ESC_SR_NOTEBOOK_SIZE", "full") == "small"

# Where the run is kept; a notebook runs in its own folder.
RUNS = Path(tempfile.mkdtemp()) if SMALL else Path("../runs/quickstart")
# What differs from the recipe, conf/experiment/quickstart.yaml.
CHANGES = (
    [
        "model.num_blocks=1",
        "model.num_conv_attn=1",
        "model.window_size=8",
        "data.batch_size=2",
        "trainer.max_steps=8",
        "trainer.val_check_interval=4",
        "scheduler.warmup_steps=2",
        "callbacks=[checkpoint,ema,progress]",
    ]
    if SMALL
    else []
)

# %% [markdown]
# ## A network by its name
#
# Networks take images `(B, 3, H, W)` with values from 0 to 1, of any size.

# %%
print(*esc_sr.list_models(), sep=", ")
network = esc_sr.create_model("esc_lt", scale=2)
parameters = sum(parameter.numel() for parameter in network.parameters())
print(f"{network.title}: {parameters:,} parameters")

with torch.no_grad():
    print(tuple(network(torch.rand(1, 3, 45, 80)).shape))

# %% [markdown]
# ## Training
#
# `esc-sr train experiment=quickstart`, called from here. A configuration is composed from the files
# of `conf/` and from overrides, the same as on the command line. Every hundred steps the three
# photographs held out are enlarged and measured: PSNR and SSIM of the luma, as papers do. At the
# end the best weights are compared with bicubic interpolation.

# %%
# What the package tells, and not what Lightning tells and warns of.
warnings.filterwarnings("ignore")
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("esc_sr").setLevel(logging.INFO)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

run = RUNS / time.strftime("%Y-%m-%d_%H-%M-%S")
overrides = ["experiment=quickstart", f"paths.output_dir={run}", *CHANGES]
result = train.run(compose_config("train", overrides))

# %% [markdown]
# ## The weights
#
# `load_model` reads `.safetensors`, Lightning's `.ckpt` and the authors' `.pth`. Which network it
# is follows from the weights. The attention kernel does not: it may be chosen anew at any time, and
# changes nothing but rounding, memory and speed (notebook 02).

# %%
network = esc_sr.load_model(run / "model.safetensors", attention="eager")
network.set_attention("sdpa")
parameters = sum(parameter.numel() for parameter in network.parameters())
print(f"{network.title} ×{network.scale}: {parameters:,} parameters")

# %% [markdown]
# ## Enlarging pictures
#
# `Upscaler` takes arrays of 8 or 16 bits, of any size: what does not fit the memory is cut.
# `esc-sr upscale` does the same with files. Here it enlarges the held-out photographs from half
# their size. Beside its result (sr) stand what it was given (lq), MATLAB's bicubic, and the
# photograph (gt). The numbers are PSNR-Y in dB of the whole photograph.

# %%
upscaler = esc_sr.Upscaler(run / "model.safetensors")
photographs = PairedImages(gt_dir=sample_dir("valid"), scale=2)
SHOWN = slice(96, 192)  # rows and columns of the photograph: its middle

bicubic_psnr, sr_psnr = (found.sets["sample"].values["psnr_y"] for found in result.table)
figure, panels = plt.subplots(
    len(photographs), 4, figsize=(10, 2.7 * len(photographs)), layout="constrained"
)
for i, row in enumerate(panels):
    lq, gt = photographs[i]["lq"], photographs[i]["gt"]
    pixels = (255 * lq).round().byte().permute(1, 2, 0).numpy()
    images = {
        "lq": pixels.repeat(2, 0).repeat(2, 1),
        f"bicubic, {bicubic_psnr[i]:.2f}": matlab_imresize(lq, 2).clamp(0, 1).permute(1, 2, 0),
        f"sr, {sr_psnr[i]:.2f}": upscaler(pixels),
        f"gt: {photographs[i]['name']}": gt.permute(1, 2, 0),
    }
    for panel, (title, image) in zip(row, images.items(), strict=True):
        panel.imshow(image[SHOWN, SHOWN])
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
plt.show()

# %% [markdown]
# ## What to make of it
#
# After two minutes the network beats bicubic by about a decibel on photographs that it has not
# seen; lines and edges show it first. It is no measure of ESC: the paper trains ten times the
# parameters on 800 photographs for 500,000 steps (`experiment=esc_x2`), and three photographs are
# few.
#
# From here:
#
# - your own photographs: `esc-sr train data=folder data.train.gt_dir=… data.val.valid.gt_dir=…`;
# - the same run once more: `esc-sr train --from RUN`, with another seed: `seed=1` behind it;
# - notebook 02: who computes the attention; 03: a question asked of several runs, with seeds; 04:
#   what the layers do; 05: the published networks, and measurements beside them.
