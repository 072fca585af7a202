"""Windows as files in the units and the look of the data: CSV, parquet and npz."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import written
from saddlepoint.data.cells import harmless
from saddlepoint.data.series.layout import Column, Layout
from saddlepoint.data.series.positions import times_of
from saddlepoint.data.tables.frame import Look, free_name

FORMATS = ("csv", "parquet", "npz")


def window_column(layout: Layout) -> str:
    """Return the name of the column that numbers the windows: ``window``, or one that the data does not have."""
    return free_name("window", layout.order)


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
    make_folder(path.parent)
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
