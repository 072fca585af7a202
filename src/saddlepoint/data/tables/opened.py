"""The columns of an opened file, with the types they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.plan import Finding
from saddlepoint.data.tables.frame import Look
from saddlepoint.data.tables.stamps import known_zone

Kind = Literal["int", "float", "text", "bool", "time", "empty", "other"]


@dataclass
class Column:
    """One column of a file.

    Attributes:
        name: unique in the file.
        kind: of its cells; ``time``: typed as times, ``other``: lists, structures, bytes.
        data: Arrow array: int64, float64, texts, booleans, or timestamps of nanoseconds.
        form: of ``time``: ``timestamp:us``, ``period:M``; else "".
        zone: of ``time``.
        texts: the cells as they stand, where the file is text and they are not plain numbers; else None.
        bad: first cell of a column of numbers that is none: its row and text.
        what: type in words, for messages.
    """

    name: str
    kind: Kind
    data: Any
    form: str = ""
    zone: str = ""
    texts: Any = None
    bad: tuple[int, str] | None = None
    what: str = ""

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        if self.kind == "int":
            return True
        if self.kind != "float":
            return False
        values = self.numbers()
        return bool(np.all(np.isnan(values) | (np.isfinite(values) & (values == np.floor(values)))))

    def numbers(self) -> np.ndarray:
        """Return float64 values, NaN where missing."""
        import pyarrow as pa

        return np.asarray(self.data.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)

    def shown(self) -> str:
        """Return the first value that is not missing, as text."""
        for chunk in self.data.slice(0, 1000).chunks:
            for value in chunk:
                if value.is_valid:
                    try:
                        return str(value.as_py())[:40]
                    except (OverflowError, ValueError):  # a year of five digits, bytes that are no text
                        return self.what
        return ""


@dataclass
class Opened:
    """A file of columns.

    Attributes:
        name: path, for messages.
        columns: by name, in the order of the file.
        line: number of the first row; rows are counted in ``unit`` s.
        unit: ``line`` or ``row``.
        look: of the file.
        findings: what was decided on the way.
        nameless: columns that have no name in the file.
        index: columns that are a data frame's index.
        time, group, label: columns that the format itself says to be these.
        moments: whether each row is a moment by the format's own rule.
        struck: cells of text that hold a mark which the user named, by mark.
    """

    name: str
    columns: dict[str, Column]
    line: int = 1
    unit: str = "row"
    look: Look = field(default_factory=Look)
    findings: list[Finding] = field(default_factory=list)
    nameless: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    label: str | None = None
    moments: bool = False
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())).data)

    def place(self, row: int) -> str:
        """Return where a row stands, as ``line 12``."""
        return f"{self.unit} {row + self.line}"


def of_table(name: str, table: Any, index: tuple[str, ...]) -> Opened:
    """Return a table of Arrow as columns with their kinds.

    Args:
        name: of the file, for messages.
        table: a ``pyarrow.Table``.
        index: columns that were the index of a data frame; those without a name get one.

    Raises:
        DataError: if there are too many columns, or two have one name.
    """
    names = list(table.column_names)
    limits.check_columns(name, len(names))
    counts, taken = Counter(names), set(names)
    twice = sorted(column for column, count in counts.items() if count > 1)
    if twice:
        raise DataError(f"{name} names column '{twice[0]}' {counts[twice[0]]} times; rename one")
    found: dict[str, Column] = {}
    renamed = list[str]()
    for place, column in enumerate(names):
        shown = column
        if column in index and (not column or column.startswith("__index_level_")):
            shown = next(n for n in ("index", f"index{place}", f"index {place}") if n not in taken)
        renamed += [shown] if column in index else []
        found[shown] = typed(shown, table.column(place))
    opened = Opened(name, found, index=tuple(renamed), nameless=tuple(n for n in found if not n))
    for column in found.values():
        if column.what.startswith("duration"):
            opened.findings.append(Finding("columns", f"'{column.name}' holds durations: read in seconds"))
    return opened


def typed(name: str, data: Any) -> Column:
    """Return a column with one of the types of `Column`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, what = data.type, str(data.type)
    if isinstance(kind, pa.BaseExtensionType):
        freq = getattr(kind, "freq", None)
        data = pa.chunked_array([chunk.storage for chunk in data.chunks], type=kind.storage_type)
        if isinstance(freq, str):
            return _period(name, data, freq)
        kind = data.type
    if pa.types.is_dictionary(kind):
        data = data.cast(kind.value_type)
        kind = data.type
    if data.null_count == len(data):
        return Column(name, "empty", data, what=what)
    try:
        if pa.types.is_boolean(kind):
            return Column(name, "bool", data, what=what)
        if pa.types.is_integer(kind):
            large = what == "uint64" and pc.max(data).as_py() >= 2**63
            numbers = data.cast(pa.float64(), safe=False) if large else data.cast(pa.int64())
            return Column(name, "float" if large else "int", numbers, what=what)
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return Column(name, "float", pc.if_else(pc.is_nan(f := data.cast(pa.float64())), None, f), what=what)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or "string_view" in what:
            data.validate(full=True)
            texts = data.cast(pa.string())
            return Column(name, "text", texts, texts=texts, what=what)
        if pa.types.is_duration(kind):
            per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            return Column(name, "float", pc.divide(data.cast(pa.int64()).cast(pa.float64()), float(per)), what=what)
        if pa.types.is_time(kind):
            texts = data.cast(pa.string())
            return Column(name, "text", texts, texts=texts, what=what)
        if pa.types.is_date(kind):
            return Column(
                name, "time", data.cast(pa.timestamp("ms")).cast(pa.timestamp("ns")), "timestamp:D", what=what
            )
        if pa.types.is_timestamp(kind):
            plain = data.cast(pa.timestamp("ns", kind.tz))
            return Column(name, "time", plain, f"timestamp:{kind.unit}", known_zone(kind.tz or ""), what=what)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        if "string" in what:
            return Column(name, "other", data, what="texts that are not UTF-8")
        if pa.types.is_temporal(kind):
            return Column(name, "other", data, what=f"{what} outside of the years 1678 to 2261")
    return Column(name, "other", data, what=f"{what}, no single values")


def _period(name: str, ordinals: Any, freq: str) -> Column:
    """Return periods as the times of their beginnings."""
    import pandas as pd
    import pyarrow as pa

    numbers = ordinals.to_pandas().astype("Int64")
    index = pd.PeriodIndex.from_ordinals(numbers.fillna(0).astype("int64").to_numpy(), freq=freq).to_timestamp()
    times = pa.array(index.as_unit("ns").asi8, pa.timestamp("ns"), mask=numbers.isna().to_numpy())
    return Column(name, "time", pa.chunked_array([times]), f"period:{freq}", what=f"period[{freq}]")
