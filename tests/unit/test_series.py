"""Tables become windows: round trips, splits by construction, the rules for gaps and missing values, hostile files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Dataset, Split, inspect_source, load_dataset, load_samples
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.series import windows as series
from saddlepoint.data.series.layout import Column, Layout, layout_from_json
from saddlepoint.data.series.samples import csv_text, write_samples
from saddlepoint.data.series.sines import SINES
from saddlepoint.data.series.time_index import TimeIndex, time_index_from_json
from saddlepoint.data.tables.numbers import decimals_of
from saddlepoint.data.tables.pace import step_text
from tests.unit.data_helpers import own_cache  # noqa: F401

DAYS = np.datetime64("2021-01-01") + np.arange(1000)


def write(path: Path, lines: list[str]) -> str:
    """Write a CSV and return its path."""
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def shops(path: Path, rows: int = 300) -> str:
    """Three shops with dates, a gap of a month, a whole number, a price with two decimals and a size of the shop."""
    rng, lines = np.random.default_rng(0), ["date,shop,size,visitors,price"]
    for shop, size in (("north", 3), ("south", 5), ("west", 8)):
        for i in range(rows):
            day = DAYS[i + (30 if i >= 100 else 0)]
            lines.append(f"{day},{shop},{size},{100 + rng.integers(0, 50)},{10 + rng.normal():.2f}")
    return write(path, lines)


def original(data: Dataset, split: str) -> np.ndarray:
    """Return the windows of a split in the units of the file."""
    assert data.layout is not None
    return data.layout.restore(data.splits[split].x)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [(np.arange(-5.0, 90), 0), (np.array([1.25, 3.5, -7.75]), 2), (np.array([2.0**40, 3, 7]), 0),
     (np.random.default_rng(0).normal(size=50), None)],
)  # fmt: skip
def test_the_scaler_is_inverted_exactly(values: np.ndarray, decimals: int | None) -> None:
    assert decimals_of(values) == decimals
    column = Column("x", float(values.min()), float(values.max()), decimals)
    scaled = column.scale(values)
    assert (scaled.min(), scaled.max()) == (0, 1)
    back = column.restore(scaled)
    if decimals is None:
        assert np.abs(back - values).max() <= 4 * np.spacing(np.abs(values).max())
    else:
        assert np.array_equal(back, values)


def test_a_constant_column_is_scaled_to_0_and_comes_back_whatever_a_generator_makes() -> None:
    column = Column("x", 7.3, 7.3, 1)
    assert column.scale(np.array([7.3]))[0] == 0
    assert column.restore(np.array([0.4, np.nan])).tolist()[0] == 7.3
    assert np.isnan(column.restore(np.array([np.nan]))[0])


def test_no_row_is_in_two_parts_when_values_are_row_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ["group,row,other"] + [f"{'ab'[i % 2]},{i},{(i * 7) % 13}" for i in range(800)])
    data = load_dataset(path, group_column="group", columns="row,other", window=10)
    assert data.layout is not None
    place = [column.name for column in data.layout.columns].index("row")
    seen = {split: {int(row) for row in original(data, split)[..., place].ravel()} for split in data.splits}
    assert not seen["train"] & seen["valid"]
    assert not seen["train"] & seen["test"]
    assert not seen["valid"] & seen["test"]
    assert set().union(*seen.values()) == set(range(800))
    for group in (0, 1):  # in every series the parts follow one another in time
        rows = {split: [r for r in found if r % 2 == group] for split, found in seen.items()}
        assert max(rows["train"]) < min(rows["valid"])
        assert max(rows["valid"]) < min(rows["test"])
    windows = original(data, "train")[..., place]
    assert (np.diff(windows, axis=1) == 2).all()
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 622, "valid": 62, "test": 62}


def test_the_scaler_sees_training_rows_only(tmp_path: Path) -> None:
    values = [*range(100), 1_000_000]
    data = load_dataset(write(tmp_path / "x.csv", ["v", *map(str, values)]), window=5)
    train = data.splits["train"].x
    assert (train.min(), train.max()) == (0, 1)
    assert data.splits["test"].x.max() > 1000
    assert original(data, "test")[-1, -1, 0] == pytest.approx(1_000_000, rel=1e-6)


def test_windows_do_not_go_across_gaps_and_are_all_there_is(tmp_path: Path) -> None:
    days = [*DAYS[:60], *DAYS[90:190]]
    path = write(tmp_path / "x.csv", ["day,v", *(f"{day},{i}" for i, day in enumerate(days))])
    data = load_dataset(path, window=8)
    rows = np.concatenate([original(data, split)[..., 0] for split in data.splits])
    assert not ((rows[:, 0] < 60) & (rows[:, -1] >= 60)).any()
    assert len(rows) == (60 - 7) + (68 - 7) + 2 * (16 - 7)
    assert any("1 gap of" in note and "1 day" in note for note in data.notes)


def test_weekends_and_months_are_no_gaps(tmp_path: Path) -> None:
    working = [d for d in DAYS if np.is_busday(d)][:200]
    data = load_dataset(write(tmp_path / "w.csv", ["d,v", *(f"{d},{i}" for i, d in enumerate(working))]), window=8)
    assert data.layout is not None
    assert data.layout.time_index is not None
    assert (data.layout.time_index.unit, data.layout.time_index.step) == ("working days", 1)
    assert not any("gaps" in note for note in data.notes)
    after = [np.datetime64(day) for day in data.layout.time_index.after(7)]
    assert np.is_busday(after).all()
    assert np.busday_count(working[-1], after[0]) == 1
    months = np.datetime64("1990-01") + np.arange(120)
    path = write(tmp_path / "m.csv", ["d,v", *(f"{m}-01,{i}" for i, m in enumerate(months))])
    monthly = load_dataset(path, window=8).layout
    assert monthly is not None
    assert monthly.time_index is not None
    assert monthly.time_index.after(3) == ["2000-01-01", "2000-02-01", "2000-03-01"]


def time_index_of(path: str, **options: str) -> TimeIndex:
    """Return the clock of a table."""
    layout = load_dataset(path, window=8, **options).layout
    assert layout is not None
    assert layout.time_index is not None
    return layout.time_index


def test_ends_of_months_stay_ends_and_other_days_stay_days(tmp_path: Path) -> None:
    months = np.datetime64("1990-01") + np.arange(122)
    ends = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    path = write(tmp_path / "ends.csv", ["d,v", *(f"{d},{i}" for i, d in enumerate(ends))])
    assert time_index_of(path).after(3) == ["2000-03-31", "2000-04-30", "2000-05-31"]
    path = write(tmp_path / "28.csv", ["d,v", *(f"{m}-28,{i}" for i, m in enumerate(months[:110]))])
    assert str(months[109]) == "1999-02"  # whose last day it is
    assert time_index_of(path).after(2) == ["1999-03-28", "1999-04-28"]
    quarters = [f"{m}-30" for m in months if str(m)[-2:] in ("03", "06", "09")]
    path = write(tmp_path / "30.csv", ["d,v", *(f"{d},{i}" for i, d in enumerate(quarters))])
    assert time_index_of(path).after(1) == ["1999-12-30"]
    business = [np.busday_offset(end, 0, roll="backward") for end in ends]
    path = write(tmp_path / "bme.csv", ["d,v", *(f"{d},{i}" for i, d in enumerate(business))])
    expected = pd.date_range("2000-03-01", periods=3, freq="BME").strftime("%Y-%m-%d").tolist()
    assert time_index_of(path).after(3) == expected


def test_the_step_in_working_days_is_that_within_series(tmp_path: Path) -> None:
    mondays = np.datetime64("2021-01-04") + 7 * np.arange(60)
    lines = [f"{m + np.timedelta64(day, 'D')},g{i},{i + day}" for i, m in enumerate(mondays) for day in range(2)]
    time_index = time_index_of(write(tmp_path / "x.csv", ["d,g,v", *lines]), group_column="g")
    assert (time_index.unit, time_index.step) == ("working days", 1)


def test_dates_written_as_numbers_are_dates(tmp_path: Path) -> None:
    lines = ["date,v", *(f"{str(day).replace('-', '')},{i}" for i, day in enumerate(DAYS[:365]))]
    data = load_dataset(write(tmp_path / "x.csv", lines), window=8, calendar="off")
    assert data.spec.shape == (8, 1)
    assert not any("gaps" in note for note in data.notes)
    assert data.layout is not None
    assert data.layout.time_index is not None
    assert data.layout.time_index.after(2) == [20220101, 20220102]
    # Numbers of that size that are no dates are a feature like others.
    numbers = ["date,v", *(f"{20200000 + i * 37 % 1300},{i}" for i in range(200))]
    assert load_dataset(write(tmp_path / "n.csv", numbers), window=8, time_column="none").spec.shape == (8, 2)


def test_numbers_of_time_keep_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ["t,v", *(f"{i / 10:.1f},{i * i % 97}" for i in range(1000))])
    assert time_index_of(path, time_column="t").after(3) == [100.0, 100.1, 100.2]
    path = write(tmp_path / "y.csv", ["t,v", *(f"{3 * i // 2},{i * i % 97}" for i in range(201))])
    with pytest.raises(OpenQuestion, match="keep no step"):
        load_dataset(path, time_column="t")
    after = time_index_of(path, time_column="t", resample="3").after(3)
    assert after == [303, 306, 309]
    assert all(isinstance(t, int) for t in after)
    path = write(tmp_path / "z.csv", ["t,v", *NUMBERS, ",3"])
    with pytest.raises(DataError, match=r"line 202 has no time in column 't'; fill or remove"):
        load_dataset(path, time_column="t")


def test_a_first_column_without_a_name_is_an_index_a_time_or_refused(tmp_path: Path) -> None:
    counted = load_dataset(write(tmp_path / "i.csv", [",a,b", *(f"{i},{n}" for i, n in enumerate(NUMBERS))]), window=8,
                           time_column="none")  # fmt: skip
    assert counted.spec.shape == (8, 2)
    assert any("counts the rows (in order) and is left out" in note for note in counted.notes)
    path = write(tmp_path / "d.csv", [",a", *(f"{d},{i}" for i, d in enumerate(DAYS[:100]))])
    dated = load_dataset(path, window=8, calendar="off")
    assert dated.layout is not None
    assert dated.layout.time_index is not None
    assert dated.layout.time_index.after(1) == [str(DAYS[100])]
    samples = write_samples(tmp_path / "s.csv", dated.splits["test"].x[:1], dated.layout)
    assert samples.read_text().splitlines()[1].replace('"', "").split(",")[:2] == ["0", str(DAYS[100])]
    path = write(tmp_path / "f.csv", [",b", *(f"{i % 7 / 10},{i}" for i in range(200))])
    unnamed = load_dataset(path, window=8)
    assert unnamed.spec.shape == (8, 1)
    assert any("it has no name; name it in the first line to learn it" in note for note in unnamed.notes)
    assert load_dataset(path, window=8, columns="b").spec.shape == (8, 1)


def test_series_of_one_row_are_counted_and_said(tmp_path: Path) -> None:
    singles = write(tmp_path / "x.csv", ["id,v", *(f"{i},{i * i % 97}" for i in range(100))])
    with pytest.raises(DataError, match=r"each of its 100 series has a single row.*another --group-column"):
        load_dataset(singles, group_column="id")
    mixed = write(tmp_path / "y.csv", ["id,v", *(f"{max(0, i - 99)},{i * i % 97}" for i in range(105))])
    assert any("5 series of a single row were left out" in n for n in load_dataset(mixed, group_column="id").notes)


def test_irregular_times_are_left_aside_and_rows_put_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(10, 200)).round(3)
    order = rng.permutation(200)
    path = write(tmp_path / "x.csv", ["t,v", *(f"{times[i]},{i}" for i in order)])
    with pytest.raises(OpenQuestion, match="keep no step") as caught:
        load_dataset(path, window=8, time_column="t")
    assert [dict(reading.options) for reading in caught.value.readings] == [{"resample": "8.17"}, {"resample": "steps"}]
    data = load_dataset(path, window=8, time_column="t", resample="steps")
    assert (np.diff(original(data, "train")[..., 0], axis=1) == 1).all()
    assert np.allclose(original(data, "train")[0, :, 1], np.diff(times)[:8], atol=1e-5)


def test_missing_values_lie_on_lines_within_their_part(tmp_path: Path) -> None:
    values: list[object] = list(range(100))
    for gone in (0, 10, 11, 79, 80, 99):
        values[gone] = ""
    data = load_dataset(write(tmp_path / "x.csv", ["v,w", *(f"{v},{i}" for i, v in enumerate(values))]), window=10,
                        time_column="none")  # fmt: skip
    by_row = {int(w): v for split in data.splits for v, w in original(data, split).reshape(-1, 2)}
    assert [by_row[i] for i in (10, 11)] == [10, 11]
    # at the ends of a part the nearest value of that part: nothing comes from the next one
    assert [by_row[i] for i in (0, 79, 80, 99)] == [1, 78, 81, 98]
    assert any("6 missing values" in note for note in data.notes)


def test_short_series_become_windows_with_an_end(tmp_path: Path) -> None:
    lines = ["id,v,age"]
    for person in range(40):
        lines += [f"p{person},{person * 100 + i},{person % 7}" for i in range(3 + person % 5)]
    data = load_dataset(write(tmp_path / "x.csv", lines), group_column="id", window=6)
    assert data.static == 1
    assert data.spec.static == 1
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 36, "valid": 4, "test": 8}
    people: dict[str, set[int]] = {}
    for split, part in data.splits.items():
        gone = np.isnan(part.x)
        assert (gone.any(2) == gone.all(2)).all()
        assert not (gone[:, :-1, 0] & ~gone[:, 1:, 0]).any()
        people[split] = set((original(data, split)[:, 0, 0] // 100).astype(int))
    assert not people["train"] & people["test"]
    assert not people["train"] & people["valid"]
    assert set().union(*people.values()) == set(range(40))
    ages = original(data, "train")[:, 0, 1]
    assert np.array_equal(ages, (original(data, "train")[:, 0, 0] // 100) % 7)
    stats = data.stats()
    assert bool(stats.mean.isfinite().all())
    x = data.splits["train"].x.astype(np.float64)
    assert np.allclose(stats.mean[0].numpy(), np.nanmean(x[:, 0], axis=0), atol=1e-6)
    assert np.allclose(stats.std[2].numpy(), np.nanstd(x[:, 2], axis=0), atol=1e-6)


def test_statistics_leave_out_what_lies_after_the_end() -> None:
    x = np.array([[[0.0], [1.0]], [[1.0], [np.nan]], [[0.5], [np.nan]]], dtype=np.float32)
    stats = Dataset("x", "sequence", {"train": Split(x)}, (), "").stats()
    assert torch.allclose(stats.mean, torch.tensor([[0.5], [1.0]]))
    assert torch.allclose(stats.std, torch.tensor([[(1 / 6) ** 0.5], [0.0]]))


def test_labels_become_classes_and_windows_have_one(tmp_path: Path) -> None:
    lines = ["v,mood"] + [f"{i},{'up' if (i // 50) % 2 else 'down'}" for i in range(600)]
    data = load_dataset(write(tmp_path / "x.csv", lines), label_column="mood", window=10)
    assert data.classes == ("down", "up")
    for split, part in data.splits.items():
        rows = original(data, split)[..., 0].round()
        assert part.labels is not None
        assert ((rows // 50) % 2 == part.labels[:, None]).all()
    assert data.spec.shares == pytest.approx(np.bincount(data.splits["train"].labels) / len(data.splits["train"]))


def test_a_stride_keeps_windows_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MOST_WINDOWS", 1000)
    data = load_dataset(write(tmp_path / "x.csv", ["v", *map(str, range(5000))]), window=10)
    rows = original(data, "train")[:, 0, 0].round()
    assert (np.diff(rows) == 5).all()
    assert sum(len(part) for part in data.splits.values()) <= 1003
    assert any("one in 5: all would be" in note for note in data.notes)


def test_many_short_series_are_thinned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MOST_WINDOWS", 1000)
    lines = ["id,v", *(f"{i // 4},{i}" for i in range(6000))]
    data = load_dataset(write(tmp_path / "x.csv", lines), group_column="id", window=5)
    assert sum(len(part) for part in data.splits.values()) == 750
    assert any("one in 2: all would be 1,500" in note for note in data.notes)
    assert all(np.isnan(part.x[:, 4]).all() and not np.isnan(part.x[:, :4]).any() for part in data.splits.values())
    firsts = np.concatenate([original(data, split)[:, 0, 0] for split in data.splits]).round()
    assert len(np.unique(firsts)) == 750
    assert (firsts % 4 == 0).all()


def test_equal_content_has_an_equal_fingerprint_and_the_cache_serves_it(tmp_path: Path) -> None:
    path = shops(tmp_path / "a.csv")
    first, again = load_dataset(path, group_column="shop"), load_dataset(path, group_column="shop")
    (tmp_path / "b.csv").write_bytes(Path(path).read_bytes())
    assert isinstance(again.splits["train"].x, np.memmap)
    assert again.layout == first.layout
    assert load_dataset(str(tmp_path / "b.csv"), group_column="shop").fingerprint == first.fingerprint
    assert load_dataset(path, group_column="shop", window=12).fingerprint != first.fingerprint
    assert first.layout is not None
    assert layout_from_json(first.layout.to_json()) == first.layout


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_samples_go_back_into_the_table_and_are_read_again(tmp_path: Path, kind: str) -> None:
    data = load_dataset(shops(tmp_path / "a.csv"), group_column="shop", calendar="off")
    assert data.layout is not None
    x, shop = data.splits["test"].x[:5].copy(), np.array([0, 1, 2, 1, 1])
    x[2, 9:] = np.nan
    path = write_samples(tmp_path / f"s.{kind}", x, data.layout, shop, data.classes)
    back, labels = load_samples(path, data)
    assert labels is not None
    assert labels.tolist() == shop.tolist()
    assert np.allclose(back, x, atol=1e-6, equal_nan=True)
    if kind == "npz":
        with np.load(path) as arrays:
            assert arrays["labels"].tolist() == shop.tolist()
            assert arrays["times"].shape == x.shape[:2]
            assert arrays["times"][0, :2].tolist() == [pd.Timestamp(day).value for day in DAYS[330:332]]
    if kind == "csv":
        assert csv_text(x, data.layout, shop, data.classes) == path.read_bytes(), "as the server sends it"
        header, first, *_ = path.read_text().replace('"', "").splitlines()
        assert header == "window,date,shop,size,visitors,price"
        _, date, name, size, visitors, price = first.split(",")
        assert name == "north"
        assert date == str(DAYS[330])
        assert size.isdecimal()
        assert visitors.isdecimal()
        assert len(price.split(".")[-1]) <= 2
        assert len(path.read_text().splitlines()) == 1 + 4 * 24 + 9
        # a table that samples were written to is itself one to learn from
        again = load_dataset(str(path), group_column="window", columns="size,visitors,price", window=5, calendar="off")
        assert again.spec.shape == (5, 3)


@pytest.mark.parametrize(
    ("sample", "form", "expected"),
    [("2020-01-01", "iso", "2020-01-02"), ("2020-01-01 00:00:00", "iso", "2020-01-02 00:00:00"),
     ("2020-01-01T00:00", "iso", "2020-01-02T00:00"),
     ("2020-01-01 00:00:00+02", "iso", "2020-01-02 00:00:00+00:00"),
     ("2020-01-01T00:00-0500", "iso", "2020-01-02T00:00+00:00"),
     ("2020-01-01 00:00:00.5", "iso", "2020-01-02 00:00:00.000000"),
     ("2020-01-01T00:00:00Z", "iso", "2020-01-02T00:00:00Z"),
     ("01.01.2020", "%d.%m.%Y", "02.01.2020")],
)  # fmt: skip
def test_times_go_on_in_the_look_of_the_data(sample: str, form: str, expected: str) -> None:
    last = float(np.datetime64("2020-01-01", "us").astype(np.int64))
    kept = {"name": "t", "form": form, "last": last, "step": 86_400e6, "unit": "time", "sample": sample}
    assert time_index_from_json(kept).after(1) == [expected]
    assert step_text(86_400e9, "time") == "1 day"


def test_times_are_as_fine_as_their_step_needs() -> None:
    last = float(np.datetime64("2020-01-01", "us").astype(np.int64))
    for sample, step, expected in (
        ("2020-01-01 00:00:00", 500_000, "2020-01-01 00:00:00.500000"), ("2020-01-01", 3600e6, "2020-01-01 01:00"),
        ("2020-01-01T00:00Z", 1e6, "2020-01-01T00:00:01Z"),
    ):  # fmt: skip
        kept = {"name": "t", "form": "iso", "last": last, "step": step, "unit": "time", "sample": sample}
        assert time_index_from_json(kept).after(1) == [expected]


def test_european_tables_and_parquet(tmp_path: Path) -> None:
    lines = ["Datum;Wert;Menge"] + [f"{d.astype(object):%d.%m.%Y};{i},5;{i}" for i, d in enumerate(DAYS[:200])]
    data = load_dataset(write(tmp_path / "x.csv", lines), window=8)
    assert original(data, "train")[0, :3].round(4).tolist() == [[0.5, 0], [1.5, 1], [2.5, 2]]
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"t": DAYS[:200], "v": np.arange(200) * 0.5}), tmp_path / "x.parquet")
    table = load_dataset(str(tmp_path / "x.parquet"), window=8, calendar="off")
    assert table.spec.shape == (8, 1)
    assert original(table, "train")[1, :2, 0].round(4).tolist() == [0.5, 1.0]
    for unit, zone in (("ns", None), ("ns", "UTC"), ("ms", None)):
        hours = pa.array(np.datetime64("2021-01-01", unit) + np.arange(200).astype("m8[h]"))
        pq.write_table(
            pa.table({"t": hours.cast(pa.timestamp(unit, zone)), "v": np.arange(200)}), tmp_path / "x.parquet"
        )
        time_index = time_index_of(str(tmp_path / "x.parquet"))
        assert (time_index.unit, time_index.step) == ("time", 3600e9)
        assert time_index.after(1)[0].startswith("2021-01-09 08:00")


NUMBERS = [f"{i},{i * i % 97}" for i in range(200)]
HOSTILE: list[tuple[str, bytes, list[str]]] = [
    ("empty", b"", ["is empty"]),
    ("blank", b"\n\n  \n", ["is empty"]),
    ("header only", b"a,b\n", ["no rows"]),
    ("one row", b"a,b\n1,2\n", ["1 row", "too few"]),
    ("all texts", b"a,b\n" + b"".join(b"w%d,z%d\n" % (i, i) for i in range(90)), ["90 different texts in 90 rows"]),
    ("all constant", b"a,b\n" + b"1,2\n" * 100, ["every column is constant", "a, b"]),
    ("ragged rows", b"a,b\n" + b"1,2\n" * 100 + b"1\n" + b"1,2\n", ["line 102 has 1 values", "2 columns"]),
    ("names twice", b"a,b,a\n1,2,3\n", ["names column 'a' 2 times", "rename"]),
    ("latin 1", "temp°,b\n1,2\n".encode("latin-1"), ["line 1 is not UTF-8", "save the file as UTF-8"]),
    ("utf 16", "a,b\n1,2\n".encode("utf-16"), ["NUL bytes", "UTF-8"]),
    ("nul bytes", b"a,b\n1,2\n1,\x002\n", ["NUL bytes (line 3)"]),
    ("infinite", b"a,b\n" + b"1,2\n" * 50 + b"inf,2\n", ["line 52, column 'a' holds inf"]),
    ("no header", b"1,2\n3,4\n", ["line 1 holds numbers", "names"]),
    ("half missing", b"a,b\n" + b"1,\n2,3\n3,\n" * 50, ["100 of 150 values of column 'b' are missing"]),
    ("bad date", b"t,a\n" + b"".join(b"2020-01-%02d,%d\n" % (i, i) for i in range(1, 29)) + b"soon,3\n",
     ["line 30, column 't' holds 'soon', which is no date like the first ones ('2020-01-01')"]),
    ("no numbers", b"t\n2020-01-01\n2020-01-02\n", ["no column of numbers"]),
    ("too short", b"a\n" + b"".join(b"%d\n" % i for i in range(50)), ["50 rows", "at least 72", "--window"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_files_get_one_clear_answer(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_dataset(str(tmp_path / "x.csv"))
    for word in ["x.csv", *words]:
        assert word in str(caught.value)


def test_text_far_down_in_a_column_of_numbers_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.data.tables.text._PEEK", 400)
    path = write(tmp_path / "x.csv", ["a,b", *NUMBERS, "7,many"])
    with pytest.raises(DataError, match=r"line 202.*'many'"):
        load_dataset(path)
    dated = write(tmp_path / "d.csv", ["t,a", *(f"{d},{i}" for i, d in enumerate(DAYS[:200])), "soon,3"])
    with pytest.raises(DataError, match=r"line 202, column 't' holds 'soon'"):
        load_dataset(dated)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"columns": "a,c"}, "no column 'c'"), ({"time_column": "z"}, "no column 'z'"), ({"window": 2}, "window is 2"),
     ({"size": 32}, "for images"), ({"window": 90}, "--window"), ({"group_column": "aa"}, "did you mean 'a'")],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(write(tmp_path / "x.csv", ["a,b", *NUMBERS]), **{"time_column": "none", **options})  # type: ignore[arg-type]
    assert words in str(caught.value) or "choose from" in str(caught.value)


def test_options_of_tables_are_refused_for_images() -> None:
    for name in ("digits", "ring8", "hf:some/thing"):
        with pytest.raises(DataError, match="--window is for tables"):
            load_dataset(name, window=12)


def test_several_series_without_a_group_column_are_recognised_or_refused(tmp_path: Path) -> None:
    path = shops(tmp_path / "a.csv")
    told = load_dataset(path, group_column="shop")
    found = load_dataset(path)
    assert any("'shop' tells 3 series apart" in note for note in found.notes)
    assert np.array_equal(found.splits["train"].x, told.splits["train"].x)
    assert load_dataset(path, columns="visitors,price", calendar="off").spec.shape == (24, 2)
    with pytest.raises(DataError, match="--group-column"):
        load_dataset(path, group_column="none")


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path / "x.csv", ["a,b", *NUMBERS]), window=8, time_column="none")
    for lines, words in ((["a", "1"], "no column 'b'"), (["a,b", *NUMBERS[:9]], "multiple of 8"),
                         (["window,a,b", *(f"0,{n}" for n in NUMBERS[:9])], "has 9 rows")):  # fmt: skip
        with pytest.raises(DataError, match=words):
            load_samples(write(tmp_path / "s.csv", lines), data)
    swapped = np.random.default_rng(0).random((3, 8, 2))
    np.savez(tmp_path / "s.npz", x=swapped, columns=["b", "a"])
    assert data.layout is not None
    assert np.allclose(data.layout.restore(load_samples(tmp_path / "s.npz", data)[0])[..., 0], swapped[..., 1].round())
    np.savez(tmp_path / "s.npz", x=swapped, columns=["b", "c"])
    with pytest.raises(DataError, match=r"has columns b, c, but .* has a, b"):
        load_samples(tmp_path / "s.npz", data)
    np.save(tmp_path / "s.npy", np.zeros((3, 7, 2)))
    with pytest.raises(DataError, match=r"\(3, 7, 2\)"):
        load_samples(tmp_path / "s.npy", data)
    with pytest.raises(ConfigError, match="csv"):
        write_samples(tmp_path / "s.txt", np.zeros((1, 8, 2)), Layout((), ()))


def test_inspection_says_what_was_recognised(tmp_path: Path) -> None:
    found = inspect_source(shops(tmp_path / "a.csv"), group_column="shop", calendar="off")
    text = " ".join(found.plan)
    for words in ("'date' is the time", "3 gaps", "3 series", "static): size", "whole numbers", "'price'"):
        assert words in text
    assert found.shape == (24, 3)
    assert found.modality == "sequence"


def test_named_series_say_what_to_do_without_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"google_stock\.csv"):
        load_dataset("stocks")
    (tmp_path / "series").mkdir()
    rows = [f"{i + (i % 3 == 1) / 10:.1f},{i + i % 3},{i * i % 31},{i % 7},{i % 9},{i * i % 90}" for i in range(300)]
    write(tmp_path / "series" / "google_stock.csv", ["Open,High,Low,Close,Adj_Close,Volume", *rows])
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    assert (np.diff(original(load_dataset("stocks"), "train")[..., 0], axis=1) > 0).all()
    released = load_dataset("stocks-2019")
    opening = original(released, "train")[..., 0]
    assert len(opening) == 300 - 24
    assert opening[0, 0] == pytest.approx(299, abs=1e-4)
    assert (np.diff(opening, axis=1) < 0).all()
    assert any("nothing here is held out" in note for note in released.notes)


@pytest.mark.parametrize("name", ["sines", "sines-paper"])
def test_sines_follow_their_definition(name: str) -> None:
    x, model = load_dataset(name).splits["train"].x, SINES[name]
    assert x.shape == (10_000, 24, 5)
    y = 2.0 * x.astype(np.float64) - 1
    # sin(a + w) + sin(a - w) = 2 sin(a) cos(w): every step of every window obeys the recurrence of one frequency
    strong = np.abs(y[:, 12]) > 0.5
    cosine = ((y[:, 11] + y[:, 13]) / (2 * np.where(strong, y[:, 12], 1)))[strong]
    frequency = np.arccos(np.clip(cosine, -1, 1))
    low, high = model.frequency
    assert frequency.min() >= low
    assert frequency.max() <= high + 1e-3
    start = np.arcsin(np.clip(y[:, 0], -1, 1))
    spread = 0.1 if name == "sines" else np.pi / 2
    assert abs(start.max() - spread) < 0.01
    assert abs(start.mean() - (0.05 if name == "sines" else 0)) < 0.02
