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
# # Are the layers of a self-attention network alike?
#
# ESC ([arXiv 2503.06671](https://arxiv.org/abs/2503.06671)) keeps one self-attention in each block
# and emulates the others with *ConvAttn*: a large convolution kernel that the whole network shares,
# and a small one made from the image. The reason is an observation. In super-resolution networks
# made of self-attention, neighbouring layers compute much the same: their features are similar, and
# so are the places where they look. What all layers do alike, one shared kernel can do.
#
# This notebook repeats the observation with two small networks that are equal but for one thing:
#
# - **ESC** has in each block one self-attention, then ConvAttn;
# - **ESC (self-attention)** (`model=esc_attn`) has self-attention in the place of every ConvAttn.
#
# Both are trained by the same recipe on the photographs that come with the package.

# %% [markdown]
# ## Settings
#
# At full size the two networks are trained once, in some seven and ten minutes on two cores, and
# found again in `runs/` afterwards. With `ESC_SR_NOTEBOOK_SIZE=small` in the environment everything
# is tiny and over in a minute; such networks have learned nothing, so their pictures mean nothing.

# %%
import logging
import os
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt

from esc_sr import load_model
from esc_sr.analysis.attention_maps import layers_with_maps
from esc_sr.analysis.attribution import local_attribution
from esc_sr.analysis.features import choose_layers
from esc_sr.analysis.figures import LamRow, erf_figure, lam_figure, similarity_figure
from esc_sr.analysis.receptive_field import areas, effective_receptive_field
from esc_sr.analysis.similarity import Similarity, feature_similarity, map_similarity
from esc_sr.config import compose_config
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.models.esc import ESCBase
from esc_sr.tasks import train

SMALL = os.environ.get("ESC_SR_NOTEBOOK_SIZE", "full") == "small"

# Where the networks are kept; a notebook runs in its own folder.
RUNS = Path(tempfile.mkdtemp()) if SMALL else Path("../runs")
# What differs from the recipes in conf/experiment/similarity_esc.yaml and similarity_esc_attn.yaml.
CHANGES = (
    [
        "model.num_blocks=2",
        "model.num_conv_attn=1",
        "model.window_size=8",
        "data.train.crop_size=16",
        "trainer.max_steps=8",
        "trainer.val_check_interval=8",
        "scheduler.warmup_steps=2",
        "callbacks=checkpoint",
    ]
    if SMALL
    else []
)
SIDE = 32 if SMALL else 144  # of the images, in LQ pixels: whole windows
STEPS = 5 if SMALL else 50  # of the path in a local attribution map

# %% [markdown]
# ## Two networks
#
# `esc-sr train experiment=similarity_esc` and `experiment=similarity_esc_attn`, called from
# here. A run that is found is not made again. The tables compare each network with bicubic
# interpolation.

# %%
# Lightning tells and warns of much that does not matter here.
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def trained(recipe: str) -> ESCBase:
    """Return the network that an experiment trains, from its folder if it has been run."""
    folder = RUNS / recipe
    if not (folder / "model.safetensors").is_file():
        overrides = [f"experiment={recipe}", f"paths.output_dir={folder}", *CHANGES]
        train.run(compose_config("train", overrides))
    return load_model(folder / "model.safetensors")


networks = {
    network.title: network
    for network in (trained("similarity_esc"), trained("similarity_esc_attn"))
}
for title, network in networks.items():
    print(f"{title}: {sum(parameter.numel() for parameter in network.parameters()):,} parameters")

# %% [markdown]
# ## Photographs
#
# The three packaged photographs that no network has trained on, made small with MATLAB's
# bicubic resize, as in training. Everything below looks at what the networks make of these.

# %%
photographs = PairedImages(gt_dir=sample_dir("valid"), scale=2)
images = [photographs[i]["lq"][None, :, :SIDE, :SIDE] for i in range(len(photographs))]

figure, panels = plt.subplots(1, len(images), figsize=(9, 3), layout="constrained")
for panel, lq in zip(panels, images, strict=True):
    panel.imshow(lq[0].permute(1, 2, 0))
    panel.set_axis_off()
plt.show()

# %% [markdown]
# ## Which layers are compared
#
# A block mixes pixels several times: first by its self-attention (`attn`), then by the
# modules that the authors' weights call `pconvs`, which are ConvAttn in the one network and
# self-attention in the other. Compared is what each of these adds to the features.

# %%
layers = {
    title: choose_layers(network, ["blocks.*.attn", "blocks.*.pconvs.?"])
    for title, network in networks.items()
}
print(*layers.items(), sep="\n")


# %% [markdown]
# ## Similar features: CKA
#
# *Centred kernel alignment* asks of two layers: do they tell the same pixels apart? Take
# many pixels. Each layer describes a pixel by a vector, so that for every two pixels there
# is a number that says how alike the layer finds them. CKA correlates these numbers between
# the layers: 1 if both arrange the pixels in the same way, whatever the rotation and size of
# their vectors; 0 if the one tells nothing about the other.
#
# On the diagonal a layer meets itself, which gives 1. Bright squares around the diagonal are
# runs of layers that compute much the same. The number in a title is the mean off the diagonal.


# %%
def with_means(similarities: list[Similarity]) -> dict[str, Similarity]:
    """Title each network's matrix with the mean similarity of its layers."""
    return {
        f"{title}: {found.mean():.2f}": found
        for title, found in zip(networks, similarities, strict=True)
    }


*features, between = feature_similarity(
    [(network, layers[title]) for title, network in networks.items()], images
)
similarity_figure(with_means(features), label="CKA")

# %% [markdown]
# The two networks can be compared with each other, too: rows are the layers of the one,
# columns of the other. Where ConvAttn has come to do what self-attention does at the same
# place, something of a diagonal is seen.

# %%
similarity_figure({" and ".join(networks): between}, label="CKA")

# %% [markdown]
# ## Similar places: attention maps
#
# A self-attention also says *where* it looks: for each pixel of a window, the weight of every
# other. The cosine between the weights of two layers is 1 if they look at the same places,
# and near 0 if they look elsewhere. ESC has only one self-attention a block to compare,
# the other network one at every place.

# %%
*maps, between = map_similarity(
    [(network, layers_with_maps(network)) for network in networks.values()], images
)
similarity_figure(with_means(maps), label="cosine")

# %% [markdown]
# ## How far they look: the effective receptive field
#
# How strongly does the pixel in the middle of the result depend on each pixel of the input? That
# is a gradient, averaged over the photographs; the colours are logarithmic, and the squares
# hold a half, 90 % and 99 % of it.
#
# Self-attention looks at its window and no further; what lies beyond is reached through the
# small convolutions between the layers, hence edges along windows. ConvAttn knows no windows,
# and its small kernels are made from the mean of the whole image, so that ESC depends, very
# faintly, on every pixel.

# %%
fields = {title: effective_receptive_field(network, images) for title, network in networks.items()}
erf_figure({title: (field, areas(field)) for title, field in fields.items()})

# %% [markdown]
# ## What they use: local attribution maps
#
# The receptive field says what *could* matter. A local attribution map says which pixels
# were used to draw the edges and textures of one place, the square in the middle: the image
# is blurred, and as the blur is taken away step by step, the change of the result is shared
# out among the pixels of the input. The *diffusion index* (DI) is 0 if a single pixel does
# everything, and 100 if all pixels are used alike.

# %%
lam_figure(
    [
        LamRow(
            photographs[i]["name"],
            lq[0],
            {
                title: local_attribution(network, lq, steps=STEPS)
                for title, network in networks.items()
            },
        )
        for i, lq in enumerate(images)
    ]
)

# %% [markdown]
# ## What to make of it
#
# The networks are small and have seen twelve photographs for some minutes; matrices of the
# paper's networks are smoother. Layers that are alike may also differ in the little that
# matters. What can be said here is whether the paper's observation appears at all: read the
# numbers in the titles, for features and for attention maps. How alike are the layers of
# the self-attention network? And are the ConvAttn of ESC, which are free to differ, as alike
# as those?
#
# From here: `esc-sr analyze` draws the same of any checkpoint, and the recipes take other seeds,
# sizes and windows:
# `esc-sr train experiment=similarity_esc_attn seed=1 run_dir=runs/other`.
