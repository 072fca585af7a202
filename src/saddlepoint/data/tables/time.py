"""Times of a table: read from the forms in which they stand, and written in them again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saddlepoint.data.tables.forms import DIRECTIVE, forms_of, pandas_form, pattern_of, styled, time_of_day_form_of
from saddlepoint.data.tables.pace import DAY, SECOND

NOT = np.iinfo(np.int64).min
"""What stands for a missing time, as in numpy."""
SAMPLES = 400
"""Cells of a column by which candidates for its form are found; all cells decide."""

UNIX = {"unix:s": SECOND, "unix:ms": 10**6, "unix:us": 10**3, "unix:ns": 1}
_UNIX_SPAN = (631_152_000, 4_102_444_800)
ZONES = (
    "Europe/Berlin", "Europe/London", "Europe/Athens", "Europe/Moscow", "America/New_York", "America/Chicago",
    "America/Denver", "America/Los_Angeles", "America/Sao_Paulo", "America/Halifax", "America/Santiago",
    "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
"""Zones with daylight saving that stamps with changing offsets are tried in."""
_PARTS = {"%Y": "year", "%q": "quarter", "%m": "month", "%d": "day", "%H": "hour", "%M": "minute", "%S": "second"}


class Unread(ValueError):
    """A cell that does not fit a form.

    Attributes:
        row: index of the cell.
        text: what it holds.
    """

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row, self.text = row, text


@dataclass(frozen=True)
class Read:
    """A column of texts, read in one form.

    Attributes:
        form: that fits every cell.
        times: int64 nanoseconds since 1970, `NOT` where missing; of texts with an offset, in UTC.
        zone: as in `Stamps`.
        says: what was decided beside the form.
    """

    form: str
    times: np.ndarray
    zone: str = ""
    says: tuple[str, ...] = field(default=())


def examples(column: Any, count: int = SAMPLES) -> list[str]:
    """Return texts from all over an Arrow column: some of the first, and some at even distances; stripped of blanks."""
    rows = len(column)
    places = (
        sorted({*range(min(rows, count // 4)), *np.linspace(0, rows - 1, count).astype(int).tolist()}) if rows else []
    )
    texts = column.take(places).to_pylist()
    return [text.strip() for text in texts if text is not None and text.strip()]


def candidates(texts: Sequence[str]) -> list[str]:
    """Return the forms that examples have, the likelier ones first; [] if they are no times of one form.

    One in ten may be none: a fault in a column of times is to be told, not to make it a column of texts.
    """
    if not texts:
        return []
    enough = 0.9 * len(texts)
    seen = Counter(form for text in texts for form in forms_of(text))
    fitting = [form for form in forms_of(texts[0]) if seen[form] >= enough]
    fitting += [form for form, count in seen.most_common(4) if count >= enough and form not in fitting]
    if not fitting and sum(_MIXED.fullmatch(text) is not None for text in texts) >= enough:
        fitting = forms_of(max(filter(_MIXED.fullmatch, texts), key=len))[:1]
    return fitting


_MIXED = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?")
"""ISO 8601 of changing length, as programs write it that leave out what is zero."""


_ZONED = re.compile(r":\d\d[^:]*(?:Z|[+-]\d\d:?\d\d)$")


def read_form(column: Any, form: str) -> Read:
    """Read an Arrow column of texts, every cell in one form.

    Args:
        column: texts; missing cells stay missing.
        form: as in `forms`; leading zeros are settled by the column.

    Raises:
        Unread: if a cell has another form, or a time before 1678 or after 2261.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    zoned = bool(re.search(r"%:?#?z", form)) or bool(re.search(r"(Z|UTC|GMT)$", form))
    times, offsets, row = [], [], 0
    settled = styled(form, examples(column))
    for chunk in (piece for whole in chunks for piece in _pieces(whole)):
        coded = pc.utf8_trim_whitespace(chunk).dictionary_encode()
        words = coded.dictionary.to_pylist()
        try:
            part = _parsed(words, settled)
        except Unread as bad:
            place = coded.indices.to_numpy(zero_copy_only=False) == bad.row
            raise Unread(row + int(place.argmax()), bad.text) from None
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        times.append(np.append(part, NOT)[codes])
        if "z" in form:
            offsets += [re.search(r"[+-]\d\d:?\d*$|Z$", word)[0] for word in words]  # type: ignore[index]
        row += len(chunk)
    joined = np.concatenate(times) if times else np.empty(0, np.int64)
    zone, says = ("UTC" if zoned else ""), tuple[str, ...]()
    if offsets and (seen := {_offset(text) for text in offsets}):
        zone, says = _zone_of(seen, column, joined)
    return Read(settled, joined, zone, says)


def _pieces(chunk: Any, size: int = 2**19) -> list[Any]:
    return [chunk.slice(start, size) for start in range(0, len(chunk), size)]


def _parsed(texts: list[str], form: str) -> np.ndarray:
    """Return nanoseconds of texts.

    Raises:
        Unread: with the place in the list.
    """
    if not texts:
        return np.empty(0, np.int64)
    if "%q" in form or ("%V" in form and "%u" not in form):
        texts, form = _spelt(texts, form)
    values, strict = np.array(texts, dtype=object), pandas_form(form)
    found = _nanoseconds(values, strict)
    loose = form.startswith(("%Y-%m-%d", "%Y-%-m-%-d"))  # programs leave out what is zero
    if found is None and loose and all(_mixed(text, form) for text in texts):
        found = _nanoseconds(values, "ISO8601")
    if found is not None:
        return found
    for place, text in enumerate(texts):
        told = loose and _mixed(text, form)
        if _nanoseconds(values[place : place + 1], "ISO8601" if told else strict) is None:
            raise Unread(place, text)
    raise Unread(0, texts[0])


def _mixed(text: str, form: str) -> bool:
    """Whether a text is ISO 8601, with an offset from UTC if the form has one."""
    return _MIXED.fullmatch(text) is not None and bool(_ZONED.search(text)) == bool(re.search(r"z|Z$", form))


def _nanoseconds(values: np.ndarray, form: str) -> np.ndarray | None:
    """Return nanoseconds since 1970 of texts in a format of pandas; None if one has another, or is out of range."""
    import pandas as pd

    try:
        zoned = "z" in form or form == "ISO8601"
        index = pd.DatetimeIndex(pd.to_datetime(values, utc=zoned, format=form))
        return np.asarray((index.tz_localize(None) if index.tz is not None else index).as_unit("ns").asi8)
    except (ValueError, OverflowError):
        return None


def _spelt(texts: list[str], form: str) -> tuple[list[str], str]:
    """Return quarters and weeks as dates of their first day, which pandas reads."""
    pattern = pattern_of(form)
    if "%V" in form:
        for place, text in enumerate(texts):
            if pattern.fullmatch(text) is None:
                raise Unread(place, text)
        return [f"{text}-1" for text in texts], f"{form}-%u"
    order = [directive[-1] for directive in DIRECTIVE.findall(form)]
    spelt = []
    for place, text in enumerate(texts):
        match = pattern.fullmatch(text)
        if match is None:
            raise Unread(place, text)
        parts = dict(zip(order, match.groups(), strict=True))
        spelt.append(f"{parts['Y']}-{3 * int(parts['q']) - 2:02d}-01")
    return spelt, "%Y-%m-%d"


def _offset(text: str) -> str:
    digits = re.sub(r"\D", "", text).ljust(4, "0")
    return "UTC" if text == "Z" else f"{text[0]}{digits[:2]}:{digits[2:]}"


def _zone_of(offsets: set[str], column: Any, times: np.ndarray) -> tuple[str, tuple[str, ...]]:
    """Return the zone that offsets are of: the offset itself, a zone with daylight saving, or UTC."""
    import pandas as pd
    import pyarrow as pa

    if len(offsets) == 1:
        only = offsets.pop()
        return ("+00:00" if only in ("-00:00",) else only), ()
    places = np.unique(np.linspace(0, len(times) - 1, 5000).astype(int))
    places = places[times[places] != NOT]
    texts = column.take(pa.array(places)).to_pylist()
    wanted = [_offset(re.search(r"[+-]\d\d:?\d*$|Z$", text.strip())[0]) for text in texts]  # type: ignore[index]
    index = pd.DatetimeIndex(times[places].astype("datetime64[ns]")).tz_localize("UTC")
    for zone in ZONES:
        local = index.tz_convert(zone)
        if [f"{o[:3]}:{o[3:]}" for o in local.strftime("%z")] == wanted:
            return zone, (f"its offsets from UTC change as in {zone}: read as one clock in UTC, written in that zone",)
    shown = ", ".join(sorted(offsets)[:4])
    return "UTC", (f"its offsets from UTC change ({shown}): read and written in UTC",)


def time_of_day_form(texts: Sequence[str]) -> str:
    """Return the form of times of the day that all examples have, or ""."""
    forms = {time_of_day_form_of(text) for text in texts}
    if len(forms) != 1 or not (form := forms.pop()) or re.search(r"z|Z$|UTC$|GMT$", form):
        return ""
    return styled(form, texts)


def read_time_of_day(column: Any, form: str) -> np.ndarray:
    """Return nanoseconds since midnight of times of the day; `NOT` where missing.

    Raises:
        Unread: if a cell has another form.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    dated = pc.binary_join_element_wise("1970-01-01", pc.utf8_trim_whitespace(column.cast(pa.string())), " ")
    return read_form(dated, f"%Y-%-m-%-d {form}").times


def read_unix(values: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Return the unit and nanoseconds of Unix times, if all values lie between 1990 and 2100 in one unit.

    >>> read_unix(np.array([1514764800, 1514764860]))[0]
    'unix:s'
    """
    if not len(values):
        return None
    low, high = values.min(), values.max()
    for form, size in UNIX.items():
        scale = SECOND // size
        if _UNIX_SPAN[0] * scale <= low and high <= _UNIX_SPAN[1] * scale:
            if values.dtype.kind == "f":
                whole = np.floor(values)
                return form, (whole.astype(np.int64) * size + np.round((values - whole) * size).astype(np.int64))
            return form, values.astype(np.int64) * size
    return None


def from_parts(parts: Mapping[str, np.ndarray], year: int | np.ndarray = 0) -> np.ndarray:
    """Return nanoseconds of years, months, days, ... in columns of their own.

    Args:
        parts: whole numbers by directive: ``%Y``, ``%q``, ``%m``, ``%d``, ``%H``, ``%M``, ``%S``.
        year: where there is no ``%Y``: one, or one for each row.

    Raises:
        ValueError: if a day does not exist.
    """
    import pandas as pd

    rows = len(next(iter(parts.values())))
    fields = {_PARTS[key]: values.astype(np.int64) for key, values in parts.items()}
    fields.setdefault("year", np.broadcast_to(np.asarray(year, np.int64), rows))
    if "quarter" in fields:
        fields["month"] = 3 * fields.pop("quarter") - 2
    fields.setdefault("month", np.ones(rows, np.int64))
    fields.setdefault("day", np.ones(rows, np.int64))
    hours = fields.pop("hour", None)
    index = pd.DatetimeIndex(pd.to_datetime(pd.DataFrame(fields))).as_unit("ns")
    times = np.asarray(index.asi8)
    return times if hours is None else times + hours * (DAY // 24)
