"""Rows of a table in the order of their series and times, with the usual step and the gaps, shared out to parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import SPLITS
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.series.irregular import by_steps, irregularity, question, resampled, take
from saddlepoint.data.series.stray import without_strays
from saddlepoint.data.series.time_index import TimeIndex
from saddlepoint.data.tables.numbers import decimals_of
from saddlepoint.data.tables.pace import GAP, length_text, step_text, usual_step
from saddlepoint.data.tables.table import Table

SHARE = 10
"""One row in ten goes to each of valid and test, the last ones of every series."""

MOST_REPEATS = 0.01
"""A table in which more than this share of the rows repeat a time of their series holds several series."""

Span = tuple[int, int]


@dataclass
class Series:
    """A table in order: rows of one series follow one another in time.

    Attributes:
        table: its rows.
        starts: first row of each series.
        breaks: rows that no window goes across to: starts, ends of gaps, changes of the label.
        time_index: pace of the times, or None.
        findings: what was decided.
    """

    table: Table
    starts: np.ndarray
    breaks: np.ndarray
    time_index: TimeIndex | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many there are."""
        return rows_of(self.table)


def rows_of(table: Table) -> int:
    """Return how many rows a table has."""
    return len(next(iter(table.values.values())))


def ordered(table: Table, options: Options) -> Series:
    """Put rows in order, find the series, the usual step, and the rows that begin after a gap.

    Raises:
        DataError: if so many times repeat that it must be several series.
        OpenQuestion: if times keep no step, or some lie far from all others, and nothing says what to do with them.
    """
    findings = without_strays(table, options.stray_times)
    _sort(table, findings)
    _without_repeats(table, findings)
    time_index: TimeIndex | None = None
    rows = rows_of(table)
    late = np.zeros(rows, bool)
    if table.times is not None:
        table, time_index, late, said = _paced(table, options)
        findings += said
        rows = rows_of(table)
    groups = np.zeros(rows, np.int32) if table.groups is None else table.groups[0]
    starts = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    breaks = late
    if table.labels is not None:
        changed = np.r_[False, np.diff(table.labels[0]) != 0]
        changed[starts] = False
        breaks |= changed
        if changed.any():
            text = f"the label changes {int(changed.sum()):,} times within a series: no window goes across"
            findings.append(Finding("labels", text))
    breaks[starts] = True
    if len(starts) > 1 and table.groups is not None:
        findings.append(Finding("series", f"{len(starts):,} series", f"'{table.group}' tells them apart"))
    return Series(table, starts, np.flatnonzero(breaks), time_index, findings)


def _time(table: Table) -> str:
    return "time" if table.stamps is None else table.stamps.name


def _sort(table: Table, findings: list[Finding]) -> None:
    rows = rows_of(table)
    groups = np.zeros(rows, np.int32) if table.groups is None else table.groups[0]
    order = np.argsort(groups, kind="stable") if table.times is None else np.lexsort((table.times, groups))
    if np.array_equal(order, np.arange(rows)):
        return
    take(table, order)
    if table.times is not None:
        findings.append(Finding("time", f"rows were put in order of '{_time(table)}'"))


def _without_repeats(table: Table, findings: list[Finding]) -> None:
    """Leave out rows that repeat a time of their series, if they are few."""
    if table.times is None:
        return
    same = np.zeros(len(table.times) - 1, bool) if table.groups is None else np.diff(table.groups[0]) != 0
    again = np.r_[False, ~same & (np.diff(table.times) == 0)]
    count, rows = int(again.sum()), len(again)
    if not count:
        return
    if count > MOST_REPEATS * rows:
        remedy = (
            "if it holds several series, name the column that tells them apart with --group-column; else remove the "
            "repeats" if table.groups is None else f"'{table.group}' does not tell all series apart: make one column "
            "that does, or remove the repeats"
        )  # fmt: skip
        raise DataError(
            f"{table.name}: {count:,} of {rows:,} rows repeat a time of '{_time(table)}' in their series: {remedy}"
        )
    take(table, np.flatnonzero(~again))
    says = f"{count:,} rows repeat a time of their series and were left out"
    why = "of rows of one time the first stays; where clocks go back in autumn, an hour comes twice"
    findings.append(Finding("time", says, why, "times with their offset from UTC, or --group-column NAME", sure=False))


def _paced(table: Table, options: Options) -> tuple[Table, TimeIndex | None, np.ndarray, list[Finding]]:
    """Return the table, its time index, which rows begin after a gap, and what to say; mend times without a step."""
    findings: list[Finding] = []
    if options.resample is not None and options.resample != "steps":
        table, said = resampled(table, options.resample)
        findings += said
    times, stamps = table.times, table.stamps
    assert times is not None
    assert stamps is not None
    inside = np.ones(len(times) - 1, bool) if table.groups is None else np.diff(table.groups[0]) == 0
    later = np.flatnonzero(np.r_[False, inside])
    late = np.zeros(len(times), bool)
    if not len(later):
        return table, None, late, findings
    dates = stamps.dates
    step, unit, distance = usual_step(times[later - 1], times[later], dates)
    decimals = None if dates else decimals_of(times)
    if decimals is not None:
        # Between numbers with few digits differences have more, and the median of an even count may lie between two.
        step = max(round(step, decimals), 10.0**-decimals)
    last = int(times.max()) if dates else float(times.max())
    name = _time(table)
    if options.resample == "steps":
        findings += by_steps(table, name)
        findings.append(Finding("gaps", "the longest step is " + _longest(table, later)))
        return table, TimeIndex(last, step, "row" if dates else "number row", stamps, decimals), late, findings
    steps = distance(times[later - 1], times[later]) / step
    odd = irregularity(steps)
    if odd:
        raise question(table, name, step, unit, odd)
    late[later] = (steps > GAP) & ~_daylight_saving(times[later - 1], times[later], step, unit)
    words = step_text(step, unit)
    skipped = int((steps > 1.5).sum() - late.sum())
    count = int(late.sum())
    gaps = f"; {count:,} gap{'s' * (count > 1)} of more than {GAP} of them, which no window goes across" * (count > 0)
    findings.append(Finding("time", f"'{name}' goes on at steps of {words}{gaps}"))
    if count:
        findings.append(Finding("gaps", "the longest gap is " + _longest(table, np.flatnonzero(late))))
    if skipped > 0:
        text = f"{skipped:,} of {len(steps):,} steps skip one or two, and count as one"
        findings.append(Finding("time", text, "rows are missing there", "--resample STEP", sure=False))
    start = None if dates else _starts_again(times[np.r_[True, ~inside]])
    return table, TimeIndex(last, step, unit, stamps, decimals, start), late, findings


def _longest(table: Table, later: np.ndarray) -> str:
    """Return the longest step to one of these rows, with the times at both ends.

    Args:
        table: in order.
        later: rows that are not the first of their series.
    """
    times, stamps = table.times, table.stamps
    assert times is not None
    assert stamps is not None
    row = int(later[(times[later] - times[later - 1]).argmax()])
    cells = zip(*stamps.write(times[row - 1 : row + 1]).values(), strict=True)
    begin, end = (" ".join(map(str, cell)) for cell in cells)
    length = length_text(float(times[row]) - float(times[row - 1]), dates=stamps.dates)
    series = "" if table.groups is None else f" (series '{table.groups[1][int(table.groups[0][row])]}')"
    return f"of {length}, from {begin} to {end}{series}"


def _starts_again(firsts: np.ndarray) -> float | None:
    """Return the number at which most series start, from the first one of each; None if they start all over."""
    values, counts = np.unique(firsts, return_counts=True)
    return float(values[counts.argmax()]) if len(firsts) > 1 and counts.max() > len(firsts) / 2 else None


def _daylight_saving(before: np.ndarray, after: np.ndarray, step: float, unit: str) -> np.ndarray:
    """Return which steps are longer by the hour that summer time takes: a Sunday night of spring or autumn."""
    if unit != "time":
        return np.zeros(len(before), bool)
    hour = 3_600_000_000_000
    days = after.astype("datetime64[ns]").astype("datetime64[D]")
    sunday = (days.astype(np.int64) + 3) % 7 == 6
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    early = (after - days.astype("datetime64[ns]").astype(np.int64)) <= 4 * hour
    return np.asarray((after - before == step + hour) & sunday & early & np.isin(month, (3, 4, 9, 10, 11)))


def blocks(series: Series, window: int) -> tuple[dict[str, list[Span]], list[Finding]]:
    """Share out the rows: the last tenth of a series is for test, the one before for valid; short series go whole.

    A series of at least three windows is cut; each of its parts has at least one. Of the shorter ones a tenth (at
    least one) goes to valid and one to test, evenly spread over their order. Then every part is cut at gaps.

    Raises:
        DataError: if there is too little for three parts.
    """
    rows = series.rows
    spans: dict[str, list[Span]] = {split: [] for split in SPLITS}
    ends = np.r_[series.starts[1:], rows]
    short: list[Span] = []
    for begin, end in zip(series.starts.tolist(), ends.tolist(), strict=True):
        if end - begin >= 3 * window:
            part = max(window, round((end - begin) / SHARE))
            spans["train"].append((begin, end - 2 * part))
            spans["valid"].append((end - 2 * part, end - part))
            spans["test"].append((end - part, end))
        elif end - begin > 1:
            short.append((begin, end))
    notes = []
    single = int((ends - series.starts == 1).sum())
    if single and not short and not spans["train"] and series.table.groups is not None:
        raise DataError(
            f"{series.table.name}: each of its {single:,} series has a single row, and a series needs several; choose "
            "another --group-column"
        )
    if single:
        notes.append(Finding("series", f"{single:,} series of a single row were left out"))
    if len(short) >= 3:
        every = max(3, min(SHARE, len(short)))
        for place, span in enumerate(short):
            spans[{every - 2: "valid", every - 1: "test"}.get(place % every, "train")].append(span)
        text = f"{len(short):,} series of fewer than {3 * window} rows are not cut: each is in one part as a whole"
        notes.append(Finding("split", text))
    elif short:
        if not spans["test"]:
            longest = max(end - begin for begin, end in short)
            raise DataError(
                f"{series.table.name}: a series of {longest} rows is too short for train, valid and test with "
                f"windows of {window} rows; give at least {3 * window} rows, or a shorter --window"
            )
        spans["train"] += short
    if not all(spans.values()):
        raise DataError(
            f"{series.table.name} holds {rows} row{'s' if rows != 1 else ''}, too few for windows of {window} "
            f"in train, valid and test; give at least {3 * window} rows, or a shorter --window"
        )
    if len(short) < len(series.starts):
        text = (
            f"split by time before windows are cut: of every series the last {100 // SHARE}% are test, the "
            f"{100 // SHARE}% before valid; no row is in two parts"
        )
        notes.append(Finding("split", text))
    notes += _cut_at_gaps(series, spans, ends - series.starts, window)
    return spans, notes


def _without_label(series: Series) -> str:
    if series.table.labels is None:
        return ""
    return f", or leave --label-column out: then '{series.table.label}' is learned as it changes"


def _cut_at_gaps(series: Series, spans: dict[str, list[Span]], rows: np.ndarray, window: int) -> list[Finding]:
    """Cut every part at gaps, in place; pieces shorter than a window go, but for whole series. Return what to say.

    Args:
        series: in order.
        spans: of the parts.
        rows: of each series.
        window: rows in a window.

    Raises:
        DataError: if nothing is left of a part.
    """
    lengths = dict(zip(series.starts.tolist(), rows.tolist(), strict=True))
    dropped = 0
    for split, parts in spans.items():
        kept = []
        for begin, end in parts:
            inner = series.breaks[np.searchsorted(series.breaks, begin, "right") : np.searchsorted(series.breaks, end)]
            edges = [begin, *inner.tolist(), end]
            pieces = list(pairwise(edges))
            whole = lengths.get(begin, window) < window and len(pieces) == 1
            kept += [piece for piece in pieces if piece[1] - piece[0] >= window or whole]
            dropped += sum(b - a for a, b in pieces if b - a < window and not whole)
        spans[split] = kept
    if not all(spans.values()):
        empty = next(split for split, parts in spans.items() if not parts)
        raise DataError(
            f"{series.table.name}: no window of {window} rows fits into the {empty} part between gaps, ends and "
            f"changes of the label; give more rows, or a shorter --window{_without_label(series)}"
        )
    text = f"{dropped:,} rows between gaps and ends are fewer than a window and were left out"
    return [Finding("time", text)] if dropped else []
