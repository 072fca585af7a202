"""Tables of text, packed or not: their columns, read in blocks."""

from __future__ import annotations

import contextlib
import csv
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.plan import Finding
from saddlepoint.data.tables.numbers import MISSING, decimal_mark, doubtful_points
from saddlepoint.data.tables.sniffer import TextLayout
from saddlepoint.data.tables.streams import BLOCK, Blanks, ReadAhead, open_stream

_PEEK = 4 * 1024**2
_DIGITS = re.compile(r"[-+\d.,' ]+")
_BAD_ROW = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


def start_of(path: Path) -> bytes:
    """Return the first bytes of a file, whole lines, unpacked.

    Raises:
        DataError: if it cannot be read or is no text.
    """
    import pyarrow as pa

    try:
        with open_stream(path) as stream:
            start = bytes(stream.read(_PEEK + 1))
    except DataError:
        raise
    except (
        OSError,
        EOFError,
        lzma.LZMAError,
        ValueError,
        RuntimeError,
        zipfile.BadZipFile,
        pa.ArrowException,
    ) as error:
        raise DataError(f"{path} cannot be read ({error}); check the file") from error
    if not start.strip():
        raise DataError(f"{path} is empty; a CSV has a line of column names, then rows of numbers")
    if b"\0" in start:
        raise DataError(
            f"{path} holds NUL bytes (line {start[: start.index(0)].count(10) + 1}): it is damaged, or "
            "not UTF-8 text; save it as CSV in UTF-8"
        )
    if len(start) <= _PEEK:
        return start
    if b"\n" not in start:
        raise DataError(f"{path} has no line end in its first {_PEEK:,} bytes: it is not a CSV")
    return start[: start.rindex(b"\n") + 1]


class Columns:
    """Reads the columns of a file of text into Arrow arrays.

    Attributes:
        layout: of the file.
        table: int64, float64 and texts, by column; filled by `read`.
    """

    def __init__(self, path: Path, start: bytes, layout: TextLayout, names: Sequence[str], decimal: str | None) -> None:
        import pyarrow as pa

        self.path, self.layout, self.names = path, layout, list(names)
        self.body = start[layout.start :]
        self.ahead: ReadAhead | None = None
        self.reader: Any = None
        self.many_lines = b'"' in self.body
        rows = [dict(zip(self.names, row, strict=False)) for row in self._rows()]
        cells = {name: [row[name].strip() for row in rows if row.get(name)] for name in self.names}
        there = {n: [c for c in t if c not in MISSING] for n, t in cells.items()}
        self.decimal = decimal_mark(str(path), there, decimal)
        self.layout = replace(layout, look=replace(layout.look, decimal=self.decimal))
        if not self.body.strip():
            raise DataError(f"{path} names columns but holds no rows; a series needs rows of numbers")
        if self.decimal == ",":
            places = [
                name for name in self.names if any("," in cell and _DIGITS.fullmatch(cell) for cell in cells[name])
            ]
            says = "the comma is the decimal mark" + (f": {', '.join(map(repr, places))}" if places else "")
            said = Finding("columns", says, "" if decimal else "as its cells show", "--decimal .")
            self.layout = replace(self.layout, findings=(*self.layout.findings, said))
        # A semicolon stands between cells where the comma is decimal: a point may then be one between thousands.
        doubt = doubtful_points(there) if decimal is None and layout.delimiter == ";" else None
        if doubt is not None and self.decimal == ".":
            says = f"the point in '{doubt[1]}' (column '{doubt[0]}') is a decimal mark, not one of thousands"
            said = Finding("columns", says, "no cell shows which", "--decimal ,", sure=False)
            self.layout = replace(self.layout, findings=(*self.layout.findings, said))
        kinds = self._guarded(self._schema)
        self.whole = {field.name for field in kinds if pa.types.is_integer(field.type)}
        self.kinds = {field.name: self._kind(field.type, cells[field.name]) for field in kinds}

    def _schema(self) -> Any:
        import pyarrow as pa

        # From Arrow's own memory: nobody waits for the thread that reads ahead (see `ReadAhead`).
        body = self.body
        if self.layout.delimiter == " ":
            blanks = Blanks(io.BytesIO(body))
            body = b"".join(iter(lambda: blanks.read(BLOCK), b""))
        return self._open(pa.BufferReader(body), {}).schema

    def _rows(self) -> list[list[str]]:
        text = self.body[: 256 * 1024].decode("utf-8", "replace")
        if self.layout.delimiter == " ":
            return [re.findall(r'"[^"]*"|\S+', line) for line in text.splitlines()]
        with contextlib.suppress(csv.Error):
            return list(csv.reader(io.StringIO(text, newline=""), delimiter=self.layout.delimiter))
        return [line.split(self.layout.delimiter) for line in text.splitlines()]

    def _kind(self, kind: Any, cells: Sequence[str]) -> Any:
        import pyarrow as pa

        padded = any(re.match(r"[+-]?0\d", cell) for cell in cells)  # 0705 is 7:05, 01032016 a day in March
        if padded or any("x" in cell or "X" in cell for cell in cells):
            return pa.string()
        if pa.types.is_integer(kind):
            # As whole numbers Arrow reads 0x10, too; as fractions it does not.
            return kind if any(len(cell) > 15 for cell in cells) else pa.float64()
        return kind if pa.types.is_floating(kind) else pa.string()

    def read(self, wanted: Callable[[str], bool]) -> Any:
        """Return all rows as an Arrow table; a column whose type does not hold to its end is read again as a wider one.

        Args:
            wanted: whether a column of fractions is wanted, by its name; all others are read.

        Raises:
            DataError: if the file is damaged, or too large.
        """
        import pyarrow as pa

        self.kinds = {
            n: kind for n, kind in self.kinds.items() if not pa.types.is_floating(kind) or n in self.whole or wanted(n)
        }
        while True:
            try:
                return self._all()
            except _Wider as wider:
                name = self.names[wider.column]
                self.kinds[name] = pa.float64() if pa.types.is_integer(self.kinds[name]) else pa.string()
            finally:
                if self.ahead is not None:
                    self.ahead.end()
                self.reader = None

    def _all(self) -> Any:
        import pyarrow as pa

        size = self.path.stat().st_size
        batches, left, rows = [], usable_memory() // 4, 0
        self.reader = self._guarded(self._restart, again=True)
        while (batch := self._guarded(self._following, again=True)) is not None:
            batches.append(batch)
            rows, left = rows + batch.num_rows, left - batch.nbytes
            limits.check_table(str(self.path), rows * len(self.kinds), size)
            if left < 0:
                raise DataError(
                    f"{self.path} holds more than {rows:,} rows of {len(self.kinds)} columns, a quarter of the "
                    "memory; take fewer --columns, or fewer rows"
                )
        return pa.Table.from_batches(batches, self.reader.schema)

    def _following(self) -> Any:
        return next(self.reader, None)  # held by nothing else: it goes when reading ends

    def _restart(self) -> Any:
        import pyarrow as pa

        source = open_stream(self.path)
        source.read(self.layout.start)
        if self.layout.delimiter == " ":
            source = Blanks(source)
        if isinstance(source, pa.NativeFile):
            return self._open(source, self.kinds)
        self.ahead = ReadAhead(source)
        return self._open(pa.PythonFile(self.ahead, mode="r"), self.kinds)

    def _open(self, source: Any, kinds: dict[str, Any]) -> Any:
        import pyarrow.csv as pc

        # A handler of invalid rows would be Python's, and be let go by the thread that reads ahead.
        convert = pc.ConvertOptions(
            column_types=kinds, include_columns=list(kinds),
            null_values=list(MISSING), strings_can_be_null=True, decimal_point=self.decimal,
            auto_dict_encode=False,
        )  # fmt: skip
        delimiter = "\t" if self.layout.delimiter == " " else self.layout.delimiter
        return pc.open_csv(
            source, pc.ReadOptions(use_threads=False, block_size=BLOCK, column_names=self.names),
            pc.ParseOptions(delimiter=delimiter, newlines_in_values=self.many_lines),
            convert,
        )  # fmt: skip

    def _guarded(self, read: Callable[[], Any], *, again: bool = False) -> Any:
        import pyarrow as pa

        try:
            return read()
        except (pa.ArrowException, OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError,
                zipfile.BadZipFile) as error:  # fmt: skip
            if bad := _BAD_ROW.search(str(error)):
                number, wanted, found, row = bad.groups()
                where = f" line {int(number) + self.layout.line - 1}" if number else ""
                raise DataError(
                    f"{self.path}:{where} has {found} values, but the first line names {wanted} columns "
                    f"('{row[:60]}'); mend that line"
                ) from error
            text = (str(error).splitlines() or [type(error).__name__])[0]
            if again and (cell := re.search(r"column #(\d+): .*conversion error", text)):
                raise _Wider(int(cell[1])) from error
            raise DataError(
                f"{self.path} cannot be read as CSV ({text}); mend it there, or save it as UTF-8"
            ) from error


class _Wider(Exception):
    """A column holds a cell that its type does not take."""

    def __init__(self, column: int) -> None:
        super().__init__(column)
        self.column = column
