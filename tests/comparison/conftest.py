import json

import pytest

from esc_sr.comparison.measured import measured_comparison
from esc_sr.comparison.reading import read_measurements, read_quality


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
