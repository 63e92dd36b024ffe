import os
from pathlib import Path

# The tests' networks are tiny: threads only wait for each other, and on a busy machine for long.
# Set before torch is imported, and inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

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
def record():
    """Make a record of `esc-sr bench`."""
    return lambda **changes: _RECORD | changes


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
