"""Files of series, opened: their columns with the types they hold, before anybody decides which column is what."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.files import parse_json
from saddlepoint.core.zips import Zip
from saddlepoint.data import limits
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, as_findings
from saddlepoint.data.tables.feather import check_feather
from saddlepoint.data.tables.formats import ARRAYS, READERS
from saddlepoint.data.tables.forms import says_time
from saddlepoint.data.tables.frame import Frame, Look
from saddlepoint.data.tables.numbers import to_numbers
from saddlepoint.data.tables.opened import Column, Kind, Opened, of_table
from saddlepoint.data.tables.sniffer import layout_of
from saddlepoint.data.tables.streams import ENDINGS, PACKED, zipped_table
from saddlepoint.data.tables.text import Columns, start_of
from saddlepoint.data.tables.time import candidates, examples

__all__ = ["Column", "Frame", "Look", "Opened", "is_table", "open_table"]


def _reader(path: Path) -> Callable[[Path, Options], Frame | None] | None:
    """Return the reader of a further format by its ending, or None."""
    ending = path.suffix.lower()
    return READERS.get(ending) or ARRAYS.get(ending)


def is_table(path: Path) -> bool:
    """Whether a path names a table of series: by its ending, or by what a parquet file or an archive holds."""
    name = path.name.lower()
    if any(name.endswith(ending + packed) for ending in ENDINGS for packed in PACKED):
        return True
    if not path.is_file():
        return name.endswith((".feather", ".arrow", ".json", ".jsonl", ".zarr"))
    if name.endswith(".zip"):
        try:
            with Zip(path) as archive:
                return zipped_table(archive.namelist()) is not None
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
            return False
    if name.endswith((".feather", ".arrow")) or path.suffix.lower() in READERS:
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
    import pyarrow as pa

    start = start_of(path)
    layout = layout_of(path, start, options.header)
    names, nameless = _named(layout.names)
    read = Columns(path, start, layout, names, options.decimal)
    table = read.read(lambda name: _asked(options, name))
    names = list(table.column_names)
    opened = Opened(str(path), {}, layout.line, "line", read.layout.look, list(read.layout.findings), nameless)
    marked: dict[str, int] = {}
    for name in names:
        column = table.column(name)
        table = table.drop_columns([name])
        if name in read.whole and pa.types.is_floating(column.type):
            with contextlib.suppress(pa.ArrowInvalid):  # the first rows are whole numbers, later ones fractions
                column = column.cast(pa.int64())
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
        unique = name or ("" if not nameless else f"(column {place + 1})")
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
                limits.check_columns(str(path), len(names))
                limits.check_table(str(path), rows * len(names), path.stat().st_size)
            table = _parquet(path, names, schema)
        else:
            check_feather(path)
            table = feather.read_table(path, use_threads=False)
            _check_texts(path, table)
        kept = parse_json((table.schema.metadata or {}).get(b"pandas", b"{}"))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be read as {kind} ({text}); fetch it again") from error
    index = (
        tuple(entry for entry in kept.get("index_columns", ()) if isinstance(entry, str))
        if isinstance(kept, dict)
        else ()
    )
    return of_table(str(path), table, index)


def _parquet(path: Path, names: Sequence[str], schema: Any) -> Any:
    """Return columns of a parquet file; of texts, a dictionary may hold one large value for all rows.

    Raises:
        DataError: if its texts are too large in full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {field.name: field.type for field in schema}
    texts = [n for n in names if pa.types.is_string(kinds[n]) or pa.types.is_large_string(kinds[n])]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        table = file.read(columns=list(names), use_threads=False)
    _check_texts(path, table)
    for name in texts:
        place = table.column_names.index(name)
        table = table.set_column(place, schema.field(name), table.column(place).cast(kinds[name]))
    return table


def _check_texts(path: Path, table: Any) -> None:
    """Refuse texts that stand in a dictionary, and would be too large in full.

    Raises:
        DataError: if they are.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    total, kinds = 0, (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    for column in table.columns:
        if not pa.types.is_dictionary(column.type) or not any(kind(column.type.value_type) for kind in kinds):
            continue
        for chunk in column.chunks:
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            total += int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
            limits.check_table(str(path), total // 8, path.stat().st_size)


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
    return rows if len(rows) > 1 and all(isinstance(row, dict) for row in rows) else None


def _of_json(path: Path) -> Opened:
    import pandas as pd

    records = _records(path)
    if records is None:
        raise DataError(f"{path} is no list of records in JSON; give a list of objects, or one object a line")
    names = {name for record in records for name in record}
    limits.check_columns(str(path), len(names))
    limits.check_table(str(path), len(records) * len(names), path.stat().st_size)
    return _of_frame(path, Frame(pd.DataFrame(records)))


def _of_frame(path: Path, frame: Frame) -> Opened:
    """Return what another reader made of a file."""
    import pyarrow as pa

    limits.check_columns(str(path), len(frame.data.columns))
    arrays = {}
    for place, name in enumerate(frame.data.columns):
        series = frame.data.iloc[:, place]
        try:
            arrays[str(name)] = pa.chunked_array([pa.array(series, from_pandas=True)])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            texts = [None if value is None or value != value else str(value) for value in series.tolist()]
            arrays[str(name)] = pa.chunked_array([pa.array(texts, pa.string())])
    opened = of_table(str(path), pa.table(arrays), ()) if arrays else Opened(str(path), {})
    for name, column in opened.columns.items():
        if column.kind == "text":
            opened.columns[name] = _of_cells(name, column.data, ".", (), opened, {})
    opened.look, opened.time, opened.group, opened.label = frame.look, frame.time, frame.group, frame.label
    opened.moments = frame.moments
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
