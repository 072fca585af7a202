"""Control sets of time series: real windows, windows robbed of their order, and baselines without a network."""

from __future__ import annotations

import numpy as np

from saddlepoint.metrics.series_baselines import (
    autoregressive_windows,
    block_bootstrap,
    constant_windows,
    shuffled_in_time,
)

HELD_OUT, TRAINING = "held-out windows", "training windows"
SHUFFLED, CONSTANT, NOISE = "shuffled in time", "constant windows", "uniform noise"
BOOTSTRAP, AUTOREGRESSION = "block bootstrap", "vector autoregression"

BASELINES = (BOOTSTRAP, AUTOREGRESSION)
"""What a generator has to beat to be worth its training."""

SEQUENCE_CONTROLS = (HELD_OUT, TRAINING, *BASELINES, SHUFFLED, CONSTANT, NOISE)


def thinned(x: np.ndarray, most: int) -> np.ndarray:
    """Return every k-th window, in the order of time, so that at most ``most`` remain."""
    return x[:: -(-len(x) // most)]


def make_sequences(name: str, train: np.ndarray, held_out: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return about ``n`` windows of a control set, float32 (n, time, feature).

    Args:
        name: one of `SEQUENCE_CONTROLS`.
        train: windows of the training part.
        held_out: windows that were not trained on, in the order of time.
        n: number wanted; real windows are fewer where the data has fewer.
        rng: of the draws.
    """
    if name == HELD_OUT:
        return np.array(thinned(held_out, n))
    if name == BOOTSTRAP:
        return block_bootstrap(train, n, rng, block=min(8, train.shape[1] // 2))
    if name == AUTOREGRESSION:
        return autoregressive_windows(train, n, rng)
    # Sorted, because the rows may be a memory map; then in random order, as samples come.
    drawn = rng.permutation(train[np.sort(rng.permutation(len(train))[:n])])
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
