"""From a table to windows: series put in time order, cut into blocks for train, valid and test, then into windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core import progress
from saddlepoint.core.errors import DataError
from saddlepoint.data import cache
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding
from saddlepoint.data.series.calendar import parts_of, phases
from saddlepoint.data.series.columns import columns_of, filled
from saddlepoint.data.series.layout import Layout
from saddlepoint.data.series.order import Series, Span, blocks, ordered, rows_of
from saddlepoint.data.sources.folder import stamp
from saddlepoint.data.tables.table import Table, read_table

WINDOW = 24
MOST_WINDOWS = 200_000
"""Windows kept of all parts together; of more, every second, third, ... is."""
MOST_VALUES = 64 * 1024**2
"""Values kept of all windows together."""
LEAST_WINDOWS = 5
MOST_SERIES = 50
"""Series that can be asked for one by one; of more, samples are of any."""
RULES = 4
"""Raised whenever a table would be prepared differently."""

_CHUNK = 4096


def series_key(path: Path) -> str:
    """Return text that changes whenever a table does."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return f"series {RULES}\n" + stamp(files, path.parent)


def load_series(name: str, path: Path, options: Options, *, released: bool = False, named: bool = False) -> Dataset:
    """Read a table and cut it into windows, or open what an earlier call kept.

    Args:
        name: what the user asked for.
        path: the file.
        options: how to read it.
        released: as in TimeGAN's released code: the file upside down, every window but one, scaled over all rows;
            ``valid`` and ``test`` are the training windows again.
        named: whether it is a published set, whose columns are numbers and nothing else.

    Raises:
        DataError: if the table cannot be used, or the cache cannot be written.
        OpenQuestion: if it can be read in several ways.
    """
    key = {"source": series_key(path), "released": released, "named": named, **options.kept("table")}
    entry = cache.entry_path(name, key)
    found = cache.read(entry, name)
    if found is not None:
        return found
    with progress.told(f"reading {path.name}"):
        table = read_table(path, options)

        def write(work: Path) -> None:
            build(table, options, work, entry, released=released, numeric=named or released)

        return cache.made(entry, name, write)


def build(
    table: Table, options: Options, work: Path, entry: Path, *, released: bool = False, numeric: bool = False
) -> None:
    """Cut a table into windows and publish them; its columns are changed in place.

    Args:
        table: as it was read.
        options: window, rules, calendar, resampling.
        work: folder from `cache.workspace`.
        entry: where it goes.
        released: as in `load_series`.
        numeric: whether columns are numbers and nothing else: no spikes, no calendar, no classes from series.
    """
    window = options.window or WINDOW
    findings = [Finding("source", f"read from {table.name}"), *table.findings]
    if released:
        table.values = {name: values[::-1] for name, values in table.values.items()}
        series = Series(table, np.array([0]), np.array([0]), None)
        spans: dict[str, list[Span]] = {split: [(0, rows_of(table) - 1)] for split in SPLITS}
        text = (
            "as released in 2019: the rows upside down, scaled over all of them; valid and test are the "
            "training windows again, so nothing here is held out"
        )
        findings.append(Finding("split", text))
        scaled = [(0, rows_of(table))]
    else:
        series = ordered(table, options)
        table = series.table
        spans, cut = blocks(series, window)
        findings += [*series.findings, *cut]
        scaled = spans["train"]
    findings += filled(table, spans)
    columns, said = columns_of(table, series.starts, scaled, options.keep, numeric=numeric)
    findings += said
    series_are_classes, said = _series_as_classes(series, spans["train"], options, numeric)
    parts, told = _calendar(series, spans["train"], options, numeric)
    findings += said + told
    whole = len(spans["train"]) > 1 and all(last - first <= window for first, last in spans["train"])
    layout = Layout(
        columns, table.order, series.time_index, table.label, table.group, series_are_classes, parts, table.look, whole
    )  # fmt: skip
    classes = _classes(table)
    windows, said = _windows(spans, window, layout.features, table.name)
    findings += said
    for split in SPLITS:
        with open(work / f"{split}.x", "wb") as file:
            for chunk in _cut(table, layout, windows[split], window):
                file.write(chunk.tobytes())
        if table.labels is not None:
            table.labels[0][windows[split][:, 0]].tofile(work / f"{split}.labels")
    cache.publish(
        work, entry, modality="sequence", shape=(window, layout.features),
        rows={split: len(found) for split, found in windows.items()}, labelled=bool(classes), classes=classes,
        notes=findings, static=layout.static, layout=layout,
    )  # fmt: skip


def _series_as_classes(
    series: Series, train: list[Span], options: Options, numeric: bool
) -> tuple[bool, list[Finding]]:
    """Make few series the classes that samples are asked for by, in place; say what becomes of them in samples."""
    table = series.table
    if table.groups is None or not table.group:
        return False, []
    numbers, names = table.groups
    present = {int(numbers[begin]) for begin, _ in train}
    few = 2 <= len(names) <= MOST_SERIES and len(present) == len(names)
    if few and table.labels is None and not numeric and options.series != "alike":
        table.labels = (numbers.astype(np.int64), list(names))
        text = f"each series of '{table.group}' is a class: samples can be asked for by it, and name it"
        return True, [Finding("series", text, f"there are {len(names)}", "--series alike", sure=False)]
    why = "asked for by --series alike" if options.series == "alike" else (
        "there is a label column" if table.labels is not None else f"there are {len(names):,}"
        if len(names) > MOST_SERIES or len(names) < 2 else "not all have windows in the training part"
    )  # fmt: skip
    text = f"samples are series of their own: '{table.group}' gets new names"
    return False, [Finding("series", text, why)]


def _calendar(
    series: Series, train: list[Span], options: Options, numeric: bool
) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the parts of the calendar that samples are told."""
    times, time_index = series.table.times, series.time_index
    if numeric or times is None or time_index is None:
        return (), []
    if options.calendar == "off":
        return (), [Finding("calendar", "times of samples are positions only", "asked for by --calendar off")]
    if not time_index.dates or time_index.unit.endswith("row"):
        if options.calendar == "on":
            reason = "times are numbers" if not time_index.dates else "their steps are learned"
            raise DataError(
                f"{series.table.name}: --calendar is on, but {reason}: only dates at regular steps have a calendar; "
                "leave it out"
            )
        return (), [Finding("calendar", "times of samples are positions only", "they have no calendar")]
    return parts_of(
        np.concatenate([times[begin:end] for begin, end in train]),
        time_index.step,
        time_index.unit,
        options.calendar == "on",
    )


def _windows(
    spans: dict[str, list[Span]], window: int, features: int, name: str
) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """Return (first row, rows) of each window by part, and what to say; a stride keeps them few enough."""
    table_of = {split: np.array(parts) for split, parts in spans.items()}
    counts = {split: np.maximum(1, p[:, 1] - p[:, 0] - window + 1) for split, p in table_of.items()}
    total = sum(int(count.sum()) for count in counts.values())
    most = min(MOST_WINDOWS, max(1000, MOST_VALUES // (window * features)))
    stride = -(-total // most)
    text = f"windows of {window} rows"
    if stride > 1:
        text += f", one in {stride}: all would be {total:,}, and at most {most:,} are kept"
    findings = [Finding("windows", text, option="--window ROWS")]
    found = {}
    for split, pieces in table_of.items():
        ends = counts[split].cumsum()
        chosen = np.arange(0, ends[-1], stride)
        piece = np.searchsorted(ends, chosen, "right")
        first = pieces[piece, 0] + chosen - (ends - counts[split])[piece]
        found[split] = np.stack([first, np.minimum(window, pieces[piece, 1] - first)], axis=1)
    short = sum(int((index[:, 1] < window).sum()) for index in found.values())
    if short:
        text = f"{short:,} windows are shorter: series of fewer than {window} rows, one window each"
        findings.append(Finding("windows", text))
    count = sum(map(len, found.values()))
    if count < LEAST_WINDOWS:
        raise DataError(
            f"{name} gives {count} windows of {window} rows; at least {LEAST_WINDOWS} are needed, better "
            "thousands: give more rows, or a shorter --window"
        )
    return found, findings


def _cut(table: Table, layout: Layout, windows: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """Yield scaled windows, float32 (n, time, feature), NaN after the end of short ones."""
    steps = np.arange(window)
    for start in range(0, len(windows), _CHUNK):
        first, length = windows[start : start + _CHUNK, 0, None], windows[start : start + _CHUNK, 1, None]
        index = first + np.minimum(steps, length - 1)
        values = np.stack([np.asarray(table.values[c.name][index], np.float64) for c in layout.columns], axis=2)
        known: Any = None
        if layout.calendar:
            assert table.times is not None
            known = phases(table.times[index], layout.calendar)
        scaled = layout.scale(values, known).astype(np.float32)
        scaled[steps >= length] = np.nan
        yield scaled


def _classes(table: Table) -> tuple[str, ...]:
    """Number the classes by name, numbers by size, and return their names."""
    if table.labels is None:
        return ()
    indices, names = table.labels
    by_name = sorted(range(len(names)), key=lambda i: names[i])
    if all(name.lstrip("-").isdecimal() for name in names):
        by_name.sort(key=lambda i: int(names[i]))
    places = np.empty(len(names), np.int64)
    places[by_name] = np.arange(len(names))
    table.labels = (places[indices], [names[i] for i in by_name])
    return tuple(table.labels[1])
