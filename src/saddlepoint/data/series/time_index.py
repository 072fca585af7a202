"""The pace of a table's times: its usual step, how it goes on after the last row, and how that is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.tables.pace import DAY, SECOND, last_days
from saddlepoint.data.tables.stamps import Stamps, stamps_from_json

HOUR = DAY // 24
MONTH = 30.44 * DAY

UNITS = ("time", "working days", "months", "month ends", "working month ends", "number", "row")
"""Nanoseconds; Mondays to Fridays; the same day, the last day, the last working day of months; numbers; rows without a
pace, whose times are learned."""

LATEST = int(np.datetime64("2262-01-01", "ns").astype(np.int64))
"""Times are kept in nanoseconds, which end in 2262 ..."""
LATEST_SHORT = int(np.datetime64("2068-12-31", "ns").astype(np.int64))
"""... and years of two digits in 2068."""


@dataclass(frozen=True)
class TimeIndex:
    """The time of a table.

    Attributes:
        last: the latest time in the data: nanoseconds since 1970 (UTC), or the number itself.
        step: usual step: nanoseconds, working days, months, or a number.
        unit: one of `UNITS`.
        stamps: how times are written.
        decimals: of a number: digits after the point in the data; None: as many as it takes.
        start: of numbers that start again in each series (days since the first visit): the one they start at.
    """

    last: float
    step: float
    unit: str
    stamps: Stamps | OldStamps
    decimals: int | None = None
    start: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that the time stands in."""
        return tuple(self.stamps.columns)

    @property
    def dates(self) -> bool:
        """Whether times are dates, not numbers."""
        return self.stamps.dates

    def at(self, base: float, steps: np.ndarray) -> np.ndarray:
        """Return the times that are some steps after another one: int64 nanoseconds, or float64 numbers.

        Args:
            base: a time.
            steps: whole numbers.
        """
        steps = np.asarray(steps, dtype=np.int64)
        if self.unit == "number":
            values = base + steps * self.step
            return values if self.decimals is None else np.round(values, self.decimals)
        last = np.datetime64(int(base), "ns")
        day = last.astype("datetime64[D]")
        if self.unit == "working days":
            times = np.busday_offset(day, steps * int(self.step), roll="backward") + (last - day)
        elif self.unit in ("months", "month ends", "working month ends"):
            months = last.astype("datetime64[M]") + (steps * int(self.step)).astype("timedelta64[M]")
            ends = last_days(months)
            if self.unit == "working month ends":
                days = np.busday_offset(ends, 0, roll="backward")
            else:
                of_month = day - day.astype("datetime64[M]").astype("datetime64[D]")
                days = (
                    ends if self.unit == "month ends" else np.minimum(months.astype("datetime64[D]") + of_month, ends)
                )
            times = days.astype("datetime64[ns]") + (last - day)
        else:
            times = last + (steps * int(self.step)).astype("timedelta64[ns]")
        found: np.ndarray = times.astype("datetime64[ns]").astype(np.int64)
        return found

    def after(self, n: int) -> list[Any]:
        """Return the ``n`` times that follow the last one of the data, as its first column holds them."""
        return self.write(self.at(self.last, np.arange(1, n + 1)))[self.names[0]]

    def most(self, base: float) -> int:
        """Return how many steps go on from a time before dates end that can be written; None where there is no end."""
        if self.unit == "number":
            return 2**53
        short = any("%y" in form for form in getattr(self.stamps, "forms", ()))
        end = LATEST_SHORT if short and base < LATEST_SHORT else LATEST
        length = {"working days": 1.4 * DAY, "months": MONTH, "month ends": MONTH, "working month ends": MONTH}
        return max(1, int((end - base) / (self.step * length.get(self.unit, 1))) - 1)

    def write(self, times: np.ndarray) -> dict[str, list[Any]]:
        """Return times as they stand in the table, by column."""
        return self.stamps.write(times)

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept in ``config.json``."""
        last = int(self.last) if float(self.last).is_integer() else self.last
        kept = {"last": last, "step": self.step, "unit": self.unit, "decimals": self.decimals}
        again = {} if self.start is None else {"start": self.start}
        return kept | again | {"stamps": self.stamps.to_json()}


def time_index_from_json(kept: Mapping[str, Any]) -> TimeIndex:
    """Return what `TimeIndex.to_json` gave, or what version 0.1 kept.

    Raises:
        KeyError, TypeError: if it is damaged.
    """
    if "stamps" in kept:
        stamps = stamps_from_json(kept["stamps"])
        return TimeIndex(kept["last"], kept["step"], kept["unit"], stamps, kept["decimals"], kept.get("start"))
    number = kept["unit"] == "number"
    micro = 1 if number else 1000
    step = kept["step"] * (1000 if kept["unit"] == "time" else 1)
    old = OldStamps(kept["name"], kept["form"], kept.get("sample", ""), step if kept["unit"] == "time" else 0)
    last = kept["last"] if number else int(kept["last"]) * micro
    return TimeIndex(last, step, kept["unit"], old, kept.get("decimals"))


@dataclass(frozen=True)
class OldStamps:
    """How runs of version 0.1 write times.

    Attributes:
        name: of the column.
        form: ``iso``, a format of `strftime`, or ``number``.
        sample: a value as it stands in the data, for the look of dates.
        step: usual step in nanoseconds, for the finest part that is written; 0: days at least.
    """

    name: str
    form: str
    sample: str = ""
    step: float = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.name,)

    @property
    def dates(self) -> bool:
        """Whether times are dates, not numbers."""
        return self.form != "number"

    def write(self, times: np.ndarray) -> dict[str, list[Any]]:
        """Return times as they stand in the table."""
        if self.form == "number":
            whole = all(float(time).is_integer() for time in times)
            return {self.name: [int(time) if whole else float(time) for time in times]}
        return {self.name: [self._written(np.datetime64(int(time) // 1000, "us")) for time in times]}

    def _written(self, time: np.datetime64) -> str:
        if self.form != "iso":
            return str(time.astype("datetime64[s]").item().strftime(self.form))
        # What follows the date: a separator, the time of day, the offset from UTC.
        time_of_day, offset = re.match(r"(.?[^Z+-]*)(.*)", self.sample[10:]).groups()  # type: ignore[union-attr]
        grain = 0 if not time_of_day else 1 if time_of_day.count(":") < 2 else 2 if "." not in time_of_day else 3
        # The data's look, or finer where its steps need it.
        sizes, at = (DAY, 60 * SECOND, SECOND, 1000), int(time.astype(np.int64)) * 1000
        fine = next(i for i, size in enumerate(sizes) if at % size == int(self.step) % size == 0)
        written = str(time.astype(f"datetime64[{('D', 'm', 's', 'us')[max(grain, fine)]}]"))
        return written.replace("T", time_of_day[:1] or " ") + (offset and ("Z" if offset == "Z" else "+00:00"))

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {"name": self.name, "form": self.form, "sample": self.sample, "step": self.step}


def read_start(text: str, time_index: TimeIndex) -> float:
    """Return the time that samples shall start at, as `TimeIndex.at` takes it.

    Args:
        text: ISO date such as ``2016-07-01`` or ``2016-07-01 06:00``; of times that are numbers a number.
        time_index: of the table.

    Raises:
        DataError: if it is none.
    """
    try:
        if time_index.unit == "number":
            return float(text)
        return int(np.datetime64(text.strip().replace(" ", "T"), "ns").astype(np.int64))
    except ValueError as error:
        kind = "a number, as the times of the data are" if time_index.unit == "number" else "a date such as 2016-07-01"
        raise DataError(f"the start is '{text}', but it must be {kind}") from error
