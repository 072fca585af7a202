"""What each column of a table is: time, series, feature, category, left out; said, or asked about."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.series.positions import times_text
from saddlepoint.data.tables.dates import may_be_date, named_by_first_line
from saddlepoint.data.tables.files import open_table
from saddlepoint.data.tables.table import Table, read_table
from tests.unit.data_helpers import own_cache  # noqa: F401


def write(path: Path, frame: pd.DataFrame, **words: object) -> Path:
    """Write a frame as CSV and return the path."""
    frame.to_csv(path, **{"index": False, **words})  # type: ignore[arg-type]
    return path


def said(table: Table) -> str:
    """Return all findings as one text."""
    return " | ".join(finding.sentence() for finding in table.findings)


def follow(path: Path, error: OpenQuestion) -> list[Table]:
    """Read a table as each reading of a question says."""
    return [read_table(path, Options.of(**dict(reading.options))) for reading in error.readings]


def noise(rows: int, seed: int = 0) -> np.ndarray:
    """Return numbers that are no time and no series."""
    return np.random.default_rng(seed).normal(size=rows).round(3)


def panel(groups: list[object], rows: int = 30, *, by_time: bool = False, name: str = "shop") -> pd.DataFrame:
    """Return several series with the same dates under one another, or mixed by date."""
    days = pd.date_range("2021-01-01", periods=rows)
    frame = pd.DataFrame({"date": np.tile(days, len(groups)), name: np.repeat(np.array(groups, object), rows)})
    frame["value"] = noise(len(frame))
    return frame.sort_values("date", kind="stable") if by_time else frame


@pytest.mark.parametrize("by_time", [False, True])
def test_series_are_told_apart_by_a_column_of_text(tmp_path: Path, by_time: bool) -> None:
    frame = panel(["MSFT", "AMZN", "IBM"], by_time=by_time, name="symbol")
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert table.group == "symbol"
    assert table.groups is not None
    assert table.groups[1] == ["MSFT", "AMZN", "IBM"]
    assert [table.groups[1][code] for code in table.groups[0]] == frame["symbol"].tolist()
    assert list(table.values) == ["value"]
    (finding,) = [f for f in table.findings if f.topic == "series"]
    assert not finding.sure
    assert "none" in finding.option


def test_numbers_that_tell_series_apart_are_asked_about_where_they_are_mixed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", panel([0, 1, 2], by_time=True, name="asset"))
    with pytest.raises(OpenQuestion, match="which column tells them apart") as error:
        read_table(path, Options())
    (table,) = follow(path, error.value)
    assert table.group == "asset"
    assert table.groups is not None
    assert len(table.groups[1]) == 3


def test_numbers_whose_blocks_are_those_in_which_the_time_starts_again_are_likely(tmp_path: Path) -> None:
    rows = [f"{250 + i % 97},{i % 10},{308 + i // 10}" for i in range(180)]
    path = tmp_path / "sleep.csv"
    path.write_text("Reaction,Days,Subject\n" + "\n".join(rows) + "\n")
    table = read_table(path, Options())
    assert table.stamps is not None
    assert (table.stamps.columns, table.group, list(table.values)) == (("Days",), "Subject", ["Reaction"])
    assert table.groups is not None
    assert table.groups[1] == [str(308 + i) for i in range(18)]


def test_two_columns_that_divide_the_rows_alike_are_one_answer_and_others_a_question(tmp_path: Path) -> None:
    frame = panel(["north", "south"], by_time=True)
    frame["code"] = frame["shop"].map({"north": "N", "south": "S"})
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert table.group == "shop"
    assert "code" in table.values
    frame["till"] = np.where(np.arange(len(frame)) % 4 < 2, frame["code"], frame["code"].map({"N": "S", "S": "N"}))
    path = write(tmp_path / "y.csv", frame)
    with pytest.raises(OpenQuestion, match="which column tells them apart") as error:
        read_table(path, Options())
    assert [t.group for t in follow(path, error.value)] == ["shop", "till"]


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


def test_blocks_of_text_without_a_time_are_asked_about(tmp_path: Path) -> None:
    frame = pd.DataFrame({"person": np.repeat(["ann", "bob", "cid"], 40), "v": noise(120)})
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="is each a series") as error:
        read_table(path, Options())
    grouped, single, labelled = follow(path, error.value)
    assert grouped.group == "person"
    assert single.categories == {"person": ("ann", "bob", "cid")}
    assert labelled.labels is not None
    assert list(labelled.values) == ["v"]


def test_no_advice_merges_series(tmp_path: Path) -> None:
    """Naming features does not lose what tells series apart."""
    path = write(tmp_path / "x.csv", panel(["a", "b", "c"]))
    table = read_table(path, Options.of(columns="value"))
    assert table.group == "shop"
    assert table.order == ("date", "shop", "value")


def test_texts_and_truth_values_are_categories_and_come_as_they_stood(tmp_path: Path) -> None:
    days = pd.date_range("2021-01-01", periods=300)
    weather = np.array(["sun", "rain", "fog"])[np.arange(300) % 3].astype(object)
    weather[7] = None
    frame = pd.DataFrame({"date": days, "weather": weather, "holiday": np.arange(300) % 7 == 0, "t": noise(300)})
    frame["comment"] = [f"note {i}" for i in range(300)]
    frame["always"] = "here"
    frame.to_parquet(tmp_path / "x.parquet")
    for path in (write(tmp_path / "x.csv", frame), tmp_path / "x.parquet"):
        table = read_table(path, Options())
        assert list(table.values) == ["weather", "holiday", "t"]
        assert table.categories["weather"] == ("fog", "rain", "sun")
        codes = table.values["weather"]
        assert codes.dtype == np.int32
        assert codes[7] == -1
        words = [table.categories["weather"][code] for code in np.delete(codes, 7)]
        assert words == np.delete(weather, 7).tolist()
        truth = table.categories["holiday"]
        assert truth == ((False, True) if path.suffix == ".parquet" else ("False", "True"))
        assert [str(truth[code]) for code in table.values["holiday"]] == [str(day) for day in frame["holiday"]]
        assert "'comment' is left out: it holds 300 different texts" in said(table)
        assert "'always' is left out: it holds one text only" in said(table)
        (finding,) = [f for f in table.findings if "'weather' is a category" in f.says]
        assert not finding.sure
        option = finding.option.removeprefix("--columns ")
        assert list(read_table(path, Options.of(columns=option)).values) == ["holiday", "t"]


def test_empty_nameless_and_nested_columns_are_left_out_and_said(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": noise(50), "b": [[1, 2]] * 50, "c": [{"x": 1}] * 50, "d": [None] * 50})
    frame.to_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", Options())
    assert list(table.values) == ["a"]
    for words in ("'b' is left out: it holds list", "'c' is left out: it holds struct", "for they hold no value: d"):
        assert words in said(table)
    with pytest.raises(DataError, match="column 'b' cannot be learned"):
        read_table(tmp_path / "x.parquet", Options.of(columns="a,b"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_index_that_was_cut_or_shuffled_is_no_feature(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"a": noise(300), "b": noise(300, 1)})
    for name, part in (
        ("cut", frame[frame["a"] > -1]),
        ("shuffled", frame.sample(frac=1, random_state=0)),
        ("whole", frame),
    ):
        path = tmp_path / f"{name}.{kind}"
        part.to_csv(path) if kind == "csv" else part.to_parquet(path)
        table = read_table(path, Options())
        assert list(table.values) == ["a", "b"]
        assert np.array_equal(table.values["a"], part["a"].to_numpy())
        assert table.times is None
        if kind == "csv" or name != "whole":
            assert "counts the rows" in said(table)


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


def test_typed_columns_of_parquet_are_read(tmp_path: Path) -> None:
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 40
    table = pa.table({
        "day": pa.array(pd.date_range("2021-01-01", periods=rows).date),
        "dec": pa.array([decimal.Decimal(i * i % 97) / 4 for i in range(rows)], pa.decimal128(10, 2)),
        "null": pd.array([None if i == 3 else i * i % 31 for i in range(rows)], dtype="Int64"),
        "took": pa.array([1500 * (i % 5) for i in range(rows)], pa.duration("ms")),
        "large": pa.array([["x", "y"][i % 2] for i in range(rows)], pa.large_string()),
        "coded": pa.array([["p", "q", "r"][i % 3] for i in range(rows)]).dictionary_encode(),
        "half": pa.array(np.arange(rows, dtype=np.float16) % 7),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet")
    read = read_table(tmp_path / "x.parquet", Options())
    assert list(read.values) == ["dec", "null", "took", "large", "coded", "half"]
    assert read.values["dec"][:3].tolist() == [0, 0.25, 1]
    assert np.isnan(read.values["null"][3])
    assert read.values["took"][:3].tolist() == [0, 1.5, 3]
    assert read.categories == {"large": ("x", "y"), "coded": ("p", "q", "r")}
    assert read.stamps is not None
    assert read.stamps.write(read.times)["day"][:2] == ["2021-01-01", "2021-01-02"]
    assert "'took' holds durations: read in seconds" in said(read)


@pytest.mark.parametrize("names", [[f"t{i}" for i in range(40)], [str(year) for year in range(1960, 2000)]])
def test_wide_tables_are_asked_about_and_read_either_way(tmp_path: Path, names: list[str]) -> None:
    values = noise(30 * 40).reshape(30, 40)
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "who", [f"p{i}" for i in range(30)])
    frame["class"] = np.where(np.arange(30) % 2, "odd", "even")
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="is each row a whole series") as error:
        read_table(path, Options())
    wide, long = follow(path, error.value)
    assert wide.group == "who"
    assert wide.groups is not None
    assert wide.groups[1] == [f"p{i}" for i in range(30)]
    value = "t" if names[0] == "t0" else "value"
    assert np.array_equal(wide.values[value], values.ravel())
    assert wide.times is not None
    assert wide.times[:40].tolist() == [int(name.removeprefix("t")) for name in names]
    assert list(long.values)[:40] == names
    labelled = read_table(path, Options.of(wide=True, label_column="class"))
    assert labelled.labels is not None
    assert list(labelled.values) == [value]


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


@pytest.mark.parametrize(("empty", "says"), [(1, "line 7 has nothing in column 'who'"), (60, "no column tells these")])
def test_a_column_that_tells_series_apart_but_for_a_few_rows_is_named(tmp_path: Path, empty: int, says: str) -> None:
    times = pd.date_range("2020-01-01", periods=60)
    frame = pd.concat([pd.DataFrame({"time": times, "who": who, "v": noise(60)}) for who in "abc"], ignore_index=True)
    frame.loc[5 : 4 + empty, "who"] = None
    with pytest.raises(DataError, match=says):
        read_table(write(tmp_path / "x.csv", frame), Options())


def test_numbered_names_beside_a_time_are_sensors(tmp_path: Path) -> None:
    frame = pd.DataFrame(noise(600).reshape(60, 10), columns=[f"V{i}" for i in range(1, 11)])
    frame.insert(0, "time", pd.date_range("2020-01-01", periods=60))
    assert len(read_table(write(tmp_path / "x.csv", frame), Options()).values) == 10


@pytest.mark.parametrize("mark", [-200, -999, -9999, -1, 0, 9999, 99.9])
def test_a_value_that_stands_apart_is_noticed_and_struck_out_on_request(tmp_path: Path, mark: float) -> None:
    values = np.round(10 + 0.4 * np.sin(np.arange(800) / 12), 2)
    values[4::9] = mark
    path = write(
        tmp_path / "x.csv", pd.DataFrame({"time": pd.date_range("2004-03-10", periods=800, freq="h"), "CO": values})
    )
    table = read_table(path, Options())
    assert (table.values["CO"] == mark).sum() == 89
    (finding,) = [f for f in table.findings if f.topic == "missing"]
    assert finding.option == f"--missing {mark:g}"
    struck = read_table(path, Options.of(missing=f"{mark:g}"))
    assert np.isnan(struck.values["CO"]).sum() == 89
    assert "89 cells" in said(struck)


def test_spikes_and_classes_are_no_marks(tmp_path: Path) -> None:
    rain = np.maximum(0, noise(500))
    frame = pd.DataFrame({"rain": rain, "kind": np.arange(500) % 2 * 9, "wide": np.r_[noise(499) * 100, 9999]})
    assert "looks like" not in said(read_table(write(tmp_path / "x.csv", frame), Options()))


def test_some_texts_among_numbers_are_placed_and_the_advice_works(tmp_path: Path) -> None:
    cells: list[object] = [float(v) for v in noise(300)]
    for place in (10, 200):
        cells[place] = "broken"
    path = write(tmp_path / "x.csv", pd.DataFrame({"a": cells, "b": noise(300, 1)}))
    with pytest.raises(
        DataError, match=r"line 12, column 'a' holds 'broken' among numbers.*--missing 'broken'.*--columns b"
    ):
        read_table(path, Options())
    table = read_table(path, Options.of(missing="broken"))
    assert np.isnan(table.values["a"]).nonzero()[0].tolist() == [10, 200]
    assert "2 cells" in said(table)
    assert list(read_table(path, Options.of(columns="b")).values) == ["b"]
    for place in (10, 200):
        cells[place] = "?"
    table = read_table(write(path, pd.DataFrame({"a": cells, "b": noise(300, 1)})), Options())
    assert np.isnan(table.values["a"]).sum() == 2
    assert "'?' (2)" in said(table)


def test_numbers_with_a_sign_are_left_out_and_said(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"price": [f"${abs(v):.2f}" for v in noise(90)], "share": [f"{i % 97}%" for i in range(90)], "v": noise(90)}
    )
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert list(table.values) == ["v"]
    assert "remove the '$' to learn them" in said(table)
    assert "remove the '%' to learn them" in said(table)


def test_rows_counted_by_name_are_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"rownames": np.arange(1, 91), "v": noise(90), "w": noise(90, 1)})
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert list(table.values) == ["v", "w"]
    (finding,) = [f for f in table.findings if "counts the rows" in f.says]
    assert not finding.sure
    back = read_table(tmp_path / "x.csv", Options.of(columns=finding.option.removeprefix("--columns ")))
    assert list(back.values) == ["rownames", "v", "w"]


def test_a_count_beside_a_time_is_a_feature_and_said(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=90), "km": np.arange(90) * 7, "v": noise(90)})
    table = read_table(write(tmp_path / "x.csv", frame), Options())
    assert list(table.values) == ["km", "v"]
    assert "'km' counts up by one step and is learned as a feature (else --columns v)" in said(table)


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


def _pseudo(count: int, seed: int) -> list[int]:
    """Return whole numbers of 0..2^31, the same on every machine."""
    found, state = [], seed
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        found.append(state)
    return found


PUBLISHED = {
    "stocks": "830788e90b61a1bbb1937b4f546092e2edd58dca6835adc98194c64b98b051ab",
    "stocks-2019": "97520e4e92332a536ac0220372d1ebd2b9faaf05c5ce77352b82ca808a159445",
    "etth1": "a8f9e2427410fb8df2b4b08b185c5c7aa3c645bfe166897db0a10ae4819db11e",
}
"""Training windows as they were cut when the figures in docs/results.md were made, of files of the same make."""


def published_files(folder: Path) -> None:
    """Write files that look like those of the named data sets."""
    folder.mkdir()
    rows = [
        ",".join(f"{50 + v % 10**9 / 10**6:.6f}" for v in _pseudo(5, i)) + f",{_pseudo(1, i)[0] % 10**8}"
        for i in range(400)
    ]
    (folder / "google_stock.csv").write_text("\n".join(["Open,High,Low,Close,Adj_Close,Volume", *rows]) + "\n")
    hours = pd.date_range("2016-07-01", periods=600, freq="h")
    rows = [f"{hour},{','.join(repr((v - 2**30) / 3**19) for v in _pseudo(7, i))}" for i, hour in enumerate(hours)]
    (folder / "etth1.csv").write_text("\n".join(["date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT", *rows]) + "\n")


@pytest.mark.parametrize("name", PUBLISHED)
def test_named_series_are_cut_into_the_same_windows_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    published_files(tmp_path / "series")
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    x = load_dataset(name).splits["train"].x[..., : 7 if name == "etth1" else 6]
    assert hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest() == PUBLISHED[name]


def test_blocks_of_numbered_subjects_without_a_time_are_asked_about(tmp_path: Path) -> None:
    frame = pd.DataFrame({"subject_id": np.repeat([301, 302, 305], 40), "v": noise(120)})
    path = write(tmp_path / "x.csv", frame)
    with pytest.raises(OpenQuestion, match="is each a series") as error:
        read_table(path, Options())
    grouped, single, labelled = follow(path, error.value)
    assert grouped.groups is not None
    assert grouped.groups[1] == ["301", "302", "305"]
    assert list(grouped.values) == ["v"]
    assert list(single.values) == ["subject_id", "v"]
    assert labelled.label == "subject_id"


def test_numbers_that_change_seldom_are_no_subjects(tmp_path: Path) -> None:
    frame = pd.DataFrame({"level": np.repeat([1, 2, 3], 40), "v": noise(120)})
    assert list(read_table(write(tmp_path / "x.csv", frame), Options()).values) == ["level", "v"]


def test_advice_about_columns_can_be_followed_whatever_their_names(tmp_path: Path) -> None:
    names = ["low, high", "a b", '"q"']
    frame = pd.DataFrame({name: noise(120, n) for n, name in enumerate(names)})
    frame.insert(0, "date", pd.date_range("2021-01-01", periods=120).strftime("%Y-%m-%d"))
    frame["kind"] = np.tile(["x", "y"], 60)
    path = write(tmp_path / "x.csv", frame)
    (finding,) = [f for f in read_table(path, Options()).findings if "category" in f.says]
    option, value = shlex.split(finding.option)
    assert option == "--columns"
    assert list(read_table(path, Options.of(columns=value)).values) == names


def test_that_no_column_is_the_time_is_said_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", pd.DataFrame({"v": noise(120)}))
    says = [f.says for f in load_dataset(str(path)).findings if f.topic == "time"]
    assert says == ["no column is the time: rows are taken in the order of the file"]
    asked = [f for f in load_dataset(str(path), time_column="none").findings if f.topic == "time"]
    assert [f.sure for f in asked] == [True]


def test_large_whole_numbers_that_pandas_takes_for_floats_are_said_to_be_rounded(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [str(12345678901234567890123 + 7**9 * i) for i in range(60)], "v": noise(60)})
    assert "'n' holds numbers of more than 15 digits" in said(read_table(write(tmp_path / "x.csv", frame), Options()))


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


def test_a_question_about_a_mark_shows_cells_that_differ(tmp_path: Path) -> None:
    counts = ["615", "687", "673", "1.239", "1.002", *(["980", "1.450"] * 30)]
    path = write(tmp_path / "x.csv", pd.DataFrame({"n": counts, "k": "a"}), sep=";")
    with pytest.raises(OpenQuestion, match="decimal mark") as error:
        read_table(path, Options())
    first, second = error.value.readings
    assert all(a != b for a, b in zip(first.rows, second.rows, strict=True))


def test_codes_with_zeros_in_front_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [f"{'01067' if n % 2 else '10115'},{n % 7},{value}\n" for n, value in enumerate(noise(60))]
    path.write_text("code,count,v\n" + "".join(rows))
    (finding,) = [f for f in read_table(path, Options()).findings if "codes" in f.says]
    assert "'code' looks like codes ('01067')" in finding.says
    option, value = shlex.split(finding.option)
    assert list(read_table(path, Options.of(**{option[2:]: value})).values) == ["count", "v"]


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


def test_a_class_that_changes_by_the_row_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", pd.DataFrame({"v": noise(120), "kind": np.tile(["a", "b"], 60)}))
    with pytest.raises(DataError, match="leave --label-column out: then 'kind' is learned"):
        load_dataset(str(path), label_column="kind")
    layout = load_dataset(str(path)).layout
    assert layout is not None
    assert "kind" in [column.name for column in layout.columns]


@pytest.mark.parametrize("last", [True, False])
def test_a_last_row_of_totals_is_noticed(tmp_path: Path, last: bool) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"units": rng.integers(0, 20, 60), "price": rng.normal(10, 1, 60).round(2)})
    if last:
        frame.loc[60] = [frame["units"].sum(), frame["price"].sum().round(2)]
    assert ("looks like one of totals" in said(read_table(write(tmp_path / "x.csv", frame), Options()))) is last


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


@pytest.mark.parametrize("empty", [1, 2])
def test_a_count_that_is_empty_in_the_last_rows_is_asked_about(tmp_path: Path, empty: int) -> None:
    frame = pd.DataFrame({"day": np.arange(120), "v": noise(120)}).astype({"day": "Int64"})
    path = write(tmp_path / "x.csv", pd.concat([frame, pd.DataFrame({"v": [60.1, 61.2][:empty]})]))
    with pytest.raises(OpenQuestion, match=r"'day' counts up by one step .* line 122 .*remove") as error:
        read_table(path, Options())
    feature, left = follow(path, error.value)
    assert list(feature.values) == ["day", "v"]
    assert list(left.values) == ["v"]
    lines = path.read_text().splitlines()[:-empty]  # the advice, followed
    path.write_text("\n".join(lines) + "\n")
    table = read_table(path, Options())
    assert table.times is not None
    assert table.times.tolist() == list(range(120))


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


@pytest.mark.parametrize("first", ["date", "a"])
def test_no_header_for_a_file_with_names_is_told_so(tmp_path: Path, first: str) -> None:
    cells = pd.date_range("2020-01-01", periods=90).strftime("%Y-%m-%d") if first == "date" else noise(90, 1)
    path = write(tmp_path / "x.csv", pd.DataFrame({first: cells, "v": noise(90)}))
    with pytest.raises(DataError, match=rf"line 1 seems to name the columns \('{first}'\): leave --no-header out"):
        read_table(path, Options.of(header=False))
    assert "v" in read_table(path, Options()).values
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1].replace(lines[1].split(",")[0], "first?"), *lines[2:]]) + "\n")
    with pytest.raises(DataError) as error:  # a fault in a row of values is no name
        read_table(path, Options.of(header=False))
    assert "leave --no-header out" not in str(error.value)


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


@pytest.mark.parametrize("name", ["which", "v"])
def test_numbers_as_large_as_floats_go_are_read_or_refused_in_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.csv"
    rows = [f"{'-1e308' if n < 30 else n},{n * n % 7}" for n in range(90)]
    path.write_text(f"{name},count\n" + "\n".join(rows) + "\n")
    for options in (Options(), Options(group_column=name), Options(label_column=name)):
        with contextlib.suppress(DataError):
            read_table(path, options)
    assert load_dataset(str(path), window=4, time_column="none").spec.shape[0] == 4


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


def test_an_empty_column_that_is_asked_for_is_refused_and_any_other_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b,e\n" + "".join(f"{i * i % 17},{i * 7 % 31},\n" for i in range(60)))
    for columns in (None, "a,b"):
        table = read_table(tmp_path / "x.csv", Options.of(columns=columns))
        assert list(table.values) == ["a", "b"]
        assert "for they hold no value: e" in said(table)
    with pytest.raises(DataError, match="column 'e' cannot be learned: it holds no value; leave it out of --columns"):
        read_table(tmp_path / "x.csv", Options.of(columns="a,e"))


@pytest.mark.parametrize(
    ("row", "options", "said"), [(0, {"header": False}, True), (3, {"header": False}, False), (0, {}, False)]
)
def test_only_the_first_line_of_a_file_without_names_can_name_its_columns(
    tmp_path: Path, row: int, options: dict[str, bool], said: bool
) -> None:
    opened = open_table(write(tmp_path / "x.csv", pd.DataFrame({"a": ["x", "y"] * 5})), Options())
    assert bool(named_by_first_line(opened, "when", row, Options.of(**options))) is said


@pytest.mark.parametrize(("days", "dates"), [((190701, 190702), False), ((190701, 190702, 190703), True)])
def test_two_values_of_six_digits_are_no_dates(tmp_path: Path, days: tuple[int, ...], dates: bool) -> None:
    path = write(tmp_path / "x.csv", pd.DataFrame({"date": [*days * 10], "v": noise(10 * len(days))}))
    opened = open_table(path, Options())
    assert may_be_date(opened.columns["date"], Options()) is dates
