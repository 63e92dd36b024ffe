import numpy as np
import pytest
import torch

from esc_sr.profiling import memory as memory_module
from esc_sr.profiling.memory import PeakMemory

SIZE_MIB = 256


def _touch(mib: int) -> None:
    """Use that much memory for a moment: written to, or the system would not hand it over."""
    np.ones(mib * 2**20, dtype=np.uint8)


def test_the_peak_of_the_cpu_is_seen_and_forgotten():
    with PeakMemory("cpu") as peak:
        _touch(SIZE_MIB)
    reading = peak.read()
    if reading.source != "resident_peak":
        pytest.skip("this system cannot reset the peak of the resident set")
    assert SIZE_MIB * 0.95 < reading.increase_mib < SIZE_MIB * 1.5
    peak.reset()
    assert peak.read().increase_mib < SIZE_MIB / 2
    assert peak.read().peak_mib < reading.peak_mib


def test_where_the_peak_cannot_be_reset_it_is_that_of_the_process_and_says_so(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(memory_module, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    monkeypatch.setattr(memory_module, "_STATUS", tmp_path / "absent" / "status")
    _touch(SIZE_MIB)
    with PeakMemory("cpu") as peak:
        pass
    reading = peak.read()
    assert reading.source == "resident_peak_of_process"
    assert SIZE_MIB < reading.peak_mib < 64 * 1024  # MiB, not KiB or bytes


@pytest.mark.parametrize(("platform", "mib"), [("linux", 3.0), ("darwin", 3.0 / 1024)])
def test_the_unit_of_the_system_call_is_kib_but_bytes_on_macos(monkeypatch, platform, mib):
    import resource

    class Usage:
        ru_maxrss = 3 * 1024

    monkeypatch.setattr(resource, "getrusage", lambda who: Usage)
    monkeypatch.setattr("sys.platform", platform)
    assert memory_module._process_peak_mib() == pytest.approx(mib)


@pytest.mark.gpu
def test_the_peak_of_the_gpu_counts_tensors():
    before = torch.ones(2**20, device="cuda")  # 4 MiB
    with PeakMemory("cuda") as peak:
        torch.ones(16 * 2**20, device="cuda")  # 64 MiB, freed at once
    reading = peak.read()
    assert reading.source == "cuda_allocated"
    assert reading.increase_mib == pytest.approx(64, abs=1)
    assert reading.start_mib >= before.numel() * 4 / 2**20
    peak.reset()
    assert peak.read().increase_mib == pytest.approx(0, abs=1)
