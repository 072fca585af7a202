"""The correlational score of series, as papers since 2024 compute it."""

from __future__ import annotations

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.series_scores import over_runs
from saddlepoint.metrics.windows import as_windows

RUNS = 5
"""Draws of a fifth of the windows each, over which papers take the mean."""


def correlations(x: np.ndarray) -> np.ndarray:
    """Return the correlations of all pairs of features at the same step, over all steps of all windows: (pairs,).

    NaN past the end of short windows does not count; a feature that does not vary has none with any other.

    Args:
        x: (n, time, feature).
    """
    centred = x - np.nanmean(x, (0, 1))
    spread = np.nanstd(x, (0, 1))
    unit = np.nan_to_num(centred / np.where(spread > 0, spread, 1.0))
    table = np.einsum("nti,ntj->ij", unit, unit) / max(1, int((~np.isnan(x[..., 0])).sum()))
    return np.asarray(table[np.tril_indices(x.shape[2], -1)])


def correlational_score(real: np.ndarray, fake: np.ndarray, *, runs: int = RUNS, seed: int = 0) -> Estimate:
    """Return the sum over pairs of features of |correlation of samples - correlation of real windows|, over 10.

    Five times a fifth of the windows of each kind is drawn, with replacement, and the mean is reported: of equal
    distributions the score is the noise of these draws, not 0. It knows neither lags nor the order of steps, and grows
    with the number of pairs, so that scores of different data do not compare.

    Args:
        real, fake: (n, time, feature) with at least two features.
        runs: draws.
        seed: of the draws.

    Returns:
        The score, 0 or more; interval as in `over_runs`.

    Raises:
        DataError: on malformed windows, other features, or a single one.

    Source: Liao et al. 2020 (conditional Sig-Wasserstein GANs) for the sum, and the code released with Diffusion-TS
    (Yuan & Qiao 2024) for the factor, lag 0 alone and the draws. Deviation: a feature that does not vary counts as
    uncorrelated, where the code divides by zero.
    """
    a, b = as_windows(real, "real windows", 10), as_windows(fake, "windows to compare", 10)
    if a.shape[2] != b.shape[2]:
        raise DataError(f"real windows have {a.shape[2]} features and generated ones {b.shape[2]}: make them equal")
    if a.shape[2] < 2:
        raise DataError("the correlational score is of pairs of features, but there is only one")
    rng, size = np.random.default_rng(seed), max(2, len(a) // runs)
    found = []
    for _ in range(runs):
        own, other = (correlations(x[rng.integers(0, len(x), size)]) for x in (a, b))
        found.append(float(np.abs(own - other).sum()) / 10)
    return over_runs(np.asarray(found), windows=size)
