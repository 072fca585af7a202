"""Scores of time series by recurrent networks trained afresh: discriminative, predictive, forecasting.

Windows are (n, time, feature) in or near [0, 1], NaN after the end of short ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import Estimate, student_interval
from saddlepoint.metrics.convolutional import Convolutional
from saddlepoint.metrics.recurrent import Recurrent, fit, minibatches
from saddlepoint.metrics.windows import as_windows, divide, reach, window_lengths

RUNS_2019, RUNS = 10, 3
"""Networks trained for a figure: of the paper's protocol, of this library's."""

UNITS = 32
"""State of this library's networks."""

_BATCH_2019, _RATE_2019 = 128, 1e-3
_DISCRIMINATIVE_2019, _PREDICTIVE_2019 = 2_000, 5_000
_BATCH, _RATE, ITERATIONS = 64, 5e-3, 400
_ROWS_AT_ONCE = 4_096


class _Rows:
    """Windows as the networks read them: time first, rows last, 0 past the end."""

    def __init__(self, x: np.ndarray) -> None:
        self.ends = torch.from_numpy(window_lengths(x) - 1)
        self.x = torch.from_numpy(np.nan_to_num(x).astype(np.float32))

    def take(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return (time, count, feature, n) and ends (count, n) for row numbers (count, n)."""
        rows = torch.from_numpy(index)
        return self.x[rows].permute(2, 0, 3, 1), self.ends[rows]


def _both(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_windows(real, "real windows", 10), as_windows(fake, "windows to compare", 10)
    if a.shape[1:] != b.shape[1:]:
        raise DataError(
            f"real windows are {a.shape[1:]} and generated ones {b.shape[1:]} (time, feature): make them equal"
        )
    return a, b


def over_runs(
    values: np.ndarray, least: float = 0.0, most: float | None = None, **details: int | float | str
) -> Estimate:
    """Return the mean over runs of a measurement, with Student's interval between what the figure can be.

    The interval covers what another division and another start of the networks would give for the same samples. It does
    not count the draw of the samples, nor another training of the generator.
    """
    value = float(values.mean())
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(value, student_interval(values, least, most), error, {"runs": len(values), **details})


def discriminative_2019(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    layers: int = 1,
    runs: int = RUNS_2019,
    iterations: int = _DISCRIMINATIVE_2019,
    seed: int = 0,
) -> Estimate:
    """Return the discriminative score |accuracy - 1/2| as the released code of TimeGAN computes it.

    One GRU layer of feature // 2 units and a linear layer on its last state tell real from generated windows; 2,000
    iterations of Adam at .001 with 128 windows of each; windows divided 80 to 20 at random, overlapping or not;
    threshold 1/2. The mean over runs of this measurement is what the paper reports.

    It is blind: with two or three units it hardly sees more than levels, and the division leaks, because neighbouring
    windows share all points but one.

    Args:
        real, fake: (n, time, feature).
        layers: of the GRU; papers have one or two, and seldom say which.
        runs: trained networks.
        iterations: of each.
        seed: of divisions, starts and minibatches.

    Returns:
        The score, 0 to .5, interval as in `over_runs`; details: ``accuracy``.

    Raises:
        DataError: on malformed windows or fewer than 10 of a kind.

    Source: Yoon et al. 2019, section 5 and supplementary material, and the released code. Deviations: one feature gets
    one unit, where the code would build none; minibatches go through the rows, where the code draws each anew.
    """
    parts = [_random_parts(len(x), runs, np.random.default_rng([seed, k])) for k, x in enumerate((real, fake))]
    units = max(1, np.asarray(real).shape[-1] // 2)
    network = Recurrent(runs, np.asarray(real).shape[-1], units, 1, torch.Generator().manual_seed(seed), layers)
    own = _classify(real, fake, parts, network, iterations, _BATCH_2019, _RATE_2019, seed, decay=False)
    return over_runs(np.abs(own - 0.5), most=0.5, accuracy=float(own.mean()), units=units, layers=layers)


def discriminative(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    units: int = UNITS,
    layers: int = 1,
    convolutional: bool = False,
    runs: int = RUNS,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> Estimate:
    """Return by how much a classifier that can see time beats a guess on windows that share no point with its own.

    One GRU layer and a linear layer on its last state read values and steps, as `with_steps` says. Overlapping
    windows are divided in runs, as `divide` says; generated ones one by one. The score keeps its sign: 0 for what
    cannot be told apart. On a series that changes it falls below 0 for perfect samples, which also show the periods of
    which the classifier saw no real window and are called real elsewhere; real training windows, given as samples, tell
    how far. Runs are as short as they can be for that reason: training on the first part of a series and testing on the
    last would measure little else.

    Args:
        real: (n, time, feature) in the order of time.
        fake: (m, time, feature) in any order.
        units: of the GRU, or channels of the convolutions.
        layers: of the GRU.
        convolutional: whether convolutions read the windows instead, as in `Convolutional`.
        runs: trained networks.
        iterations: of each.
        seed: of divisions, starts and minibatches.

    Returns:
        Mean accuracy on both kinds - 1/2, -.5 to .5; interval as in `over_runs`; details: ``accuracy``.

    Raises:
        DataError: on malformed windows, or too few to be divided.
    """
    a, b = _both(real, fake)
    rng = np.random.default_rng(seed)
    own = [divide(a, rng) for _ in range(runs)]
    # Real windows in the place of samples overlap as well: a network would know those that it was trained on again.
    other = [divide(b, rng) for _ in range(runs)] if reach(b) else _random_parts(len(b), runs, rng)
    a, b = (with_steps(x, a) for x in (a, b))
    generator = torch.Generator().manual_seed(seed)
    network: Critic = Recurrent(runs, a.shape[2], units, 1, generator, layers)
    if convolutional:
        network = Convolutional(runs, a.shape[2], units, 1, generator)
    accuracy = _classify(a, b, [own, other], network, iterations, _BATCH, _RATE, seed, decay=True)
    return over_runs(accuracy - 0.5, -0.5, 0.5, accuracy=float(accuracy.mean()), units=units)


def with_steps(x: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return windows as a classifier sees them that is to see time: (n, time, 2 feature).

    Values in standard deviations, and the steps to them as ranks among the real steps, -1 to 1: where levels
    range widely, steps are too small beside them for a network to notice.

    Args:
        x: (n, time, feature).
        real: windows that set the scales.
    """
    spread = np.nanstd(real, (0, 1))
    level = (x - np.nanmean(real, (0, 1))) / np.where(spread > 0, spread, 1.0)
    steps, known = np.diff(x, axis=1, prepend=x[:, :1]), np.diff(real, axis=1)
    ranks = np.full_like(steps, np.nan)
    for k in range(x.shape[2]):
        grid = np.sort(known[..., k][~np.isnan(known[..., k])])
        below = (np.searchsorted(grid, steps[..., k], "left") + np.searchsorted(grid, steps[..., k], "right")) / len(
            grid
        )
        ranks[..., k] = np.where(np.isnan(steps[..., k]), np.nan, below - 1)
    return np.concatenate([level, ranks], 2)


Critic = Recurrent | Convolutional
"""Classifiers of windows, one for each run."""

Parts = list[tuple[np.ndarray, np.ndarray]]
"""Row numbers to train on and to test on, for each run."""


def _random_parts(n: int, runs: int, rng: np.random.Generator) -> Parts:
    orders = [rng.permutation(n) for _ in range(runs)]
    cut = int(0.8 * n)
    return [(order[:cut], order[cut:]) for order in orders]


def _classify(
    real: np.ndarray,
    fake: np.ndarray,
    parts: list[Parts],
    network: Critic,
    iterations: int,
    batch: int,
    rate: float,
    seed: int,
    *,
    decay: bool,
) -> np.ndarray:
    """Train one classifier for each run and return their mean accuracies on both kinds, (runs,)."""
    tables = [_Rows(x) for x in _both(real, fake)]
    rng = np.random.default_rng([seed, 1])
    batches = [minibatches([first for first, _ in own], batch, rng) for own in parts]

    def loss() -> Tensor:
        drawn = [table.take(next(rows)) for table, rows in zip(tables, batches, strict=True)]
        x, ends = (torch.cat(pair, -1) for pair in zip(*drawn, strict=True))
        real_logits, fake_logits = network.last(x, ends)[:, 0].split(batch, 1)
        total: Tensor = F.softplus(-real_logits).mean(1).sum() + F.softplus(fake_logits).mean(1).sum()
        return total

    fit(network, loss, iterations, rate, decay=decay)
    right = [
        _share_real(network, table, [second for _, second in own]) for table, own in zip(tables, parts, strict=True)
    ]
    return np.asarray((right[0] + 1 - right[1]) / 2)


@torch.no_grad()
def _share_real(network: Critic, table: _Rows, parts: list[np.ndarray]) -> np.ndarray:
    """Share of each run's test rows that its network calls real; smaller parts are filled up, uncounted."""
    size = max(map(len, parts))
    index = np.stack([np.resize(part, size) for part in parts])
    counted = np.arange(size) < np.array([len(part) for part in parts])[:, None]
    chunks = [index[:, i : i + _ROWS_AT_ONCE] for i in range(0, size, _ROWS_AT_ONCE)]
    called = np.concatenate([(network.last(*table.take(chunk))[:, 0] > 0).numpy() for chunk in chunks], 1)
    return np.asarray((called & counted).sum(1) / counted.sum(1))


def predictive_2019(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    layers: int = 1,
    runs: int = RUNS_2019,
    iterations: int = _PREDICTIVE_2019,
    seed: int = 0,
) -> Estimate:
    """Return the predictive score as the released code of TimeGAN computes it.

    A GRU of feature // 2 units, trained on generated windows, predicts the last feature one step ahead from all others;
    sigmoid, absolute error, 5,000 iterations of Adam at .001 with 128 windows. Its mean absolute error on all real
    windows is the score.

    It is blind too: the other features at the same step nearly give the last one where features move together.

    Args:
        real, fake: (n, time, feature) with at least two features.
        layers: of the GRU.
        runs: trained networks.
        iterations: of each.
        seed: of starts and minibatches.

    Returns:
        Mean absolute error in units of the scaled data, interval as in `over_runs`.

    Raises:
        DataError: on malformed windows or a single feature.

    Source: as of `discriminative_2019`; the paper's text says a two-layer LSTM. Same deviations.
    """
    a, b = _both(real, fake)
    if a.shape[2] < 2:
        raise DataError("the predictive score of 2019 predicts the last feature from the others, but there is only one")
    tables = [_Rows(x) for x in (a, b)]
    units = max(1, a.shape[2] // 2)
    network = Recurrent(runs, a.shape[2] - 1, units, 1, torch.Generator().manual_seed(seed), layers)
    batches = minibatches([np.arange(len(b))] * runs, _BATCH_2019, np.random.default_rng([seed, 1]))

    def errors(table: _Rows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        x, ends = table.take(index)
        there = torch.arange(len(x) - 1)[:, None, None] < ends
        predicted = torch.sigmoid(network.every(x[:-1, :, :-1])[:, :, 0])
        return (predicted - x[1:, :, -1]).abs() * there, there

    def loss() -> Tensor:
        found, _ = errors(tables[1], next(batches))
        return found.mean((0, 2)).sum()

    fit(network, loss, iterations, _RATE_2019)
    return over_runs(_mean_errors(errors, tables[0], len(a), runs), units=units, layers=layers)


def _mean_errors(errors, table: _Rows, n: int, runs: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Mean absolute error of each run over the steps of all rows."""
    total, count = torch.zeros(runs, dtype=torch.float64), 0.0
    with torch.no_grad():
        for i in range(0, n, _ROWS_AT_ONCE // 4):
            index = np.tile(np.arange(i, min(n, i + _ROWS_AT_ONCE // 4)), (runs, 1))
            found, there = errors(table, index)
            total += found.double().sum((0, 2))
            count += float(there[:, 0].sum())
    return np.asarray((total / max(count, 1.0)).numpy())


def forecast_error(
    test: np.ndarray,
    train: np.ndarray,
    *,
    units: int = UNITS,
    runs: int = RUNS,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> tuple[Estimate, float]:
    """Return how well a network trained on some windows forecasts others: train on synthetic, test on real.

    A GRU reads all features and says by how much each changes in the next step, in standard deviations of the changes
    it was trained on; absolute error. Starting from the last value, it need not know the level.

    Args:
        test: real windows (n, time, feature).
        train: windows (m, time, feature) it is trained on, generated or real (the ceiling).
        units, runs, iterations, seed: as in `discriminative`.

    Returns:
        Mean absolute error over steps and features that move, in standard deviations of the real changes, interval as
        in `over_runs`; and the error of forecasting no change, on the same scale.

    Raises:
        DataError: on malformed windows, or if no feature of the test windows moves.
    """
    a, b = _both(test, train)
    scale = np.nanstd(np.diff(a, axis=1), (0, 1))
    kept = scale > 0
    if not kept.any():
        raise DataError("no feature changes within the test windows: there is nothing to forecast")
    own = np.nanstd(np.diff(b, axis=1), (0, 1))
    middle, spread = np.nanmean(b, (0, 1)), np.nanstd(b, (0, 1))
    unit = torch.from_numpy(np.where(own > 0, own, 1.0)[kept]).float()[:, None]
    ratio = unit / torch.from_numpy(scale[kept]).float()[:, None]
    tables = [_Rows(x) for x in (a, b)]
    features = torch.from_numpy(np.flatnonzero(kept))
    # What did not vary in training says nothing, also where it does later.
    inverse = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
    shift, factor = (torch.from_numpy(v).float()[:, None] for v in (middle, inverse))
    network = Recurrent(runs, a.shape[2], units, int(kept.sum()), torch.Generator().manual_seed(seed))
    batches = minibatches([np.arange(len(b))] * runs, 2 * _BATCH, np.random.default_rng([seed, 1]))

    def errors(table: _Rows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        x, ends = table.take(index)
        there = torch.arange(len(x) - 1)[:, None, None] < ends
        change = (x[1:] - x[:-1])[:, :, features] / unit
        predicted = network.every((x[:-1] - shift) * factor)
        return (predicted - change).abs().mul(ratio if table is tables[0] else 1).mean(2) * there, there

    def loss() -> Tensor:
        found, _ = errors(tables[1], next(batches))
        return found.mean((0, 2)).sum()

    fit(network, loss, iterations, _RATE, decay=True)
    still = float(np.nanmean(np.abs(np.diff(a, axis=1))[..., kept] / scale[kept]))
    return over_runs(_mean_errors(errors, tables[0], len(a), runs), units=units), still
