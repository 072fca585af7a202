"""Workbooks of Excel (openpyxl): one sheet as a table, with dates as dates."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.core.zips import Zip
from saddlepoint.data import limits
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note, OpenQuestion, Reading
from saddlepoint.data.sources.extras import MOST_BYTES, guarded, need
from saddlepoint.data.tables.frame import Frame

_KIND = "a workbook"
_MOST_RATIO = 400
_MOST_CELLS = 60_000_000
_BYTES_A_CELL = 6
"""Unpacked, of a sheet, for what a cell of another table takes: one has 20 to 40, and is read ten times as slowly."""
_SHOWN = 3
_ERRORS = {"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"}

Row = tuple[Any, ...]


@dataclass(frozen=True)
class _Sheet:
    """A table in a sheet.

    Attributes:
        name: of the sheet.
        above: rows above the header.
        header: names of the columns; None: the sheet names none.
        rows: cells, as many in each row.
        units: whether a row of units stood below the header.
    """

    name: str
    above: int
    header: Row | None
    rows: list[Row]
    units: bool = False


def refuse_workbook(path: Path, options: Options) -> Frame:
    """Refuse workbooks of other kinds.

    Raises:
        DataError: always, with what to do.
    """
    kind = path.suffix.lower()
    raise DataError(f"{path} is a workbook of the kind {kind}, which is not read; save it as .xlsx or as CSV")


def read_workbook(path: Path, options: Options) -> Frame:
    """Read a sheet of an .xlsx file; formulas count with the values that were stored with them.

    Args:
        path: the workbook.
        options: ``sheet`` names the sheet, ``header`` says whether its first row names the columns.

    Raises:
        OpenQuestion: if several sheets hold tables, and none is named.
        DataError: if it is damaged, of another kind, or no sheet holds a table.
    """
    import pandas

    openpyxl = need("openpyxl", "excel", ".xlsx")
    _refuse_bomb(path)
    with guarded(path, _KIND):
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            names = [sheet.title for sheet in book.worksheets]
            if options.sheet is not None and options.sheet not in names:
                raise DataError(f"{path} has no sheet '{options.sheet}' (--sheet); {suggest(options.sheet, names)}")
            wanted = [sheet for sheet in book.worksheets if options.sheet in (None, sheet.title)]
            tables = [table for sheet in wanted if (table := _table(path, sheet, options)) is not None]
        finally:
            book.close()
    if not tables:
        raise DataError(f"{path}: no sheet holds a table of numbers (its sheets: {shortened(names, 8)})")
    if len(tables) > 1:
        readings = [
            Reading(f"the sheet '{t.name}' ({len(t.rows):,} rows)", {"sheet": t.name}, _first(t)) for t in tables
        ]
        raise OpenQuestion(f"{path} holds tables in {len(tables)} sheets; which one?", readings)
    (table,) = tables
    header, nameless = _names(path, table)
    columns, notes = _columns(path, table, header)
    notes = [*_said(path, table, names, nameless), *notes]
    if formulas := _without_values(openpyxl, path, table.name):
        says = f"{formulas:,} formulas have no value stored with them: they count as missing; Excel stores values"
        notes.append(Finding("missing", says, "no program that computes has saved the file", sure=False))
    return Frame(pandas.DataFrame(columns), tuple(notes))


def _said(path: Path, table: _Sheet, names: Sequence[str], nameless: int) -> list[Note]:
    others = [name for name in names if name != table.name]
    notes: list[Note] = [Finding("source", f"the sheet '{table.name}'", f"others hold no table: {shortened(others, 8)}"
                                 if others else "", "--sheet NAME" if others else "")]  # fmt: skip
    if table.above:
        notes.append(Finding("columns", f"{table.above} rows above the names of the columns are left out"))
    if table.units:
        notes.append(Finding("columns", "the row below the names holds units and is left out", "it holds no numbers"))
    if table.header is None:
        notes.append(Finding("columns", "no row names the columns: they are column1, column2, ...",
                             "the first row holds values", "--header", sure=False))  # fmt: skip
    if nameless:
        notes.append(Finding("columns", f"{nameless} columns without name and values are left out"))
    return notes


def _refuse_bomb(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            if file.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
                raise DataError(f"{path} is an old or an encrypted workbook; save it as .xlsx without a password, or "
                                "as CSV")  # fmt: skip
        with Zip(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a workbook ({error}); the copy may be damaged: fetch it again"
        ) from error
    size, packed = sum(m.file_size for m in members), sum(max(1, m.compress_size) for m in members)
    limits.check_table(str(path), size // _BYTES_A_CELL, path.stat().st_size)
    if size > MOST_BYTES or (size > 64 * 1024**2 and size > _MOST_RATIO * packed):
        raise DataError(f"{path} unpacks to {size:,} bytes, {size // max(1, packed)} times its size; save it as CSV")


def _table(path: Path, sheet: Any, options: Options) -> _Sheet | None:
    """Return the table of a sheet, without empty rows at its ends; None if it holds no numbers."""
    sheet.reset_dimensions()  # what the file claims may be wrong
    rows: list[Row] = []
    cells, numbers = 0, 0
    for row in sheet.iter_rows(values_only=True):
        end = next((place for place in range(len(row), 0, -1) if not _empty(row[place - 1])), 0)
        kept = row[:end]
        cells += len(kept) + 1
        numbers += sum(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in kept)
        if cells > _MOST_CELLS:
            raise DataError(f"{path}: the sheet '{sheet.title}' holds more than {_MOST_CELLS:,} cells; save it as CSV")
        rows.append(kept)
    while rows and not rows[-1]:
        rows.pop()
    width = max(map(len, rows), default=0)
    if not numbers or not width:
        return None
    start = _header_at(rows)
    named = options.header if options.header is not None else start is not None
    first = start if start is not None else next(place for place, row in enumerate(rows) if row)
    padded = [(*row, *[None] * (width - len(row))) for row in rows[first:]]
    body = [row for row in padded[1 if named else 0 :] if not all(map(_empty, row))]
    units = named and bool(body) and _units(body)
    body = body[1:] if units else body
    return _Sheet(sheet.title, first if named else 0, padded[0] if named else None, body, units) if body else None


def _header_at(rows: Sequence[Row]) -> int | None:
    """Return which row names the columns: the first that is about as wide as the others, if it holds no values."""
    width = float(np.median([len(row) for row in rows if row]))
    for place, row in enumerate(rows[:50]):
        filled = [cell for cell in row if not _empty(cell)]
        if len(filled) >= max(1, width / 2):
            named = all(isinstance(cell, str) for cell in filled) or _lists_years(filled)
            return place if named and place + 1 < len(rows) else None
    return None


def _lists_years(cells: Sequence[Any]) -> bool:
    """Whether cells are a name and then years that count up, as names of columns."""
    years = [cell for cell in cells[1:] if isinstance(cell, int) and 1000 <= cell < 3000]
    return len(years) == len(cells) - 1 > 1 and isinstance(cells[0], str) and years == sorted(set(years))


def _units(rows: Sequence[Row]) -> bool:
    """Whether the first row holds texts where the others hold numbers: units."""
    first, rest = rows[0], rows[1:]
    if not rest or not all(_empty(cell) or isinstance(cell, str) for cell in first):
        return False
    places = [place for place, cell in enumerate(first) if not _empty(cell)]
    return any(all(isinstance(row[place], int | float) for row in rest) for place in places)


def _names(path: Path, table: _Sheet) -> tuple[dict[int, str], int]:
    """Return the name of each column that is used, and how many have neither name nor values."""
    width = len(table.rows[0])
    texts = [
        "" if table.header is None or _empty(cell) else _text(cell).strip() for cell in table.header or [""] * width
    ]
    filled = [any(not _empty(row[place]) for row in table.rows) for place in range(width)]
    names = {place: texts[place] or f"column{place + 1}" for place in range(width) if texts[place] or filled[place]}
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise DataError(f"{path}: the sheet '{table.name}' names a column '{twice[0]}' twice; rename one")
    return names, width - len(names)


def _columns(path: Path, table: _Sheet, names: dict[int, str]) -> tuple[dict[str, Any], list[Note]]:
    import pandas

    columns: dict[str, Any] = {}
    marks = 0
    for place, name in names.items():
        cells = [row[place] for row in table.rows]
        wrong = sum(isinstance(cell, str) and cell in _ERRORS for cell in cells)
        marks += wrong
        values = [None if _empty(cell) or (wrong and cell in _ERRORS) else cell for cell in cells]
        there = [value for value in values if value is not None]
        if there and all(isinstance(value, datetime.date) for value in there):
            dates = [None if value is None else _moment(value) for value in values]
            columns[name] = pandas.Series(dates, dtype="datetime64[us]")
        elif any(isinstance(value, datetime.date | datetime.time | datetime.timedelta) for value in there):
            columns[name] = pandas.Series([None if v is None else _text(v) for v in values], dtype=object)
        else:
            columns[name] = pandas.Series(values, dtype=object).infer_objects()
    said: list[Note] = []
    if marks:
        said.append(Finding("missing", f"{marks:,} cells hold an error such as #DIV/0!: they count as missing"))
    return columns, said


def _without_values(openpyxl: Any, path: Path, name: str) -> int:
    """Return how many formulas of a sheet have no value stored with them."""
    with Zip(path) as archive:
        sheets = [member for member in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", member)]
        # Looked for as text first: reading a workbook twice takes as long again.
        if not any(_holds(archive, member, b"<f") for member in sheets):
            return 0
    with guarded(path, _KIND):
        books = [
            openpyxl.load_workbook(path, read_only=True, data_only=only, keep_links=False) for only in (True, False)
        ]
        try:
            pairs = zip(*(_cells(book[name]) for book in books), strict=False)
            return sum(
                value is None and isinstance(formula, str) and formula.startswith("=") for value, formula in pairs
            )
        finally:
            for book in books:
                book.close()


def _holds(archive: zipfile.ZipFile, member: str, text: bytes) -> bool:
    with archive.open(member) as stream:
        while piece := stream.read(1024**2):
            if re.search(text + rb"[ >/]", piece):
                return True
    return False


def _cells(sheet: Any) -> Iterator[Any]:
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        yield from row


def _first(table: _Sheet) -> list[str]:
    rows = [*([table.header] if table.header else []), *table.rows[:_SHOWN]]
    return [" | ".join("" if _empty(cell) else _text(cell) for cell in row[:8]) for row in rows]


def _empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _moment(cell: Any) -> datetime.datetime:
    return cell if isinstance(cell, datetime.datetime) else datetime.datetime(cell.year, cell.month, cell.day)


def _text(cell: Any) -> str:
    return cell.isoformat(" ") if isinstance(cell, datetime.datetime) else str(cell)
