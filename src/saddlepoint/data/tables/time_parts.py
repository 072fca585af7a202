"""Times in several columns: a date and a time of day, or year, month, day, hour as whole numbers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.flags import listed
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.dates import TimeColumn, dated, may_be_date
from saddlepoint.data.tables.forms import name_parts
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.pace import steadiness
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.time import (
    NOT,
    Unread,
    candidates,
    examples,
    from_parts,
    read_time_of_day,
    time_of_day_form,
)

PARTS = {
    "%Y": ({"year", "yr", "years", "jahr", "yyyy"}, (1000, 2500)), "%q": ({"quarter", "qtr", "q"}, (1, 4)),
    "%m": ({"month", "mon", "mo", "monat", "mnth", "mm"}, (1, 12)),
    "%d": ({"day", "dom", "mday", "tag", "dd"}, (1, 31)),
    "%H": ({"hour", "hr", "hours", "hh", "stunde"}, (0, 24)), "%M": ({"minute", "min", "minutes"}, (0, 59)),
    "%S": ({"second", "sec", "seconds"}, (0, 59)),
}  # fmt: skip

_HOUR_NAMES = {"time", "clock", "hour", "hr", "uhrzeit", "zeit", "h"}


def with_time_of_day(opened: Opened, name: str, free: Sequence[str], options: Options) -> TimeColumn | None:
    """Return date and time of the day from two columns, where a date alone repeats."""
    column = opened.columns[name]
    if column.kind == "time" and column.form != "timestamp:D" and not column.form.startswith("timestamp"):
        return None
    times_of_day = [
        other for other in free
        if other != name and name_parts(other) & _HOUR_NAMES and _time_of_day_form(opened.columns[other])
    ]  # fmt: skip
    if not times_of_day or _holds_time_of_day(column):
        return None
    found = joined(opened, [name, times_of_day[0]], options)
    if found is None or len(np.unique(found.times)) <= len(np.unique(found.times // (86_400 * 10**9))):
        return None
    found.beside = repeats(opened, found, free)
    return found


def _holds_time_of_day(column: Column) -> bool:
    if column.kind == "time":
        values = column.data.drop_null().slice(0, 10_000).cast("int64").to_numpy()
        return bool((values % (86_400 * 10**9)).any())
    forms = candidates(examples(column.data)) if column.kind == "text" else []
    return any(re.search(r"%-?[HI]", form) for form in forms)


def _time_of_day_form(column: Column) -> str:
    """Return the form of a column of times of the day, ``%H`` for whole hours; "" if it is none."""
    if column.kind == "text":
        return time_of_day_form(examples(column.data))
    if column.texts is not None and column.kind == "int":
        cells = examples(column.texts)
        if all(re.fullmatch(r"([01]\d|2[0-3])[0-5]\d", cell) for cell in cells):
            return "%H%M"
        if all(re.fullmatch(r"[01]\d|2[0-3]", cell) for cell in cells):
            return "%H"
    if column.kind in ("int", "float") and column.data.null_count == 0 and column.whole:
        values = column.numbers()
        if values.min() >= 0 and values.max() <= 24 and len(np.unique(values)) > 4:
            return "%-H"
    return ""


def joined(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn | None:
    """Return one time from several columns: a date with a time of day, or whole numbers of year, month, ..."""
    columns = [opened.columns[name] for name in opened.columns if name in names]
    dates = [column for column in columns if may_be_date(column, options)]
    if len(dates) == 1 and len(columns) == 2:
        time_of_day = next(column for column in columns if column is not dates[0])
        form, date = _time_of_day_form(time_of_day), dated(opened, dates[0], options)
        if not form or date is None:
            return None
        times = date.times + time_of_day_values(opened, time_of_day, form)
        pair = {dates[0].name: (date.stamps.forms[0], date.stamps.kinds[0]),
                time_of_day.name: (form, "text" if time_of_day.texts is not None else time_of_day.kind)}  # fmt: skip
        stamps = Stamps(tuple(c.name for c in columns), tuple(pair[c.name][0] for c in columns),
                        tuple(pair[c.name][1] for c in columns), date.stamps.zone)  # fmt: skip
        said = date.findings[0]
        why = f"a date and a time of the day{f'; {said.why}' if said.why else ''}"
        return TimeColumn(
            stamps, times, [Finding("time", f"'{stamps.name}' are the time together", why, said.option, said.sure)]
        )
    within = options.group_column not in (None, "none")
    return day_and_time_of_day(opened, names, within=within) or _of_parts(opened, [c.name for c in columns], options)


DAY_NAMES = {"day", "days", "doy", "yday", "jday", "julian", "tag"}


def day_and_time_of_day(opened: Opened, names: Sequence[str], *, within: bool = False) -> TimeColumn | None:
    """Return one time from a day of the year (346) and a clock of whole numbers (840 = 8:40); None if they are none.

    Args:
        opened: the file.
        names: of two columns, the day's being named so.
        within: whether days may begin again, in further series.
    """
    columns = [opened.columns[name] for name in opened.columns if name in names]
    days = [column for column in columns if name_parts(column.name) & DAY_NAMES]
    if len(columns) != 2 or len(days) != 1:
        return None
    if any(c.kind not in ("int", "float") or c.data.null_count or not c.whole for c in columns):
        return None
    day = days[0].numbers().astype(np.int64)
    time_of_day = next(c for c in columns if c is not days[0]).numbers().astype(np.int64)
    if day.min() < 1 or day.max() > 366 or (not within and (np.diff(day) < 0).any()):
        return None
    if time_of_day.min() < 0 or not 100 <= time_of_day.max() <= 2359 or (time_of_day % 100).max() > 59:
        return None
    year = 1972 if day.max() == 366 else 1970
    minutes = (day - 1) * 1440 + time_of_day // 100 * 60 + time_of_day % 100
    times = np.datetime64(f"{year}-01-01", "ns").astype(np.int64) + minutes * (60 * 10**9)
    padded = [c is not days[0] and c.texts is not None and {len(t) for t in examples(c.texts)} == {4} for c in columns]
    forms = tuple(
        "%-j" if c is days[0] else "%H%M" if text else "%-H%M" for c, text in zip(columns, padded, strict=True)
    )
    kinds = tuple("text" if text else c.kind for c, text in zip(columns, padded, strict=True))
    stamps = Stamps(tuple(c.name for c in columns), forms, kinds, year=year)
    why = f"day of the year and time of the day; no column holds the year: {year} stands for it"
    says = Finding("time", f"'{stamps.name}' are the time together", why, "--time-column none", sure=False)
    return TimeColumn(stamps, times, [says])


def time_of_day_values(opened: Opened, column: Column, form: str) -> np.ndarray:
    """Return the times of day of a column, (rows,) int64, in nanoseconds since midnight.

    Args:
        opened: the table, for messages.
        column: of texts or numbers.
        form: of the times, as ``%H:%M``.

    Raises:
        DataError: naming the line of the first that has another form, or none.
    """
    hour = 3600 * 10**9
    if column.kind in ("int", "float") and form in ("%H", "%-H"):
        return column.numbers().astype(np.int64) * hour
    try:
        if form == "%H%M":
            values = column.numbers().astype(np.int64)
            return (values // 100) * hour + (values % 100) * (hour // 60)
        times = read_time_of_day(column.data, form)
    except Unread as error:
        raise DataError(
            f"{opened.name}: {opened.place(error.row)}, column '{column.name}' holds '{error.text.partition(' ')[2]}', "
            "which is no time of the day like the first ones; mend that line"
        ) from error
    if (times == NOT).any():
        raise DataError(
            f"{opened.name}: {opened.place(int((times == NOT).argmax()))} has no time in column '{column.name}'; fill "
            "or "
            "remove that line"
        )
    return times


def _parts(opened: Opened, names: Sequence[str]) -> dict[str, str]:
    """Return columns that hold parts of a date, by directive: by their names and whole numbers, or as Q01, M01."""
    found: dict[str, str] = {}
    for name in names:
        column = opened.columns[name]
        if column.kind == "text" and (form := _period_of(column)) and form[-2:] not in found:
            found[form[-2:]] = name
        if column.kind not in ("int", "float") or column.data.null_count or not column.whole:
            continue
        for directive, (words, (low, high)) in PARTS.items():
            if name.lower() in words and directive not in found:
                values = column.numbers()
                if low <= values.min() and values.max() <= high:
                    found[directive] = name
    texts = [name for name in found.values() if opened.columns[name].kind == "text"]
    if texts and "%Y" not in found:
        years = [name for name in names if name not in found.values() and like_years(opened.columns[name])]
        found |= {"%Y": years[0]} if len(years) == 1 else {}
    return {d: name for d, name in found.items() if "%Y" in found or name not in texts}


def _period_of(column: Column) -> str:
    """Return the form of texts that are all like Q1, Q01 or M01: quarters or months of a year; "" if they are none."""
    texts = column.data.unique().to_pylist()
    if len(texts) > 12 or None in texts:
        return ""
    for pattern, form in (("[Qq]0?", "%q"), ("[Mm]", "%m")):
        cells = [re.fullmatch(f"({pattern})({'[1-4]' if form == '%q' else r'0[1-9]|1[0-2]'})", text) for text in texts]
        if all(cells) and len(marks := {cell[1] for cell in cells if cell}) == 1:
            return f"{marks.pop()}{form}"
    return ""


def _part(column: Column) -> np.ndarray:
    """Return the whole numbers of a part of a date, (rows,) float64, of texts such as Q01 as well."""
    if column.kind != "text":
        return column.numbers()
    return np.array([float(text[1:]) for text in column.data.to_pylist()])


LEAST_YEARS = 5


def like_years(column: Column) -> bool:
    """Whether a column holds whole numbers from 1900 to 2100, in order, that leave out few of the years between."""
    if column.kind not in ("int", "float") or column.data.null_count or not column.whole or not len(column.data):
        return False
    values = column.numbers()
    if values.min() < 1900 or values.max() > 2100:
        return False
    steps, there = np.diff(values), len(np.unique(values))
    in_order = bool((steps >= 0).all() or (steps <= 0).all())
    return in_order and there >= LEAST_YEARS and there >= 0.9 * (values.max() - values.min() + 1)


HALF_YEAR = 180
_SETS = (("%Y", "%m", "%d"), ("%Y", "%m"), ("%Y", "%q"), ("%m", "%d"))


def _of_parts(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn | None:
    parts = _parts(opened, names)
    if len(parts) != len(names) or not any(set(whole) <= set(parts) for whole in _SETS):
        return None
    values = {directive: _part(opened.columns[name]) for directive, name in parts.items()}
    try:
        times, year = _placed(opened, parts, values, options)
    except (ValueError, OverflowError):
        return None
    order = sorted(parts, key=lambda directive: list(opened.columns).index(parts[directive]))
    columns = tuple(parts[directive] for directive in order)
    padded = [_is_padded(opened.columns[name]) for name in columns]
    kinds = tuple("text" if p else opened.columns[name].kind for p, name in zip(padded, columns, strict=True))
    short = {"%m": "%-m", "%d": "%-d", "%H": "%-H"}
    forms = tuple(d if p else short.get(d, d) for p, d in zip(padded, order, strict=True))
    texts = {name: _period_of(opened.columns[name]) for name in columns if opened.columns[name].kind == "text"}
    forms = tuple(texts.get(name, form) for name, form in zip(columns, forms, strict=True))
    kinds = tuple("text" if name in texts else kind for name, kind in zip(columns, kinds, strict=True))
    stamps = Stamps(columns, forms, kinds, year=year)
    why = "by their names and what they hold" + (f"; no column holds the year: {year} stands for it" if year else "")
    says = Finding("time", f"'{stamps.name}' are the time together", why, "--time-column none", sure=False)
    return TimeColumn(stamps, times, [says])


def _placed(
    opened: Opened, parts: Mapping[str, str], values: Mapping[str, np.ndarray], options: Options
) -> tuple[np.ndarray, int]:
    """Return the times of parts, and the first year that stands for years which are in no column; 0 if they are.

    Raises:
        OpenQuestion: if months begin again without a year, and the user has not said what that means.
        ValueError: if a day does not exist.
    """
    if "%Y" in parts:
        return from_parts(values), 0
    place = 31 * values["%m"] + values["%d"]
    later = np.r_[0, (np.diff(place) < -HALF_YEAR).cumsum()]
    if not later[-1] or options.group_column not in (None, "none"):
        leap = bool(((values["%m"] == 2) & (values["%d"] == 29)).any())
        return from_parts(values, 1972 if leap else 1970), 1972 if leap else 1970
    if options.time_column is None:
        _ask_about_years(opened, parts)
    found: dict[int, np.ndarray] = {}
    for year in range(1970, 1974):  # one of them has its leap years where the data has them
        with contextlib.suppress(ValueError):
            found[year] = from_parts(values, year + later)
    if not found:
        raise ValueError
    best = max(found, key=lambda year: steadiness(found[year], dates=True))
    return found[best], best


def _is_padded(column: Column) -> bool:
    """Whether whole numbers stand with a leading zero where they have one digit."""
    return column.texts is not None and all(len(cell) == 2 for cell in examples(column.texts))


def _ask_about_years(opened: Opened, parts: Mapping[str, str]) -> None:
    """Ask about months and days that begin again, with no column for the year.

    Raises:
        OpenQuestion: with both readings.
    """
    names = [name for name in opened.columns if name in parts.values()]
    rest = [n for n, c in opened.columns.items() if c.kind in ("int", "float") and n not in names]
    rest = [name for name in rest if name not in opened.nameless and name not in opened.index]
    if not rest:
        return
    readings = [
        Reading("each beginning is that of a new year of one series",
                {"time_column": listed(names), "group_column": "none"}),
        Reading("rows are in order, without a time", {"time_column": "none", "columns": listed(rest)}),
    ]  # fmt: skip
    raise OpenQuestion(
        f"{opened.name}: '{' + '.join(names)}' begin again, and no column holds the year: what are they? (Where a "
        "column tells series apart, name it with --group-column.)",
        readings,
    )


def by_parts(opened: Opened, free: Sequence[str], options: Options) -> TimeColumn | None:
    """Return the time that columns hold in parts (year, month, day, ...); None: none of three values or more.

    Args:
        opened: the table.
        free: columns that have no other role.
        options: as asked for.
    """
    parts = _parts(opened, free)
    for whole in _SETS:
        if not set(whole) <= set(parts):
            continue
        chosen = list(whole)
        for directive in ("%H", "%M", "%S"):
            if directive not in parts or "%d" not in whole:
                break
            chosen.append(directive)
        found = _of_parts(opened, [parts[directive] for directive in chosen], options)
        if found is not None and len(np.unique(found.times)) > 2:
            return found
    return None


def repeats(opened: Opened, found: TimeColumn, free: Sequence[str]) -> tuple[str, ...]:
    """Return columns that repeat parts of the time (year, month, ...), and say that they are left out."""
    parts = _parts(opened, [name for name in free if name not in found.stamps.columns])
    if len(parts) < 2 or not found.stamps.dates:
        return ()
    import pandas as pd

    index = pd.DatetimeIndex(found.times.astype("datetime64[ns]"))
    own = {"%Y": index.year, "%q": index.quarter, "%m": index.month, "%d": index.day, "%H": index.hour,
           "%M": index.minute, "%S": index.second}  # fmt: skip
    same = {d: np.asarray(own[d]) == _part(opened.columns[n]) for d, n in parts.items()}
    repeated = [parts[d] for d, equal in same.items() if equal.mean() > (0.6 if d != "%H" else 0.99)]
    if {"%Y", "%m", "%d"} <= set(parts) and len(repeated) >= 3 and "%H" in parts:
        repeated = [*dict.fromkeys([*repeated, parts["%H"]])]
    if repeated:
        found.findings.append(
            Finding("columns", f"left out, for they repeat the time: {shortened(repeated)}",
                    "by their names and values", "--columns NAMES", sure=False)
        )  # fmt: skip
    return tuple(repeated)
