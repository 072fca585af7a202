"""What the columns of a table are to a generator: numbers, categories, spikes, bounds; missing values filled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.flags import columns_flag
from saddlepoint.data.plan import Finding
from saddlepoint.data.series.irregular import STEPS
from saddlepoint.data.series.layout import Column
from saddlepoint.data.series.rules import bounds_of, notice, read_rules, sorted_columns, verify
from saddlepoint.data.tables.numbers import decimals_of, on_grid, step_of
from saddlepoint.data.tables.table import Table

SPIKE = 0.1
"""A value that at least this share of the rows has is a spike ..."""
_TIMES = 3.0
"""... if it is this often more frequent than any other, ..."""
_OTHERS = 10
"""... and there are this many others."""
ZERO = 0.05
"""0 is one from this share of the rows on, where no value is below it: no rain, no sales, no event."""

MOST_VALUES = 64
"""Different values that a category may have."""

Span = tuple[int, int]


def filled(table: Table, spans: dict[str, list[Span]]) -> list[Finding]:
    """Fill missing values within one piece of one part only, in place: numbers along straight lines between neighbours.

    Before the first and after the last value of a piece the nearest is repeated; a piece without any gets the mean of
    the training rows. Categories repeat the last value before, else the next one; a piece without any gets the most
    frequent of the training rows.

    Raises:
        DataError: if more than half of a column is missing.
    """
    findings = []
    for name, values in table.values.items():
        category = name in table.categories
        missing = values < 0 if category else np.isnan(values)
        count = int(missing.sum())
        if not count:
            continue
        others = [other for other in table.values if other != name]
        if count > len(values) / 2:
            raise DataError(
                f"{table.name}: {count:,} of {len(values):,} values of column '{name}' are missing, more than half; "
                f"leave it out with {columns_flag(others)}, or fill it first"
            )
        train = np.concatenate([values[begin:end] for begin, end in spans["train"]])
        if (train < 0 if category else np.isnan(train)).all():
            raise DataError(
                f"{table.name}: column '{name}' has no value among the training rows; leave it out with "
                f"{columns_flag(others)}"
            )
        pieces = [span for parts in spans.values() for span in parts]
        table.values[name] = (_repeated if category else _on_lines)(values, missing, pieces, train)
        way = "repeat the one before" if category else "lie on straight lines between neighbours"
        text = f"'{name}': {count:,} missing values ({count / len(values):.1%}) {way}"
        findings.append(Finding("missing", text))
    return findings


def _on_lines(values: np.ndarray, missing: np.ndarray, pieces: Sequence[Span], train: np.ndarray) -> np.ndarray:
    digits, step, values = decimals_of(values), step_of(values), values.copy()
    low = float(np.nanmin(values))
    for begin, end in pieces:
        gone = missing[begin:end]
        if gone.any() and not gone.all():
            there = np.flatnonzero(~gone)
            values[begin:end][gone] = np.interp(np.flatnonzero(gone), there, values[begin:end][there])
    left = np.isnan(values)
    if left.any():
        values[left] = np.nanmean(train)
    if step is not None:
        values[missing] = on_grid(values[missing], low, step, digits)
    return values if digits is None else np.round(values, digits)


def _repeated(codes: np.ndarray, missing: np.ndarray, pieces: Sequence[Span], train: np.ndarray) -> np.ndarray:
    codes = codes.copy()
    for begin, end in pieces:
        gone = missing[begin:end]
        if gone.any() and not gone.all():
            there = np.flatnonzero(~gone)
            before = np.searchsorted(there, np.arange(end - begin), "right") - 1
            codes[begin:end] = codes[begin:end][there[np.maximum(0, before)]]
    codes[codes < 0] = np.bincount(train[train >= 0]).argmax()
    return codes


def columns_of(
    table: Table, starts: np.ndarray, train: list[Span], keep: Sequence[str], *, numeric: bool = False
) -> tuple[tuple[Column, ...], list[Finding]]:
    """Return what each column is, in the order of `Layout.columns`; columns that rules change are changed in place.

    Args:
        table: in order, without missing values.
        starts: first row of each series.
        train: training rows, which set scales.
        keep: rules between columns.
        numeric: whether columns are numbers and nothing else.

    Raises:
        DataError: if nothing changes along the series, a category has too many values, or a rule does not hold.
    """
    findings: list[Finding] = []
    static = {name for name, values in table.values.items() if _is_static(values, starts)}
    if len(static) == len(table.values):
        raise DataError(
            f"{table.name}: no column changes along its series ({shortened(sorted(static))}); a sequence needs "
            "one that does"
        )
    numbers = {name: values for name, values in table.values.items() if name not in table.categories}
    moving = {name: values for name, values in numbers.items() if name not in static}
    rules = read_rules(keep, list(moving), table.name)
    findings += verify(rules, moving, table.name)
    if not numeric:
        told = {name: values for name, values in moving.items() if not name.startswith(STEPS)}
        findings += notice(told, rules)
    found: dict[str, Column] = {}
    for name in [*sorted_columns(list(moving), rules), *(n for n in table.values if n not in moving)]:
        above = bounds_of(name, rules, list(moving))
        bound = any(name in (rule.small, rule.large) for rule in rules)
        values = table.values[name]
        rows = np.concatenate([values[begin:end] for begin, end in train])
        if name in table.categories:
            found[name] = _category(table, name, rows, name in static)
            continue
        bounds: tuple[float, ...] = ()
        if above:
            bounds = (float(rows.min()), float(rows.max()))
            base = np.max([table.values[other] for other in above], axis=0)
            base = np.concatenate([base[begin:end] for begin, end in train])
            rows = np.maximum(rows - base, 0.0)
        decimals = decimals_of(values)
        rows = rows if decimals is None else np.round(rows, decimals)
        own = np.unique(rows)
        if len(own) == 2 and not (numeric or bound or name in static) and len(np.unique(values)) == 2:
            found[name] = _two_values(table, name, own, decimals)
            continue
        spike = None if numeric or name in static else _spike(rows)
        timed = name.startswith(STEPS) and name not in table.order
        step = None if numeric or above or timed else step_of(values)
        found[name] = Column(
            name, float(own[0]), float(own[-1]), decimals, (), spike, name in static, above, bounds, timed, step
        )
    columns = sorted(
        (found[name] for name in table.values), key=lambda c: (c.static, bool(c.values), c.spike is None)
    )  # fmt: skip
    return tuple(columns), findings + _told(table, columns, train)


def _told(table: Table, columns: Sequence[Column], train: list[Span]) -> list[Finding]:
    """Say what the columns are."""
    constant = [c.name for c in columns if c.low == c.high and not c.above]
    if len(constant) == len(columns):
        raise DataError(
            f"{table.name}: every column is constant ({shortened(constant)}); there is nothing to learn: choose "
            "others with --columns"
        )
    whole = [c.name for c in columns if c.decimals == 0 and not c.values and not c.time and c.step is None]
    grids = [f"{c.name} (steps of {c.step:g})" for c in columns if c.step is not None and c.name not in constant]
    findings = [Finding("columns", f"constant, and kept so: {shortened(constant)}")] if constant else []
    if whole:
        findings.append(Finding("columns", f"whole numbers, and kept so: {shortened(whole)}"))
    if grids:
        findings.append(Finding("columns", f"values on a grid, and kept so: {shortened(grids)}"))
    for column in columns:
        if column.values and not isinstance(column.values[0], str):
            words = shortened([str(value) for value in column.values])
            text = f"'{column.name}' has {len(column.values)} values, {words}: samples have one of them"
            findings.append(Finding("columns", text))
        elif column.spike is not None:
            rows = np.concatenate([table.values[column.name][begin:end] for begin, end in train])
            share = float((rows == column.spike).mean()) if not column.above else float("nan")
            part = "" if np.isnan(share) else f" in {share:.0%} of the training rows"
            what = f"'{column.name}' is {column.spike:g}" if not column.above else (
                f"'{column.name}' is at its bound plus {column.spike:g}"
            )  # fmt: skip
            findings.append(Finding("columns", f"{what}{part}: samples keep that share"))
    static = [column.name for column in columns if column.static]
    if static:
        findings.append(Finding("columns", f"the same along each series (static): {shortened(static)}"))
    return findings


def _is_static(values: np.ndarray, starts: np.ndarray) -> bool:
    """Whether values stay the same along every series but not over all."""
    changes = np.flatnonzero(np.diff(values)) + 1
    return len(changes) > 0 and bool(np.isin(changes, starts).all())


def _category(table: Table, name: str, rows: np.ndarray, static: bool) -> Column:
    values = table.categories[name]
    if len(values) > MOST_VALUES:
        others = [other for other in table.values if other != name]
        raise DataError(
            f"{table.name}: column '{name}' holds {len(values):,} different texts ('{values[0]}', '{values[1]}', ...), "
            f"and a category has {MOST_VALUES} at most; leave it out with {columns_flag(others)}"
        )
    return Column(name, float(rows.min()), float(rows.max()), 0, tuple(values), static=static)


def _two_values(table: Table, name: str, own: np.ndarray, decimals: int | None) -> Column:
    """Make a column of two numbers a category, in place."""
    values = tuple(int(value) if decimals == 0 else float(value) for value in own)
    table.values[name] = (table.values[name] == own[1]).astype(np.int32)
    table.categories = {**table.categories, name: values}
    return Column(name, 0.0, 1.0, 0, values)


def _spike(rows: np.ndarray) -> float | None:
    """Return the value that a large part of the rows has while others are spread, or None."""
    values, counts = np.unique(rows, return_counts=True)
    if len(values) <= _OTHERS:
        return None
    if values[0] == 0 and counts[0] >= ZERO * len(rows):
        return 0.0
    first, second = np.sort(counts)[-1], np.sort(counts)[-2]
    if first < SPIKE * len(rows) or first < _TIMES * second:
        return None
    return float(values[counts.argmax()])
