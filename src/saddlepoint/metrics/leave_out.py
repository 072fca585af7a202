"""Memorisation where few rows are held out: samples against training rows, of which pieces are left out in turn.

A window is cut into pieces, and each piece is held against all pieces of the training rows. How near a piece lies by
chance is told by the training rows themselves: their own pieces are held against those that share no row with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import LEVEL, Estimate
from saddlepoint.metrics.series import shapes
from saddlepoint.metrics.windows import as_windows, stretches, window_lengths

NEAREST = 0.1
"""Share of the windows, the nearest ones, whose distance is looked at: a tenth of copies among others shows."""

COPYING = 0.5
"""Samples whose nearest tenth is surely nearer than this share of the usual distance are copies."""

_PIECES, _LEAST = 10, 4
"""Pieces that the training rows have side by side, and steps that a piece has at least."""

_MOST_ROWS, _MOST_SAMPLES, _RUNS = 3_000, 1_000, 20


def rows_of(x: np.ndarray) -> list[np.ndarray]:
    """Return the rows that windows in the order of time were cut from, (row, feature) of each stretch.

    >>> [len(rows) for rows in rows_of(np.arange(9.0)[np.arange(5)[:, None] + np.arange(5)][..., None])]
    [9]
    """
    windows = as_windows(x, "training windows", 1)
    stride, starts, ends = stretches(windows)
    found, lengths = [], window_lengths(windows)
    for begin, end in zip(starts, ends, strict=True):
        first, others = windows[begin, : lengths[begin]], windows[begin + 1 : end]
        found.append(np.concatenate([first, *(row[len(row) - stride :] for row in others)]))
    return found


def nearest_ratio(samples: np.ndarray, train: np.ndarray, *, seed: int = 0) -> Estimate:
    """Return how near the nearest tenth of the samples lies to training rows, over that of training windows left out.

    About 1 for windows of the same process, and near 0 where a tenth of the samples or more are copies. The distance of
    a window is the mean over its pieces of the distance in shape to the nearest piece of the training rows; for a
    training window only pieces count that share no row with its own. A piece has a tenth of the training rows, but 4
    steps at least and a window at most.

    Args:
        samples: (n, time, feature).
        train: (m, time, feature) in the order of time.
        seed: of the interval.

    Returns:
        The ratio; its interval counts the draw of the samples (bootstrap) and of the training rows (jackknife over
        runs). Details: ``copying``, 1 where the whole interval is below 1/2; ``piece``, steps of a piece.

    Raises:
        DataError: on malformed windows, or training rows that are too few or repeat themselves.
    """
    # scipy.stats takes a second to import, which training should not pay.
    from scipy.stats import t as student

    a, stretched, rng = as_windows(samples, "samples"), rows_of(train), np.random.default_rng(seed)
    a = a[np.sort(rng.permutation(len(a))[:_MOST_SAMPLES])]
    total = sum(map(len, stretched))
    size = max(_LEAST, min(a.shape[1], total // _PIECES))
    pieces, at = _pieces(stretched, size)
    if len(pieces) <= 2 * size:
        raise DataError(
            f"{total} training rows hold {len(pieces)} pieces of {size} steps, too few to leave some out; take more"
        )
    own, usual = _sample_distances(a, pieces, size), _left_out(pieces, at, size, a.shape[1])
    expected = usual(np.ones(len(at), bool))
    if not expected > 0:
        raise DataError("training rows repeat themselves so often that a copy is no nearer than a window like others")
    value = float(np.quantile(own, NEAREST) / expected)
    edges = np.linspace(0, len(at), max(5, min(_RUNS, total // size)) + 1).astype(int)
    places = np.arange(len(at))
    parts = np.array([
        np.quantile(own, NEAREST) / max(1e-12, usual((places < begin) | (places >= end)))
        for begin, end in pairwise(edges)
    ])  # fmt: skip
    spread = (len(parts) - 1) / len(parts) * float(np.square(parts - parts.mean()).sum())
    drawn = np.quantile(rng.choice(own, (200, len(own))), NEAREST, axis=1) / expected
    error = math.sqrt(spread + float(drawn.var()))
    half = float(student.ppf(0.5 + LEVEL / 2, len(parts) - 1)) * error
    details: dict[str, int | float | str] = {"copying": int(value + half < COPYING), "piece": size, "rows": total}
    return Estimate(value, (max(0.0, value - half), value + half), error, details)


def _pieces(stretched: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every piece by shape, (n, step * feature), and where it begins; stretches lie a piece apart."""
    found, places, at = [], [], 0
    most = max(1, -(-sum(map(len, stretched)) // _MOST_ROWS))
    for rows in stretched[::most]:
        if len(rows) >= size:
            index = np.arange(len(rows) - size + 1)
            found.append(rows[index[:, None] + np.arange(size)])
            places.append(at + index)
        at += len(rows) + size
    if not found:
        raise DataError(f"no training window has the {size} steps of a piece; give longer series")
    joined = np.concatenate(found)
    return shapes(joined).reshape(len(joined), -1), np.concatenate(places)


def _left_out(pieces: np.ndarray, at: np.ndarray, size: int, length: int) -> Callable[[np.ndarray], float]:
    """Return what a window of the training rows has by rows that share none with it, of the pieces that are kept."""
    free = _distances(pieces, pieces)
    free[np.abs(at[:, None] - at) < size] = np.inf
    offsets = size * np.arange(max(1, length // size))
    windows = np.searchsorted(at, at[:, None] + offsets)
    whole = (at[np.minimum(windows, len(at) - 1)] == at[:, None] + offsets).all(1) & (windows < len(at)).all(1)
    windows = windows[whole] if whole.any() else np.arange(len(at))[:, None]

    def usual(kept: np.ndarray) -> float:
        nearest = free[:, kept].min(1)
        inside = kept[windows].all(1)
        chosen = windows[inside] if inside.any() else windows
        return float(np.quantile(nearest[chosen].mean(1), NEAREST))

    return usual


def _sample_distances(x: np.ndarray, pieces: np.ndarray, size: int) -> np.ndarray:
    """Return the mean over pieces of the distance to the nearest training piece, of each sample."""
    ends, rows = window_lengths(x), []
    for begin in range(0, x.shape[1] - size + 1, size):
        there = np.flatnonzero(ends >= begin + size)
        near = np.full(len(x), np.nan)
        if len(there):
            part = x[there, begin : begin + size]
            near[there] = _distances(shapes(part).reshape(len(part), -1), pieces).min(1)
        rows.append(near)
    found = np.array(rows)
    kept = found[:, ~np.isnan(found).all(0)]
    if not kept.size:
        raise DataError(f"no sample has the {size} steps of a piece; give longer ones")
    return np.asarray(np.nanmean(kept, 0))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return root mean square distances, (n, m); those of equal pieces are 0."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    found: np.ndarray = np.sqrt(np.where(squares < 1e-9 * a.shape[1], 0.0, squares) / a.shape[1])
    return found
