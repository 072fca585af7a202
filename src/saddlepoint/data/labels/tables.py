"""Label tables: CSV, JSON and parquet files that name images and say what they show; which column is which."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data import limits
from saddlepoint.data.labels.columns import (
    all_marks,
    first_rows,
    mark,
    may_be_label,
    not_equal,
    says_splits,
    text_column,
)
from saddlepoint.data.labels.files import Label, few
from saddlepoint.data.labels.splits import split_of_table, split_word
from saddlepoint.data.labels.values import one_or_several, read_cells
from saddlepoint.data.plan import Finding, OpenQuestion, Reading

LABEL_FILES = (
    "metadata.csv", "labels.csv", "dataset.json", "labels.json", "metadata.json", "metadata.jsonl", "metadata.parquet",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv")
"""Other tables beside images are looked at too: Kaggle calls them train.csv or trainLabels.csv."""

_NAME_KEYS = (
    "filename", "file", "image", "path", "name", "id", "imageid", "imagename", "imagepath", "imageindex", "filepath",
    "filepaths", "imgname", "img", "imagefile", "imagefilename", "fname", "imageids", "imgid", "imgpath", "images",
)  # fmt: skip
_LABEL_KEYS = (
    "label", "labels", "class", "classes", "category", "target", "classname", "labelname", "categoryname", "classlabel",
)  # fmt: skip
_MOST_READINGS = 8
_BATCH = 64
_MOST_COMPARED = 10**6
"""Images that names of tables are compared with, each some five microseconds."""
_LOOKED_AT = 2000


class Images:
    """The images of a data set, found by the names that tables use: with or without folders and endings.

    Args:
        names: paths relative to the data.
        splits: split of each, or "".
    """

    def __init__(self, names: Sequence[str], splits: Mapping[str, str]) -> None:
        self.names, self.splits = frozenset(names), splits
        self._by: dict[str, list[str]] = {}
        self._left = _MOST_COMPARED
        for name in names:
            path = PurePosixPath(name)
            for key in {path.name, path.stem, str(path.with_suffix(""))} - {name}:
                self._by.setdefault(key, []).append(name)

    def find(self, text: str, base: str, split: str) -> list[str]:
        """Return the images that a table means; several where it does not say which.

        Args:
            text: name in the table.
            base: folder of the table, ending in a slash, or "".
            split: that the table's own name says, or "".
        """
        clean = str(text).strip().replace("\\", "/").removeprefix("./")
        clean = PurePosixPath(clean).as_posix() if clean else ""
        if base + clean in self.names:
            return [base + clean]
        if not clean:
            return []
        tail = PurePosixPath(clean).name
        for key in dict.fromkeys((base + clean, clean, tail)):
            among = self._by.get(key, ())
            self._left -= len(among)
            if self._left < 0:
                raise DataError(
                    f"names such as '{clean:.60}' of a table of labels fit {len(among):,} images each; write their "
                    "paths relative to the folder of the table"
                )
            found = [name for name in among if name.startswith(base)]
            if key == tail and "/" in clean:
                found = [name for name in found if _ends_alike(name, clean)]
            if len(found) > 1 and split:
                found = [name for name in found if self.splits[name] == split] or found
            if found:
                return found
        return []


def _ends_alike(name: str, clean: str) -> bool:
    """Whether a table's path may mean an image: where both name the folder of the image, they must agree."""
    given, own = PurePosixPath(clean).parts, PurePosixPath(name).parts
    shared = min(len(given), len(own))
    return shared < 2 or given[-shared:-1] == own[-shared:-1]


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
        rows = _parse(file, data)
    except _NO_TABLE as error:
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


_NO_TABLE = (
    UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error, RecursionError, OSError,
    OverflowError, MemoryError, DataError,
)  # fmt: skip


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
        what = f"columns {few(chosen)}" if len(chosen) > 1 else f"column '{chosen[0]}'"
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
        says = f"{self.file} has no column that looks like labels ({few(others)})"
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
                    f"{self.where} names '{text}', which may be {few(hits, 2)}; write the folders of its files too, or "
                    "leave it out (--labels folders, --labels none)"
                )
            if not hits:
                missing.append(str(text))
                continue
            held = found.setdefault(hits[0], value)
            if held != value:
                raise DataError(f"{self.where} gives {text} two labels, {_shown(held)} and {_shown(value)}; keep one")
        if not found and (known or not missing):
            raise DataError(
                f"{self.where} names {len(missing):,} files, and none of them is there ({few(missing)}); names are "
                "relative to its folder: correct them, or leave it out (--labels folders, --labels none)"
            )
        if missing and found:
            self.findings.append(
                Finding(
                    "labels",
                    f"{len(missing):,} of {len(rows):,} rows of {self.file} name files that are not there "
                    f"({few(missing)}) and are left out",
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
            f"{self.where} has the columns {few(columns, 8)}; none is file_name, and none holds names of images: "
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


def _parse(file: str, data: bytes) -> list[dict[str, Any]] | dict[str, Any] | None:
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
        with pq.ParquetFile(io.BytesIO(data)) as file:
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


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _shown(value: Any) -> str:
    return f"'{few([str(cell) for cell in value], 4) if isinstance(value, list) else value}'"


def column_names(file: str, data: bytes) -> list[str]:
    """Return the columns of a label table; none if it is no table."""
    try:
        rows = _parse(file, data)
    except _NO_TABLE:
        return []
    return list(rows[0]) if isinstance(rows, list) else []


def unknown_column(column: str, names: Sequence[str]) -> DataError:
    """Return the error for a label column that no table has."""
    known = suggest(column, names) if names else "there is none"
    return DataError(f"no label table beside the images has labels in a column '{column}'; {known}")
