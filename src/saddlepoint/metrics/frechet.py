"""The Fréchet distance between Gaussian fits of two sets of features, raw and free of its bias.

The raw figure is the published one. It is too large by about (d^2 / 4)(1/n + 1/m) for white features, more for
some, so that figures of different n cannot be compared. The extrapolated figure removes this bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import Estimate, as_labels, as_pair, hashed_order, squared_interval
from saddlepoint.metrics.distances import EPS, Rows

ROWS_PER_DIMENSION = 10
"""Rows that each sample needs for every direction in which both vary, before bias and interval are given."""

_PAIRS = 512
"""Rows of each sample in the tables that second-order variances are estimated from."""

_HALVES_VARIANCE = 10 / 9
"""(4 U - the mean of U on both halves) / 3 has this times the second-order variance of U, the first order as before."""

_RANK_TOLERANCE = 1e-6
"""Share of the trace of 1 / (s_i + s_j) that may be left out when it is written as a short sum of squares."""


@dataclass(frozen=True)
class _Fit:
    """Mean (d,), rows minus mean (n, d), and the symmetric root of the covariance (d, d)."""

    mean: Tensor
    centred: Tensor
    root: Tensor
    trace: float


@dataclass(frozen=True)
class _Expansion:
    """The raw distance and its first orders in 1/n; None where a sample is too small for them.

    Attributes:
        raw: the plug-in figure.
        rank: directions in which both samples vary.
        bias: of order 1/n.
        linear: variance of the estimated linear term; holds the second-order variance twice over.
        second: variance of the second-order term.
    """

    raw: float
    rank: int
    bias: float | None = None
    linear: float = 0.0
    second: float = 0.0


def frechet_gaussians(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Fréchet (2-Wasserstein) distance, squared, between two Gaussians, singular or not.

    |mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 |S_a^1/2 S_b^1/2|_*: the sum of singular values equals
    tr((S_a^1/2 S_b S_a^1/2)^1/2) and loses no digits to a root of rounding errors.

    Args:
        mean_a: (d,) mean.
        cov_a: (d, d) symmetric, no negative eigenvalue.
        mean_b: (d,).
        cov_b: (d, d).

    Returns:
        The distance, >= 0 but for rounding, in squared units of the features.

    Raises:
        DataError: if shapes do not fit together.

    Source: Dowson & Landau 1982, equation 4.

    >>> frechet_gaussians(np.zeros(1), np.eye(1), np.ones(1), 9 * np.eye(1))  # 1 + (3 - 1)^2
    5.0
    """
    shapes = [np.shape(part) for part in (mean_a, cov_a, mean_b, cov_b)]
    d = len(mean_a)
    if d < 1 or shapes != [(d,), (d, d), (d,), (d, d)]:
        raise DataError(f"means and covariances have shapes {shapes}, but must be (d,), (d, d), (d,), (d, d)")
    cov = [torch.as_tensor(part, dtype=torch.float64) for part in (cov_a, cov_b)]
    overlap = torch.linalg.svdvals(_root(cov[0]) @ _root(cov[1])).sum()
    gap = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(gap @ gap) + float(cov[0].trace() + cov[1].trace() - 2 * overlap)


def frechet_distance(real: Rows, fake: Rows) -> Estimate:
    """Fréchet distance between Gaussian fits, as published: biased upwards, more for fewer rows.

    Equals `frechet_gaussians` of the means and the covariances (n - 1 degrees of freedom). Singular covariances
    (dead or repeated features, n <= d) are no special case.

    Args:
        real: (n, d) features of data, any real type, n >= 2.
        fake: (m, d) features of generated samples, m >= 2.

    Returns:
        The raw figure, >= 0 but for rounding, in squared units of the features. The interval covers the expected
        raw figure of samples of the same n and m, not the true distance: that is `frechet_infinity`. It is None
        if n or m is below 10 times the number of directions in which both vary. Details: ``n_real``, ``n_fake``,
        ``dimensions``, ``rank`` (these directions), ``extrapolated``, ``bias`` (raw - extrapolated).

    Raises:
        DataError: on features that are not two finite tables of equal width.

    Source: Heusel et al. 2017, equation 6; the interval: see `frechet_infinity`.

    >>> corners = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])
    >>> round(frechet_distance(corners, corners + 3).value, 9)
    18.0
    """
    return frechet_both(real, fake)[0]


def frechet_infinity(real: Rows, fake: Rows) -> Estimate:
    """Fréchet distance extrapolated to infinitely many rows on both sides.

    Chong & Forsyth fit a line through raw figures of subsets against 1/N. Here its slope is computed instead.
    Let x' = M (x - mu_r) and y' = M^-T (y - mu_g) be balanced: both have the covariance diag(s). To second
    order in the errors of means and covariances, the raw figure is the truth, plus a term linear in them, plus

        |dmu_r - dmu_g|^2 + sum_ij (dS_r - dS_g)_ij^2 / (2 (s_i + s_j)),

    the squared distance between the means of two sets of feature vectors (x, x'_i x'_j / sqrt(2 (s_i + s_j))).
    Its expectation, the traces of their covariances over n and m, is the bias of order 1/n. The order 1/n^2 goes
    with (4 f(all rows) - f(half the rows)) / 3, where f is already free of 1/n. docs/reliability.md compares
    this with the fitted line.

    Args:
        real: (n, d) features of data.
        fake: (m, d) features of generated samples.

    Returns:
        The extrapolated figure; below 0 in half of all cases if the truth is 0. The interval covers the Fréchet
        distance of the true means and covariances, equal distributions included (`squared_interval`). Details as in
        `frechet_distance`, with ``raw`` in place of ``extrapolated``.

    Raises:
        DataError: as in `frechet_distance`; if n or m is below 10 times the number of directions in which both vary,
            because the expansion does not hold there.

    Source: Chong & Forsyth 2020, section 3 (what is extrapolated); the expansion is this library's.
    """
    raw, extrapolated = frechet_both(real, fake)
    if extrapolated is None:
        raise DataError(f"{raw.details['limitation']}: draw more, or use the raw figure and equal counts")
    return extrapolated


def frechet_both(real: Rows, fake: Rows, *, intervals: bool = True) -> tuple[Estimate, Estimate | None]:
    """Return `frechet_distance` and `frechet_infinity`, or None for it with too few rows, for the work of one.

    Args:
        real, fake: as there.
        intervals: whether to give intervals and standard errors, which take most of the time of small samples.

    Raises:
        DataError: as in `frechet_distance`.
    """
    a, b = as_pair(real, fake)
    whole, value = _extrapolate(*_in_their_span(a, b), variances=intervals)
    details: dict[str, int | float | str] = {
        "n_real": len(a),
        "n_fake": len(b),
        "dimensions": a.shape[1],
        "rank": whole.rank,
    }
    if whole.bias is None:
        need = ROWS_PER_DIMENSION * whole.rank
        details["limitation"] = (
            f"{min(len(a), len(b)):,} rows are too few for bias and interval in {whole.rank:,} directions; "
            f"{need:,} are needed"
        )
        return Estimate(whole.raw, None, None, details), None
    bias = whole.raw - value
    details["bias"] = bias
    if not intervals:
        raw = Estimate(whole.raw, None, None, details | {"extrapolated": value})
        return raw, Estimate(value, None, None, details | {"raw": whole.raw})
    interval, error = squared_interval(
        value, bias=whole.bias, linear=whole.linear, second=whole.second * _HALVES_VARIANCE
    )
    raw = Estimate(whole.raw, (interval[0] + bias, interval[1] + bias), error, details | {"extrapolated": value})
    return raw, Estimate(value, interval, error, details | {"raw": whole.raw})


def frechet_by_class(
    real: Rows,
    real_labels: np.ndarray | Tensor,
    fake: Rows,
    fake_labels: np.ndarray | Tensor,
    *,
    intervals: bool = True,
) -> dict[int, tuple[Estimate, Estimate | None]]:
    """Raw and extrapolated Fréchet distance within each class.

    Small classes have a large bias: compare the extrapolated figures. `mean_estimate` of them summarises.

    Args:
        real: (n, d) features of data.
        real_labels: (n,) integer classes.
        fake: (m, d) features of generated samples.
        fake_labels: (m,) the classes they were asked for, or a classifier's answers.
        intervals: as in `frechet_both`.

    Returns:
        For each class of the data, in order: `frechet_both` of its rows.

    Raises:
        DataError: as in `frechet_distance`; if labels are not one integer a row; if a class of the data has fewer
            than two rows on either side, or the generated rows have a class that the data has not.

    Source: Benny et al. 2021, section 4.2 (within-class distance).
    """
    a, b = as_pair(real, fake)
    one, two = as_labels(real_labels, "real labels", len(a)), as_labels(fake_labels, "generated labels", len(b))
    unknown = sorted(set(two.tolist()) - set(one.tolist()))
    if unknown:
        raise DataError(f"generated labels hold the classes {unknown}, which the data has not: leave these rows out")
    result = {}
    for label in np.unique(one).tolist():
        x, y = a[torch.from_numpy(one == label)], b[torch.from_numpy(two == label)]
        if min(len(x), len(y)) < 2:
            raise DataError(
                f"class {label} has {len(x)} real and {len(y)} generated rows, but at least 2 of each are needed: "
                "draw more, or leave the class out on both sides"
            )
        result[label] = frechet_both(x, y, intervals=intervals)
    return result


def _in_their_span(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate rows that are fewer than dimensions into the space that they span: no distance changes, only the work."""
    if len(a) + len(b) >= a.shape[1]:
        return a, b
    basis = torch.linalg.qr(torch.cat([a, b]).T).Q
    return a @ basis, b @ basis


def _expand(a: Tensor, b: Tensor, *, least: int, variances: bool = True) -> _Expansion:
    """Raw distance, bias and variances; rows are in hashed order."""
    one, two = _fit(a), _fit(b)
    left, s, right = torch.linalg.svd(one.root @ two.root)
    gap = one.mean - two.mean
    raw = float(gap @ gap) + one.trace + two.trace - 2 * float(s.sum())
    kept = s > _rounding(s)
    rank = int(kept.sum())
    if min(len(a), len(b)) < least * max(rank, 1):
        return _Expansion(raw, rank)
    s = s[kept]
    x = one.centred @ (two.root @ right[kept].T / s.sqrt())
    y = two.centred @ (one.root @ left[:, kept] / s.sqrt())
    weights = 0.5 / (s[:, None] + s)
    bias, linear = 0.0, 0.0
    for fit, balanced, sign in ((one, x, 2.0), (two, y, -2.0)):
        n = len(balanced)
        squares = balanced.square()
        lengths = fit.centred.square().sum(1)
        # The trace of the covariance of the vectors: mean squared length minus squared length of the mean.
        quadratic = lengths.mean() + ((squares @ weights) * squares).sum(1).mean()
        bias += float(quadratic - s.square() @ weights.diagonal()) / (n - 1)
        linear += float((lengths - squares.sum(1) + sign * (fit.centred @ gap)).var()) / n
    second = _second_order((one, x), (two, y), weights) if variances else 0.0
    return _Expansion(raw, rank, bias, linear, second)


def _extrapolate(a: Tensor, b: Tensor, *, variances: bool) -> tuple[_Expansion, float]:
    """The expansion of all rows, and the figure freed of terms in 1/n (expansion) and 1/n^2 (halves)."""
    a, b = hashed_order(a), hashed_order(b)
    whole = _expand(a, b, least=ROWS_PER_DIMENSION, variances=variances)
    if whole.bias is None:
        return whole, math.nan
    halves = [_expand(a[k::2], b[k::2], least=1, variances=False) for k in (0, 1)]
    half = math.fsum(part.raw - (part.bias or 0.0) for part in halves) / 2
    return whole, (4 * (whole.raw - whole.bias) - half) / 3


def _second_order(one: tuple[_Fit, Tensor], two: tuple[_Fit, Tensor], weights: Tensor) -> float:
    """Variance of the squared distance between the means of the feature vectors, both of mean 0."""
    factors = _factors(weights)
    n, m = len(one[1]), len(two[1])
    a, b = _first(one), _first(two)
    within_a = _mean_square(_kernel(a, a, factors), symmetric=True)
    within_b = _mean_square(_kernel(b, b, factors), symmetric=True)
    across = _mean_square(_kernel(a, b, factors), symmetric=False)
    return 2 * within_a / n**2 + 2 * within_b / m**2 + 4 * across / (n * m)


def _first(sample: tuple[_Fit, Tensor]) -> tuple[Tensor, Tensor]:
    return sample[0].centred[:_PAIRS], sample[1][:_PAIRS]


def _factors(weights: Tensor) -> Tensor:
    """Columns f_k with sum_k f_k f_k^T = weights up to a small share: a Cauchy matrix has a very low rank."""
    values, vectors = torch.linalg.eigh(weights)
    kept = values > _RANK_TOLERANCE * values.sum() / len(values)
    return vectors[:, kept] * values[kept].sqrt()


def _kernel(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], factors: Tensor) -> Tensor:
    """Inner products of the feature vectors: x y + sum_ij w_ij x'_i x'_j y'_i y'_j, (rows of a, rows of b)."""
    table = a[0] @ b[0].T
    for factor in factors.T:
        table += ((a[1] * factor) @ b[1].T).square()
    return table


def _mean_square(table: Tensor, *, symmetric: bool) -> float:
    """Unbiased mean square of a kernel centred in rows and columns: the trace of a product of covariances.

    Source: for symmetric tables Székely & Rizzo 2014, definition 2; for others two-way analysis of variance.
    """
    if symmetric:
        n = len(table)
        table = table.clone().fill_diagonal_(0.0)
        rows = table.sum(1)
        squares = table.square().sum() - 2 * rows.square().sum() / (n - 2) + rows.sum() ** 2 / ((n - 1) * (n - 2))
        return max(0.0, float(squares) / (n * (n - 3)))
    n, m = table.shape
    centred = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    return float(centred.square().sum()) / ((n - 1) * (m - 1))


def _fit(rows: Tensor) -> _Fit:
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / (len(rows) - 1)
    # Constant features keep the rounding error of their mean.
    noise = rows.shape[1] * (4 * EPS * float(rows.abs().max())) ** 2
    return _Fit(mean, centred, _root(covariance, noise), float(covariance.trace()))


def _root(covariance: Tensor, noise: float = 0.0) -> Tensor:
    """Symmetric positive root; eigenvalues that are rounding errors count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    values = torch.where(values > max(_rounding(values), noise), values, 0.0).sqrt()
    return (vectors * values) @ vectors.T


def _rounding(values: Tensor) -> float:
    """Size of rounding errors among eigenvalues or singular values."""
    return 16 * len(values) * EPS * float(values.max())
