"""Tables of text: how the file is laid out, told from its first lines, and its columns, read in blocks."""

from __future__ import annotations

import bz2
import contextlib
import csv
import functools
import io
import lzma
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from saddlepoint._errors import DataError
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.series.forms import clock_of, forms_of
from saddlepoint.data.series.frame import Look
from saddlepoint.data.series.numbers import MISSING, decimal_mark

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".tab")
PACKED = ("", ".gz", ".bz2", ".xz", ".zip")
_PEEK = 4 * 1024**2
_BLOCK = 16 * 1024**2
_LINES = 400
"""Lines of the start of a file by which its layout is told."""
MOST_COLUMNS = 20_000
_NUMBER = re.compile(r"[+-]?(?:\d[\d.,' \u00a0\u202f\u2009\u2019]*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")
_COMMENTS = ("#", "%", "//")


@dataclass(frozen=True)
class Layout:
    """How a file of text is laid out.

    Attributes:
        delimiter: between cells; " ": runs of blanks.
        names: of the columns; those without one are "".
        start: bytes before the first row.
        line: number of the line of the first row.
        look: of the file.
        findings: what was decided.
    """

    delimiter: str
    names: tuple[str, ...]
    start: int
    line: int
    look: Look
    findings: tuple[Finding, ...] = ()


def open_stream(path: Path) -> Any:
    """Open a file for reading bytes, unpacked.

    Raises:
        DataError: if it cannot be opened, or is a zip of several files.
    """
    import pyarrow as pa

    try:
        ending = path.suffix.lower()
        if ending == ".xz":
            return pa.PythonFile(lzma.open(path), mode="r")
        if ending == ".bz2":
            return pa.PythonFile(bz2.open(path), mode="r")
        if ending == ".zip":
            archive = zipfile.ZipFile(path)
            return pa.PythonFile(archive.open(zipped_table(archive.namelist()) or archive.namelist()[0]), mode="r")
        return pa.input_stream(str(path), compression="detect")
    except (OSError, ValueError, IndexError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
            pa.ArrowException) as error:  # fmt: skip
        raise DataError(f"{path} cannot be read ({error}); check the file") from error


def zipped_table(names: Sequence[str]) -> str | None:
    """Return the only table among the files of an archive; None if there is another number of them."""
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    return files[0] if len(files) == 1 and files[0].lower().endswith(ENDINGS) else None


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


def layout_of(path: Path, start: bytes, header: bool | None) -> Layout:
    """Tell the layout of a file from its first lines.

    Args:
        path: for messages.
        start: as from `start_of`.
        header: whether a line names the columns; None: by what the lines hold.

    Raises:
        OpenQuestion: if the first line may be names or values.
        DataError: if it is no UTF-8, or names a column twice.
    """
    raw = re.findall(rb"[^\r\n]*(?:\r\n|\n|\r|$)", start[: 1024**2])[:_LINES]
    lines = []
    for place, line in enumerate(raw):
        try:
            lines.append(line.decode("utf-8-sig" if not place else "utf-8").strip("\r\n"))
        except UnicodeDecodeError as error:
            if place + 1 == len(raw):
                break  # the last one may be cut
            raise DataError(
                f"{path}: line {place + 1} is not UTF-8 text ({error.reason}); save the file as UTF-8"
            ) from error
    return _Sniffer(path, raw, lines, header).layout()


class _Sniffer:
    """Walks down the first lines: what stands above the names, the names, a line of units, the first row."""

    def __init__(self, path: Path, raw: list[bytes], lines: list[str], header: bool | None) -> None:
        self.path, self.raw, self.lines, self.header = path, raw, lines, header
        self.at, self.findings, self.told = 0, list[Finding](), ""
        self.comment = ""

    def layout(self) -> Layout:
        self._skip_comments()
        self.delimiter = self.told or self._delimiter()
        cells = {place: row for place, row in enumerate(map(self.cells, self.lines)) if place >= self.at and any(row)}
        places = sorted(cells)
        width = Counter(len(cells[place]) for place in places[len(places) // 4 :]).most_common(1)[0][0]
        self._skip_titles(cells, width)
        places = [place for place in sorted(cells) if place >= self.at]
        rows = [cells[place] for place in places]
        named = self._is_named(rows)
        names = list(rows[0]) if named else [f"column{i + 1}" for i in range(len(rows[0]))]
        data = places[1:] if named else places
        if named and len(data) > 2 and self._units(cells, data):
            self._say(f"line {data[0] + 1} holds units ({_shown(cells[data[0]])}) and is left out")
            data = data[1:]
        elif not named and self.comment and len(row := self.cells(self.comment)) == len(rows[0]):
            names = row
            self._say(f"the names of the columns stand in the comment above the rows ({_shown(names)})")
        names = [name.strip() for name in names]
        if all(re.fullmatch(r"'[^']+'", name) for name in names):
            names = [name.strip("'") for name in names]
        if named and data:
            names = self._shifted(names, [cells[place] for place in data])
        self._refuse_twice(names, places[0])
        if len(names) > MOST_COLUMNS:
            raise DataError(f"{self.path} has {len(names):,} columns, more than {MOST_COLUMNS:,}; give fewer")
        line = data[0] if data else len(self.lines)
        quoted = any('"' in self.lines[place] for place in data[:50])
        look = Look(self.delimiter, ".", "", quoted, named and '"' in self.lines[places[0]], named)
        start = sum(map(len, self.raw[:line]))
        return Layout(self.delimiter, tuple(names), start, line + 1, look, tuple(self.findings))

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line, without quotes and blanks around them."""
        if self.delimiter == " ":
            found = re.findall(r'"[^"]*"|\S+', line)
            return [cell.strip('"') for cell in found]
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter), [])]
        except csv.Error:
            return line.split(self.delimiter)

    def _say(self, text: str) -> None:
        self.findings.append(Finding("source", text))

    def _skip_comments(self) -> None:
        count = 0
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            if match := re.fullmatch(r'"?sep=(.)"?', line, re.IGNORECASE):
                self.told = match[1]
            elif line.startswith(_COMMENTS) and not (line.startswith("%") and "," in line):
                count, self.comment = count + 1, line.lstrip("#%/ \t")
            elif line:
                break
            self.at += 1
        if count:
            self._say(
                f"{count} line{'s'[: count - 1]} of comments above the table {'is' if count == 1 else 'are'} left out"
            )
        if self.at == len(self.lines):
            raise DataError(f"{self.path} is empty; a CSV has a line of column names, then rows of numbers")

    def _delimiter(self) -> str:
        """Return the delimiter that cuts most lines into one number of cells, more than one."""
        lines = [line for line in self.lines[self.at :] if line.strip()]
        best, mark = (0.0, 0), ","
        for delimiter in ",;\t|":
            self.delimiter = delimiter
            widths = [len(self.cells(line)) for line in lines]
            width, count = Counter(widths[len(widths) // 4 :]).most_common(1)[0]
            even = count / len(widths[len(widths) // 4 :])
            agrees = widths[0] == width
            if width > 1 and even >= 0.8 and (even + agrees, width) > best:
                best, mark = (even + agrees, width), delimiter
        self.delimiter = mark
        widths = [len(self.cells(line)) for line in lines]
        if mark == "," and widths[0] == 1 and set(widths[1:]) == {2} and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", lines[1]):
            return ";"  # one column of numbers with a decimal comma
        blanks = [len(re.findall(r'"[^"]*"|\S+', line)) for line in lines]
        if not best[1] and len(blanks) > 1 and max(blanks) > 1:
            rest = set(blanks[1:])
            if len(rest) == 1 and blanks[0] in (max(rest), max(rest) - 1) and _is_value(lines[1].split()[-1]):
                return " "
        return mark

    def _skip_titles(self, cells: dict[int, list[str]], width: int) -> None:
        """Leave out lines above the names, which have fewer cells than the table."""
        places = sorted(cells)[:30]
        first = next((place for place in places if len(cells[place]) == width), self.at)
        before = [place for place in places if place < first]
        if before and len(before) == 1 and len(cells[before[0]]) == width - 1:
            names_below = not any(_is_value(cell) for cell in cells[first] if cell)
            if width > 2 or not names_below:
                return  # names without one for the first column
        if before and any(len(cells[place]) < width for place in before):
            self._say(f"{len(before)} line{'s'[: len(before) - 1]} above the names of the columns left out "
                      f"('{self.lines[before[0]].strip()[:40]}')")  # fmt: skip
            self.at = first

    def _is_named(self, rows: list[list[str]]) -> bool:
        """Whether the first line names the columns."""
        if self.header is not None:
            return self.header
        first, body = rows[0], rows[1:]
        values = [place for place, cell in enumerate(first) if _is_value(cell)]
        columns = [[row[place] for row in body if place < len(row) and row[place]] for place in range(len(first))]
        numeric = [bool(column) and sum(map(_is_value, column)) > len(column) / 2 for column in columns]
        if any(numeric[place] and cell and place not in values for place, cell in enumerate(first)) or not values:
            return True
        counting = _counts(first[place] for place in values)
        if counting is not None and (len(values) < len(first) or (counting == 0 and len(values) > 2)):
            self.findings.append(
                Finding("columns", f"the first line names the columns ({_shown(first)})", "its numbers count up",
                        "--no-header", sure=False)
            )  # fmt: skip
            return True
        if self.comment and len(self.cells(self.comment)) == len(first):
            return False
        what = "numbers" if all(_NUMBER.fullmatch(cell) for cell in first if cell) else "a date or numbers"
        rest = [", ".join(row) for row in rows[1:3]]
        readings = [
            Reading("it is the first row of values; the columns have no names", {"header": False},
                    [f"names: {', '.join(f'column{i + 1}' for i in range(len(first)))}", f"rows: {', '.join(first)}",
                     *rest]),
            Reading("it names the columns", {"header": True}, [f"names: {', '.join(first)}", *rest]),
        ]  # fmt: skip
        line = self.at + 1
        raise OpenQuestion(
            f"{self.path}: line {line} holds {what} ({self.lines[self.at].strip()[:60]}): does it name the columns?",
            readings,
        )

    def _units(self, cells: dict[int, list[str]], data: list[int]) -> bool:
        """Whether the line below the names holds units: text above numbers in every column that has any."""
        units, below = cells[data[0]], [cells[place] for place in data[1:20]]
        if any(_is_value(cell) for cell in units) or not any(units):
            return False
        texts = [place for place, cell in enumerate(units) if cell and cell not in MISSING]
        over = [
            place
            for place in texts
            if all(place < len(row) and (_is_value(row[place]) or not row[place]) for row in below)
        ]
        return bool(over) and len(over) >= len(texts) / 2 and all(cell not in MISSING or not cell for cell in units)

    def _shifted(self, names: list[str], rows: list[list[str]]) -> list[str]:
        """Return names, with one for a first column that has none (as R writes tables)."""
        width = Counter(map(len, rows)).most_common(1)[0][0]
        if width != len(names) + 1:
            return names
        if not any(row[-1] for row in rows if len(row) == width):
            return [*names, ""]
        firsts = [row[0] for row in rows if len(row) == width]
        if len(set(firsts)) < len(firsts):
            return names
        self._say("the first column has no name: the first line names one column fewer than the rows have")
        return ["", *names]

    def _refuse_twice(self, names: list[str], place: int) -> None:
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise DataError(
                f"{self.path}: line {place + 1} names column '{twice[0]}' {names.count(twice[0])} times; rename one"
            )


def _is_value(cell: str) -> bool:
    """Whether a cell holds a number or a time."""
    return bool(_NUMBER.fullmatch(cell)) or bool(forms_of(cell)) or bool(clock_of(cell))


def _counts(cells: Iterator[str] | Sequence[str]) -> int | None:
    """Return the first of whole numbers that go up by one step; None if they do not."""
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError:
        return None
    steps = {b - a for a, b in pairwise(numbers)}
    return numbers[0] if len(steps) <= 1 and min(steps, default=1) > 0 else None


def _shown(cells: Sequence[str]) -> str:
    text = ", ".join(cell for cell in cells if cell)
    return text if len(text) <= 60 else text[:57] + "..."


class Columns:
    """Reads the columns of a file of text into Arrow arrays.

    Attributes:
        layout: of the file.
        table: int64, float64 and texts, by column; filled by `read`.
    """

    def __init__(self, path: Path, start: bytes, layout: Layout, names: Sequence[str], decimal: str | None) -> None:
        self.path, self.layout, self.names = path, layout, list(names)
        self.body = start[layout.start :]
        self.bad: list[Any] = []
        self.many_lines = b'"' in self.body
        rows = [dict(zip(self.names, row, strict=False)) for row in self._rows()]
        cells = {name: [row[name].strip() for row in rows if row.get(name)] for name in self.names}
        self.decimal = decimal_mark(str(path), {n: [c for c in t if c not in MISSING] for n, t in cells.items()},
                                    decimal, layout.delimiter)  # fmt: skip
        self.layout = replace(layout, look=replace(layout.look, decimal=self.decimal))
        if not self.body.strip():
            raise DataError(f"{path} names columns but holds no rows; a series needs rows of numbers")
        kinds = self._guarded(lambda: self._open(self._stream(io.BytesIO(self.body)), {}).schema)
        self.kinds = {field.name: self._kind(field.type, cells[field.name]) for field in kinds}

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
        plain = (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and not padded
        return kind if plain else pa.string()

    def read(self, wanted: Callable[[str], bool]) -> Any:
        """Return all rows as an Arrow table; a column whose type does not hold to its end is read again as a wider one.

        Args:
            wanted: whether a column of fractions is wanted, by its name; all others are read.

        Raises:
            DataError: if the file is damaged, or too large.
        """
        import pyarrow as pa

        self.kinds = {n: kind for n, kind in self.kinds.items() if not pa.types.is_floating(kind) or wanted(n)}
        while True:
            batches, left, rows = [], usable_memory() // 4, 0
            try:
                reader = self._guarded(self._restart, again=True)
                following = functools.partial(next, reader, None)
                while (batch := self._guarded(following, again=True)) is not None:
                    batches.append(batch)
                    rows, left = rows + batch.num_rows, left - batch.nbytes
                    if left < 0:
                        raise DataError(
                            f"{self.path} holds more than {rows:,} rows of {len(self.kinds)} columns, a quarter of the "
                            "memory; take fewer --columns, or fewer rows"
                        )
            except _Wider as wider:
                name = self.names[wider.column]
                self.kinds[name] = pa.float64() if pa.types.is_integer(self.kinds[name]) else pa.string()
                continue
            return pa.Table.from_batches(batches, reader.schema)

    def _restart(self) -> Any:
        stream = open_stream(self.path)
        stream.read(self.layout.start)
        return self._open(self._stream(stream), self.kinds)

    def _stream(self, source: Any) -> Any:
        import pyarrow as pa

        return pa.PythonFile(_Blanks(source), mode="r") if self.layout.delimiter == " " else source

    def _open(self, source: Any, kinds: dict[str, Any]) -> Any:
        import pyarrow.csv as pc

        def refuse(row: Any) -> str:
            self.bad.append(row)
            return "error"

        convert = pc.ConvertOptions(
            column_types=kinds, include_columns=list(kinds),
            null_values=list(MISSING), strings_can_be_null=True, decimal_point=self.decimal,
            auto_dict_encode=False,
        )  # fmt: skip
        delimiter = "\t" if self.layout.delimiter == " " else self.layout.delimiter
        return pc.open_csv(
            source, pc.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=self.names),
            pc.ParseOptions(delimiter=delimiter, invalid_row_handler=refuse, newlines_in_values=self.many_lines),
            convert,
        )  # fmt: skip

    def _guarded(self, read: Callable[[], Any], *, again: bool = False) -> Any:
        import pyarrow as pa

        try:
            with _no_remarks():
                return read()
        except (pa.ArrowException, OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError,
                zipfile.BadZipFile) as error:  # fmt: skip
            if self.bad:
                row = self.bad[0]
                where = "" if row.number is None else f" line {row.number + self.layout.line - 1}"
                raise DataError(
                    f"{self.path}:{where} has {row.actual_columns} values, but the first line names "
                    f"{row.expected_columns} columns ('{row.text[:60]}'); mend that line"
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


class _Blanks(io.RawIOBase):
    """A stream in which runs of blanks between cells are tabs."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.source, self.left = source, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = bytes(self.source.read(_BLOCK if size < 0 or size > _BLOCK else size))
        text = self.left + block
        cut = text.rfind(b"\n") + 1 if block else len(text)
        self.left = text[cut:]
        lines = [
            re.sub(rb'("[^"]*")|[ \t]+', lambda m: m[1] or b"\t", line.strip()) for line in text[:cut].splitlines()
        ]
        done = b"".join(line + b"\n" for line in lines)
        return done if done or not block else self.read(size)


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Keep pyarrow from printing tracebacks of errors that it raises anyway (a line too short that is no UTF-8)."""
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        yield
    finally:
        sys.unraisablehook = before
