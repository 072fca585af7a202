"""Which column is the time: by what the columns hold, by their names, or as asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_shell, shortened
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.dates import TimeColumn, complete, dated, is_time, may_be_date
from saddlepoint.data.tables.forms import STRONG, name_parts, says_time
from saddlepoint.data.tables.numbers import decimals_of
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.pace import steadiness
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.time import examples, read_unix, time_of_day_form
from saddlepoint.data.tables.time_parts import by_parts, joined, repeats, time_of_day_values, with_time_of_day


def asked_time(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn:
    """Return the time that the user named.

    Raises:
        DataError: if the columns hold no times.
    """
    if len(names) == 1:
        column = opened.columns[names[0]]
        found = dated(opened, column, options) or _counted(opened, column, asked=True)
        if found is None:
            raise DataError(
                f"{opened.name}: dates of column '{column.name}' are not recognised ('{column.shown()}'); write them "
                "as "
                "2020-12-31 or 2020-12-31 23:59:59, or say their form: --dates '%d.%m.%Y'"
            )
        return found
    found = joined(opened, names, options)
    if found is None:
        raise DataError(
            f"{opened.name}: columns {shortened(list(names))} make no time together; name a date and a time of the "
            "day, or "
            "year and month, year and quarter, year, month, day and hour"
        )
    return found


def find_time(opened: Opened, options: Options, free: Sequence[str]) -> TimeColumn | None:
    """Return the time that the columns hold, or None.

    Args:
        opened: the file.
        options: ``dates``, ``columns``.
        free: columns that may be it.

    Raises:
        OpenQuestion: if dates fit two orders of day and month.
    """
    dates = [name for name in free if may_be_date(opened.columns[name], options)]
    for name in sorted(dates, key=lambda n: opened.columns[n].data.null_count > 0):
        if (with_time := with_time_of_day(opened, name, free, options)) is not None:
            return with_time
        found = dated(opened, opened.columns[name], options)
        if found is None:
            continue
        rest = [other for other in dates if other != name]
        if rest and not is_rising(found.times) and not any(opened.columns[other].data.null_count for other in rest):
            _ask_which(opened, found, rest, options)
        better = _rising(opened, rest, options) if not is_rising(found.times) else None
        if better is not None:
            found, rest = better, [other for other in dates if other not in better.stamps.columns]
        if rest and options.columns is None:
            found.findings.append(Finding("columns", f"further columns of dates are left out: {shortened(rest)}"))
        found.beside = (*rest, *repeats(opened, found, free))
        return found
    return by_parts(opened, free, options) or _by_numbers(opened, free)


def _ask_which(opened: Opened, found: TimeColumn, rest: Sequence[str], options: Options) -> None:
    """Ask which of several columns of dates is the time, where the times of none rise.

    Raises:
        OpenQuestion: with the first dates of each.
    """
    if _rising(opened, rest, options) is not None:
        return
    names = [found.stamps.columns[0], *rest]
    readings = [
        Reading(f"'{name}' is the time, the others are left out", {"time_column": name},
                [", ".join(str(value.as_py()) for value in opened.columns[name].data.slice(0, 3))])
        for name in names
    ]  # fmt: skip
    raise OpenQuestion(
        f"{opened.name} has {len(names)} columns of dates ({shortened(names)}): which is the time?", readings
    )


def is_rising(times: np.ndarray) -> bool:
    """Whether each of the times (rows,) is later than the one before."""
    return len(times) < 2 or bool((np.diff(times) > 0).all())


def _rising(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn | None:
    """Return the first of further columns of dates whose times rise, where those of the first do not."""
    for name in names:
        found = None if opened.columns[name].data.null_count else dated(opened, opened.columns[name], options)
        if found is not None and is_rising(found.times):
            return found
    return None


def _by_numbers(opened: Opened, free: Sequence[str]) -> TimeColumn | None:
    """Return a column of numbers that is likely the time: Unix times, years, counts; None without one."""
    numeric = [n for n in free if opened.columns[n].kind in ("int", "float")]
    for name in sorted(numeric, key=lambda n: not says_time(n)):
        found = _counted(opened, opened.columns[name], asked=False)
        if found is not None:
            return found
    return None


def _counted(opened: Opened, column: Column, *, asked: bool) -> TimeColumn | None:
    """Return a column of numbers as the time: as asked, or if it is likely to be it."""
    if column.kind not in ("int", "float"):
        return _elapsed(opened, column) if asked else None
    if not asked and (column.data.null_count or not np.isfinite(column.numbers()).all()):
        return None
    named = says_time(column.name)
    exact = column.data.cast("int64").fill_null(0).to_numpy() if column.kind == "int" else column.numbers()
    unix = None if column.data.null_count else read_unix(exact)
    rising = bool((np.diff(exact) >= 0).all()) and exact[-1:] > exact[:1]
    if unix is not None and (asked or named or (column.kind == "int" and rising)):
        stamps = Stamps((column.name,), (unix[0],), (column.kind,))
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[unix[0][5:]]
        first = Stamps((column.name,), ("%Y-%m-%d %H:%M:%S",), ("text",)).write(unix[1][:1])[column.name][0]
        why = f"Unix {unit}: the first is {first} UTC"
        sure = named or asked
        return TimeColumn(stamps, unix[1], [is_time(stamps, why, "" if sure else "--time-column none", sure=sure)])
    values = column.numbers()
    stamps = Stamps(
        (column.name,), ("number",), ("int" if column.kind == "int" else "float",), decimals=decimals_of(values)
    )
    if asked:
        return complete(opened, column, TimeColumn(stamps, values, [is_time(stamps, "as asked")]))
    index = column.name in (*opened.nameless, *opened.index)
    if not (named or index) or len(values) < 3:
        return None
    up = values if values[-1] > values[0] else values[::-1]
    steps = np.diff(values)
    strong = bool(name_parts(column.name) & STRONG) or column.name.lower() in ("t", "ts", "elapsed")
    if steadiness(up, dates=False) >= 0.9 or (strong and bool((np.diff(up) > 0).all())):
        why = "it goes up by steps, as an index of times does" if index else "by its name, and it goes up by steps"
        says = is_time(stamps, why, "--time-column none", sure=False)
        return TimeColumn(stamps, values, [says])
    if named and (steps <= 0).any() and _restarts(values):
        says = is_time(stamps, "by its name, and it starts again in each series", "--time-column none", sure=False)
        return TimeColumn(stamps, values, [says], tentative=True)
    return None


def _restarts(values: np.ndarray) -> bool:
    """Whether numbers rise by steps and start again, or repeat in runs: as times of several series do."""
    unique = np.unique(values)
    if not 3 <= len(unique) <= len(values) / 2 + 1:
        return False
    return steadiness(unique, dates=False) >= 0.9 or bool((np.diff(values) < 0).mean() < 0.4)


def _elapsed(opened: Opened, column: Column) -> TimeColumn | None:
    """Return times of the day without a date as times since midnight, where they rise."""
    form = time_of_day_form(examples(column.data)) if column.kind == "text" else ""
    if not form:
        return None
    times = time_of_day_values(opened, column, form)
    if not is_rising(times):
        raise DataError(lone_time_of_day(opened, column))
    return TimeColumn(
        Stamps((column.name,), (form,), ("text",)), times, [Finding("time", f"'{column.name}' is the time", "as asked")]
    )


def lone_time_of_day(opened: Opened, column: Column) -> str:
    """Return what to say of a column of times of the day that has no column of dates beside it; "" if it is none."""
    form = time_of_day_form(examples(column.data)) if column.kind == "text" else ""
    if not form:
        return ""
    if is_rising(time_of_day_values(opened, column, form)):
        more, remedy = "", f"if they are of one day, say {for_shell('--time-column', column.name)}"
    else:
        more = " that run back"
        remedy = f"add a column with the date and name both (--time-column DATE,{column.name})"
    return (
        f"{opened.name}: column '{column.name}' holds times of the day{more}, without a date ('{column.shown()}'): "
        f"{remedy}; if rows are in order as they stand, say --time-column none"
    )
