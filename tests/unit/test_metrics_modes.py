"""Modes of known mixtures: true samples, planted collapses, the ceiling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data.sources.synthetic import mixture
from saddlepoint.metrics.modes import mode_coverage


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_true_samples_are_at_the_ceiling(name: str) -> None:
    truth = mixture(name)
    x, labels = truth.sample(20_000, np.random.default_rng(0))
    found = mode_coverage(x, truth.centres, truth.sigma)
    assert found.modes.value == len(truth.centres)
    ceiling = 1 - math.exp(-4.5)
    assert found.quality.details["ceiling"] == pytest.approx(ceiling, rel=1e-12)
    assert found.quality.interval[0] < ceiling < found.quality.interval[1]
    assert found.quality.value == pytest.approx(ceiling, abs=0.003)
    # Modes lie so far apart that the nearest one is the one drawn from.
    shares = np.bincount(labels) / len(labels)
    assert found.kl.value == pytest.approx(stats.entropy(shares, np.full(len(shares), 1 / len(shares))), rel=1e-9)


def test_collapsed_samples_are_good_and_few() -> None:
    truth = mixture("ring8")
    rng = np.random.default_rng(1)
    x = truth.centres[rng.integers(0, 2, 2500)] + truth.sigma * rng.normal(size=(2500, 2))
    found = mode_coverage(torch.from_numpy(x), torch.from_numpy(truth.centres), truth.sigma)
    assert found.modes.value == 2
    assert found.quality.value > 0.98
    assert found.kl.value == pytest.approx(math.log(4), abs=0.01)


def test_samples_between_modes_hit_none() -> None:
    truth = mixture("grid25")
    x = truth.centres + 1.0
    found = mode_coverage(x, truth.centres, truth.sigma)
    assert found.modes.value == 0
    assert found.quality.value == 0
    assert found.quality.interval[1] > 0


def test_the_sphere_of_three_sigma_is_open() -> None:
    centres = np.array([[0.0, 0.0], [8.0, 0.0]])
    inside = [np.nextafter(3.0, 0), 0.0], [8.0, -2.9]
    outside = [3.0, 0.0], [8.0, 3.1]
    found = mode_coverage(np.array([*inside, *outside]), centres, 1.0)
    assert found.quality.value == 0.5
    assert found.modes.value == 2
    assert found.modes.details["singletons"] == 2
    assert found.kl.value == pytest.approx(0, abs=1e-15)


def test_weights_order_and_units() -> None:
    rng = np.random.default_rng(2)
    centres, weights = 10 * rng.normal(size=(5, 3)), np.array([0.1, 0.1, 0.2, 0.2, 0.4])
    x = centres[rng.choice(5, 4000, p=weights)] + 0.1 * rng.normal(size=(4000, 3))
    found = mode_coverage(x, centres, 0.1, weights=weights)
    assert found.kl.interval[0] <= 4 / 8000 <= found.kl.interval[1]
    assert mode_coverage(x, centres, 0.1).kl.interval[0] > 0.05
    assert found.quality.details["ceiling"] == pytest.approx(stats.chi2.cdf(9, 3))
    order, turn = rng.permutation(4000), rng.permutation(5)
    assert mode_coverage(x[order], centres[turn], 0.1, weights=weights[turn]).kl.value == pytest.approx(found.kl.value)
    assert mode_coverage(x * 8, centres * 8, 0.1 * 8, weights=weights).quality.value == found.quality.value


def test_many_samples_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint.metrics import modes

    truth = mixture("grid25")
    x, _ = truth.sample(501, np.random.default_rng(3))
    base = mode_coverage(x, truth.centres, truth.sigma)
    monkeypatch.setattr(modes, "_ROWS", 1)
    assert mode_coverage(x, truth.centres, truth.sigma) == base


def test_refuses_what_it_cannot_measure() -> None:
    x, centres = np.zeros((4, 2)), np.eye(2)
    for sigma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="sigma is"):
            mode_coverage(x, centres, sigma)
    with pytest.raises(DataError, match="3 columns and centres 2"):
        mode_coverage(np.zeros((4, 3)), centres, 0.1)
    with pytest.raises(DataError, match="not finite"):
        mode_coverage(x * np.nan, centres, 0.1)
    with pytest.raises(DataError, match="3 weights for 2"):
        mode_coverage(x, centres, 0.1, weights=np.ones(3) / 3)
    with pytest.raises(DataError, match="the sum 2"):
        mode_coverage(x, centres, 0.1, weights=np.ones(2))
