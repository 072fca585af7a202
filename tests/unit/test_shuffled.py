"""Permutation tests of two sets of samples: the figures are the library's, the level holds, plain differences show."""

from __future__ import annotations

import numpy as np
import pytest

from saddlepoint.evaluate import shuffled
from saddlepoint.evaluate.shuffled import KINDS, _Tables, p_values
from saddlepoint.metrics.frechet import frechet_distance
from saddlepoint.metrics.kernel import kernel_distance
from saddlepoint.metrics.manifold import manifold


def _sets(seed: int, dimensions: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    real, one = rng.normal(3, 1, (30, dimensions)), rng.normal(3.2, 1.3, (25, dimensions))
    return real, one, rng.normal(2.5, 0.7, (25, dimensions))


def test_figures_from_inner_products_are_those_of_the_metrics() -> None:
    for dimensions in (6, 90):  # more rows than dimensions, and fewer
        real, one, two = _sets(0, dimensions)
        tables, rows = _Tables.of(real, np.concatenate([one, two])), np.arange(50)
        for part, samples in ((rows[:25], one), (rows[25:], two)):
            (distance,) = KINDS["fd"](tables)(part).values()
            assert distance == pytest.approx(frechet_distance(real, samples).value, rel=1e-9)
            wanted = {name: found.value for name, found in manifold(real, samples).items()}
            assert KINDS["prdc"](tables)(part) == pytest.approx(wanted, rel=1e-12)
        (a,), (b,) = (KINDS["kd"](tables)(part).values() for part in (rows[:25], rows[25:]))
        gap = kernel_distance(real, one).value - kernel_distance(real, two).value
        assert a - b == pytest.approx(gap, rel=1e-9)


def test_a_plain_difference_shows_and_an_equal_pair_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """.006 against .156 in recall, as a newcomer's two runs had: 339 rows judge it."""
    rng = np.random.default_rng(1)
    real = rng.normal(size=(339, 8))
    narrow, wide = 0.25 * rng.normal(size=(339, 8)), 0.5 * rng.normal(size=(339, 8))
    recalls = [manifold(real, samples)["recall"].value for samples in (narrow, wide)]
    assert recalls[0] < 0.02 < 0.1 < recalls[1]
    monkeypatch.setattr(shuffled, "DEALS", 99)
    assert p_values("prdc", real, narrow, wide)["recall"] == 1 / 100
    assert p_values("fd", real[:100], narrow[:100], wide[:100])["Fréchet distance"] == 1 / 100
    assert p_values("kd", real, wide, wide)["kernel distance"] > 0.5


def test_the_level_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples of one generator are called different at the level .05 in about one case of twenty."""
    monkeypatch.setattr(shuffled, "DEALS", 39)
    rng = np.random.default_rng(2)
    found = []
    for seed in range(200):
        real, one, two = rng.normal(size=(20, 3)), 2 * rng.normal(size=(15, 3)), 2 * rng.normal(size=(15, 3))
        found.append(p_values("fd", real, one, two, seed=seed)["Fréchet distance"])
    # 200 trials at .05: 10 are expected, 22 or more come about once in two thousand.
    assert sum(p <= 0.05 for p in found) <= 21
    assert 0.4 < np.mean(found) < 0.6


def test_large_sets_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffled, "DEALS", 9)
    monkeypatch.setattr(shuffled, "MOST_ROWS", 10)
    real, one, two = _sets(3)
    thin = p_values("fd", real[::3], one[np.arange(10) * 25 // 10], two[np.arange(10) * 25 // 10])
    assert p_values("fd", real, one, two) == thin
