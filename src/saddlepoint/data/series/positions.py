"""When samples are: windows one after another from the end of the data, or at the times that their calendar says."""

from __future__ import annotations

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.layout import Layout
from saddlepoint.data.series.time_index import DAY, SECOND, TimeIndex, read_start

_MOST_STEPS = 400_000
"""Steps among which the time of a window is looked for, at most, ..."""
_YEARS = 7.05
"""... and years: then weekdays come back to the same days."""


def consecutive(
    layout: Layout, lengths: np.ndarray, time: int, labels: np.ndarray | None = None, start: str | None = None
) -> np.ndarray | None:
    """Return times of windows that follow one another, (n, time): each begins a step after the one before ends.

    The first begins a step after the last time of the data, or at ``start``. Where samples are asked for by series,
    each series goes on by itself. Where dates would end, windows begin at the first time again. Samples that are series
    of their own begin where those of the data do, if these start again at one number.

    Args:
        layout: of the table.
        lengths: (n,) steps of each window.
        time: steps that a window has room for.
        labels: (n,) class indices, or None.
        start: time of the first step; None: after the data.

    Returns:
        int64 nanoseconds or float64 numbers; None without a time, and where steps are learned, so that `times_of` adds
        them up.

    Raises:
        DataError: if ``start`` is no time of this data.
    """
    time_index = layout.time_index
    if time_index is None or time_index.unit.endswith("row"):
        if start is not None:
            reason = "has no time" if time_index is None else "has learned its steps, and goes on after the data"
            raise DataError(f"a start is given ({start}), but this data {reason}; leave it out")
        return None
    if time_index.start is not None and start is None and not layout.classes_are_series:
        return time_index.at(time_index.start, np.broadcast_to(np.arange(time), (len(lengths), time)))
    base = time_index.last if start is None else read_start(start, time_index)
    first = begins(time_index, lengths, labels if layout.classes_are_series else None, base) + (start is None)
    return time_index.at(base, first[:, None] + np.arange(time))


def times_text(layout: Layout, windows: int, time: int, start: str | None = None) -> str:
    """Return what the times of a file of samples are, in a sentence without a full stop; "" without a time.

    Args:
        layout: of the table.
        windows: how many the file holds.
        time: steps of a window.
        start: time of the first step that was asked for; None: after the data.
    """
    time_index = layout.time_index
    if time_index is None:
        return ""
    if time_index.unit.endswith("row"):
        return "times add the learned steps up, from the end of the data on"
    if time_index.start is not None and start is None and not layout.classes_are_series:
        return f"times start at {time_index.start:g} in every sample, as in the series of the data"
    ends = " ".join(str(cells[0]) for cells in time_index.write(np.asarray([time_index.last])).values())
    where = f"after the data, which ends at {ends}" if start is None else f"from {start} on"
    if layout.calendar:
        names = {"hour": "the hour", "weekday": "the weekday", "season": "the season"}
        parts = ", ".join(names[part] for part in layout.calendar)
        text = f"times follow one another {where}; samples were told {parts}"
        text += "" if "season" in layout.calendar else ", not the season"
    else:
        text = f"times are positions only: windows follow one another {where}; they were told no calendar"
    most = time_index.most(time_index.last if start is None else read_start(start, time_index)) // time
    if windows > most and not layout.classes_are_series:
        text += f"; dates end after {most:,} windows, and begin again"
    return text


def begins(time_index: TimeIndex, lengths: np.ndarray, series: np.ndarray | None, base: float) -> np.ndarray:
    """Return after how many steps each window begins, int64 (n,)."""
    most, at = time_index.most(base), dict[int, int]()
    found = np.zeros(len(lengths), np.int64)
    for place, length in enumerate(lengths.tolist()):
        key = 0 if series is None else int(series[place])
        begin = at.get(key, 0)
        begin = 0 if begin + length > most else begin
        found[place], at[key] = begin, begin + length
    return found


def times_of(layout: Layout, x: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray | None:
    """Return the times of windows that were made without any, (n, time).

    Where they were told the calendar, each gets the first later time that agrees; else they follow one another, by
    learned steps where there are some.

    Args:
        layout: of the table.
        x: (n, time, feature) in [0, 1], NaN after the end of short windows.
        labels: (n,) class indices, or None.
    """
    time_index, lengths = layout.time_index, (~np.isnan(x[..., 0])).sum(1)
    if time_index is None:
        return None
    if time_index.unit.endswith("row"):
        return _by_steps(layout, time_index, x)
    if layout.calendar:
        return _matched(layout, time_index, x)
    return consecutive(layout, lengths, x.shape[1], labels)


def _by_steps(layout: Layout, time_index: TimeIndex, x: np.ndarray) -> np.ndarray:
    """Add learned steps up: the first row of each window is a usual step after the last of the one before."""
    place = next(i for i, column in enumerate(layout.columns) if column.time)
    steps = np.nan_to_num(layout.restore(x)[..., place])
    dates = time_index.unit == "row"
    steps = np.rint(steps * SECOND).astype(np.int64) if dates else steps
    before = np.cumsum(steps, axis=1) - steps
    ends = np.cumsum(steps.sum(1))
    step = int(time_index.step) if dates else time_index.step
    found = time_index.last + (ends - steps.sum(1))[:, None] + before + step
    return found if dates or time_index.decimals is None else np.round(found, time_index.decimals)


def _matched(layout: Layout, time_index: TimeIndex, x: np.ndarray) -> np.ndarray:
    """Return for each window the first time after the data whose calendar is nearest to that of its first step."""
    from scipy.spatial import KDTree

    step = {"time": 1, "working days": DAY}.get(time_index.unit, 30 * DAY) * time_index.step
    years = max(1000, int(_YEARS * 365.25 * DAY / step))
    steps = np.arange(1, 1 + min(_MOST_STEPS, time_index.most(time_index.last), years))
    tree = KDTree(_circle(phases(time_index.at(time_index.last, steps), layout.calendar)))
    wanted = _circle(np.asarray(x[:, 0, -layout.known :], dtype=np.float64))
    nearest, _ = tree.query(wanted)
    # Of equally near ones the first: distances are compared again, since a tree takes any.
    index = [min(tree.query_ball_point(point, near + 1e-7)) for point, near in zip(wanted, nearest, strict=True)]
    return time_index.at(time_index.last, steps[index][:, None] + np.arange(x.shape[1]))


def _circle(phase: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * phase
    return np.concatenate([np.cos(angle), np.sin(angle)], -1)
