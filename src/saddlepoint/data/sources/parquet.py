"""Parquet in the hub's layout: a column of images {bytes, path}, one of labels, class names as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.files import parse_json
from saddlepoint.data import limits
from saddlepoint.data.labels.values import MOST_ATTRIBUTES
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.folder import Item, Label, Source, split_word, stamp

_BATCH = 256
_LABELS = ("label", "labels", "fine_label", "class", "category", "target")


@dataclass(frozen=True)
class Layout:
    """Which columns of a table matter.

    Attributes:
        image: column of the images.
        label: column of the labels, or None.
        classes: class names by index, if declared.
        several: whether a cell of labels lists several class indices.
        findings: what was chosen where there was a choice.
        pages: of a column that lists several images in each row: ``first`` or ``all`` of them; "" of any other.
    """

    image: str
    label: str | None
    classes: tuple[str, ...]
    several: bool = False
    findings: tuple[Finding, ...] = ()
    pages: str = ""

    @property
    def labelling(self) -> tuple[tuple[int, ...], ...]:
        """Of rows with several labels; see `DataSpec`."""
        return ((1,) * len(self.classes),) if self.several else ()


def parquet_source(path: Path, files: Sequence[Path], options: Options | None = None) -> Source:
    """Read images from parquet files; the split is told by a file's name (train-00000-of-00001.parquet).

    Args:
        path: what the user named: a file, or a folder.
        files: the parquet files in their order.
        options: ``label_column`` and ``labels`` choose among columns, ``pages`` among images that a row lists.

    Raises:
        DataError: if a file is damaged, or has no image column.
    """
    layouts = [_layout(file, options) for file in files]
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
    return Source(
        str(path), "parquet\n" + stamp(files, root), items, classes=layout.classes, notes=layout.findings,
        labelling=layout.labelling, heeds=("labels", "label_column"), size=sum(file.stat().st_size for file in files),
    )  # fmt: skip


def features_layout(
    where: str, features: dict[str, Any], columns: dict[str, str], options: Options | None = None
) -> Layout:
    """Find the image and label columns.

    Args:
        where: file, for messages.
        features: the hub's feature metadata by column (may be empty).
        columns: type of each column, in words.
        options: ``label_column`` names the labels, ``labels`` may be none.

    Raises:
        DataError: if no column holds images, or a chosen one no labels.
    """
    options = options or Options()
    images = [name for name in columns if _kind(features.get(name)) == "Image"]
    images += [name for name, kind in columns.items() if "bytes: binary" in kind or kind in ("binary", "large_binary")]
    images.sort(key=lambda name: _is_list(columns[name]))
    pages, paged = _pages(images[0], columns[images[0]], options) if images else ("", ())
    if not images:
        listed = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
        raise DataError(f"{where} has no image column (its columns: {listed}); images are a struct of bytes and path")
    if options.labels not in (None, "none"):
        raise DataError(f"--labels is '{options.labels}', but {where} has columns: choose with --label-column, or none")
    if options.labels == "none":
        said = (*paged, Finding("labels", "no labels are used, as asked"))
        return Layout(images[0], None, (), findings=said, pages=pages)
    named = [name for name in columns if _class_names(features.get(name)) is not None]
    plain = [name for name in _LABELS if name in columns and ("int" in columns[name] or "string" in columns[name])]
    preferred = list(dict.fromkeys([name for name in _LABELS if name in named] + named + plain))
    label, findings = options.label_column, tuple[Finding, ...]()
    if label is None and preferred:
        label = preferred[0]
        others = [name for name in preferred[1:] if name != label]
        why = f"there is {', '.join(others)} too" if others else ""
        findings = (Finding("labels", f"labels are the column '{label}'", why, "--label-column NAME", sure=not others),)
    if label is not None and label not in columns:
        raise DataError(
            f"{where} has no column '{label}'; {suggest(label, [name for name in columns if name != images[0]])}"
        )
    if label is not None and not any(kind in columns[label] for kind in ("int", "string", "bool")):
        raise DataError(
            f"{where}: column '{label}' holds {columns[label]}, no classes; name one of whole numbers or words"
        )  # fmt: skip
    names = _class_names(features.get(label)) if label else None
    several = label is not None and _is_list(columns[label])
    if several and (names is None or len(names) > MOST_ATTRIBUTES):
        raise DataError(
            f"{where}: column '{label}' lists labels without declaring up to {MOST_ATTRIBUTES:,} classes (a Sequence "
            "of ClassLabel); declare them, or train without labels (--labels none)"
        )
    return Layout(images[0], label, tuple(names or ()), several, (*paged, *findings), pages)


def _is_list(kind: str) -> bool:
    return kind.startswith(("list", "large_list", "fixed_size_list"))


def _pages(name: str, kind: str, options: Options) -> tuple[str, tuple[Finding, ...]]:
    """Return which of the images that a row lists are taken, and what to say; nothing of any other column."""
    if not _is_list(kind):
        return "", ()
    every = options.pages == "all"
    says = "all are images" if every else "the first of each is used"
    return ("all" if every else "first"), (
        Finding("pages", f"a row of '{name}' lists several images: {says}", "" if options.pages else "it holds lists",
                "--pages first" if every else "--pages all", sure=options.pages is not None),
    )  # fmt: skip


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the names of a ClassLabel, or of a list of them; None if it is neither."""
    inner = feature[0] if isinstance(feature, list) and feature else feature
    if _kind(inner) in ("List", "LargeList", "Sequence"):
        inner = inner.get("feature")
    if _kind(inner) != "ClassLabel" or not isinstance(inner.get("names"), list | tuple):
        return None
    return tuple(str(name) for name in inner["names"])


def cell_bytes(cell: Any) -> bytes:
    """Return the bytes of an image cell; empty if the cell only points at a file elsewhere."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data if isinstance(data, bytes) else b""


def cell_items(cell: Any, layout: Layout, label: Label, origin: str, split: str) -> Iterator[Item]:
    """Yield the images of one cell: one, or of a list the first or all, which no two splits share."""
    if not layout.pages:
        yield Item(cell_bytes(cell), label, origin, split)
        return
    cells = cell if isinstance(cell, list) else []
    for place, each in enumerate(cells if layout.pages == "all" else cells[:1]):
        yield Item(cell_bytes(each), label, f"{origin} image {place}", split, origin)


def cell_label(value: Any, layout: Layout) -> Label:
    """Return a label cell; the hub writes -1 where a label is withheld."""
    if layout.several:
        held = value if isinstance(value, list) else None
        if held is None or not all(isinstance(part, int) and 0 <= part < len(layout.classes) for part in held):
            return None
        return tuple(int(index in held) for index in range(len(layout.classes)))
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and len(value) > limits.MOST_WORD:
        raise DataError(
            f"a label has {len(value):,} characters, and at most {limits.MOST_WORD:,} are read; name another column "
            "with --label-column, or none with --labels none"
        )
    return None if value == -1 or not isinstance(value, int | str) or value == "" else value


def file_split(path: Path) -> str:
    """Return the split that the name of a file (or its folder) tells, or ""."""
    return split_word(re.split(r"[-_.]", path.stem)[0]) or split_word(path.stem) or split_word(path.parent.name)


def _kind(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} cannot be read as parquet "
        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
        "the copy may be truncated: fetch it again"
    )


def _layout(file: Path, options: Options | None) -> Layout:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
    except (
        pa.ArrowException,
        OSError,
        UnicodeDecodeError,
    ) as error:  # the last of names and texts, unlike pyarrow's own
        raise _damaged(file, error) from error
    try:
        info = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        features = {}
    columns = {field.name: str(field.type) for field in schema}
    return features_layout(str(file), features if isinstance(features, dict) else {}, columns, options)


def _rows(file: Path, layout: Layout) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [layout.image] + ([layout.label] if layout.label else [])
    split, row = file_split(file), 0
    try:
        with pq.ParquetFile(file) as table:
            for group, rows in enumerate(_rows_at_once(file, table.metadata)):
                for batch in table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                    cells = batch.column(layout.image).to_pylist()
                    labels = batch.column(layout.label).to_pylist() if layout.label else [None] * len(cells)
                    for cell, label in zip(cells, labels, strict=True):
                        yield from cell_items(cell, layout, cell_label(label, layout), f"{file.name} row {row}", split)
                        row += 1
    except (
        pa.ArrowException,
        OSError,
        UnicodeDecodeError,
    ) as error:  # the last of names and texts, unlike pyarrow's own
        raise _damaged(file, error) from error


def _rows_at_once(file: Path, about: Any) -> list[int]:
    """Return how many rows of each group are read at once: where values stand in a dictionary, all may be the largest.

    Sizes are those of whole groups: pyarrow ends the process where what a file says of one column is damaged.

    Args:
        file: a parquet file.
        about: its metadata.

    Raises:
        DataError: if a group is too large.
    """
    sizes = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
    largest = max(sizes, default=0)
    if largest > limits.MOST_GROUP and sum(sizes) > limits.GROUP_PER_BYTE * file.stat().st_size:
        raise DataError(
            f"{file}: a group of its rows is too large: it unpacks to {largest:,} bytes, more than "
            f"{limits.MOST_GROUP:,}, and the file to more than {limits.GROUP_PER_BYTE} times its bytes; write it in "
            "smaller groups (row_group_size)"
        )
    return [min(_BATCH, max(1, limits.GROUP_BATCH // max(1, size))) for size in sizes]
