"""CSV files and parquet tables of numbers, read in blocks into one float64 array for each column."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint._errors import DataError, suggest
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.series.time import COMPACT, compact_dates, form_of, read_times
from saddlepoint.data.sources.folder import shortened

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "?", "-", "#N/A"]
_COMMA, _POINT = re.compile(r'"?-?\d+,\d+"?'), re.compile(r'"?-?\d+\.\d+"?')
_PEEK = 4 * 1024**2
_BLOCK = 16 * 1024**2


@dataclass(frozen=True)
class Choice:
    """Which columns are what, as asked for; None: by what they hold."""

    columns: tuple[str, ...] | None = None
    time: str | None = None
    group: str | None = None
    label: str | None = None


@dataclass
class Table:
    """A table in memory.

    Attributes:
        name: path, for messages.
        values: float64 (rows,) by column, in the order of the file; NaN where missing.
        order: names of the columns that are used, in the order of the file.
        times: int64 microseconds or float64 numbers, (rows,); None without a time column.
        time: name of the time column; also "" without one.
        form: of the dates; ``number`` otherwise.
        sample: first time as it stands in the file.
        groups: index of each row's series, and the names of the series.
        label: name of the label column, or "".
        labels: index of each row's class, and the names of the classes; None without a label column.
        notes: what was recognised.
    """

    name: str
    values: dict[str, np.ndarray] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    times: np.ndarray | None = None
    time: str = ""
    form: str = ""
    sample: str = ""
    groups: tuple[np.ndarray, list[str]] | None = None
    label: str = ""
    labels: tuple[np.ndarray, list[str]] | None = None
    notes: list[str] = field(default_factory=list)


def is_table(path: Path) -> bool:
    """Whether a path names a table of series: a CSV by its ending, or a parquet file without images."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kinds = [str(column.type) for column in pq.read_schema(path)]
    except (pa.ArrowException, OSError):
        return False
    return not any("binary" in kind for kind in kinds) and any(k.startswith(("double", "float", "int")) for k in kinds)


def read_table(path: Path, choice: Choice) -> Table:
    """Read a table.

    Args:
        path: a CSV (comma, semicolon or tab; gzipped or not; UTF-8, first line names the columns) or parquet file.
        choice: which columns are what.

    Raises:
        DataError: if it cannot be read, a column is missing or no number, a value is infinite, a time or a group is
            missing; the text names line and column, and what to do.
    """
    opened: _Reader = _Parquet(path) if path.suffix.lower() == ".parquet" else _Csv(path)
    roles = _roles(path, opened, choice)
    stores: dict[str, list[np.ndarray]] = {name: [] for name in roles.all}
    words: dict[str, dict[str, int]] = {name: {} for name in (roles.group, roles.label) if name is not None}
    row, left = opened.first, usable_memory() // 4
    for batch in opened.batches(roles.kinds):
        for name in roles.all:
            texts = batch.column(name)
            if name in words:
                part = _indices(path, name, texts, words[name], row)
            elif name == roles.time and roles.form != "number":
                part = _times(path, name, texts, roles.form, row)
            else:
                part = _numbers(path, name, texts, row, name == roles.time)
            stores[name].append(part)
            left -= part.nbytes
        row += batch.num_rows
        if left < 0:
            raise DataError(
                f"{path} holds more than {row:,} rows of {len(roles.all)} columns, a quarter of the memory; take fewer "
                "--columns, or fewer rows"
            )
    if row == opened.first:
        raise DataError(f"{path} names columns but holds no rows; a series needs rows of numbers")
    joined = {name: np.concatenate(stores.pop(name)) for name in list(stores)}
    groups, labels = (
        None if name is None else (joined[name], list(words[name])) for name in (roles.group, roles.label)
    )
    return Table(
        str(path), {name: joined[name] for name in roles.numbers}, roles.all,
        None if roles.time is None else joined[roles.time], roles.time or "", roles.form, roles.sample,
        groups, roles.label or "", labels, roles.notes,
    )  # fmt: skip


@dataclass
class _Roles:
    numbers: list[str]
    time: str | None
    form: str
    sample: str
    group: str | None
    label: str | None
    all: tuple[str, ...]
    kinds: dict[str, Any]
    notes: list[str]


def _roles(path: Path, opened: _Reader, choice: Choice) -> _Roles:
    """Decide from the first block and the choice what each column is."""
    import pyarrow as pa

    head, notes = opened.head, []
    names = head.column_names
    asked = [("--time-column", choice.time), ("--group-column", choice.group), ("--label-column", choice.label)]
    for role, name in (*asked, *(("--columns", name) for name in choice.columns or ())):
        if name is not None and name not in names:
            raise DataError(f"{path} has no column '{name}' ({role}); {suggest(name, [n for n in names if n])}")
    texts = [n for n in names if pa.types.is_string(head.column(n).type)]
    whole = [n for n in names if pa.types.is_integer(head.column(n).type)]
    forms = {n: form_of(head.column(n)) for n in texts}
    forms |= {n: COMPACT for n in whole if compact_dates(head.column(n))}
    time = choice.time
    if time is None:
        time = next((n for n in names if forms.get(n) and n not in (choice.group, choice.label)), None)
    form = "" if time is None else forms.get(time) or ("number" if time not in forms else "")
    if time is not None and not form:
        raise DataError(
            f"{path}: dates of column '{time}' are not recognised ('{_first(head.column(time))}'); "
            "write them as 2020-12-31 or 2020-12-31 23:59:59"
        )
    special = {n for n in (time, choice.group, choice.label) if n is not None}
    left = [n for n in names if n not in special]
    if choice.columns is None and "" in left:
        if not _counts_up(head.column("")):
            raise DataError(
                f"{path}: column {names.index('') + 1} has no name, and does not count the rows "
                f"('{_first(head.column(''))}'); name it in the first line, or choose others with --columns"
            )
        notes.append("a column without a name counts the rows: it is left out")
        left.remove("")
    wanted = [n for n in left if n in choice.columns] if choice.columns is not None else left
    dates = [n for n in wanted if forms.get(n)]
    if choice.columns is None and dates:
        notes.append(f"further columns of dates are left out: {shortened(dates)}")
        wanted = [n for n in wanted if n not in dates]
    for name in wanted:
        if name in texts and head.column(name).null_count < len(head):
            raise DataError(
                f"{path}: column '{name}' holds text ('{_first(head.column(name))}'), not numbers; choose the columns "
                f"with --columns {','.join(n for n in wanted if n not in texts) or '...'}, or say what it is: "
                f"--group-column '{name}' if it tells series apart, --label-column '{name}' if it is a class"
            )
    if not wanted:
        raise DataError(
            f"{path} has no column of numbers (its columns: {shortened(names)}); a series needs at least one"
        )
    used = {*wanted, *special}
    order = tuple(n for n in names if n in used)
    kinds = {n: pa.string() if n in (choice.group, choice.label) or (n == time and form != "number") else pa.float64()
             for n in order}  # fmt: skip
    sample = "" if time is None else _first(head.column(time))
    return _Roles(wanted, time, form, sample, choice.group, choice.label, order, kinds, notes)


class _Reader:
    """A file of columns: its first block as it would be taken for, and all blocks in given types."""

    head: Any
    first = 2

    def batches(self, kinds: dict[str, Any]) -> Iterator[Any]:
        """Yield Arrow record batches of the named columns."""
        raise NotImplementedError


class _Csv(_Reader):
    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path, self.bad = path, []  # type: Path, list[Any]
        try:
            with pa.input_stream(str(path), compression="detect") as stream:
                start = bytes(stream.read(_PEEK + 1))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read ({error}); check the file") from error
        if not start.strip():
            raise DataError(f"{path} is empty; a CSV has a line of column names, then rows of numbers")
        if b"\0" in start:
            raise DataError(
                f"{path} holds NUL bytes (line {start[: start.index(0)].count(10) + 1}): it is damaged, or "
                "not UTF-8 text; save it as CSV in UTF-8"
            )
        lines = start.splitlines()
        if len(start) > _PEEK and len(lines) < 2:
            raise DataError(f"{path} has no line end in its first {_PEEK:,} bytes: it is not a CSV")
        try:
            header = lines[0].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: line 1 is not UTF-8 text ({error.reason}); save the file as UTF-8") from error
        self.delimiter = max(",;\t|", key=header.count)
        cells = [cell for line in lines[1:20] for cell in line.decode("utf-8", "replace").split(self.delimiter)]
        decimal = any(map(_COMMA.fullmatch, cells)) and not any(map(_POINT.fullmatch, cells))
        self.point = "," if decimal else "."
        self._check_header(header)
        whole = start if len(start) <= _PEEK else start[: start.rindex(b"\n") + 1]
        found = self._guarded(lambda: self._open(io.BytesIO(whole), {}).schema)
        kinds = {f.name: f.type if pa.types.is_floating(f.type) or pa.types.is_integer(f.type) else pa.string()
                 for f in found}  # fmt: skip
        self.head = self._guarded(lambda: self._open(io.BytesIO(whole), kinds).read_all().combine_chunks())

    def _check_header(self, header: str) -> None:
        import csv

        names = next(csv.reader([header], delimiter=self.delimiter))
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{self.path}: line 1 names column '{twice[0]}' {names.count(twice[0])} times; rename one")
        if all(_is_number(name) for name in names):
            raise DataError(
                f"{self.path}: line 1 holds numbers ({header[:60]}), but it must name the columns; put a "
                "line of names above it"
            )

    def _open(self, source: Any, kinds: dict[str, Any]) -> Any:
        import pyarrow.csv as pc

        def refuse(row: Any) -> str:
            self.bad.append(row)
            return "error"

        convert = pc.ConvertOptions(
            column_types=kinds, include_columns=list(kinds), null_values=MISSING,
            strings_can_be_null=True, decimal_point=self.point,
        )  # fmt: skip
        return pc.open_csv(
            source, pc.ReadOptions(use_threads=False, block_size=_BLOCK),
            pc.ParseOptions(delimiter=self.delimiter, invalid_row_handler=refuse), convert,
        )  # fmt: skip

    def _guarded(self, read: Any) -> Any:
        import pyarrow as pa

        try:
            with _no_remarks():
                return read()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if self.bad:
                row = self.bad[0]
                where = "" if row.number is None else f" line {row.number}"
                raise DataError(
                    f"{self.path}:{where} has {row.actual_columns} values, but the first line names "
                    f"{row.expected_columns} columns ('{row.text[:60]}'); mend that line"
                ) from error
            text = str(error).splitlines()[0]
            if cell := re.search(r"column #(\d+): Row #(\d+): .*invalid value '(.*)'", text):
                raise DataError(
                    f"{self.path}: line {cell[2]}, column {int(cell[1]) + 1} holds '{cell[3]}', which is no "
                    "number; leave it empty where a value is missing"
                ) from error
            raise DataError(
                f"{self.path} cannot be read as CSV ({str(error).splitlines()[0]}); mend it there, or save it as UTF-8"
            ) from error

    def batches(self, kinds: dict[str, Any]) -> Iterator[Any]:
        reader = self._guarded(lambda: self._open(str(self.path), kinds))
        while (batch := self._guarded(lambda: next(reader, None))) is not None:
            yield batch


class _Parquet(_Reader):
    first = 1

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self.file = pq.ParquetFile(path)
            first = next(self.file.iter_batches(batch_size=10_000, use_threads=False), None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} cannot be read as parquet ({str(error).splitlines()[0]}); fetch it again"
            ) from error
        self.head = pa.Table.from_batches([] if first is None else [first], self.file.schema_arrow)
        self.head = pa.table(
            {name: _as_text(self.head.column(name)) for name in self.head.column_names}
        ).combine_chunks()

    def batches(self, kinds: dict[str, Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in self.file.iter_batches(batch_size=200_000, columns=list(kinds), use_threads=False):
            columns = {name: _as_text(batch.column(name)).cast(kind, safe=False) for name, kind in kinds.items()}
            yield pa.RecordBatch.from_pydict(columns)


def _as_text(column: Any) -> Any:
    """Dates and categories as text, everything else as it is."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        # Text of nanoseconds is read by no parser of dates.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if (
        pa.types.is_dictionary(column.type)
        or pa.types.is_temporal(column.type)
        or pa.types.is_large_string(column.type)
    ):
        return column.cast(pa.string())
    return column


def _numbers(path: Path, name: str, column: Any, row: int, required: bool) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    if len(values) and not np.isfinite(values.sum()):
        wrong = ~np.isfinite(values) if required else np.isinf(values)
        if wrong.any():
            at = int(wrong.argmax())
            if np.isnan(values[at]):
                raise _without_time(path, row + at, name)
            raise DataError(
                f"{path}: line {row + at}, column '{name}' holds {values[at]}; every value must be a finite number: "
                "leave it empty where it is missing"
            )
    return np.asarray(values, dtype=np.float64)


def _times(path: Path, name: str, texts: Any, form: str, row: int) -> np.ndarray:
    try:
        times = read_times(texts, form)
    except ValueError as error:
        at, text = next(((i, t) for i, t in enumerate(texts.to_pylist()) if t and not _reads(t, form)), (0, ""))
        raise DataError(
            f"{path}: line {row + at}, column '{name}' holds '{text}', which is no date like the first "
            "ones; write all in one form, such as 2020-12-31"
        ) from error
    if texts.null_count:
        at = int((times == np.iinfo(np.int64).min).argmax())
        raise _without_time(path, row + at, name)
    return times


def _without_time(path: Path, line: int, name: str) -> DataError:
    return DataError(f"{path}: line {line} has no time in column '{name}'; fill or remove that line")


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Keep pyarrow from printing tracebacks of errors that it raises anyway (a line too short that is no UTF-8)."""
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def _reads(text: str, form: str) -> bool:
    import pyarrow as pa

    try:
        read_times(pa.array([text]), form)
    except ValueError:
        return False
    return True


def _indices(path: Path, name: str, texts: Any, words: dict[str, int], row: int) -> np.ndarray:
    if texts.null_count:
        at = texts.is_null().to_numpy(zero_copy_only=False).argmax()
        raise DataError(f"{path}: line {row + int(at)} has nothing in column '{name}'; fill it in, or remove that line")
    coded = texts.dictionary_encode()
    places = np.array(
        [words.setdefault(str(word), len(words)) for word in coded.dictionary.to_pylist()], dtype=np.int32
    )
    result: np.ndarray = places[coded.indices.to_numpy()]
    return result


def _counts_up(column: Any) -> bool:
    values = column.to_pylist()
    return bool(values) and values == list(range(values[0] or 0, (values[0] or 0) + len(values)))


def _first(column: Any) -> str:
    return next((str(value) for value in column.to_pylist() if value is not None), "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
