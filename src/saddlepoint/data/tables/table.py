"""A table of series in memory: its columns as numbers, and what each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.flags import names_of
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.tables.files import is_table, open_table
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.grouping import Codes, codes_of
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.roles import decide
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.wide import lengthened

__all__ = ["Table", "is_table", "names_of", "read_table"]


@dataclass
class Table:
    """A table in memory.

    Attributes:
        name: path, for messages.
        values: by feature, in the order of the file, (rows,): float64 with NaN where missing; of a category its int32
            code, -1 where missing.
        categories: values of each category by code, as they stood; columns that are not here hold numbers.
        order: names of all columns that are used, in the order of the file.
        times: int64 nanoseconds since 1970 (UTC) or float64 numbers, (rows,); None without a time.
        stamps: how times are written; None without a time.
        groups: series of each row, and their names; None for one series.
        group: column that tells series apart; "" without one.
        labels: class of each row, and the names of the classes; None without a label column.
        label: column that holds the class; "" without one.
        look: of the file.
        findings: what was decided, and why.
        line: number of the first row in the file; rows are counted in ``unit`` s.
        unit: ``line`` or ``row``.
        made: whether rows were made of the columns of a wide table, and stand nowhere.
    """

    name: str
    values: dict[str, np.ndarray] = field(default_factory=dict)
    categories: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    times: np.ndarray | None = None
    stamps: Stamps | None = None
    groups: Codes | None = None
    group: str = ""
    labels: Codes | None = None
    label: str = ""
    look: Look = field(default_factory=Look)
    findings: list[Finding] = field(default_factory=list)
    line: int = 1
    unit: str = "row"
    made: bool = False

    def place(self, row: int) -> str:
        """Return where a row stands in the file, as ``line 12``, while rows are in its order."""
        return f"{self.unit} {row + self.line}"


def read_table(path: Path, options: Options, *, known: bool = False) -> Table:
    """Read a table.

    Args:
        path: what `is_table` says is one.
        options: which columns are what, and how the file is written, as far as the user said.
        known: whether the columns asked for are those of data that was read before; see `decide`.

    Raises:
        OpenQuestion: if it can be read in several ways that differ.
        DataError: if it cannot be read, a column is missing or does not fit, a value is infinite, a time or a group is
            missing; the text names line and column, and what to do.
    """
    opened = open_table(path, options)
    if options.wide:
        group = None if options.group_column == "none" else options.group_column
        opened = lengthened(opened, group, options.label_column or opened.label)
    roles = decide(opened, options, known=known)
    table = Table(
        opened.name, look=opened.look, findings=[*opened.findings, *roles.findings], line=opened.line,
        unit=opened.unit, made=bool(options.wide),
    )  # fmt: skip
    if roles.time is not None:
        table.times, table.stamps = roles.time.times, roles.time.stamps
    elif options.time_column is None:
        says = "no column is the time: rows are taken in the order of the file"
        table.findings.append(Finding("time", says, "none holds times", "--time-column NAME", sure=False))
    elif options.time_column == ("none",):
        says = "rows are taken in the order of the file, without a time"
        table.findings.append(Finding("time", says, "asked for by --time-column none"))
    if opened.look.decimal == ",":
        table.findings.append(Finding("numbers", "commas in numbers are decimal", "", "--decimal ."))
    table.groups, table.group = roles.series.codes, roles.series.column
    if roles.label:
        table.labels, table.label = codes_of(opened, roles.label), roles.label
    used = {*roles.features, *filter(None, (table.group, table.label)), *(table.stamps.columns if table.stamps else ())}
    table.order = tuple(name for name in opened.columns if name in used)
    for name in list(opened.columns):
        column = opened.columns.pop(name) if name in roles.features else None
        if column is None:
            continue
        if column.kind in ("text", "bool"):
            table.values[name], table.categories[name] = _codes(column)
        elif column.kind == "empty":
            table.values[name] = np.full(len(column.data), np.nan)
        else:
            table.values[name] = _numbers(opened, column, table.findings)
    return table


def _numbers(opened: Opened, column: Column, findings: list[Finding]) -> np.ndarray:
    values = column.numbers()
    if np.isinf(values).any():
        at = int(np.isinf(values).argmax())
        raise DataError(
            f"{opened.name}: {opened.place(at)}, column '{column.name}' holds {values[at]}; every value must be a "
            "finite "
            "number: leave it empty where it is missing"
        )
    if (column.kind == "int" or column.whole) and len(values) and np.nanmax(np.abs(values)) > 2**53:
        findings.append(Finding("columns", f"'{column.name}' holds numbers of more than 15 digits, which are rounded"))
    return values


def _codes(column: Column) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return categories by code, in the order of their texts, and what they stand for."""
    coded = column.data.combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
    words = coded.dictionary.to_pylist()
    order = sorted(range(len(words)), key=lambda place: str(words[place]))
    places = np.empty(len(words) + 1, np.int32)
    places[order] = np.arange(len(words))
    places[-1] = -1
    codes = places[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return codes, tuple(words[place] for place in order)
