"""What a table of series looked like: columns, units and times, so that samples go back into it without the data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from saddlepoint._errors import DataError

MOST_DECIMALS = 10

_UNITS = ("D", "m", "s", "us")
_SIZES = (86_400_000_000, 60_000_000, 1_000_000, 1)
"""Units in which times are written, and their microseconds."""


@dataclass(frozen=True)
class Column:
    """One feature in its own units.

    Attributes:
        name: of the column.
        low: smallest value of the training rows.
        high: largest value of the training rows.
        decimals: digits after the point in the data, 0 for whole numbers; None: more than 10.
    """

    name: str
    low: float
    high: float
    decimals: int | None = None

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Return float64 values with [low, high] brought to [0, 1]; of a constant column, what is above ``low``."""
        return (np.asarray(values, dtype=np.float64) - self.low) / ((self.high - self.low) or 1.0)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Return values in the units of the data, float64, rounded to its decimals: the inverse of `scale`.

        It is exact for float64 input and values of up to 15 significant digits, of which no more than 10 stand after
        the point; a constant column comes back as its constant, whatever the input.
        """
        if self.high == self.low:
            return np.where(np.isnan(scaled), np.nan, self.low)
        values = np.asarray(scaled, dtype=np.float64) * (self.high - self.low) + self.low
        return values if self.decimals is None else np.round(values, self.decimals)


@dataclass(frozen=True)
class Clock:
    """The time column.

    Attributes:
        name: of the column.
        form: ``iso`` or a format of `strftime` for dates; ``number``.
        last: the latest time in the data: microseconds since 1970 (UTC), or the number itself.
        step: usual step: microseconds, working days, months, or a number.
        unit: ``time``, ``working days``, ``months``, ``month ends`` or ``number``.
        sample: a value as it stands in the data, for the look of dates.
        decimals: of a number: digits after the point in the data; None: as many as it takes.
    """

    name: str
    form: str
    last: float
    step: float
    unit: str
    sample: str = ""
    decimals: int | None = None

    def after(self, n: int) -> list[Any]:
        """Return ``n`` times at the usual step, the first one step after the last time of the data."""
        steps = np.arange(1, n + 1)
        if self.unit == "number":
            values = self.last + steps * self.step
            values = values if self.decimals is None else np.round(values, self.decimals)
            whole = float(self.step).is_integer() and float(self.last).is_integer()
            return [int(v) if whole else float(v) for v in values]
        last = np.datetime64(int(self.last), "us")
        if self.unit == "working days":
            day = last.astype("datetime64[D]")
            times = np.busday_offset(day, steps * int(self.step), roll="backward") + (last - day)
        elif self.unit in ("months", "month ends"):
            months = last.astype("datetime64[M]") + steps * int(self.step)
            ends = (months + 1).astype("datetime64[D]") - 1
            day = (last.astype("datetime64[D]") - last.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
            days = ends if self.unit == "month ends" else np.minimum(months.astype("datetime64[D]") + day, ends)
            times = days.astype("datetime64[us]") + (last - last.astype("datetime64[D]"))
        else:
            times = last + (steps * int(self.step)).astype("timedelta64[us]")
        return [self._written(time) for time in times]

    def _written(self, time: np.datetime64) -> str:
        if self.form != "iso":
            return str(time.astype("datetime64[s]").item().strftime(self.form))
        # What follows the date: a separator, the time of day, the offset from UTC.
        clock, offset = re.match(r"(.?[^Z+-]*)(.*)", self.sample[10:]).groups()  # type: ignore[union-attr]
        looks = 0 if not clock else 1 if clock.count(":") < 2 else 2 if "." not in clock else 3
        # The data's look, or finer where its steps need it.
        step = int(self.step) if self.unit == "time" else 0
        fine = next(i for i, size in enumerate(_SIZES) if int(self.last) % size == step % size == 0)
        written = str(time.astype(f"datetime64[{_UNITS[max(looks, fine)]}]"))
        return written.replace("T", clock[:1] or " ") + (offset and ("Z" if offset == "Z" else "+00:00"))


@dataclass(frozen=True)
class Layout:
    """How windows came out of a table, and how they go back.

    Attributes:
        columns: one for each feature, in the order of the features: those that change, then the static ones.
        order: names of all columns in the order of the table, as far as they are used.
        clock: the time column, or None.
        label: name of the label column, or "".
    """

    columns: tuple[Column, ...]
    order: tuple[str, ...]
    clock: Clock | None = None
    label: str = ""

    def scale(self, x: np.ndarray) -> np.ndarray:
        """Return (..., feature) values in the units of the data as float64 with the training rows in [0, 1]."""
        return np.stack([c.scale(x[..., i]) for i, c in enumerate(self.columns)], axis=-1)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Return (..., feature) scaled values in the units of the data, float64; NaN stays NaN."""
        return np.stack([c.restore(x[..., i]) for i, c in enumerate(self.columns)], axis=-1)

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept in ``config.json``."""
        return asdict(self)


def layout_from_json(kept: Mapping[str, Any]) -> Layout:
    """Return what `Layout.to_json` gave.

    Raises:
        DataError: if it is damaged.
    """
    try:
        columns = tuple(Column(**column) for column in kept["columns"])
        clock = None if kept["clock"] is None else Clock(**kept["clock"])
        return Layout(columns, tuple(kept["order"]), clock, kept["label"])
    except (KeyError, TypeError) as error:
        raise DataError(f"the kept description of the columns is damaged ({error}); prepare the data again") from error


def plain_layout(features: int) -> Layout:
    """Return the layout of sequences that came from no table: columns x1, x2, ... in [0, 1]."""
    columns = tuple(Column(f"x{i}", 0.0, 1.0) for i in range(1, features + 1))
    return Layout(columns, tuple(column.name for column in columns))


def decimals_of(values: np.ndarray) -> int | None:
    """Return the digits after the point that all finite values do with; None if more than 10."""
    finite = values[np.isfinite(values)]
    few = finite[:: max(1, len(finite) // 1000)]
    for digits in range(MOST_DECIMALS + 1):
        if all(np.array_equal(np.round(part, digits), part) for part in (few, finite)):
            return digits
    return None
