"""Public tables through the whole command: inspected, trained on, evaluated, sampled; and what comes back is a table
like the one that came in. And the judge of readings finds faults."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saddlepoint.data.cache import cache_dir
from saddlepoint.data.plan import Finding
from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.e2e.public_tables import Expected, compare, expectations, fetch, judge, right_options, times_of
from tests.unit.data_helpers import own_cache  # noqa: F401

FOLDER = Path(os.environ.get("PUBLIC_TABLES") or cache_dir() / "public_tables")
"""Where tables are: before tests get caches of their own."""

TABLES = {one.name: one for one in expectations()}
TRAINED = (
    "vega/driving, windows of 5", "vega/iowa-electricity, windows of 5", "vega/seattle-weather", "vega/stocks",
    "vega/us-employment", "vega/wheat, windows of 5", "statsmodels/co2", "statsmodels/danish_data, windows of 5",
    "statsmodels/elec_equip", "statsmodels/grunfeld, windows of 5", "statsmodels/interest_inflation",
    "statsmodels/macrodata", "statsmodels/sunspots", "statsmodels/nowcast, two columns", "R/AirPassengers",
    "R/JohnsonJohnson", "R/UKDriverDeaths", "R/airquality", "R/approval, windows of 5", "R/discoveries", "R/economics",
    "R/sleepstudy, windows of 5", "R/Cigar", "R/Yen", "R/dietox, windows of 6", "nycflights/weather, seven columns",
)  # fmt: skip
"""What is trained on."""

SMALL = ["--batch-size", "16", "--width", "8", "--layers", "2", "--precision", "fp32", "--threads", "1", "--no-report"]

MONTHS = {"1 month": 1, "1 month, at its end": 1, "3 months": 3, "1 year": 12, "5 years": 60}
SECONDS = {"10 minutes": 600, "1 hour": 3600, "1 day": 86_400, "7 days": 604_800}


@pytest.fixture(scope="module")
def tables() -> Path:
    """The folder with all tables."""
    fetch(FOLDER)
    return FOLDER


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_or_asked_about(tables: Path, name: str) -> None:
    verdict = judge(tables, TABLES[name])
    assert verdict.problems == [], verdict.said


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_what_comes_back_is_a_table_like_the_one_that_came_in(
    tables: Path, saddle: Command, name: str  # noqa: F811
) -> None:  # fmt: skip
    expected = TABLES[name]
    path = str(expected.path(tables))
    options = [word for key, value in right_options(tables, expected).items() for word in _words(key, value)]
    code, out, err = saddle("data", "inspect", path, *options, "--json")
    assert code == 0, err
    assert json.loads(out)["modality"] == "sequence"
    code, _, err = saddle("train", "timegan", "--data", path, *options, "--steps", "3", "--out", "run", *SMALL)
    assert code == 0, err
    code, _, err = saddle("evaluate", "run", "--protocol", "marginals", "--threads", "1")
    assert code == 0, err
    code, out, err = saddle("sample", "run", "-n", "20", "--format", "csv", "--threads", "1")
    assert code == 0, err
    faults = list(_faults(Path(out.strip()), tables, expected))
    assert faults == []


def _words(key: str, value: Any) -> list[str]:
    word = "--" + key.replace("_", "-")
    return [word] if value is True else [word, str(value)]


def _faults(samples: Path, tables: Path, expected: Expected) -> Any:
    """Yield how samples differ in form from the table."""
    data = expected.frame(tables)
    texts = samples.read_text().splitlines()
    before = expected.path(tables).read_text(encoding="utf-8-sig").splitlines()
    how = {**expected.pandas}
    how.pop("usecols", None)
    read = pd.read_csv(samples, **how).rename(columns=lambda name: "" if str(name).startswith("Unnamed: ") else name)
    window, *columns = list(read)
    wanted = [name for name in data if name in columns]
    if columns != wanted:
        yield f"columns are {columns}, not in the order {wanted}"
    lost = [name for name in data if name not in (*columns, *expected.left, *expected.either)]
    if lost:
        yield f"{lost} did not come back"
    if ('"' in before[0]) != ('"' in texts[0]):
        yield f"names were written {before[0][:60]}, and come back {texts[0][:60]}"
    if csv.Sniffer().sniff(before[0]).delimiter not in texts[0]:
        yield f"the separator changed: {texts[0][:60]}"
    for name in columns:
        if name not in (*expected.time, expected.series):
            yield from _cell_faults(name, read[name], data[name])
    if expected.series:
        names = {*read[expected.series].astype(str)}
        if not names <= {*data[expected.series].astype(str)} and not all(name.startswith("sample ") for name in names):
            yield f"series are neither those of the data nor new ones: {sorted(names)[:3]}"
    if expected.time:
        yield from _time_faults(read, window, expected)


def _cell_faults(name: str, made: pd.Series, data: pd.Series) -> Any:
    if data.dtype.kind not in "iuf":
        if not {*made.dropna().astype(str)} <= {*data.dropna().astype(str)}:
            yield f"'{name}' has values that the data does not have"
        return
    if made.dtype.kind not in "iuf":
        yield f"'{name}' is no number any more: {made[0]}"
        return
    digits = max(len(str(value).partition(".")[2]) for value in data.dropna().tolist())
    whole = (data.dropna() % 1 == 0).all()
    if whole and not (made.dropna() % 1 == 0).all():
        yield f"'{name}' held whole numbers, now {made[0]}"
    elif digits <= 10 and any(len(str(value).partition(".")[2]) > digits for value in made.dropna().tolist()):
        yield f"'{name}' had {digits} decimals, now {made[0]}"


def _time_faults(read: pd.DataFrame, window: str, expected: Expected) -> Any:
    """Times must be written as in the table, and go on by its step in every window."""
    try:
        times = times_of(read, expected)[-1]
    except (ValueError, TypeError) as error:
        yield f"times are written otherwise: {error}"
        return
    first = read[window].diff().fillna(1).to_numpy() != 0
    if expected.step in MONTHS:
        months = (
            times.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
            if times.dtype.kind == "i"
            else np.round(times * 12)
        )
        steps, right = np.diff(months), MONTHS[expected.step]
    elif expected.step in SECONDS:
        steps, right = np.diff(times), SECONDS[expected.step] * 10**9
        if expected.form == "month day":  # after the last day of a year comes the first, of whatever year
            steps %= 365 * SECONDS["1 day"] * 10**9
    else:
        steps, right = np.diff(times), int(expected.step.split()[0])
    wrong = np.flatnonzero((steps != right) & ~first[1:])
    if len(wrong):
        row = int(wrong[0])
        yield f"rows {row} and {row + 1} are no {expected.step} apart: {read.iloc[row : row + 2].to_dict('list')}"


# The judge


def _table(frame: pd.DataFrame, expected: Expected) -> Any:
    """A right reading, made by pandas."""
    used = [name for name in frame if name not in expected.left]
    roles = {*expected.time, expected.series}
    values, categories = {}, {}
    for name in used:
        if name in expected.categories:
            codes, words = pd.factorize(frame[name])
            values[name], categories[name] = codes.astype(np.int32), tuple(words)
        elif name not in roles:
            values[name] = frame[name].to_numpy(np.float64)
    groups = None
    if expected.series:
        codes, words = pd.factorize(frame[expected.series].astype(str))
        groups = codes, list(words)
    times = times_of(frame, expected)[-1] if expected.time else None
    stamps = SimpleNamespace(columns=expected.time) if expected.time else None
    return SimpleNamespace(
        values=values, categories=categories, times=times, stamps=stamps, groups=groups, group=expected.series, label=""
    )


STOCKS = "symbol,date,price,kind\n" + "".join(
    f"{symbol},Jan {day} 2000,{price + day},{'ab'[day % 2]}\n"
    for symbol, price in (("A", 10), ("B", 90))
    for day in range(1, 9)
)
SHARES = Expected("vega/x", "x.csv", time=("date",), form="%b %d %Y", series="symbol", categories=("kind",))


def _wrong_time(table: Any) -> None:
    table.times = table.times + 86_400_000_000_000


def _wrong_value(table: Any) -> None:
    table.values["price"] = table.values["price"].copy()
    table.values["price"][3] += 1


def _swapped_series(table: Any) -> None:
    table.groups = (1 - table.groups[0], table.groups[1])


def _lost_row(table: Any) -> None:
    table.times, table.groups = table.times[1:], (table.groups[0][1:], table.groups[1])
    table.values = {name: values[1:] for name, values in table.values.items()}


def _time_as_feature(table: Any) -> None:
    table.values["date"] = np.arange(16.0)


def _one_series(table: Any) -> None:
    table.group, table.groups = "", None


def _coded(table: Any) -> None:
    table.categories = {}


def test_the_judge_lets_a_right_reading_pass(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(STOCKS)
    frame = pd.read_csv(tmp_path / "x.csv")
    assert compare(_table(frame, SHARES), [], frame, SHARES) == []
    order = np.random.default_rng(0).permutation(len(frame))
    assert compare(_table(frame.iloc[order].reset_index(drop=True), SHARES), [], frame, SHARES) == []


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_wrong_time, "time: 16 rows differ"),
        (_wrong_value, "value price: 1 rows differ"),
        (_swapped_series, "value price"),
        (_lost_row, "16 rows, but 15"),
        (_time_as_feature, "should not be learned"),
        (_one_series, "told apart by 'symbol'"),
        (_coded, "categories"),
    ],
)
def test_the_judge_finds_a_fault(tmp_path: Path, spoil: Any, word: str) -> None:
    (tmp_path / "x.csv").write_text(STOCKS)
    frame = pd.read_csv(tmp_path / "x.csv")
    table = _table(frame, SHARES)
    spoil(table)
    assert any(word in problem for problem in compare(table, [], frame, SHARES))


def test_the_judge_asks_for_words(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(STOCKS)
    frame = pd.read_csv(tmp_path / "x.csv")
    expected = dataclasses.replace(SHARES, left=("price",))
    silent = compare(_table(frame, expected), [], frame, expected)
    assert silent == ["'price' is left out, and nothing says so"]
    assert compare(_table(frame, expected), [Finding("columns", "'price' is left out")], frame, expected) == []
    unsure = Finding("columns", "'price' is left out", sure=False)
    assert any("no option undoes it" in one for one in compare(_table(frame, expected), [unsure], frame, expected))


def test_all_tables_are_described() -> None:
    assert len({one.file for one in TABLES.values()}) >= 40
    assert len(TRAINED) >= 20
    for one in TABLES.values():
        assert {*one.may} <= {"read", "ask", "refuse"}
        assert one.form or not one.time
        assert one.words or "read" in one.may, f"{one.name}: a refusal must speak of something"
