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
# # The published table, and measurements beside it
#
# Costs in a paper were measured on its authors' machine; on yours even the order of the networks
# may be another. This notebook prints the table of ESC's paper, measures some of its networks here,
# and sets both side by side without mixing them. It takes some two minutes on two cores.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import Image, display

from esc_sr.config import compose_config
from esc_sr.tasks import bench, compare, evaluate

SMALL = os.environ.get("ESC_SR_NOTEBOOK_SIZE", "full") == "small"

# Where the documents are written; a notebook runs in its own folder.
OUTPUT = Path(tempfile.mkdtemp()) if SMALL else Path("../runs/paper_table")
# Weights of a network at ×4, of yours or of the authors, and sets to measure them on: "sample" is
# the packaged photographs, others lie in paths.benchmark_dir. None: bicubic interpolation.
CHECKPOINT = None
SETS = "[sample]"
# The papers' image is an output of 1280×720.
MODELS, LQ_SIZE = "[esc,esc_lt,esc_fp,rcan]", "[180,320]"
if SMALL:
    MODELS, LQ_SIZE = "[esc_lt]", "[16,16]"

# %% [markdown]
# ## As published
#
# Table 2 of the paper at ×4, networks trained on DIV2K, packaged with the library. The picture is
# quality over latency, with bubbles as large as the memory.

# %%
published = OUTPUT / "published"
compare.run(compose_config("compare", ["scale=4", "formats=[png]", f"output_dir={published}"]))
display(Image(published / "comparison.png", width=600))

# %% [markdown]
# ## What they cost here
#
# `esc-sr bench` measures each network in a process of its own, with fresh weights, since costs do
# not depend on them: the median of a few forward passes, with its spread. A shared machine is
# noisy. Multiply-adds and parameters are counted, whatever the machine, and can be held against
# the published ones.

# %%
records = bench.run(
    compose_config(
        "bench",
        [f"models={MODELS}", "scale=4", f"lq_size={LQ_SIZE}", "repeats=3", f"output_dir={OUTPUT}"],
    )
)

# %% [markdown]
# ## How good they are here
#
# Quality needs trained weights. `esc-sr evaluate` measures a checkpoint by the papers' protocol,
# `esc-sr verify` compares one with its published row. Without a `CHECKPOINT` this measures bicubic.

# %%
network = ["model=bicubic", "scale=4"] if CHECKPOINT is None else [f"checkpoint={CHECKPOINT}"]
options = [*network, f"sets={SETS}", f"output_dir={OUTPUT / 'quality'}"]
quality = evaluate.run(compose_config("evaluate", options))

# %% [markdown]
# ## Side by side
#
# Published and measured rows are kept apart: tables of their own, each with its conditions, best
# and second marked within one table; milliseconds of two machines in two panels. Networks that were
# measured here without being trained may borrow the published quality, marked †.

# %%
both = OUTPUT / "both"
options = [
    "scale=4",
    f"bench={OUTPUT / 'bench.json'}",
    f"results={OUTPUT / 'quality/results.json'}",
    "quality_from_published=true",
    "width=6.6",
    f"output_dir={both}",
]
compare.run(compose_config("compare", options))
display(Image(both / "comparison.png", width=900))

# %% [markdown]
# ## What to make of it
#
# Latency belongs to a network *and* a machine: are the networks in the same order in both panels?
# Memory is not even the same quantity: on a GPU what PyTorch allocated, on a CPU by how much the
# process grew. A borrowed quality is the paper's claim, not a measurement.
#
# `comparison.tex` and `.pdf` go into a paper, `comparison.csv` has every number unrounded with its
# origin, and `x=macs_g size=params_k` draws costs that do not depend on the machine in one panel.
