"""What a table of series looked like: columns, units and times, so that samples go back into it without the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.series.time_index import TimeIndex, time_index_from_json
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.numbers import MOST_DECIMALS, on_grid

_MOST_PLACES = 300
"""Decimals, or zeros before the point, of a number that a float holds."""


@dataclass(frozen=True)
class Column:
    """One column in its own units; by code if it is a category.

    Attributes:
        name: of the column.
        low: smallest value of the training rows.
        high: largest value of the training rows.
        decimals: digits after the point in the data, 0 for whole numbers; None: more than 10.
        values: of a category, the values by code, as they stand in the table; empty: the column is a number.
        spike: value that a large part of the rows has: a group of its own says whether a step has it.
        static: whether it is the same along every series.
        above: names of columns that it is never below, by rule: what is scaled is the difference to the largest of
            them, which ``low`` and ``high`` are of.
        range: of a column above others, smallest and largest value of the training rows.
        time: whether it is the time to the next row, not a column of the table.
        step: of values on a grid: their common step, in which they are counted from ``low``; None: none but that of
            the decimals.
    """

    name: str
    low: float
    high: float
    decimals: int | None = None
    values: tuple[Any, ...] = ()
    spike: float | None = None
    static: bool = False
    above: tuple[str, ...] = ()
    range: tuple[float, ...] = ()
    time: bool = False
    step: float | None = None

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Return float64 values with [low, high] brought to [0, 1]; of a constant column, what is above ``low``."""
        return (np.asarray(values, dtype=np.float64) - self.low) / ((self.high - self.low) or 1.0)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Return values in the units of the data, float64, rounded to its grid and decimals: the inverse of `scale`.

        It is exact for float64 input and values of up to 15 significant digits, of which no more than 10 stand after
        the point; a constant column comes back as its constant, whatever the input.
        """
        if self.high == self.low:
            return np.where(np.isnan(scaled), np.nan, self.low)
        values = np.asarray(scaled, dtype=np.float64) * (self.high - self.low) + self.low
        if self.step is not None:
            return on_grid(values, self.low, self.step, self.decimals)
        return values if self.decimals is None else np.round(values, self.decimals)

    def described(self) -> str:
        """Return in words what the training rows have in it.

        >>> Column("rain", 0.0, 55.9, 1, spike=0.0).described()
        "'rain': 0 to 55.9, 1 decimal, often 0"
        """
        if self.values:
            more = ", ..." if len(self.values) > 6 else ""
            return f"'{self.name}': one of {', '.join(map(str, self.values[:6]))}{more}"
        low, high = self.range or (self.low, self.high)
        digits = {None: "", 0: ", whole", 1: ", 1 decimal"}.get(self.decimals, f", {self.decimals} decimals")
        often = "" if self.spike is None else f", often {self.spike:g}"
        grid = "" if self.step is None else f", in steps of {self.step:g}"
        return f"'{self.name}': {low:g} to {high:g}{digits}{grid}{often}"

    def beside_spike(self, scaled: np.ndarray) -> np.ndarray:
        """Return `restore` of values that are not the spike: what would round to it takes the nearest other value."""
        values = self.restore(scaled)
        if self.spike is None or (self.decimals is None and self.step is None):
            return values
        digits = MOST_DECIMALS if self.decimals is None else self.decimals
        unit = self.step or 10.0**-digits
        exact = np.asarray(scaled, dtype=np.float64) * (self.high - self.low) + self.low
        up = (exact >= self.spike) & (self.spike + unit <= self.high) | (self.spike - unit < self.low)
        other = np.round(np.where(up, self.spike + unit, self.spike - unit), digits)
        return np.where(np.abs(values - self.spike) < unit / 2, other, values)

    def to_json(self) -> dict[str, Any]:
        """Return what says something."""
        kept = {"name": self.name, "low": self.low, "high": self.high, "decimals": self.decimals}
        one_to_one = Column(self.name, self.low, self.high, self.decimals)
        # 0.0 is a spike, but equal to False.
        told = {key: value for key, value in vars(self).items() if key not in kept and value != ()}
        more = {key: value for key, value in told.items() if value is not getattr(one_to_one, key)}
        return kept | {key: list(value) if isinstance(value, tuple) else value for key, value in more.items()}


@dataclass(frozen=True)
class Layout:
    """How windows came out of a table, and how they go back.

    Features of a step stand in this order: numbers that change; groups of one-hot features, of spikes first, then of
    categories; what is static; phases of the calendar.

    Attributes:
        columns: numbers that change, those with a spike first; categories that change; static ones.
        order: names of all columns in the order of the table, as far as they are used.
        time_index: the time, or None.
        label: name of the label column, or "".
        group: name of the column that tells series apart, or "".
        classes_are_series: whether samples are asked for by series: the classes are the values of ``group``.
        calendar: parts of the calendar that are the last features; see `calendar.PARTS`.
        look: how the file looks.
        whole: whether windows are recordings of their own, and not parts of longer series.
    """

    columns: tuple[Column, ...]
    order: tuple[str, ...]
    time_index: TimeIndex | None = None
    label: str = ""
    group: str = ""
    classes_are_series: bool = False
    calendar: tuple[str, ...] = ()
    look: Look = field(default_factory=Look)
    whole: bool = False

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.columns) if not c.static and not c.values)

    @property
    def cut(self) -> bool:
        """Whether windows are parts of longer series."""
        return bool(self.columns) and not self.whole

    @property
    def onehot(self) -> tuple[int, ...]:
        """Sizes of the groups of one-hot features that change."""
        spikes = (2 for column in self.columns if column.spike is not None)
        return (*spikes, *(len(c.values) for c in self.columns if c.values and not c.static))

    @property
    def spikes(self) -> tuple[float, ...]:
        """Scaled values that have a group of their own, of the first numbers."""
        return tuple(float(c.scale(np.asarray(c.spike))) for c in self.columns if c.spike is not None)

    @property
    def static(self) -> int:
        """How many features are static."""
        return sum(len(c.values) or 1 for c in self.columns if c.static)

    @property
    def known(self) -> int:
        """How many features are phases of the calendar."""
        return len(self.calendar)

    @cached_property
    def _places(self) -> tuple[tuple[slice, slice], ...]:
        """Features of each column: its number (empty for a category) and its group (empty for a plain number)."""
        found: dict[int, tuple[slice, slice]] = {}
        at = len(self._numbers)
        for place, index in enumerate(self._numbers):
            size = 0 if self.columns[index].spike is None else 2
            found[index] = slice(place, place + 1), slice(at, at + size)
            at += size
        # Static columns stand last, and old layouts do not say which these are: a feature each, wherever.
        for index, column in enumerate(self.columns):
            if index not in found:
                size = len(column.values)
                found[index] = slice(at, at + (size == 0)), slice(at, at + size)
                at += size or 1
        return tuple(found[index] for index in range(len(self.columns)))

    @property
    def features(self) -> int:
        """How many features a step has."""
        return sum(self.onehot) + len(self._numbers) + self.static + self.known

    @property
    def one_to_one(self) -> bool:
        """Whether features are columns, one for one."""
        return not self.known and not any(c.values or c.spike is not None or c.above for c in self.columns)

    def scale(self, values: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Return the features of values in the units of the data, float64 with the training rows in [0, 1].

        Args:
            values: (..., column); categories by code; NaN in all columns or in none.
            known: (..., part) phases of the calendar, where the layout has some.
        """
        found = np.full((*values.shape[:-1], self.features), np.nan)
        places = {column.name: place for place, column in enumerate(self.columns)}
        for index, (column, (number, group)) in enumerate(zip(self.columns, self._places, strict=True)):
            own = values[..., index]
            if column.values:
                hot = own[..., None] == np.arange(len(column.values))
                found[..., group] = np.where(np.isnan(own)[..., None], np.nan, hot)
                continue
            if column.above:
                own = np.maximum(own - np.max([values[..., places[name]] for name in column.above], axis=0), 0.0)
                own = own if column.decimals is None else np.round(own, column.decimals)
            found[..., number.start] = column.scale(own)
            if column.spike is not None:
                hot = np.stack([own == column.spike, own != column.spike], -1)
                found[..., group] = np.where(np.isnan(own)[..., None], np.nan, hot)
        if self.known:
            assert known is not None
            found[..., -self.known :] = known
        return found

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Return (..., column) values in the units of the data, float64, of features; NaN stays NaN.

        Categories are codes: of each group the largest feature counts. Rules between columns hold exactly.
        """
        found = np.empty((*x.shape[:-1], len(self.columns)))
        for index, (column, (number, group)) in enumerate(zip(self.columns, self._places, strict=True)):
            if column.values:
                codes = np.nan_to_num(x[..., group]).argmax(-1).astype(np.float64)
                found[..., index] = np.where(np.isnan(x[..., group]).any(-1), np.nan, codes)
            elif column.spike is not None:
                there = x[..., group.start] > x[..., group.start + 1]
                others = column.beside_spike(x[..., number.start])
                found[..., index] = np.where(there & ~np.isnan(others), column.spike, others)
            else:
                found[..., index] = column.restore(x[..., number.start])
        self._lift(found)
        return found

    def _lift(self, found: np.ndarray) -> None:
        """Add differences to what they are above, in place; a column that bounds another was lifted before."""
        places = {column.name: place for place, column in enumerate(self.columns)}
        waiting = [index for index, column in enumerate(self.columns) if column.above]
        while waiting:
            index = next(i for i in waiting if not {places[name] for name in self.columns[i].above} & set(waiting))
            column, digits = self.columns[index], self.columns[index].decimals
            base = np.max([found[..., places[name]] for name in column.above], axis=0)
            # What bounds a column never is above its largest value, so that this breaks no rule.
            value = np.clip(base + found[..., index], column.range[0], column.range[1])
            if digits is not None:
                value = np.round(value, digits)
                value = np.where(value < base, np.ceil(base * 10.0**digits) / 10.0**digits, value)
            found[..., index] = value
            waiting.remove(index)

    def seen(self, x: np.ndarray) -> np.ndarray:
        """Return windows as figures see them: columns in [0, 1] of the training rows, without the calendar.

        Numbers stand for themselves, spikes and bounds included; of a category there are shares, one feature for each
        value but the last of two. Where features are columns it is ``x`` itself.

        Args:
            x: (n, time, feature).
        """
        if self.one_to_one:
            return x
        values = self.restore(x)
        parts = []
        for index, column in enumerate(self.columns):
            own = values[..., index, None]
            if column.values:
                hot = (own == np.arange(max(1, len(column.values) - (len(column.values) == 2)))).astype(np.float64)
                parts.append(np.where(np.isnan(own), np.nan, hot))
            else:
                low, high = self._range(index)
                parts.append((own - low) / ((high - low) or 1.0))
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def _range(self, index: int) -> tuple[float, float]:
        """Return the smallest and largest value of a column among the training rows."""
        column = self.columns[index]
        return (column.range[0], column.range[1]) if column.above else (column.low, column.high)

    def as_written(self, x: np.ndarray) -> np.ndarray:
        """Return features as they would come back from a file: rounded, rules and spikes kept, float32."""
        return self.scale(self.restore(x), x[..., -self.known :] if self.known else None).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept in ``config.json``."""
        kept: dict[str, Any] = {
            "columns": [column.to_json() for column in self.columns],
            "order": list(self.order),
            "clock": None if self.time_index is None else self.time_index.to_json(),
            "label": self.label,
        }
        look = {} if self.look == Look() else self.look.to_json()
        series = {"group": self.group, "classes_are_series": self.classes_are_series}
        more: dict[str, Any] = {**series, "calendar": list(self.calendar), "look": look, "whole": self.whole}
        return kept | {key: value for key, value in more.items() if value}


def layout_from_json(kept: Mapping[str, Any]) -> Layout:
    """Return what `Layout.to_json` gave, or what version 0.1 kept.

    Raises:
        DataError: if it is damaged.
    """
    try:
        columns = tuple(_column(column) for column in kept["columns"])
        time_index = None if kept["clock"] is None else time_index_from_json(kept["clock"])
        _check_rules(columns)
        return Layout(
            columns, tuple(kept["order"]), time_index, kept["label"], kept.get("group", ""),
            bool(kept.get("classes_are_series")), tuple(kept.get("calendar", ())), Look(**kept.get("look", {})),
            bool(kept.get("whole")),
        )  # fmt: skip
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise DataError(f"the kept description of the columns is damaged ({error}); prepare the data again") from error


def _column(kept: Mapping[str, Any]) -> Column:
    words: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    column = Column(**words)
    numbers = (column.low, column.high, column.spike or 0.0, 1.0 if column.step is None else column.step, *column.range)
    sound = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    sound = sound and (column.step is None or column.step > 0) and len(column.range) in (0, 2)
    named = all(isinstance(name, str) for name in (column.name, *column.above)) and isinstance(column.values, tuple)
    places = column.decimals is None or (type(column.decimals) is int and abs(column.decimals) <= _MOST_PLACES)
    if not sound or not named or not places or (column.above and not column.range):
        raise ValueError(f"column {str(column.name)[:60]!r} cannot be as it is described")
    return column


def _check_rules(columns: Sequence[Column]) -> None:
    """Refuse rules between columns that name none, or go round in a circle.

    Raises:
        ValueError: naming a column.
    """
    known = {column.name for column in columns}
    above = {column.name: set(column.above) for column in columns}
    while free := [name for name, bounds in above.items() if bounds <= known - above.keys()]:
        for name in free:
            del above[name]
    if above:
        raise ValueError(f"the rule of column {next(iter(above))[:60]!r} cannot be kept")


def default_layout(features: int) -> Layout:
    """Return the layout of sequences that came from no table: columns x1, x2, ... in [0, 1]."""
    columns = tuple(Column(f"x{i}", 0.0, 1.0) for i in range(1, features + 1))
    return Layout(columns, tuple(column.name for column in columns))
