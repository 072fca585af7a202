"""Samples of series, read again: tables and arrays in the units of the data, scaled as the data is."""

from __future__ import annotations

import csv
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data import limits
from saddlepoint.data.cells import as_meant, harmless
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.options import Options
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.layout import Column, Layout, default_layout
from saddlepoint.data.series.samples import window_column
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.table import is_table, read_table
from saddlepoint.data.texts import texts_of

_MOST_BYTES = 2 * 1024**3
"""Bytes of unpacked arrays: two million windows of 24 steps of 6 columns."""


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
    layout = dataset.layout or default_layout(dataset.spec.shape[1])
    if is_table(path):
        x, times, labels = _from_table(path, dataset, layout)
    else:
        x, times, labels = _from_arrays(path, dataset, layout)
    known = None
    if layout.calendar:
        if times is None:
            raise DataError(
                f"{path} has no times, but windows of '{dataset.name}' are told the calendar by theirs; give "
                f"{' and '.join(layout.time_index.names if layout.time_index else ())}, "
                "or read the data with --calendar off"
            )
        known = np.where(np.isnan(x[..., :1]), np.nan, phases(times, layout.calendar))
    scaled = layout.scale(x, known).astype(np.float32)
    _check_ends(path, scaled)
    return scaled, labels


def _from_table(
    path: Path, dataset: Dataset, layout: Layout
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return values (n, time, column), times (n, time) and labels."""
    time = dataset.spec.shape[0]
    learned = [column for column in layout.columns if not column.time]
    table = read_table(path, options_of(path, layout, dataset.classes, learned), known=True)
    rows = len(next(iter(table.values.values())))
    group = window_column(layout)
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
    place = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    x = np.full((len(counts), time, len(layout.columns)), np.nan)
    for feature, column in enumerate(layout.columns):
        if not column.time:
            x[index[order], place, feature] = codes_in(path, column, table)[order]
    times = None
    if table.times is not None:
        times = np.zeros((len(counts), time), table.times.dtype)
        times[index[order], place] = table.times[order]
    for feature, column in enumerate(layout.columns):
        if column.time:
            x[..., feature] = _steps(path, times, x[..., 0], column)
    if table.labels is None:
        return x, times, None
    known = {name: number for number, name in enumerate(dataset.classes)}
    words = [as_meant(word) if word not in known else word for word in table.labels[1]]
    for word in words:
        if word not in known:
            raise DataError(
                f"{path}: a sample has label '{word}', which is no class of the data; {suggest(word, known)}"
            )
    numbers = np.array([known[word] for word in words], dtype=np.int64)
    return x, times, numbers[table.labels[0][order][np.cumsum(counts) - counts]]


def options_of(path: Path, layout: Layout, classes: Sequence[str], learned: Sequence[Column]) -> Options:
    """Return how a table of samples is read: what its columns are is known, as far as they are there."""
    header = _header(path, layout.look)
    names = tuple(_written(name, header) for name in layout.time_index.names) if layout.time_index is not None else ()
    times = names if names and set(names) <= set(header) else ("none",)
    group, labelled = window_column(layout), layout.group if layout.classes_are_series else layout.label
    label = _written(labelled, header) if labelled else None
    columns = tuple(_written(column.name, header) for column in learned)
    _check_columns(path, columns, names, header)
    return Options(
        columns=columns, time_column=times,
        group_column=group if group in header else "none",
        label_column=label if label in header and classes else None,
        decimal=layout.look.decimal if layout.look.decimal == "," else None,
    )  # fmt: skip


def _check_columns(path: Path, needed: Sequence[str], times: Sequence[str], header: Sequence[str]) -> None:
    """Refuse a table that lacks a column of the data; where none is known the first line is no header to judge by."""
    missing = [name for name in needed if name not in header]
    if missing and {*needed, *times} & set(header):
        raise DataError(f"{path} has no column '{missing[0]}', which the data has; {suggest(missing[0], header)}")


def _written(name: str, there: Container[str]) -> str:
    """Return the name of a column as it stands in a file."""
    return harmless(name) if name not in there and harmless(name) in there else name


def codes_in(path: Path, column: Column, table: Any) -> np.ndarray:
    """Return a column as numbers, of a category as codes of the data."""
    name = _written(column.name, table.values)
    values = np.asarray(table.values[name])
    if not column.values:
        if name in table.categories:
            raise DataError(f"{path}: column '{column.name}' holds text, but in the data it holds numbers")
        return values.astype(np.float64)
    known = {str(value): code for code, value in enumerate(column.values)}
    if name in table.categories:
        words = [as_meant(word) if word not in known else word for word in map(str, table.categories[name])]
    else:
        there = ~np.isnan(values)
        own, places = np.unique(values[there], return_inverse=True)
        values = np.full(len(there), -1)
        values[there] = places.reshape(-1)
        words = [str(int(value) if float(value).is_integer() and str(int(value)) in known else value) for value in own]
    for word in words:
        if word not in known:
            raise DataError(
                f"{path}: column '{column.name}' holds '{word}', which the data does not have; {suggest(word, known)}"
            )
    codes = np.array([known[word] for word in words], dtype=np.float64)
    return np.where(values < 0, np.nan, codes[np.maximum(values, 0)]) if len(codes) else np.full(len(values), np.nan)


def _steps(path: Path, times: np.ndarray | None, there: np.ndarray, column: Column) -> np.ndarray:
    """Return the time to the next row of every step; of the last one of a window the middle of the data's range."""
    if times is None:
        raise DataError(f"{path} has no times, but the data's steps are learned; give them")
    found = np.diff(times, axis=1, append=times[:, -1:]).astype(np.float64)
    if np.issubdtype(times.dtype, np.integer):
        found /= 1e9
    lengths = (~np.isnan(there)).sum(1)
    found[np.arange(len(found)), lengths - 1] = np.nanmedian(np.where(np.isnan(there), np.nan, found)[:, :-1])
    return np.where(np.isnan(there), np.nan, found)


def _header(path: Path, look: Look) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if reader := READERS.get(path.suffix.lower()):
        return [str(name) for name in reader(path, Options()).data.columns]
    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        with pa.input_stream(str(path), compression="detect") as stream:
            line = bytes(stream.read(1024**2)).split(b"\n")[0]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last of names that are no text
        raise DataError(f"{path} cannot be read ({error}); check the file") from error
    text = line.decode("utf-8-sig", "replace").strip()
    try:
        return next(csv.reader([text], delimiter=max(",;\t|", key=text.count)), [])
    except csv.Error as error:
        raise DataError(f"{path} cannot be read ({error}); check the file") from error


def _from_arrays(
    path: Path, dataset: Dataset, layout: Layout
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return values (n, time, column), times (n, time) and labels."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            size = sum(member.file_size for member in loaded.zip.infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"it unpacks to {size:,} bytes, more than {_MOST_BYTES:,}")
            limits.check_unpacked(str(path), size, path.stat().st_size)
        arrays: dict[str, Any] = (
            {"x": loaded} if isinstance(loaded, np.ndarray) else {n: loaded[n] for n in loaded.files}
        )
        x = np.asarray(arrays["x"], dtype=np.float64)
        labels = None if "labels" not in arrays else arrays["labels"].astype(np.int64)
        written = [] if "columns" not in arrays else texts_of(arrays["columns"], f"{path}: columns")
        times = arrays.get("times")
    except DataError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise DataError(
            f"{path} cannot be read as windows ({error}); give a CSV, or an array x of shape (n, time, feature)"
        ) from error
    names = [column.name for column in layout.columns if not column.time]
    time = dataset.spec.shape[0]
    if x.ndim != 3 or x.shape[1:] != (time, len(names)) or not len(x):
        raise DataError(
            f"{path} holds an array of shape {x.shape}, but windows of '{dataset.name}' are "
            f"(n, {time}, {len(names)}); cut them to that length, with these features: {', '.join(names)}"
        )
    if written:
        if sorted(written) != sorted(names):
            raise DataError(f"{path} has columns {', '.join(written)}, but '{dataset.name}' has {', '.join(names)}")
        x = x[:, :, [written.index(name) for name in names]]
    if times is not None and (times.shape != x.shape[:2] or times.dtype.kind not in "if"):
        raise DataError(f"{path}: times must be numbers of shape {x.shape[:2]}")
    whole = np.full((*x.shape[:2], len(layout.columns)), np.nan)
    whole[..., [place for place, column in enumerate(layout.columns) if not column.time]] = x
    for place, column in enumerate(layout.columns):
        if column.time:
            whole[..., place] = _steps(path, times, x[..., 0], column)
    if labels is None or not dataset.classes:
        return whole, times, None
    if labels.shape != (len(x),) or labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise DataError(f"{path}: labels must be {len(x)} indices of the {len(dataset.classes)} classes")
    return whole, times, labels


def _check_ends(path: Path, x: np.ndarray) -> None:
    there = ~np.isnan(x)
    steps = there.all(2)
    if (there.any(2) != steps).any() or (steps[:, 1:] & ~steps[:, :-1]).any() or not steps[:, 0].all():
        raise DataError(f"{path}: a value is missing inside a window; only whole rows after a window's end may be")
    if np.isinf(x).any():
        raise DataError(f"{path} holds infinite values; every value must be finite")
