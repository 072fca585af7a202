"""Rows whose time lies far from all others, as a mistyped year does: found, then asked about, left out or kept.

Two things tell them. A row stands out of place where the rest of the file is in order of time, before and behind it.
And few rows begin or end a series beyond a gap that is out of all proportion to what lies on the other side.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.series.irregular import take
from saddlepoint.data.tables.pace import GAP, SECOND, length_text
from saddlepoint.data.tables.table import Table

MOST_STRAY = 0.01
"""More than this share of the rows (and more than three) are no faults, but how the data is."""
_FEW = 3
_HOUR = 3600 * SECOND
"""Where clocks go back an hour comes twice: no nearer row is out of place."""
_BY_CHANCE = 10
"""Fewer rows than this may by chance span less than a gap beside them; it must be ten times as long then."""
_LONE_SHARE, _LONE_TIMES = 0.1, 30
"""Three rows at an end are asked about from this share of the span, and this many times the longest gap, on."""
_SHOWN = 3


def without_strays(table: Table, asked: str | None) -> list[Finding]:
    """Look for rows whose time lies far from all others; leave them out, in place, or keep them, as was asked for.

    Args:
        table: in the order of the file.
        asked: ``drop``, ``keep``, or None.

    Returns:
        What was done, if there are any.

    Raises:
        OpenQuestion: if there are some, and nothing was asked for.
    """
    if table.times is None or table.made:
        return []
    groups = np.zeros(len(table.times), np.int32) if table.groups is None else table.groups[0]
    rows = np.flatnonzero(strays(table.times, groups, dates=bool(table.stamps and table.stamps.dates)))
    if not len(rows):
        return []
    told = f"{_named(table, rows)} far from the others"
    if asked == "keep":
        return [Finding("time", f"{told}, and kept", "asked for by --stray-times keep", "--stray-times drop")]
    if asked is None:
        raise _question(table, rows, groups)
    take(table, np.delete(np.arange(len(table.times)), rows))
    return [Finding("time", f"{told}, and left out", "asked for by --stray-times drop", "--stray-times keep")]


def strays(times: np.ndarray, groups: np.ndarray, *, dates: bool) -> np.ndarray:
    """Return which rows have times far from all others of their series; none, if they are too many for faults.

    Args:
        times: (rows,) in the order of the file: nanoseconds, or numbers.
        groups: (rows,) series of each row.
        dates: whether times are nanoseconds.
    """
    few = max(_FEW, MOST_STRAY * len(times))
    order = np.argsort(groups, kind="stable")
    found = np.zeros(len(times), bool)
    found[order] = _out_of_place(times[order], groups[order], few, dates)
    rest = np.flatnonzero(~found)
    order = rest[np.lexsort((times[rest], groups[rest]))]
    ends = np.zeros(len(times), bool)
    ends[order] = _beyond(times[order].astype(np.float64), groups[order])
    return found | ends if found.sum() + ends.sum() <= few else found


def _out_of_place(times: np.ndarray, groups: np.ndarray, few: float, dates: bool) -> np.ndarray:
    """Return which rows, of series one after another, interrupt an order of time; none where there is no such order."""
    found = np.zeros(len(times), bool)
    inside = np.diff(groups) == 0
    steps = np.diff(times)
    back, on = inside & (steps < 0), inside & (steps > 0)
    if back.sum() > on.sum():  # the newest first
        return _out_of_place(times[::-1], groups[::-1], few, dates)[::-1]
    if not 0 < back.sum() <= few:
        return found
    least = max(GAP * float(np.median(steps[on])), _HOUR if dates else 0)
    edges = np.r_[0, np.flatnonzero(~inside) + 1, len(times)]
    for series in np.unique(np.searchsorted(edges, np.flatnonzero(back), "right") - 1).tolist():
        own = slice(int(edges[series]), int(edges[series + 1]))
        found[own] = _displaced(times[own], least)
    return found if found.sum() <= few else np.zeros(len(times), bool)


def _displaced(times: np.ndarray, least: float) -> np.ndarray:
    """Return which rows are off the longest run of rows in order of time, by more than a distance."""
    kept = _longest_rise(times)
    off = np.setdiff1d(np.arange(len(times)), kept)
    place = np.searchsorted(kept, off)
    # What is off lies between two rows of the run, or it would be part of it.
    before, after = times[kept[np.maximum(place - 1, 0)]], times[kept[np.minimum(place, len(kept) - 1)]]
    distance = np.maximum(np.maximum(before - times[off], times[off] - after), 0).astype(np.float64)
    found = np.zeros(len(times), bool)
    found[off[distance > least]] = True
    return found


def _longest_rise(times: np.ndarray) -> np.ndarray:
    """Return the rows of a longest run that never falls, in n log n: of each length the smallest end is kept."""
    ends, rows, previous = list[float](), list[int](), np.full(len(times), -1)
    for row, time in enumerate(times.tolist()):
        length = bisect_right(ends, time)
        previous[row] = rows[length - 1] if length else -1
        ends[length : length + 1], rows[length : length + 1] = [time], [row]
    found, row = np.empty(len(rows), np.int64), rows[-1]
    for place in range(len(rows) - 1, -1, -1):
        found[place], row = row, int(previous[row])
    return found


def _beyond(times: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which rows, in order, begin or end their series beyond a gap out of all proportion."""
    found = np.zeros(len(times), bool)
    edges = np.r_[0, np.flatnonzero(np.diff(groups)) + 1, len(times)]
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        few = max(_FEW, (end - begin) // 100) if end - begin >= _BY_CHANCE else 1
        if end - begin >= 5:
            own = times[begin:end]
            after, before = _tail(own[few:], few), _tail(-own[::-1][few:], few)
            found[end - after : end] = True
            found[begin : begin + before] = True
    return found


def _tail(times: np.ndarray, few: int) -> int:
    """Return how many rows, of the last few, lie beyond a gap out of all proportion."""
    gaps = np.diff(times)
    longest = np.maximum.accumulate(gaps)
    for beyond in range(few, 0, -1):
        at = len(times) - beyond - 1  # the last row before the gap
        gap, span, before = gaps[at], times[at] - times[0], longest[at - 1] if at else 0.0
        if at + 1 < _BY_CHANCE:
            far = gap > 10 * span
        else:
            far = gap > max(span, GAP * before) or (
                beyond <= _FEW and gap > max(_LONE_SHARE * span, _LONE_TIMES * before)
            )
        if far and span > 0:
            return beyond
    return 0


def _written(table: Table, row: int) -> str:
    assert table.times is not None
    assert table.stamps is not None
    return " ".join(str(texts[0]) for texts in table.stamps.write(table.times[row : row + 1]).values())


def _named(table: Table, rows: np.ndarray) -> str:
    """Return the first rows with their times, as ``line 53 has a time (2031-01-03)``."""
    shown = ", ".join(f"{table.place(row)} ({_written(table, row)})" for row in rows[:_SHOWN].tolist())
    if len(rows) == 1:
        return f"{table.place(int(rows[0]))} has a time ({_written(table, int(rows[0]))})"
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{len(rows):,} rows have times, {shown}{more},"


def _question(table: Table, rows: np.ndarray, groups: np.ndarray) -> OpenQuestion:
    """Return what is to be asked, with the rows before and behind the first one in its series of the file."""
    times = table.times
    assert times is not None
    first = int(rows[0])
    others = np.delete(np.arange(len(times)), rows)
    others = others[groups[others] == groups[first]]
    low, high = others[times[others].argmin()], others[times[others].argmax()]
    name = "" if table.stamps is None else table.stamps.name
    series = "" if table.groups is None else f" of series '{table.groups[1][int(groups[first])]}'"
    span = f"The other rows{series} are from {_written(table, int(low))} to {_written(table, int(high))}"
    if times[low] <= times[first] <= times[high]:
        far = "far from the rows around it in the file, which are in order of time"
    else:
        near = low if times[first] < times[low] else high
        away = length_text(
            abs(float(times[first]) - float(times[near])), dates=bool(table.stamps and table.stamps.dates)
        )
        far, span = "far from all others", f"{span}; the nearest to {table.place(first)} is {away} away"
    one = len(rows) == 1
    text = (
        f"{table.name}: {_named(table, rows)} in '{name}' {far}. {span}. If {'it is' if one else 'they are'} mistyped, "
        f"mend the file; or say what to do with {'this row' if one else 'these rows'}:"
    )
    around = [row for row in (_beside(others, first, -1), first, _beside(others, first, 1)) if row is not None]
    shown = [f"{table.place(row)}: {_written(table, row)}" for row in around]
    return OpenQuestion(text, (
        Reading("leave out: the time is wrong", {"stray_times": "drop"}, shown),
        Reading("keep: the time is right", {"stray_times": "keep"}),
    ))  # fmt: skip


def _beside(others: np.ndarray, row: int, side: int) -> int | None:
    """Return the row before (-1) or behind (1) another one in the file."""
    place = int(np.searchsorted(others, row)) + (side - 1) // 2
    return int(others[place]) if 0 <= place < len(others) else None
