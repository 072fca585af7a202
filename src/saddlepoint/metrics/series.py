"""Windows of time series compared without a network: autocorrelation, cross-correlation, increments, marginals, shapes.

Windows are (n, time, feature); those shorter than the window length are NaN after their end, in all features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import LEVEL, Estimate
from saddlepoint.metrics.memorisation import Nearness, nearness
from saddlepoint.metrics.windows import as_windows, reach, window_lengths

GROUPS = 200
"""Most groups of windows that are resampled for an interval."""

SPAN = 3
"""Overlapping windows are resampled in runs of this many window lengths: far runs hardly depend on another."""

SAME_SHAPE = 0.02
"""A copy differs from a training window by no more than this, root mean square, in units of the window's deviation."""

_GRID = 1_024
_RESAMPLES = 500
_LAGS = 5


def _groups(x: np.ndarray) -> np.ndarray:
    """Return each window's group to be resampled: runs of overlapping windows, `GROUPS` at most."""
    far = reach(x)
    size = max(-(-len(x) // GROUPS), 1 if far == 0 else SPAN * (far + 1))
    count = max(2, len(x) // size)
    return np.asarray(np.arange(len(x)) * count // len(x))


@dataclass(frozen=True)
class _Table:
    """A vector of means over windows, and those of the groups."""

    mean: np.ndarray
    groups: np.ndarray


def _table(rows: np.ndarray, x: np.ndarray) -> _Table:
    """Average rows (n, ...) of windows ``x``; NaN is left out of the mean."""
    flat = rows.reshape(len(rows), -1)
    there = ~np.isnan(flat)
    mean = np.where(there, flat, 0).sum(0) / np.maximum(1, there.sum(0))
    filled, label = np.where(there, flat, mean), _groups(x)
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    return _Table(mean, np.add.reduceat(filled, starts) / np.bincount(label)[:, None])


def _compared(real: _Table, fake: _Table, distance: Callable[[np.ndarray, np.ndarray], float], seed: int) -> Estimate:
    """Return a distance of two mean rows, a norm of their difference, with an interval that holds for any norm.

    The figure differs from the true one by no more than the norm of the noise (triangle inequality), whose 95% quantile
    is found by resampling groups about their mean. It is wide, but holds near 0, too, where mirrored quantiles of the
    resampled distance were found to cover 70% only.
    """
    rng, parts = np.random.default_rng(seed), []
    for groups in (real.groups, fake.groups):
        counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), _RESAMPLES)
        parts.append(counts / len(groups) @ (groups - groups.mean(0)))
    noise = [distance(p, q) for p, q in zip(*parts, strict=True)]
    value, reach_of_noise = distance(real.mean, fake.mean), float(np.quantile(noise, LEVEL))
    details = {"groups_real": len(real.groups), "groups": len(fake.groups)}
    return Estimate(value, (max(0.0, value - reach_of_noise), value + reach_of_noise), None, details)


def autocorrelations(x: np.ndarray, lags: int) -> np.ndarray:
    """Return the autocorrelation of every window and feature about the window's own mean: (n, lags, feature) float64.

    r(k) = sum_t c_t c_(t+k) / sum_t c_t^2 with c the centred window. Where a feature does not move r is 1: no value
    changes from one step to the next. Lags that a window is too short for are left out of its part, as NaN.

    Args:
        x: (n, time, feature).
        lags: 1 to this many, less than the number of steps.
    """
    ends = window_lengths(x)
    centred = np.nan_to_num(x - np.nanmean(x, 1, keepdims=True))
    power = (centred**2).sum(1)
    still = power <= 1e-12 * np.maximum(1.0, np.nan_to_num(x**2).sum(1))
    found = np.stack([(centred[:, k:] * centred[:, : -k or None]).sum(1) for k in range(1, lags + 1)], 1)
    found = np.where(still[:, None], 1.0, found / np.where(still, 1.0, power)[:, None])
    found[ends[:, None] <= np.arange(1, lags + 1)] = np.nan
    return np.asarray(found)


def moving(x: np.ndarray) -> np.ndarray:
    """Return which features change within some window, bool (feature,): others have no dynamics to compare."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(np.diff(x, axis=1)) > 0).any((0, 1)))


def _pair(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_windows(real, "real windows"), as_windows(fake, "windows to compare")
    if a.shape[1:] != b.shape[1:]:
        raise DataError(
            f"real windows are {a.shape[1:]} and generated ones {b.shape[1:]} (time, feature): make them equal"
        )
    return a, b


def _moving_pair(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pair(real, fake)
    kept = moving(a)
    if not kept.any():
        raise DataError("no feature changes within the real windows: there are no dynamics to compare")
    return a[..., kept], b[..., kept]


def acf_distance(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> Estimate:
    """Compare autocorrelations: mean absolute difference over the lags 1 to half a window and over features.

    The autocorrelation is taken about each window's own mean and averaged over windows: about a common mean it would
    show how windows differ in level, which is the same when their steps are shuffled.

    Args:
        real, fake: (n, time, feature); features that never move within real windows are left out.
        seed: of the interval.

    Returns:
        The distance, 0 to 2; its interval counts the draw of both sets, runs of overlapping windows as one.
        Details: ``lag1``, the mean absolute difference at the first lag.

    Raises:
        DataError: on windows that are malformed or differ in shape, or where no feature moves.
    """
    a, b = _moving_pair(real, fake)
    lags = max(1, a.shape[1] // 2)
    own, other = (_table(autocorrelations(x, lags), x) for x in (a, b))
    first = float(np.abs(own.mean - other.mean).reshape(lags, -1)[0].mean())
    found = _compared(own, other, lambda p, q: float(np.abs(p - q).mean()), seed)
    return dataclasses.replace(found, details={**found.details, "lags": lags, "lag1": first})


def cross_correlations(x: np.ndarray, lags: int) -> np.ndarray:
    """Return correlations of pairs of features within windows at the lags -lags to lags: (n, pairs, 2 lags + 1).

    About each window's own means; 0 where one of the two does not move. Pairs (a, b) with a < b; at lag k, b is k steps
    later.
    """
    centred = np.nan_to_num(x - np.nanmean(x, 1, keepdims=True))
    size = np.sqrt((centred**2).sum(1, keepdims=True))
    still = size <= 1e-6 * np.maximum(1.0, np.sqrt(np.nan_to_num(x**2).sum(1, keepdims=True)))
    unit = np.where(still, 0.0, centred / np.where(still, 1.0, size))
    first, second = np.triu_indices(x.shape[2], 1)
    steps, rows = x.shape[1], []
    for k in range(-lags, lags + 1):
        ahead, behind = unit[:, max(0, k) : steps + min(0, k)], unit[:, max(0, -k) : steps - max(0, k)]
        rows.append((behind[..., first] * ahead[..., second]).sum(1))
    return np.stack(rows, 2)


def cross_correlation_distance(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> Estimate:
    """Compare correlations between features within windows: mean absolute difference over pairs and the lags -5 to 5.

    Args:
        real, fake: (n, time, feature); features that never move within real windows are left out.
        seed: of the interval.

    Returns:
        The distance, 0 to 2, with an interval as in `acf_distance`.

    Raises:
        DataError: on malformed windows, or if fewer than two features move.
    """
    a, b = _moving_pair(real, fake)
    if a.shape[2] < 2:
        raise DataError("only one feature changes within the windows: there is no pair to correlate")
    lags = min(_LAGS, a.shape[1] - 2)
    own, other = (_table(cross_correlations(x, lags), x) for x in (a, b))
    return _compared(own, other, lambda p, q: float(np.abs(p - q).mean()), seed)


def marginal_distance(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Compare the distributions of values of every feature, whatever their order in time.

    Args:
        real, fake: (n, time, feature).
        seed: of the intervals.

    Returns:
        Wasserstein-1 distance in standard deviations of the real values, and the Kolmogorov-Smirnov distance (0 to 1),
        each the mean over features that vary; intervals as in `acf_distance`.

    Raises:
        DataError: on malformed windows, or if no feature varies.
    """
    return _distributions(*_pair(real, fake), seed)


def increment_distance(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Compare the distributions of increments x_(t+1) - x_t of every feature, as `marginal_distance` does values."""
    a, b = _moving_pair(real, fake)
    return _distributions(np.diff(a, axis=1), np.diff(b, axis=1), seed)


def _distributions(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[Estimate, Estimate]:
    """Distances of marginals; distribution functions on a grid are means over windows, so groups can be resampled."""
    scale = np.nanstd(a, (0, 1))
    kept = np.flatnonzero(scale > 0)
    if not len(kept):
        raise DataError("no feature of the real windows varies: there is no distribution to compare")
    widths: list[np.ndarray] = []
    columns: tuple[list[_Table], list[_Table]] = ([], [])
    labels = _groups(a), _groups(b)
    for k in kept:
        values = np.concatenate([x[..., k][~np.isnan(x[..., k])] for x in (a, b)])
        grid = np.unique(np.quantile(values, np.linspace(0, 1, _GRID), method="nearest"))
        widths.append(np.diff(grid) / scale[k])
        for found, x, label in zip(columns, (a, b), labels, strict=True):
            found.append(_cumulative(x[..., k], grid, label))
    width, starts = np.concatenate(widths), np.cumsum([0, *map(len, widths[:-1])])
    real, fake = (
        _Table(np.concatenate([t.mean for t in found]), np.concatenate([t.groups for t in found], 1))
        for found in columns
    )

    def wasserstein(p: np.ndarray, q: np.ndarray) -> float:
        return float((np.abs(p - q) * width).sum() / len(kept))

    def kolmogorov(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.maximum.reduceat(np.abs(p - q), starts).mean())

    return _compared(real, fake, wasserstein, seed), _compared(real, fake, kolmogorov, seed)


def _cumulative(x: np.ndarray, grid: np.ndarray, label: np.ndarray) -> _Table:
    """Distribution function at all grid points but the last, of all values and of those of each group."""
    there = ~np.isnan(x)
    cells = np.searchsorted(grid, np.where(there, x, grid[-1]), side="left")
    counts = np.zeros((label[-1] + 1, len(grid)))
    np.add.at(counts, (np.repeat(label, x.shape[1]), cells.ravel()), there.ravel())
    below = counts.cumsum(1)
    return _Table(below.sum(0)[:-1] / below[:, -1].sum(), (below / np.maximum(1, below[:, -1:]))[:, :-1])


def shapes(x: np.ndarray) -> np.ndarray:
    """Return windows without level and scale, float64: about their mean, over their root mean square.

    Each feature of each window has mean 0 and root mean square 1 (0 where it does not move); past the end of a short
    window it is 0. A copy keeps its shape, and a held-out period at another level is no further away for that.
    """
    centred = np.nan_to_num(x - np.nanmean(x, 1, keepdims=True))
    size = np.sqrt((centred**2).sum(1, keepdims=True) / window_lengths(x)[:, None, None])
    still = size <= 1e-7 * np.maximum(1.0, np.abs(np.nan_to_num(x)).max(1, keepdims=True))
    return np.asarray(np.where(still, 0.0, centred / np.where(still, 1.0, size)))


def shape_nearness(rows: np.ndarray, train: np.ndarray) -> Nearness:
    """Find the nearest training window of each window by shape, for `memorisation`.

    Args:
        rows, train: (n, time, feature).

    Returns:
        As `nearness`; distances are root mean squares over steps and features, copies as `SAME_SHAPE` says.

    Raises:
        DataError: on malformed windows or too few training windows.
    """
    a, b = as_windows(rows, "windows", 1), as_windows(train, "training windows")
    found = nearness(shapes(a).astype(np.float32), shapes(b).astype(np.float32))
    distance = found.distance / np.sqrt(a[0].size)
    return dataclasses.replace(found, distance=distance, copies=distance <= SAME_SHAPE)
