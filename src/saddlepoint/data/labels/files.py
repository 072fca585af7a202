"""Labels: files that hold them, and class indices without gaps."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from saddlepoint._errors import ConfigError, DataError, suggest

LABEL_FILES = ("metadata.csv", "labels.csv", "dataset.json", "labels.json", "metadata.json", "metadata.jsonl")
_NAME_KEYS = ("file_name", "filename", "file", "image", "path", "name")
_LABEL_KEYS = ("label", "labels", "class", "category", "target")


def read_labels(where: str, data: bytes) -> dict[str, int | str] | None:
    """Read a label file: a CSV with a header, a JSON mapping, list or ``{"labels": [[file, label], ...]}``.

    Args:
        where: path of the file, for messages.
        data: its bytes.

    Returns:
        label by file name; None if the file holds no labels (a metadata file with captions, labels null).

    Raises:
        DataError: if it cannot be understood.
    """
    try:
        text = data.decode("utf-8-sig")
        if where.endswith(".csv"):
            pairs = _from_rows(list(csv.DictReader(io.StringIO(text))))
        elif where.endswith(".jsonl"):
            pairs = _from_rows([json.loads(line) for line in text.splitlines() if line.strip()])
        else:
            pairs = _from_json(json.loads(text))
    except (
        UnicodeDecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        csv.Error,
        RecursionError,
    ) as error:
        raise DataError(
            f"{where} cannot be read as labels ({error or type(error).__name__}); use a CSV with the header "
            "file_name,label "
            'or JSON such as {"a.png": "cat"}'
        ) from error
    if pairs is None:
        return None
    table: dict[str, int | str] = {}
    for name, label in pairs:
        clean = PurePosixPath(str(name).replace("\\", "/")).as_posix()
        value = _label(where, clean, label)
        if table.setdefault(clean, value) != value:
            raise DataError(f"{where} gives {clean} two labels, '{table[clean]}' and '{value}'; keep one")
    return table


def match_labels(where: str, table: Mapping[str, int | str], images: Sequence[str]) -> dict[str, int | str | None]:
    """Match a table of labels to the images that are there.

    Raises:
        DataError: if the table names missing files, or leaves images without a label.
    """
    present = set(images)
    missing = [name for name in table if name not in present]
    if missing:
        raise DataError(
            f"{where} names {len(missing)} files that are not there ({few(missing)}); it holds "
            f"{len(table)} labels for "
            f"{len(images)} images: correct the names (relative to the label file), or remove these rows"
        )
    bare = [name for name in images if name not in table]
    if bare:
        raise DataError(
            f"{where} holds {len(table)} labels for {len(images)} images: {len(bare)} have none ({few(bare)}); "
            "add them, or remove the label file to train without labels"
        )
    return dict(table)


def index_labels(
    raw: Sequence[int | str | tuple[int, ...] | None], declared: Sequence[str] = ()
) -> tuple[np.ndarray | None, tuple[str, ...], list[str]]:
    """Turn labels into indices 0..classes-1.

    Args:
        raw: one label a row, or a number for each declared class; None means it has none.
        declared: class names by index, if the source declares them; these indices are kept.

    Returns:
        int64 indices (rows,) or numbers (rows, classes); None if the data counts as unlabelled. Class names, notes.

    Raises:
        DataError: if an index lies outside the declared names.
    """
    if not raw or all(label is None for label in raw):
        return None, (), []
    bare = sum(label is None for label in raw)
    if bare:
        return None, (), [f"{bare} of {len(raw)} rows have no label, so labels are not used"]
    if isinstance(raw[0], tuple):
        return _attributes(raw, declared)
    if declared and all(isinstance(label, int) for label in raw):
        return _declared_indices(raw, declared)
    if len({type(label) for label in raw}) > 1:
        raw = [str(label) for label in raw]
    values = sorted({label for label in raw if label is not None}, key=_order)
    places = {value: index for index, value in enumerate(values)}
    notes = []
    if isinstance(values[0], int) and values != list(range(len(values))):
        shown = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
        notes.append(f"labels have gaps ({shown}); they became the classes 0 to {len(values) - 1}, names kept")
    if len(values) == 1:
        notes.append(f"all labels are the same ('{values[0]}')")
    indices = np.fromiter((places[label] for label in raw if label is not None), dtype=np.int64, count=len(raw))
    return indices, tuple(str(value) for value in values), notes


def _declared_indices(raw: Sequence[Any], declared: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    indices = np.array(raw, dtype=np.int64)
    if indices.min() < 0 or indices.max() >= len(declared):
        wrong = int(indices.min() if indices.min() < 0 else indices.max())
        raise DataError(f"a label is {wrong}, but the file declares {len(declared)} classes (0 to {len(declared) - 1})")
    empty = [declared[i] for i in range(len(declared)) if not (indices == i).any()]
    notes = [f"{len(empty)} declared classes have no rows: {few(empty)}"] if empty else []
    return indices, tuple(declared), notes


def _attributes(raw: Sequence[Any], declared: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    table = np.array(raw, dtype=np.int64)
    notes = [f"no row has {declared[i]}" for i in range(len(declared)) if not (table[:, i] == 1).any()]
    return table, tuple(declared), notes


def _order(value: Any) -> tuple[int, int, str]:
    text = str(value)
    return (0, int(text), text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else (1, 0, text)


def _from_rows(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]] | None:
    if not rows:
        raise ValueError("no rows")
    names = [key for key in _NAME_KEYS if key in rows[0]]
    labels = [key for key in _LABEL_KEYS if key in rows[0]]
    if not names:
        raise ValueError(f"its columns are {', '.join(map(str, rows[0]))}; none is file_name")
    if not labels:
        return None
    return [(row[names[0]], row[labels[0]]) for row in rows]


def _from_json(content: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(content, dict) and "labels" in content and not isinstance(content["labels"], int | str):
        content = content["labels"]
        if content is None:
            return None
    if isinstance(content, dict):
        return list(content.items())
    if not isinstance(content, list) or not content:
        raise ValueError("neither a mapping nor a list of rows")
    if isinstance(content[0], dict):
        return _from_rows(content)
    return [(name, label) for name, label in content]


def _label(where: str, name: str, label: Any) -> int | str:
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise DataError(f"{where} gives {name} the label {label!r}; a label is a whole number or a word")
    text = str(label).strip()
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 18 else text


def few(names: Sequence[str], most: int = 5) -> str:
    """Join names for a message, the first few of them only."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def class_index(label: int | str, names: Sequence[str]) -> int:
    """Return the index of a class that is given by its name or its index.

    Raises:
        ConfigError: if there is no such class, with the nearest name.

    >>> class_index("ship", ("cat", "ship")), class_index("0", ("cat", "ship"))
    (1, 0)
    """
    if not names:
        raise ConfigError(f"label '{label}' is asked for, but the generator is unconditional; leave the label out")
    if str(label) in names:
        return list(names).index(str(label))
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    raise ConfigError(f"there is no class '{label}' among the {len(names)}; {suggest(str(label), names)}")
