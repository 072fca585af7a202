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

GROUPS = 200
"""Most groups of windows that are resampled for an interval."""

SPAN = 3
"""Overlapping windows are resampled in runs of this many window lengths: far runs hardly depend on another."""

SAME_SHAPE = 0.02
"""A copy differs from a training window by no more than this, root mean square, in units of the window's deviation."""

_GRID = 1_024
_RESAMPLES = 500
_LAGS = 5
_LEAST = 4


def as_windows(x: np.ndarray, name: str, least: int = _LEAST) -> np.ndarray:
    """Return windows as float64 (n, time, feature).

    Args:
        x: windows, NaN after the end of short ones.
        name: for messages.
        least: smallest n that makes sense.

    Raises:
        DataError: on another rank, fewer windows than ``least``, fewer than 3 steps, values that are infinite, NaN that
            is not in all features from some step on to the end, or a window without a step.
    """
    table = np.asarray(x)
    if table.ndim == 3 and 0 < len(table) < least:
        raise DataError(
            f"{name} are {len(table)}, but at least {least} are needed: draw more samples, or give longer series"
        )
    if table.ndim != 3 or len(table) < least or table.shape[1] < 3 or table.shape[2] < 1:
        raise DataError(
            f"{name} have shape {table.shape}, but must be (n, time, feature) with n >= {least} and at least 3 steps: "
            "take longer series, or a shorter window of 3 rows or more"
        )
    table = table.astype(np.float64)
    missing = np.isnan(table)
    ended = missing.all(2)
    broken = np.isinf(table).any((1, 2)) | (missing != ended[..., None]).any((1, 2))
    broken |= (ended[:, :-1] & ~ended[:, 1:]).any(1) | ended.all(1)
    if broken.any():
        raise DataError(
            f"{int(broken.sum()):,} of {len(table):,} {name} hold infinite values, or NaN other than in all features "
            "after the window's end: fill missing values, or leave these windows out"
        )
    return table


def window_lengths(x: np.ndarray) -> np.ndarray:
    """Return the number of steps of each window, int64 (n,)."""
    found: np.ndarray = (~np.isnan(x[..., 0])).sum(1)
    return found


def reach(x: np.ndarray) -> int:
    """Return how many windows further on still share a point with a window; 0 where neighbours share none.

    Windows in the order of time with a stride of s overlap by their length less s. Where series follow one another,
    neighbours of different series share nothing: it suffices that a quarter of the pairs overlap.

    >>> reach(np.arange(10.0)[np.arange(6)[:, None] + np.arange(5)][..., None])
    4
    """
    return _reach_of(_stride(x), x.shape[1])


def _reach_of(stride: int, steps: int) -> int:
    return (steps - 1) // stride if stride else 0


def _stride(x: np.ndarray) -> int:
    """Return by how many steps overlapping neighbours are apart; 0 where they share no point."""
    pairs = np.unique(np.linspace(0, len(x) - 2, 200).round().astype(int)) if len(x) > 1 else np.zeros(0, int)
    # A constant series equals itself shifted: that is no overlap, nor does it matter.
    moving = (x[pairs, 1:] != x[pairs, :-1]).any((1, 2))
    for stride in range(1, x.shape[1] - 1 if moving.any() else 0):
        if _shifted(x, pairs, stride)[moving].mean() >= 0.25:
            return stride
    return 0


def _shifted(x: np.ndarray, pairs: np.ndarray, stride: int) -> np.ndarray:
    """Return for windows by number whether the next one is the same some steps later, bool (pair,)."""
    return np.asarray((x[pairs, stride:] == x[pairs + 1, :-stride]).all((1, 2)))


def _stretches(x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the reach, and for each window the first and the end of the row of overlapping windows that it is in."""
    n, stride = len(x), _stride(x)
    broken = ~_shifted(x, np.arange(n - 1), stride) if stride else np.ones(n - 1, bool)
    starts = np.flatnonzero(np.append(True, broken))
    counts = np.diff(np.append(starts, n))
    return _reach_of(stride, x.shape[1]), np.repeat(starts, counts), np.repeat(starts + counts, counts)


def stretches(x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the steps between overlapping neighbours (0 without any), and first and end of each row of such windows.

    >>> stretches(np.arange(10.0)[np.arange(6)[:, None] + np.arange(5)][..., None])
    (1, array([0]), array([6]))
    """
    n, stride = len(x), _stride(x)
    broken = ~_shifted(x, np.arange(n - 1), stride) if stride else np.ones(n - 1, bool)
    starts = np.flatnonzero(np.append(True, broken))
    return stride, starts, np.append(starts[1:], n)


def divide(x: np.ndarray, rng: np.random.Generator, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Divide windows so that no window of the first part shares a point with one of the second.

    Overlapping windows are cut into runs of one window length; runs are drawn for the second part, and windows of the
    first that reach into it are left out. Windows that do not overlap are drawn one by one.

    Args:
        x: (n, time, feature) windows in the order of time.
        rng: of the draw.
        share: of the second part.

    Returns:
        Row numbers of both parts, sorted.

    Raises:
        DataError: if there are too few windows for both parts.
    """
    n, (far, begins, ends) = len(x), _stretches(x)
    run = 1 if far == 0 else min(far + 1, max(1, n // 5))
    runs = -(-n // run)
    chosen = np.sort(rng.permutation(runs)[: max(1, round(share * runs))])
    second = np.zeros(n, bool)
    near = np.zeros(n, bool)
    for k in chosen:
        first, last = k * run, min(n, (k + 1) * run) - 1
        second[first : last + 1] = True
        near[max(begins[first], first - far) : min(ends[last], last + 1 + far)] = True
    rest = np.flatnonzero(~near)
    if len(rest) < 2 or not second.any():
        raise DataError(
            f"{n:,} windows that share points up to {far} windows on cannot be divided in time: take a longer series, "
            "or shorter windows"
        )
    return rest, np.flatnonzero(second)


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
