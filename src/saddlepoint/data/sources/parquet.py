"""Parquet in the hub's layout: a column of images {bytes, path}, one of labels, class names as metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saddlepoint._errors import DataError
from saddlepoint.data.sources.folder import SPLIT_WORDS, Item, Source, stamp

_BATCH = 256
_LABELS = ("label", "labels", "fine_label", "class", "category", "target")


@dataclass(frozen=True)
class Layout:
    """Which columns of a table matter.

    Attributes:
        image: column of the images.
        label: column of the labels, or None.
        classes: class names by index, if declared.
    """

    image: str
    label: str | None
    classes: tuple[str, ...]


def parquet_source(path: Path, files: Sequence[Path]) -> Source:
    """Read images from parquet files; the split is told by a file's name (train-00000-of-00001.parquet).

    Args:
        path: what the user named: a file, or a folder.
        files: the parquet files in their order.

    Raises:
        DataError: if a file is damaged, or has no image column.
    """
    layouts = [_layout(file) for file in files]
    layout = layouts[0]
    for file, other in zip(files, layouts, strict=True):
        if other != layout:
            raise DataError(
                f"{file} has other columns or classes than {files[0]} ({other.image}, {other.label} against "
                f"{layout.image}, {layout.label}); name one of the files, or a folder of files that belong "
                "together"
            )

    def items() -> Iterator[Item]:
        for file in files:
            yield from _rows(file, layout)

    root = path if path.is_dir() else path.parent
    return Source(str(path), "parquet\n" + stamp(files, root), items, classes=layout.classes)


def features_layout(where: str, features: dict[str, Any], columns: dict[str, str]) -> Layout:
    """Find the image and label columns.

    Args:
        where: file, for messages.
        features: the hub's feature metadata by column (may be empty).
        columns: type of each column, in words.

    Raises:
        DataError: if no column holds images.
    """
    images = [name for name in columns if _kind(features.get(name)) == "Image"]
    images += [name for name, kind in columns.items() if "bytes: binary" in kind or kind in ("binary", "large_binary")]
    if not images:
        listed = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
        raise DataError(f"{where} has no image column (its columns: {listed}); images are a struct of bytes and path")
    named = [name for name in columns if _kind(features.get(name)) == "ClassLabel"]
    plain = [name for name in _LABELS if name in columns and ("int" in columns[name] or "string" in columns[name])]
    preferred = [name for name in _LABELS if name in named] + named + plain
    label = preferred[0] if preferred else None
    names = features.get(label, {}).get("names", ()) if label in named else ()
    return Layout(images[0], label, tuple(str(name) for name in names))


def cell_bytes(cell: Any) -> bytes:
    """Return the bytes of an image cell; empty if the cell only points at a file elsewhere."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data if isinstance(data, bytes) else b""


def cell_label(value: Any) -> int | str | None:
    """Return a label cell; the hub writes -1 where a label is withheld."""
    if value is None or value == -1 or isinstance(value, bool) or not isinstance(value, int | str):
        return None if not isinstance(value, bool) else int(value)
    return value


def file_split(path: Path) -> str:
    """Return the split that the name of a file (or its folder) tells, or ""."""
    for text in (path.stem, path.parent.name):
        word = re.split(r"[-_.]", text.lower())[0]
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return ""


def _kind(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} cannot be read as parquet "
        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
        "the copy may be truncated: fetch it again"
    )


def _layout(file: Path) -> Layout:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        features = {}
    columns = {field.name: str(field.type) for field in schema}
    return features_layout(str(file), features if isinstance(features, dict) else {}, columns)


def _rows(file: Path, layout: Layout) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [layout.image] + ([layout.label] if layout.label else [])
    split, row = file_split(file), 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
                cells = batch.column(layout.image).to_pylist()
                labels = batch.column(layout.label).to_pylist() if layout.label else [None] * len(cells)
                for cell, label in zip(cells, labels, strict=True):
                    yield Item(cell_bytes(cell), cell_label(label), f"{file.name} row {row}", split)
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error
