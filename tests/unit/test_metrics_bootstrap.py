"""Intervals and checks that all metrics share."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import bootstrap as module
from saddlepoint.metrics.bootstrap import (
    Estimate,
    as_features,
    as_labels,
    as_pair,
    bootstrap,
    bootstrap_interval,
    hashed_order,
    mean_estimate,
    normal_interval,
    proportion,
    squared_interval,
    wilson_interval,
)


def test_an_estimate_is_frozen_and_becomes_plain_values() -> None:
    estimate = Estimate(1.0, (0.0, 2.0), 0.5, {"n": 3})
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate.value = 2.0  # type: ignore[misc]
    assert dataclasses.asdict(estimate) == {
        "value": 1.0,
        "interval": (0.0, 2.0),
        "standard_error": 0.5,
        "details": {"n": 3},
    }


def test_normal_interval_is_scipys() -> None:
    assert normal_interval(2.0, 0.3) == pytest.approx(stats.norm.interval(0.95, 2.0, 0.3), rel=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 50), (7, 50), (25, 50), (50, 50), (9_889, 10_000)])
def test_wilson_is_scipys(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    estimate = proportion(np.arange(n) < hits)
    assert estimate.value == hits / n
    assert estimate.interval == wilson_interval(hits / n, n)
    assert estimate.details["n"] == n


@settings(max_examples=200, deadline=None)
@given(
    value=st.floats(-1, 100),
    bias=st.floats(1e-6, 10),
    linear=st.floats(0, 10),
    second=st.floats(1e-8, 10),
)
def test_ends_of_a_squared_interval_solve_its_equation(value: float, bias: float, linear: float, second: float) -> None:
    (low, high), error = squared_interval(value, bias=bias, linear=linear, second=second)
    assert low <= value <= high or value < -1.95 * math.sqrt(second)
    assert error >= math.sqrt(second) * (1 - 1e-12)
    kept = max(value, 0.0)
    slope = 0.0 if kept == 0 else (error**2 - second) / kept
    for end in (low, high):
        if kept > 0.01:
            distance = (value - end) ** 2
            assert distance == pytest.approx(stats.norm.ppf(0.975) ** 2 * (slope * max(end, 0) + second), rel=1e-5)


def test_error_of_a_squared_distance_at_both_ends() -> None:
    _, near = squared_interval(0.0, bias=1.0, linear=9.0, second=4.0)
    assert near == pytest.approx(2.0)
    # Far from 0, the plugged-in linear variance holds the second order twice over.
    _, far = squared_interval(1e4, bias=1.0, linear=9.0, second=4.0)
    assert far == pytest.approx(math.sqrt(9 - 2 * 4 + 4), rel=1e-3)


@pytest.mark.parametrize("constant", [0.0, 3.0])
@pytest.mark.parametrize("mixed", [0.2, 0.5, 0.8])
def test_error_of_a_squared_distance_in_between_is_that_of_the_mixed_slope(mixed: float, constant: float) -> None:
    """Near 0 the slope is the ratio of the biases of its parts; here a known share of that ratio is mixed in."""
    bias, linear, second = 1.5, 9.0, 4.0
    value = math.sqrt(module._NEAR * second * (1 - mixed) / mixed)
    slope = (linear - 2 * second * (1 - mixed)) / (value + mixed * bias)
    (low, high), error = squared_interval(value, bias=bias, linear=linear, second=second, constant=constant)
    assert error == pytest.approx(math.sqrt(slope * value + second + constant), rel=1e-9)
    z = stats.norm.ppf(0.975)
    for end in (low, high):
        if end > 0:
            assert (value - end) ** 2 == pytest.approx(z**2 * (slope * end + second + constant), rel=1e-9)


@pytest.mark.parametrize("length", [0.0, 0.1, 0.5, 2.0])
def test_squared_interval_covers_a_squared_length(length: float) -> None:
    # |D + noise|^2 in 20 directions: all moments are known.
    rng, n, sigma = np.random.default_rng(0), 20, 0.1
    truth = np.zeros(n)
    truth[0] = length
    hits = 0
    for _ in range(1000):
        seen = truth + sigma * rng.normal(size=n)
        raw = float(seen @ seen)
        bias, second = n * sigma**2, 2 * n * sigma**4
        (low, high), _ = squared_interval(raw - bias, bias=bias, linear=4 * sigma**2 * raw, second=second)
        hits += low <= length**2 <= high
    assert 920 <= hits <= 980


def test_mean_of_independent_figures() -> None:
    parts = [Estimate(1.0, (0.0, 2.0), 0.3), Estimate(3.0, (2.0, 4.0), 0.4)]
    whole = mean_estimate(parts)
    assert (whole.value, whole.standard_error) == pytest.approx((2.0, 0.25))
    assert whole.interval == pytest.approx(normal_interval(2.0, 0.25))
    assert mean_estimate([parts[0], Estimate(5.0)]).interval is None
    with pytest.raises(DataError, match="at least one"):
        mean_estimate([])


def test_bootstrap_resamples_each_sample_on_its_own() -> None:
    a, b = np.arange(5.0), 10 + np.arange(7.0)
    seen = []

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        assert x.shape == (5,)
        assert y.shape == (7,)
        assert set(x) <= set(a)
        assert set(y) <= set(b)
        seen.append(len(set(x)))
        return float(x.mean() - y.mean())

    draws = bootstrap([a, b], statistic, np.random.default_rng(0), resamples=400)
    assert len(draws) == 400
    assert min(seen) < 5
    error = math.sqrt(a.var() / 5 + b.var() / 7)
    assert draws.std() == pytest.approx(error, rel=0.1)
    assert draws.mean() == pytest.approx(a.mean() - b.mean(), abs=0.2)


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
def test_bootstrap_agrees_with_scipy(method: str) -> None:
    rows = np.random.default_rng(1).exponential(size=200)
    ours = bootstrap_interval(
        [rows],
        lambda x: float(x.mean()),
        np.random.default_rng(2),
        resamples=4000,
        method=method,  # type: ignore[arg-type]
    )
    theirs = stats.bootstrap(
        (rows,), np.mean, method="BCa" if method == "bca" else method, n_resamples=4000, rng=np.random.default_rng(3)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.012)
    same = bootstrap_interval(
        [rows], lambda x: float(x.mean()), np.random.default_rng(2), resamples=4000, method=method
    )  # type: ignore[arg-type]
    assert ours == same


def test_bca_corrects_the_bias_of_a_plug_in_variance() -> None:
    rows = np.random.default_rng(6).normal(size=25)
    ours = bootstrap_interval([rows], np.var, np.random.default_rng(7), resamples=8000)
    theirs = stats.bootstrap((rows,), np.var, method="BCa", n_resamples=8000, rng=np.random.default_rng(8))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=0.04)
    plain = bootstrap_interval([rows], np.var, np.random.default_rng(7), resamples=8000, method="percentile")
    assert ours[0] > 1.1 * plain[0]


def test_bca_is_shifted_to_the_long_tail_and_basic_away_from_it() -> None:
    rows = np.random.default_rng(4).lognormal(0, 1, 60)
    middles = {
        method: np.mean(bootstrap_interval([rows], np.mean, np.random.default_rng(5), method=method))
        for method in ("percentile", "basic", "bca")
    }
    assert middles["basic"] < middles["percentile"] < middles["bca"]


def test_bootstrap_of_constant_rows_is_no_trouble() -> None:
    for method in ("percentile", "basic", "bca"):
        ends = bootstrap_interval([np.ones(9)], np.mean, np.random.default_rng(0), resamples=20, method=method)
        assert ends == (1.0, 1.0)


def test_bootstrap_refuses_what_it_cannot_do() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="did you mean 'bca'"):
        bootstrap_interval([np.ones(3)], np.mean, rng, method="bcaa")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="resamples is 1"):
        bootstrap([np.ones(3)], np.mean, rng, resamples=1)
    with pytest.raises(DataError, match="0 rows"):
        bootstrap([np.ones(3), np.ones(0)], lambda x, y: 0.0, rng)
    with pytest.raises(DataError, match="0 trials"):
        proportion(np.zeros(0, bool))


def test_features_of_any_kind_become_float64() -> None:
    rows = np.arange(12).reshape(4, 3)
    for given_rows in (
        rows,
        rows.astype(np.uint8),
        torch.from_numpy(rows).half(),
        rows[::-1][::-1],
        rows.astype(">f4"),
    ):
        table = as_features(given_rows, "rows")
        assert table.dtype == torch.float64
        assert table.tolist() == rows.tolist()
    tensor = torch.ones(3, 2, requires_grad=True)
    assert not as_features(tensor, "rows").requires_grad


def test_features_are_checked() -> None:
    good = np.ones((4, 3))
    for bad, message in (
        (np.ones(4), r"shape \(4,\).*flatten"),
        (np.ones((4, 3, 2)), r"shape \(4, 3, 2\)"),
        (np.ones((1, 3)), "at least 2 rows"),
        (np.ones((4, 0)), "one feature"),
        (np.full((4, 3), np.nan), "4 rows of rows are not finite"),
        (np.array([[1.0, np.inf], [1, 1]]), "1 rows"),
        (np.ones((4, 3), complex), "complex128"),
        (torch.ones(4, 3, dtype=torch.complex64), "complex64"),
        (np.full((4, 3), "a"), "real numbers"),
    ):
        with pytest.raises(DataError, match=message):
            as_features(bad, "rows")
    with pytest.raises(DataError, match="3 columns and generated features 2"):
        as_pair(good, good[:, :2])
    with pytest.raises(DataError, match="generated features have shape"):
        as_pair(good, good[:1])


def test_labels_are_checked() -> None:
    assert as_labels(torch.tensor([2, 0], dtype=torch.uint8), "labels").tolist() == [2, 0]
    assert as_labels(np.array([2.0, 0.0]), "labels").dtype == np.int64
    for bad in (np.array([0.5]), np.array([np.nan]), np.array(["a"])):
        with pytest.raises(DataError, match="not all integers"):
            as_labels(bad, "labels")
    with pytest.raises(DataError, match=r"\(2,\), but must be \(3,\)"):
        as_labels(np.zeros(2, int), "labels", 3)
    with pytest.raises(DataError, match="must be"):
        as_labels(np.zeros((2, 2), int), "labels")


@pytest.mark.parametrize("whole", [False, True])
def test_hashed_order_depends_on_the_set_of_rows_only(whole: bool) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 5, (300, 4)).astype(float) if whole else rng.normal(size=(300, 4))
    rows = torch.from_numpy(table)
    ordered = hashed_order(rows)
    shuffled = rows[torch.from_numpy(rng.permutation(300))]
    assert torch.equal(hashed_order(shuffled), ordered)
    assert torch.equal(ordered.sort(0).values, rows.sort(0).values)
    # It looks random: neither half is special.
    first = table.mean(0) - ordered[:150].mean(0).numpy()
    assert np.all(np.abs(first) < 4 * table.std(0) / math.sqrt(300))
