"""What tells several series of a table apart: a column, as asked or recognised, or times that start again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.dates import TimeColumn
from saddlepoint.data.tables.forms import name_parts
from saddlepoint.data.tables.opened import Column, Opened
from saddlepoint.data.tables.pace import usual_step

REPEATS = 0.01
"""Up to this share of repeated times is a fault of the file (the hour that comes twice in autumn), not series."""
LEAST = 3
"""Rows that a series has on average, at least."""
MOST_EMPTY = 0.1
"""Up to this share of rows may lack what tells series apart: then the first of them is named."""
NUMBERED = frozenset(
    {
        "id", "subject", "subjects", "subj", "patient", "person", "participant", "individual", "animal", "unit",
        "trial", "run", "episode", "session", "user", "customer", "household", "firm", "company", "station", "sensor",
        "device", "machine", "engine", "series", "group",
    }
)  # fmt: skip
"""Words in names of columns of whole numbers that stand for somebody or something, and are no measured values."""

Codes = tuple[np.ndarray, list[str]]


@dataclass
class Grouping:
    """What tells series apart.

    Attributes:
        column: its name; "" where series are told by times that start again, or there is one.
        codes: series of each row, and their names; None for one series.
        findings: how it was found.
    """

    column: str = ""
    codes: Codes | None = None
    findings: tuple[Finding, ...] = ()


def codes_of(opened: Opened, name: str) -> Codes:
    """Return the value of each row of a column as a number, in the order of appearance, and the values as texts.

    Raises:
        DataError: if a row has none.
    """
    import pyarrow as pa

    column = opened.columns[name]
    data = column.data if column.texts is None else column.texts
    if data.null_count:
        raise _nothing_in(opened, name, data)
    if column.kind == "other":
        raise DataError(
            f"{opened.name}: column '{name}' holds {column.what}, which names no series and no class; choose another"
        )
    if column.kind == "float" and column.whole and column.texts is None:
        with contextlib.suppress(pa.ArrowInvalid):  # numbers beyond 64 bits stay as they are
            data = data.cast(pa.int64())
    coded = data.combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    return coded.indices.to_numpy(zero_copy_only=False).astype(np.int32), [
        str(value) for value in coded.dictionary.to_pylist()
    ]


def _nothing_in(opened: Opened, name: str, data: Any) -> DataError:
    """Return the error of a column of which a row has nothing, with the line of the first."""
    row = int(data.is_null().to_numpy().argmax())
    return DataError(
        f"{opened.name}: {opened.place(row)} has nothing in column '{name}'; fill it in, or remove that line"
    )


def find_series(opened: Opened, time: TimeColumn | None, free: Sequence[str]) -> Grouping:
    """Return what tells series apart, where times repeat or rows form blocks.

    Args:
        opened: the file.
        time: None without one.
        free: columns that may do it.

    Raises:
        OpenQuestion: if several columns can, or one of numbers that could be a value as well.
        DataError: if times repeat and no column can, or one could but for a few rows.
    """
    if time is None:
        return _blocks(opened, free)
    times = time.times
    if _repeated(times) <= REPEATS * len(times):
        return Grouping()
    fitting = [name for name in free if _fits(opened.columns[name], times, time.stamps.dates)]
    starts = np.flatnonzero(np.r_[True, np.diff(times) <= 0])
    segments = np.cumsum(np.r_[True, np.diff(times) <= 0]) - 1
    aligned = [name for name in fitting if np.array_equal(_changes(opened, name), starts)]
    texts = [name for name in fitting if opened.columns[name].kind in ("text", "bool")]
    chosen = _alike(opened, aligned or texts) if aligned or texts else []
    likely = _alike(opened, texts) or chosen
    if len(likely) == 1 and (likely[0] in texts or likely[0] in aligned):
        return _by(opened, likely[0], time)
    if len(fitting) > 0:
        raise OpenQuestion(
            f"{opened.name}: times of '{time.stamps.name}' repeat, so it holds several series: which column tells them "
            "apart?",
            [_reading(opened, name) for name in (_alike(opened, fitting))[:6]],
        )
    if not time.stamps.dates and len(times) / len(starts) >= LEAST:
        names = [str(i + 1) for i in range(len(starts))]
        says = f"{len(starts):,} series: '{time.stamps.name}' starts again for each"
        finding = Finding("series", says, "no column names them", "--time-column none", sure=False)
        return Grouping("", (segments.astype(np.int32), names), (finding,))
    if time.tentative:
        return Grouping()
    for name in free:
        if _fits_but_for_gaps(opened.columns[name], times, time.stamps.dates):
            raise _nothing_in(opened, name, opened.columns[name].data)
    rows = len(times)
    raise DataError(
        f"{opened.name}: {_repeated(times):,} of {rows:,} rows repeat a time of '{time.stamps.name}', and no column "
        "tells these rows apart: in none does each time come once per value; name the column that tells series apart "
        "with --group-column, remove the repeats, or say --time-column none if rows are in order as they stand"
    )


def _repeated(times: np.ndarray) -> int:
    if len(times) < 2 or bool((np.diff(times) > 0).all()):
        return 0
    return len(times) - len(np.unique(times))


def _fits(column: Column, times: np.ndarray, dates: bool) -> bool:
    """Whether times are unique and, for a column of numbers, steady within each value of a column."""
    if (
        column.kind not in ("text", "bool", "int", "float")
        or column.data.null_count
        or not (column.kind in ("text", "bool") or column.whole)
    ):
        return False
    values = column.data.combine_chunks().dictionary_encode()
    values = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    codes, kinds = values.indices.to_numpy(zero_copy_only=False), len(values.dictionary)
    if not 2 <= kinds <= len(times) / LEAST:
        return False
    order = np.lexsort((times, codes))
    inside = np.diff(codes[order]) == 0
    after, before = times[order][1:][inside], times[order][:-1][inside]
    if (after == before).sum() > REPEATS * len(times):
        return False
    if column.kind in ("text", "bool"):
        return True
    later = after > before
    step, _, distance = usual_step(before[later], after[later], dates)
    steps = np.asarray(distance(before[later], after[later]), dtype=np.float64)
    return bool((np.abs(steps - step) <= 0.01 * abs(step)).mean() > 0.8)


def _fits_but_for_gaps(column: Column, times: np.ndarray, dates: bool) -> bool:
    """Whether a column tells series apart in the rows where it has a value, nearly all of them."""
    empty = column.data.null_count
    if not 0 < empty <= MOST_EMPTY * len(times):
        return False
    there = column.data.is_valid().to_numpy()
    return _fits(replace(column, data=column.data.drop_null()), times[there], dates)


def _changes(opened: Opened, name: str) -> np.ndarray:
    codes = codes_of(opened, name)[0]
    return np.flatnonzero(np.r_[True, np.diff(codes) != 0])


def _alike(opened: Opened, names: Sequence[str]) -> list[str]:
    """Return names without those that divide the rows as an earlier one does; texts first."""
    kept: list[tuple[str, np.ndarray, int]] = []
    for name in sorted(names, key=lambda n: opened.columns[n].kind != "text"):
        codes, values = codes_of(opened, name)
        same = (
            len(values) == size and len(np.unique(codes.astype(np.int64) * size + other)) == size
            for _, other, size in kept
        )
        if not any(same):
            kept.append((name, codes, len(values)))
    return [name for name, _, _ in kept]


def _by(opened: Opened, name: str, time: TimeColumn) -> Grouping:
    codes = codes_of(opened, name)
    why = f"times of '{time.stamps.name}' repeat, and are unique in each"
    says = f"'{name}' tells {len(codes[1]):,} series apart ({shortened(codes[1])})"
    return Grouping(name, codes, (Finding("series", says, why, "--group-column NAME or none", sure=False),))


def _reading(opened: Opened, name: str) -> Reading:
    codes, values = codes_of(opened, name)
    counts = np.bincount(codes)
    rows = [f"{value}: {count:,} rows" for value, count in zip(values[:3], counts[:3], strict=False)]
    more = [f"... {len(values) - 3:,} more"] if len(values) > 3 else []
    return Reading(f"'{name}': {len(values):,} series", {"group_column": name}, [*rows, *more])


def _blocks(opened: Opened, free: Sequence[str]) -> Grouping:
    """Ask about a column whose values stand in blocks, where no time says whether they are series.

    Texts are asked about, and whole numbers whose name says that they number something: others may be values that
    change seldom.
    """
    for name in free:
        column = opened.columns[name]
        numbered = column.kind == "int" and bool(name_parts(name) & NUMBERED)
        if not (column.kind == "text" or numbered) or column.data.null_count or column.bad is not None:
            continue
        codes, values = codes_of(opened, name)
        changes = int((np.diff(codes) != 0).sum())
        if 2 <= len(values) == changes + 1 and len(codes) / len(values) >= LEAST:
            what = "value" if numbered else "category"
            readings = [
                _reading(opened, name),
                Reading(f"one series; '{name}' is a {what} that changes along it", {"group_column": "none"},
                        [f"{values[0]} ... {values[1]}: windows go across"]),
                Reading(f"'{name}' is the class of its rows", {"label_column": name}, [f"classes {shortened(values)}"]),
            ]  # fmt: skip
            raise OpenQuestion(
                f"{opened.name}: rows of each '{name}' stand in a block, and no column is the time: is each a series?",
                readings,
            )
    return Grouping()
