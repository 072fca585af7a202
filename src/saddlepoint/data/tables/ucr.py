"""The text formats of archives of series: .ts and .arff (classification, regression) and .tsf (forecasting)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.tables.frame import Frame
from saddlepoint.data.tables.pace import last_days

if TYPE_CHECKING:
    import pandas

CASE, CLASS, TARGET, TIME = "case", "class", "target", "time"
"""Names of the columns that a table made of such a file has beside its channels x1, x2, ..."""
_MISSING = {"?", "", "nan"}
_MONTHS: Mapping[str, int] = {"yearly": 12, "quarterly": 3, "monthly": 1}
_SECONDS: Mapping[str, int] = {
    "weekly": 604800, "daily": 86400, "hourly": 3600, "half_hourly": 1800, "minutely": 60, "secondly": 1,
}  # fmt: skip
_PAIR = re.compile(r"\(([^(),]*),([^(),]*)\)")
_CELLS_A_ROW = 9
"""What a row of an .arff takes beside its cells, in cells."""
_LONGEST_LINE = 256 * 1024**2


@dataclass
class _Cases:
    """Series one after another: what becomes the rows of a table.

    Attributes:
        values: (steps, channel) of each series.
        names: of the series.
        labels: class or target of each; empty: none.
        times: of the steps of each; empty: none.
        left: bytes of memory that may still be taken.
        size: bytes of the file.
    """

    values: list[np.ndarray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    times: list[np.ndarray] = field(default_factory=list)
    left: int = field(default_factory=lambda: usable_memory() // 4)
    size: int = 0

    def add(self, path: Path, line: int, values: np.ndarray) -> None:
        """Add a series.

        Raises:
            DataError: if it has other channels than the first, or memory does not suffice.
        """
        if self.values and values.shape[1] != self.values[0].shape[1]:
            raise DataError(f"{path}, line {line}: a series has {values.shape[1]} channels, but the first has "
                            f"{self.values[0].shape[1]}")  # fmt: skip
        self.size = self.size or path.stat().st_size
        limits.check_series(str(path), len(self.values) + 1, self.size)
        self.left -= 8 * values.size
        if self.left < 0:
            raise DataError(f"{path} holds more than a quarter of the memory; give a part of it")
        self.values.append(values)

    def lengths(self) -> np.ndarray:
        """Return the steps of each series."""
        return np.array([len(values) for values in self.values], np.int64)

    def told(self) -> Finding:
        """Say how many series there are, and how long."""
        lengths = self.lengths()
        span = f"{lengths.min()} to {lengths.max()}" if lengths.min() < lengths.max() else f"{lengths.max()}"
        channels = self.values[0].shape[1]
        return Finding("series", f"{len(lengths):,} series of {span} steps and {channels} channel{'s'[: channels - 1]}",
                       "each stands in a line of its own")  # fmt: skip


def read_ts(path: Path, options: Options) -> Frame:
    """Read a .ts file: a series a line, channels parted by colons, the class or target last.

    Raises:
        DataError: if it is damaged or of another layout.
    """
    header: dict[str, list[str]] = {}
    cases, data = _Cases(), False
    for line, text in _lines(path):
        if text.startswith("@") and not data:
            words = text[1:].split()
            header[words[0].lower() if words else ""] = words[1:]
            data = bool(words) and words[0].lower() == "data"
        elif not text.startswith(("#", "%")):
            if not data:
                raise DataError(f"{path}, line {line}: values before @data; is it a .ts file of series?")
            _ts_case(path, line, text, header, cases)
    if not cases.values:
        raise DataError(f"{path} holds no series after @data")
    kind = TARGET if _says(header, "targetlabel") else CLASS
    notes: list[Note] = [cases.told()]
    if cases.labels:
        notes.append(Finding("labels", f"the {kind} of each series is the column '{kind}'", "the header says so"))
    other = path.name.replace("_TRAIN", "_TEST") if "_TRAIN" in path.name else path.name.replace("_TEST", "_TRAIN")
    if other != path.name and path.with_name(other).is_file():
        notes.append(Finding("split", f"{other} is not read; it lies beside it"))
    return _frame(path, cases, kind, tuple(notes))


def _ts_case(path: Path, line: int, text: str, header: Mapping[str, list[str]], cases: _Cases) -> None:
    stamped = _says(header, "timestamps")
    parts = re.split(r"\)\s*:" if stamped else ":", text)
    labelled = _says(header, "targetlabel") or _says(header, "classlabel")
    if "classlabel" not in header and "targetlabel" not in header:
        labelled = len(parts) > 1 and "," not in parts[-1]
    label = parts.pop().strip() if labelled else ""
    if stamped:
        pairs = [_PAIR.findall(part + ")") for part in parts]
        clocks = [[time.strip() for time, _ in channel] for channel in pairs]
        if not clocks or not clocks[0] or any(clock != clocks[0] for clock in clocks):
            raise DataError(f"{path}, line {line}: channels have different timestamps, or none; bring them to the same")
        cases.times.append(np.array(clocks[0], dtype=object))
        channels = [[value for _, value in channel] for channel in pairs]
    else:
        channels = [part.split(",") for part in parts]
    limits.check_columns(f"{path}, line {line}", len(channels))
    if not channels or len({len(channel) for channel in channels}) > 1:
        raise DataError(f"{path}, line {line}: channels of a series have {sorted({len(c) for c in channels})} values; "
                        "all must have as many")  # fmt: skip
    cases.add(path, line, np.stack([_numbers(path, line, channel) for channel in channels], axis=1))
    cases.names.append(str(len(cases.values)))
    if labelled:
        cases.labels.append(label)
    if cases.labels and len(cases.labels) < len(cases.values):
        raise DataError(f"{path}, line {line}: some series end with a class, and others do not; say @classLabel in the "
                        "header, and give each one")  # fmt: skip


def _says(header: Mapping[str, list[str]], key: str) -> bool:
    return [word.lower() for word in header.get(key, [])[:1]] == ["true"]


def read_tsf(path: Path, options: Options) -> Frame:
    """Read a .tsf file: a series a line, after its attributes; times by its start and the frequency of the file.

    Raises:
        DataError: if it is damaged or of another layout.
    """
    kinds: list[tuple[str, str]] = []
    frequency, data = "", False
    cases, attributes = _Cases(), list[list[str]]()
    for line, text in _lines(path):
        words = text.split()
        if text.startswith("@") and not data:
            key = words[0].lower()
            if key == "@attribute" and len(words) == 3:
                kinds.append((words[1], words[2].lower()))
                limits.check_columns(str(path), len(kinds))
            frequency = words[1].lower() if key == "@frequency" and len(words) == 2 else frequency
            data = key == "@data"
        elif not text.startswith("#"):
            parts = text.split(":")
            if not data or not kinds or len(parts) != len(kinds) + 1:
                raise DataError(f"{path}, line {line}: {len(parts) - 1} attributes stand before the values, but "
                                f"{len(kinds)} are declared; is it a .tsf file?")  # fmt: skip
            cases.add(path, line, _numbers(path, line, parts[-1].split(","))[:, None])
            attributes.append(parts[:-1])
    if not cases.values:
        raise DataError(f"{path} holds no series after @data")
    held = {name: [row[i].strip() for row in attributes] for i, (name, _) in enumerate(kinds)}
    dates = [name for name, kind in kinds if kind == "date"]
    texts = [name for name, kind in kinds if kind not in ("date", "numeric")]
    notes: list[Note] = [cases.told()]
    if dates and _step(frequency):
        cases.times = [_start_times(path, start, frequency, len(v))
                       for start, v in zip(held[dates[0]], cases.values, strict=True)]  # fmt: skip
        notes.append(Finding("time", f"times are '{dates[0]}' and {frequency} steps", "the header says so"))
    elif dates:
        why = f"the frequency is '{frequency}'" if frequency else "no frequency is declared"
        notes.append(Finding("time", f"'{dates[0]}' is left out: rows are in order", why))
    naming = next((name for name in texts if len(set(held[name])) == len(attributes)), None)
    cases.names = held[naming] if naming else ["/".join(parts) for parts in zip(*(held[n] for n in texts), strict=True)]
    if len(set(cases.names)) < len(cases.values):
        cases.names = [str(i + 1) for i in range(len(cases.values))]
    more = {name: held[name] for name, kind in kinds if name != naming and name not in dates}
    frame = _frame(path, cases, "", tuple(notes))
    for name, values in more.items():
        numbers = dict(kinds)[name] == "numeric"
        each = _numbers(path, 0, values) if numbers else np.array(values, dtype=object)
        frame.data[name] = np.repeat(each, cases.lengths())
    return frame


def _step(frequency: str) -> tuple[int, int] | None:
    """Return (months, seconds) of a frequency such as monthly or 10_minutes; None if it is unknown."""
    if frequency in _MONTHS:
        return _MONTHS[frequency], 0
    if frequency in _SECONDS:
        return 0, _SECONDS[frequency]
    match = re.fullmatch(r"(\d{1,6})_(second|minute|hour|day)s?", frequency)
    sizes = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
    return (0, int(match[1]) * sizes[match[2]]) if match and int(match[1]) else None


def _start_times(path: Path, start: str, frequency: str, count: int) -> np.ndarray:
    """Return datetime64[s] times of a series that starts at a date written as 1979-01-31 00-00-00."""
    months, seconds = _step(frequency) or (0, 1)
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T](\d\d)-(\d\d)-(\d\d)", start)
    try:
        if match is None:
            raise ValueError("it is not written as 1979-01-31 00-00-00")
        first = np.datetime64(f"{match[1]}T{match[2]}:{match[3]}:{match[4]}", "s")
    except ValueError as error:
        raise DataError(f"{path}: the start '{start}' is no date ({error})") from error
    steps = np.arange(count)
    if not months:
        found: np.ndarray = first + (steps * seconds).astype("timedelta64[s]")
        return found
    month, day = first.astype("datetime64[M]"), first.astype("datetime64[D]")
    starts = month + (steps * months).astype("timedelta64[M]")
    days = np.minimum(starts.astype("datetime64[D]") + (day - month.astype("datetime64[D]")), last_days(starts))
    return days.astype("datetime64[s]") + (first - day.astype("datetime64[s]"))


def read_arff(path: Path, options: Options) -> Frame:
    """Read an .arff file: a table, or series whose channels stand in one relational attribute.

    A flat file is a table with a row a line; where each line is a whole series, ``--wide`` says so.

    Raises:
        DataError: if it is damaged or sparse.
    """
    import pandas

    names: list[tuple[str, str]] = []
    rows: list[list[str]] = []
    relational, data, left, size = False, False, usable_memory() // 4, path.stat().st_size if path.is_file() else 0
    cases = _Cases()
    for line, text in _lines(path):
        if text.startswith("%"):
            continue
        if not data:
            match = re.match(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\S+)\s+(.+)", text, re.IGNORECASE)
            if match and match[2].strip().lower() == "relational":
                relational = True
            elif match:
                names.append((match[1].strip("'\""), match[2].strip().lower()))
                limits.check_columns(str(path), len(names))
            data = text.lower() == "@data"
            continue
        if text.startswith("{"):
            raise DataError(f"{path}, line {line}: rows are sparse, which is not read; save it in full")
        if relational:
            _relational_case(path, line, text, cases)
            continue
        cells = _cells(path, line, text)
        if len(cells) != len(names):
            raise DataError(f"{path}, line {line}: {len(cells)} values, but {len(names)} attributes are declared")
        rows.append(cells)
        limits.check_table(str(path), len(rows) * (len(cells) + _CELLS_A_ROW), size)
        left -= 64 * len(cells)
        if left < 0:
            raise DataError(f"{path} holds more than a quarter of the memory; give a part of it")
    if not rows and not cases.values:
        raise DataError(f"{path} holds no rows after @data")
    if relational:
        return _frame(path, cases, CLASS, (cases.told(),))
    if len({name for name, _ in names}) < len(names):
        raise DataError(f"{path} declares an attribute twice; rename one")
    columns: dict[str, Any] = {}
    for (name, kind), held in zip(names, zip(*rows, strict=True), strict=True):
        cells = list(held)
        number = kind.startswith(("numeric", "real", "integer"))
        columns[name] = _numbers(path, 0, cells) if number else [None if cell == "?" else cell for cell in cells]
        if number and kind.startswith("integer") and not np.isnan(columns[name]).any():
            columns[name] = columns[name].astype(np.int64)
    last, kind = names[-1]
    label = last if kind.startswith("{") else None
    notes = [Finding("labels", f"'{label}' holds the class", "the last attribute lists its values")] if label else []
    return Frame(pandas.DataFrame(columns), tuple(notes), label=label)


def _cells(path: Path, line: int, text: str) -> list[str]:
    if "'" not in text and "\\" not in text:
        return [cell.lstrip(" ") for cell in text.split(",")]
    try:
        return next(csv.reader([text], quotechar="'", escapechar="\\", skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {line} cannot be read as values parted by commas ({error})") from error


def _relational_case(path: Path, line: int, text: str, cases: _Cases) -> None:
    match = re.fullmatch(r"(['\"])(.*)\1\s*(?:,\s*(.*))?", text)
    if match is None:
        raise DataError(f"{path}, line {line}: channels of a series must stand in quotes, its class after them")
    limits.check_columns(f"{path}, line {line}", match[2].count("\\n") + 1)
    channels = [_numbers(path, line, part.split(",")) for part in match[2].split("\\n")]
    if len({len(channel) for channel in channels}) > 1:
        raise DataError(f"{path}, line {line}: channels of a series have different lengths")
    cases.add(path, line, np.stack(channels, axis=1))
    cases.names.append(str(len(cases.values)))
    if match[3] is not None:
        cases.labels.append(match[3].strip().strip("'\""))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty.

    Raises:
        DataError: if it is no text, or a line is absurdly long.
    """
    try:
        with open(path, "rb") as file:
            number = 0
            while raw := file.readline(_LONGEST_LINE):
                number += 1
                if len(raw) == _LONGEST_LINE or b"\0" in raw:
                    raise DataError(f"{path}, line {number}: no text; a .ts, .tsf or .arff file is lines of text")
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
                if text:
                    yield number, text
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _numbers(path: Path, line: int, cells: Any) -> np.ndarray:
    """Return float64 values; NaN where a question mark stands."""
    try:
        return np.array([np.nan if (t := cell.strip()).lower() in _MISSING else float(t) for cell in cells], np.float64)
    except ValueError as error:
        where = f"{path}, line {line}" if line else str(path)
        raise DataError(f"{where}: {str(error)[:120]}; values are numbers, or ? where missing") from error


def _frame(path: Path, cases: _Cases, kind: str, notes: tuple[Note, ...]) -> Frame:
    """Return series as one table: a row a step, the series told apart by the column `CASE`."""
    import pandas

    lengths = cases.lengths()
    table: dict[str, Any] = {CASE: np.repeat(np.array(cases.names, dtype=object), lengths)}
    if cases.times:
        table[TIME] = _times(path, np.concatenate(cases.times))
    joined = np.concatenate(cases.values)
    for channel in range(joined.shape[1]):
        table[f"x{channel + 1}" if joined.shape[1] > 1 else "x"] = joined[:, channel]
    if cases.labels and kind == TARGET:
        table[TARGET] = np.repeat(_numbers(path, 0, cases.labels), lengths)
    elif cases.labels:
        table[CLASS] = np.repeat(np.array(cases.labels, dtype=object), lengths)
    data: pandas.DataFrame = pandas.DataFrame(table)
    return Frame(
        data, notes, time=TIME if cases.times else None, group=CASE,
        label=CLASS if cases.labels and kind != TARGET else None, moments=True,
    )  # fmt: skip


def _times(path: Path, values: np.ndarray) -> np.ndarray:
    """Return times as numbers where they are, else as they stand."""
    if values.dtype.kind == "M":
        return values
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return values
