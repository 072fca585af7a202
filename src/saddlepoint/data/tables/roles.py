"""Which column of a table is what: time, series, label, feature, or left out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.data.flags import columns_flag
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.tables.counters import ask_if_days, counts_up, without_counters
from saddlepoint.data.tables.dates import TimeColumn, named_by_first_line
from saddlepoint.data.tables.forms import STRONG, name_parts
from saddlepoint.data.tables.grouping import Grouping, codes_of, find_series
from saddlepoint.data.tables.numbers import edge_mark, sign_of
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.time import examples
from saddlepoint.data.tables.time_column import asked_time, find_time, lone_time_of_day
from saddlepoint.data.tables.wide import ask_if_wide

MOST_VALUES = 50
"""A column of text with more values is no category ..."""
ROWS_PER_VALUE = 10
"""... nor one with fewer rows for each value."""
CLOCKS = {"clock", "uhrzeit"}
"""Words in names of times of the day, beside those of times."""


@dataclass
class Roles:
    """What each column is.

    Attributes:
        time: None without one.
        series: what tells series apart.
        label: column of the class; "" without one.
        features: columns that are learned, in the order of the file.
        findings: how it was decided.
    """

    time: TimeColumn | None = None
    series: Grouping = field(default_factory=Grouping)
    label: str = ""
    features: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def decide(opened: Opened, options: Options, *, known: bool = False) -> Roles:
    """Decide what each column is.

    Args:
        opened: the table.
        options: what the user said of it.
        known: whether the columns asked for are those of data that was read before: texts of few rows are categories
            then, and an empty column holds missing values.

    Raises:
        OpenQuestion: if two readings fit and differ.
        DataError: if an asked column is not there or does not fit, or no feature is left.
    """
    _check_names(opened, options)
    roles = Roles()
    roles.label = options.label_column or (opened.label if opened.label else "") or ""
    asked_group = options.group_column or opened.group
    taken = {roles.label or None, asked_group, *(options.time_column or ())}
    left = _left_out(opened, roles, options, taken)
    free = [name for name in opened.columns if name not in taken and name not in left]
    roles.time = _time(opened, options, free)
    beside = set() if roles.time is None else {*roles.time.stamps.columns, *roles.time.beside}
    rest = [name for name in free if name not in beside and name not in opened.nameless]
    asked = options.wide is None and options.time_column is None and options.columns is None
    if asked and not opened.moments:
        ask_if_wide(opened, timed=roles.time is not None)
    if asked_group is None:
        roles.series = find_series(opened, roles.time, rest)
    elif asked_group != "none":
        roles.series = Grouping(asked_group, codes_of(opened, asked_group))
    _drop_tentative(roles)
    used = _used(roles) | set(() if roles.time is None else roles.time.beside)
    if options.time_column is None and options.columns is None:
        free = [name for name in free if name not in used]
        kept = [name for name in free if not _why_not(opened, opened.columns[name])]
        learned = without_counters(opened, kept, roles.time, roles.findings)
        rest = [name for name in free if name in learned or name not in kept]
    roles.features = _features(opened, roles, options, [n for n in rest if n not in used], known)
    if roles.time is not None:
        roles.findings += roles.time.findings
    roles.findings += roles.series.findings
    roles.findings += _marks(opened, roles.features)
    roles.findings += _padded(opened, roles.features)
    roles.findings += _total(opened, roles.features)
    return roles


def _check_names(opened: Opened, options: Options) -> None:
    times = () if options.time_column == ("none",) else options.time_column or ()
    group = None if options.group_column == "none" else options.group_column
    asked = [
        *(("--time-column", name) for name in times),
        ("--group-column", group),
        ("--label-column", options.label_column),
    ]
    for role, name in (*asked, *(("--columns", name) for name in options.columns or ())):
        if name is not None and name not in opened.columns:
            names = [known for known in opened.columns if known not in opened.nameless]
            raise DataError(f"{opened.name} has no column '{name}' ({role}); {suggest(name, names)}")


def _left_out(opened: Opened, roles: Roles, options: Options, taken: set[str | None]) -> set[str]:
    """Return columns that can be nothing, and say so."""
    left: set[str] = set()
    asked = {*(options.columns or ()), *taken}
    empty = [name for name, column in opened.columns.items() if column.kind == "empty" and name not in asked]
    if empty:
        shown = [name or "(the first without a name)" for name in empty]
        roles.findings.append(Finding("columns", f"left out, for they hold no value: {shortened(shown)}"))
        left.update(empty)
    for name, column in opened.columns.items():
        if name in asked or name in left:
            continue
        if column.kind == "other":
            roles.findings.append(Finding("columns", f"'{name}' is left out: it holds {column.what}"))
            left.add(name)
        elif (name in opened.index or name in opened.nameless) and _is_index(column):
            left.add(name)
            how = "in order" if counts_up(column) else "with gaps" if _rises(column) else "in another order"
            what = "a column without a name" if name in opened.nameless else f"'{name}', the index of the data frame,"
            roles.findings.append(Finding("columns", f"{what} counts the rows ({how}) and is left out"))
    return left


def _is_index(column: Column) -> bool:
    """Whether a column holds different whole numbers, as an index does that was cut or shuffled."""
    if column.kind != "int" or column.data.null_count:
        return False
    values = column.data.to_numpy()
    if counts_up(column) and values.min() >= 1500 and values.max() <= 2200:
        return False  # years
    return bool(_rises(column) or len(np.unique(values)) == len(values)) and abs(int(values.max())) < 2**40


def _rises(column: Column) -> bool:
    return bool((np.diff(column.data.to_numpy()) > 0).all())


def _time(opened: Opened, options: Options, free: Sequence[str]) -> TimeColumn | None:
    if options.time_column == ("none",):
        return None
    if options.time_column is not None:
        return asked_time(opened, options.time_column, options)
    if opened.time is not None and opened.time in opened.columns:
        return asked_time(opened, (opened.time,), options)
    usable = [name for name in free if options.columns is None or name not in options.columns]
    found = find_time(opened, options, usable)
    if (found is None or not found.stamps.dates) and options.columns is None:
        ask_if_days(opened, [name for name in usable if not _why_not(opened, opened.columns[name])])
    return found


def _drop_tentative(roles: Roles) -> None:
    """Give up a time that counts only within series, where nothing tells series apart."""
    if roles.time is not None and roles.time.tentative and roles.series.codes is None:
        name, roles.time = roles.time.stamps.name, None
        says = f"'{name}' starts again along the rows: it is no time of one series"
        roles.findings.append(
            Finding("series", says, "no column tells series apart", "--group-column NAME", sure=False)
        )


def _leaving(others: Sequence[str]) -> str:
    return columns_flag(others) if others else ""


def _features(opened: Opened, roles: Roles, options: Options, rest: Sequence[str], known: bool) -> list[str]:
    """Return the columns to learn.

    Raises:
        DataError: if one that was asked for cannot be, a number is none, or none is left.
    """
    features = []
    used = _used(roles)
    wanted = [n for n in opened.columns if n in options.columns] if options.columns is not None else list(rest)
    for name in wanted:
        column = opened.columns[name]
        if name in used:
            raise DataError(
                f"{opened.name}: column '{name}' is asked for as a feature, but it is the time, series or label"
            )
        if column.bad is not None:
            row, text = column.bad
            if says := named_by_first_line(opened, text, row, options):
                raise DataError(says)
            others = [n for n in rest if n != name and opened.columns[n].bad is None]
            raise DataError(
                f"{opened.name}: {opened.place(row)}, column '{name}' holds '{text}' among numbers; if it stands for a "
                "missing "
                f"value, say --missing '{text}'; else mend it, or leave the column out with "
                f"{_leaving(others) or '--columns'}"
            )
        reason = _why_not(opened, column)
        untimed = roles.time is None and options.time_column is None and options.columns is None
        if untimed and name_parts(name) & (STRONG | CLOCKS) and (alone := lone_time_of_day(opened, column)):
            raise DataError(alone)
        if not reason or (known and column.kind in ("text", "bool", "empty")):
            features.append(name)
        elif options.columns is not None:
            raise DataError(f"{opened.name}: column '{name}' cannot be learned: {reason}; leave it out of --columns")
        elif column.kind == "text" and roles.time is None and options.time_column is None and name_parts(name) & STRONG:
            raise DataError(
                f"{opened.name}: dates of column '{name}' are not recognised ('{column.shown()}'); write them as "
                "2020-12-31 or 2020-12-31 23:59:59, say their form (--dates '%d.%m.%Y'), or that rows are in order as "
                "they "
                "stand (--time-column none)"
            )
        else:
            roles.findings.append(Finding("columns", f"'{name}' is left out: {reason}"))
    if not features:
        raise DataError(
            f"{opened.name} has no column of numbers or categories to learn (its columns: "
            f"{shortened(list(opened.columns))}"
            f"{_said(roles)}); a series needs at least one"
        )
    _say_categories(opened, roles, features)
    return features


def _used(roles: Roles) -> set[str]:
    """Return the columns that are time, series or label; a time may have no name."""
    return {
        *filter(None, (roles.series.column, roles.label)),
        *(() if roles.time is None else roles.time.stamps.columns),
    }


def _said(roles: Roles) -> str:
    left = [finding.says for finding in roles.findings if "left out" in finding.says]
    return f"; {'; '.join(left)}" if left else ""


def _why_not(opened: Opened, column: Column) -> str:
    """Return why a column cannot be learned, or ""."""
    if column.kind in ("int", "float", "bool"):
        return "it has no name; name it in the first line to learn it" if column.name in opened.nameless else ""
    if column.kind == "empty":
        return "it holds no value"
    if column.kind == "time":
        return "it holds dates"
    if column.kind == "other":
        return f"it holds {column.what}"
    few = examples(column.data)
    if sign := sign_of(few, opened.look.decimal):
        return f"its numbers carry a sign ('{few[0]}'); remove the '{sign}' to learn them"
    values = len(column.data.unique().drop_null())
    rows = len(column.data)
    if values == 1:
        return f"it holds one text only ('{column.shown()}')"
    if values > MOST_VALUES or values * ROWS_PER_VALUE > rows:
        return f"it holds {values:,} different texts in {rows:,} rows ('{column.shown()}'), too many for a category"
    return "it has no name" if column.name in opened.nameless else ""


def _say_categories(opened: Opened, roles: Roles, features: Sequence[str]) -> None:
    for name in features:
        column = opened.columns[name]
        if column.kind in ("text", "bool"):
            values = [str(value) for value in column.data.unique().drop_null().to_pylist()]
            others = [other for other in features if other != name]
            roles.findings.append(
                Finding("columns", f"'{name}' is a category of {len(values)} values ({shortened(values)})",
                        "it holds truth values" if column.kind == "bool" else "it holds few texts", _leaving(others),
                        sure=False)
            )  # fmt: skip


def _padded(opened: Opened, features: Sequence[str]) -> list[Finding]:
    """Return notes on numbers that are written as codes are, with zeros in front, such as 01067."""
    notes = []
    for name in features:
        column = opened.columns[name]
        if column.kind != "int" or column.texts is None:
            continue
        cells = examples(column.texts)
        padded = [text for text in cells if text.isdigit() and len(text) > 1 and text[0] == "0"]
        if padded and len({len(text) for text in cells}) == 1:
            says = f"'{name}' looks like codes ('{padded[0]}'), but is learned as numbers: zeros in front are lost"
            others = [other for other in features if other != name]
            why = "all are written with the same number of digits"
            notes.append(Finding("columns", says, why, _leaving(others), sure=False))
    return notes


def _total(opened: Opened, features: Sequence[str]) -> list[Finding]:
    """Return a note on a last row that is the sum of those above."""
    for name in features:
        column = opened.columns[name]
        values = column.numbers() if column.kind in ("int", "float") else np.empty(0)
        if len(values) < ROWS_PER_VALUE or not np.isfinite(values[-1]):
            continue
        above = values[:-1][np.isfinite(values[:-1])]
        with np.errstate(over="ignore"):  # values may be as large as floats go
            total, size = above.sum(), np.abs(above).sum()
        if (above != 0).sum() > 1 and np.isfinite(size) and abs(values[-1] - total) <= 1e-9 * size and values[-1] != 0:
            says = f"the last row looks like one of totals, but is learned as the others: its '{name}' is their sum"
            return [Finding("columns", says, f"{values[-1]:g}", "remove that row", sure=False)]
    return []


def _marks(opened: Opened, features: Sequence[str]) -> list[Finding]:
    """Return notes on values that look like marks of missing ones."""
    found: dict[float, list[tuple[str, int, float, float]]] = {}
    for name in features:
        if opened.columns[name].kind in ("int", "float"):
            seen = edge_mark(opened.columns[name].numbers())
            if seen is not None:
                found.setdefault(seen[0], []).append((name, *seen[1:]))
    notes = []
    for mark, places in found.items():
        name, count, low, high = places[0]
        more = f" and in {len(places) - 1} more columns" if len(places) > 1 else ""
        notes.append(
            Finding(
                "missing",
                f"{mark:g} in '{name}' ({count:,} times{more}) looks like a mark of missing values, but is learned "
                "as a value",
                f"all others lie between {low:g} and {high:g}",
                f"--missing {mark:g}",
                sure=False,
            )
        )
    return notes
