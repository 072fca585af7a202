"""The pace of times: their usual step, in words, and whether they keep it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GAP = 3
"""A step of more than this many usual ones is a gap, which no window straddles."""

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def usual_step(before: np.ndarray, after: np.ndarray, dates: bool) -> tuple[float, str, Callable[..., np.ndarray]]:
    """Return the usual step, its unit, and a function (times before, times after) -> distances in that unit.

    Days without a single Saturday or Sunday count as working days; the same day of each month, its last, or its last
    working day, as months: a weekend or a February is no gap.

    Args:
        before, after: times of neighbours in their series; the second ones are later.
        dates: whether they are nanoseconds since 1970.
    """
    median = float(np.median(after - before))
    if not dates:
        return median, "number", lambda a, b: b - a
    ends_series = np.append(before[1:] != after[:-1], True)
    times = np.concatenate([before, after[ends_series]])
    if median >= DAY and bool((times % DAY == times[0] % DAY).all()):
        days = _days(times)
        weekdays = (days.astype(np.int64) + 3) % 7
        if median < 5 * DAY and len(times) > 10 and weekdays.max() < 5:
            count = _working_days
            return max(1.0, float(np.median(count(before, after)))), "working days", count
        months = days.astype("datetime64[M]")
        of_month = (days - months.astype("datetime64[D]")).astype(int)
        ends = last_days(months)
        kinds = (
            ("months", len(np.unique(of_month)) == 1),
            ("month ends", bool((days == ends).all())),
            ("working month ends", bool((days == np.busday_offset(ends, 0, roll="backward")).all())),
        )
        unit = next((unit for unit, holds in kinds if holds), "")
        if median >= 28 * DAY and unit:
            return max(1.0, float(round(median / (30.44 * DAY)))), unit, _months
    return median, "time", lambda a, b: (b - a).astype(np.float64)


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[ns]").astype("datetime64[D]")


def _working_days(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.busday_count(_days(a), _days(b)).astype(np.float64)


def last_days(months: np.ndarray) -> np.ndarray:
    """Return the last day of each month, datetime64[D].

    Args:
        months: datetime64[M].
    """
    # With units: NumPy 2.5 warns of bare integers beside times, and will refuse them.
    found: np.ndarray = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    return found


def _months(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (_days(b).astype("datetime64[M]") - _days(a).astype("datetime64[M]")).astype(np.float64)


def steadiness(times: np.ndarray, dates: bool) -> float:
    """Return the share of the steps that are one usual step, from 0 to 1; 0 where times run back.

    Args:
        times: of one series, in its order.
        dates: whether they are nanoseconds since 1970.

    Example:
        >>> steadiness(np.array([1.0, 2.0, 3.0, 4.0]), dates=False)
        1.0
    """
    if len(times) < 3 or (np.diff(times) <= 0).any():
        return 0.0
    step, _, distance = usual_step(times[:-1], times[1:], dates)
    steps = np.asarray(distance(times[:-1], times[1:]), dtype=np.float64)
    return float((np.abs(steps - step) <= 1e-6 * step).mean())


def length_text(length: float, *, dates: bool) -> str:
    """Return how long a gap is, rounded as a person says it.

    Args:
        length: nanoseconds, or a number.
        dates: whether it is nanoseconds.

    >>> length_text(6570.8 * DAY, dates=True), length_text(31.2 * DAY, dates=True)
    ('18 years', '31 days')
    >>> length_text(1.5 * DAY, dates=True), length_text(4, dates=False)
    ('36 hours', '4')
    """
    if not dates:
        return f"{length:g}"
    sizes = ((365.25 * DAY, "years"), (DAY, "days"), (DAY / 24, "hours"), (DAY / 1440, "minutes"), (SECOND, "seconds"))
    size, word = next((pair for pair in sizes if length >= 2 * pair[0]), (SECOND, "seconds"))
    return f"{length / size:,.0f} {word}" if length >= 2 * SECOND else f"{length / SECOND:.3g} seconds"


def step_text(step: float, unit: str) -> str:
    """Return a step as a person says it.

    >>> step_text(3_600 * SECOND, "time"), step_text(3, "month ends")
    ('1 hour', '3 months, at their ends')
    """
    if unit == "number":
        return f"{step:g}"
    if unit != "time":
        word, end = unit, ""
        if unit.endswith("ends"):
            word, end = "months", ", at their last working days" if unit.startswith("working") else ", at their ends"
        return (f"{step:g} {word}" if step != 1 else f"1 {word.removesuffix('s')}") + end
    for size, word in ((DAY, "day"), (DAY // 24, "hour"), (DAY // 1440, "minute"), (SECOND, "second")):
        if step >= size:
            return f"{step / size:g} {word}{'s' if step != size else ''}"
    small = next((unit for unit in ((10**6, "ms"), (10**3, "microseconds")) if step >= unit[0]), (1, "ns"))
    return f"{step / small[0]:g} {small[1]}"
