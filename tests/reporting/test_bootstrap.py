import math

import numpy as np
import pytest

from esc_sr.reporting.bootstrap import mean_by_image, paired_interval


def interval(a, b, **options):
    names = [f"image{i}" for i in range(len(a))]
    return paired_interval(
        dict(zip(names, a, strict=True)),
        dict(zip(names, b, strict=True)),
        **({"resamples": 10_000, "seed": 0} | options),
    )


def test_a_constant_difference_is_certain_however_images_differ():
    images = np.linspace(20, 40, 9)
    found = interval(images + 0.25, images)
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.images, found.excludes_zero) == (9, True)


def test_the_interval_is_that_of_normal_theory_where_that_holds():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.1, 1.0, 400)
    found = interval(differences, np.zeros(400))
    error = differences.std(ddof=1) / math.sqrt(400)
    assert found.mean == pytest.approx(differences.mean())
    assert found.low == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        found = interval(rng.normal(0.3, 1, 50), np.zeros(50), resamples=500, seed=seed)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_and_parts_do_not_matter(monkeypatch):
    a = np.random.default_rng(3).normal(size=30)
    first = interval(a, np.zeros(30))
    assert interval(a, np.zeros(30)) == first != interval(a, np.zeros(30), seed=1)
    monkeypatch.setattr("esc_sr.reporting.bootstrap._AT_ONCE", 64)
    assert interval(a, np.zeros(30)) == first


def test_pairs_are_by_name_and_finite():
    values = {"a": 1.0, "b": 3.0, "c": math.inf, "d": 4.0, "only here": 9.0}
    baseline = {"d": 1.0, "c": math.inf, "b": 1.0, "a": 0.0, "only there": 9.0}
    found = paired_interval(values, baseline, resamples=100, seed=0)
    assert (found.images, found.mean) == (3, 2.0)
    assert paired_interval({"a": 1.0}, {"a": 0.0}, resamples=100, seed=0) is None
    assert paired_interval({"a": 1.0}, {"b": 0.0}, resamples=100, seed=0) is None


def test_seeds_are_averaged_image_by_image():
    runs = [{"a": 1.0, "b": 2.0, "c": 5.0}, {"b": 4.0, "a": 3.0}]
    assert mean_by_image(runs) == {"a": 2.0, "b": 3.0}
    assert mean_by_image([]) == {}
