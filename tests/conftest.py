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
