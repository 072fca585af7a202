"""Fréchet distance: closed forms, mpmath's matrix root, golden values, coverage of the extrapolation."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from saddlepoint.core.errors import DataError
from saddlepoint.metrics import frechet
from saddlepoint.metrics.bootstrap import mean_estimate
from saddlepoint.metrics.frechet import (
    _expand,
    frechet_both,
    frechet_by_class,
    frechet_distance,
    frechet_gaussians,
    frechet_infinity,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
CASES = ("same", "shifted", "wider", "narrower", "half_the_modes")


def _golden(case: str) -> tuple[np.ndarray, np.ndarray, dict]:
    with np.load(GOLDEN / "features.npz") as file:
        pair = file[f"{case}.real"], file[f"{case}.fake"]
    return *pair, json.loads((GOLDEN / "reference.json").read_text())["cases"][case]


def _covariance(seed: int, d: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T / d + 0.05 * np.eye(d)


@pytest.mark.parametrize("case", CASES)
def test_golden_values(case: str) -> None:
    real, fake, reference = _golden(case)
    expected = reference["frechet_inception_distance"]
    assert frechet_distance(real, fake).value == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(torch.from_numpy(real), torch.from_numpy(fake)).value == pytest.approx(expected, rel=1e-5)


def test_commuting_covariances_have_a_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 0.25, 2.0])
    mean = np.array([1.0, -2.0, 0.5])
    expected = mean @ mean + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_gaussians(np.zeros(3), np.diag(a), mean, np.diag(b)) == pytest.approx(expected, rel=1e-14)


def test_non_commuting_covariances_against_mpmath() -> None:
    mpmath = pytest.importorskip("mpmath")
    one, two = _covariance(0, 4), _covariance(1, 4)
    assert np.abs(one @ two - two @ one).max() > 0.1
    with mpmath.workdps(40):
        root = mpmath.sqrtm(mpmath.matrix(one.tolist()) * mpmath.matrix(two.tolist()))
        overlap = sum(mpmath.re(root[i, i]) for i in range(4))
    expected = np.trace(one) + np.trace(two) - 2 * float(overlap)
    assert frechet_gaussians(np.zeros(4), one, np.zeros(4), two) == pytest.approx(expected, rel=1e-12)


def test_non_commuting_covariances_against_scipy() -> None:
    one, two = _covariance(2, 30), _covariance(3, 30)
    gap = np.random.default_rng(4).normal(size=30)
    expected = gap @ gap + np.trace(one + two - 2 * linalg.sqrtm(one @ two).real)
    assert frechet_gaussians(gap, one, np.zeros(30), two) == pytest.approx(expected, rel=1e-10)


def test_covariance_has_n_minus_one_degrees_of_freedom() -> None:
    a, b = np.array([[0.0], [1.0], [5.0]]), np.array([[2.0], [2.5]])
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b).value == pytest.approx(expected, rel=1e-14)


def test_singular_covariances_without_warnings() -> None:
    rng = np.random.default_rng(5)
    base, other = rng.normal(size=(600, 4)), 2 * rng.normal(size=(600, 4)) + 1
    dead = [np.c_[rows, np.zeros(600), rows[:, :1], np.ones(600)] for rows in (base, other)]
    twice = [np.c_[rows, rows[:, 0]] for rows in (base, other)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, pair = frechet_both(*dead), frechet_both(*twice)
    assert found[0].details["rank"] == 4
    # A repeated feature counts like one that is sqrt(2) times as large.
    scaled = [rows * np.array([math.sqrt(2), 1, 1, 1]) for rows in (base, other)]
    wide = frechet_both(*scaled)
    assert pair[0].value == pytest.approx(wide[0].value, rel=1e-9)
    assert found[0].value == pytest.approx(wide[0].value, rel=1e-9)
    # Halves follow the hash of rows, so that extrapolated figures agree within a fraction of their error only.
    assert pair[1].value == pytest.approx(wide[1].value, abs=0.5 * wide[1].standard_error)
    assert pair[1].standard_error == pytest.approx(wide[1].standard_error, rel=0.05)
    assert frechet_distance(base, other).value < wide[0].value


def test_fewer_rows_than_dimensions() -> None:
    rng = np.random.default_rng(6)
    few, many = rng.normal(size=(20, 50)), rng.normal(size=(30, 50))
    estimate = frechet_distance(few, many)
    cov = [np.cov(rows.T) for rows in (few, many)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = linalg.sqrtm(cov[0] @ cov[1] + 1e-12 * np.eye(50)).real
    gap = few.mean(0) - many.mean(0)
    assert estimate.value == pytest.approx(gap @ gap + np.trace(cov[0] + cov[1] - 2 * root), rel=1e-4)
    assert estimate.interval is None
    assert estimate.standard_error is None
    assert "20 rows are too few" in str(estimate.details["limitation"])
    assert "extrapolated" not in estimate.details
    with pytest.raises(DataError, match="draw more"):
        frechet_infinity(few, many)


@pytest.mark.parametrize("dimensions", [11, 12, 13, 60])
def test_rows_of_fewer_dimensions_than_features(dimensions: int) -> None:
    """Below and above the place where rows are rotated into their span: the figure of means and covariances."""
    rng = np.random.default_rng(dimensions)
    a, b = rng.normal(size=(5, dimensions)) * 3 + 1, rng.normal(size=(7, dimensions)) - 2
    wanted = frechet_gaussians(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
    found = frechet_distance(a, b)
    assert found.value == pytest.approx(wanted, rel=1e-9)
    assert (found.details["dimensions"], found.details["rank"]) == (dimensions, 4)


def test_a_sample_against_itself_and_against_a_shifted_copy() -> None:
    rows = np.random.default_rng(7).normal(size=(300, 8)) * np.logspace(-4, 2, 8)
    assert abs(frechet_distance(rows, rows).value) < 1e-8
    # The expansion needs the rounding errors of equal covariances to be no trouble.
    assert math.isfinite(frechet_infinity(rows, rows).value)
    assert frechet_distance(rows, rows + 3).value == pytest.approx(9 * 8, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), d=st.integers(1, 6), scale=st.floats(0.01, 100), shift=st.floats(-1e3, 1e3))
def test_invariances(seed: int, d: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(200, d)), rng.normal(size=(150, d)) @ rng.normal(size=(d, d))
    raw, extrapolated = frechet_both(a, b)
    assert extrapolated is not None
    assert raw.value > -1e-12
    with pytest.MonkeyPatch.context() as patch:
        # Halves follow the hash of rows, which a change of scale changes: in one order the scale factors out exactly.
        patch.setattr(frechet, "hashed_order", lambda rows: rows)
        plain, scaled = frechet_both(a, b), frechet_both(scale * a, scale * b)
    for (one, other), factor in (
        (((raw, extrapolated), frechet_both(b, a)), 1.0),
        (((raw, extrapolated), frechet_both(a[rng.permutation(200)], b[rng.permutation(150)])), 1.0),
        ((plain, scaled), scale**2),
    ):
        for ours, theirs in zip(one, other, strict=True):
            assert ours is not None
            assert theirs is not None
            tolerance = 1e-8 * factor * max(1.0, raw.value)
            assert theirs.value == pytest.approx(factor * ours.value, abs=tolerance)
    moved = frechet_distance(a + shift, b + shift).value
    assert moved == pytest.approx(raw.value, rel=1e-7, abs=1e-7)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert frechet_distance(a @ turn, b @ turn).value == pytest.approx(raw.value, rel=1e-8, abs=1e-9)


def _draw(rng: np.random.Generator, n: int, case: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Real rows, generated rows, true distance."""
    d = 10
    one, two = _covariance(20, d), {"rotated": _covariance(21, d), "equal": _covariance(20, d)}[case]
    a = rng.normal(size=(n, d)) @ np.linalg.cholesky(one).T
    b = rng.normal(size=(n, d)) @ np.linalg.cholesky(two).T
    return a, b, frechet_gaussians(np.zeros(d), one, np.zeros(d), two)


@pytest.mark.parametrize("case", ["equal", "rotated"])
def test_extrapolation_removes_the_bias_and_its_interval_covers_the_truth(case: str) -> None:
    rng, raw, free, covered, around = np.random.default_rng(8), [], [], 0, []
    for _ in range(150):
        a, b, truth = _draw(rng, 200, case)
        plain, extrapolated = frechet_both(a, b)
        assert extrapolated is not None
        assert plain.interval is not None
        assert extrapolated.interval is not None
        raw.append(plain.value)
        free.append(extrapolated.value)
        covered += extrapolated.interval[0] <= truth <= extrapolated.interval[1]
        around.append(plain.interval)
    error = np.std(free) / math.sqrt(150)
    assert abs(np.mean(free) - truth) < 3.5 * error
    assert np.mean(raw) - truth > 4 * error
    assert 0.89 < covered / 150 < 1
    expected = np.mean(raw)
    assert 0.89 < np.mean([low <= expected <= high for low, high in around]) < 1


@pytest.mark.parametrize("d", [1, 3])
def test_the_bias_is_the_trace_of_the_covariances_of_the_feature_vectors(d: int) -> None:
    """`frechet_infinity` says which: (x, x'_i x'_j / sqrt(2 (s_i + s_j))), x' balanced. Here each is written out."""
    rng = np.random.default_rng(12)
    a, b = rng.exponential(size=(2000, d)) @ rng.normal(size=(d, d)), rng.normal(size=(3000, d)) * (1 + np.arange(d))
    one, two = (np.cov(x.T).reshape(d, d) for x in (a, b))
    squares, vectors = np.linalg.eig(one @ two)
    s, balance = np.sqrt(squares), np.linalg.inv(vectors)
    balance *= np.sqrt(s / np.diag(balance @ one @ balance.T))[:, None]
    expected = 0.0
    for x, map_ in ((a, balance), (b, np.linalg.inv(balance).T)):
        centred = x - x.mean(0)
        balanced = centred @ map_.T
        assert np.cov(balanced.T).reshape(d, d) == pytest.approx(np.diag(s), abs=1e-9)
        pairs = balanced[:, :, None] * balanced[:, None] / np.sqrt(2 * (s[:, None] + s))
        expected += np.concatenate([centred, pairs.reshape(len(x), -1)], 1).var(0, ddof=1).sum() / len(x)
    found = _expand(torch.from_numpy(a), torch.from_numpy(b), least=10).bias
    # Means of squares of finite samples are not quite s: a share of 1 / n.
    assert found == pytest.approx(expected, rel=1e-3)


def test_linear_variance_is_that_of_leaving_out_rows() -> None:
    # Skewed rows: means and covariances vary together, and signs count.
    rng = np.random.default_rng(11)
    a, b = rng.exponential(size=(300, 2)) + 1, rng.exponential(size=(200, 2)) * [2.0, 0.5]
    variance = 0.0
    for rows, other, first in ((a, b, True), (b, a, False)):
        left = []
        for i in range(len(rows)):
            rest = np.delete(rows, i, 0)
            left.append((frechet_distance(rest, other) if first else frechet_distance(other, rest)).value)
        variance += np.var(left) * (len(rows) - 1)
    expansion = _expand(torch.from_numpy(a), torch.from_numpy(b), least=1)
    # wrong signs: a third less
    assert expansion.linear == pytest.approx(variance, rel=0.06)


def test_the_two_figures_refer_to_each_other() -> None:
    a, b, _ = _draw(np.random.default_rng(9), 300, "rotated")
    raw, extrapolated = frechet_both(a, b)
    assert extrapolated is not None
    assert raw.details["extrapolated"] == extrapolated.value == frechet_infinity(a, b).value
    assert extrapolated.details["raw"] == raw.value == frechet_distance(a, b).value
    assert raw.details["bias"] == pytest.approx(raw.value - extrapolated.value)
    assert (raw.details["n_real"], raw.details["dimensions"], raw.details["rank"]) == (300, 10, 10)


def test_by_class() -> None:
    rng = np.random.default_rng(10)
    labels, asked = rng.integers(0, 3, 900), rng.integers(0, 3, 600)
    real, fake = rng.normal(size=(900, 4)) + 10 * labels[:, None], rng.normal(size=(600, 4)) + 10 * asked[:, None]
    fake[asked == 1] += 2
    found = frechet_by_class(real, labels, torch.from_numpy(fake), torch.from_numpy(asked))
    assert list(found) == [0, 1, 2]
    for label, pair in found.items():
        expected = frechet_both(real[labels == label], fake[asked == label])
        assert [part.value for part in pair if part] == [part.value for part in expected if part]
    extrapolated = [pair[1] for pair in found.values() if pair[1]]
    assert extrapolated[1].value == pytest.approx(16, abs=2)
    assert mean_estimate(extrapolated).value == pytest.approx(16 / 3, abs=1)
    # The whole sets nearly hide it: rows of different classes are much farther from one another.
    assert frechet_infinity(real, fake).value < extrapolated[1].value / 3
    with pytest.raises(DataError, match=r"classes \[3\]"):
        frechet_by_class(real, labels, fake, asked + 1)
    with pytest.raises(DataError, match=r"class 2 has .* 0 generated"):
        frechet_by_class(real, labels, fake, np.minimum(asked, 1))
    with pytest.raises(DataError, match="one label for each row"):
        frechet_by_class(real, labels[:-1], fake, asked)


def test_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(DataError, match="equal"):
        frechet_distance(np.ones((5, 3)), np.ones((5, 4)))
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(np.ones((5, 3)), np.full((5, 3), np.nan))
    with pytest.raises(DataError, match="must be"):
        frechet_gaussians(np.zeros(2), np.eye(3), np.zeros(2), np.eye(2))


@pytest.mark.parametrize("points", [1, 3])
def test_a_sample_collapsed_to_a_few_points(points: int) -> None:
    rng = np.random.default_rng(13)
    real, kept = rng.normal(size=(2000, 5)) + 7, rng.normal(size=(points, 5))
    raw, extrapolated = frechet_both(real, np.repeat(kept, 500, 0))
    assert raw.details["rank"] == points - 1
    truth = frechet_gaussians(np.full(5, 7.0), np.eye(5), kept.mean(0), np.cov(kept.T, ddof=0) * (points > 1))
    assert extrapolated is not None
    assert extrapolated.interval[0] < truth < extrapolated.interval[1]
    assert extrapolated.standard_error < 0.05 * truth


def test_constant_features_on_both_sides() -> None:
    raw = frechet_distance(np.ones((5, 3)), np.zeros((5, 3)))
    assert raw.value == pytest.approx(3.0)
    assert raw.details["rank"] == 0
