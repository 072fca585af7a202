"""Times that keep no step: told, asked about, brought to a step, or learned as differences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.tables.frame import free_name
from saddlepoint.data.tables.pace import DAY, GAP, SECOND, step_text
from saddlepoint.data.tables.table import Table

MOST_ODD = 0.01
"""Times are irregular if more than this share of the steps is no multiple of the usual one."""

STEPS = "time to the next row"
"""Name of the feature that holds it, in seconds or in the numbers of the time."""

_SLACK, HOUR = 0.1, DAY // 24
_NICE = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)), *(60 * n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 4, 6, 12)), DAY, 7 * DAY, 28 * DAY,
)  # fmt: skip


def irregularity(steps: np.ndarray) -> str:
    """Return why times with these steps, in usual ones, keep no step; "" if they do.

    >>> irregularity(np.array([1.0, 1.0, 2.0, 1.0] * 3 + [1.0] * 60))
    ''
    """
    odd = float((np.abs(steps - np.maximum(1, np.round(steps))) > _SLACK).mean())
    return f"{odd:.1%} of the steps are no multiple of the usual one" if odd > MOST_ODD else ""


def question(table: Table, name: str, step: float, unit: str, why: str) -> OpenQuestion:
    """Return what is to be asked of irregular times, with both readings and their first rows."""
    assert table.times is not None
    dates = unit != "number"
    word = suggested_step(step, dates) if unit in ("time", "number") else "1D"
    brought, _ = resampled(copy_of(table), word)
    kept = copy_of(table)
    by_steps(kept, name)
    return OpenQuestion(
        f"{table.name}: the times of '{name}' keep no step (usually {step_text(step, unit)}; {why}). What shall "
        "windows be made of?",
        (
            Reading(
                f"rows of {word} each: means of numbers, the most frequent category, and lines between neighbours "
                f"where nothing is, up to {GAP} of them", {"resample": word}, list(_shown(brought)),
            ),
            Reading(
                "the rows as they are: the time to the next one is learned too, and gives samples their times",
                {"resample": "steps"}, list(_shown(kept)),
            ),
        ),
    )  # fmt: skip


def suggested_step(step: float, dates: bool) -> str:
    """Return the shortest usual step of clocks that is not shorter than the median one, as ``--resample`` takes it.

    >>> suggested_step(9 * HOUR, True), suggested_step(0.3, False)
    ('12h', '0.3')
    """
    if not dates:
        return f"{step:.3g}"
    found = next((size for size in _NICE if size >= step), _NICE[-1])
    for size, word in ((DAY, "D"), (HOUR, "h"), (60 * SECOND, "min"), (SECOND, "s")):
        if found % size == 0:
            return f"{found // size}{word}"
    raise AssertionError(found)


def _shown(table: Table, most: int = 3) -> Iterator[str]:
    """Yield the first rows as texts, with at most four columns."""
    assert table.times is not None
    assert table.stamps is not None
    stamps = table.stamps.write(table.times[:most])
    for row in range(min(most, len(table.times))):
        parts = [f"{column} {texts[row]}" for column, texts in stamps.items()]
        for name, values in list(table.values.items())[-4:]:
            names = table.categories.get(name)
            value = values[row]
            told = (names[int(value)] if value >= 0 else "missing") if names else f"{value:g}"
            parts.append(f"{name} {told}")
        yield ", ".join(parts)


def copy_of(table: Table) -> Table:
    """Return a table whose columns may be replaced without changing the other."""
    return Table(**{**vars(table), "values": dict(table.values), "findings": list(table.findings)})


def take(table: Table, index: np.ndarray) -> None:
    """Keep these rows, in this order, in place."""
    for name in table.values:
        table.values[name] = table.values[name][index]
    if table.times is not None:
        table.times = table.times[index]
    if table.groups is not None:
        table.groups = (table.groups[0][index], table.groups[1])
    if table.labels is not None:
        table.labels = (table.labels[0][index], table.labels[1])


def by_steps(table: Table, name: str) -> list[Finding]:
    """Add the time to the next row as a column, in place; the last row of a series gets the median.

    Args:
        table: in order, without repeats.
        name: of its time.
    """
    times = table.times
    assert times is not None
    distance = np.diff(times).astype(np.float64)
    if np.issubdtype(times.dtype, np.integer):
        distance /= SECOND
    inside = np.ones(len(distance), bool) if table.groups is None else np.diff(table.groups[0]) == 0
    usual = float(np.median(distance[inside]))
    table.values[free_name(STEPS, table.order)] = np.append(np.where(inside, distance, usual), usual)
    text = f"the time to the next row is learned as a feature; it gives samples their times in '{name}'"
    return [Finding("irregular", text, "asked for by --resample steps", "--resample STEP")]


def read_step(word: str, dates: bool) -> float:
    """Return a step in nanoseconds, or as a number.

    Raises:
        DataError: if it is none.
    """
    import pandas as pd

    try:
        step = float(pd.Timedelta(word).value) if dates else float(word)
    except ValueError:
        step = 0.0
    if not (np.isfinite(step) and step > 0):
        rule = "a length of time such as 1h, 15min or 1D, or steps" if dates else "a number, or steps"
        raise DataError(f"--resample is '{word}', but it must be {rule}")
    return step


def resampled(table: Table, word: str) -> tuple[Table, list[Finding]]:
    """Bring rows to a step: means of numbers, most frequent categories (of equals the latest), the last label.

    Of each step without a row there is one with missing values, if no more than `GAP` follow one another; longer ones
    stay gaps. A row stands for the time from its stamp on.

    Args:
        table: in order, without repeats.
        word: the step.

    Raises:
        DataError: if it is no step.
    """
    times = table.times
    assert times is not None
    dates = bool(np.issubdtype(times.dtype, np.integer))
    step = read_step(word, dates)
    cells = times // int(step) if dates else np.floor(times / step + 1e-9).astype(np.int64)
    groups = np.zeros(len(cells), np.int32) if table.groups is None else table.groups[0]
    starts = np.flatnonzero(np.r_[True, (np.diff(cells) != 0) | (np.diff(groups) != 0)])
    row_of = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(cells)]))
    follows = np.diff(cells[starts])
    inserted = np.where((np.diff(groups[starts]) == 0) & (follows <= GAP), follows - 1, 0)
    index = np.repeat(np.arange(len(starts)), np.r_[inserted, 0] + 1)
    own = np.r_[True, np.diff(index) != 0]
    behind = np.arange(len(index)) - np.flatnonzero(own)[index]
    values = {
        name: _most_frequent(column, row_of, starts, len(table.categories[name]))[index]
        if name in table.categories else _means(column, row_of, starts)[index]
        for name, column in table.values.items()
    }  # fmt: skip
    for name, column in values.items():
        column[~own] = -1 if name in table.categories else np.nan
    made = copy_of(table)
    made.values = values
    made.times = (cells[starts][index] + behind) * (int(step) if dates else step)
    last = np.r_[starts[1:], len(cells)] - 1
    made.groups = None if table.groups is None else (groups[starts][index], table.groups[1])
    made.labels = None if table.labels is None else (table.labels[0][last][index], table.labels[1])
    many = np.diff(np.r_[starts, len(cells)]) > 1
    text = (
        f"{len(cells):,} rows were brought to {len(starts):,} steps of {word}: means of numbers, the most frequent "
        f"category; {int((~own).sum()):,} steps between them have no row and lie on lines between neighbours"
    )
    why = f"{int(many.sum()):,} steps have several rows"
    return made, [Finding("irregular", text, why, "--resample STEP")]


def _means(column: np.ndarray, row_of: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the mean of what is there in every cell, NaN where nothing is; of a cell of one row its very value."""
    there = ~np.isnan(column)
    counts = np.add.reduceat(there.astype(np.int64), starts)
    sums = np.add.reduceat(np.where(there, column, 0.0), starts)
    return np.where(counts > 0, sums / np.maximum(1, counts), np.nan)


def _most_frequent(codes: np.ndarray, row_of: np.ndarray, starts: np.ndarray, values: int) -> np.ndarray:
    """Return the most frequent code of every cell, of equals the one that comes last; -1 where all are missing."""
    found = np.full(len(starts), -1, np.int32)
    there = np.flatnonzero(codes >= 0)
    keys, inverse, counts = np.unique(row_of[there] * values + codes[there], return_inverse=True, return_counts=True)
    last = np.zeros(len(keys), np.int64)
    np.maximum.at(last, inverse.reshape(-1), there)
    order = np.lexsort((last, counts, keys // values))
    found[keys[order] // values] = keys[order] % values
    return found
