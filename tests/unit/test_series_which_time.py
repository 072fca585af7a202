"""Which column of a table is the time: taken where it is certain, else asked about, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.series.positions import times_text
from saddlepoint.data.tables.dates import may_be_date
from saddlepoint.data.tables.files import open_table
from saddlepoint.data.tables.table import read_table
from tests.unit.data_helpers import own_cache  # noqa: F401
from tests.unit.tables import follow, noise, said, write


def test_times_that_repeat_without_a_column_that_tells_series_apart_are_refused_or_told(tmp_path: Path) -> None:
    days = pd.date_range("2021-01-01", periods=40).repeat(2)
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": days, "a": noise(80), "b": noise(80, 1)}))
    with pytest.raises(DataError, match=r"40 of 80 rows repeat a time of 'date'.*--time-column none"):
        read_table(path, Options())
    assert read_table(path, Options.of(time_column="none")).times is None
    table = read_table(path, Options.of(group_column="none"))
    assert table.times is not None
    elapsed = np.concatenate([np.arange(0, 3, 0.1), np.arange(0, 2, 0.1), np.arange(0, 2.5, 0.1)]).round(1)
    path = write(tmp_path / "y.csv", pd.DataFrame({"time": elapsed, "a": noise(len(elapsed))}))
    table = read_table(path, Options())
    assert table.groups is not None
    assert np.bincount(table.groups[0]).tolist() == [30, 20, 25]
    assert table.group == ""
    assert "starts again for each" in said(table)


def test_the_hour_that_comes_twice_is_no_second_series(tmp_path: Path) -> None:
    times = pd.date_range("2021-10-10", "2021-11-20", freq="h", tz="UTC").tz_convert("Europe/Berlin").tz_localize(None)
    assert len(set(times)) == len(times) - 1
    frame = pd.DataFrame({"time": times, "v": noise(len(times))})
    assert read_table(write(tmp_path / "x.csv", frame), Options()).groups is None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_index_of_dates_is_the_time(tmp_path: Path, kind: str) -> None:
    days = pd.date_range("2021-01-01", periods=60, freq="h")
    for index in (days, days.rename("when"), days.tz_localize("Europe/Berlin"), days.to_period("h")):
        frame = pd.DataFrame({"a": noise(60)}, index=index)
        path = tmp_path / f"x.{kind}"
        frame.to_csv(path) if kind == "csv" else frame.to_parquet(path)
        table = read_table(path, Options())
        utc = days.tz_localize("Europe/Berlin").tz_convert("UTC") if getattr(index, "tz", None) else days
        assert np.array_equal(table.times, utc.as_unit("ns").asi8)
        assert list(table.values) == ["a"]
        assert table.stamps is not None
        ((name, written),) = table.stamps.write(table.times).items()
        assert name == (index.name or ("" if kind == "csv" else "index"))
        assert [pd.Timestamp(text.replace("  ", " ")) for text in written] == [pd.Timestamp(str(t)) for t in index]


@pytest.mark.parametrize(("first", "step"), [(1960, "year"), (1495, "step"), (2190, "step")])
def test_names_are_years_only_if_all_of_them_can_be(tmp_path: Path, first: int, step: str) -> None:
    frame = pd.DataFrame(noise(30 * 20).reshape(30, 20), columns=[str(first + i) for i in range(20)])
    frame.insert(0, "who", [f"p{i}" for i in range(30)])
    table = read_table(write(tmp_path / "x.csv", frame), Options.of(wide=True))
    assert f"as '{step}' and 'value'" in said(table)


def test_days_of_the_year_begin_again_in_each_series(tmp_path: Path) -> None:
    day, clock = np.repeat(np.arange(346, 356), 24), np.tile(np.arange(24) * 100, 10)
    one = pd.DataFrame({"day": day, "clock": clock, "v": noise(240)})
    frame = pd.concat([one.assign(station="north"), one.assign(station="south")])
    path = write(tmp_path / "x.csv", frame)
    table = read_table(path, Options.of(time_column="day,clock", group_column="station"))
    assert table.times is not None
    hours = np.diff(np.sort(np.unique(table.times))) / 3.6e12
    assert len(hours) == 239
    assert (hours == 1).all()


def test_two_columns_of_dates_of_which_none_rises_are_asked_about(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=60)
    frame = pd.DataFrame(
        {"from": days[::-1].repeat(2), "to": (days + pd.Timedelta("3D"))[::-1].repeat(2), "v": noise(120)}
    )
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="which is the time"):
        read_table(path, Options())
    frame = pd.DataFrame({"made": days[::-1], "day": days, "v": noise(60)})
    table = read_table(write(path, frame), Options())
    assert table.stamps is not None
    assert table.stamps.columns == ("day",)
    assert "further columns of dates are left out: made" in said(table)


def test_that_no_column_is_the_time_is_said_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", pd.DataFrame({"v": noise(120)}))
    says = [f.says for f in load_dataset(str(path)).findings if f.topic == "time"]
    assert says == ["no column is the time: rows are taken in the order of the file"]
    asked = [f for f in load_dataset(str(path), time_column="none").findings if f.topic == "time"]
    assert [f.sure for f in asked] == [True]


def test_the_month_is_offered_first_only_where_it_can_be(tmp_path: Path) -> None:
    for rows, offered in ((120, False), (12, True)):
        days = pd.date_range("2021-01-01", periods=rows)
        frame = pd.DataFrame({"day": days.strftime("%d.%m.%Y"), "v": noise(rows)})
        path = write(tmp_path / f"{rows}.csv", frame)
        (finding,) = [f for f in read_table(path, Options()).findings if "is the time" in f.says]
        assert ("month-first" in finding.option) is offered
        assert finding.sure is not offered
        if offered:
            read_table(path, Options(dates="month-first"))


def test_a_time_that_starts_again_is_told_where_one_series_is_asked_for(tmp_path: Path) -> None:
    frame = pd.DataFrame({"rat": np.repeat([7, 8, 9], 40), "t": np.tile(np.arange(40) / 10, 3), "v": noise(120)})
    path = write(tmp_path / "x.csv", frame)
    assert read_table(path, Options()).group == "rat"
    table = read_table(path, Options(group_column="none"))
    assert "'t' starts again along the rows" in said(table)
    assert list(table.values) == ["rat", "t", "v"]


@pytest.mark.parametrize("form", ["%b %d", "%B %d", "%b-%d"])
@pytest.mark.parametrize("order", [1, -1])
def test_months_and_days_without_a_year_are_no_months_and_years(tmp_path: Path, form: str, order: int) -> None:
    days = pd.date_range("2019-01-01", periods=365).strftime(form)
    values = np.arange(365) + 0.5
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": days, "v": values}).iloc[::order])
    with pytest.raises(OpenQuestion, match="without a year") as error:
        read_table(path, Options())
    as_days, as_years = follow(path, error.value)
    assert as_days.times is None
    assert as_days.values["v"].tolist() == values[::order].tolist()
    assert as_years.stamps is not None
    assert sorted(as_years.stamps.write(as_years.times)["date"]) == sorted(days)


@pytest.mark.parametrize("shops", [1, 3])
def test_months_with_years_of_two_digits_are_still_read(tmp_path: Path, shops: int) -> None:
    months = list(pd.date_range("2001-01-01", periods=60, freq="MS").strftime("%b %y"))
    frame = pd.DataFrame({"date": months * shops, "shop": np.repeat(list("abc")[:shops], 60), "v": noise(60 * shops)})
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert table.stamps is not None
    assert table.stamps.forms == ("%b %y",)


def test_the_hour_that_comes_twice_in_autumn_is_likely_and_said_with_what_undoes_it(tmp_path: Path) -> None:
    hours = pd.date_range("2019-10-26", periods=120, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"time": hours.strftime("%Y-%m-%d %H:%M"), "v": noise(120)})
    told = load_dataset(str(write(tmp_path / "x.csv", frame))).findings
    (finding,) = [f for f in told if "repeat a time" in f.says]
    assert not finding.sure
    frame["time"] = [hour.isoformat() for hour in hours]
    told = load_dataset(str(write(tmp_path / "y.csv", frame))).findings
    assert not [f for f in told if "repeat a time" in f.says]


def test_what_the_times_of_samples_are_names_a_start_that_was_asked_for(tmp_path: Path) -> None:
    days = pd.date_range("2021-01-01", periods=120).strftime("%Y-%m-%d")
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": days, "v": noise(120)}))
    layout = load_dataset(str(path)).layout
    assert layout is not None
    assert "after the data" in times_text(layout, 2, 24)
    assert "from 2030-01-01 on" in times_text(layout, 2, 24, "2030-01-01")


@pytest.mark.parametrize("name", ["d", "t", "column2"])
def test_numbers_that_are_days_with_two_digits_for_the_year_are_asked_about(tmp_path: Path, name: str) -> None:
    days = pd.date_range("2019-07-01", periods=90)
    frame = pd.DataFrame({name: days.strftime("%y%m%d").astype(int), "v": noise(90)})
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="190701 = 2019-07-01") as error:
        read_table(path, Options())
    timed, feature, left = follow(path, error.value)
    assert timed.times is not None
    assert timed.stamps is not None
    assert timed.times.tolist() == days.as_unit("ns").asi8.tolist()
    assert timed.stamps.write(timed.times)[name] == frame[name].tolist()
    assert feature.values[name].tolist() == frame[name].tolist()
    assert list(left.values) == ["v"]


def test_years_without_a_telling_name_are_asked_about(tmp_path: Path) -> None:
    years = np.delete(np.arange(1900, 2000), 40)
    path = write(tmp_path / "x.csv", pd.DataFrame({"x": years, "v": noise(99)}))
    with pytest.raises(OpenQuestion, match=r"like years, in order .*: is it the time") as error:
        read_table(path, Options())
    timed, feature, left = follow(path, error.value)
    assert timed.times is not None
    assert timed.times.tolist() == years.tolist()
    assert list(feature.values) == ["x", "v"]
    assert list(left.values) == ["v"]


def test_years_that_repeat_are_a_time_only_with_what_tells_series_apart(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.repeat(np.arange(1959, 2001), 4), "v": noise(168)})
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="they repeat") as error:
        read_table(path, Options())
    assert [list(table.values) for table in follow(path, error.value)] == [["x", "v"], ["v"]]
    path = write(tmp_path / "y.csv", frame.assign(who=list("abcd") * 42))
    with pytest.raises(OpenQuestion, match="is it the time") as error:
        read_table(path, Options())
    timed = follow(path, error.value)[0]
    assert timed.group == "who"


@pytest.mark.parametrize("names", [["Year", "Period"], ["column2", "column3"]])
@pytest.mark.parametrize(("mark", "freq", "parts"), [("Q0{}", "QS", 4), ("Q{}", "QS", 4), ("M{:02d}", "MS", 12)])
def test_years_with_quarters_or_months_as_texts_are_one_time(
    tmp_path: Path, names: list[str], mark: str, freq: str, parts: int
) -> None:
    times = pd.date_range("1959-01-01", periods=30 * parts, freq=freq)
    texts = [mark.format(i % parts + 1) for i in range(len(times))]
    path = write(tmp_path / "x.csv", pd.DataFrame({names[0]: times.year, names[1]: texts, "v": noise(len(times))}))
    table = read_table(path, Options())
    assert table.times is not None
    assert table.stamps is not None
    assert table.times.tolist() == times.as_unit("ns").asi8.tolist()
    assert table.stamps.write(table.times) == {names[0]: times.year.tolist(), names[1]: texts}
    assert list(table.values) == ["v"]
    asked = read_table(path, Options.of(time_column=",".join(names)))
    assert asked.times is not None
    assert asked.times.tolist() == table.times.tolist()


def test_times_of_the_day_without_a_date_are_told_what_can_be_done(tmp_path: Path) -> None:
    hours = pd.date_range("2020-01-01", periods=240, freq="h")
    frame = pd.DataFrame({"time": hours.strftime("%H:%M"), "v": noise(240)})
    path = write(tmp_path / "x.csv", frame)
    for options in (Options(), Options.of(time_column="time")):
        with pytest.raises(DataError, match=r"run back, without a date .*--time-column DATE,time") as error:
            read_table(path, options)
        assert "--dates" not in str(error.value)
    assert read_table(path, Options.of(time_column="none")).times is None
    path = write(tmp_path / "x.csv", frame.assign(date=hours.strftime("%Y-%m-%d")))
    table = read_table(path, Options.of(time_column="date,time"))
    assert table.times is not None
    assert table.times.tolist() == hours.as_unit("ns").asi8.tolist()
    path = write(tmp_path / "x.csv", frame[:24])
    with pytest.raises(DataError, match="--time-column time"):
        read_table(path, Options())
    assert read_table(path, Options.of(time_column="time")).times is not None


def test_a_day_of_the_year_and_a_clock_without_zeros_are_offered_as_one_time(tmp_path: Path) -> None:
    times = pd.date_range("1970-12-12 08:40", periods=114, freq="10min")
    frame = pd.DataFrame({"day": times.day_of_year, "time": 100 * times.hour + times.minute, "temp": noise(114)})
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="a clock beside days") as error:
        read_table(path, Options())
    timed, feature, left = follow(path, error.value)
    assert timed.times is not None
    assert timed.stamps is not None
    assert timed.times.tolist() == times.as_unit("ns").asi8.tolist()
    assert timed.stamps.write(timed.times) == {name: frame[name].tolist() for name in ("day", "time")}
    assert list(feature.values) == ["day", "time", "temp"]
    assert list(left.values) == ["day", "temp"]


def test_repeated_times_that_no_column_tells_apart_are_told_plainly(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=60).repeat(2)
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": days, "v": noise(120)}))
    with pytest.raises(DataError, match="no column tells these rows apart: in none does each time come once"):
        read_table(path, Options())


@pytest.mark.parametrize("form", ["%y%m%d", "%d%m%Y", "%d%m%y"])
def test_numbers_are_dates_of_the_form_that_was_asked_for(tmp_path: Path, form: str) -> None:
    days = pd.to_datetime(["2019-07-01", "2019-07-05", "2019-08-11", "2020-01-02", "2020-02-29", "2020-03-01"])
    frame = pd.DataFrame({"d": days.strftime(form).astype(int), "v": noise(6)})
    path = write(tmp_path / "x.csv", frame)
    table = read_table(path, Options.of(time_column="d", dates=form))
    assert table.times is not None
    assert table.stamps is not None
    assert table.times.tolist() == days.as_unit("ns").asi8.tolist()
    assert table.stamps.write(table.times)["d"] == frame["d"].tolist()
    frame.loc[3, "d"] = 999999
    with pytest.raises(DataError, match=r"line 5, column 'd' holds '0*999999', which is no date"):
        read_table(write(path, frame), Options.of(time_column="d", dates=form))


@pytest.mark.parametrize(("repeats", "read"), [(2, True), (4, True), (5, False), (6, False)])
def test_up_to_a_hundredth_of_repeated_times_is_a_fault_of_the_file(tmp_path: Path, repeats: int, read: bool) -> None:
    days = list(pd.date_range("2020-01-01", periods=400 - repeats))
    for place in range(repeats):
        days.insert(20 + 37 * place, days[20 + 37 * place])
    path = write(tmp_path / "x.csv", pd.DataFrame({"day": days, "v": noise(400)}))
    if read:
        assert read_table(path, Options()).groups is None
    else:
        with pytest.raises(DataError, match=f"{repeats} of 400 rows repeat a time of 'day'"):
            read_table(path, Options())


@pytest.mark.parametrize(("days", "dates"), [((190701, 190702), False), ((190701, 190702, 190703), True)])
def test_two_values_of_six_digits_are_no_dates(tmp_path: Path, days: tuple[int, ...], dates: bool) -> None:
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": [*days * 10], "v": noise(10 * len(days))}))
    opened = open_table(path, Options())
    assert may_be_date(opened.columns["date"], Options()) is dates
