"""Windows that no network made: what a score must not take for real, and what a generator has to beat.

Windows are (n, time, feature), NaN after the end of short ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.windows import as_windows, window_lengths

BLOCK = 8
"""Steps of a block of the bootstrap."""

NEIGHBOURS = 10
"""Blocks whose starts lie nearest to where the last one ended, of which the bootstrap draws the next."""

ORDERS = 3
"""Largest order of the autoregression that is tried."""

_CANDIDATES = 2_000


def shuffled_in_time(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return windows with their steps in random order: every marginal stays, all dynamics are gone."""
    ends = window_lengths(x)
    # Sorting random keys, with steps past the end last, permutes each window up to its own length.
    keys = np.where(np.arange(x.shape[1]) < ends[:, None], rng.random(x.shape[:2]), 2.0)
    order = keys.argsort(1)
    return np.take_along_axis(x, order[..., None], 1)


def constant_windows(x: np.ndarray) -> np.ndarray:
    """Return windows with every value replaced by the window's mean of its feature."""
    mean = np.nanmean(x, 1, keepdims=True)
    return np.where(np.isnan(x), np.nan, mean).astype(x.dtype)


def _cut(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, np.nan)


def block_bootstrap(
    x: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    block: int = BLOCK,
    neighbours: int | None = NEIGHBOURS,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return windows put together from blocks of others.

    Args:
        x: (m, time, feature).
        n: number of windows to make.
        rng: of the draws.
        block: steps of a block, 1 to the window's length.
        neighbours: the next block is one of this many whose preceding step is nearest to the last one of the window so
            far, among 2,000 drawn at random, so that levels join; None: any block, which leaves jumps.
        rows: numbers of the windows that the new ones begin as, (n,); None: drawn at random.

    Returns:
        (n, time, feature) of the type of ``x``; lengths are drawn from those of ``x``.

    Raises:
        DataError: if no window has ``block`` + 1 steps.

    Source: Künsch 1989; Carlstein et al. 1998 for matched blocks.
    """
    windows = as_windows(x, "windows", 1)
    ends, steps = window_lengths(windows), windows.shape[1]
    usable = np.flatnonzero(ends > block)
    if not len(usable):
        raise DataError(f"no window is longer than the {block} steps of a block; take shorter blocks")
    scale = np.maximum(np.nanstd(windows, (0, 1)), 1e-12)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.choice(usable, count)
        return rows, 1 + (rng.random(count) * (ends[rows] - block)).astype(int)

    # A window begins where a window of the data does: those that start a series are among them.
    made = windows[rng.choice(usable, n) if rows is None else rows][:, :block]
    while made.shape[1] < steps:
        others, starts = draw(n)
        if neighbours is not None:
            others, starts = draw(min(_CANDIDATES, 20 * len(usable)))
            chosen = _nearest_starts(made[:, -1] / scale, windows[others, starts - 1] / scale, neighbours, rng)
            others, starts = others[chosen], starts[chosen]
        made = np.concatenate([made, windows[others[:, None], starts[:, None] + np.arange(block)]], 1)
    return _cut(made[:, :steps], rng.choice(ends, n)).astype(x.dtype)


def _nearest_starts(points: np.ndarray, starts: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each point one of the ``k`` nearest starts, drawn at random."""
    k = min(k, len(starts))
    squares = (points**2).sum(1)[:, None] + (starts**2).sum(1) - 2 * points @ starts.T
    near = np.argpartition(squares, k - 1, axis=1)[:, :k]
    return np.asarray(near[np.arange(len(points)), rng.integers(0, k, len(points))])


@dataclass(frozen=True)
class Autoregression:
    """x_t = constant + sum_k coefficients[k - 1] x_(t-k) + residual.

    Attributes:
        constant: (feature,).
        coefficients: (order, feature, feature).
        residuals: (m, feature) of the fit.
    """

    constant: np.ndarray
    coefficients: np.ndarray
    residuals: np.ndarray


def fit_autoregression(x: np.ndarray, order: int | None = None) -> Autoregression:
    """Fit a vector autoregression to windows by least squares, each window given its first steps.

    Args:
        x: (n, time, feature).
        order: number of earlier steps, 1 to time - 1; None: of 1 to 3 the one with the smallest criterion of Schwarz.

    Raises:
        DataError: if no window is longer than the order.

    Source: Lütkepohl 2005, sections 3.2 and 4.3.
    """
    windows = as_windows(x, "windows", 1)
    if order is not None:
        return _least_squares(windows, order, order)
    most = min(ORDERS, windows.shape[1] - 2)
    fits = [_least_squares(windows, p, most) for p in range(1, most + 1)]
    return fits[int(np.argmin([_schwarz(found) for found in fits]))]


def _least_squares(x: np.ndarray, order: int, first: int) -> Autoregression:
    """Fit to the steps from ``first`` on, the same for all orders that are compared."""
    steps, features = x.shape[1:]
    there = np.arange(first, steps) < window_lengths(x)[:, None]
    target = x[:, first:][there]
    if len(target) <= order * features + 1:
        raise DataError(
            f"{len(target)} steps are too few for an autoregression of order {order} of {features} features"
        )
    past = [x[:, first - k : steps - k][there] for k in range(1, order + 1)]
    table = np.concatenate([np.ones((len(target), 1)), *past], 1)
    found = np.linalg.lstsq(table, target, rcond=1e-10)[0]
    coefficients = found[1:].reshape(order, features, features).transpose(0, 2, 1)
    return Autoregression(found[0], coefficients, target - table @ found)


def _schwarz(found: Autoregression) -> float:
    n, features = found.residuals.shape
    spectrum = np.linalg.eigvalsh(found.residuals.T @ found.residuals / n)
    return float(np.log(np.maximum(spectrum, 1e-12)).sum() + np.log(n) / n * len(found.coefficients) * features**2)


def autoregressive_windows(
    x: np.ndarray, n: int, rng: np.random.Generator, *, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return windows of a vector autoregression whose marginals are those of the data.

    Each feature's values become normal scores by their ranks; an autoregression of these is fitted, run from the first
    steps of windows drawn from the data with residuals drawn from the fit, and mapped back by quantiles.

    Args:
        x: (m, time, feature).
        n: number of windows to make.
        rng: of the draws.
        rows: numbers of the windows that the new ones begin as, (n,); None: drawn at random.

    Returns:
        (n, time, feature) of the type of ``x``, within its range; lengths are drawn from those of ``x``.

    Raises:
        DataError: as in `fit_autoregression`.
    """
    windows = as_windows(x, "windows", 1)
    scores, levels = _normal_scores(windows)
    fitted = fit_autoregression(scores)
    p, steps, lengths = len(fitted.coefficients), windows.shape[1], window_lengths(windows)
    usable = np.flatnonzero(lengths >= p)
    made = np.empty((n, steps, windows.shape[2]))
    made[:, :p] = scores[rng.choice(usable, n) if rows is None else rows, :p]
    for t in range(p, steps):
        made[:, t] = fitted.constant + fitted.residuals[rng.integers(0, len(fitted.residuals), n)]
        for k, matrix in enumerate(fitted.coefficients, 1):
            made[:, t] += made[:, t - k] @ matrix.T
    for feature, (values, score) in enumerate(levels):
        made[..., feature] = np.interp(made[..., feature], score, values)
    return _cut(made, rng.choice(lengths, n)).astype(x.dtype)


def _normal_scores(x: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return windows as normal scores, and for each feature its sorted distinct values with their scores."""
    scores, levels = np.full_like(x, np.nan), []
    for feature in range(x.shape[2]):
        column = x[..., feature]
        there = ~np.isnan(column)
        values, inverse, counts = np.unique(column[there], return_inverse=True, return_counts=True)
        # The middle of the ranks that equal values share.
        score = ndtri((np.cumsum(counts) - counts / 2) / counts.sum())
        scores[..., feature][there] = score[inverse.reshape(-1)]
        levels.append((values, score))
    return scores, levels
