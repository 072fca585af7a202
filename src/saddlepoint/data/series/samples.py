"""Windows as files in the units of the data: CSV, parquet and npz, written and read again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint._errors import ConfigError, DataError, suggest
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.options import Options
from saddlepoint.data.series.layout import Layout, plain_layout
from saddlepoint.data.series.table import is_table, read_table

FORMATS = ("csv", "parquet", "npz")
_WINDOW = "window"
_MOST_BYTES = 2 * 1024**3
"""Bytes of unpacked arrays: two million windows of 24 steps of 6 columns."""


def window_column(layout: Layout) -> str:
    """Return the name of the column that numbers the windows: ``window``, or one that the data does not have."""
    name = _WINDOW
    while name in layout.order:
        name += "_"
    return name


def write_samples(
    path: Path, x: np.ndarray, layout: Layout, labels: np.ndarray | None = None, classes: Sequence[str] = ()
) -> Path:
    """Write scaled windows in the units, columns, order and types of the table they were learnt from.

    A CSV or parquet file has a row for each step: the number of the window, then the columns of the table. The times of
    every window are made anew: the usual step, beginning one step after the last time of the data. An npz file has
    ``x`` (n, time, feature) float64 in the units of the data, ``columns``, and ``labels`` if there are any.

    Args:
        path: ends in .csv, .parquet or .npz; its folder is made if missing.
        x: (n, time, feature) in [0, 1], NaN after the end of short windows.
        layout: of the table.
        labels: (n,) class indices, or None.
        classes: their names.

    Raises:
        ConfigError: on another ending.
    """
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"'{path}' should end in .csv, .parquet or .npz for samples of series")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    values = layout.restore(x)
    if kind == "npz":
        names = np.array([column.name for column in layout.columns])
        with temporary.open("wb") as file:
            if labels is None:
                np.savez_compressed(file, x=values, columns=names)
            else:
                np.savez_compressed(file, x=values, columns=names, labels=labels)
    else:
        table = pa.table(_columns(values, layout, labels, classes))
        if kind == "csv":
            pc.write_csv(table, temporary, pc.WriteOptions(quoting_style="needed"))
        else:
            pq.write_table(table, temporary)
    os.replace(temporary, path)
    return path


def csv_text(x: np.ndarray, layout: Layout, labels: np.ndarray | None = None, classes: Sequence[str] = ()) -> bytes:
    """Return what `write_samples` writes into a CSV file."""
    import pyarrow as pa
    import pyarrow.csv as pc

    sink = pa.BufferOutputStream()
    pc.write_csv(
        pa.table(_columns(layout.restore(x), layout, labels, classes)), sink, pc.WriteOptions(quoting_style="needed")
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _columns(
    values: np.ndarray, layout: Layout, labels: np.ndarray | None, classes: Sequence[str]
) -> dict[str, np.ndarray | list[Any]]:
    there = ~np.isnan(values[:, :, 0])
    window, step = np.nonzero(there)
    columns: dict[str, np.ndarray | list[Any]] = {window_column(layout): window}
    places = {column.name: index for index, column in enumerate(layout.columns)}
    for name in layout.order:
        if name in places:
            flat = values[:, :, places[name]][there]
            whole = layout.columns[places[name]].decimals == 0 and np.abs(flat).max(initial=0) < 2**63
            columns[name] = flat.astype(np.int64) if whole else flat
        elif layout.clock is not None and name == layout.clock.name:
            times = layout.clock.after(values.shape[1])
            columns[name] = [times[i] for i in step]
        elif name == layout.label and labels is not None:
            columns[name] = [classes[labels[i]] for i in window]
    return columns


def read_samples(path: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """Read windows in the units of the data: a CSV or parquet table as `write_samples` writes it, .npy or .npz.

    Args:
        path: the file. A table without a column that numbers the windows is cut every ``time`` rows.
        dataset: what they are compared with; windows may be shorter than its own, not longer.

    Returns:
        float32 (n, time, feature), scaled as the data is and NaN after the end of short windows; class indices or None.

    Raises:
        DataError: if the file cannot be read, or its windows do not fit the data.
    """
    if not path.is_file():
        raise DataError(f"there are no samples at '{path}'; series are read from .csv, .parquet, .npy and .npz files")
    layout = dataset.layout or plain_layout(dataset.spec.shape[1])
    if is_table(path):
        x, labels = _from_table(path, dataset, layout)
    else:
        x, labels = _from_arrays(path, dataset, layout)
    scaled = layout.scale(x).astype(np.float32)
    _check_ends(path, scaled)
    return scaled, labels


def _from_table(path: Path, dataset: Dataset, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    time, features = dataset.spec.shape
    names, group = tuple(column.name for column in layout.columns), window_column(layout)
    header = _header(path)
    label = layout.label if layout.label in header and dataset.classes else None
    told = group if group in header else "none"
    table = read_table(
        path, Options(columns=names, time_column=("none",), group_column=told, label_column=label or None)
    )
    rows = len(table.values[names[0]])
    if table.groups is None:
        if rows % time:
            raise DataError(
                f"{path} has {rows:,} rows and no column '{group}'; number the windows in one, or give a "
                f"multiple of {time} rows"
            )
        index = np.repeat(np.arange(rows // time), time)
    else:
        index = table.groups[0].astype(np.int64)
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index)
    if counts.max() > time:
        raise DataError(
            f"{path}: window {int(counts.argmax())} has {counts.max()} rows, but those of '{dataset.name}' have "
            f"{time}; give as many or fewer"
        )
    x = np.full((len(counts), time, features), np.nan)
    place = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    for feature, name in enumerate(names):
        x[index[order], place, feature] = table.values[name][order]
    if table.labels is None:
        return x, None
    known = {name: number for number, name in enumerate(dataset.classes)}
    for word in table.labels[1]:
        if word not in known:
            raise DataError(
                f"{path}: a sample has label '{word}', which is no class of the data; {suggest(word, known)}"
            )
    numbers = np.array([known[word] for word in table.labels[1]], dtype=np.int64)
    return x, numbers[table.labels[0][order][np.cumsum(counts) - counts]]


def _header(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        with pa.input_stream(str(path), compression="detect") as stream:
            line = bytes(stream.read(1024**2)).split(b"\n")[0]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); check the file") from error
    text = line.decode("utf-8-sig", "replace").strip()
    return [word.strip('"') for word in text.split(max(",;\t|", key=text.count))]


def _from_arrays(path: Path, dataset: Dataset, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            size = sum(member.file_size for member in loaded.zip.infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"it unpacks to {size:,} bytes, more than {_MOST_BYTES:,}")
        x = np.asarray(loaded if isinstance(loaded, np.ndarray) else loaded["x"], dtype=np.float64)
        kept = None if isinstance(loaded, np.ndarray) or "labels" not in loaded.files else loaded["labels"]
        labels = None if kept is None else kept.astype(np.int64)
        written = [] if isinstance(loaded, np.ndarray) or "columns" not in loaded.files else loaded["columns"].tolist()
    except Exception as error:  # a damaged file may raise anything
        raise DataError(
            f"{path} cannot be read as windows ({error}); give a CSV, or an array x of shape (n, time, feature)"
        ) from error
    if x.ndim != 3 or x.shape[1:] != dataset.spec.shape or not len(x):
        raise DataError(
            f"{path} holds an array of shape {x.shape}, but windows of '{dataset.name}' are "
            f"(n, {', '.join(map(str, dataset.spec.shape))}); cut them to that length, with these features: "
            f"{', '.join(column.name for column in layout.columns)}"
        )
    if written:
        names = [column.name for column in layout.columns]
        if sorted(written) != sorted(names):
            raise DataError(f"{path} has columns {', '.join(written)}, but '{dataset.name}' has {', '.join(names)}")
        x = x[:, :, [written.index(name) for name in names]]
    if labels is None or not dataset.classes:
        return x, None
    if labels.shape != (len(x),) or labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise DataError(f"{path}: labels must be {len(x)} indices of the {len(dataset.classes)} classes")
    return x, labels


def _check_ends(path: Path, x: np.ndarray) -> None:
    there = ~np.isnan(x)
    steps = there.all(2)
    if (there.any(2) != steps).any() or (steps[:, 1:] & ~steps[:, :-1]).any() or not steps[:, 0].all():
        raise DataError(f"{path}: a value is missing inside a window; only whole rows after a window's end may be")
    if np.isinf(x).any():
        raise DataError(f"{path} holds infinite values; every value must be finite")
