"""Times of a table: recognised, put in order, their usual step, and the gaps in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from saddlepoint._errors import DataError

GAP = 3
"""A step of more than this many usual ones is a gap, which no window straddles ..."""
MOST_GAPS = 0.05
"""... unless more than this share of the steps are: then the times are irregular."""

DAY = 86_400_000_000
COMPACT = "%Y%m%d"
FORMS = (
    "iso",
    "iso utc",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    COMPACT,
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%Y-%m",
)
"""Ways to write a date, in the order in which they are tried: 01/02/2020 is the second of January unless a later value
of the first block rules that out."""


def form_of(texts: Any) -> str | None:
    """Return the form that all values of an Arrow array of text have, or None; missing values do not count."""
    if texts.null_count == len(texts):
        return None
    for form in FORMS:
        try:
            read_times(texts, form)
        except ValueError:
            continue
        return form
    return None


def compact_dates(numbers: Any) -> bool:
    """Whether all values of an Arrow array of whole numbers are dates written as 20201231, of 1900 to 2099."""
    import pyarrow as pa

    values = numbers.drop_null().to_numpy()
    if not len(values) or values.min() < 19_000_101 or values.max() > 20_991_231:
        return False
    try:
        read_times(pa.array(np.unique(values).astype(str)), COMPACT)
    except ValueError:
        return False
    return True


def read_times(texts: Any, form: str) -> np.ndarray:
    """Return microseconds since 1970 (UTC) of an Arrow array of text, int64; missing ones are the smallest number.

    Raises:
        ValueError: if a value has another form.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.startswith("iso"):
        times = texts.cast(pa.timestamp("us", "UTC" if form == "iso utc" else None))
    else:
        times = pc.strptime(texts, format=form, unit="us")
    filled = times.cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
    result: np.ndarray = filled.to_numpy(zero_copy_only=False)
    return result


def usual_step(before: np.ndarray, after: np.ndarray, dates: bool) -> tuple[float, str, Callable[..., np.ndarray]]:
    """Return the usual step, its unit, and a function (times before, times after) -> distances in that unit.

    Days without a single Saturday or Sunday count as working days, and the same day of each month (or its last) as
    months: a weekend or a February is no gap.

    Args:
        before, after: times of neighbours in their series; the second ones are later.
        dates: whether they are microseconds of dates.
    """
    median = float(np.median(after - before))
    if not dates:
        return median, "number", lambda a, b: b - a
    ends_series = np.append(before[1:] != after[:-1], True)
    times = np.concatenate([before, after[ends_series]])
    if median >= DAY and median % DAY == 0:
        days = times.astype("datetime64[us]").astype("datetime64[D]")
        weekdays = (days.astype(np.int64) + 3) % 7
        if median < 5 * DAY and len(times) > 10 and weekdays.max() < 5:
            count = _working_days
            return max(1.0, float(np.median(count(before, after)))), "working days", count
        months = days.astype("datetime64[M]")
        of_month = (days - months.astype("datetime64[D]")).astype(int)
        ends = (days + 1).astype("datetime64[M]") > months
        if median >= 28 * DAY and (len(np.unique(of_month)) == 1 or ends.all()):
            unit = "months" if len(np.unique(of_month)) == 1 else "month ends"
            return max(1.0, float(round(median / (30.44 * DAY)))), unit, _months
    return median, "time", lambda a, b: b - a


def _days(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[us]").astype("datetime64[D]")


def _working_days(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.busday_count(_days(a), _days(b)).astype(np.float64)


def _months(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (_days(b).astype("datetime64[M]") - _days(a).astype("datetime64[M]")).astype(np.float64)


def step_in_words(step: float, unit: str) -> str:
    """Return a step as a person says it.

    >>> step_in_words(3_600_000_000, "time"), step_in_words(3, "month ends")
    ('1 hour', '3 months, at their ends')
    """
    if unit == "number":
        return f"{step:g}"
    if unit != "time":
        word, end = ("months", ", at their ends") if unit == "month ends" else (unit, "")
        return (f"{step:g} {word}" if step != 1 else f"1 {word.removesuffix('s')}") + end
    for size, word in ((DAY, "day"), (DAY // 24, "hour"), (DAY // 1440, "minute"), (1_000_000, "second")):
        if step >= size:
            return f"{step / size:g} {word}{'s' if step != size else ''}"
    return f"{step / 1000:g} ms"


def refuse_repeats(name: str, column: str, repeats: int, rows: int) -> None:
    """Raise if so many times repeat within a series that it must be several.

    Raises:
        DataError: if more than 1 % do.
    """
    if repeats > 0.01 * rows:
        raise DataError(
            f"{name}: {repeats:,} of {rows:,} rows repeat a time of '{column}' in their series: if it holds several "
            "series, name the column that tells them apart with --group-column; else remove the repeats"
        )
