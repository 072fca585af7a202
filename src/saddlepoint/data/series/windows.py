"""From a table to windows: series put in time order, cut into blocks for train, valid and test, then into windows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data import cache
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Note
from saddlepoint.data.series.layout import Clock, Column, Layout, decimals_of
from saddlepoint.data.series.pace import GAP, MOST_GAPS, refuse_repeats, step_in_words, usual_step
from saddlepoint.data.series.table import Table, read_table
from saddlepoint.data.sources.folder import shortened, stamp

WINDOW = 24
MOST_WINDOWS = 200_000
"""Windows kept of all parts together; of more, every second, third, ... is."""
MOST_VALUES = 64 * 1024**2
"""Values kept of all windows together."""
LEAST_WINDOWS = 5
SHARE = 10
"""One row in ten goes to each of valid and test, the last ones of every series."""
RULES = 3
"""Raised whenever a table would be prepared differently."""

_CHUNK = 4096
Span = tuple[int, int]


@dataclass
class _Series:
    """A table in order: rows of one series follow one another in time."""

    table: Table
    starts: np.ndarray
    breaks: np.ndarray
    clock: Clock | None
    notes: list[str] = field(default_factory=list)


def series_key(path: Path) -> str:
    """Return text that changes whenever a table does."""
    return f"series {RULES}\n" + stamp([path], path.parent)


def load_series(name: str, path: Path, options: Options, *, released: bool = False) -> Dataset:
    """Read a table and cut it into windows, or open what an earlier call kept.

    Args:
        name: what the user asked for.
        path: CSV or parquet file.
        options: columns and window.
        released: as in TimeGAN's released code: the file upside down, every window but one, scaled over all rows;
            ``valid`` and ``test`` are the training windows again.

    Raises:
        DataError: if the table cannot be used, or the cache cannot be written.
    """
    entry = cache.entry_path(name, {"source": series_key(path), "released": released, **options.kept("table")})
    found = cache.read(entry, name)
    if found is not None:
        return found
    table = read_table(path, options)
    work = cache.workspace(entry)
    try:
        _build(table, options.window or WINDOW, work, entry, released)
    except OSError as error:
        raise cache.unwritable(error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = cache.read(entry, name)
    if found is None:
        raise DataError(f"the cache entry {entry} vanished while it was opened; run the command again")
    return found


def _build(table: Table, window: int, work: Path, entry: Path, released: bool) -> None:
    notes: list[Note] = [f"read from {table.name}", *table.findings]
    for name in table.categories:
        table.values[name] = np.where(table.values[name] < 0, np.nan, table.values[name])
    if released:
        table.values = {name: values[::-1] for name, values in table.values.items()}
        series = _Series(table, np.array([0]), np.array([0]), None)
        rows = len(next(iter(table.values.values())))
        spans = {split: [(0, rows - 1)] for split in SPLITS}
        notes.append(
            "as released in 2019: the rows upside down, scaled over all of them; valid and test are the "
            "training windows again, so nothing here is held out"
        )
    else:
        rows = 0
        series = _ordered(table)
        spans, cut = _blocks(series, window)
        notes += [*series.notes, *cut]
    notes += _fill(table, series, spans)
    layout, static, said = _layout(series, [(0, rows)] if released else spans["train"])
    notes += said
    classes = _classes(table)
    windows, said = _windows(spans, window, len(layout.columns), table)
    notes += said
    for split in SPLITS:
        with open(work / f"{split}.x", "wb") as file:
            for chunk in _cut(table, layout, windows[split], window):
                file.write(chunk.tobytes())
        if table.labels is not None:
            table.labels[0][windows[split][:, 0]].tofile(work / f"{split}.labels")
    cache.publish(
        work, entry, modality="sequence", shape=(window, len(layout.columns)),
        rows={split: len(found) for split, found in windows.items()}, labelled=bool(classes), classes=classes,
        notes=notes, static=static, layout=layout,
    )  # fmt: skip


def _ordered(table: Table) -> _Series:
    """Put rows in order, find the series, the usual step, and the rows that begin after a gap."""
    notes: list[str] = []
    rows = len(next(iter(table.values.values())))
    groups = np.zeros(rows, np.int32) if table.groups is None else table.groups[0]
    order = np.argsort(groups, kind="stable") if table.times is None else np.lexsort((table.times, groups))
    if not np.array_equal(order, np.arange(rows)):
        _take(table, order)
        groups = groups[order]
        if table.times is not None:
            notes.append(f"rows were put in order of '{table.stamps.name if table.stamps else ''}'")
    if table.times is not None:
        again = np.r_[False, (np.diff(groups) == 0) & (np.diff(table.times) == 0)]
        if again.any():
            refuse_repeats(table.name, table.stamps.name if table.stamps else "", int(again.sum()), rows)
            _take(table, np.flatnonzero(~again))
            groups = groups[~again]
            notes.append(f"{int(again.sum())} rows repeat a time of their series and were left out")
    starts = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    breaks, clock = np.zeros(len(groups), bool), None
    if table.times is not None:
        clock, late, said = _pace(table, np.r_[False, np.diff(groups) == 0])
        breaks |= late
        notes += said
    if table.labels is not None:
        changed = np.r_[False, np.diff(table.labels[0]) != 0]
        changed[starts] = False
        breaks |= changed
        if changed.any():
            notes.append(f"the label changes {int(changed.sum()):,} times within a series: no window goes across")
    breaks[starts] = True
    if len(starts) > 1 and table.groups is not None:
        notes.append(f"{len(starts):,} series")
    return _Series(table, starts, np.flatnonzero(breaks), clock, notes)


def _pace(table: Table, inside: np.ndarray) -> tuple[Clock | None, np.ndarray, list[str]]:
    """Return the clock, which rows begin after a gap, and what to say of it."""
    times, stamps = table.times, table.stamps
    assert times is not None
    assert stamps is not None
    later = np.flatnonzero(inside)
    if not len(later):
        return None, np.zeros(len(times), bool), []
    dates = stamps.dates
    step, unit, distance = usual_step(times[later - 1], times[later], dates)
    decimals = None if dates else decimals_of(times)
    if decimals is not None:
        # Between numbers with few digits differences have more, and the median of an even count may lie between two.
        step = max(round(step, decimals), 10.0**-decimals)
    late = np.zeros(len(times), bool)
    late[later] = distance(times[later - 1], times[later]) > GAP * step
    notes, words = [], step_in_words(step, unit)
    if late.sum() > MOST_GAPS * len(later):
        notes.append(f"'{stamps.name}' is irregular (usual step {words}): distances in time are left aside")
        late[:] = False
    else:
        gaps = (
            f"; {int(late.sum()):,} gaps of more than {GAP} of them, which no window goes across" if late.any() else ""
        )
        notes.append(f"'{stamps.name}' is the time, at steps of {words}{gaps}")
    form = stamps.forms[0]
    form = form if form == "number" or (form.startswith("%") and not form.startswith("%Y-%m-%d")) else "iso"
    scale = 1000 if dates else 1.0
    step = step / scale if unit == "time" else step
    sample = str(stamps.write(times[:1])[stamps.columns[0]][0])
    return Clock(stamps.columns[0], form, float(times.max() / scale), step, unit, sample, decimals), late, notes


def _take(table: Table, index: np.ndarray) -> None:
    """Keep these rows, in this order."""
    for name in table.values:
        table.values[name] = table.values[name][index]
    if table.times is not None:
        table.times = table.times[index]
    if table.groups is not None:
        table.groups = (table.groups[0][index], table.groups[1])
    if table.labels is not None:
        table.labels = (table.labels[0][index], table.labels[1])


def _blocks(series: _Series, window: int) -> tuple[dict[str, list[Span]], list[str]]:
    """Share out the rows: the last tenth of a series is for test, the one before for valid; short series go whole.

    A series of at least three windows is cut; each of its parts has at least one. Of the shorter ones a tenth (at
    least one) goes to valid and one to test, evenly spread over their order. Then every part is cut at gaps.

    Raises:
        DataError: if there is too little for three parts.
    """
    rows = len(next(iter(series.table.values.values())))
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
        notes.append(f"{single:,} series of a single row were left out")
    if len(short) >= 3:
        every = max(3, min(SHARE, len(short)))
        for place, span in enumerate(short):
            spans[{every - 2: "valid", every - 1: "test"}.get(place % every, "train")].append(span)
        notes.append(
            f"{len(short):,} series of fewer than {3 * window} rows are not cut: each is in one part as a whole"
        )
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
        notes.append(
            f"split by time before windows are cut: of every series the last {100 // SHARE}% are test, the "
            f"{100 // SHARE}% before valid; no row is in two parts"
        )
    notes += _cut_at_gaps(series, spans, ends - series.starts, window)
    return spans, notes


def _cut_at_gaps(series: _Series, spans: dict[str, list[Span]], rows: np.ndarray, window: int) -> list[str]:
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
            "changes of the label; give more rows, or a shorter --window"
        )
    return [f"{dropped:,} rows between gaps and ends are fewer than a window and were left out"] if dropped else []


def _fill(table: Table, series: _Series, spans: dict[str, list[Span]]) -> list[str]:
    """Fill missing values along straight lines between neighbours, within one piece of one part only.

    Before the first and after the last value of a piece the nearest is repeated; a piece without any gets the mean of
    the training rows.

    Raises:
        DataError: if more than half of a column is missing.
    """
    notes = []
    for name, values in table.values.items():
        missing = np.isnan(values)
        count = int(missing.sum())
        if not count:
            continue
        if count > len(values) / 2:
            raise DataError(
                f"{table.name}: {count:,} of {len(values):,} values of column '{name}' are missing, more than half; "
                "leave it out with --columns, or fill it first"
            )
        values = values.copy()
        for begin, end in (span for parts in spans.values() for span in parts):
            gone = missing[begin:end]
            if gone.any() and not gone.all():
                there = np.flatnonzero(~gone)
                values[begin:end][gone] = np.interp(np.flatnonzero(gone), there, values[begin:end][there])
        digits = decimals_of(table.values[name])
        train = np.concatenate([values[begin:end] for begin, end in spans["train"]])
        if np.isnan(train).all():
            raise DataError(
                f"{table.name}: column '{name}' has no value among the training rows; leave it out with --columns"
            )
        values[np.isnan(values)] = np.nanmean(train)
        table.values[name] = values if digits is None else np.round(values, digits)
        notes.append(
            f"'{name}': {count:,} missing values ({count / len(values):.1%}) lie on straight lines between neighbours"
        )
    return notes


def _layout(series: _Series, train: list[Span]) -> tuple[Layout, int, list[str]]:
    """Return columns scaled by the training rows, those that never change within a series last."""
    table, notes = series.table, []
    static = [name for name, values in table.values.items() if _is_static(values, series.starts)]
    if len(static) == len(table.values):
        raise DataError(
            f"{table.name}: no column changes along its series ({shortened(static)}); a sequence needs one that does"
        )
    columns, whole, constant = [], [], []
    for name in (*(n for n in table.values if n not in static), *static):
        values = table.values[name]
        low = min(float(values[begin:end].min()) for begin, end in train)
        high = max(float(values[begin:end].max()) for begin, end in train)
        column = Column(name, low, high, decimals_of(values))
        columns.append(column)
        whole += [name] if column.decimals == 0 else []
        constant += [name] if low == high else []
    if len(constant) == len(columns):
        raise DataError(
            f"{table.name}: every column is constant ({shortened(constant)}); there is nothing to learn: choose "
            "others with --columns"
        )
    notes += [f"constant, and kept so: {shortened(constant)}"] if constant else []
    notes += [f"whole numbers, and kept so: {shortened(whole)}"] if whole else []
    notes += [f"the same along each series (static): {shortened(static)}"] if static else []
    return Layout(tuple(columns), table.order, series.clock, table.label), len(static), notes


def _is_static(values: np.ndarray, starts: np.ndarray) -> bool:
    """Whether values stay the same along every series but not over all."""
    changes = np.flatnonzero(np.diff(values)) + 1
    return len(changes) > 0 and bool(np.isin(changes, starts).all())


def _windows(
    spans: dict[str, list[Span]], window: int, features: int, table: Table
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return (first row, rows) of each window by part, and what to say; a stride keeps them few enough."""
    table_of = {split: np.array(parts) for split, parts in spans.items()}
    counts = {split: np.maximum(1, p[:, 1] - p[:, 0] - window + 1) for split, p in table_of.items()}
    total = sum(int(count.sum()) for count in counts.values())
    most = min(MOST_WINDOWS, max(1000, MOST_VALUES // (window * features)))
    stride = -(-total // most)
    notes = [f"windows of {window} rows"]
    if stride > 1:
        notes[0] += f", one in {stride}: all would be {total:,}, and at most {most:,} are kept"
    found = {}
    for split, pieces in table_of.items():
        ends = counts[split].cumsum()
        chosen = np.arange(0, ends[-1], stride)
        piece = np.searchsorted(ends, chosen, "right")
        first = pieces[piece, 0] + chosen - (ends - counts[split])[piece]
        found[split] = np.stack([first, np.minimum(window, pieces[piece, 1] - first)], axis=1)
    short = sum(int((index[:, 1] < window).sum()) for index in found.values())
    if short:
        notes.append(f"{short:,} windows are shorter: series of fewer than {window} rows, one window each")
    count = sum(map(len, found.values()))
    if count < LEAST_WINDOWS:
        raise DataError(
            f"{table.name} gives {count} windows of {window} rows; at least {LEAST_WINDOWS} are needed, better "
            "thousands: give more rows, or a shorter --window"
        )
    return found, notes


def _cut(table: Table, layout: Layout, windows: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """Yield scaled windows, float32 (n, time, feature), NaN after the end of short ones."""
    steps = np.arange(window)
    for start in range(0, len(windows), _CHUNK):
        first, length = windows[start : start + _CHUNK, 0, None], windows[start : start + _CHUNK, 1, None]
        index = first + np.minimum(steps, length - 1)
        scaled = np.stack([c.scale(table.values[c.name][index]) for c in layout.columns], axis=2).astype(np.float32)
        scaled[steps >= length] = np.nan
        yield scaled


def _classes(table: Table) -> tuple[str, ...]:
    """Number the classes by name, and return their names."""
    if table.labels is None:
        return ()
    indices, names = table.labels
    by_name = sorted(range(len(names)), key=lambda i: names[i])
    places = np.empty(len(names), np.int64)
    places[by_name] = np.arange(len(names))
    table.labels = (places[indices], [names[i] for i in by_name])
    return tuple(table.labels[1])
