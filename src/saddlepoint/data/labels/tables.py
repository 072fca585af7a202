"""Label tables: CSV, JSON and parquet files that name images and say what they show; which column is which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.quoting import shortened
from saddlepoint.data.labels.columns import (
    all_marks,
    first_rows,
    mark,
    may_be_label,
    not_equal,
    says_splits,
    text_column,
)
from saddlepoint.data.labels.files import Label
from saddlepoint.data.labels.images import Images
from saddlepoint.data.labels.parse import NO_TABLE, TABLE_SUFFIXES, parse_rows
from saddlepoint.data.labels.splits import split_of_table, split_word
from saddlepoint.data.labels.values import one_or_several, read_cells
from saddlepoint.data.plan import Finding, OpenQuestion, Reading

LABEL_FILES = (
    "metadata.csv", "labels.csv", "dataset.json", "labels.json", "metadata.json", "metadata.jsonl", "metadata.parquet",
)  # fmt: skip

_NAME_KEYS = (
    "filename", "file", "image", "path", "name", "id", "imageid", "imagename", "imagepath", "imageindex", "filepath",
    "filepaths", "imgname", "img", "imagefile", "imagefilename", "fname", "imageids", "imgid", "imgpath", "images",
)  # fmt: skip
_LABEL_KEYS = (
    "label", "labels", "class", "classes", "category", "target", "classname", "labelname", "categoryname", "classlabel",
)  # fmt: skip
_MOST_READINGS = 8
_LOOKED_AT = 2000


@dataclass(frozen=True)
class LabelTable:
    """What one file says of labels.

    Attributes:
        file: its path relative to the data.
        labels: by image, relative to the data; None where its cell is empty.
        classes: names of the classes where each label is a number for each of them.
        splits: by image, where a column says them.
        none: whether it says that there are no labels.
        findings: how it was read.
    """

    file: str
    labels: Mapping[str, Label]
    classes: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    none: bool = False
    findings: tuple[Finding, ...] = ()


def read_table(root: str, file: str, data: bytes, images: Images, column: str | None = None) -> LabelTable | None:
    """Read a file that may hold labels.

    Args:
        root: of the data, for messages.
        file: path relative to it.
        data: its bytes.
        images: that are there.
        column: name of the label column, as the user chose; None: recognised.

    Returns:
        None if it holds no labels: other columns, or names of nothing that is there (of a file that is not called as
        label files are).

    Raises:
        DataError: if a file called like a label file cannot be understood.
        OpenQuestion: if several columns may hold the labels.
    """
    where, known = f"{root}/{file}" if root else file, PurePosixPath(file).name in LABEL_FILES
    try:
        rows = parse_rows(file, data)
    except NO_TABLE as error:
        if not known:
            return None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{where} cannot be read as labels ({reason:.200}); use a CSV with the header file_name,label or JSON such "
            'as {"a.png": "cat"}, or leave it out (--labels folders, --labels none)'
        ) from error
    if rows is None:
        no = Finding("labels", f"there are no labels: {file} says so", "", "--labels folders")
        return LabelTable(file, {}, none=True, findings=(no,))
    base = str(PurePosixPath(file).parent)
    reader = _Reader(where, file, "" if base == "." else f"{base}/", split_of_table(PurePosixPath(file).stem), images)
    if isinstance(rows, dict):
        return reader.pairs(rows, known)
    return reader.columns(rows, known, column)


@dataclass
class _Reader:
    where: str
    file: str
    base: str
    split: str
    images: Images
    findings: list[Finding] = field(default_factory=list)

    def pairs(self, cells: Mapping[str, Any], known: bool) -> LabelTable | None:
        """Read a mapping from file names to labels."""
        vectors = PurePosixPath(self.file).name == "dataset.json"
        matched = self._matched(list(cells.items()), known)
        if matched is None:
            return None
        labels, classes, said = read_cells(self.where, matched, typed=True, vectors=vectors)
        self.findings += said
        return self._table(labels, classes, f"labels were read from {self.file}", sure=True)

    def columns(self, rows: list[dict[str, Any]], known: bool, column: str | None) -> LabelTable | None:
        """Read rows with a column of file names and one of labels."""
        named = self._name_column(rows, known)
        if named is None:
            return None
        if self._is_image(named):
            rows, named = self._headless(rows, named)
        if column is not None and column not in rows[0]:
            return None
        chosen, sure = self._label_columns(rows, named, column)
        if not chosen:
            return self._nothing(rows, named)
        matched = self._matched([(row[named], [row[name] for name in chosen]) for row in rows], known)
        if matched is None:
            return None
        if len(chosen) > 1:
            table = {name: tuple(int(mark(cell) == 1) for cell in cells) for name, cells in matched.items()}
            labels, classes, said = one_or_several(self.where, table, chosen)
        else:
            labels, classes, said = read_cells(
                self.where,
                {name: cells[0] for name, cells in matched.items()},
                typed=not self.file.endswith(TABLE_SUFFIXES),
            )
        self.findings += said
        splits = self._splits(rows, named)
        what = f"columns {shortened(chosen)}" if len(chosen) > 1 else f"column '{chosen[0]}'"
        return self._table(labels, classes, f"labels were read from {self.file}, {what}", sure, splits)

    def _headless(self, rows: list[dict[str, Any]], named: str) -> tuple[list[dict[str, Any]], str]:
        """Return rows of a table whose first line names an image that is there: it is no header, but a row."""
        names = {name: f"column {place}" for place, name in enumerate(rows[0], start=1)}
        says = f"{self.file} has no header: its first line names an image that is there"
        self.findings.append(Finding("labels", says, "", "--label-column 'column 2'", sure=False))
        first = dict(zip(names.values(), names, strict=True))
        return [first, *({names[name]: row[name] for name in names} for row in rows)], names[named]

    def _nothing(self, rows: Sequence[Mapping[str, Any]], named: str) -> LabelTable | None:
        """Return what to say of a table that names images and has no column that looks like labels."""
        others = [name for name in rows[0] if name != named and not says_splits(rows, name)]
        if not others or not any(self._is_image(row[named]) for row in rows):
            return None
        says = f"{self.file} has no column that looks like labels ({shortened(others)})"
        found = self._splits(rows, named)
        no = Finding("labels", says, "", "--label-column NAME", sure=False)
        return LabelTable(self.file, {}, splits=found, findings=(no, *self.findings))

    def _table(
        self, labels: Mapping[str, Label], classes: tuple[str, ...], says: str, sure: bool,
        splits: Mapping[str, str] | None = None,
    ) -> LabelTable:  # fmt: skip
        option = "--labels none" if sure else "--label-column NAME, or --labels none"
        told = sum(label is not None for label in labels.values())
        if not told:
            nothing = Finding("labels", f"all labels in {self.file} are empty, so it is not used")
            return LabelTable(self.file, {}, splits=splits or {}, findings=(nothing, *self.findings))
        why = f"it has labels of {told:,} of {len(self.images.names):,} images"
        first = Finding("labels", says, why, option, sure=sure)
        return LabelTable(self.file, labels, classes, splits or {}, findings=(first, *self.findings))

    def _matched(self, rows: Sequence[tuple[Any, Any]], known: bool) -> dict[str, Any] | None:
        """Return the rows by the images they name; of files that are not there they are left out and counted."""
        found: dict[str, Any] = {}
        missing: list[str] = []
        for text, value in rows:
            hits = self.images.find("" if text is None else str(text), self.base, self.split)
            if len(hits) > 1:
                raise DataError(
                    f"{self.where} names '{text}', which may be {shortened(hits, 2)}; write the folders of its files "
                    "too, or leave it out (--labels folders, --labels none)"
                )
            if not hits:
                missing.append(str(text))
                continue
            held = found.setdefault(hits[0], value)
            if held != value:
                raise DataError(f"{self.where} gives {text} two labels, {_shown(held)} and {_shown(value)}; keep one")
        if not found and (known or not missing):
            raise DataError(
                f"{self.where} names {len(missing):,} files, and none of them is there ({shortened(missing)}); names "
                "are relative to its folder: correct them, or leave it out (--labels folders, --labels none)"
            )
        if missing and found:
            self.findings.append(
                Finding(
                    "labels",
                    f"{len(missing):,} of {len(rows):,} rows of {self.file} name files that are not there "
                    f"({shortened(missing)}) and are left out",
                )
            )
        return found or None

    def _name_column(self, rows: Sequence[Mapping[str, Any]], known: bool) -> str | None:
        """Return the column of file names: the one whose values are images that are there."""
        columns = list(rows[0])
        few_rows = rows[:: max(1, len(rows) // _LOOKED_AT)]
        shares = {}
        for name in columns:
            hits = [str(row[name]) for row in few_rows if self._is_image(row[name])]
            shares[name] = len(set(hits)) / len(few_rows)
        best = max(columns, key=lambda name: (shares[name] > 0 and _key(name) in _NAME_KEYS, shares[name]))
        if shares[best] > 0:
            return best
        named = [name for name in columns if _key(name) in _NAME_KEYS]
        if named or not known:
            return named[0] if named and known else None
        raise DataError(
            f"{self.where} has the columns {shortened(columns, 8)}; none is file_name, and none holds names of images: "
            "rename one, or leave it out (--labels folders, --labels none)"
        )

    def _is_image(self, value: Any) -> bool:
        return isinstance(value, str | int) and bool(self.images.find(str(value), self.base, self.split))

    def _label_columns(
        self, rows: Sequence[Mapping[str, Any]], named: str, column: str | None
    ) -> tuple[tuple[str, ...], bool]:
        """Return the columns of labels (several: each says whether its label holds), and whether that is certain."""
        if column is not None:
            return (column,), True
        others = [name for name in rows[0] if name != named and not says_splits(rows, name)]
        keyed = [name for name in others if _key(name) in _LABEL_KEYS]
        if keyed:
            told_apart = not_equal(rows, keyed)
            if len(told_apart) > 1:
                raise self._question(rows, named, told_apart)
            return (text_column(rows, keyed),), len(others) == 1
        marks = [name for name in others if all_marks(rows, name)]
        if len(marks) > 1 and len(marks) == len([name for name in others if may_be_label(rows, name)]):
            return tuple(marks), len(marks) == len(others)
        fitting = [name for name in others if may_be_label(rows, name)]
        told_apart = not_equal(rows, fitting)
        if len(told_apart) > 1:
            raise self._question(rows, named, told_apart)
        return ((text_column(rows, fitting),) if fitting else ()), False

    def _question(self, rows: Sequence[Mapping[str, Any]], named: str, columns: Sequence[str]) -> OpenQuestion:
        readings = [
            Reading(f"'{name}' holds the labels", {"label_column": name}, first_rows(rows, named, name))
            for name in columns[:_MOST_READINGS]
        ]
        readings.append(Reading("none of them: no labels from tables", {"labels": "folders"}))
        more = f" (and {len(columns) - _MOST_READINGS} more)" if len(columns) > _MOST_READINGS else ""
        return OpenQuestion(f"several columns of {self.where} may hold the labels{more}", readings)

    def _splits(self, rows: Sequence[Mapping[str, Any]], named: str) -> dict[str, str]:
        column = next((name for name in rows[0] if says_splits(rows, name)), None)
        if column is None:
            return {}
        self.findings.append(
            Finding("split", f"column '{column}' of {self.file} names the splits", "", "--splits none", sure=False)
        )
        hits = [(self.images.find(str(row[named]), self.base, self.split), row[column]) for row in rows]
        return {names[0]: split_word(str(value)) for names, value in hits if names and value}


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _shown(value: Any) -> str:
    return f"'{shortened([str(cell) for cell in value], 4) if isinstance(value, list) else value}'"


def column_names(file: str, data: bytes) -> list[str]:
    """Return the columns of a label table; none if it is no table."""
    try:
        rows = parse_rows(file, data)
    except NO_TABLE:
        return []
    return list(rows[0]) if isinstance(rows, list) else []


def unknown_column(column: str, names: Sequence[str]) -> DataError:
    """Return the error for a label column that no table has."""
    known = suggest(column, names) if names else "there is none"
    return DataError(f"no label table beside the images has labels in a column '{column}'; {known}")
