"""Rows whose time lies far from all others: planted mistakes are asked about, and what only looks odd is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.series.stray import strays
from saddlepoint.data.tables.pace import DAY
from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.unit.data_helpers import own_cache  # noqa: F401

HOURS = pd.date_range("2013-01-01", periods=400, freq="h")
DAYS = pd.date_range("2013-01-01", periods=400, freq="D")


def written(path: Path, times: Sequence[object], series: Sequence[str] | None = None) -> str:
    values = np.random.default_rng(0).normal(size=len(times)).round(3)
    frame = pd.DataFrame({"t": times, **({} if series is None else {"who": series}), "v": values})
    frame.to_csv(path, index=False)
    return str(path)


def with_one(index: pd.DatetimeIndex, row: int, text: str) -> list[str]:
    texts = [f"{time:%Y-%m-%d %H:%M}" for time in index]
    texts[row] = text
    return texts


def notes_of(data: Dataset) -> str:
    return " ".join(data.notes)


@pytest.mark.parametrize("row", [0, 51, 398, 399])
@pytest.mark.parametrize(
    "text",
    ["2031-01-03 09:00", "1913-01-03 09:00", "1970-01-01 00:00", "2012-01-03 09:00", "2213-01-03 09:00"],
)
def test_a_mistyped_year_is_asked_about_wherever_it_stands(tmp_path: Path, row: int, text: str) -> None:
    path = written(tmp_path / "t.csv", with_one(HOURS, row, text))
    with pytest.raises(OpenQuestion) as caught:
        load_dataset(path)
    assert f"line {row + 2} has a time ({text}) in 't' far from all others" in str(caught.value)
    assert "away" in str(caught.value)
    assert "--stray-times drop" in str(caught.value)
    assert "--stray-times keep" in str(caught.value)
    first, second = (reading.options for reading in caught.value.readings)
    left, kept = load_dataset(path, **first), load_dataset(path, **second)  # type: ignore[arg-type]
    assert left.layout is not None
    assert left.layout.time_index is not None
    whole = np.delete(HOURS.to_numpy(), row)
    assert left.layout.time_index.last == whole[-1].astype("datetime64[ns]").astype(np.int64), (
        "samples go on where it ends"
    )
    assert f"line {row + 2} has a time ({text}) far from the others, and left out" in notes_of(left)
    assert f"line {row + 2} has a time ({text}) far from the others, and kept" in notes_of(kept)


@pytest.mark.parametrize("text", ["2013-08-20 00:00", "2013-04-02 00:00", "2013-07-02 00:00"])
def test_a_mistyped_month_or_day_is_seen_by_the_order_of_the_file(tmp_path: Path, text: str) -> None:
    for index in (DAYS, DAYS[::-1]):
        row = next(place for place, time in enumerate(index) if f"{time:%Y-%m-%d}" == "2013-06-20")
        path = written(tmp_path / "t.csv", with_one(index, row, text))
        with pytest.raises(OpenQuestion, match=f"line {row + 2} has a time .* far from the rows around it"):
            load_dataset(path)
        left = load_dataset(path, stray_times="drop")
        assert "repeat a time" not in notes_of(left), "the right row of that day stays"
        assert left.layout is not None
        assert left.spec.rows == load_dataset(written(tmp_path / "u.csv", [
            f"{time:%Y-%m-%d %H:%M}" for place, time in enumerate(index) if place != row
        ])).spec.rows  # fmt: skip


def test_a_zero_among_unix_times(tmp_path: Path) -> None:
    seconds = (HOURS.as_unit("s").asi8).tolist()
    seconds[200] = 0
    stray = strays(np.array(seconds) * 10**9, np.zeros(400, int), dates=True)
    assert np.flatnonzero(stray).tolist() == [200]
    numbers = [1000 + step for step in range(400)]
    numbers[200] = 0
    with pytest.raises(OpenQuestion, match=r"line 202 has a time \(0\)"):
        load_dataset(written(tmp_path / "t.csv", numbers), time_column="t")


def test_in_each_series_by_itself(tmp_path: Path) -> None:
    late = HOURS + pd.Timedelta(days=3000)  # far from the other series, and rightly so
    texts = [f"{time:%Y-%m-%d %H:%M}" for time in (*HOURS, *late)]
    series = ["a"] * 400 + ["b"] * 400
    assert load_dataset(written(tmp_path / "t.csv", texts, series), group_column="who").modality == "sequence"
    texts[700] = "2013-01-03 09:00"  # a time of the other one
    with pytest.raises(OpenQuestion, match=r"line 702 .* The other rows of series 'b' are from 2021-03-20 00:00"):
        load_dataset(written(tmp_path / "u.csv", texts, series), group_column="who")
    mixed = [place for pair in zip(range(400), range(400, 800), strict=True) for place in pair]
    path = written(tmp_path / "v.csv", [texts[place] for place in mixed], [series[place] for place in mixed])
    with pytest.raises(OpenQuestion, match=f"line {mixed.index(700) + 2} "):
        load_dataset(path, group_column="who")


def test_several_mistakes_are_asked_about_at_once(tmp_path: Path) -> None:
    texts = with_one(HOURS, 51, "2031-01-03 09:00")
    texts[52], texts[300] = "2031-01-03 10:00", "0213-01-13"
    texts[300] = "1913-01-13 12:00"
    with pytest.raises(OpenQuestion, match=r"3 rows have times, line 53 \(2031.*line 54 .*line 302 \(1913"):
        load_dataset(written(tmp_path / "t.csv", texts))


def test_it_comes_before_the_question_of_irregular_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    index = pd.Timestamp("2013-01-01") + pd.to_timedelta(np.cumsum(rng.integers(400, 700, 600)), unit="min")
    path = written(tmp_path / "t.csv", with_one(index, 51, "2031-01-03 09:00"))
    with pytest.raises(OpenQuestion, match="line 53 has a time"):
        load_dataset(path, window=6)
    kept = load_dataset(path, window=6, stray_times="keep", resample="steps")
    assert "the longest step is of 17 years, from 2013-" in notes_of(kept)
    assert "to 2031-01-03 09:00" in notes_of(kept)


def pieces(*parts: pd.DatetimeIndex) -> np.ndarray:
    return np.concatenate([part.as_unit("ns").asi8 for part in parts])


@pytest.mark.parametrize(
    "times",
    [
        pieces(HOURS, HOURS + pd.Timedelta(days=5000)),
        pieces(HOURS[:300], HOURS[300:] + pd.Timedelta(days=1)),
        pieces(HOURS[:48], HOURS[:390] + pd.Timedelta(days=900)),
        pieces(HOURS[200:], HOURS[:200]),
        pieces(HOURS)[np.random.default_rng(0).permutation(400)],
        pieces(HOURS[:10], HOURS[9:10], HOURS[10:]),
        pieces(HOURS[:100], HOURS[99:]).repeat(2)[1:],
        pieces(HOURS[:100], HOURS[102:104], HOURS[100:102], HOURS[104:]),
        np.cumsum(np.random.default_rng(1).exponential(1e12, 500)).astype(np.int64),
        np.sort(np.random.default_rng(2).pareto(0.8, 500) * 1e12).astype(np.int64)[:480],
    ],
    ids=[
        "two halves", "a day off", "a pilot of 48 rows", "halves in wrong order", "shuffled", "a repeat",
        "repeats", "two late arrivals", "at random", "ever rarer",
    ],
)  # fmt: skip
def test_what_is_no_mistake_is_not_asked_about(times: np.ndarray) -> None:
    assert not strays(times, np.zeros(len(times), int), dates=True).any()


def test_the_hour_that_comes_twice_in_autumn_is_not_asked_about() -> None:
    minutes = pd.date_range("2013-10-20", periods=1500, freq="10min")
    again = minutes[:999].append(minutes[993:])
    assert not strays(again.as_unit("ns").asi8, np.zeros(len(again), int), dates=True).any()


def test_many_rows_that_are_far_are_how_the_data_is() -> None:
    visits = np.array([0, 7, 14, 21, 28, 365]) * DAY  # a follow-up of everybody after a year
    groups = np.repeat(np.arange(100), 6)
    assert not strays(np.tile(visits, 100), groups, dates=True).any()
    one = np.tile(np.array([0, 7, 14, 21, 28, 35]) * DAY, (100, 1))
    one[41, 5] += 365 * DAY
    assert np.flatnonzero(strays(one.ravel(), groups, dates=True)).tolist() == [41 * 6 + 5]


def test_random_times_are_not_asked_about() -> None:
    rng = np.random.default_rng(3)
    for rows in (5, 9, 10, 30, 300):
        asked = [strays(np.cumsum(rng.exponential(DAY, rows)).astype(np.int64), np.zeros(rows, int), dates=True).any()
                 for _ in range(400)]  # fmt: skip
        assert np.mean(asked) <= 0.03, rows


def test_the_longest_gap_is_told_with_its_ends(tmp_path: Path) -> None:
    index = HOURS.delete(slice(50, 60)).delete(slice(200, 240))
    data = load_dataset(written(tmp_path / "t.csv", [f"{time:%Y-%m-%d %H:%M}" for time in index]))
    assert "2 gaps of more than 3 of them" in notes_of(data)
    assert (
        f"the longest gap is of 41 hours, from {index[199]:%Y-%m-%d %H:%M} to {index[200]:%Y-%m-%d %H:%M}"
        in notes_of(data)
    )
    steady = load_dataset(written(tmp_path / "u.csv", [f"{time:%Y-%m-%d %H:%M}" for time in HOURS]))
    assert "longest gap" not in notes_of(steady)


def test_inspect_training_and_samples_tell_it(tmp_path: Path, saddle: Command) -> None:  # noqa: F811
    index = HOURS.delete(slice(50, 60))
    path = written(tmp_path / "t.csv", [f"{time:%Y-%m-%d %H:%M}" for time in index])
    said = "the longest gap is of 11 hours, from 2013-01-03 01:00 to 2013-01-03 12:00"
    code, out, _ = saddle("data", "inspect", path)
    assert code == 0
    assert said in " ".join(out.split())
    code, out, err = saddle(
        "train", "timegan", "--data", path, "--steps", "3", "--out", "run", "--no-report", "--threads", "1",
        "--width", "4", "--layers", "2", "--batch-size", "8",
    )  # fmt: skip
    assert code == 0, err
    assert said in " ".join((out + err).split())
    kept = json.loads(Path("run/config.json").read_text())["data"]["reading"]
    assert any(said in finding["says"] for finding in kept)
    code, _, err = saddle("sample", "run", "-n", "2", "--format", "csv", "--threads", "1")
    assert code == 0, err
    assert "follow one another after the data, which ends at 2013-01-17 15:00" in " ".join(err.split())
    assert said in " ".join(err.split())
