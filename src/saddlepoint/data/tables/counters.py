"""Columns of numbers that may be the time without a word that says so: counts, days, years, clocks; asked about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.flags import columns_flag, listed
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.dates import TimeColumn, days_in_numbers
from saddlepoint.data.tables.forms import STRONG, WEAK, name_parts
from saddlepoint.data.tables.grouping import find_series
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.time_parts import DAY_NAMES, day_and_time_of_day, like_years

ROW_NAMES = {"rownames", "rowname", "row", "row_id", "rowid", "row_number", "unnamed: 0", "no", "nr", "id", "obs", "#"}
"""Names of columns that count the rows, where they do."""
MOST_TOTALS = 3
"""Rows at the end, at most, in which a column that counts may be empty."""


def without_counters(opened: Opened, kept: list[str], time: TimeColumn | None, findings: list[Finding]) -> list[str]:
    """Ask about columns that count up or are like a time, where none is the time; else say what they are.

    Args:
        opened: the file.
        kept: columns that can be learned.
        time: None without one.
        findings: what is said is added here.

    Returns:
        Those that are learned.

    Raises:
        OpenQuestion: if one may be the time.
    """
    counting = [name for name in kept if counts_up(opened.columns[name])]
    for name in counting:
        others = [other for other in kept if other != name]
        if name.lower() in ROW_NAMES and others:
            findings.append(
                Finding("columns", f"'{name}' counts the rows and is left out", "by its name",
                        columns_flag(kept), sure=False)
            )  # fmt: skip
            kept = others
        elif time is None and others:
            _ask_if_time(opened, name, others)
        else:
            says = f"'{name}' counts up by one step and is learned as a feature"
            findings.append(Finding("columns", says, "", columns_flag(others) if others else "", sure=False))
    if time is None:
        for name in kept:
            if name not in counting and opened.columns[name].kind in ("int", "float"):
                _ask_if_like_a_time(opened, name, [other for other in kept if other != name])
    return kept


def _ask_if_like_a_time(opened: Opened, name: str, others: Sequence[str]) -> None:
    """Ask about a column of numbers that is named like a time, or holds years.

    Raises:
        OpenQuestion: if it may be the time.
        DataError: if it is the only column.
    """
    column = opened.columns[name]
    if name_parts(name) <= STRONG | WEAK and name_parts(name) & STRONG:
        if not others:
            raise DataError(
                f"{opened.name}: its only column of values, '{name}', is named like a time; if it is what to "
                f"learn, say {columns_flag([name])}"
            )
        clocks = _with_days(opened, name, others)
        why = "and is a clock beside days" if clocks else "but does not go up from row to row"
        raise OpenQuestion(
            f"{opened.name}: '{name}' is named like a time, {why} ({_ends(column)}): what is it?",
            [*clocks, *_choices(opened, name, others)[1:]],
        )
    if others and like_years(column):
        alone = len(np.unique(column.numbers())) == len(column.data) or _tells_series(opened, name, others)
        raise OpenQuestion(
            f"{opened.name}: numbers of '{name}' are like years, in order ({_ends(column)}): "
            f"{'is it the time?' if alone else 'they repeat, so that they are no time alone; what is it?'}",
            _choices(opened, name, others)[0 if alone else 1 :],
        )


def _with_days(opened: Opened, name: str, others: Sequence[str]) -> list[Reading]:
    """Return the reading of a clock (840 = 8:40) together with a column of days, if there is one, and they rise."""
    for day in others:
        found = day_and_time_of_day(opened, [day, name]) if name_parts(day) & DAY_NAMES else None
        if found is None or (np.diff(found.times) <= 0).any():
            continue
        pairs = zip(*(opened.columns[n].numbers()[:2].astype(int).tolist() for n in (day, name)), strict=True)
        rows = [f"{day} {d}, {name} {t} = day {d}, {t // 100}:{t % 100:02d}" for d, t in pairs]
        title = f"'{day}' and '{name}' are the time together: day of the year and time of the day"
        return [Reading(title, {"time_column": listed([n for n in opened.columns if n in (day, name)])}, rows)]
    return []


def _tells_series(opened: Opened, name: str, others: Sequence[str]) -> bool:
    """Whether another column tells series apart in which the numbers of this one do not repeat."""
    time = TimeColumn(Stamps((name,), ("number",), ("int",)), opened.columns[name].numbers())
    try:
        return bool(find_series(opened, time, others).column)
    except OpenQuestion:
        return True
    except DataError:
        return False


def ask_if_days(opened: Opened, names: Sequence[str]) -> None:
    """Ask whether whole numbers of six digits are days (190701) or values.

    Raises:
        OpenQuestion: if they may be.
    """
    for name in names:
        others = [other for other in names if other != name]
        times = days_in_numbers(opened.columns[name]) if others else None
        if times is not None:
            value = opened.columns[name].shown().removesuffix(".0").zfill(6)
            day = f"{20 if value < '69' else 19}{value[:2]}-{value[2:4]}-{value[4:]}"
            raise OpenQuestion(
                f"{opened.name}: all numbers of '{name}' can be days, year, month and day with two digits each, and go "
                f"on by one step ({value} = {day}): is it the time?",
                _choices(opened, name, others),
            )


def counts_up(column: Column) -> bool:
    """Whether a column holds whole numbers that go up (or down) by one step; the last few cells may be empty."""
    if column.kind not in ("int", "float") or not column.whole:
        return False
    values = column.numbers()
    values = values[: len(values) - _empty_at_end(column)]
    if len(values) < 3 or np.isnan(values).any():
        return False
    steps = np.diff(values)
    return bool(steps[0] != 0 and (steps == steps[0]).all())


def _empty_at_end(column: Column) -> int:
    """Return how many of the last cells are empty, as in rows of totals: no more than `MOST_TOTALS`."""
    there = column.data.slice(max(0, len(column.data) - MOST_TOTALS)).is_valid().to_numpy()
    return int(there[::-1].argmax()) if there.any() else len(there)


def _ask_if_time(opened: Opened, name: str, others: Sequence[str]) -> None:
    """Ask whether a column that counts up is the time.

    Raises:
        OpenQuestion: always.
    """
    column = opened.columns[name]
    says, choices = f"{opened.name}: '{name}' counts up by one step ({_ends(column)})", _choices(opened, name, others)
    if not (empty := _empty_at_end(column)):
        raise OpenQuestion(f"{says}: is it the time?", choices)
    first = opened.place(len(column.data) - empty)
    what = f"{first} is empty there: remove it" if empty == 1 else f"from {first} on it is empty: remove these rows"
    raise OpenQuestion(
        f"{says}, but {what} to take '{name}' as the time (it may be one of totals); or is it none?", choices[1:]
    )


def _ends(column: Column) -> str:
    values = [value.as_py() for value in column.data.slice(0, 3)]
    return f"{', '.join(f'{value:g}' for value in values if value is not None)}, ..."


def _choices(opened: Opened, name: str, others: Sequence[str]) -> list[Reading]:
    cells = list(
        zip(
            *([value.as_py() for value in opened.columns[n].data.slice(0, 2)] for n in (name, *others[:3])), strict=True
        )
    )
    rows = [f"{name} {row[0]}: {', '.join(f'{n} {v}' for n, v in zip(others, row[1:], strict=False))}" for row in cells]
    values = [f"{name} {row[0]} is a value, like {others[0]} {row[1]}" for row in cells]
    return [
        Reading(f"'{name}' is the time", {"time_column": name}, rows),
        Reading(f"rows are in order, and '{name}' is a feature", {"time_column": "none"}, values),
        Reading(f"rows are in order, and '{name}' is left out", {"time_column": "none", "columns": listed(others)},
                [", ".join(others[:5])]),
    ]  # fmt: skip
