"""Forms of time: each is read as it was meant, or asked about, and written back exactly as it came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables.stamps import Stamps, stamps_from_json
from saddlepoint.data.tables.table import Table, read_table

Writer = Callable[[pd.Timestamp], Any]


def by(form: str) -> Writer:
    """Write by Python's own strftime."""
    return lambda time: time.strftime(form)


FORMS: dict[str, tuple[Writer, str]] = {
    form: (by(form), "D")
    for form in (
        "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%-m-%-d", "%d.%m.%Y", "%-d.%-m.%Y", "%d/%m/%Y", "%m/%d/%Y",
        "%d-%m-%Y", "%m-%d-%Y",
        "%-d/%-m/%Y", "%-m/%-d/%Y", "%d/%m/%y", "%m/%d/%y", "%-m/%-d/%y", "%d.%m.%y", "%d-%m-%y",
        "%y/%m/%d", "%y-%m-%d",
        "%d %m %Y", "%b %-d %Y", "%b %d, %Y", "%B %-d, %Y", "%-d %B %Y", "%d-%b-%Y", "%-d-%b-%y", "%d-%b-%y", "%d%b%Y",
        "%Y-%b-%d", "%Y %B %d", "%d/%b/%Y", "%a %d %b %Y", "%A, %B %-d, %Y", "%Y-%j", "%G-W%V-%u", "%GW%V%u", "%Y%m%d",
    )
}  # fmt: skip
FORMS |= {
    form: (by(form), step)
    for form, step in (
        ("%Y-%m-%d %H:%M", "26h"), ("%Y-%m-%d %H:%M:%S", "7h"), ("%Y-%m-%dT%H:%M", "26h"), ("%Y-%m-%dT%H:%M:%S", "26h"),
        ("%Y-%m-%dT%H:%M:%SZ", "26h"), ("%Y-%m-%d %H:%M:%S UTC", "26h"), ("%Y-%m-%d %H:%M:%S+00:00", "26h"),
        ("%Y-%m-%d %-H:%M", "5h"), ("%Y-%m-%dT%H", "5h"), ("%Y/%m/%d %H:%M:%S", "26h"), ("%d/%m/%Y %H:%M", "26h"),
        ("%m/%d/%Y %H:%M:%S", "26h"), ("%d.%m.%Y %H:%M", "26h"), ("%-m/%-d/%y %-H:%M", "26h"),
        ("%m/%d/%Y %I:%M %p", "26h"),
        ("%m/%d/%Y %-I:%M:%S %p", "26h"), ("%d/%m/%Y %-I %p", "5h"), ("%b %-d, %Y %-I:%M %p", "26h"),
        ("%Y%m%dT%H%M", "26h"),
        ("%Y%m%dT%H%M%SZ", "26h"), ("%Y%m%d %H:%M", "26h"), ("%Y%m%d%H%M", "26h"), ("%Y%m%d%H%M%S", "26h"),
        ("%Y%m%d%H", "26h"),
        ("%H:%M %d/%m/%Y", "26h"), ("%d/%b/%Y:%H:%M:%S +0000", "26h"), ("%a, %d %b %Y %H:%M:%S GMT", "26h"),
        ("%G-W%V", "7D"), ("%GW%V", "7D"), ("%Y-%m", "MS"), ("%Y/%m", "MS"), ("%m/%Y", "MS"), ("%-m/%Y", "MS"),
        ("%b %Y", "MS"),
        ("%B %Y", "MS"), ("%b-%y", "MS"), ("%Y M%m".replace(" ", ""), "MS"), ("%Y-%m-%d 00:00:00.000", "D"),
        ("%b %-d %Y %H:%M", "MS"), ("%d/%m/%Y %H", "MS"),
    )
}  # fmt: skip
del FORMS["%d/%m/%Y %H"]
FORMS |= {
    "capitals": (lambda t: t.strftime("%d-%b-%Y").upper(), "D"),
    "small letters": (lambda t: t.strftime("%d %b %Y %I:%M %p").lower(), "26h"),
    "2026Q1": (lambda t: f"{t.year}Q{t.quarter}", "QS"),
    "2026-Q1": (lambda t: f"{t.year}-Q{t.quarter}", "QS"),
    "2026 Q1": (lambda t: f"{t.year} Q{t.quarter}", "QS"),
    "Q1 2026": (lambda t: f"Q{t.quarter} {t.year}", "QS"),
    "Q1-2026": (lambda t: f"Q{t.quarter}-{t.year}", "QS"),
    "1Q2026": (lambda t: f"{t.quarter}Q{t.year}", "QS"),
    "milliseconds": (lambda t: t.strftime("%Y-%m-%d %H:%M:%S.") + f"{t.microsecond // 1000:03d}", "1999ms"),
    "comma": (lambda t: t.strftime("%Y-%m-%d %H:%M:%S,") + f"{t.microsecond // 1000:03d}", "1999ms"),
    "microseconds": (by("%d.%m.%Y %H:%M:%S.%f"), "93599123457us"),
    "nanoseconds": (lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{t.nanosecond:03d}Z", "999999937ns"),
    "offset": (lambda t: (t + pd.Timedelta("1h")).strftime("%Y-%m-%dT%H:%M:%S+01:00"), "26h"),
    "short offset": (lambda t: (t - pd.Timedelta("5h")).strftime("%Y-%m-%d %H:%M:%S-0500"), "26h"),
    "hours of offset": (lambda t: (t + pd.Timedelta("9h")).strftime("%Y-%m-%d %H:%M:%S+09"), "26h"),
    "Berlin": (lambda t: str(t.tz_localize("UTC").tz_convert("Europe/Berlin")), "26h"),
    "New York": (lambda t: t.tz_localize("UTC").tz_convert("America/New_York").strftime("%d.%m.%Y %H:%M %z"), "26h"),
    "Unix seconds": (lambda t: t.value // 10**9, "26h"),
    "Unix milliseconds": (lambda t: t.value // 10**6, "26h"),
    "Unix microseconds": (lambda t: t.value // 10**3, "26h"),
    "Unix nanoseconds": (lambda t: t.value, "999999937ns"),
    "Unix seconds with decimals": (lambda t: t.value / 10**9, "2500ms"),
    "Stata months": (lambda t: f"{t.year}m{t.month}", "MS"),
}  # fmt: skip


def table_of(path: Path, cells: list[Any], name: str = "Date", **options: Any) -> Table:
    """Write a table with these times, and read it."""
    rows = [f"{cell};{i * i % 97}.5" for i, cell in enumerate(cells)]
    path.write_text("\n".join([f"{name};value", *rows]) + "\n")
    return read_table(path, Options.of(**options))


def right_or_asked(path: Path, cells: list[Any], expected: np.ndarray) -> Table:
    """Read a table; where it asks, follow each of its readings: one of them must be right."""
    try:
        table = table_of(path, cells)
    except OpenQuestion as question:
        tables = [table_of(path, cells, **dict(reading.options)) for reading in question.readings]
        assert len(tables) >= 2
        found = [t for t in tables if t.times is not None and np.array_equal(t.times, expected)]
        assert len(found) == 1
        return found[0]
    return table


@pytest.mark.parametrize("start", ["1998-12-01", "2019-07-01", "2009-12-20", "1953-02-11"])
def test_days_of_six_digits_under_a_date_s_name_are_read_up_to_the_end_of_the_century(
    tmp_path: Path, start: str
) -> None:
    """As Python reads two digits of a year: from 69 on they are of the last century."""
    days = pd.date_range(start, periods=40)
    frame = pd.DataFrame({"date": [int(f"{day:%y%m%d}") for day in days], "v": np.arange(40) ** 2 % 17})
    frame["date"].to_csv(tmp_path / "x.csv", index=False)
    frame.to_csv(tmp_path / "x.csv", index=False)
    table = read_table(tmp_path / "x.csv", Options())
    wanted = pd.DatetimeIndex([day + pd.DateOffset(years=100 * (day.year < 1969)) for day in days])
    assert np.array_equal(table.times, wanted.as_unit("ns").asi8)


@pytest.mark.parametrize("start", ["2016-03-01 06:30:15", "2019-12-20 13:05:00"])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_and_written_back_with_days_past_12(tmp_path: Path, name: str, start: str) -> None:
    write, step = FORMS[name]
    times = pd.date_range(start, periods=60, freq=step)
    cells = [write(time) for time in times]
    table = table_of(tmp_path / "x.csv", cells)
    assert table.stamps is not None
    assert np.array_equal(table.times, _kept(times, name))
    assert table.stamps.write(table.times) == {"Date": _typed(cells)}
    assert stamps_from_json(table.stamps.to_json()) == table.stamps
    assert list(table.values) == ["value"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_right_or_asked_about_without_days_past_12(tmp_path: Path, name: str) -> None:
    write, step = FORMS[name]
    times = pd.date_range("2016-04-01 00:30", periods=12, freq="D" if step in ("26h", "7h", "5h") else step)
    cells = [write(time) for time in times]
    table = right_or_asked(tmp_path / "x.csv", cells, _kept(times, name))
    assert table.stamps is not None
    assert np.array_equal(table.times, _kept(times, name))
    assert table.stamps.write(table.times) == {"Date": _typed(cells)}


def _typed(cells: list[Any]) -> list[Any]:
    """Return cells as a file of text holds them: digits alone are numbers."""
    return [int(c) if isinstance(c, str) and c.isdigit() and len(c) >= 8 and c[0] != "0" else c for c in cells]


def _kept(times: pd.DatetimeIndex, name: str) -> np.ndarray:
    """Return the nanoseconds that a form keeps of times: cut to what it shows."""
    index = times.as_unit("ns")
    if "Unix" in name:
        unit = {"seconds": "s", "milliseconds": "ms", "microseconds": "us"}.get(name.split()[1], "ns")
        return (index.floor(unit) if "decimals" not in name and unit != "ns" else index).asi8
    if name in ("Stata months",) or (name[-1] == "Y" and "%d" not in name and "%-d" not in name) or name in (
        "%Y-%m", "%Y/%m", "%b-%y", "%YM%m",
    ):  # fmt: skip
        return index.to_period("M").to_timestamp().as_unit("ns").asi8
    if "Q" in name:
        return index.to_period("Q").to_timestamp().as_unit("ns").asi8
    if name in ("%G-W%V", "%GW%V"):
        return (index.normalize() - pd.to_timedelta(index.day_of_week, unit="D")).as_unit("ns").asi8
    if name in ("milliseconds", "comma"):
        return index.floor("ms").asi8
    if name in ("microseconds", "nanoseconds"):
        return index.asi8
    fine = "%S" in name or name in ("offset", "short offset", "hours of offset", "Berlin")
    minutes = "%M" in name or name in ("small letters", "New York")
    hours = "%H" in name or "%-H" in name or "%I" in name or "%-I" in name
    return (
        index.floor("s")
        if fine
        else index.floor("min")
        if minutes
        else index.floor("h")
        if hours
        else index.normalize()
    ).asi8


def test_there_are_more_than_sixty_forms() -> None:
    assert len(FORMS) > 60


def test_an_order_of_day_and_month_is_likely_where_it_alone_gives_one_step_and_can_be_undone(tmp_path: Path) -> None:
    months = pd.date_range("2010-01-01", periods=24, freq="MS")
    for form, option in (("%d/%m/%Y", "month-first"), ("%m/%d/%Y", "day-first")):
        cells = [time.strftime(form) for time in months]
        table = table_of(tmp_path / "x.csv", cells)
        assert np.array_equal(table.times, months.as_unit("ns").asi8)
        (finding,) = [f for f in table.findings if f.topic == "time"]
        assert not finding.sure
        assert finding.option == f"--dates {option}"
        other = table_of(tmp_path / "x.csv", cells, dates=option)
        assert other.times is not None
        assert len(np.unique(other.times // 86_400_000_000_000 % 1)) == 1
        assert not np.array_equal(other.times, table.times)


def test_the_whole_column_decides_not_its_beginning(tmp_path: Path) -> None:
    days = pd.date_range("2000-01-01", periods=12, freq="MS").repeat(500)
    cells = [f"{day:%m/%d/%Y} {i % 500 // 60:02d}:{i % 60:02d}" for i, day in enumerate(days)]
    cells.append("12/31/2000 00:00")
    table = table_of(tmp_path / "x.csv", cells, time_column="Date", group_column="none")
    assert table.times is not None
    assert table.stamps is not None
    assert table.stamps.forms == ("%m/%d/%Y %H:%M",)
    assert table.stamps.write(table.times)["Date"] == cells


def test_a_date_that_fits_no_order_is_named_with_its_line(tmp_path: Path) -> None:
    cells = [f"{day:%d/%m/%Y}" for day in pd.date_range("2016-03-01", periods=600)]
    cells[450] = "31/02/2016"
    with pytest.raises(
        DataError, match=r"x\.csv: line 452, column 'Date' holds '31/02/2016', which is no date like the first"
    ):
        table_of(tmp_path / "x.csv", cells)
    cells[450] = ""
    with pytest.raises(DataError, match="line 452 has no time in column 'Date'"):
        table_of(tmp_path / "x.csv", cells)


def test_iso_dates_are_never_read_day_first(tmp_path: Path) -> None:
    days = pd.date_range("2016-02-03", periods=12, freq="MS")
    with pytest.raises(DataError, match="'2016-03-01', which is not written day-first; leave --dates out"):
        table_of(tmp_path / "x.csv", [f"{day:%Y-%m-%d}" for day in days], dates="day-first")
    table = table_of(tmp_path / "x.csv", [f"{day:%Y-%m-%d}" for day in days])
    assert np.array_equal(table.times, days.as_unit("ns").asi8)


def test_iso_texts_that_leave_out_zeros_are_one_form(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=50, freq="90min") + pd.to_timedelta(np.arange(50) % 2 * 250, unit="ms")
    cells = [t.isoformat(sep=" ").removesuffix(" 00:00:00").removesuffix("000") for t in times]
    assert "2020-01-01" in cells
    assert np.array_equal(table_of(tmp_path / "x.csv", cells).times, times.as_unit("ns").asi8)
    cells[20] += "Z"
    with pytest.raises(DataError, match="line 22"):
        table_of(tmp_path / "x.csv", cells)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Sydney"])
def test_daylight_saving_is_kept(tmp_path: Path, zone: str) -> None:
    times = pd.date_range("2021-01-01", "2021-12-31", freq="h", tz="UTC")
    cells = [str(time) for time in times.tz_convert(zone)]
    table = table_of(tmp_path / "x.csv", cells)
    assert table.stamps is not None
    assert table.stamps.zone == zone
    assert np.array_equal(table.times, times.as_unit("ns").asi8)
    assert table.stamps.write(table.times)["Date"] == cells


def test_offsets_of_no_known_zone_become_utc_and_that_is_said(tmp_path: Path) -> None:
    cells = [f"2021-01-{day:02d}T10:00:00+{2 + day % 3:02d}:30" for day in range(1, 29)]
    table = table_of(tmp_path / "x.csv", cells)
    expected = pd.to_datetime(cells, utc=True).as_unit("ns").asi8
    assert np.array_equal(table.times, expected)
    assert any("written in UTC" in finding.says for finding in table.findings)


def lines(path: Path, *rows: str) -> Path:
    """Write rows and return the path."""
    path.write_text("\n".join(rows) + "\n")
    return path


PARTS: dict[str, tuple[str, Writer, str]] = {
    "date and clock": ("Date,Time", by("%d/%m/%Y,%H:%M:%S"), "min"),
    "date and clock with marks": ("date,clock", by("%Y-%m-%d,%I:%M %p"), "h"),
    "date and hour": ("dteday,hr", by("%Y-%m-%d,%-H"), "h"),
    "year and month": ("year,month", by("%Y,%-m"), "MS"),
    "year and quarter": ("Year,Quarter", lambda t: f"{t.year},{t.quarter}", "QS"),
    "floats": ("year,quarter", lambda t: f"{t.year}.0,{t.quarter}.0", "QS"),
    "year to day": ("year,month,day", by("%Y,%-m,%-d"), "D"),
    "year to hour": ("YEAR,MO,DY,HR".replace("DY", "DAY"), by("%Y,%-m,%-d,%-H"), "h"),
    "day to year": ("day,month,year", by("%-d,%-m,%Y"), "D"),
    "year to minute": ("year,month,day,hour,minute", by("%Y,%-m,%-d,%-H,%-M"), "15min"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_time_in_several_columns_is_one_and_goes_back_into_them(tmp_path: Path, name: str) -> None:
    header, write, step = PARTS[name]
    times = pd.date_range("2006-12-16 17:00", periods=500, freq=step)
    times = times if step not in ("D", "MS", "QS") else times.normalize()
    cells = [write(time) for time in times]
    path = lines(tmp_path / "x.csv", f"{header},v", *(f"{cell},{i * i % 97}" for i, cell in enumerate(cells)))
    table = read_table(path, Options())
    assert table.stamps is not None
    assert table.stamps.columns == tuple(header.split(","))
    assert np.array_equal(table.times, times.as_unit("ns").asi8)
    assert list(table.values) == ["v"]
    written = table.stamps.write(times.as_unit("ns").asi8)
    assert [",".join(map(str, row)) for row in zip(*written.values(), strict=True)] == cells
    asked = read_table(path, Options.of(time_column=header))
    assert asked.stamps == table.stamps


def test_month_and_day_without_a_year_are_a_time_and_that_is_said(tmp_path: Path) -> None:
    days = pd.date_range("1973-05-01", periods=153)
    rows = [f"{i * i % 97},{d.month},{d.day}" for i, d in enumerate(days)]
    table = read_table(lines(tmp_path / "x.csv", "Ozone,Month,Day", *rows), Options())
    assert table.stamps is not None
    assert table.stamps.year == 1970
    assert np.array_equal(np.diff(table.times), np.diff(days.as_unit("ns").asi8))
    assert any("no column holds the year" in finding.sentence() for finding in table.findings)


def test_parts_that_repeat_a_column_of_dates_are_left_out(tmp_path: Path) -> None:
    hours = pd.date_range("2013-01-01 06:00", periods=200, freq="h")
    local = hours - pd.Timedelta("5h")
    rows = [
        f"{w.year},{w.month},{w.day},{w.hour},{t:%Y-%m-%dT%H:%M:%SZ},{i * i % 97}"
        for i, (w, t) in enumerate(zip(local, hours, strict=True))
    ]
    table = read_table(lines(tmp_path / "x.csv", "year,month,day,hour,time_hour,temp", *rows), Options())
    assert list(table.values) == ["temp"]
    assert any("they repeat the time: year, month, day, hour" in f.says and not f.sure for f in table.findings)


@pytest.mark.parametrize("name", ["year", "YEAR", "time", "t", "Day", "index", "timestamp"])
def test_numbers_that_count_are_a_likely_time_by_their_name_and_else_asked_about(tmp_path: Path, name: str) -> None:
    rows = [f"{1900 + i},{i * i % 97},{i * i % 89}" for i in range(100)]
    table = read_table(lines(tmp_path / "x.csv", f"{name},a,b", *rows), Options())
    assert table.stamps == Stamps((name,), ("number",), ("int",), decimals=0)
    assert list(table.values) == ["a", "b"]
    assert table.stamps is not None
    assert table.stamps.write(np.array([2000.0, 2001.0])) == {name: [2000, 2001]}
    (finding,) = [f for f in table.findings if f.topic == "time"]
    assert (finding.sure, finding.option) == (False, "--time-column none")
    undone = read_table(tmp_path / "x.csv", Options.of(time_column="none"))
    assert list(undone.values) == [name, "a", "b"]
    path = lines(tmp_path / "y.csv", "x,a,b", *rows)
    with pytest.raises(OpenQuestion, match=r"'x' counts up by one step.*is it the time") as asked:
        read_table(path, Options())
    found = [read_table(path, Options.of(**dict(reading.options))) for reading in asked.value.readings]
    assert [(t.stamps is not None, list(t.values)) for t in found] == [
        (True, ["a", "b"]), (False, ["x", "a", "b"]), (False, ["a", "b"]),
    ]  # fmt: skip


def test_unix_times_without_a_telling_name_are_likely(tmp_path: Path) -> None:
    rows = [f"{1514764800 + 60 * i},{i * i % 97}" for i in range(100)]
    table = read_table(lines(tmp_path / "x.csv", "k,a", *rows), Options())
    assert table.stamps is not None
    assert table.stamps.forms == ("unix:s",)
    assert [f.sure for f in table.findings if f.topic == "time"] == [False]
    named = read_table(lines(tmp_path / "x.csv", "Timestamp,a", *rows), Options())
    assert [f.sure for f in named.findings if f.topic == "time"] == [True]


def test_a_user_may_name_the_form(tmp_path: Path) -> None:
    table = table_of(
        tmp_path / "x.csv", ["01|02|2020", "13|02|2020", "14|02|2020"], dates="%d|%m|%Y", time_column="Date"
    )
    assert np.array_equal(table.times, pd.to_datetime(["2020-02-01", "2020-02-13", "2020-02-14"]).as_unit("ns").asi8)
    with pytest.raises(DataError, match="--dates is 'backwards'"):
        table_of(tmp_path / "x.csv", ["01/02/2020", "02/02/2020"], dates="backwards")


def test_texts_named_like_a_time_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dates of column 'date' are not recognised \('day 0 of spring'\)"):
        table_of(tmp_path / "x.csv", [f"day {i} of spring" for i in range(90)], name="date")
    table = table_of(tmp_path / "x.csv", [f"day {i} of spring" for i in range(90)], name="date", time_column="none")
    assert list(table.values) == ["value"]


def test_times_outside_of_nanoseconds_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2, column 'Date' holds '1500-01-01'"):
        table_of(tmp_path / "x.csv", [f"{1500 + i}-01-01" for i in range(50)])


def test_times_finer_than_their_form_get_a_time_of_day() -> None:
    stamps = Stamps(("t",), ("%d.%m.%Y",), ("text",))
    noon = pd.DatetimeIndex(["2020-02-01 12:00", "2020-02-02"]).as_unit("ns").asi8
    assert stamps.write(noon) == {"t": ["01.02.2020 12:00", "02.02.2020 00:00"]}


def test_dates_in_a_form_of_its_own_are_asked_for_by_it(tmp_path: Path) -> None:
    """The advice of the refusal, followed."""
    cells = [f"{day:%d|%m|%Y}" for day in pd.date_range("2020-01-01", periods=40)]
    with pytest.raises(DataError, match=r"--dates '%d\.%m\.%Y'"):
        table_of(tmp_path / "x.csv", cells)
    assert table_of(tmp_path / "x.csv", cells, dates="%d|%m|%Y").stamps == Stamps(("Date",), ("%d|%m|%Y",), ("text",))


def test_months_that_begin_again_without_a_year_are_asked_about(tmp_path: Path) -> None:
    days = pd.date_range("2001-11-05", periods=500)
    rows = [f"{d.month:02d},{d.day:02d},{i * i % 97},{i * i % 89}" for i, d in enumerate(days)]
    path = lines(tmp_path / "x.csv", "month,day,a,b", *rows)
    with pytest.raises(OpenQuestion, match="begin again, and no column holds the year") as asked:
        read_table(path, Options())
    rolled, plain = [read_table(path, Options.of(**dict(reading.options))) for reading in asked.value.readings]
    assert np.array_equal(np.diff(rolled.times), np.diff(days.as_unit("ns").asi8))
    assert (plain.times, list(plain.values)) == (None, ["a", "b"])
    assert rolled.stamps is not None
    written = rolled.stamps.write(rolled.times)
    assert [f"{month},{day}" for month, day in zip(*written.values(), strict=True)] == [row[:5] for row in rows]


def test_times_of_parquet_outside_of_nanoseconds_and_unknown_zones_are_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    old = pa.array([-(2**40) + i for i in range(40)], pa.timestamp("s"))
    values = pa.array([i * i % 97 / 2 for i in range(40)])
    pq.write_table(pa.table({"t": old, "v": values}), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", Options())
    assert any("outside of the years 1678 to 2261" in f.says for f in table.findings)
    with pytest.raises(DataError, match="dates of column 't' are not recognised"):
        read_table(tmp_path / "x.parquet", Options.of(time_column="t"))
    odd = pa.array([3600 * i for i in range(40)], pa.timestamp("s", "Mars/Phobos"))
    pq.write_table(pa.table({"t": odd, "v": values}), tmp_path / "y.parquet")
    stamps = read_table(tmp_path / "y.parquet", Options()).stamps
    assert stamps is not None
    assert stamps.zone == "UTC"
