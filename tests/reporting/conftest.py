import pytest


@pytest.fixture
def four_runs(tmp_path, make_run):
    """Two attentions with two seeds each; their folder."""
    for attention in ("sdpa", "eager"):
        for seed in range(2):
            folder = tmp_path / f"{attention}{seed}"
            make_run(folder, attention=attention, seed=seed, psnr=(30.0 + seed, 31.5, 33.0))
    return tmp_path
