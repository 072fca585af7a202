"""Times of samples: the calendar that windows are told, windows after one another, stamps that agree with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import saddlepoint
from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset, load_samples
from saddlepoint.data.series.calendar import PARTS, parts_of, phases
from saddlepoint.data.series.layout import Column, Layout
from saddlepoint.data.series.positions import consecutive, times_of, times_text
from saddlepoint.data.series.time_index import TimeIndex
from saddlepoint.data.tables.pace import DAY
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.run.run import Run
from tests.unit.data_helpers import own_cache  # noqa: F401

SMALL = {"width": 8, "critic_width": 8, "latent_size": 4, "latent_shared": 2, "batch_size": 8}


def times(start: str, periods: int, freq: str) -> np.ndarray:
    found: np.ndarray = pd.date_range(start, periods=periods, freq=freq).as_unit("ns").asi8
    return found


def test_phases_are_those_of_pandas() -> None:
    stamps = times("1999-11-03 05:00", 20_000, "7h")
    index = pd.DatetimeIndex(stamps.astype("datetime64[ns]"))
    hours, weekdays, seasons = np.moveaxis(phases(stamps, PARTS), -1, 0)
    assert np.allclose(hours * 24, index.hour)
    assert np.allclose(weekdays * 7, index.day_of_week)
    length = np.where(index.is_leap_year, 366, 365)
    assert np.allclose(seasons * length, index.day_of_year - 1 + index.hour / 24)
    assert phases(stamps, PARTS).max() < 1


@pytest.mark.parametrize(
    ("start", "rows", "freq", "step", "unit", "parts"),
    [
        ("2012-01-01", 1200, "D", DAY, "time", ("weekday", "season")),
        ("2012-01-01", 500, "D", DAY, "time", ("weekday",)),
        ("2012-01-01", 12, "D", DAY, "time", ()),
        ("2012-01-01", 72, "h", DAY / 24, "time", ("hour",)),
        ("2012-01-01", 20_000, "h", DAY / 24, "time", ("hour", "weekday", "season")),
        ("2012-01-02", 1200, "B", 1, "working days", ("season",)),
        ("1990-01-01", 120, "MS", 1, "months", ("season",)),
        ("1990-03-31", 40, "QE", 3, "month ends", ("season",)),
        ("1990-01-01", 120, "YS", 12, "months", ()),
    ],
)
def test_data_teaches_the_turns_that_it_spans(
    start: str, rows: int, freq: str, step: float, unit: str, parts: tuple[str, ...]
) -> None:
    found, findings = parts_of(times(start, rows, freq), step, unit, asked=False)
    assert found == parts
    if parts:
        assert findings[0].option == "--calendar off"
        assert ("needs 2 years" in findings[0].why) is (rows == 500 or rows == 72)


def layout_of(
    stamps: np.ndarray, step: float, unit: str, form: str = "%Y-%m-%d", calendar: tuple[str, ...] = ()
) -> Layout:
    time_index = TimeIndex(int(stamps.max()), step, unit, Stamps(("t",), (form,), ("text",)))
    return Layout((Column("v", 0.0, 1.0, 2),), ("t", "v"), time_index, calendar=calendar)


@pytest.mark.parametrize(
    ("freq", "step", "unit"),
    [("D", DAY, "time"), ("3h", DAY / 8, "time"), ("W-WED", 7 * DAY, "time"), ("B", 1, "working days"),
     ("MS", 1, "months"), ("ME", 1, "month ends"), ("QE", 3, "month ends"), ("BME", 1, "working month ends")],
)  # fmt: skip
def test_windows_follow_one_another_without_a_time_that_comes_twice(freq: str, step: float, unit: str) -> None:
    data = times("2001-01-03", 400, freq)
    lengths = np.array([5, 3, 5, 5])
    found = consecutive(layout_of(data, step, unit), lengths, 5)
    assert found is not None
    there = np.concatenate([row[:length] for row, length in zip(found, lengths, strict=True)])
    expected = pd.date_range(pd.Timestamp(data[-1]), periods=19, freq=freq)[1:].as_unit("ns").asi8
    assert np.array_equal(there, expected)


def test_each_series_goes_on_by_itself_and_dates_end_where_they_can_be_written() -> None:
    data = times("1990-01-01", 120, "MS")
    layout = layout_of(data, 1, "months")
    by_series = Layout(layout.columns, layout.order, layout.time_index, group="g", classes_are_series=True)
    found = consecutive(by_series, np.full(4, 6), 6, np.array([0, 1, 0, 1]))
    assert found is not None
    assert np.array_equal(found[0], found[1])
    assert found[2, 0] > found[0, -1]
    many = consecutive(layout, np.full(1000, 24), 24)
    assert many is not None
    assert many.max() < times("2262-01-02", 1, "D")[0]
    assert np.array_equal(many[0], many[(many[:, 0] == many[0, 0]).nonzero()[0][1]]), "they begin again"
    short = consecutive(layout_of(data, 1, "months", "%d.%m.%y"), np.full(1000, 24), 24)
    assert short is not None
    assert pd.Timestamp(short.max()).year <= 2068


def test_a_start_is_kept_and_nonsense_refused() -> None:
    layout = layout_of(times("2001-01-01", 400, "D"), DAY, "time")
    found = consecutive(layout, np.full(2, 3), 3, start="2016-07-01")
    assert found is not None
    assert pd.DatetimeIndex(found.ravel()).strftime("%Y-%m-%d").tolist() == [f"2016-07-0{k}" for k in range(1, 7)]
    with pytest.raises(DataError, match="such as 2016-07-01"):
        consecutive(layout, np.full(2, 3), 3, start="summer")
    with pytest.raises(DataError, match="has no time; leave it out"):
        consecutive(Layout(layout.columns, ("v",)), np.full(2, 3), 3, start="2016-07-01")


def test_windows_that_were_told_a_time_get_stamps_that_agree() -> None:
    layout = layout_of(times("2001-01-01", 2000, "D"), DAY, "time", calendar=("weekday", "season"))
    wanted = phases(times("2003-02-05", 6 * 300, "D").reshape(300, 6), layout.calendar)
    x = np.concatenate([np.zeros((300, 6, 1)), wanted], 2).astype(np.float32)
    found = times_of(layout, x)
    assert found is not None
    got = phases(found, layout.calendar)
    assert np.allclose(got[..., 0], wanted[..., 0]), "the very weekday"
    away = np.abs(got[..., 1] - wanted[..., 1])
    assert np.minimum(away, 1 - away).max() < 8 / 365
    assert (found > layout.time_index.last).all()  # type: ignore[union-attr]


def test_a_file_of_samples_is_told_the_calendar_that_it_shows(tmp_path: Path) -> None:
    lines = [f"{t:%Y-%m-%d},{np.cos(t.day_of_year / 58):.3f}" for t in pd.date_range("2012-01-01", periods=1100)]
    (tmp_path / "x.csv").write_text("\n".join(["day,v", *lines]) + "\n")
    run = saddlepoint.train(
        "timegan", str(tmp_path / "x.csv"), steps=2, options=SMALL, window=8, threads=1, out=tmp_path / "run"
    )
    assert run.layout.calendar == ("weekday", "season")
    given: list[np.ndarray] = []
    plain = type(run.family).generate

    class Spy(type(run.family)):  # type: ignore[misc]
        def generate(self, inputs, labels=None, *, generator):  # type: ignore[no-untyped-def]
            given.append(inputs[:, :, -2:].numpy())
            return plain(self, inputs, labels, generator=generator)

    run.family.__class__ = Spy
    path = run.write(tmp_path / "s.csv", 60)
    table = pd.read_csv(path, parse_dates=["day"])
    assert table["day"].tolist() == pd.date_range("2015-01-05", periods=480).tolist()
    told = np.concatenate(given)
    assert np.allclose(told[..., 0].ravel() * 7, table["day"].dt.day_of_week, atol=1e-5)
    assert np.allclose(told[..., 1].ravel() * 365, table["day"].dt.day_of_year - 1, atol=1.1)
    back, _ = load_samples(path, run.dataset())
    assert np.allclose(back[..., 1:], told, atol=1e-6)
    summer = run.write(tmp_path / "summer.csv", 2, start="2016-07-01")
    assert pd.read_csv(summer)["day"].iloc[[0, -1]].tolist() == ["2016-07-01", "2016-07-16"]
    np.save(tmp_path / "s.npy", np.zeros((3, 8, 1)))
    with pytest.raises(DataError, match=r"has no times.*--calendar off"):
        load_samples(tmp_path / "s.npy", run.dataset())
    # The advice, followed:
    data = load_dataset(str(tmp_path / "x.csv"), window=8, calendar="off")
    assert load_samples(tmp_path / "s.npy", data)[0].shape == (3, 8, 1)


def test_a_file_says_what_its_times_are() -> None:
    data = times("2001-01-01", 2000, "D")
    told = layout_of(data, DAY, "time", calendar=("weekday", "season"))
    assert times_text(told, 10, 24).endswith("told the weekday, the season")
    hourly = layout_of(times("2001-01-01", 2000, "h"), DAY // 24, "time", calendar=("hour", "weekday"))
    assert times_text(hourly, 10, 24).endswith("told the hour, the weekday, not the season")
    assert "positions only" in times_text(layout_of(data, DAY, "time"), 10, 24)
    monthly = times_text(layout_of(times("1990-01-01", 120, "MS"), 1, "months"), 1000, 24)
    assert "begin again" in monthly
    assert times_text(Layout(told.columns, ("v",)), 10, 24) == ""


def test_without_dates_there_is_no_calendar_and_that_is_said(tmp_path: Path) -> None:
    lines = ["t,v", *(f"{i},{i * i % 97}" for i in range(300))]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    data = load_dataset(str(tmp_path / "x.csv"), window=8, time_column="t")
    assert data.spec.known == 0
    assert any("positions only" in note for note in data.notes)
    with pytest.raises(DataError, match="times are numbers"):
        load_dataset(str(tmp_path / "x.csv"), window=8, time_column="t", calendar="on")


def test_few_series_are_classes_and_name_their_samples(tmp_path: Path) -> None:
    days = pd.date_range("2012-01-01", periods=200)
    lines = [f"{d:%Y-%m-%d},{name},{k * 100 + i % 7}" for k, name in enumerate(("b", "a")) for i, d in enumerate(days)]
    (tmp_path / "x.csv").write_text("\n".join(["day,shop,v", *lines]) + "\n")
    data = load_dataset(str(tmp_path / "x.csv"), window=8, group_column="shop")
    assert data.classes == ("a", "b")
    labels = data.splits["train"].labels
    assert labels is not None
    assert np.array_equal(labels == 0, data.layout.restore(data.splits["train"].x)[:, 0, 0] >= 100)  # type: ignore[union-attr]
    (finding,) = [f for f in data.findings if f.option == "--series alike"]
    assert not finding.sure
    # The option, followed: one kind of series, whose samples get names of their own.
    alike = load_dataset(str(tmp_path / "x.csv"), window=8, group_column="shop", series="alike")
    assert alike.classes == ()
    run = saddlepoint.train(
        "timegan", str(tmp_path / "x.csv"), steps=2, options=SMALL, window=8, group_column="shop", series="alike",
        threads=1, out=tmp_path / "run",
    )  # fmt: skip
    assert isinstance(run, Run)
    table = pd.read_csv(run.write(tmp_path / "s.csv", 3))
    assert list(table) == ["window", "day", "shop", "v"]
    assert table.groupby("window")["shop"].nunique().tolist() == [1, 1, 1]
    assert not set(table["shop"]) & {"a", "b"}


def test_days_that_start_again_in_each_series_start_again_in_each_sample(tmp_path: Path) -> None:
    rows = [f"{day},{300 + person},{(day * person) % 11}" for person in range(60) for day in range(3, 13)]
    (tmp_path / "x.csv").write_text("\n".join(["Days,Subject,Reaction", *rows]) + "\n")
    run = saddlepoint.train(
        "timegan", str(tmp_path / "x.csv"), steps=2, options=SMALL, window=5, time_column="Days",
        group_column="Subject", threads=1, out=tmp_path / "run",
    )  # fmt: skip
    assert isinstance(run, Run)
    table = pd.read_csv(run.write(tmp_path / "s.csv", 4))
    assert table["Days"].tolist() == [3, 4, 5, 6, 7] * 4
    assert table["Subject"].nunique() == 4
    assert times_text(run.layout, 4, 5) == "times start at 3 in every sample, as in the series of the data"
    asked = pd.read_csv(run.write(tmp_path / "t.csv", 2, start="20"))
    assert asked["Days"].tolist()[:5] == [20, 21, 22, 23, 24]
