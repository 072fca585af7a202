"""Files of series, opened: their columns with the types they hold, before anybody decides which column is what."""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, as_findings
from saddlepoint.data.series.forms import says_time
from saddlepoint.data.series.frame import Frame, Look
from saddlepoint.data.series.numbers import to_numbers
from saddlepoint.data.series.text import ENDINGS, PACKED, Columns, layout_of, start_of, zipped_table
from saddlepoint.data.series.time import candidates, examples

__all__ = ["Column", "Frame", "Look", "Opened", "is_table", "open_table"]

Kind = Literal["int", "float", "text", "bool", "time", "empty", "other"]


@dataclass
class Column:
    """One column of a file.

    Attributes:
        name: unique in the file.
        kind: of its cells; ``time``: typed as times, ``other``: lists, structures, bytes.
        data: Arrow array: int64, float64, texts, booleans, or timestamps of nanoseconds.
        form: of ``time``: ``timestamp:us``, ``period:M``; else "".
        zone: of ``time``.
        texts: the cells as they stand, where the file is text and they are not plain numbers; else None.
        bad: first cell of a column of numbers that is none: its row and text.
        what: type in words, for messages.
    """

    name: str
    kind: Kind
    data: Any
    form: str = ""
    zone: str = ""
    texts: Any = None
    bad: tuple[int, str] | None = None
    what: str = ""

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        if self.kind == "int":
            return True
        return self.kind == "float" and bool(np.all(np.isnan(v := self.numbers()) | (v == np.floor(v))))

    def numbers(self) -> np.ndarray:
        """Return float64 values, NaN where missing."""
        import pyarrow as pa

        return np.asarray(self.data.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)

    def shown(self) -> str:
        """Return the first value that is not missing, as text."""
        for chunk in self.data.slice(0, 1000).chunks:
            for value in chunk:
                if value.is_valid:
                    return str(value.as_py())[:40]
        return ""


@dataclass
class Opened:
    """A file of columns.

    Attributes:
        name: path, for messages.
        columns: by name, in the order of the file.
        line: number of the first row; rows are counted in ``unit`` s.
        unit: ``line`` or ``row``.
        look: of the file.
        findings: what was decided on the way.
        nameless: columns that have no name in the file.
        index: columns that are a data frame's index.
        time, group, label: columns that the format itself says to be these.
        struck: cells of text that hold a mark which the user named, by mark.
    """

    name: str
    columns: dict[str, Column]
    line: int = 1
    unit: str = "row"
    look: Look = field(default_factory=Look)
    findings: list[Finding] = field(default_factory=list)
    nameless: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    label: str | None = None
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())).data)

    def place(self, row: int) -> str:
        """Return where a row stands, as ``line 12``."""
        return f"{self.unit} {row + self.line}"


def _reader(path: Path) -> Callable[[Path, Options], Frame | None] | None:
    """Return the reader of a further format by its ending, or None."""
    try:
        formats = importlib.import_module("saddlepoint.data.series.formats")
    except ModuleNotFoundError:
        return None
    readers: dict[str, Callable[[Path, Options], Frame | None]] = formats.READERS
    return readers.get(path.suffix.lower())


def is_table(path: Path) -> bool:
    """Whether a path names a table of series: by its ending, or by what a parquet file or an archive holds."""
    name = path.name.lower()
    if any(name.endswith(ending + packed) for ending in ENDINGS for packed in PACKED):
        return True
    if not path.is_file():
        return name.endswith((".feather", ".arrow", ".json", ".jsonl"))
    if name.endswith(".zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                return zipped_table(archive.namelist()) is not None
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
            return False
    if name.endswith((".feather", ".arrow")) or _reader(path) is not None:
        return True
    if name.endswith((".json", ".jsonl")):
        return _records(path) is not None
    return name.endswith((".parquet", ".pq")) and _numeric_parquet(path)


def _numeric_parquet(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kinds = [str(column.type) for column in pq.read_schema(path)]
    except (pa.ArrowException, OSError, ValueError):
        return False
    numeric = ("double", "float", "int", "uint", "decimal", "duration", "halffloat", "dictionary")
    return not any("binary" in kind for kind in kinds) and any(kind.startswith(numeric) for kind in kinds)


def open_table(path: Path, options: Options) -> Opened:
    """Open a file of columns.

    Args:
        path: CSV or another table of text, packed or not; parquet; feather; or what `formats` reads.
        options: ``decimal``, ``header``, ``missing`` and those of further formats.

    Raises:
        OpenQuestion: if the file can be read in several ways.
        DataError: if it cannot be read.
    """
    name = path.name.lower()
    reader = _reader(path)
    if reader is not None:
        frame = reader(path, options)
        if frame is None:
            raise DataError(f"{path} holds no table of series; see docs/data.md for what can be read")
        opened = _of_frame(path, frame)
    elif name.endswith((".parquet", ".pq", ".feather", ".arrow")):
        opened = _of_arrow(path, options)
    elif name.endswith((".json", ".jsonl")):
        opened = _of_json(path)
    else:
        opened = _of_text(path, options)
    if not opened.columns or not opened.rows:
        raise DataError(f"{path} names columns but holds no rows; a series needs rows of numbers")
    _strike_out(opened, options.missing)
    return opened


def _asked(options: Options, name: str) -> bool:
    """Whether a column of fractions is read, where features are named: others can be no time, series or label."""
    special = (*(options.time_column or ()), options.group_column, options.label_column)
    return options.columns is None or name in options.columns or name in special or says_time(name) or not name


def _of_text(path: Path, options: Options) -> Opened:
    start = start_of(path)
    layout = layout_of(path, start, options.header)
    names, nameless = _named(layout.names)
    read = Columns(path, start, layout, names, options.decimal)
    table = read.read(lambda name: _asked(options, name))
    names = list(table.column_names)
    opened = Opened(str(path), {}, layout.line, "line", read.layout.look, list(layout.findings), nameless)
    marked: dict[str, int] = {}
    for name in names:
        column = table.column(name)
        table = table.drop_columns([name])
        opened.columns[name] = _of_cells(name, column, read.decimal, options.missing, opened, marked)
    if marked:
        shown = ", ".join(f"'{mark}' ({count:,})" for mark, count in sorted(marked.items())[:5])
        opened.findings.append(
            Finding(
                "missing", f"texts among numbers were taken for missing values: {shown}", "nothing else is no number"
            )
        )
    return opened


def _named(names: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return unique names, and which of them the file does not have: the first is "", others say their place."""
    found, nameless = list[str](), list[str]()
    for place, name in enumerate(names):
        unique = name or ("" if "" not in found else f"(column {place + 1})")
        nameless += [] if name else [unique]
        found.append(unique)
    return found, tuple(nameless)


def _of_cells(
    name: str, data: Any, decimal: str, missing: tuple[str, ...], opened: Opened, marked: dict[str, int]
) -> Column:
    """Return a column of a text file: numbers where all cells are, else texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(data.type):
        return Column(name, "int" if pa.types.is_integer(data.type) else "float", data)
    for mark in missing:
        here = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(data), mark), False)
        opened.struck[mark] = opened.struck.get(mark, 0) + pc.sum(here).as_py()
        data = pc.if_else(here, pa.scalar(None, pa.string()), data)
    if data.null_count == len(data):
        return Column(name, "empty", data)
    few = examples(data)
    if any(not text.isdigit() for text in few) and candidates(few):
        return Column(name, "text", data, texts=data)
    numbers = to_numbers(data, decimal)
    if numbers is None:
        return Column(name, "text", data, texts=data)
    if numbers.values is None:
        return Column(name, "text", data, texts=data, bad=numbers.bad)
    for mark, count in dict(numbers.marks or {}).items():
        marked[mark] = marked.get(mark, 0) + count
    if numbers.thousands:
        opened.look = replace(opened.look, thousands=numbers.thousands)
        opened.findings.append(
            Finding("columns", f"'{numbers.thousands}' stands between thousands in '{name}'", f"as in '{few[0]}'",
                    f"--decimal {numbers.thousands}" if numbers.thousands in ".," else "")
        )  # fmt: skip
    kind: Kind = "int" if pa.types.is_integer(numbers.values.type) else "float"
    return Column(name, kind, numbers.values, texts=data)


def _of_arrow(path: Path, options: Options) -> Opened:
    """Open parquet or feather, with the index that pandas kept."""
    import pandas.core.arrays.arrow.extension_types  # noqa: F401  (registers periods with pyarrow)
    import pyarrow as pa
    import pyarrow.feather as feather
    import pyarrow.parquet as pq

    kind = "parquet" if path.name.lower().endswith((".parquet", ".pq")) else "feather"
    try:
        if kind == "parquet":
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
                names = [f.name for f in schema if not pa.types.is_floating(f.type) or _asked(options, f.name)]
                if rows * len(names) * 8 > usable_memory() // 4:
                    raise DataError(
                        f"{path} holds more than a quarter of the memory ({rows:,} rows of {len(names)} columns); take "
                        "fewer --columns, or fewer rows"
                    )
                table = file.read(columns=names, use_threads=False)
        else:
            table = feather.read_table(path, use_threads=False)
        kept = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be read as {kind} ({text}); fetch it again") from error
    index = (
        tuple(entry for entry in kept.get("index_columns", ()) if isinstance(entry, str))
        if isinstance(kept, dict)
        else ()
    )
    return _of_table(str(path), table, index)


def _of_table(name: str, table: Any, index: tuple[str, ...]) -> Opened:
    names = list(table.column_names)
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{name} names column '{twice[0]}' {names.count(twice[0])} times; rename one")
    found: dict[str, Column] = {}
    renamed, hidden = list[str](), list[str]()
    for place, column in enumerate(names):
        shown = column
        if column in index and (not column or column.startswith("__index_level_")):
            shown = next(n for n in ("index", f"index{place}", f"index {place}") if n not in names)
            hidden.append(shown)
        renamed += [shown] if column in index else []
        found[shown] = _typed(shown, table.column(place))
    opened = Opened(name, found, index=tuple(renamed), nameless=tuple(n for n in found if not n))
    for column in found.values():
        if column.what.startswith("duration"):
            opened.findings.append(Finding("columns", f"'{column.name}' holds durations: read in seconds"))
    return opened


def _typed(name: str, data: Any) -> Column:
    """Return a column with one of the types of `Column`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, what = data.type, str(data.type)
    if isinstance(kind, pa.BaseExtensionType):
        freq = getattr(kind, "freq", None)
        data = pa.chunked_array([chunk.storage for chunk in data.chunks], type=kind.storage_type)
        if isinstance(freq, str):
            return _period(name, data, freq)
        kind = data.type
    if pa.types.is_dictionary(kind):
        data = data.cast(kind.value_type)
        kind = data.type
    if data.null_count == len(data):
        return Column(name, "empty", data, what=what)
    try:
        if pa.types.is_boolean(kind):
            return Column(name, "bool", data, what=what)
        if pa.types.is_integer(kind):
            return Column(name, "int", data.cast(pa.int64()), what=what)
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return Column(name, "float", pc.if_else(pc.is_nan(f := data.cast(pa.float64())), None, f), what=what)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or "string_view" in what:
            texts = data.cast(pa.string())
            return Column(name, "text", texts, texts=texts, what=what)
        if pa.types.is_duration(kind):
            per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            return Column(name, "float", pc.divide(data.cast(pa.int64()).cast(pa.float64()), float(per)), what=what)
        if pa.types.is_time(kind):
            texts = data.cast(pa.string())
            return Column(name, "text", texts, texts=texts, what=what)
        if pa.types.is_date(kind):
            return Column(
                name, "time", data.cast(pa.timestamp("ms")).cast(pa.timestamp("ns")), "timestamp:D", what=what
            )
        if pa.types.is_timestamp(kind):
            plain = data.cast(pa.timestamp("ns", kind.tz))
            return Column(name, "time", plain, f"timestamp:{kind.unit}", kind.tz or "", what=what)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        pass
    return Column(name, "other", data, what=what)


def _period(name: str, ordinals: Any, freq: str) -> Column:
    """Return periods as the times of their beginnings."""
    import pandas as pd
    import pyarrow as pa

    numbers = ordinals.to_pandas().astype("Int64")
    index = pd.PeriodIndex.from_ordinals(numbers.fillna(0).astype("int64").to_numpy(), freq=freq).to_timestamp()
    times = pa.array(index.as_unit("ns").asi8, pa.timestamp("ns"), mask=numbers.isna().to_numpy())
    return Column(name, "time", pa.chunked_array([times]), f"period:{freq}", what=f"period[{freq}]")


MOST_JSON = 256 * 1024**2
"""Bytes of a JSON file, which is read whole."""


def _records(path: Path) -> list[dict[str, Any]] | None:
    """Return the records of a JSON file: a list of objects, or one object a line; None if it holds another thing."""
    try:
        if path.stat().st_size > MOST_JSON:
            return None
        text = path.read_text("utf-8-sig").strip()
        rows = (
            json.loads(text)
            if text.startswith("[")
            else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except (OSError, ValueError, RecursionError):
        return None
    return rows if rows and all(isinstance(row, dict) for row in rows) else None


def _of_json(path: Path) -> Opened:
    import pandas as pd

    records = _records(path)
    if records is None:
        raise DataError(f"{path} is no list of records in JSON; give a list of objects, or one object a line")
    return _of_frame(path, Frame(pd.DataFrame(records)))


def _of_frame(path: Path, frame: Frame) -> Opened:
    """Return what another reader made of a file."""
    import pyarrow as pa

    arrays = {}
    for place, name in enumerate(frame.data.columns):
        series = frame.data.iloc[:, place]
        try:
            arrays[str(name)] = pa.chunked_array([pa.array(series, from_pandas=True)])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            texts = [None if value is None or value != value else str(value) for value in series.tolist()]
            arrays[str(name)] = pa.chunked_array([pa.array(texts, pa.string())])
    opened = _of_table(str(path), pa.table(arrays), ()) if arrays else Opened(str(path), {})
    for name, column in opened.columns.items():
        if column.kind == "text":
            opened.columns[name] = _of_cells(name, column.data, ".", (), opened, {})
    opened.look, opened.time, opened.group, opened.label = frame.look, frame.time, frame.group, frame.label
    opened.findings = [*as_findings(frame.notes, "source"), *opened.findings]
    return opened


def _strike_out(opened: Opened, marks: tuple[str, ...]) -> None:
    """Take the given marks for missing values, in columns of any type, and say how many there were."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for mark in marks:
        count, number = opened.struck.get(mark, 0), _number(mark)
        for column in opened.columns.values():
            before = column.data.null_count
            if column.kind in ("int", "float") and number is not None:
                here = pc.fill_null(
                    pc.equal(column.data, number if column.kind == "float" else pa.scalar(number)), False
                )
            elif column.kind == "text":
                here = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column.data), mark), False)
            else:
                continue
            column.data = pc.if_else(here, pa.scalar(None, column.data.type), column.data)
            count += column.data.null_count - before
            if column.data.null_count == len(column.data):
                column.kind = "empty"
        says = f"'{mark}' stands for a missing value, as asked: {count:,} cells" if count else f"no cell holds '{mark}'"
        opened.findings.append(Finding("missing", says))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
