"""Data in memory as a source: arrays, tensors, data sets of PyTorch and of `datasets`, lists of pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.labels.files import Label
from saddlepoint.data.labels.splits import split_word
from saddlepoint.data.labels.values import read_cells
from saddlepoint.data.options import MIN_SIDE, Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.arrays import array_parts_source
from saddlepoint.data.sources.folder import Item, Source
from saddlepoint.data.sources.hub import layout_of, rows_of
from saddlepoint.data.sources.items import ACCEPTED, IMAGE_KEYS, LABEL_KEYS, Pictures, as_array, from_mapping, spooled

_CHUNK = 1024

Digest = Any
"""What `hashlib` gives."""


@dataclass
class Rows:
    """The rows of one split.

    Attributes:
        x: array of all rows, or payloads of pictures, one by one.
        labels: one a row, or None.
        classes: class names by index, where declared; names of several labels.
        several: whether labels are a number for each class.
        findings: what was decided.
        keep: what must live as long as the rows.
        heeds: which of the options about labels were followed.
    """

    x: np.ndarray | Pictures
    labels: list[Label] | None = None
    classes: tuple[str, ...] = ()
    several: bool = False
    findings: list[Finding] = field(default_factory=list)
    keep: object = None
    heeds: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The rows in a few words."""
        if isinstance(self.x, np.ndarray):
            return f"array of shape {'x'.join(map(str, self.x.shape))}, {self.x.dtype}"
        return f"{len(self.x):,} pictures"


def rows_of_object(data: Any, options: Options | None = None) -> dict[str, Rows]:
    """Return the rows of data in memory by split ("" where it has none).

    Args:
        data: any of what `ACCEPTED` lists, but tables and prepared data sets.
        options: ``label_column`` and ``labels``, for data sets of `datasets`.

    Raises:
        DataError: if it is something else, empty, or cannot be used as it is.
    """
    if _is_hub(data, "IterableDataset") or _is_hub(data, "IterableDatasetDict"):
        raise DataError("the data is a stream of `datasets`, whose length is not known; load it without streaming")
    if _is_hub(data, "DatasetDict"):
        layout = layout_of("the data", data, options)
        return {_split_of(split): _hub_rows(part, layout) for split, part in data.items()}
    if _is_hub(data, "Dataset"):
        return {"": _hub_rows(data, layout_of("the data", {"train": data}, options))}
    if isinstance(data, Mapping):
        if not data:
            raise DataError(f"the data is empty; give {ACCEPTED}")
        keys = set(data)
        if keys & {*IMAGE_KEYS} and keys <= {*IMAGE_KEYS, *LABEL_KEYS}:
            return {"": _pair(*from_mapping(data))}
        parts = {_split_of(key): rows_of_object(part, options) for key, part in data.items()}
        if any(set(rows) != {""} for rows in parts.values()):
            raise DataError("a split of the data has splits of its own; give each split as an array, a pair or a list")
        return {split: rows[""] for split, rows in parts.items()}
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DataError(f"the data is a tuple of {len(data)}; a pair is (x, labels), and a list holds pictures")
        return {"": _pair(*data)}
    return {"": _rows(data)}


def digest_of(parts: Mapping[str, Rows]) -> str:
    """Return a hexadecimal digest of all content: rows, labels, class names, splits."""
    digest = hashlib.blake2b(digest_size=8)
    for split, rows in parts.items():
        head = [split, isinstance(rows.x, np.ndarray), rows.classes, rows.several, rows.labels]
        digest.update(repr(head).encode())
        digest_rows(digest, rows.x)
    return digest.hexdigest()


def object_source(name: str, parts: Mapping[str, Rows]) -> Source:
    """Return rows in memory as a source.

    Args:
        name: of the source; it changes with the content.
        parts: as `rows_of_object` gives them.

    Raises:
        DataError: if splits do not fit each other, or values cannot be images or vectors.
    """
    first = next(iter(parts.values()))
    notes: list[Any] = [
        Finding("source", f"given in memory: {rows.what}" + (f" ({split})" if split else ""))
        for split, rows in parts.items()
    ]
    for split, rows in parts.items():
        if rows.classes != first.classes or isinstance(rows.x, np.ndarray) != isinstance(first.x, np.ndarray):
            raise DataError(f"split '{split}' is of another kind than the first, or has other classes; make them alike")
    if isinstance(first.x, np.ndarray):
        arrays = {split: rows.x for split, rows in parts.items() if isinstance(rows.x, np.ndarray)}
        for array in arrays.values():
            _refuse_unclear_channels(array)
        made = array_parts_source("the data", name, {split: (array, None) for split, array in arrays.items()})
        base, modality, notes = made.items, made.modality, [*notes, *made.notes]
    else:
        base, modality = (lambda: _picture_items(parts)), "image"

    def items() -> Iterator[Item]:
        labels = itertools.chain.from_iterable(
            [None] * len(rows.x) if rows.labels is None else rows.labels for rows in parts.values()
        )
        for item, label in zip(base(), labels, strict=True):
            yield dataclasses.replace(item, label=label)

    findings = [finding for rows in parts.values() for finding in rows.findings]
    return Source(
        name, f"memory\n{name}", items, modality=modality, classes=first.classes,
        notes=(*notes, *dict.fromkeys(findings)), keep=[rows.keep for rows in parts.values()],
        labelling=((1,) * len(first.classes),) if first.several else (), heeds=first.heeds,
    )  # fmt: skip


def _rows(data: Any) -> Rows:
    array = as_array(data)
    if array is not None:
        return Rows(_checked(array))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.utils.data.DataLoader):
        found = _rows(data.dataset)
        found.findings.append(Finding("source", "of the loader its data set is read; minibatches are the family's own"))
        return found
    if torch is not None and isinstance(data, torch.utils.data.IterableDataset):
        raise DataError("the data is a stream, whose length is not known; give a data set with a length, or a list")
    if isinstance(data, list) and data and isinstance(data[0], int | float | list):
        try:
            return _rows(np.asarray(data))
        except (ValueError, OverflowError) as error:
            raise DataError(f"the lists do not make an array ({error}); give {ACCEPTED}") from error
    if isinstance(data, list) and data and isinstance(data[0], str | Path):
        raise DataError("the data is a list of names; give the folder that holds the files, or opened pictures")
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, bytes | bytearray):
        raise DataError(f"data of type {type(data).__name__} cannot be read; give {ACCEPTED}")
    x, cells, findings, keep = spooled(data)
    rows = Rows(x, findings=findings, keep=keep)
    return rows if cells is None else _with_labels(rows, cells, _names_of(data))


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype == object:
        raise DataError(f"the data is an array of Python objects; give numbers of one type, or {ACCEPTED}")
    if array.ndim < 1:
        raise DataError("the data is one number; images are (rows, height, width), vectors (rows, feature)")
    return array


def _pair(x: Any, y: Any) -> Rows:
    """Return rows with labels beside them."""
    rows = _rows(x)
    if y is None:
        return rows
    if rows.labels is not None:
        raise DataError("labels are given beside items that have labels of their own; leave one of them out")
    labels = as_array(y)
    if labels is not None and labels.ndim > 2:
        raise DataError(
            f"the data is a pair whose second part has shape {labels.shape}; a pair is (x, labels): give splits as "
            '{"train": x, "test": y}'
        )
    if labels is None:
        labels = y.to_numpy() if hasattr(y, "to_numpy") else y
    if not hasattr(labels, "__len__") or len(labels) != len(rows.x):
        count = len(labels) if hasattr(labels, "__len__") else "no"
        raise DataError(f"there are {len(rows.x)} rows and {count} labels; give one label for each row")
    return _with_labels(rows, list(labels.tolist() if isinstance(labels, np.ndarray) else labels))


def _with_labels(rows: Rows, cells: Sequence[Any], names: Sequence[str] = ()) -> Rows:
    """Return rows with their labels; ``names`` are those of the classes, by index."""
    plain = [_label_cell(cell) for cell in cells]
    if all(isinstance(cell, list) and len(cell) == 1 for cell in plain):
        plain = [cell[0] for cell in plain]
    numbered = {str(row): cell for row, cell in enumerate(plain)}
    if plain and all(isinstance(cell, list) for cell in plain):
        labels, classes, said = read_cells("labels", numbered, typed=True, vectors=True, names=names)
    else:
        labels, classes, said = read_cells("labels", numbered, typed=True)
    rows.labels, rows.several = list(labels.values()), bool(classes)
    rows.findings += said
    ints = all(isinstance(label, int) for label in rows.labels)
    fit = ints and all(0 <= label < len(names) for label in rows.labels)  # type: ignore[operator]
    rows.classes = classes or (tuple(map(str, names)) if fit else ())
    return rows


def _label_cell(cell: Any) -> Any:
    """Return a label without the types of NumPy and PyTorch."""
    array = as_array(cell)
    if array is not None:
        return array.tolist()
    if isinstance(cell, np.generic):
        return cell.item()
    return list(cell) if isinstance(cell, tuple) else cell


def _names_of(data: Any) -> tuple[str, ...]:
    """Return the class names of a data set as torchvision's have them, also below a Subset."""
    for _ in range(8):
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
        data = getattr(data, "dataset", None)
    return ()


def _hub_rows(part: Any, layout: Any) -> Rows:
    """Return one part of a data set of `datasets`; its images are not decoded."""
    part = part.with_format(None)
    labels = [item.label for item in rows_of(part.remove_columns([]), layout, "")] if layout.label else None
    pictures = Pictures(len(part), lambda: (item.payload for item in rows_of(part, layout, "")))
    found = list(layout.findings)
    return Rows(pictures, labels, layout.classes, layout.several, found, heeds=("labels", "label_column"))


def _is_hub(data: Any, kind: str) -> bool:
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(data, getattr(datasets, kind))


def _split_of(key: Any) -> str:
    if found := split_word(str(key)):
        return found
    known = suggest(str(key), ["train", "valid", "test"])
    raise DataError(f"the data has a part '{key}'; parts are called train, valid and test: {known}")


def _picture_items(parts: Mapping[str, Rows]) -> Iterator[Item]:
    for split, rows in parts.items():
        assert isinstance(rows.x, Pictures)
        for number, payload in enumerate(rows.x.payloads()):
            yield Item(payload, None, f"{split or 'item'} {number}", split)


def digest_rows(digest: Digest, x: np.ndarray | Pictures) -> None:
    """Add rows to a digest: shape, type and content, some at a time."""
    if isinstance(x, Pictures):
        for payload in x.payloads():
            shape = payload.shape if isinstance(payload, np.ndarray) else ()
            digest.update(f"{shape} {len(payload)} ".encode())
            digest.update(payload if isinstance(payload, bytes) else np.ascontiguousarray(payload).data)
        return
    digest.update(f"{x.shape} {x.dtype.str}".encode())
    for start in range(0, len(x), _CHUNK):
        digest.update(np.ascontiguousarray(x[start : start + _CHUNK]).tobytes())


def _refuse_unclear_channels(x: np.ndarray) -> None:
    """Refuse arrays in which channels may stand first or last, or nowhere.

    Raises:
        DataError: with what to do.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or x.shape[3] not in (1, 3, 4):
        return
    first, last = x.shape[3] >= MIN_SIDE, x.shape[1] >= MIN_SIDE
    if first and last:
        raise DataError(
            f"the data has shape {x.shape}: channels may stand first or last; images of {x.shape[2]}x{x.shape[3]} with "
            f"{x.shape[1]} channels first, or of {x.shape[1]}x{x.shape[2]} with {x.shape[3]} channels last: so "
            "narrow images must come as pictures (a list of PIL images)"
        )
    if not first and not last:
        raise DataError(
            f"the data has shape {x.shape}: neither reading gives images of at least {MIN_SIDE} pixels a side; they "
            "are (rows, height, width, channel) or (rows, channel, height, width)"
        )
