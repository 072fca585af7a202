"""Columns of dates: recognised, and read in the one order of day, month and year that fits all their cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.forms import MONTHS, loosely, name_parts, pattern_of
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.pace import steadiness
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.time import NOT, Read, Unread, candidates, examples, read_form

ORDERS = {"day-first": "d", "month-first": "m", "year-first": "y"}
REGULAR = 0.98
"""A reading of dates is regular if this share of its steps is the usual one."""
LEAST_DAYS = 5
"""Numbers of six digits without a telling name are days if they are so many at least ..."""
MOSTLY = 0.9
"""... and this share of their steps is the usual one."""
_MONTH_AND_TWO = re.compile(r"%[\^_]?[bB][^%A-Za-z]*%y")
"""A form that may be that of a month and a day, too."""
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass
class TimeColumn:
    """The time of a table.

    Attributes:
        stamps: how it is written; its columns are those that are no features.
        times: (rows,) int64 nanoseconds or float64 numbers.
        findings: how it was found.
        beside: columns that repeat it, and are left out.
        tentative: whether it counts only if something tells series apart within which it is unique.
    """

    stamps: Stamps
    times: np.ndarray
    findings: list[Finding] = field(default_factory=list)
    beside: tuple[str, ...] = ()
    tentative: bool = False


def may_be_date(column: Column, options: Options) -> bool:
    """Whether a column holds times, texts in a form of dates, or numbers that are written like dates."""
    if column.kind == "time":
        return True
    if column.kind == "text" and column.texts is not None:
        return bool(_forms(column.data, options))
    return column.kind in ("int", "float") and bool(_asked_form(column, options) or _compact(column))


def _compact(column: Column) -> str:
    """Return the form of whole numbers that are dates such as 20201231, or of 01122020 in text; "" if they are none."""
    cells = examples(column.texts) if column.texts is not None else []
    if cells and all(len(cell) == 8 and cell.isdigit() for cell in cells) and any(cell[0] == "0" for cell in cells):
        return "text"
    if not column.whole:
        return ""
    values = column.numbers()
    values = values[~np.isnan(values)]
    if not len(values) or values.min() < 10_000 or values.max() > 20_991_231_235_959:
        return ""
    if values.max() < 10**6:
        named = bool(name_parts(column.name) & {"date", "dates", "datum"})
        few = [f"{int(value):06d}" for value in values[:: max(1, len(values) // 400)]]
        return "%y%m%d" if named and len(set(few)) > 2 and _fits(few, "%y%m%d") else ""
    form = _COMPACT.get(len(str(int(values[0]))), "")
    if not form or len(str(int(values.min()))) != len(str(int(values.max()))):
        return ""
    few = [str(int(value)) for value in values[:: max(1, len(values) // 400)]]
    if len(set(few)) < 2 or not all("1900" <= text[:4] <= "2099" for text in few):
        return ""
    return form if _fits(few, form) else ""


def days_in_numbers(column: Column) -> np.ndarray | None:
    """Return the times of whole numbers of six digits that are days (190701 = 2019-07-01) by their values alone.

    None if one is no date, or if the days, each once, do not go up by one usual step.
    """
    if column.kind not in ("int", "float") or column.data.null_count or not column.whole:
        return None
    values = np.unique(column.numbers())
    if len(values) < LEAST_DAYS or values[0] < 10_000 or values[-1] >= 10**6:
        return None
    import pyarrow as pa

    try:
        times = read_form(pa.array([f"{int(value):06d}" for value in values]), "%y%m%d").times
    except Unread:
        return None
    return times if steadiness(np.sort(times), dates=True) >= MOSTLY else None


def _asked_form(column: Column, options: Options) -> str:
    """Return the form of numbers that the user named as the time: as asked, or days by their values; else ""."""
    if column.kind not in ("int", "float") or column.name not in (options.time_column or ()) or not column.whole:
        return ""
    form = options.dates or ""
    if _width(form) and (options.time_column == (column.name,) or _fits(_padded(column, form).to_pylist(), form)):
        return form
    return "%y%m%d" if days_in_numbers(column) is not None else ""


def _width(form: str) -> int:
    """Return the digits of a form without marks between its parts, such as ``%d%m%Y``; 0 if it is none."""
    return 0 if not re.fullmatch(r"(?:%[YymdHMS])+", form) else len(form) + 2 * form.count("Y")


def _padded(column: Column, form: str) -> Any:
    """Return whole numbers as texts, an Arrow array, with the zeros in front that numbers lose."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.utf8_lpad(column.data.cast(pa.int64()).cast(pa.string()), _width(form), "0")


def _fits(texts: Sequence[str], form: str) -> bool:
    import pyarrow as pa

    return _reads(pa.array(texts), form)


def dated(opened: Opened, column: Column, options: Options) -> TimeColumn | None:
    """Return a column of dates as times; None if it holds none.

    Raises:
        OpenQuestion: if two orders of day and month fit, and neither is the only regular one.
        DataError: if a cell has another form, or none.
    """
    import pyarrow as pa

    if column.kind == "time":
        times = column.data.cast(pa.int64()).fill_null(NOT).to_numpy().copy()
        stamps = Stamps((column.name,), (column.form,), ("text",), column.zone)
        return complete(opened, column, TimeColumn(stamps, times, [is_time(stamps, "its cells are typed as times")]))
    form = "" if column.kind == "text" else _asked_form(column, options) or _compact(column)
    if column.kind in ("int", "float") and form not in ("", "text"):
        found = _settled(opened, column.name, _padded(column, form), [form], options)
        stamps = Stamps((column.name,), (found[0].form,), ("int" if column.kind == "int" else "float",))
        return complete(opened, column, TimeColumn(stamps, found[0].times, [is_time(stamps, "dates as numbers")]))
    texts = column.texts if form == "text" else column.data
    if texts is None or (column.kind != "text" and form != "text"):
        return None
    forms = _forms(texts, options)
    if not forms:
        return None
    if options.dates is None and _MONTH_AND_TWO.fullmatch(forms[0]):
        _ask_if_days(opened, column.name, texts, forms[0])
    read, finding = _settled(opened, column.name, texts, forms, options)
    stamps = Stamps((column.name,), (read.form,), ("text",), read.zone)
    findings = [finding, *(Finding("time", f"'{column.name}': {text}") for text in read.says)]
    return complete(opened, column, TimeColumn(stamps, read.times, findings))


def _ask_if_days(opened: Opened, name: str, texts: Any, form: str) -> None:
    """Ask whether ``Jan 01`` is January 2001 or the first of January, where days run back less often than years.

    Raises:
        OpenQuestion: if so.
    """
    cells = [re.fullmatch(r"([A-Za-z]+)[^A-Za-z0-9]*(\d\d)", text or "") for text in texts.to_pylist()]
    parts = np.array([(MONTHS.get(cell[1].lower(), 0), int(cell[2])) for cell in cells if cell], np.int64)
    if not len(parts) or parts[:, 1].min() < 1 or parts[:, 1].max() > 31:
        return
    as_days, as_years = parts @ [32, 1], parts @ [1, 12]
    if min(_runs_back(as_days), _runs_back(-as_days)) >= min(_runs_back(as_years), _runs_back(-as_years)):
        return
    few = [text for text in texts.slice(0, 3).to_pylist() if text]
    raise OpenQuestion(
        f"{opened.name}: column '{name}' holds '{few[0]}': a month and a day without a year, or a month and a year?",
        [
            Reading("month and day: rows are in order as they stand, and the column is left out",
                    {"time_column": "none"}, [", ".join(few)]),
            Reading("month and year: rows are put into that order", {"dates": read_form(texts, form).form},
                    [f"{text} = {month:02d}/20{year:02d}" for text, (month, year) in zip(few, parts, strict=False)]),
        ],
    )  # fmt: skip


def _runs_back(numbers: np.ndarray) -> int:
    return int((np.diff(numbers) < 0).sum())


def _forms(texts: Any, options: Options) -> list[str]:
    """Return the forms that a column of texts may have: the one that the user named, where it has it."""
    few = examples(texts)
    if options.dates is not None and _own(options.dates):
        pattern = pattern_of(loosely(options.dates))
        if sum(pattern.fullmatch(text) is not None for text in few) >= 0.9 * len(few):
            return [options.dates]
    return candidates(few)


def _own(dates: str | None) -> bool:
    return dates is not None and "%" in dates


def is_time(stamps: Stamps, why: str, option: str = "", *, sure: bool = True) -> Finding:
    """Return the finding that a column is the time, why, and which option (``--time-column``) says otherwise."""
    return Finding("time", f"'{stamps.name}' is the time", why, option or "--time-column NAME", sure)


def complete(opened: Opened, column: Column, found: TimeColumn) -> TimeColumn:
    """Return times of which none is missing.

    Raises:
        DataError: naming the first line without one.
    """
    missing = found.times == NOT if found.times.dtype.kind == "i" else ~np.isfinite(found.times)
    if missing.any():
        raise DataError(
            f"{opened.name}: {opened.place(int(missing.argmax()))} has no time in column '{column.name}'; fill or "
            "remove that line"
        )
    return found


def order_of(form: str) -> str:
    """Return which of day, month and year comes first in a form: d, m or y."""
    return next((letter.lower() for letter in re.findall(r"%[-^_]?([dmbByY])", form)), "")


def _settled(opened: Opened, name: str, texts: Any, forms: Sequence[str], options: Options) -> tuple[Read, Finding]:
    """Return the one reading of a column that fits, or that is likely, and what to say of it."""
    where, choice = f"{opened.name}: column '{name}'", options.dates
    rivals = [form for form in forms if not form.startswith("%Y")] or list(forms)
    if choice is not None and not _own(choice):
        if choice not in ORDERS:
            raise DataError(
                f"--dates is '{choice}', but it is day-first, month-first, year-first or a form like %d.%m.%Y"
            )
        kept = [form for form in forms if order_of(form) == ORDERS[choice]]
        forms = kept if kept or len(rivals) > 1 else forms
        if not forms:
            raise DataError(
                f"{where} holds '{examples(texts, 8)[0]}', which is not written {choice}; leave --dates out"
            )
    reads, bad = list[Read](), list[Unread]()
    for form in forms:
        try:
            reads.append(read_form(texts, form))
        except Unread as error:
            bad.append(error)
            continue
        if form.startswith("%Y") or (len(reads) == 1 and re.search(r"%-?[dm]\.", form)):
            break
    if not reads:
        furthest = max(bad, key=lambda error: error.row)
        if says := named_by_first_line(opened, furthest.text, furthest.row, options):
            raise DataError(says)
        raise DataError(
            f"{opened.name}: {opened.place(furthest.row)}, column '{name}' holds '{furthest.text}', which is no date "
            "like "
            f"the first ones ('{examples(texts, 8)[0]}'); write all in one form, such as 2020-12-31, or remove that "
            "line if it is no row, such as one of totals"
        )
    stamps = Stamps((name,), (reads[0].form,), ("text",))
    if len(reads) == 1 or all(np.array_equal(read.times, reads[0].times) for read in reads[1:]):
        rival = next((form for form in forms if order_of(form) == "m" and form != reads[0].form), "")
        either = bool(rival) and _reads(texts, rival)
        return reads[0], _of_one(stamps, reads[0], forms, examples(texts, 8)[0], choice, either)
    return _of_several(opened, name, texts, reads)


def named_by_first_line(opened: Opened, text: str, row: int, options: Options) -> str:
    """Return what to say of a cell unlike those below it, where it names its column; "" if it does not.

    It does in the first row of a file that the user said has no names, if no cell of that row is a number.
    """
    numbers = [c for c in opened.columns.values() if c.kind in ("int", "float") and c.bad is None]
    if row or options.header is not False or any(column.data[0].is_valid for column in numbers):
        return ""
    return f"{opened.name}: {opened.place(0)} seems to name the columns ('{text}'): leave --no-header out"


def _reads(texts: Any, form: str) -> bool:
    try:
        read_form(texts, form)
    except Unread:
        return False
    return True


def _of_one(
    stamps: Stamps, read: Read, forms: Sequence[str], text: str, choice: str | None, month_first: bool
) -> Finding:
    """Say how the one reading was found; with ``month_first`` whether the month may stand first as well."""
    why = f"'{text}' is read by {read.form}"
    dotted = re.search(r"%-?[dm]\.%-?[dm]\.", read.form)
    if choice is not None:
        return is_time(stamps, f"{why}, as asked")
    if dotted and month_first:
        return Finding("time", f"'{stamps.name}' is the time", f"{why}: with dots the day comes first",
                       "--dates month-first", sure=False)  # fmt: skip
    if len(forms) > 1 and not read.form.startswith("%Y"):
        why += ": no other order of day, month and year fits all rows"
    return is_time(stamps, why)


def _of_several(opened: Opened, name: str, texts: Any, reads: Sequence[Read]) -> tuple[Read, Finding]:
    regular = [read for read in reads if steadiness(np.unique(read.times), dates=True) >= REGULAR]
    ranked = [read for read in regular if steadiness(_once(read.times), dates=True) >= REGULAR]
    chosen = ranked if len(ranked) == 1 else regular
    words = {"d": "day-first", "m": "month-first", "y": "year-first"}
    first = examples(texts, 8)[0]
    if len(chosen) == 1:
        read = chosen[0]
        other = next(r for r in reads if r is not read)
        return read, Finding(
            "time", f"'{name}' is the time", f"'{first}' is read by {read.form}: so all steps are alike",
            f"--dates {words[order_of(other.form)]}", sure=False,
        )  # fmt: skip
    few = [text for text in texts.slice(0, 200).to_pylist() if text][:3]
    readings = []
    for read in reads:
        stamps = Stamps((name,), ("%Y-%m-%d",), ("text",))
        there = read.times[read.times != NOT][: len(few)]
        shown = [f"{text} = {day}" for text, day in zip(few, stamps.write(there)[name], strict=False)]
        readings.append(
            Reading(f"{words[order_of(read.form)].replace('-', ' ')}", {"dates": words[order_of(read.form)]}, shown)
        )
    raise OpenQuestion(f"{opened.name}: in which order do the dates of column '{name}' stand ('{first}')?", readings)


def _once(times: np.ndarray) -> np.ndarray:
    """Return times in the order of rows, each one once where rows repeat it in a run."""
    return times[np.r_[True, np.diff(times) != 0]] if len(times) else times
