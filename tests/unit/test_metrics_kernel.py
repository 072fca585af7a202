"""Kernel distance: the direct formula, population values, golden values, coverage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.core.errors import DataError
from saddlepoint.metrics import kernel
from saddlepoint.metrics.kernel import kernel_distance

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


def direct(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, equation 3, in float64 and without blocks."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def direct_variance(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Linear and second-order variance, by plugging centred kernels into Gretton's expressions."""
    n, m = len(x), len(y)
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    a, b = xx.sum(1) / (n - 1) - xy.mean(1), yy.sum(1) / (m - 1) - xy.mean(0)
    linear = 4 * a.var(ddof=1) / n + 4 * b.var(ddof=1) / m

    def within(table: np.ndarray) -> float:
        size = len(table)
        rows, total = table.sum(1), table.sum()
        centred = table - (rows[:, None] + rows) / (size - 2) + total / ((size - 1) * (size - 2))
        np.fill_diagonal(centred, 0)
        return float((centred**2).sum() / (size * (size - 3)))

    across = xy - xy.mean(0) - xy.mean(1, keepdims=True) + xy.mean()
    second = 2 * within(xx) / n**2 + 2 * within(yy) / m**2 + 4 * (across**2).sum() / ((n - 1) * (m - 1)) / (n * m)
    return float(linear), float(second)


def _draw(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 20))
def test_agrees_with_the_direct_formula(seed: int, n: int, m: int, d: int) -> None:
    x, y = _draw(seed, n, d), 1.5 * _draw(seed + 1, m, d) + 0.3
    scale = ((np.abs(y) ** 2).sum(1).max() / d + 1) ** 3
    assert kernel_distance(x, y).value == pytest.approx(direct(x, y), rel=1e-10, abs=1e-13 * scale)


@pytest.mark.parametrize("block", [1, 7, 64, 1024])
def test_block_size_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _draw(0, 130, 5), _draw(1, 71, 5) + 0.2
    whole = kernel_distance(x, y)
    monkeypatch.setattr(kernel, "_BLOCK", block)
    part = kernel_distance(x, y)
    assert part.value == pytest.approx(direct(x, y), rel=1e-10)
    assert part.interval == pytest.approx(whole.interval, rel=1e-9)
    assert part.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_variances_against_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(kernel, "squared_interval", lambda value, **terms: (seen.update(terms), ((0.0, 1.0), 1.0))[1])
    x, y = _draw(2, 60, 3), 1.2 * _draw(3, 90, 3)
    kernel_distance(x, y)
    linear, second = direct_variance(x, y)
    assert seen["linear"] == pytest.approx(linear, rel=1e-9)
    assert seen["second"] == pytest.approx(second, rel=1e-9)
    # The squared distance between the two means in feature space is too large by the bias.
    xx, yy, xy = ((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    assert xx.mean() + yy.mean() - 2 * xy.mean() - direct(x, y) == pytest.approx(seen["bias"], rel=1e-9)


@pytest.mark.parametrize("case", ["same", "shifted", "wider", "narrower", "half_the_modes"])
def test_golden_values_within_their_error(case: str) -> None:
    with np.load(GOLDEN / "features.npz") as file:
        real, fake = file[f"{case}.real"], file[f"{case}.fake"]
    reference = json.loads((GOLDEN / "reference.json").read_text())["cases"][case]
    ours = kernel_distance(real, fake)
    assert ours.value == pytest.approx(direct(real, fake), rel=1e-10)
    # One hundred subsets of half the rows: their mean varies by a tenth of their spread, at least.
    spread = reference["kernel_inception_distance_std"]
    assert abs(ours.value - reference["kernel_inception_distance_mean"]) < 3 * spread / 10
    assert (ours.interval[0] > 0) == (case in ("shifted", "half_the_modes"))


def _population(mean: float, sd: float) -> float:
    """MMD^2 of N(0, 1) and N(mean, sd^2) in one dimension, from moments: k = 1 + 3 xy + 3 x^2 y^2 + x^3 y^3."""
    first, second, third = mean, mean**2 + sd**2 - 1, mean**3 + 3 * mean * sd**2
    return 3 * first**2 + 3 * second**2 + third**2


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1.4), (0.5, 0.6)])
def test_unbiased_and_covers_the_population_value(mean: float, sd: float) -> None:
    rng, truth, values, hits = np.random.default_rng(4), _population(mean, sd), [], 0
    for _ in range(400):
        found = kernel_distance(rng.normal(size=(120, 1)), mean + sd * rng.normal(size=(150, 1)))
        values.append(found.value)
        hits += found.interval[0] <= truth <= found.interval[1]
    assert abs(np.mean(values) - truth) < 3.5 * np.std(values) / math.sqrt(400)
    assert 0.89 < hits / 400 < 1


def test_symmetric_and_independent_of_order_and_type() -> None:
    x, y = _draw(5, 90, 4).astype(np.float32), _draw(6, 60, 4).astype(np.float32) + 1
    base = kernel_distance(x, y)
    rng = np.random.default_rng(7)
    for other in (
        kernel_distance(y, x),
        kernel_distance(x[rng.permutation(90)], y[rng.permutation(60)]),
        kernel_distance(torch.from_numpy(x), torch.from_numpy(y)),
        kernel_distance(x.astype(np.float64), y),
    ):
        assert other.value == pytest.approx(base.value, rel=1e-10)
        assert other.interval == pytest.approx(base.interval, rel=1e-9)
    assert base.details == {"n_real": 90, "n_fake": 60, "dimensions": 4}


def test_few_rows_have_a_value_and_no_interval() -> None:
    found = kernel_distance(_draw(8, 49, 2), _draw(9, 400, 2))
    assert math.isfinite(found.value)
    assert found.interval is None
    assert "49 rows are too few" in str(found.details["limitation"])
    assert kernel_distance(_draw(8, 50, 2), _draw(9, 400, 2)).interval is not None


def test_refuses_what_it_cannot_measure() -> None:
    good = _draw(10, 5, 3)
    for bad, message in (
        (good[:1], "at least 2"),
        (good[:, :2], "equal"),
        (good[0], "flatten"),
        (np.where(good > 0, np.inf, good), "not finite"),
    ):
        with pytest.raises(DataError, match=message):
            kernel_distance(good, bad)
