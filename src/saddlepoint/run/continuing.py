"""Series that go on from given rows, or around them, from any trained generator of windows, and series of any length.

A generator of windows knows how rows follow one another; it is asked by drawing many fresh windows and taking those
that lie nearest to what is known (importance resampling with a kernel that keeps the nearest). So samples are windows
of the generator, not of a linear model of it, and need no gradient, no encoder and no training of their own; numbers,
categories, static features, labels and the calendar are treated alike. What a taken window lacks to the given values is
added to it and fades away from there, so that no seam is left.

An ensemble smoother over z (Emerick & Reynolds 2013) was tried instead: its windows meet the given rows more closely,
but what follows is worse (docs/series.md). Source: Rubin 1987 (sampling/importance resampling); for neighbours that
stand for a conditional distribution, Lall & Sharma 1996.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

NEAREST, OF = 100, 100
"""Windows that are taken from: so many, or as many as samples are wanted, are the nearest of so many times as many."""

MOST_DRAWN, MOST_VALUES = 50_000, 32 * 1024**2
"""Windows that are drawn at once, and values of them, at most."""

DRAWN, NEAR = 2_000, 10
"""Where every series has a past of its own: windows drawn for a stretch, of which one of so many nearest is taken."""

FADE = 0.5
"""Share of a window in which what it lacks falls to 1 / e."""

BEYOND = 0.5
"""Deviations beyond all drawn values from which a past is at a level that the generator does not know."""

OVERLAP = 4
"""The part of a window, a fourth, in which a long series meets its next stretch."""


@dataclass(frozen=True)
class Source:
    """Where fresh windows come from.

    Attributes:
        draw: (how many, number of their first step, number of the draw) -> windows (n, time, feature), NaN after the
            end of short ones; without the calendar, which they are told by their first step.
        time: steps of a window.
        numbers: the first so many features are numbers, which can be moved; the others are shares of categories, drawn,
            and static features.
    """

    draw: Callable[[int, int, int], np.ndarray]
    time: int
    numbers: int


def nearest(known: np.ndarray, windows: np.ndarray, scale: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the windows nearest to each of some pasts, the nearest first.

    Args:
        known: (n, time, feature), NaN in the same places of all where nothing is known.
        windows: (m, time, feature) without NaN where something is known.
        scale: (feature,) units of the distance.
        count: how many, at most m.

    Returns:
        int64 (n, count), by the sum of squares over what is known.
    """
    places = np.flatnonzero(~np.isnan(known).any(0).reshape(-1))
    unit = np.broadcast_to(scale, known.shape[1:]).reshape(-1)[places]
    a, b = (x.reshape(len(x), -1)[:, places] / unit for x in (known, windows))
    distance = cdist(a, b, "sqeuclidean")
    few = np.argpartition(distance, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(distance, few, 1).argsort(1, kind="stable")
    return np.asarray(np.take_along_axis(few, order, 1))


def joined(made: np.ndarray, given: np.ndarray, fades: np.ndarray, numbers: int) -> np.ndarray:
    """Put given values into windows, and add what the windows lack there to the steps beside them.

    Between two given steps of a feature the difference runs along a straight line from one to the other; before the
    first and after the last it falls to 1 / e of itself within ``fades`` steps.

    Args:
        made: (n, time, feature).
        given: (n, time, feature) or (1, time, feature), NaN where nothing is known, in the same places of all.
        fades: (feature,) steps; infinite: the difference stays.
        numbers: the first so many features are moved; of the others given values take the place of those made.
    """
    result, steps = made.copy(), np.arange(made.shape[1])
    for feature in range(made.shape[2]):
        known = np.flatnonzero(~np.isnan(given[:, :, feature]).any(0))
        if not len(known):
            continue
        if feature < numbers:
            lack = given[:, known, feature] - made[:, known, feature]
            right = np.clip(np.searchsorted(known, steps), 0, len(known) - 1)
            left = np.clip(np.searchsorted(known, steps, "right") - 1, 0, len(known) - 1)
            apart = np.maximum(known[right] - known[left], 1)
            share = np.clip((steps - known[left]) / apart, 0, 1)
            away = np.maximum(np.maximum(known[0] - steps, steps - known[-1]), 0)
            moved = (1 - share) * lack[:, left] + share * lack[:, right]
            result[:, :, feature] += moved * np.exp(-away / fades[feature])
        result[:, known, feature] = given[:, known, feature]
    return result


def conditioned(source: Source, given: np.ndarray, n: int, first: int, number: int, seed: int) -> np.ndarray:
    """Return windows that have given values.

    A feature whose given values lie far beyond all that the generator makes is compared by its shape: its windows are
    moved to the given level first, and stay there.

    Args:
        source: of fresh windows.
        given: (1, time, feature) for all alike, or (n, time, feature); NaN where nothing is known, in the same places.
        n: how many.
        first: number of the first step, for the calendar.
        number: of the draw, so that no two draws are alike.
        seed: of the choice among the nearest.

    Returns:
        (n, time, feature), NaN after the end of short ones; given values are as given.
    """
    rng = np.random.default_rng([seed, number])
    alike = len(given) == 1
    wanted = max(n, NEAREST) if alike else NEAR
    most = max(2 * wanted, MOST_VALUES // given[0].size)
    drawn = source.draw(min(OF * wanted if alike else DRAWN, MOST_DRAWN, most), first, number).astype(np.float64)
    known = np.flatnonzero(~np.isnan(given).all((0, 2)))
    last = int(known[-1]) if len(known) else -1
    # What ended before the last given step cannot be what goes on from it.
    long = drawn[~np.isnan(drawn[:, max(last, 0)]).any(1)]
    drawn = long if len(long) >= wanted else drawn[~np.isnan(drawn).any((1, 2))]
    if last < 0:
        return drawn[rng.permutation(len(drawn))[:n]]
    scale, moved, fades = _fitted(drawn, given, source.numbers)
    low, high = (end(moved, (0, 1)) for end in (np.nanmin, np.nanmax))
    wanted = min(wanted, len(moved))
    near = nearest(given, moved, scale, wanted)
    if alike:
        taken = near[0][rng.permutation(wanted)[:n] if n <= wanted else rng.integers(0, wanted, n)]
    else:
        taken = near[np.arange(n), rng.integers(0, wanted, n)]
    made = joined(moved[taken], given, fades, source.numbers)
    # What was added must not carry a series step by step to where the generator never is.
    within = np.where(np.isfinite(fades), np.clip(made, low, high), made)
    return np.where(np.isnan(given), within, given)


def _fitted(drawn: np.ndarray, given: np.ndarray, numbers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return units of the features, windows moved where the given values lie beyond them, and how lacks fade."""
    scale = np.nanstd(drawn, (0, 1))
    scale = np.where(scale > 1e-9, scale, 1.0)
    fades, moved = np.full(drawn.shape[2], FADE * drawn.shape[1]), drawn
    for feature in range(numbers):
        known = given[:, :, feature][~np.isnan(given[:, :, feature])]
        if not len(known):
            continue
        low, high = np.nanmin(drawn[:, :, feature]), np.nanmax(drawn[:, :, feature])
        margin = BEYOND * scale[feature]
        if known.min() < low - margin or known.max() > high + margin:
            places = ~np.isnan(given[:, :, feature]).any(0)
            moved = moved.copy() if moved is drawn else moved
            moved[:, :, feature] += known.mean() - drawn[:, places, feature].mean(1, keepdims=True)
            fades[feature] = np.inf
    return scale, moved, fades


def continued(source: Source, given: np.ndarray, n: int, length: int, seed: int) -> np.ndarray:
    """Return series that go on from given rows.

    Args:
        source: of fresh windows.
        given: (rows, feature), NaN where a value is not known.
        n: how many.
        length: new steps.
        seed: of the choices.

    Returns:
        (n, length, feature) without the given rows, NaN after the end where a series ends.
    """
    rows, time = len(given), source.time
    # As much of the past as leaves room for what is wanted, but half of a window at least.
    past = min(rows, max(time - length, time // 2))
    window = np.full((1, time, given.shape[1]), np.nan)
    window[0, :past] = given[rows - past :]
    made = conditioned(source, window, n, rows - past, 0, seed)[:, past:]
    begun = np.concatenate([np.repeat(given[None, rows - past :], n, 0), made], 1)
    return _gone_on(source, begun, rows - past, length + past, seed)[:, past:]


def long_series(source: Source, n: int, length: int, seed: int) -> np.ndarray:
    """Return series of any length, (n, length, feature): windows that meet in a fourth of their steps.

    Args:
        source: of fresh windows.
        n: how many.
        length: steps of each.
        seed: of the choices.
    """
    begun = source.draw(n, 0, 0).astype(np.float64)
    return _gone_on(source, begun, 0, length, seed)


def _gone_on(source: Source, begun: np.ndarray, first: int, length: int, seed: int) -> np.ndarray:
    """Go on with series (n, steps, feature), whose first step has a number, until they are long enough."""
    series, time = begun[:, :length], source.time
    past, number = max(1, time // OVERLAP), 1
    while series.shape[1] < length:
        at = series.shape[1] - past
        alive = ~np.isnan(series[:, -1]).any(1)
        new = np.full((len(series), time - past, series.shape[2]), np.nan)
        if alive.any():
            window = np.full((int(alive.sum()), time, series.shape[2]), np.nan)
            window[:, :past] = series[alive, at:]
            new[alive] = conditioned(source, window, len(window), first + at, number, seed)[:, past:]
        series, number = np.concatenate([series, new], 1)[:, :length], number + 1
    return series


def filled(source: Source, given: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return rows with what is missing drawn.

    Longer tables than a window are gone through from their beginning: a window has a fourth of its steps before the
    first hole, what is drawn is known to the next, and the last fourth is left to it where there are more holes.

    Args:
        source: of fresh windows.
        given: (rows, feature), NaN in the holes.
        n: how many.
        seed: of the choices.

    Returns:
        (n, rows, feature); given values are as given.
    """
    rows, time = len(given), source.time
    series, number = np.repeat(given[None].astype(np.float64), n, 0), 1
    while len(holes := np.flatnonzero(np.isnan(series).any((0, 2)))):
        first = max(0, min(int(holes[0]) - time // 4, rows - time))
        end = min(rows, first + time)
        part = series[:, first:end]
        # Samples are alike until something was drawn for them.
        alike = np.array_equal(part, np.broadcast_to(part[:1], part.shape), equal_nan=True)
        window = np.full((1 if alike else n, time, given.shape[1]), np.nan)
        window[:, : end - first] = part[: len(window)]
        made = conditioned(source, window, n, first, number, seed)[:, : end - first]
        kept = end - first if end == rows or holes[-1] < end else 3 * time // 4
        kept = max(kept, int(holes[0]) - first + 1)
        part[:, :kept] = np.where(np.isnan(part[:, :kept]), made[:, :kept], part[:, :kept])
        if np.isnan(part[:, :kept]).any():
            # Windows that ended before the hole did: their last value stays.
            part[:, :kept] = _carried(part[:, :kept])
        number += 1
    return series


def _carried(x: np.ndarray) -> np.ndarray:
    """Return rows with the value before, or after, in place of NaN."""
    steps = np.arange(x.shape[1])
    result = x.copy()
    for window, feature in np.argwhere(np.isnan(x).any(1)):
        there = np.flatnonzero(~np.isnan(x[window, :, feature]))
        if len(there):
            at = np.clip(np.searchsorted(there, steps, "right") - 1, 0, len(there) - 1)
            result[window, :, feature] = x[window, there[at], feature]
        else:
            result[window, :, feature] = 0.0
    return result
