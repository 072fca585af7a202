"""Windows as files in the units and the look of the data: CSV, parquet and npz, written and read again."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.files import written
from saddlepoint.data import limits
from saddlepoint.data.cells import as_meant, harmless
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.options import Options
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.layout import Column, Layout, default_layout
from saddlepoint.data.series.positions import times_of
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.table import is_table, read_table

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
    path: Path,
    x: np.ndarray,
    layout: Layout,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    times: np.ndarray | None = None,
) -> Path:
    """Write scaled windows in the units, columns, order and types of the table they were learnt from.

    A CSV or parquet file has a row for each step: the number of the window, then the columns of the table. In a CSV, an
    apostrophe stands before texts that spreadsheets would take for formulas; `read_samples` takes it off. An npz file
    has ``x`` (n, time, column) float64 in the units of the data, ``columns``, for each category its values by code as
    ``values of NAME``, ``labels`` if there are any, and ``times`` if there are.

    Args:
        path: ends in .csv, .parquet or .npz; its folder is made if missing.
        x: (n, time, feature) in [0, 1], NaN after the end of short windows.
        layout: of the table.
        labels: (n,) class indices, or None.
        classes: their names.
        times: (n, time) of every step; None: as `times_of` finds them.

    Raises:
        ConfigError: on another ending.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"'{path}' should end in .csv, .parquet or .npz for samples of series")
    path.parent.mkdir(parents=True, exist_ok=True)
    times = times_of(layout, x, labels) if times is None else times
    with written(path) as place:
        if kind == "npz":
            with place.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **_arrays(layout.restore(x), layout, labels, times))
        elif kind == "csv":
            place.write_bytes(csv_text(x, layout, labels, classes, times))
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table(table_of(x, layout, labels, classes, times)), place)
    return path


def _arrays(
    values: np.ndarray, layout: Layout, labels: np.ndarray | None, times: np.ndarray | None
) -> dict[str, np.ndarray]:
    kept = [place for place, column in enumerate(layout.columns) if not column.time]
    arrays = {"x": values[..., kept], "columns": np.array([layout.columns[place].name for place in kept])}
    for column in layout.columns:
        if column.values:
            arrays[f"values of {column.name}"] = np.array([str(value) for value in column.values])
    if labels is not None:
        arrays["labels"] = labels
    if times is not None:
        arrays["times"] = times
    return arrays


def csv_text(
    x: np.ndarray,
    layout: Layout,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    times: np.ndarray | None = None,
) -> bytes:
    """Return what `write_samples` writes into a CSV file; texts that spreadsheets take for formulas are `harmless`."""
    look, table = layout.look, table_of(x, layout, labels, classes, times)
    digits = {column.name: column.decimals for column in layout.columns}
    columns = [_cells(values, digits.get(name, 0), look) for name, values in table.items()]
    texts = io.StringIO()
    form: dict[str, Any] = {"delimiter": look.delimiter, "lineterminator": "\n"}
    csv.writer(texts, quoting=csv.QUOTE_ALL if look.quoted_header else csv.QUOTE_MINIMAL, **form).writerow(
        map(harmless, table)
    )
    form["quoting"] = csv.QUOTE_NONNUMERIC if look.quoted else csv.QUOTE_MINIMAL
    csv.writer(texts, **form).writerows(zip(*columns, strict=True))
    return texts.getvalue().encode()


class _Number(float):
    """A number in the look of the table, which stands without quotes."""

    text: str

    def __new__(cls, text: str) -> _Number:
        """Keep the text beside a value that nobody reads."""
        made = super().__new__(cls, 0.0)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def _cells(values: Sequence[Any] | np.ndarray, decimals: int | None, look: Look) -> list[Any]:
    """Return the cells of a column: numbers in the look of the table, the rest as text."""
    found: list[Any] = []
    for value in values.tolist() if isinstance(values, np.ndarray) else values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            found.append(harmless(str(value)))
            continue
        text = str(value) if isinstance(value, int) else repr(round(value, decimals)) if decimals else repr(value)
        if look.thousands and "e" not in text and abs(value) >= 1000:
            whole, point, rest = text.partition(".")
            text = f"{int(whole):,}".replace(",", "\0") + point + rest
        if look.decimal != ".":
            text = text.replace(".", look.decimal)
        found.append(_Number(text.replace("\0", look.thousands)))
    return found


def table_of(
    x: np.ndarray, layout: Layout, labels: np.ndarray | None, classes: Sequence[str], times: np.ndarray | None
) -> dict[str, np.ndarray | list[Any]]:
    """Return windows as columns of a table, a row for each step: the window's number, then the table's columns."""
    values = layout.restore(x)
    there = ~np.isnan(values[:, :, 0])
    window = np.nonzero(there)[0]
    times = times_of(layout, x, labels) if times is None else times
    columns: dict[str, np.ndarray | list[Any]] = {window_column(layout): window}
    places = {column.name: index for index, column in enumerate(layout.columns) if not column.time}
    stamps = {} if layout.time_index is None or times is None else layout.time_index.write(times[there])
    label = layout.group if layout.classes_are_series else layout.label
    for name in layout.order:
        if name in places:
            columns[name] = _typed(values[:, :, places[name]][there], layout.columns[places[name]])
        elif name in stamps:
            columns[name] = stamps[name]
        elif name == label and labels is not None:
            names = _numbers_if_all(classes)
            columns[name] = [names[labels[i]] for i in window]
        elif name == layout.group and not layout.classes_are_series:
            columns[name] = [f"sample {i}" for i in window.tolist()]
    return columns


def _typed(flat: np.ndarray, column: Column) -> np.ndarray | list[Any]:
    if column.values:
        return [column.values[code] for code in flat.astype(np.int64).tolist()]
    whole = column.decimals == 0 and np.abs(flat).max(initial=0) < 2**63
    return flat.astype(np.int64) if whole else flat


def _numbers_if_all(names: Sequence[str]) -> list[Any]:
    whole = all(name.lstrip("-").isdecimal() and str(int(name)) == name for name in names)
    return [int(name) for name in names] if whole else list(names)


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
    table = read_table(path, _options(path, dataset, layout, learned))
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
            x[index[order], place, feature] = _by_code(path, column, table)[order]
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


def _options(path: Path, dataset: Dataset, layout: Layout, learned: Sequence[Column]) -> Options:
    """Return how a table of samples is read: what its columns are is known, as far as they are there."""
    header = _header(path, layout.look)
    names = tuple(_written(name, header) for name in layout.time_index.names) if layout.time_index is not None else ()
    times = names if names and set(names) <= set(header) else ("none",)
    group, labelled = window_column(layout), layout.group if layout.classes_are_series else layout.label
    label = _written(labelled, header) if labelled else None
    return Options(
        columns=tuple(_written(column.name, header) for column in learned), time_column=times,
        group_column=group if group in header else "none",
        label_column=label if label in header and dataset.classes else None,
        decimal=layout.look.decimal if layout.look.decimal == "," else None,
    )  # fmt: skip


def _written(name: str, there: Container[str]) -> str:
    """Return the name of a column as it stands in a file."""
    return harmless(name) if name not in there and harmless(name) in there else name


def _by_code(path: Path, column: Column, table: Any) -> np.ndarray:
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
        own, values = np.unique(values, return_inverse=True)
        values = values.reshape(-1)
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

    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        with pa.input_stream(str(path), compression="detect") as stream:
            line = bytes(stream.read(1024**2)).split(b"\n")[0]
    except (OSError, pa.ArrowException) as error:
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
        written = [] if "columns" not in arrays else [str(name) for name in arrays["columns"].tolist()]
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
