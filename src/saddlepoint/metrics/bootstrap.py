"""Figures with their uncertainty: the `Estimate`, intervals, resampling, and the checks all metrics share.

Intervals are 95% intervals. What each of them covers is said by the function that returns it, and measured in
docs/reliability.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from scipy.special import ndtr, ndtri, stdtrit
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.metrics.distances import Rows

LEVEL = 0.95
"""Nominal coverage of every interval."""

Z = float(ndtri(0.5 + LEVEL / 2))
"""Half width of a normal interval in standard errors, 1.96."""

_NEAR = 25.0
"""Squared number of standard errors at 0 up to which a squared distance counts as near 0."""

_GROUPS = 200
"""Largest number of groups of the jackknife that finds the skewness for BCa."""

Method = Literal["percentile", "basic", "bca"]


@dataclass(frozen=True)
class Estimate:
    """A figure and what is known of its error.

    Attributes:
        value: the figure.
        interval: 95% interval, or None where no honest one exists; ``details["limitation"]`` says why.
        standard_error: of the value, or None.
        details: counts, settings and companions of the figure; plain JSON values.
    """

    value: float
    interval: tuple[float, float] | None = None
    standard_error: float | None = None
    details: Mapping[str, int | float | str] = field(default_factory=dict)


def normal_interval(value: float, error: float) -> tuple[float, float]:
    """Return value -+ 1.96 standard errors.

    >>> tuple(round(end, 2) for end in normal_interval(1.0, 0.5))
    (0.02, 1.98)
    """
    return value - Z * error, value + Z * error


def student_interval(
    values: Sequence[float] | np.ndarray, least: float | None = None, most: float | None = None
) -> tuple[float, float]:
    """Return Student's interval for the mean that values are drawn around, cut at the ends of what a mean can be.

    The mean of shares is a share: what lies beyond 0 or 1 holds no mean, so that the cut interval covers exactly as
    often as the whole one. On the logit scale it would be an interval for something else, the mean of the logits, and
    there is none of a share of 0 or 1.

    Args:
        values: at least two, independent.
        least, most: ends of what a value can be; None: there is none.

    >>> [tuple(round(end, 3) for end in student_interval([0.9, 0.98], *ends)) for ends in ((), (0, 1))]
    [(0.432, 1.448), (0.432, 1)]
    """
    values = np.asarray(values, float)
    value = float(values.mean())
    half = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2)) * float(values.std(ddof=1) / math.sqrt(len(values)))
    # Rounding must not leave the mean outside.
    low = value - half if least is None else min(value, max(least, value - half))
    return low, value + half if most is None else max(value, min(most, value + half))


def squared_interval(
    value: float, *, bias: float, linear: float, second: float, constant: float = 0.0
) -> tuple[tuple[float, float], float]:
    """Return interval and standard error of a squared distance theta = |D|^2, estimated by |D + noise|^2 - bias.

    The interval holds all theta with (value - theta)^2 <= 1.96^2 (slope max(theta, 0) + second + constant): Wilson's
    idea, for a variance that grows in proportion to theta and is constant near 0. With the variance at the estimate in
    its place, an interval covers too often at theta = 0 and too rarely just above it.

    The slope is the linear term's variance over theta. Near 0 both are noise, and the same ratio of their
    biases is mixed in: ``linear`` exceeds the linear term's variance by 2 ``second``, |D + noise|^2 exceeds theta
    by ``bias``.

    Args:
        value: estimate without bias; it may be below 0.
        bias: what was subtracted, > 0.
        linear: variance of the estimated linear term, by plugging in.
        second: variance of |noise|^2.
        constant: variance of other parts of the figure, which do not depend on theta.

    Returns:
        (low, high), and the standard error at theta = max(value, 0).
    """
    floor = max(second, 0.0)
    kept = max(value, 0.0)
    mixed = _NEAR * floor / (_NEAR * floor + kept**2) if floor > 0 else float(kept == 0)
    base = kept + mixed * max(bias, 0.0)
    slope = max(linear - 2 * floor * (1 - mixed), 0.0) / base if base > 0 else 0.0
    floor += constant
    steady = Z * math.sqrt(floor)
    bend = Z**2 * slope / 2
    reach = math.sqrt(max(0.0, bend**2 + Z**2 * (slope * value + floor)))
    low = value - steady if value < steady else value + bend - reach
    high = value + steady if value < -steady else value + bend + reach
    return (low, high), math.sqrt(slope * kept + floor)


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's score interval for a probability, within [0, 1] and never empty, not even at 0 or 1.

    Args:
        share: observed share, 0 to 1.
        count: number of independent trials, > 0; an effective number need not be whole.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, section 3.1.1.

    >>> tuple(round(end, 3) for end in wilson_interval(1.0, 100))
    (0.963, 1.0)
    """
    spread = Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding must not leave a share of 0 or 1 outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def proportion(hits: np.ndarray, details: Mapping[str, int | float | str] | None = None) -> Estimate:
    """Return the share of true values among independent trials, with Wilson's interval.

    Args:
        hits: (n,) of booleans.
        details: to put beside the number of trials.

    Raises:
        DataError: if there is no trial.
    """
    if not len(hits):
        raise DataError("a share of 0 trials was asked for, but at least one is needed")
    share = float(np.mean(hits))
    error = math.sqrt(share * (1 - share) / len(hits))
    return Estimate(share, wilson_interval(share, len(hits)), error, {"n": len(hits), **(details or {})})


def mean_estimate(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of figures of independent samples, such as of classes, with a normal interval.

    The interval covers the mean of what the intervals of the parts cover. Where a part has no standard error,
    the mean has none.

    Raises:
        DataError: if there is no part.
    """
    if not parts:
        raise DataError("the mean of 0 figures was asked for, but at least one is needed")
    value = math.fsum(part.value for part in parts) / len(parts)
    errors = [part.standard_error for part in parts if part.standard_error is not None]
    if len(errors) < len(parts) or any(part.interval is None for part in parts):
        return Estimate(value, None, None, {"parts": len(parts), "limitation": "a part has no interval"})
    error = math.hypot(*errors) / len(parts)
    return Estimate(value, normal_interval(value, error), error, {"parts": len(parts)})


def bootstrap(
    samples: Sequence[np.ndarray], statistic: Callable[..., float], rng: np.random.Generator, *, resamples: int = 1000
) -> np.ndarray:
    """Evaluate a statistic on resamples: rows drawn with replacement, from each sample on its own.

    Do not use it for figures that depend on which rows are neighbours: a row drawn twice is its own nearest
    neighbour.

    Args:
        samples: independent samples, each (n, ...).
        statistic: takes as many arrays and returns a number.
        rng: source of the draws.
        resamples: number of them, >= 2.

    Returns:
        (resamples,) float64.

    Raises:
        ConfigError: if there are fewer than two resamples.
        DataError: if a sample is empty.

    Source: Efron & Tibshirani 1993, chapter 6.
    """
    if resamples < 2:
        raise ConfigError(f"resamples is {resamples}, but must be at least 2; 1,000 and more give a stable interval")
    for sample in samples:
        if not len(sample):
            raise DataError("a sample to be resampled has 0 rows, but needs at least one")
    draws = np.empty(resamples)
    for k in range(resamples):
        draws[k] = statistic(*(sample[rng.integers(0, len(sample), len(sample))] for sample in samples))
    return draws


def bootstrap_interval(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., float],
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    method: Method = "bca",
) -> tuple[float, float]:
    """Return a bootstrap interval for what a smooth statistic of independent rows estimates.

    Args:
        samples: independent samples, each (n, ...), n >= 2 for ``bca``.
        statistic: takes as many arrays and returns a number.
        rng: source of the draws.
        resamples: number of them.
        method: ``percentile``: quantiles of the resamples. ``basic``: the same, mirrored at the value.
            ``bca``: quantiles corrected for bias and skewness; the skewness comes from a jackknife that leaves
            out one of at most 200 groups of rows at a time.

    Raises:
        ConfigError: on an unknown method or too few resamples.
        DataError: if a sample is empty.

    Source: Efron 1987, equations 2.3, 6.4 and 6.6; Davison & Hinkley 1997, section 5.2.
    """
    if method not in ("percentile", "basic", "bca"):
        raise ConfigError(
            f"no bootstrap method is called '{method}'; {suggest(method, ('percentile', 'basic', 'bca'))}"
        )
    draws = bootstrap(samples, statistic, rng, resamples=resamples)
    value = float(statistic(*samples))
    ends = np.array([0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    if method == "basic":
        low, high = 2 * value - np.quantile(draws, ends[::-1])
        return float(low), float(high)
    if method == "bca":
        # A half for ties; never 0 or 1, where the correction would be infinite.
        below = (np.sum(draws < value) + np.sum(draws == value) / 2) / resamples
        bias = float(ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples)))
        shifted = bias + ndtri(ends)
        ends = ndtr(bias + shifted / (1 - _acceleration(samples, statistic) * shifted))
    low, high = np.quantile(draws, ends)
    return float(low), float(high)


def _acceleration(samples: Sequence[np.ndarray], statistic: Callable[..., float]) -> float:
    """Efron's a, equation 6.6: skewness of the empirical influences / 6, pooled over samples."""
    cubes, squares = 0.0, 0.0
    for k, sample in enumerate(samples):
        groups = min(len(sample), _GROUPS)
        if groups < 2:
            continue
        labels = np.arange(len(sample)) % groups
        left = np.array([statistic(*samples[:k], sample[labels != g], *samples[k + 1 :]) for g in range(groups)])
        # Influences add up over samples, and those of a group of m rows are m times as large as its mean's.
        influence = (left.mean() - left) * (groups - 1) / groups
        cubes, squares = cubes + float((influence**3).sum()), squares + float((influence**2).sum())
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def as_features(rows: Rows, name: str, *, least: int = 2) -> Tensor:
    """Return features as a float64 tensor (n, d) on the CPU.

    Args:
        rows: (n, d) numpy or torch, any real type.
        name: for messages.
        least: smallest n that makes sense.

    Raises:
        DataError: on another rank, fewer rows than ``least``, no columns, or values that are not finite.
    """
    shape = tuple(rows.shape)
    if len(shape) != 2:
        raise DataError(f"{name} have shape {shape}, but must be (n, d): flatten every row to one vector of features")
    if shape[0] < least or shape[1] < 1:
        raise DataError(f"{name} have shape {shape}, but at least {least} rows of one feature are needed: draw more")
    table = rows.detach().to("cpu") if isinstance(rows, Tensor) else np.asarray(rows)
    if isinstance(table, np.ndarray):
        if table.dtype.kind not in "biuf":
            raise DataError(f"{name} are of type {table.dtype}, but must be real numbers")
        table = torch.from_numpy(np.ascontiguousarray(table, dtype=np.float64))
    elif table.is_complex():
        raise DataError(f"{name} are of type {table.dtype}, but must be real numbers")
    table = table.to(torch.float64).contiguous()
    broken = int((~torch.isfinite(table)).any(1).sum())
    if broken:
        raise DataError(f"{broken} rows of {name} are not finite: leave them out, or find their cause")
    return table


def as_pair(real: Rows, fake: Rows) -> tuple[Tensor, Tensor]:
    """Return real and generated features as float64 tensors with equal numbers of columns.

    Raises:
        DataError: as in `as_features`, or if the numbers of columns differ.
    """
    a, b = as_features(real, "real features"), as_features(fake, "generated features")
    if a.shape[1] != b.shape[1]:
        raise DataError(
            f"real features have {a.shape[1]} columns and generated features {b.shape[1]}; they must be equal: "
            "use one extractor for both"
        )
    return a, b


def hashed_order(rows: Tensor) -> Tensor:
    """Return rows (n, d) float64 in an order that looks random and does not depend on the one they came in.

    Splits of the result depend on the set of rows only.
    """
    factors = np.random.default_rng(0).integers(-(2**62), 2**62, rows.shape[1]) | 1
    # Small whole numbers differ in their highest bits only: these are folded down before each product.
    bits = rows.view(torch.int64)
    mixed = (bits ^ (bits >> 32)) * torch.from_numpy(factors)
    key = ((mixed ^ (mixed >> 29)) * int(factors[0])).sum(1)
    return rows[key.argsort(stable=True)]


def as_labels(labels: np.ndarray | Tensor, name: str, rows: int | None = None) -> np.ndarray:
    """Return labels as int64 (n,).

    Args:
        labels: (n,) integers, or floats without a fraction.
        name: for messages.
        rows: number of labels there must be.

    Raises:
        DataError: on another rank, no label, another number of them, or a label that is not an integer.
    """
    table = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if table.ndim != 1 or not len(table) or (rows is not None and len(table) != rows):
        rule = "(n,) with n >= 1" if rows is None else f"({rows},): one label for each row"
        raise DataError(f"{name} have shape {table.shape}, but must be {rule}")
    whole = table.astype(np.int64) if table.dtype.kind in "biuf" and np.isfinite(table).all() else None
    if whole is None or not np.array_equal(whole, table):
        raise DataError(f"{name} are of type {table.dtype} and not all integers; number the classes 0, 1, 2, ...")
    return whole
