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
from saddlepoint.data.tables.dates import named_by_first_line
from saddlepoint.data.tables.files import open_table
from saddlepoint.data.tables.table import read_table
from tests.unit.data_helpers import own_cache  # noqa: F401
from tests.unit.tables import follow, noise, panel, said, write


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


def test_large_whole_numbers_that_pandas_takes_for_floats_are_said_to_be_rounded(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [str(12345678901234567890123 + 7**9 * i) for i in range(60)], "v": noise(60)})
    assert "'n' holds numbers of more than 15 digits" in said(read_table(write(tmp_path / "x.csv", frame), Options()))


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


@pytest.mark.parametrize("name", ["which", "v"])
def test_numbers_as_large_as_floats_go_are_read_or_refused_in_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.csv"
    rows = [f"{'-1e308' if n < 30 else n},{n * n % 7}" for n in range(90)]
    path.write_text(f"{name},count\n" + "\n".join(rows) + "\n")
    for options in (Options(), Options(group_column=name), Options(label_column=name)):
        with contextlib.suppress(DataError):
            read_table(path, options)
    assert load_dataset(str(path), window=4, time_column="none").spec.shape[0] == 4


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
