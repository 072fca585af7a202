"""Series of further formats: files made by each format's own library hold what that library reads."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.kinds import kind_findings, kind_of
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion, as_findings
from saddlepoint.data.series.ready import load_ready
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.frame import Frame
from saddlepoint.data.tables.long_array import read_array
from saddlepoint.data.tables.ucr import _step
from tests.unit.data_helpers import own_cache  # noqa: F401


def frame_of(path: Path, **options: Any) -> Frame:
    return READERS[path.suffix](path, Options.of(**options))


def said(found: Any) -> str:
    return "\n".join(finding.sentence() for finding in as_findings(found.notes))


def days(n: int, start: str = "2020-01-28") -> np.ndarray:
    return np.datetime64(start) + np.arange(n)


# workbooks


def test_a_workbook_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    table = pd.DataFrame({
        "day": pd.date_range("2020-01-28", periods=40), "count": np.arange(40), "value": np.linspace(0.5, 4, 40),
        "kind": ["a", "b"] * 20, "open": [True, False] * 20,
    })  # fmt: skip
    table.loc[3, "value"] = np.nan
    table.to_excel(tmp_path / "a.xlsx", index=False)
    frame = frame_of(tmp_path / "a.xlsx")
    expected = pd.read_excel(tmp_path / "a.xlsx")
    pd.testing.assert_frame_equal(frame.data, expected, check_dtype=False)
    assert frame.data["day"].dtype.kind == "M"
    assert frame.data["count"].dtype.kind == "i"
    assert "sheet 'Sheet1'" in said(frame)


def test_sheets_that_hold_tables_are_asked_about(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame({"note": ["read me", "please"]}).to_excel(book, sheet_name="about", index=False)
        pd.DataFrame({"x": np.arange(30)}).to_excel(book, sheet_name="one", index=False)
        pd.DataFrame({"y": np.arange(20.0) / 3}).to_excel(book, sheet_name="two", index=False)
    with pytest.raises(OpenQuestion, match="tables in 2 sheets") as asked:
        frame_of(tmp_path / "a.xlsx")
    assert [reading.options for reading in asked.value.readings] == [{"sheet": "one"}, {"sheet": "two"}]
    assert asked.value.readings[0].rows[:2] == ["x", "0"]
    for reading, column in zip(asked.value.readings, ("x", "y"), strict=True):
        assert list(frame_of(tmp_path / "a.xlsx", **reading.options).data.columns) == [column]
    with pytest.raises(DataError, match="did you mean 'two'"):
        frame_of(tmp_path / "a.xlsx", sheet="tow")


def test_titles_units_and_nameless_columns_of_a_sheet(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Station 7, all values as measured"])
    sheet.append([])
    sheet.append([None, "time", "temp", "rain", None])
    sheet.append([None, None, "°C", "mm", None])
    for i in range(12):
        sheet.append([None, datetime.time(i, 30), 20 + i / 10, "#DIV/0!" if i == 4 else i, None])
    book.save(tmp_path / "a.xlsx")
    frame = frame_of(tmp_path / "a.xlsx")
    assert list(frame.data.columns) == ["time", "temp", "rain"]
    assert frame.data["time"].tolist()[:2] == ["00:30:00", "01:30:00"]
    assert frame.data["temp"].tolist() == [20 + i / 10 for i in range(12)]
    assert frame.data["rain"].isna().tolist() == [i == 4 for i in range(12)]
    for words in ("2 rows above the names", "units", "1 columns without name and values", "#DIV/0!"):
        assert words in said(frame)


def test_a_sheet_without_names_and_one_with_years(tmp_path: Path) -> None:
    import openpyxl

    for name, first in (("bare", [1.5, 2.5, 3.5]), ("years", ["country", 1990, 1991])):
        book = openpyxl.Workbook()
        book.active.append(first)
        for i in range(10):
            book.active.append([i if name == "bare" else f"c{i}", i + 0.5, i + 1])
        book.save(tmp_path / f"{name}.xlsx")
    frame = frame_of(tmp_path / "bare.xlsx")
    assert list(frame.data.columns) == ["column1", "column2", "column3"]
    assert len(frame.data) == 11
    assert "no row names the columns" in said(frame)
    assert list(frame_of(tmp_path / "years.xlsx").data.columns) == ["country", "1990", "1991"]


def test_formulas_without_values_are_told(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["x", "double"])
    for i in range(10):
        book.active.append([i, f"=A{i + 2}*2"])
    book.save(tmp_path / "a.xlsx")
    assert "10 formulas have no value stored" in said(frame_of(tmp_path / "a.xlsx"))


@pytest.mark.parametrize("name", ["a.xls", "a.ods", "a.xlsb"])
def test_other_workbooks_are_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(DataError, match=r"save it as \.xlsx or as CSV"):
        frame_of(tmp_path / name)
    (tmp_path / "a.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(DataError, match="old or an encrypted workbook"):
        frame_of(tmp_path / "a.xlsx")


# archives of series


def test_ts_of_unequal_lengths_with_missing_values_and_classes(tmp_path: Path) -> None:
    (tmp_path / "A_TRAIN.ts").write_text(
        "# about\n@problemName A\n@timeStamps false\n@missing true\n@univariate false\n@dimensions 2\n"
        "@equalLength false\n@classLabel true Up Down\n@data\n1,2,?:4,5,6:Up\n-1e3,7:8,9.5:Down\n"
    )
    (tmp_path / "A_TEST.ts").write_text("@data\n")
    frame = frame_of(tmp_path / "A_TRAIN.ts")
    assert frame.data["x1"].tolist()[:2] == [1, 2]
    assert np.isnan(frame.data["x1"][2])
    assert frame.data["x1"].tolist()[3:] == [-1000, 7]
    assert frame.data["x2"].tolist() == [4, 5, 6, 8, 9.5]
    assert (frame.group, frame.label, frame.time) == ("case", "class", None)
    assert frame.data["case"].tolist() == ["1"] * 3 + ["2"] * 2
    assert frame.data["class"].tolist() == ["Up"] * 3 + ["Down"] * 2
    assert "2 series of 2 to 3 steps and 2 channels" in said(frame)
    assert "of each series is the column" in said(frame)
    assert "A_TEST.ts is not read" in said(frame)


def test_ts_whose_classes_end_midway_is_refused(tmp_path: Path) -> None:
    """Before, a file whose header does not speak of classes, and whose series do not all have one, was a traceback."""
    (tmp_path / "a.ts").write_text("@data\n1,2,3:a\n4,5,6:b\n")
    assert list(READERS[".ts"](tmp_path / "a.ts", Options()).data["class"].unique()) == ["a", "b"]
    for rows in ("1,2,3:a\n4,5,6:7,8,9\n", "1,2:3,4\n5,6:7,8\n1,2:3,4:a\n"):
        (tmp_path / "a.ts").write_text("@data\n" + rows)
        with pytest.raises(DataError, match=r"line \d: (some series end with a class|a series has)"):
            READERS[".ts"](tmp_path / "a.ts", Options())


def test_ts_with_timestamps_and_a_target(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(
        "@timestamps true\n@targetlabel true\n@data\n"
        "(2020-01-01 00:00:00,-1),(2020-01-01 01:00:00,2):(2020-01-01 00:00:00,3),(2020-01-01 01:00:00,?):0.5\n"
    )
    frame = frame_of(tmp_path / "a.ts")
    assert frame.data["time"].tolist() == ["2020-01-01 00:00:00", "2020-01-01 01:00:00"]
    assert frame.data["x1"].tolist() == [-1, 2]
    assert frame.data["x2"].isna().tolist() == [False, True]
    assert frame.data["target"].tolist() == [0.5, 0.5]
    assert (frame.time, frame.label) == ("time", None)


@pytest.mark.parametrize(
    ("frequency", "times"),
    [
        ("yearly", ["1980-02-29T10:30:00", "1981-02-28T10:30:00", "1982-02-28T10:30:00"]),
        ("quarterly", ["1980-02-29T10:30:00", "1980-05-29T10:30:00", "1980-08-29T10:30:00"]),
        ("monthly", ["1980-02-29T10:30:00", "1980-03-29T10:30:00", "1980-04-29T10:30:00"]),
        ("weekly", ["1980-02-29T10:30:00", "1980-03-07T10:30:00", "1980-03-14T10:30:00"]),
        ("half_hourly", ["1980-02-29T10:30:00", "1980-02-29T11:00:00", "1980-02-29T11:30:00"]),
        ("4_seconds", ["1980-02-29T10:30:00", "1980-02-29T10:30:04", "1980-02-29T10:30:08"]),
    ],
)
def test_tsf(tmp_path: Path, frequency: str, times: list[str]) -> None:
    (tmp_path / "a.tsf").write_text(
        "@relation a\n@attribute series_name string\n@attribute state string\n@attribute size numeric\n"
        f"@attribute start_timestamp date\n@frequency {frequency}\n@horizon 4\n@missing true\n@data\n"
        "T1:NSW:3:1980-02-29 10-30-00:1,?,3\nT2:NSW:5:1980-02-29 10-30-00:7,-8\n"
    )
    frame = frame_of(tmp_path / "a.tsf")
    assert frame.data["time"].to_numpy().astype("M8[s]").astype(str).tolist() == times + times[:2]
    assert np.array_equal(frame.data["x"], [1, np.nan, 3, 7, -8], equal_nan=True)
    assert frame.data["case"].tolist() == ["T1"] * 3 + ["T2"] * 2
    assert frame.data["state"].tolist() == ["NSW"] * 5
    assert frame.data["size"].tolist() == [3, 3, 3, 5, 5]
    assert (frame.time, frame.group) == ("time", "case")
    assert set(frame.data) == {"time", "x", "case", "state", "size"}, "names and dates are told already"


def test_tsf_of_a_strange_frequency_keeps_the_order(tmp_path: Path) -> None:
    (tmp_path / "a.tsf").write_text(
        "@attribute n string\n@attribute s date\n@frequency lunar\n@data\nT1:1980-02-29 10-30-00:1,2,3\n"
    )
    frame = frame_of(tmp_path / "a.tsf")
    assert frame.time is None
    assert "'s' is left out: rows are in order (the frequency is 'lunar')" in said(frame)


def test_arff_flat_is_what_scipy_reads(tmp_path: Path) -> None:
    from scipy.io import arff

    text = (
        "% about\n@relation r\n"
        "@attribute 'temp out' real\n@attribute count integer\n@attribute kind {'a b', c}\n@data\n"
        "1.5,3,'a b'\n?,4,c\n-2e1,5,'a b'\n"
    )
    (tmp_path / "a.arff").write_text(text)
    frame = frame_of(tmp_path / "a.arff")
    values, _ = arff.loadarff(tmp_path / "a.arff")
    assert np.array_equal(frame.data["temp out"], values["temp out"], equal_nan=True)
    assert frame.data["count"].tolist() == values["count"].tolist()
    assert [text.encode() for text in frame.data["kind"]] == values["kind"].tolist()
    assert frame.label == "kind"


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("yearly", (12, 0)), ("quarterly", (3, 0)), ("monthly", (1, 0)), ("weekly", (0, 7 * 86_400)),
        ("daily", (0, 86_400)), ("hourly", (0, 3600)), ("half_hourly", (0, 1800)), ("minutely", (0, 60)),
        ("secondly", (0, 1)), ("4_seconds", (0, 4)), ("1_second", (0, 1)), ("10_minutes", (0, 600)),
        ("2_hours", (0, 7200)), ("3_days", (0, 3 * 86_400)), ("0_days", None), ("now_and_then", None), ("", None),
    ],
)  # fmt: skip
def test_frequencies_of_tsf_are_months_or_seconds(words: str, step: tuple[int, int] | None) -> None:
    assert _step(words) == step


def test_arff_of_channels(tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(
        "@relation r\n"
        "@attribute relationalAtt relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end relationalAtt\n"
        "@attribute class {up, down}\n@data\n'1,2\\n3,4',up\n'5,?\\n7,8',down\n"
    )
    frame = frame_of(tmp_path / "a.arff")
    assert np.array_equal(frame.data["x1"], [1, 2, 5, np.nan], equal_nan=True)
    assert frame.data["x2"].tolist() == [3, 4, 7, 8]
    assert frame.data["class"].tolist() == ["up", "up", "down", "down"]
    (tmp_path / "sparse.arff").write_text("@relation r\n@attribute a numeric\n@data\n{0 3}\n")
    with pytest.raises(DataError, match="line 4: rows are sparse"):
        frame_of(tmp_path / "sparse.arff")


# NetCDF and zarr


def weather(**more: Any) -> Any:
    import xarray

    rng, dims = np.random.default_rng(0), ("time", "lat", "lon")
    return xarray.Dataset(
        {"temp": (dims, rng.normal(10, 5, (30, 2, 3))), "rain": (dims, rng.random((30, 2, 3))),
         "co2": (("time",), np.arange(30.0)), "height": (("lat", "lon"), np.arange(6.0).reshape(2, 3))},
        coords={"time": pd.date_range("2020-02-01", periods=30), "lat": [50.0, 51.0], "lon": [7.0, 8.0, 9.0], **more},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["classic", "netcdf4", "zarr2", "zarr3"])
def test_grids_are_what_xarray_gives(tmp_path: Path, kind: str) -> None:
    data = weather()
    data["temp"].encoding = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -9999}
    data["temp"][3, 1, 2] = np.nan
    path = tmp_path / ("a.zarr" if kind.startswith("zarr") else "a.nc")
    if kind.startswith("zarr"):
        data.to_zarr(path, zarr_format=int(kind[-1]), consolidated=False)
        import xarray

        own = xarray.open_zarr(path, consolidated=False)
    else:
        data.to_netcdf(path, engine="scipy" if kind == "classic" else "h5netcdf")
        import xarray

        own = xarray.open_dataset(path)
    expected = own.to_dataframe(dim_order=["lat", "lon", "time"]).reset_index()
    own.close()
    frame = frame_of(path)
    assert (frame.time, frame.group) == ("time", "series")
    assert frame.data["time"].tolist() == expected["time"].tolist()
    for name in ("temp", "rain", "co2", "height"):
        assert np.array_equal(frame.data[name], expected[name], equal_nan=True), name
    assert frame.data["temp"].isna().sum() == 1
    assert frame.data["series"].tolist() == [
        f"lat={a} lon={b}" for a, b in zip(expected.lat, expected.lon, strict=True)
    ]
    assert "each of the 6 places along lat, lon is a series" in said(frame)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_other_calendars_are_kept_as_numbers_and_said(tmp_path: Path, calendar: str) -> None:
    import xarray

    times = xarray.date_range("2001-02-20", periods=20, calendar=calendar, use_cftime=True)
    xarray.Dataset({"t": (("time",), np.arange(20.0))}, {"time": times}).to_netcdf(tmp_path / "a.nc")
    frame = frame_of(tmp_path / "a.nc")
    assert np.array_equal(np.diff(frame.data["time"]), np.ones(19))
    assert f"its calendar is '{calendar}'" in said(frame)
    assert "as numbers: days since 2001-02-20" in said(frame)


def test_variables_of_different_dimensions_are_asked_about(tmp_path: Path) -> None:
    import xarray

    xarray.Dataset(
        {"a": (("time", "site"), np.ones((9, 2))), "b": (("time", "depth"), np.zeros((9, 4)))},
        {"time": days(9), "site": ["x", "y"]},
    ).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(OpenQuestion, match="different dimensions") as asked:
        frame_of(tmp_path / "a.nc")
    for reading in asked.value.readings:
        frame = frame_of(tmp_path / "a.nc", **reading.options)
        assert reading.options["columns"] in frame.data
    assert frame_of(tmp_path / "a.nc", columns="a").data["site"].tolist() == ["x"] * 9 + ["y"] * 9


def test_a_grid_without_a_time_is_asked_about(tmp_path: Path) -> None:
    import xarray

    values = np.arange(12.0).reshape(3, 4)
    xarray.Dataset({"a": (("row", "sample"), values)}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(OpenQuestion, match="which dimension is the time") as asked:
        frame_of(tmp_path / "a.nc")
    found = {r.options["time_column"]: frame_of(tmp_path / "a.nc", **r.options).data for r in asked.value.readings}
    assert found["sample"]["a"].tolist() == values.reshape(-1).tolist()
    assert found["row"]["a"].tolist() == values.T.reshape(-1).tolist()
    assert found["row"]["sample"].tolist() == ["0"] * 3 + ["1"] * 3 + ["2"] * 3 + ["3"] * 3


def test_grids_that_lead_outside_or_unpickle_are_refused(tmp_path: Path) -> None:
    import h5py
    import zarr

    weather().to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "in.nc", "a") as file:
        file["more"] = h5py.ExternalLink("other.nc", "temp")
    with pytest.raises(DataError, match=r"holds links \(more\)"):
        frame_of(tmp_path / "in.nc")
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.create_array("x", shape=(4,), dtype="f8")
    held = json.loads((tmp_path / "a.zarr/x/.zarray").read_text())
    held["filters"] = [{"id": "pickle", "protocol": 5}]
    (tmp_path / "a.zarr/x/.zarray").write_text(json.dumps(held))
    with pytest.raises(DataError, match="asks for pickles"):
        frame_of(tmp_path / "a.zarr")


# arrays


def waves(n: int, steps: int = 24, features: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    phase, pace = rng.random((n, 1, features)) * 6, rng.random((n, 1, features)) + 0.5
    return 10 * np.sin(phase + pace * np.arange(steps)[None, :, None] / 3) + rng.normal(0, 0.1, (n, steps, features))


def test_ready_windows(tmp_path: Path) -> None:
    x = waves(300).astype(np.float32)
    np.save(tmp_path / "windows.npy", x)
    assert kind_of(tmp_path / "windows.npy") == "sequence"
    data = load_ready("windows.npy", tmp_path / "windows.npy", Options())
    assert data.spec.shape == (24, 5)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 240, "valid": 30, "test": 30}
    assert data.layout is not None
    assert [column.name for column in data.layout.columns] == ["x1", "x2", "x3", "x4", "x5"]
    blocks = {"train": x[:240], "valid": x[240:270], "test": x[270:]}
    for split, expected in blocks.items():
        restored = data.layout.restore(np.asarray(data.splits[split].x))
        assert np.allclose(restored, expected, atol=1e-5 * 20)
    assert float(data.splits["train"].x.min()) == 0
    assert float(data.splits["train"].x.max()) == 1
    assert any("300 ready windows of 24 steps and 5 features" in note for note in data.notes)
    again = load_ready("windows.npy", tmp_path / "windows.npy", Options())
    assert again.fingerprint == data.fingerprint


def test_windows_within_the_range_of_images_are_asked_about(tmp_path: Path) -> None:
    np.save(tmp_path / "windows.npy", np.random.default_rng(0).random((300, 24, 5), dtype=np.float32))
    with pytest.raises(OpenQuestion, match=r"shape \(300, 24, 5\)") as asked:
        kind_of(tmp_path / "windows.npy")
    assert [reading.options for reading in asked.value.readings] == [{"modality": "sequence"}, {"modality": "image"}]
    for reading in asked.value.readings:
        assert kind_of(tmp_path / "windows.npy", Options.of(**reading.options)) == reading.options["modality"]


@pytest.mark.parametrize(
    ("array", "kind", "words"),
    [
        (np.zeros((20, 28, 28), np.uint8), "image", ""),
        (np.zeros((20, 5, 28, 3), np.float32), "image", ""),
        (np.random.default_rng(0).random((20, 28, 28)), "image", "--modality sequence"),
        (np.random.default_rng(0).random((20, 24, 3)), "sequence", ""),
        (np.random.default_rng(0).normal(size=(20, 24, 6)), "sequence", "--modality image"),
        (np.random.default_rng(0).normal(size=(500, 3)), "vector", "--modality sequence"),
        (np.arange(200.0), "sequence", ""),
    ],
)  # fmt: skip
def test_kinds_of_arrays(tmp_path: Path, array: np.ndarray, kind: str, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    assert kind_of(tmp_path / "a.npy") == kind
    told = " ".join(finding.sentence() for finding in kind_findings(tmp_path / "a.npy", Options()))
    assert words in told
    assert array.dtype != np.uint8 or not told


def test_a_long_series_is_asked_about_and_read(tmp_path: Path) -> None:
    x = np.cumsum(np.random.default_rng(0).normal(size=(400, 3)), axis=0)
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(OpenQuestion, match="follow one another smoothly") as asked:
        kind_of(tmp_path / "a.npy")
    assert [reading.options["modality"] for reading in asked.value.readings] == ["sequence", "vector"]
    frame = read_array(tmp_path / "a.npy", Options.of(modality="sequence"))
    assert list(frame.data.columns) == ["x1", "x2", "x3"]
    assert np.array_equal(frame.data.to_numpy(), x)


def test_overlapping_windows_share_no_row_across_parts(tmp_path: Path) -> None:
    long = np.cumsum(np.random.default_rng(0).normal(size=(500, 2)), axis=0)
    x = np.lib.stride_tricks.sliding_window_view(long, 24, axis=0).transpose(0, 2, 1)[::2]
    np.save(tmp_path / "a.npy", x)
    data = load_ready("a.npy", tmp_path / "a.npy", Options())
    assert data.layout is not None
    rows = {s: {row.tobytes() for row in np.round(data.layout.restore(np.asarray(p.x)), 4).reshape(-1, 2)}
            for s, p in data.splits.items()}  # fmt: skip
    assert not rows["train"] & rows["valid"]
    assert not rows["valid"] & rows["test"]
    assert any(
        "each begins 2 rows after the one before" in note and "11 windows before each" in note for note in data.notes
    )
    shuffled = x[np.random.default_rng(1).permutation(len(x))]
    np.save(tmp_path / "b.npy", shuffled)
    told = load_ready("b.npy", tmp_path / "b.npy", Options()).notes
    assert any("stand in training windows too" in note for note in told)
    np.save(tmp_path / "c.npy", waves(300))
    assert not any("training windows too" in n for n in load_ready("c.npy", tmp_path / "c.npy", Options()).notes)


def test_an_npz_of_windows_with_labels_names_splits_gaps_and_a_static_feature(tmp_path: Path) -> None:
    x = np.round(waves(120, 12, 3), 2)
    x[:, :, 0] = np.arange(120)[:, None] % 7
    x[5, 9:] = np.nan
    x[6, 4, 1] = np.nan
    y = np.array(["up", "down"])[np.arange(120) % 2]
    np.savez(tmp_path / "a.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:],
             columns=np.array(["kind", "a", "b"]))  # fmt: skip
    assert kind_of(tmp_path / "a.npz") == "sequence"
    data = load_ready("a.npz", tmp_path / "a.npz", Options())
    assert data.layout is not None
    assert data.static == 1
    assert [column.name for column in data.layout.columns] == ["a", "b", "kind"]
    assert data.layout.order == ("kind", "a", "b")
    assert data.classes == ("down", "up")
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [90, 10, 20]
    train, restored = data.splits["train"], data.layout.restore(np.asarray(data.splits["train"].x))
    assert train.labels is not None
    assert train.labels.tolist() == [int(label == "up") for label in y[:90]]
    assert np.isnan(restored[5, 9:]).all()
    assert np.allclose(restored[5, :9], x[5, :9][:, [1, 2, 0]], atol=1e-4)
    assert restored[6, 4, 0] == pytest.approx((x[6, 3, 1] + x[6, 5, 1]) / 2, abs=0.006)
    assert any("1 missing values lie on straight lines" in note for note in data.notes)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((20, 24, 5), np.inf), "infinite"),
        (np.ones((20, 24, 5)), "every feature is constant"),
        (np.random.default_rng(0).random((3, 24, 5)), "at least 5"),
        (np.random.default_rng(0).random((20, 2, 5)), "3 to 4096"),
        (np.random.default_rng(0).random((20, 24)), "windows are"),
    ],
)  # fmt: skip
def test_windows_that_cannot_be_used(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=words):
        load_ready("a.npy", tmp_path / "a.npy", Options())


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("a.xlsx", "openpyxl", "excel"), ("a.nc", "xarray", "netcdf"), ("a.zarr", "zarr", "netcdf")],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    import sys

    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    if name.endswith("zarr"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"needs {module}: pip install 'saddlepoint\[{extra}\]'"):
        frame_of(tmp_path / name)
