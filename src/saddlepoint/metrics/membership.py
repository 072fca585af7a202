"""Membership inference: how well scores tell training rows (members) from held-out ones (non-members).

What is reported is the true positive rate at 1% false positives, and the area under the curve: a leak is measured by
whom an attacker can name with hardly an error, not by how often he is right on average.

Source: Carlini et al. 2022 (Membership inference attacks from first principles), section 4, for the figure.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtr, betaincinv

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import LEVEL, Estimate, wilson_interval

RATE = 0.01
"""False positive rate at which the true positive rate is read."""

FEW = 100
"""Independent non-members below which 1% of them is less than one row."""

LEAST = 5


def power_at_low_error(members: np.ndarray, others: np.ndarray, *, together: tuple[int, int] = (1, 1)) -> Estimate:
    """Return the true positive rate at 1% false positives: the share of members above nearly all non-members.

    The threshold is the score that floor(m / 100) non-members exceed. The interval covers the rate at the score that 1%
    of all non-members would exceed, and counts both draws: of the non-members, from which the threshold is guessed
    (order statistics), and of the members (Clopper and Pearson 1934), each at half the error, so that together it holds
    in 95% of cases at least (Bonferroni). It says nothing of another training, nor of a better attack.

    Args:
        members: (n,) scores of training rows, larger for "was trained on", n >= 5.
        others: (m,) scores of held-out rows, m >= 5.
        together: how many neighbours in each count as one independent row: of overlapping windows more than 1.

    Returns:
        The rate, without an interval where fewer than 100 independent non-members, or 5 members, are there. Details:
        ``threshold``, ``false positives`` (share of non-members above it), ``n_others``, and a ``limitation``.

    Raises:
        DataError: on fewer than 5 scores of a kind, or scores that are not finite.
    """
    a, b = _scores(members, "members"), _scores(others, "non-members")
    down = np.sort(b)[::-1]
    threshold = float(down[int(RATE * len(b))])
    rate = float((a > threshold).mean())
    details: dict[str, int | float | str] = {
        "n_members": len(a), "n_others": len(b), "threshold": threshold,
        "false positives": float((b > threshold).mean()),
    }  # fmt: skip
    free, seen = len(b) / together[1], len(a) / together[0]
    if free < FEW or seen < LEAST:
        details["limitation"] = (
            f"no interval: {len(b):,} non-members and {len(a):,} members count as {free:,.0f} and {seen:,.0f} "
            f"independent ones, and 1% of fewer than {FEW} non-members is less than one"
        )
        return Estimate(rate, None, None, details)
    low, high = _exceeding(free, (1 - LEVEL) / 4)
    # Between these two order statistics lies the score that 1% of all non-members exceed.
    first = round(low * len(b))
    surely = float((a >= down[first - 1]).mean()) if first else 0.0
    perhaps = float((a > down[min(len(b) - 1, round(high * len(b)))]).mean())
    interval = (_clopper_pearson(surely, seen)[0], _clopper_pearson(perhaps, seen)[1])
    return Estimate(rate, interval, None, details)


def curve_area(members: np.ndarray, others: np.ndarray, *, together: tuple[int, int] = (1, 1)) -> Estimate:
    """Return the area under the curve: the chance that a member scores above a non-member, ties counting half.

    The interval is Wilson's, with the number of trials that would give the variance of DeLong et al. 1988, at most as
    many as there are rows, and those of the rarer kind where members and others do not overlap at all. Neighbours that
    count as one row are averaged first.

    Args and errors: as `power_at_low_error`.
    """
    a, b = _scores(members, "members"), _scores(others, "non-members")
    of_members = _below(a, np.sort(b))  # (n,): share of non-members below each member
    of_others = 1 - _below(b, np.sort(a))
    area, kinds = float(of_members.mean()), (len(a) / together[0], len(b) / together[1])
    trials = min(kinds)
    details: dict[str, int | float | str] = {"n_members": len(a), "n_others": len(b)}
    if trials < LEAST:
        limitation = f"no interval: {trials:,.0f} independent rows of the rarer kind"
        return Estimate(area, None, None, {**details, "limitation": limitation})
    variance = sum(_variance(x, size) for x, size in ((of_members, together[0]), (of_others, together[1])))
    if variance > 0:
        trials = min(sum(kinds), area * (1 - area) / variance)
    return Estimate(area, wilson_interval(area, trials), math.sqrt(variance), details)


def _scores(x: np.ndarray, name: str) -> np.ndarray:
    table = np.asarray(x, dtype=np.float64)
    if table.ndim != 1 or len(table) < LEAST:
        raise DataError(f"there are {len(table)} {name}, but a membership inference attack needs {LEAST}: take more")
    if not np.isfinite(table).all():
        raise DataError(f"scores of {name} are not finite: evaluate an earlier checkpoint")
    return table


def _below(x: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return for each value the share of an ordered array that is smaller, equal values counting half."""
    both = np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right")
    return np.asarray(both / (2 * len(ordered)))


def _variance(x: np.ndarray, size: int) -> float:
    """Return the variance of the mean of values of which ``size`` neighbours are as good as one."""
    runs = max(2, len(x) // size)
    label = np.arange(len(x)) * runs // len(x)
    means = np.bincount(label, x) / np.bincount(label)
    return float(means.var(ddof=1)) / runs


def _exceeding(trials: float, tail: float) -> tuple[float, float]:
    """Return shares of the trials between which the number above the true 1% score lies, but for ``tail`` each side."""
    whole = max(1, round(trials))
    counts = np.arange(whole + 1)
    below = bdtr(counts, whole, RATE)  # P(at most k)
    low = int(np.searchsorted(below, tail, "right"))  # P(fewer than this) is at most the tail
    high = int(np.searchsorted(below, 1 - tail, "left"))
    return low / whole, high / whole


def _clopper_pearson(share: float, trials: float) -> tuple[float, float]:
    """Return the interval of a probability with a quarter of the error on each side; trials need not be whole."""
    hits, tail = share * trials, (1 - LEVEL) / 4
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high
