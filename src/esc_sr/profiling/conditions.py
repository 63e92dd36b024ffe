"""On what a measurement was made."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from esc_sr import __version__

_CPU_INFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str | None]:
    """Return the versions that a measurement depends on; "cuda" is None without CUDA."""
    return {
        "esc_sr": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
    }


def device_name(device: torch.device | str) -> str:
    """Return what the device is called by its maker, as far as the system tells.

    Args:
        device: Of the measurement.

    Returns:
        The GPU's or the processor's name.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()
