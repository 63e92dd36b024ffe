import json

import pytest

from esc_sr.comparison.measured import measured_comparison
from esc_sr.comparison.reading import read_measurements, read_quality

RECORD = {
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
    return lambda **changes: RECORD | changes


@pytest.fixture
def bench_file(tmp_path):
    """Write records as `esc-sr bench` does."""

    def write(*records, name="bench.json"):
        path = tmp_path / name
        path.write_text(json.dumps(records))
        return path

    return write


@pytest.fixture
def results_file(tmp_path):
    """Write means as `esc-sr evaluate` does: {network: {set: psnr_y}}."""

    def write(networks, name="results.json", scale=4):
        content = {
            f"{network} x{scale}": {
                set_name: {
                    "psnr_y": psnr_y,
                    "ssim_y": 0.8,
                    "images": 5,
                    "seconds": 1.0,
                    "network": network,
                    "scale": scale,
                    "protocol": ["paper: PSNR and SSIM on Y, 4 pixels cropped"],
                }
                for set_name, psnr_y in sets.items()
            }
            for network, sets in networks.items()
        }
        path = tmp_path / name
        path.write_text(json.dumps(content if len(content) > 1 else next(iter(content.values()))))
        return path

    return write


@pytest.fixture
def measured(bench_file, results_file):
    """Read measured rows at ×4 as the command does."""

    def rows(records=(), networks=None, scale=4):
        costs = read_measurements(bench_file(*records)) if records else []
        qualities = read_quality(results_file(networks, scale=scale)) if networks else []
        return measured_comparison(costs, qualities, scale)

    return rows
