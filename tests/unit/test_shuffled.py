"""Permutation tests of two sets of samples: the figures are the library's, the level holds, plain differences show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from saddlepoint.core.progress import heard_by
from saddlepoint.evaluation.measurements import shuffled
from saddlepoint.evaluation.measurements.shuffled import KINDS, _Tables, p_values
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
        tables = _Tables.of(*map(torch.from_numpy, (real, np.concatenate([one, two]))))
        parts = torch.stack([torch.arange(50) < 25, torch.arange(50) >= 25])
        found = {name: values for kind in KINDS for name, values in KINDS[kind](tables)(parts).items()}
        for place, samples in enumerate((one, two)):
            wanted = {name: figure.value for name, figure in manifold(real, samples).items()}
            assert {name: float(found[name][place]) for name in wanted} == pytest.approx(wanted, rel=1e-12)
            distance = float(found["Fréchet distance"][place])
            assert distance == pytest.approx(frechet_distance(real, samples).value, rel=1e-9)
        a, b = found["kernel distance"]
        gap = kernel_distance(real, one).value - kernel_distance(real, two).value
        assert float(a - b) == pytest.approx(gap, rel=1e-9)


def _plainly(
    figures: Callable[[np.ndarray, np.ndarray], dict[str, float]], real: np.ndarray, one: np.ndarray, two: np.ndarray
) -> dict[str, float]:
    """The same test by the metrics of the library, from the samples themselves, deal by deal."""
    rng, pooled = np.random.default_rng(0), np.concatenate([one, two])

    def gaps(order: np.ndarray) -> dict[str, float]:
        a, b = (figures(real, pooled[part]) for part in (order[: len(one)], order[len(one) :]))
        return {name: abs(value - b[name]) for name, value in a.items()}

    found = gaps(np.arange(len(pooled)))
    dealt = [gaps(rng.permutation(np.arange(len(pooled)))) for _ in range(shuffled.DEALS)]
    return {
        name: (1 + sum(gap[name] >= value * (1 - 1e-9) for gap in dealt)) / (1 + shuffled.DEALS)
        for name, value in found.items()
    }


@pytest.mark.parametrize("dimensions", [2, 6, 90])
def test_p_values_are_those_of_the_metrics_on_samples_dealt_out_anew(
    dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffled, "DEALS", 49)
    monkeypatch.setattr(shuffled, "_NEAREST", 4)  # few parts have their third neighbour among so few
    rng = np.random.default_rng(dimensions)
    real, one, two = (rng.normal(3, spread, (n, dimensions)) for n, spread in ((30, 1.0), (25, 1.1), (22, 1.0)))
    known: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
        "fd": lambda x, y: {"Fréchet distance": frechet_distance(x, y).value},
        "kd": lambda x, y: {"kernel distance": kernel_distance(x, y).value},
        "prdc": lambda x, y: {name: figure.value for name, figure in manifold(x, y).items()},
    }
    assert set(known) == set(KINDS)
    for kind, figures in known.items():
        assert p_values(kind, real, one, two) == pytest.approx(_plainly(figures, real, one, two), abs=1e-12)


def test_how_far_it_is_is_told() -> None:
    heard: list[tuple[str, int | None, int | None]] = []
    with heard_by(lambda *words: heard.append(words)):
        p_values("kd", *_sets(0), what="dealing")
    assert heard[-2:] == [("dealing", shuffled.DEALS, shuffled.DEALS), ("dealing", None, shuffled.DEALS)]


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
