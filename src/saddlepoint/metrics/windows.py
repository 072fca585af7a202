"""Windows of time series: what may be one, how far neighbours overlap, and how they are divided in time."""

from __future__ import annotations

import numpy as np

from saddlepoint.core.errors import DataError

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


def stretches(x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the steps between overlapping neighbours (0 without any), and first and end of each row of such windows.

    >>> stretches(np.arange(10.0)[np.arange(6)[:, None] + np.arange(5)][..., None])
    (1, array([0]), array([6]))
    """
    n, stride = len(x), _stride(x)
    broken = ~_shifted(x, np.arange(n - 1), stride) if stride else np.ones(n - 1, bool)
    starts = np.flatnonzero(np.append(True, broken))
    return stride, starts, np.append(starts[1:], n)


def divide(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divide windows so that no window of the first part shares a point with one of the second, a fifth of all.

    Overlapping windows are cut into runs of one window length; runs are drawn for the second part, and windows of the
    first that reach into it are left out. Windows that do not overlap are drawn one by one.

    Args:
        x: (n, time, feature) windows in the order of time.
        rng: of the draw.

    Returns:
        Row numbers of both parts, sorted.

    Raises:
        DataError: if there are too few windows for both parts.
    """
    n, (stride, starts, stops) = len(x), stretches(x)
    far = _reach_of(stride, x.shape[1])
    begins, ends = (np.repeat(edge, stops - starts) for edge in (starts, stops))
    run = 1 if far == 0 else min(far + 1, max(1, n // 5))
    runs = -(-n // run)
    chosen = np.sort(rng.permutation(runs)[: max(1, round(runs / 5))])
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


def halves(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the row numbers of two halves of windows that share no point, both of the whole time.

    Rows of overlapping windows are cut into blocks that hold one window length of them; whole blocks are drawn for one
    half or the other, and the windows between that reach into two are left out: about half of all. Which half a block
    is in says nothing of its neighbours, so that what tells both apart has learned the time, not a difference. Windows
    that do not overlap are drawn one by one.

    Args:
        x: (n, time, feature) windows in the order of time.
        rng: of the draw.

    Raises:
        DataError: if there are fewer than four blocks.
    """
    stride, starts, stops = stretches(x)
    far = _reach_of(stride, x.shape[1])
    blocks = [
        np.arange(first, first + far + 1)
        for start, stop in zip(starts, stops, strict=True)
        for first in range(start, stop - far, 2 * far + 1)
    ]
    if len(blocks) < 4:
        raise DataError(
            f"{len(x):,} windows that share points up to {far} windows on have no two halves without a common one: "
            "take a longer series, or shorter windows"
        )
    order = rng.permutation(len(blocks))
    cut = len(blocks) // 2
    first, second = (np.sort(np.concatenate([blocks[k] for k in part])) for part in (order[:cut], order[cut:]))
    return first, second
