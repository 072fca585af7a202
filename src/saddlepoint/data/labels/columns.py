"""Columns of label tables, judged by their values: which may hold classes, marks, splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from saddlepoint.data.labels.splits import split_word

_REAL = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)


def first_rows(rows: Sequence[Mapping[str, Any]], named: str, column: str) -> list[str]:
    """Return the first rows as a question shows them."""
    return [f"{row[named]}: {row[column]}" for row in rows[:3]]


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None and row[name] != ""]


def says_splits(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether all values of a column are names of splits."""
    values = {str(value) for value in _values(rows, name)}
    return len(values) > 1 and len(values) <= len(rows) and all(split_word(value) for value in values)


def may_be_label(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column looks like classes: words, whole numbers or lists of them, many of which come again."""
    values = _values(rows, name)
    if not values or any(isinstance(value, dict) for value in values):
        return False
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        return False
    if any(isinstance(value, str) and _REAL.fullmatch(value.strip()) for value in values):
        return all_marks(rows, name)
    if any(isinstance(value, list) for value in values):
        return all(isinstance(part, str | int) for value in values if isinstance(value, list) for part in value)
    return len({str(value) for value in values}) <= len(rows) // 2


def all_marks(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column says yes or no: 0 and 1, or -1 and 1."""
    values = {mark(row[name]) for row in rows}
    return None not in values and (values <= {0, 1} or values <= {-1, 1})


def mark(value: Any) -> int | None:
    """Return the number of a cell that says yes or no, or None."""
    text = str(value).strip().removesuffix(".0")
    return {"0": 0, "1": 1, "-1": -1, "True": 1, "False": 0}.get(text)


def not_equal(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Return the columns without those that say the same as an earlier one in other words (a name and its number)."""
    kept: list[str] = []
    for name in columns:
        if not any(_one_to_one(rows, other, name) for other in kept):
            kept.append(name)
    return kept


def _one_to_one(rows: Sequence[Mapping[str, Any]], a: str, b: str) -> bool:
    pairs = {(str(row[a]), str(row[b])) for row in rows}
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def text_column(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return the first column that holds words, else the first."""
    words = [
        name for name in columns
        if any(isinstance(v, str) and not re.fullmatch(r"-?\d+(\.\d*)?", v.strip()) for v in _values(rows, name))
    ]  # fmt: skip
    return (words or list(columns))[0]
