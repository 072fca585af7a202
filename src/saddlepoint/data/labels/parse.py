"""Files of labels as rows: CSV, JSON, JSON lines and parquet, before anybody asks which column is which."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits

TABLE_SUFFIXES = (".csv", ".tsv")
"""Other tables beside images are looked at too: Kaggle calls them train.csv or trainLabels.csv."""
_BATCH = 64
NO_TABLE = (
    UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error, RecursionError, OSError,
    OverflowError, MemoryError, DataError,
)  # fmt: skip


def parse_rows(file: str, data: bytes) -> list[dict[str, Any]] | dict[str, Any] | None:
    """Return rows, or a mapping from file names to labels; None if the file says that there are none."""
    if len(data) > limits.MOST_TEXT:
        raise ValueError(f"it has more than {limits.MOST_TEXT:,} bytes")
    if file.endswith(".parquet"):
        return _from_parquet(data)
    text = data.decode("utf-8-sig")
    if file.endswith(TABLE_SUFFIXES):
        return _from_csv(text)
    if file.endswith(".jsonl"):
        return _rows([json.loads(line) for line in text.splitlines() if line.strip()])
    content = json.loads(text)
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        raise ValueError("it holds boxes or outlines (COCO), not a label for each image")
    if isinstance(content, dict) and "labels" in content and not isinstance(content["labels"], int | str):
        content = content["labels"]
        if content is None:
            return None
    if isinstance(content, dict):
        return _several([(name, label) for name, label in content.items()])
    if not isinstance(content, list) or not content:
        raise ValueError("neither a mapping nor a list of rows")
    if isinstance(content[0], dict):
        return _rows(content)
    return _several([(name, label) for name, label in content])


def _several(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not pairs:
        raise ValueError("no rows")
    for name, label in pairs:
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise ValueError(f"{name!r:.40} is no file name")
        if found.setdefault(str(name), label) != label:
            raise ValueError(f"it gives {name} two labels, '{found[str(name)]}' and '{label}'")
    return found


def _rows(rows: list[Any]) -> list[dict[str, Any]]:
    if not rows:
        raise ValueError("no rows")
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a row is no mapping of columns to values")
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    if not names:
        raise ValueError("its rows have no columns")
    limits.check_cells("it", len(rows), len(names))
    return [{name: row.get(name) for name in names} for row in rows]


def _from_csv(text: str) -> list[dict[str, Any]]:
    first = text.lstrip("\r\n").split("\n", 1)[0]
    comma = max(",;\t", key=first.count)
    limits.check_cells("it", text.count("\n") + 1, text.count(comma) // (text.count("\n") + 1) + 1)
    limits.check_columns("it", first.count(comma) + 1)
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=comma) if any(map(str.strip, line))]
    if len(lines) < 2:
        raise ValueError("no rows below a header")
    header = [name.strip() for name in lines[0]]
    seen: Counter[str] = Counter()
    names = []
    for name in header:
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    for number, line in enumerate(lines[1:], start=1):
        if len(line) > len(names) and any(map(str.strip, line[len(names) :])):
            raise ValueError(f"row {number} has {len(line)} cells for {len(names)} columns")
    return [dict(zip(names, [*line, *[""] * (len(names) - len(line))], strict=False)) for line in lines[1:]]


def _from_parquet(data: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            about = file.metadata
            limits.check_cells("it", about.num_rows, about.num_columns)
            size = max((about.row_group(g).total_byte_size for g in range(about.num_row_groups)), default=0)
            # A dictionary may hold one large value for all rows.
            if size * min(_BATCH, about.num_rows) > limits.GROUP_BATCH * _BATCH or size > limits.MOST_TEXT:
                raise ValueError(f"a group of its rows unpacks to {size:,} bytes")
            return _rows([row for batch in file.iter_batches(_BATCH, use_threads=False) for row in _short(batch)])
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _short(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch.

    Raises:
        ValueError: if their cells are far longer than labels and names.
    """
    if batch.nbytes > limits.MOST_WORD * max(1000, batch.num_rows * batch.num_columns):
        raise ValueError(f"{batch.num_rows} of its rows take {batch.nbytes:,} bytes")
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows
