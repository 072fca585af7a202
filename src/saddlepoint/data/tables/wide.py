"""Wide tables, one series a row: recognised by names that count up, and turned into one row a moment."""

from __future__ import annotations

import re

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.forms import MONTHS
from saddlepoint.data.tables.frame import free_name
from saddlepoint.data.tables.opened import Column, Opened

LEAST = 8
"""Columns whose names count up are asked about from this number on; years from three on."""


def counting_names(opened: Opened) -> tuple[str, list[str], list[int]]:
    """Return what names that count up begin with, these names, and their numbers; empty lists if there are too few."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name, column in opened.columns.items():
        match = re.fullmatch(r"(.*?)(\d{1,6})", name)
        if match and column.kind in ("int", "float", "empty") and name not in opened.nameless:
            found.setdefault(match[1], []).append((int(match[2]), name))
    for start, pairs in sorted(found.items(), key=lambda item: -len(item[1])):
        numbers = [number for number, _ in pairs]
        steps = set(np.diff(numbers).tolist())
        years = all(1500 <= number <= 2200 for number in numbers) and len(pairs) >= 3
        if len(steps) == 1 and min(steps) > 0 and (len(pairs) >= LEAST or years):
            return start, [name for _, name in pairs], numbers
    months = [name for name in opened.columns if MONTHS.get(name.strip(".").lower())]
    numbers = [MONTHS[name.strip(".").lower()] for name in months]
    return ("month", months, numbers) if numbers == list(range(1, 13)) else ("", [], [])


def ask_if_wide(opened: Opened, *, timed: bool) -> None:
    """Ask whether a row is a series, where names of columns count up and no column is the time, or are the months.

    Raises:
        OpenQuestion: with both readings.
    """
    _, names, _ = counting_names(opened)
    if not names or (timed and not MONTHS.get(names[0].strip(".").lower())):
        return
    rows = opened.rows
    first = [f"{name} = {opened.columns[name].data[0].as_py()}" for name in names[:3]]
    rest = [name for name in opened.columns if name not in names]
    raise OpenQuestion(
        f"{opened.name}: names of columns count up ({names[0]} ... {names[-1]}): is each row a whole series?",
        [
            Reading(f"each row is a series of {len(names)} steps, one feature; {rows:,} series", {"wide": True},
                    [f"row 1: {', '.join(first)}, ...",
                     *([f"the same along each: {shortened(rest)}"] if rest else [])]),
            Reading(f"each row is a moment of {len(names)} features; {rows:,} rows in order", {"wide": False},
                    [f"moment 1: {', '.join(first)}, ..."]),
        ],
    )  # fmt: skip


def lengthened(opened: Opened, group: str | None, label: str | None) -> Opened:
    """Return a wide table as one row a moment: static columns, the step, the value; `group` names each row's series.

    Args:
        opened: one series a row.
        group: column whose values name the series, as asked; None: the first of unique texts or numbers, else rows are
            counted.
        label: column that holds each series' class, or None.

    Raises:
        DataError: if no names count up.
    """
    import pyarrow as pa

    start, names, numbers = counting_names(opened)
    if not names:
        start, names, numbers = _numeric(opened)
    rows, steps = opened.rows, len(names)
    rest = [
        name for name in opened.columns if name not in names and opened.columns[name].kind not in ("empty", "other")
    ]
    if group is None:
        unique = [
            n for n in rest if opened.columns[n].kind in ("text", "int") and n != label and _unique(opened.columns[n])
        ]
        group = unique[0] if unique else None
    columns = {name: opened.columns[name] for name in rest}
    long: dict[str, Column] = {}
    index = pa.array(np.repeat(np.arange(rows), steps))
    if group is None:
        group = free_name("series", opened.columns)
        counted = pa.chunked_array([pa.array(np.repeat(np.arange(1, rows + 1), steps))])
        long[group] = Column(group, "int", counted)
    for name, column in columns.items():
        texts = None if column.texts is None else column.texts.take(index)
        long[name] = Column(
            name, column.kind, column.data.take(index), column.form, column.zone, texts, column.bad, column.what
        )
    months = start == "month" and numbers == list(range(1, 13)) and names[0].isalpha()
    years = not start and all(1500 <= number <= 2200 for number in numbers)
    step = free_name("month" if months else "year" if years else "step", opened.columns)
    value = free_name("value" if months else start.strip(" _-.") or "value", opened.columns)
    long[step] = Column(step, "int", pa.chunked_array([pa.array(np.tile(np.array(numbers, np.int64), rows))]))
    values = np.stack([opened.columns[name].numbers() for name in names], axis=1).ravel()
    there = ~np.isnan(values)
    long[value] = Column(value, "float", pa.chunked_array([pa.array(values, mask=~there)]))
    says = f"each row is a series: {rows:,} of {steps} steps ({names[0]} ... {names[-1]}), as '{step}' and '{value}'"
    found = Opened(
        opened.name, long, opened.line, opened.unit, opened.look,
        [*opened.findings, Finding("series", says, "as asked")],
    )  # fmt: skip
    found.time, found.group, found.label = step, group, label
    return found


def _numeric(opened: Opened) -> tuple[str, list[str], list[int]]:
    names = [name for name, column in opened.columns.items() if column.kind in ("int", "float")]
    if len(names) < 3:
        raise DataError(
            f"{opened.name}: --wide reads a row as a series, but it has {len(names)} columns of numbers; leave it out"
        )
    return "", names, list(range(len(names)))


def _unique(column: Column) -> bool:
    return column.data.null_count == 0 and len(column.data.unique()) == len(column.data)
