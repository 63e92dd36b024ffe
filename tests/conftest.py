import csv
import json
import logging
import os
import signal
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

# The tests' networks are tiny: threads only wait for each other, and on a busy machine for long.
# Set before torch is imported, and inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a script starts in the background ignores SIGINT, and so would the commands of tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from PIL import Image

from esc_sr.cli import main
from esc_sr.runs.record import RunRecord, write_record

# Machines are shared: what takes long here says nothing about the code.
settings.register_profile("default", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("default")

_RECORD = {
    "network": "esc_lt",
    "title": "ESC",
    "checkpoint": None,
    "attention": "sdpa",
    "scale": 4,
    "lq_size": [180, 320],
    "output_size": [720, 1280],
    "batch_size": 1,
    "precision": "fp32",
    "compile": False,
    "device": "cpu",
    "device_name": "Some CPU",
    "threads": 2,
    "latency_ms": 2000.0,
    "latency_p10_ms": 1900.0,
    "latency_p90_ms": 2100.0,
    "warmup": 1,
    "repeats": 3,
    "peak_memory_mib": 900.0,
    "memory_source": "resident_increase",
    "macs_g": 91.2,
    "params_k": 624.372,
    "activations_m": 400.0,
    "build_s": 0.1,
    "versions": {"esc_sr": "0.1.0", "torch": "2.13.0", "python": "3.11.9", "cuda": None},
    "error": None,
}


@pytest.fixture
def esc_sr(capfd):
    """Call `esc-sr` from another folder, in this process: one of its own takes seconds to start.

    What comes back is named as `subprocess.run` names it. Tests that kill a command, or ask what is
    imported, start a process; `tests/test_cli.py` does so for what all commands share.
    """

    def call(*arguments, cwd):
        capfd.readouterr()
        root = logging.getLogger()
        before = root.handlers[:], root.level  # Hydra's write to a file and to what is captured
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["esc-sr"])
            patch.setattr(sys, "path", sys.path[:])
            patch.setattr(HydraConfig.instance(), "cfg", None)  # --cfg leaves its own there
            try:
                main([str(argument) for argument in arguments])
                code = 0
            except SystemExit as left:
                code = left.code or 0
            finally:
                for handler in [one for one in root.handlers if one not in before[0]]:
                    handler.close()
                root.handlers, root.level = before
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return call


@pytest.fixture
def record():
    """Make a record of `esc-sr bench`."""
    return lambda **changes: _RECORD | changes


_CONFIG = {
    "scale": 2,
    "seed": 0,
    "monitor": "val/psnr_y",
    "attention": "sdpa",
    "optimizer": {"lr": 0.001},
    "trainer": {"max_steps": 40},
    "data": {"seed": 0},
    "callbacks": {
        "latency": {
            "_target_": "esc_sr.training.callbacks.latency.LatencyMonitor",
            "lq_size": [64, 48],
        },
        "best": {"monitor": "val/psnr_y", "mode": "max"},
    },
}


@pytest.fixture
def make_run():
    """Write a run folder as training does, with numbers of choice and without training."""

    def make(folder, *, psnr=(30.0, 31.0, 32.0), attention="sdpa", seed=0, **changes):
        config = _CONFIG | {"attention": attention, "seed": seed, "data": {"seed": seed}}
        config |= changes.pop("config", {})
        set_name = changes.pop("set_name", "Set5")
        names = ["bird", "baby", "head", "lady", "lake"][: len(psnr)]
        ssim = [value / 40 for value in psnr]
        values = {
            "state": "finished",
            "config": config,
            "config_hash": f"{attention}{seed}",
            "overrides": [f"attention={attention}", f"seed={seed}"],
            "choices": {"attention": attention},
            "network": "ESC",
            "params_k": 22.2,
            "macs_g": 5.33,
            "macs_lq_size": [360, 640],
            "best_score": sum(psnr) / len(psnr) if psnr else None,
            "measured": {
                "perf/latency_ms": 10.0 + seed,
                "perf/inference_peak_memory_mib": 400.0,
                f"val/{set_name}/psnr_y": 29.0,
                f"val/{set_name}/ssim_y": 0.7,
            },
            "results": {set_name: {"images": names, "psnr_y": list(psnr), "ssim_y": ssim}},
            "sessions": [
                {
                    "started": "2026-01-01T00:00:00+00:00",
                    "finished": "2026-01-01T00:01:15+00:00",
                    "wall_s": 75.0,
                    "step": 40,
                    "versions": {"torch": "2.13.0", "cuda": None},
                    "device": {"type": "cpu", "name": "Some CPU", "threads": 2, "processes": 1},
                    "git": [{"of": "esc_sr", "commit": "0123456789abcdef", "dirty": True}],
                }
            ],
        }
        write_record(RunRecord(**(values | changes)), folder)
        log = folder / "csv" / "version_0" / "metrics.csv"
        log.parent.mkdir(parents=True)
        with log.open("w", newline="") as file:
            writer = csv.writer(file)
            keys = ["val/psnr_y", f"val/{set_name}/psnr_y", f"val/{set_name}/ssim_y"]
            writer.writerow(["step", "train/loss", "lr-AdamW", *keys])
            for step in range(0, 40, 10):
                writer.writerow([step + 9, 1 / (step + 1), 1e-3, "", "", ""])
            for step, value in ((19, 31.0), (39, 29.0)):
                writer.writerow([step, "", "", value, value, 0.7])
        grid = np.full((14 + 16, 4 * 16 + 6, 3), seed, np.uint8)
        for step in (20, 40):
            path = folder / "images" / set_name / f"bird_step{step:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grid + step).save(path)
        return folder

    return make


@pytest.fixture(scope="session")
def wandb_variables(tmp_path_factory):
    """The environment of a W&B that knows a key and keeps everything in a folder of the tests."""
    home = tmp_path_factory.mktemp("wandb_home")
    folders = dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), str(home))
    key = "".join(f"{number:02x}" for number in range(20))  # in the shape of W&B's
    own = {"WANDB_API_KEY": key, "NETRC": str(home / "netrc"), "WANDB_SILENT": "true"}
    return folders | own


@pytest.fixture(scope="session")
def read_wandb():
    """Read back what an offline W&B run has written: `run-*.wandb` below a folder."""

    def read(folder):
        (path,) = folder.rglob("*.wandb")
        for _ in range(300):  # another process writes it, and need not have come to the end
            records = list(_wandb_records(path.read_bytes()))
            if records and records[-1].WhichOneof("record_type") == "exit":
                break
            time.sleep(0.1)
        found = SimpleNamespace(
            run=None, config={}, history=[], summary={}, artifacts=[], metrics={}, files=[],
            kinds=set(), exit_code=None, folder=path.parent,
        )  # fmt: skip
        for record in records:
            kind = record.WhichOneof("record_type")
            found.kinds.add(kind)
            if kind == "run":
                found.run = record.run
            elif kind == "config":
                found.config |= {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json)
                    for item in record.config.update
                }
            elif kind == "history":
                row = {
                    "/".join([item.key] if item.key else item.nested_key): item.value_json
                    for item in record.history.item
                }
                found.history.append({key: json.loads(value) for key, value in row.items()})
            elif kind == "summary":
                for item in record.summary.update:
                    key = "/".join([item.key] if item.key else item.nested_key)
                    found.summary[key] = json.loads(item.value_json)
            elif kind == "artifact":
                found.artifacts.append(record.artifact)
            elif kind == "metric":
                name = record.metric.name or record.metric.glob_name
                found.metrics[name] = record.metric.step_metric
            elif kind == "files":
                found.files += [file.path for file in record.files.files]
            elif kind == "exit":
                found.exit_code = record.exit.exit_code
        return found

    return read


def _wandb_records(content):
    """The records of a `.wandb` file: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, header, position, parts = 2**15, 7, 7, []
    while position + header <= len(content):
        left = block - position % block
        if left < header:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += header
        parts.append(content[position : position + length])
        position += length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


@pytest.fixture
def shared_dir() -> Path:
    """Golden files, benchmarks and photographs that lie beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("golden files and benchmarks are not here: there is no ../shared")
    return path


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
