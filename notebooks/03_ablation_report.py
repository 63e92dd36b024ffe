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
# # A question, several seeds, a report
#
# ConvAttn adds to its large kernel a small one that is made from the image. *What is the small one
# worth?* Networks with it and without it are trained on the packaged photographs, each with several
# seeds, and reported side by side. At full size these are six runs of 200 steps, some four minutes
# on two cores; with `ESC_SR_NOTEBOOK_SIZE=small` in the environment four of two steps, which show
# how it goes and nothing else.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from IPython.display import Image, display

from esc_sr.config import compose_config
from esc_sr.drawing import rendered
from esc_sr.reporting.curves import draw_curves
from esc_sr.tasks import report

SMALL = os.environ.get("ESC_SR_NOTEBOOK_SIZE", "full") == "small"

# Where the runs are kept; a notebook runs in its own folder.
RUNS = Path(tempfile.mkdtemp()) if SMALL else Path("../runs/ablation_notebook")
# What differs from conf/experiment/quickstart.yaml.
CHANGES = (
    [
        "model.dim=16",
        "model.partial_dim=8",
        "model.num_blocks=1",
        "model.num_conv_attn=1",
        "model.window_size=8",
        "data.batch_size=2",
        "trainer.max_steps=2",
        "trainer.val_check_interval=2",
        "trainer.num_sanity_val_steps=0",
        "trainer.log_every_n_steps=1",
        "scheduler.warmup_steps=1",
        "callbacks=[checkpoint,ema,latency]",
        "seed=0,1",
    ]
    if SMALL
    else ["trainer.max_steps=200", "trainer.val_check_interval=50", "seed=0,1,2"]
)

# %% [markdown]
# ## The runs
#
# A question is a file of `conf/experiment/ablation`: it says which values are compared, and that
# each is a run. A recipe stands before it and says how they are trained, here the quickstart's.
# With `seed=0,1,2` there is a run for each value and seed. The command is the one that would be
# typed in a terminal. `skip_finished=true` leaves out what has finished before, so that it can be
# given again, after an interruption or with more seeds. What a run prints is in its `train.log`.

# %%
command = [
    *(sys.executable, "-m", "esc_sr", "train"),  # esc-sr train
    "experiment=[quickstart,ablation/dynamic_kernel]",
    "skip_finished=true",
    f"paths.runs_dir={RUNS}",
    *CHANGES,
]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(*sorted(RUNS.glob("multirun/*/*/train.log")), sep="\n")

# %% [markdown]
# ## The report
#
# `esc-sr report RUNS group=seed baseline=…`, called from here. Runs that differ in their seed only
# become one row, mean ± standard deviation over the seeds. Differences are those to the baseline.

# %%
OUTPUT = RUNS / "report"
table = report.run(
    compose_config(
        "report",
        [
            f"runs=[{RUNS}]",
            "group=seed",
            "baseline={model.dynamic_kernel: true}",
            "title=With and without the dynamic kernel",
            f"output_dir={OUTPUT}",
        ],
    )
)
print("the page:", (OUTPUT / "report.html").resolve())

# %% [markdown]
# ## How to read an interval
#
# `-0.020 [-0.041, +0.003]` says: 0.020 dB below the baseline, as a mean over the images. The
# bracket tells how much that mean hangs on which images were taken: images are drawn anew 10,000
# times, and 95 % of the means lie in it. Differences are taken image by image, seeds averaged
# first, so that easy and hard images do not blur them. If the bracket holds zero (no `*`), these
# images do not show a difference.
#
# The interval does not know what other seeds would have given: a difference that is not large
# beside the ± of the rows may be one of luck. And with three images it is too narrow.

# %% [markdown]
# ## Training curves, and quality over cost
#
# `report.html` holds these, the same image crops of all networks and each run's configuration, in
# one file that opens without a server. Each row has the same colour in all pictures, and a line for
# each of its seeds. Latencies of training runs share the machine with whatever else runs; `esc-sr
# bench` measures better.

# %%
curves = draw_curves(table.rows, "val/sample/psnr_y")
display(Image(rendered(curves, "png"), width=500))
display(Image(OUTPUT / "pareto_latency.png", width=500))

# %% [markdown]
# ## What to make of it
#
# 200 steps on twelve photographs answer the question for 200 steps on twelve photographs. The paper
# trains 500,000 on 800. What carries over is the way of asking: equal steps, several seeds, the
# same images, an interval. `conf/experiment/ablation/recipe.yaml` is a longer recipe for your own
# photographs, and the files beside it are further questions: windows, attention, losses, kernels.
