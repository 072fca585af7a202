"""Stand-in of the reading side, until it is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from saddlepoint.data.plan import Finding


@dataclass(frozen=True)
class Look:
    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    quoted: bool = False
    quoted_header: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Stamps:
    columns: tuple[str, ...]
    forms: tuple[str, ...]
    kinds: tuple[str, ...] = ("text",)
    zone: str = ""
    year: int = 0
    decimals: int | None = None

    @property
    def dates(self) -> bool:
        return self.forms != ("number",)

    @property
    def name(self) -> str:
        return " + ".join(self.columns)

    def write(self, times: np.ndarray) -> dict[str, list[Any]]:
        if self.forms[0] == "number":
            return {self.columns[0]: [int(t) if float(t).is_integer() else float(t) for t in times]}
        import pandas as pd

        found = pd.to_datetime(np.asarray(times, dtype=np.int64))
        return {self.columns[0]: list(found.strftime(self.forms[0]))}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stamps_from_json(kept: Any) -> Stamps:
    lists = {key: tuple(kept[key]) for key in ("columns", "forms", "kinds")}
    return Stamps(**{**kept, **lists})


@dataclass
class Table:
    name: str
    values: dict[str, np.ndarray] = field(default_factory=dict)
    categories: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    times: np.ndarray | None = None
    stamps: Stamps | None = None
    groups: tuple[np.ndarray, list[str]] | None = None
    group: str = ""
    labels: tuple[np.ndarray, list[str]] | None = None
    label: str = ""
    look: Look = field(default_factory=Look)
    findings: list[Finding] = field(default_factory=list)


def is_table(path: Any) -> bool:
    return str(path).endswith((".csv", ".parquet"))


def read_table(path: Any, options: Any) -> Table:
    """Read the simplest of tables."""
    import pandas as pd

    frame = pd.read_parquet(path) if str(path).endswith(".parquet") else pd.read_csv(path)
    names = list(frame.columns)
    group = None if options.group_column in (None, "none") else options.group_column
    label = options.label_column
    time = None
    if options.time_column and options.time_column != ("none",):
        time = options.time_column[0]
    elif options.time_column is None:
        for name in names:
            if frame[name].dtype.kind not in "biuf" and name not in (group, label):
                try:
                    pd.to_datetime(frame[name], format="ISO8601")
                    time = name
                    break
                except ValueError:
                    pass
    table = Table(str(path))
    if time:
        if frame[time].dtype.kind in "iuf":
            table.times = frame[time].to_numpy(np.float64)
            table.stamps = Stamps((time,), ("number",))
        else:
            table.times = pd.to_datetime(frame[time], format="ISO8601").to_numpy("M8[ns]").astype(np.int64)
            form = "%Y-%m-%d" if (table.times % 86_400_000_000_000 == 0).all() else "%Y-%m-%d %H:%M:%S"
            table.stamps = Stamps((time,), (form,))
    if group:
        codes, own = pd.factorize(frame[group].astype(str))
        table.groups, table.group = (codes.astype(np.int32), list(own)), group
    if label:
        codes, own = pd.factorize(frame[label].astype(str))
        table.labels, table.label = (codes.astype(np.int64), list(own)), label
    for name in options.columns or [n for n in names if n not in (time, group, label)]:
        column = frame[name]
        if column.dtype.kind in "iuf":
            table.values[name] = column.to_numpy(np.float64)
        else:
            codes, own = pd.factorize(column)
            table.values[name], table.categories[name] = codes.astype(np.int32), tuple(own.tolist())
    used = {time, group, label, *table.values}
    table.order = tuple(n for n in names if n in used)
    return table
