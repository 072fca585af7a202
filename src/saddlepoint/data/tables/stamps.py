"""How times are written: columns, forms and zone of a table's times, and the inverse of reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from saddlepoint.data.tables.forms import DIRECTIVE
from saddlepoint.data.tables.time import UNIX


@dataclass(frozen=True)
class Stamps:
    """How the times of a table are written: reading and writing of them in one place.

    Attributes:
        columns: that hold them, in the order of the file: one, or date and time of day, or year, month, ...
        forms: of each column: a form as in `forms`, ``number``, ``unix:s`` (ms, us, ns), ``timestamp:us`` for columns
            that are typed as times, ``period:M`` for periods as pandas keeps them.
        kinds: of each column: what its cells are: ``text``, ``int`` or ``float``.
        zone: that texts are written in, where they say one: ``UTC``, ``+01:00``, ``Europe/Berlin``; "" without.
        year: that times without one are taken to be of; 0 where they have one.
        decimals: of numbers: digits after the point; None: as many as it takes.
    """

    columns: tuple[str, ...]
    forms: tuple[str, ...]
    kinds: tuple[str, ...]
    zone: str = ""
    year: int = 0
    decimals: int | None = None

    @property
    def dates(self) -> bool:
        """Whether times are nanoseconds since 1970 (UTC), not plain numbers."""
        return self.forms != ("number",)

    @property
    def name(self) -> str:
        """The columns as they are named in messages."""
        return " + ".join(self.columns)

    def write(self, times: np.ndarray) -> dict[str, list[Any]]:
        """Return times as the columns hold them: the inverse of reading.

        Times that are finer than the form get a time of day behind the date, where the column holds texts.

        Args:
            times: int64 nanoseconds since 1970 (UTC), or numbers.
        """
        if not self.dates:
            return {self.columns[0]: _numbers(times, self.kinds[0], self.decimals)}
        form = self.forms[0]
        if form in UNIX:
            values = times / UNIX[form] if self.kinds[0] == "float" else times // UNIX[form]
            return {self.columns[0]: values.tolist()}
        return {
            column: _written(times, form, kind, self.zone, single=len(self.forms) == 1)
            for column, form, kind in zip(self.columns, self.forms, self.kinds, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept in ``config.json``."""
        return asdict(self)


def stamps_from_json(kept: Mapping[str, Any]) -> Stamps:
    """Return what `Stamps.to_json` gave.

    Raises:
        KeyError, TypeError: if it is damaged.
    """
    lists = {key: tuple(kept[key]) for key in ("columns", "forms", "kinds")}
    return Stamps(**{**kept, **lists})


def _numbers(times: np.ndarray, kind: str, decimals: int | None) -> list[Any]:
    values = np.asarray(times, dtype=np.float64)
    values = values if decimals is None else np.round(values, decimals)
    return [int(value) for value in values] if kind == "int" else values.tolist()


def _written(times: np.ndarray, form: str, kind: str, zone: str, *, single: bool) -> list[Any]:
    import pandas as pd

    index = pd.DatetimeIndex(np.asarray(times, dtype=np.int64).astype("datetime64[ns]"))
    if zone:
        index = index.tz_localize("UTC").tz_convert(_zone(zone))
    if form.startswith("period:"):
        plain = index.tz_localize(None) if index.tz is not None else index
        return [str(period) for period in plain.to_period(form.partition(":")[2])]
    if form.startswith("timestamp:"):
        unit = form.partition(":")[2]
        return [str(stamp) for stamp in index.as_unit("s" if unit == "D" else unit)] if unit != "D" else [
            str(stamp.date()) for stamp in index
        ]  # fmt: skip
    used = DIRECTIVE.findall(form)
    if single and kind == "text" and any(d[-1] in "dju" for d in used) and not any(d[-1] in "HIM" for d in used):
        form += _finer(index)
    fields = [_field(index, directive) for directive in DIRECTIVE.findall(form)]
    glue = DIRECTIVE.split(form)
    texts = [
        glue[0] + "".join(cell + tail for cell, tail in zip(row, glue[1:], strict=True))
        for row in zip(*fields, strict=True)
    ]
    texts = [text.rstrip() for text in texts] if "%f" in form else texts
    return texts if kind == "text" else [int(t) if kind == "int" else float(t) for t in texts]


def _finer(index: Any) -> str:
    """Return the form of the time of day that dates without one need."""
    if not ((index.hour != 0) | (index.minute != 0) | (index.second != 0) | (index.microsecond != 0)).any():
        return ""
    return " %H:%M" + (":%S" if ((index.second != 0) | (index.microsecond != 0)).any() else "")


def _field(index: Any, directive: str) -> list[str]:
    """Return the texts of one directive for all times."""
    import pandas as pd

    letter, wide = directive[-1], not directive.startswith("%-")
    numbers: dict[str, Callable[[], tuple[Any, int]]] = {
        "Y": lambda: (index.year, 4), "y": lambda: (index.year % 100, 2), "m": lambda: (index.month, 2),
        "d": lambda: (index.day, 2), "H": lambda: (index.hour, 2), "M": lambda: (index.minute, 2),
        "I": lambda: ((index.hour - 1) % 12 + 1, 2), "S": lambda: (index.second, 2),
        "j": lambda: (index.day_of_year, 3), "q": lambda: (index.quarter, 1),
        "G": lambda: (index.isocalendar().year, 4), "V": lambda: (index.isocalendar().week, 2),
        "u": lambda: (index.day_of_week + 1, 1),
    }  # fmt: skip
    if letter in numbers:
        values, width = numbers[letter]()
        return [f"{int(v):0{width if wide else 1}d}" for v in values]
    if letter == "f":
        fine = index.as_unit("ns")
        digits = [f"{us:06d}{ns:03d}" for us, ns in zip(fine.microsecond, fine.nanosecond, strict=True)]
        size = int(directive[1]) if directive[1].isdigit() else 0
        return [text[:size] for text in digits] if size else [text.rstrip("0") or "0" for text in digits]
    if letter in "bBaA":
        names = index.month_name() if letter in "bB" else index.day_name()
        short = [name[:3] if letter in "ba" else name for name in names]
        case = str.upper if "^" in directive else str.lower if "_" in directive else str
        return [case(name) for name in short]
    if letter == "p":
        marks = ["AM", "PM"] if directive == "%p" else ["am", "pm"]
        return [marks[hour >= 12] for hour in index.hour]
    if letter == "z":
        offsets = [pd.Timestamp(stamp).strftime("%z") or "+0000" for stamp in index]
        cut: Callable[[str], str] = {"%z": lambda o: o, "%:z": lambda o: f"{o[:3]}:{o[3:]}", "%#z": lambda o: o[:3]}[
            directive
        ]
        return [cut(offset) for offset in offsets]
    return ["%"] * len(index)


def _zone(zone: str) -> Any:
    import datetime
    import zoneinfo

    if match := re.fullmatch(r"([+-])(\d\d):(\d\d)", zone):
        size = datetime.timedelta(hours=int(match[2]), minutes=int(match[3]))
        return datetime.timezone(-size if match[1] == "-" else size)
    return zoneinfo.ZoneInfo(zone)


def known_zone(zone: str) -> str:
    """Return a zone as it can be written in; ``UTC`` for one that nobody knows.

    >>> known_zone("Europe/Berlin"), known_zone("Mars/Phobos"), known_zone("")
    ('Europe/Berlin', 'UTC', '')
    """
    try:
        return zone if not zone or _zone(zone) is not None else ""
    except (KeyError, ValueError, OSError):
        return "UTC"
