"""Rows of a series that are given: a table like the data's, which samples go on from, or whose holes they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.cells import as_meant
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.layout import Layout
from saddlepoint.data.series.read_samples import codes_in, options_of
from saddlepoint.data.tables.table import Table, is_table, read_table

MOST_ROWS = 100_000
"""Rows that may be given."""


@dataclass(frozen=True)
class History:
    """Given rows.

    Attributes:
        x: (rows, feature) float64, scaled as the data is, with the calendar; NaN where a value is not known.
        times: (rows,) int64 nanoseconds or float64 numbers; None without a time.
        label: index of the class that they carry, or None.
        holes: how many cells are empty, those of rows that were left out among them.
    """

    x: np.ndarray
    times: np.ndarray | None
    label: int | None
    holes: int


def read_history(path: Path, layout: Layout, classes: Sequence[str], *, gaps: bool) -> History:
    """Read one series: its rows in the order of time, empty cells as NaN.

    Args:
        path: a table as the data's: CSV, parquet, workbook. A label column, if there, holds one class.
        layout: of the data.
        classes: of the data.
        gaps: whether times that are left out in between become empty rows.

    Raises:
        DataError: if it cannot be read, does not fit the data, holds several series, or no value at all.
    """
    if not path.is_file() or not is_table(path):
        raise DataError(f"there is no table at '{path}'; give a CSV or parquet file with the columns of the data")
    learned = [column for column in layout.columns if not column.time]
    if len(learned) < len(layout.columns):
        raise DataError("this data learned the times between its rows; given rows would need theirs: --resample STEP")
    table = read_table(path, options_of(path, layout, classes, learned), known=True)
    if table.groups is not None and len(np.unique(table.groups[0])) > 1:
        raise DataError(f"{path} holds {len(np.unique(table.groups[0])):,} series; give the rows of one")
    values = np.stack([codes_in(path, column, table) for column in learned], 1)
    times, order = table.times, np.arange(len(values))
    if times is not None:
        order = np.argsort(times, kind="stable")
        times = times[order]
        if (np.diff(times) == 0).any():
            raise DataError(f"{path}: {int((np.diff(times) == 0).sum()):,} rows repeat a time; give each time once")
    values = values[order]
    if layout.calendar and times is None:
        names = " and ".join(layout.time_index.names) if layout.time_index else "its times"
        raise DataError(f"{path} has no times, but samples are told the calendar; give {names}")
    if gaps and times is not None:
        values, times = _with_gaps(path, values, times, layout)
    if len(values) > MOST_ROWS:
        raise DataError(f"{path} has {len(values):,} rows with its gaps, but at most {MOST_ROWS:,} are taken; cut it")
    if np.isnan(values).all():
        raise DataError(f"{path} holds no value of {', '.join(c.name for c in learned)}; nothing is given")
    if np.isinf(values).any():
        raise DataError(f"{path} holds infinite values; leave such cells empty")
    known = phases(times, layout.calendar) if layout.calendar and times is not None else None
    label = _label(path, table, classes)
    return History(layout.scale(values, known), times, label, int(np.isnan(values).sum()))


def _with_gaps(path: Path, values: np.ndarray, times: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with empty ones where times of the data's usual step are left out."""
    index = layout.time_index
    if index is None or len(times) < 2:
        return values, times
    first = float(times[0])
    every = index.at(first, np.arange(min(MOST_ROWS, index.most(first)) + 1))  # beyond its last date time begins again
    place = np.searchsorted(every, times)
    place = np.minimum(place, len(every) - 1)
    if place[-1] >= MOST_ROWS:
        raise DataError(f"{path} reaches over more than {MOST_ROWS:,} steps of the data; cut it")
    if not np.allclose(every[place].astype(np.float64), times.astype(np.float64), rtol=1e-12, atol=0):
        # Times between the steps, such as after a change of the clock: rows count as they stand.
        return values, times
    whole = np.full((place[-1] + 1, values.shape[1]), np.nan)
    whole[place] = values
    return whole, every[: len(whole)]


def _label(path: Path, table: Table, classes: Sequence[str]) -> int | None:
    """Return the class of all rows, if there is a column of them."""
    if table.labels is None:
        return None
    words = [table.labels[1][code] for code in np.unique(table.labels[0])]
    if len(words) > 1:
        raise DataError(f"{path} holds rows of {len(words)} classes ({', '.join(words[:4])}); give those of one")
    word = words[0] if words[0] in classes else as_meant(words[0])
    if word not in classes:
        raise DataError(
            f"{path}: its rows have label '{word}', which is no class of the data; {suggest(word, classes)}"
        )
    return list(classes).index(word)
