"""Which column is the time: by what the columns hold, by their names, or as asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.series.files import Column, Opened
from saddlepoint.data.series.forms import STRONG, loosely, pattern_of, says_time, words_of
from saddlepoint.data.series.layout import decimals_of
from saddlepoint.data.series.pace import steadiness
from saddlepoint.data.series.time import (
    NOT,
    Read,
    Stamps,
    Unread,
    candidates,
    clock_form,
    examples,
    from_parts,
    read_clock,
    read_form,
    read_unix,
)
from saddlepoint.data.sources.folder import shortened

ORDERS = {"day-first": "d", "month-first": "m", "year-first": "y"}
REGULAR = 0.98
"""A reading of dates is regular if this share of its steps is the usual one."""
PARTS = {
    "%Y": ({"year", "yr", "years", "jahr", "yyyy"}, (1000, 2500)), "%q": ({"quarter", "qtr", "q"}, (1, 4)),
    "%m": ({"month", "mon", "mo", "monat", "mnth", "mm"}, (1, 12)),
    "%d": ({"day", "dom", "mday", "tag", "dd"}, (1, 31)),
    "%H": ({"hour", "hr", "hours", "hh", "stunde"}, (0, 24)), "%M": ({"minute", "min", "minutes"}, (0, 59)),
    "%S": ({"second", "sec", "seconds"}, (0, 59)),
}  # fmt: skip
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


def asked_time(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn:
    """Return the time that the user named.

    Raises:
        DataError: if the columns hold no times.
    """
    if len(names) == 1:
        column = opened.columns[names[0]]
        found = _dates(opened, column, options) or _counted(opened, column, asked=True)
        if found is None:
            raise DataError(
                f"{opened.name}: dates of column '{column.name}' are not recognised ('{column.shown()}'); write them "
                "as "
                "2020-12-31 or 2020-12-31 23:59:59, or say their form: --dates '%d.%m.%Y'"
            )
        return found
    found = _joined(opened, names, options)
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
    dated = [name for name in free if _may_be_date(opened.columns[name], options)]
    for name in sorted(dated, key=lambda n: opened.columns[n].data.null_count > 0):
        if (clocked := _with_clock(opened, name, free, options)) is not None:
            return clocked
        found = _dates(opened, opened.columns[name], options)
        if found is None:
            continue
        rest = [other for other in dated if other != name]
        if rest and not _is_rising(found.times) and not any(opened.columns[other].data.null_count for other in rest):
            _ask_which(opened, found, rest, options)
        better = _rising(opened, rest, options) if not _is_rising(found.times) else None
        if better is not None:
            found, rest = better, [other for other in dated if other not in better.stamps.columns]
        if rest and options.columns is None:
            found.findings.append(Finding("columns", f"further columns of dates are left out: {shortened(rest)}"))
        found.beside = (*rest, *_repeats(opened, found, free))
        return found
    return _by_parts(opened, free, options) or _by_numbers(opened, free)


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


def _is_rising(times: np.ndarray) -> bool:
    return len(times) < 2 or bool((np.diff(times) > 0).all())


def _rising(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn | None:
    """Return the first of further columns of dates whose times rise, where those of the first do not."""
    for name in names:
        found = None if opened.columns[name].data.null_count else _dates(opened, opened.columns[name], options)
        if found is not None and _is_rising(found.times):
            return found
    return None


def _may_be_date(column: Column, options: Options) -> bool:
    if column.kind == "time":
        return True
    if column.kind == "text" and column.texts is not None:
        return bool(_forms(column.data, options))
    return column.kind in ("int", "float") and bool(_compact(column))


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
        named = bool(words_of(column.name) & {"date", "dates", "datum"})
        few = [f"{int(value):06d}" for value in values[:: max(1, len(values) // 400)]]
        return "%y%m%d" if named and len(set(few)) > 2 and _fits(few, "%y%m%d") else ""
    form = _COMPACT.get(len(str(int(values[0]))), "")
    if not form or len(str(int(values.min()))) != len(str(int(values.max()))):
        return ""
    few = [str(int(value)) for value in values[:: max(1, len(values) // 400)]]
    if len(set(few)) < 2 or not all("1900" <= text[:4] <= "2099" for text in few):
        return ""
    return form if _fits(few, form) else ""


def _fits(texts: Sequence[str], form: str) -> bool:
    import pyarrow as pa

    try:
        read_form(pa.array(texts), form)
    except Unread:
        return False
    return True


def _dates(opened: Opened, column: Column, options: Options) -> TimeColumn | None:
    """Return a column of dates as times; None if it holds none.

    Raises:
        OpenQuestion: if two orders of day and month fit, and neither is the only regular one.
        DataError: if a cell has another form, or none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind == "time":
        times = column.data.cast(pa.int64()).fill_null(NOT).to_numpy().copy()
        stamps = Stamps((column.name,), (column.form,), ("text",), column.zone)
        return _complete(opened, column, TimeColumn(stamps, times, [_is_time(stamps, "its cells are typed as times")]))
    form = "" if column.kind == "text" else _compact(column)
    if column.kind in ("int", "float") and form not in ("", "text"):
        texts = column.data.cast(pa.int64()).cast(pa.string())
        texts = pc.utf8_lpad(texts, 6, "0") if form == "%y%m%d" else texts
        found = _settled(opened, column.name, texts, [form], options)
        stamps = Stamps((column.name,), (found[0].form,), ("int" if column.kind == "int" else "float",))
        return _complete(opened, column, TimeColumn(stamps, found[0].times, [_is_time(stamps, "dates as numbers")]))
    texts = column.texts if form == "text" else column.data
    if texts is None or (column.kind != "text" and form != "text"):
        return None
    forms = _forms(texts, options)
    if not forms:
        return None
    read, finding = _settled(opened, column.name, texts, forms, options)
    stamps = Stamps((column.name,), (read.form,), ("text",), read.zone)
    findings = [finding, *(Finding("time", f"'{column.name}': {text}") for text in read.says)]
    return _complete(opened, column, TimeColumn(stamps, read.times, findings))


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


def _is_time(stamps: Stamps, why: str, option: str = "", *, sure: bool = True) -> Finding:
    return Finding("time", f"'{stamps.name}' is the time", why, option or "--time-column NAME", sure)


def _complete(opened: Opened, column: Column, found: TimeColumn) -> TimeColumn:
    missing = found.times == NOT if found.times.dtype.kind == "i" else np.isnan(found.times)
    if missing.any():
        raise DataError(
            f"{opened.name}: {opened.place(int(missing.argmax()))} has no time in column '{column.name}'; fill or "
            "remove "
            "that line"
        )
    return found


def _order(form: str) -> str:
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
        kept = [form for form in forms if _order(form) == ORDERS[choice]]
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
        raise DataError(
            f"{opened.name}: {opened.place(furthest.row)}, column '{name}' holds '{furthest.text}', which is no date "
            "like "
            f"the first ones ('{examples(texts, 8)[0]}'); write all in one form, such as 2020-12-31"
        )
    stamps = Stamps((name,), (reads[0].form,), ("text",))
    if len(reads) == 1 or all(np.array_equal(read.times, reads[0].times) for read in reads[1:]):
        return reads[0], _of_one(stamps, reads[0], forms, examples(texts, 8)[0], choice)
    return _of_several(opened, name, texts, reads)


def _of_one(stamps: Stamps, read: Read, forms: Sequence[str], text: str, choice: str | None) -> Finding:
    why = f"'{text}' is read by {read.form}"
    dotted = re.search(r"%-?[dm]\.%-?[dm]\.", read.form)
    if choice is not None:
        return _is_time(stamps, f"{why}, as asked")
    if dotted and "%-m.%-d." in "".join(forms):
        return Finding("time", f"'{stamps.name}' is the time", f"{why}: with dots the day comes first",
                       "--dates month-first", sure=False)  # fmt: skip
    if len(forms) > 1 and not read.form.startswith("%Y"):
        why += ": no other order of day, month and year fits all rows"
    return _is_time(stamps, why)


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
            f"--dates {words[_order(other.form)]}", sure=False,
        )  # fmt: skip
    few = [text for text in texts.slice(0, 200).to_pylist() if text][:3]
    readings = []
    for read in reads:
        stamps = Stamps((name,), ("%Y-%m-%d",), ("text",))
        there = read.times[read.times != NOT][: len(few)]
        shown = [f"{text} = {day}" for text, day in zip(few, stamps.write(there)[name], strict=False)]
        readings.append(
            Reading(f"{words[_order(read.form)].replace('-', ' ')}", {"dates": words[_order(read.form)]}, shown)
        )
    raise OpenQuestion(f"{opened.name}: in which order do the dates of column '{name}' stand ('{first}')?", readings)


def _once(times: np.ndarray) -> np.ndarray:
    """Return times in the order of rows, each one once where rows repeat it in a run."""
    return times[np.r_[True, np.diff(times) != 0]] if len(times) else times


def _with_clock(opened: Opened, name: str, free: Sequence[str], options: Options) -> TimeColumn | None:
    """Return date and time of the day from two columns, where a date alone repeats."""
    column = opened.columns[name]
    if column.kind == "time" and column.form != "timestamp:D" and not column.form.startswith("timestamp"):
        return None
    clocks = [other for other in free if other != name and _clock_of(opened.columns[other])]
    clocks = [other for other in clocks if words_of(other) & {"time", "clock", "hour", "hr", "uhrzeit", "zeit", "h"}]
    if not clocks or _holds_clock(column):
        return None
    found = _joined(opened, [name, clocks[0]], options)
    if found is None or len(np.unique(found.times)) <= len(np.unique(found.times // (86_400 * 10**9))):
        return None
    found.beside = _repeats(opened, found, free)
    return found


def _holds_clock(column: Column) -> bool:
    if column.kind == "time":
        values = column.data.drop_null().slice(0, 10_000).cast("int64").to_numpy()
        return bool((values % (86_400 * 10**9)).any())
    forms = candidates(examples(column.data)) if column.kind == "text" else []
    return any(re.search(r"%-?[HI]", form) for form in forms)


def _clock_of(column: Column) -> str:
    """Return the form of a column of times of the day, ``%H`` for whole hours; "" if it is none."""
    if column.kind == "text":
        return clock_form(examples(column.data))
    if column.texts is not None and column.kind == "int":
        cells = examples(column.texts)
        if all(re.fullmatch(r"([01]\d|2[0-3])[0-5]\d", cell) for cell in cells):
            return "%H%M"
    if column.kind in ("int", "float") and column.data.null_count == 0 and column.whole:
        values = column.numbers()
        if values.min() >= 0 and values.max() <= 24 and len(np.unique(values)) > 4:
            return "%-H"
    return ""


def _joined(opened: Opened, names: Sequence[str], options: Options) -> TimeColumn | None:
    """Return one time from several columns: a date with a clock, or whole numbers of year, month, ..."""
    columns = [opened.columns[name] for name in opened.columns if name in names]
    dates = [column for column in columns if _may_be_date(column, options)]
    if len(dates) == 1 and len(columns) == 2:
        clock = next(column for column in columns if column is not dates[0])
        form, date = _clock_of(clock), _dates(opened, dates[0], options)
        if not form or date is None:
            return None
        times = date.times + _clock_times(opened, clock, form)
        pair = {dates[0].name: (date.stamps.forms[0], date.stamps.kinds[0]),
                clock.name: (form, "text" if clock.texts is not None else clock.kind)}  # fmt: skip
        stamps = Stamps(tuple(c.name for c in columns), tuple(pair[c.name][0] for c in columns),
                        tuple(pair[c.name][1] for c in columns), date.stamps.zone)  # fmt: skip
        said = date.findings[0]
        why = f"a date and a time of the day{f'; {said.why}' if said.why else ''}"
        return TimeColumn(
            stamps, times, [Finding("time", f"'{stamps.name}' are the time together", why, said.option, said.sure)]
        )
    return _of_parts(opened, [column.name for column in columns])


def _clock_times(opened: Opened, column: Column, form: str) -> np.ndarray:
    hour = 3600 * 10**9
    if column.kind in ("int", "float") and form == "%-H":
        return column.numbers().astype(np.int64) * hour
    try:
        if form == "%H%M":
            values = column.numbers().astype(np.int64)
            return (values // 100) * hour + (values % 100) * (hour // 60)
        times = read_clock(column.data, form)
    except Unread as error:
        raise DataError(
            f"{opened.name}: {opened.place(error.row)}, column '{column.name}' holds '{error.text.partition(' ')[2]}', "
            "which is "
            "no time of the day like the first ones; mend that line"
        ) from error
    if (times == NOT).any():
        raise DataError(
            f"{opened.name}: {opened.place(int((times == NOT).argmax()))} has no time in column '{column.name}'; fill "
            "or "
            "remove that line"
        )
    return times


def _parts(opened: Opened, names: Sequence[str]) -> dict[str, str]:
    """Return columns of whole numbers that are named like parts of a date and hold such, by directive."""
    found: dict[str, str] = {}
    for name in names:
        column = opened.columns[name]
        if column.kind not in ("int", "float") or column.data.null_count or not column.whole:
            continue
        for directive, (words, (low, high)) in PARTS.items():
            if name.lower() in words and directive not in found:
                values = column.numbers()
                if low <= values.min() and values.max() <= high:
                    found[directive] = name
    return found


_SETS = (("%Y", "%m", "%d"), ("%Y", "%m"), ("%Y", "%q"), ("%m", "%d"))


def _of_parts(opened: Opened, names: Sequence[str]) -> TimeColumn | None:
    parts = _parts(opened, names)
    if len(parts) != len(names) or not any(set(whole) <= set(parts) for whole in _SETS):
        return None
    values = {directive: opened.columns[name].numbers() for directive, name in parts.items()}
    leap = "%Y" not in parts and bool(((values["%m"] == 2) & (values["%d"] == 29)).any())
    year = 0 if "%Y" in parts else 1972 if leap else 1970
    try:
        times = from_parts(values, year)
    except (ValueError, OverflowError):
        return None
    order = sorted(parts, key=lambda directive: list(opened.columns).index(parts[directive]))
    columns = tuple(parts[directive] for directive in order)
    kinds = tuple("int" if opened.columns[name].kind == "int" else "float" for name in columns)
    forms = tuple(directive.replace("%", "%-") if directive in ("%m", "%d", "%H") else directive for directive in order)
    stamps = Stamps(columns, forms, kinds, year=year)
    why = "by their names and what they hold" + (f"; no column holds the year: {year} stands for it" if year else "")
    says = Finding("time", f"'{stamps.name}' are the time together", why, "--time-column none", sure=False)
    return TimeColumn(stamps, times, [says])


def _by_parts(opened: Opened, free: Sequence[str], options: Options) -> TimeColumn | None:
    parts = _parts(opened, free)
    for whole in _SETS:
        if not set(whole) <= set(parts):
            continue
        chosen = list(whole)
        for directive in ("%H", "%M", "%S"):
            if directive not in parts or "%d" not in whole:
                break
            chosen.append(directive)
        found = _of_parts(opened, [parts[directive] for directive in chosen])
        if found is not None and len(np.unique(found.times)) > 2:
            return found
    return None


def _repeats(opened: Opened, found: TimeColumn, free: Sequence[str]) -> tuple[str, ...]:
    """Return columns that repeat parts of the time (year, month, ...), and say that they are left out."""
    parts = _parts(opened, [name for name in free if name not in found.stamps.columns])
    if len(parts) < 2 or not found.stamps.dates:
        return ()
    import pandas as pd

    index = pd.DatetimeIndex(found.times.astype("datetime64[ns]"))
    own = {"%Y": index.year, "%q": index.quarter, "%m": index.month, "%d": index.day, "%H": index.hour,
           "%M": index.minute, "%S": index.second}  # fmt: skip
    same = {d: np.asarray(own[d]) == opened.columns[n].numbers() for d, n in parts.items()}
    repeated = [parts[d] for d, equal in same.items() if equal.mean() > (0.6 if d != "%H" else 0.99)]
    if {"%Y", "%m", "%d"} <= set(parts) and len(repeated) >= 3 and "%H" in parts:
        repeated = [*dict.fromkeys([*repeated, parts["%H"]])]
    if repeated:
        found.findings.append(
            Finding("columns", f"left out, for they repeat the time: {shortened(repeated)}",
                    "by their names and values", "--columns NAMES", sure=False)
        )  # fmt: skip
    return tuple(repeated)


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
    if column.data.null_count and not asked:
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
        return TimeColumn(stamps, unix[1], [_is_time(stamps, why, "" if sure else "--time-column none", sure=sure)])
    values = column.numbers()
    stamps = Stamps(
        (column.name,), ("number",), ("int" if column.kind == "int" else "float",), decimals=decimals_of(values)
    )
    if asked:
        return _complete(opened, column, TimeColumn(stamps, values, [_is_time(stamps, "as asked")]))
    index = column.name in (*opened.nameless, *opened.index)
    if not (named or index) or len(values) < 3:
        return None
    up = values if values[-1] > values[0] else values[::-1]
    steps = np.diff(values)
    strong = bool(words_of(column.name) & STRONG) or column.name.lower() in ("t", "ts", "elapsed")
    if steadiness(up, dates=False) >= 0.9 or (strong and bool((np.diff(up) > 0).all())):
        why = "it goes up by steps, as an index of times does" if index else "by its name, and it goes up by steps"
        says = _is_time(stamps, why, "--time-column none", sure=False)
        return TimeColumn(stamps, values, [says])
    if named and (steps <= 0).any() and _restarts(values):
        says = _is_time(stamps, "by its name, and it starts again in each series", "--time-column none", sure=False)
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
    form = clock_form(examples(column.data)) if column.kind == "text" else ""
    if not form:
        return None
    times = _clock_times(opened, column, form)
    if not _is_rising(times):
        raise DataError(
            f"{opened.name}: column '{column.name}' holds times of the day that run back; name the column of dates "
            "too: "
            f"--time-column DATE,{column.name}"
        )
    return TimeColumn(
        Stamps((column.name,), (form,), ("text",)), times, [Finding("time", f"'{column.name}' is the time", "as asked")]
    )
