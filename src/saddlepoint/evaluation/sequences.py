"""Control sets of time series: real windows, windows robbed of their order, and baselines without a network."""

from __future__ import annotations

import numpy as np

from saddlepoint.data.dataset import Dataset
from saddlepoint.metrics.series_baselines import (
    autoregressive_windows,
    block_bootstrap,
    constant_windows,
    shuffled_in_time,
)
from saddlepoint.metrics.windows import halves

HELD_OUT, TRAINING, HALVES = "held-out windows", "training windows", "halves of the training time"
SHUFFLED, CONSTANT, NOISE = "shuffled in time", "constant windows", "uniform noise"
BOOTSTRAP, AUTOREGRESSION = "block bootstrap", "vector autoregression"

BASELINES = (BOOTSTRAP, AUTOREGRESSION)
"""What a generator has to beat to be worth its training."""

SEQUENCE_CONTROLS = (HELD_OUT, TRAINING, HALVES, *BASELINES, SHUFFLED, CONSTANT, NOISE)


_HALVES_SEED = 2026


def seen(dataset: Dataset, x: np.ndarray) -> np.ndarray:
    """Return windows as figures see them: columns, shares of categories, no calendar; see `Layout.seen`."""
    return x if dataset.layout is None else dataset.layout.seen(x)


def told(dataset: Dataset, x: np.ndarray) -> np.ndarray:
    """Return windows as a critic sees them: `seen`, with the calendar that real windows and samples were told."""
    known = 0 if dataset.layout is None else dataset.layout.known
    if not known:
        return seen(dataset, x)
    angle = 2 * np.pi * x[..., -known:]
    return np.concatenate([seen(dataset, x), np.cos(angle), np.sin(angle)], -1)


def in_halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two halves of training windows that share no point, always the same ones: real windows, and "samples".

    What a figure says of them is its floor: a generator that knows the process draws windows of other days, and no
    figure that holds less of it against the data says anything.

    Raises:
        DataError: as `halves`.
    """
    first, second = halves(x, np.random.default_rng(_HALVES_SEED))
    return x[first], x[second]


def thinned(x: np.ndarray, most: int) -> np.ndarray:
    """Return every k-th window, in the order of time, so that at most ``most`` remain."""
    return x[:: -(-len(x) // most)]


def make_sequences(
    name: str, train: np.ndarray, held_out: np.ndarray, n: int, rng: np.random.Generator, dataset: Dataset | None = None
) -> np.ndarray:
    """Return about ``n`` windows of a control set, float32 (n, time, feature).

    Baselines are told the calendar of the window that they start from; what was shuffled, set to its mean or drawn has
    that of its window.

    Args:
        name: one of `SEQUENCE_CONTROLS`.
        train: windows of the training part.
        held_out: windows that were not trained on, in the order of time.
        n: number wanted; real windows are fewer where the data has fewer.
        rng: of the draws.
        dataset: whose windows they are, where it says what their features are.
    """
    if name in (HELD_OUT, HALVES):
        return np.array(thinned(held_out if name == HELD_OUT else in_halves(train)[1], n))
    layout = None if dataset is None else dataset.layout
    if layout is not None and not layout.one_to_one:
        made = _made(name, np.asarray(train), n, rng, layout.known)
        return layout.as_written(made) if name != TRAINING else made
    return _made(name, train, n, rng, 0)


def _made(name: str, train: np.ndarray, n: int, rng: np.random.Generator, known: int) -> np.ndarray:
    if known:
        # Windows that began elsewhere than their calendar says would be told by it.
        longest = np.flatnonzero((~np.isnan(train[..., 0])).sum(1) == train.shape[1])
        longest = longest if len(longest) else np.arange(len(train))
        drawn = np.sort(rng.choice(longest, n) if name in BASELINES else rng.permutation(len(train))[:n])
        own, calendar = train[..., :-known], train[drawn][..., -known:]
        made = _baseline(name, own, n, rng, drawn) if name in BASELINES else _robbed(name, own[drawn], rng)
        order = rng.permutation(len(made))
        joined: np.ndarray = np.concatenate([made, calendar], 2)[order]
        joined[np.isnan(joined).any(2)] = np.nan
        return joined
    if name in BASELINES:
        return _baseline(name, train, n, rng)
    # Sorted, because the rows may be a memory map; then in random order, as samples come.
    return _robbed(name, rng.permutation(train[np.sort(rng.permutation(len(train))[:n])]), rng)


def _baseline(
    name: str, train: np.ndarray, n: int, rng: np.random.Generator, rows: np.ndarray | None = None
) -> np.ndarray:
    if name == BOOTSTRAP:
        return block_bootstrap(train, n, rng, block=min(8, train.shape[1] // 2), rows=rows)
    return autoregressive_windows(train, n, rng, rows=rows)


def _robbed(name: str, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if name == SHUFFLED:
        return shuffled_in_time(drawn, rng)
    if name == CONSTANT:
        return constant_windows(drawn)
    if name == NOISE:
        return np.where(np.isnan(drawn), np.nan, rng.random(drawn.shape, dtype=np.float32)).astype(np.float32)
    assert name == TRAINING
    return drawn


def ragged_well(x: np.ndarray) -> np.ndarray:
    """Return which windows are finite but for NaN in all features from some step on to the end, bool (n,)."""
    missing = np.isnan(x)
    ended = missing.all(2)
    whole = ~np.isinf(x).any((1, 2)) & (missing == ended[..., None]).all((1, 2))
    return np.asarray(whole & ~(ended[:, :-1] & ~ended[:, 1:]).any(1) & ~ended[:, 0])
