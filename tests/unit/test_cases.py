"""What people bring is read rightly, or asked about: each input of `tests/cases.py` has one right reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Dataset, inspect_source, load_dataset
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables.table import Table, read_table
from saddlepoint.run import api
from tests.cases import CASES, make_cases
from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.unit.data_helpers import own_cache  # noqa: F401

SMALL = ["--batch-size", "16", "--width", "8", "--layers", "2", "--precision", "fp32", "--threads", "1", "--no-report"]
START = 1_514_764_800


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all cases."""
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder)
    assert {path.name for path in folder.iterdir()} == {*CASES}
    return folder


def table_of(path: Path, **options: object) -> Table:
    """Return a table as it is read."""
    return read_table(path, Options.of(**options))


def windows_of(dataset: Dataset, split: str = "train") -> np.ndarray:
    """Return the windows of a split in the units of the file."""
    assert dataset.layout is not None
    return dataset.layout.restore(dataset.splits[split].x)


def text_of(dataset: Dataset) -> str:
    """Return everything that is said of a data set."""
    return "\n".join(dataset.notes)


def sampled(saddle: Command, path: Path, family: str = "timegan") -> list[list[str]]:  # noqa: F811
    """Train for a step, and return the cells of the first window of samples as CSV, with the names of the columns."""
    code, _, err = saddle("train", family, "--data", str(path), "--steps", "1", "--out", "run", *SMALL)
    assert code == 0, err
    code, out, err = saddle("sample", "run", "-n", "2", "--format", "csv", "--threads", "1")
    assert code == 0, err
    return [line.split(",") for line in Path(out.strip()).read_text().splitlines()[:25]]


@pytest.mark.parametrize(("name", "form", "after"), [
    ("ddmmyy.csv", "%d/%m/%y", "22/10/17"),
    ("dd-mm-yyyy.csv", "%d-%m-%Y", "22-10-2017"),
])  # fmt: skip
def test_days_before_months(cases: Path, saddle: Command, name: str, form: str, after: str) -> None:  # noqa: F811
    dataset = load_dataset(str(cases / name))
    assert dataset.layout is not None
    names = [column.name for column in dataset.layout.columns]
    assert names == ["Close", "Index"]
    index = windows_of(dataset)[..., 1]
    assert index[0].tolist() == list(range(24))
    assert index.max() == 479
    assert "1 day" in text_of(dataset)
    table = table_of(cases / name)
    assert table.stamps is not None
    assert tuple(table.stamps.columns) == ("Date",)
    assert table.times is not None
    days = np.datetime64("2016-03-01") + np.arange(600)
    assert np.array_equal(table.times.astype("datetime64[ns]"), days.astype("datetime64[ns]"))
    header, *rows = sampled(saddle, cases / name)
    assert header[-3:] == ["Date", "Close", "Index"]
    assert rows[0][-3] == after


def test_a_table_without_names_is_refused_or_read_by_option(cases: Path) -> None:
    with pytest.raises(DataError, match=r"first line.*2016-03-01|2016-03-01.*first line|header"):
        load_dataset(str(cases / "no-header.csv"))
    table = table_of(cases / "no-header.csv", header=False)
    assert table.times is not None
    assert len(table.times) == 600
    assert len(table.values) == 2
    closes, index = table.values.values()
    assert closes[0] == 100
    assert index.tolist() == list(range(600))


def test_seconds_since_1970_are_the_time(cases: Path, saddle: Command) -> None:  # noqa: F811
    dataset = load_dataset(str(cases / "unix.csv"))
    assert dataset.layout is not None
    assert [column.name for column in dataset.layout.columns] == ["Open"]
    assert "1 minute" in text_of(dataset)
    table = table_of(cases / "unix.csv")
    assert table.times is not None
    assert (table.times // 10**9).tolist() == [START + 60 * i for i in range(600)]
    header, *rows = sampled(saddle, cases / "unix.csv")
    assert header[-2:] == ["Timestamp", "Open"]
    assert [row[-2] for row in rows[:3]] == [str(START + 60 * i) for i in (600, 601, 602)]


def test_three_assets_are_asked_about(cases: Path) -> None:
    path = str(cases / "unix-three-assets.csv")
    with pytest.raises(OpenQuestion, match="Asset_ID") as asked:
        load_dataset(path)
    answers = [reading.options for reading in asked.value.readings]
    assert {"group_column": "Asset_ID"} in answers
    dataset = load_dataset(path, group_column="Asset_ID")
    assert [column.name for column in dataset.layout.columns] == ["Open"]  # type: ignore[union-attr]
    assert "3 series" in text_of(dataset)
    opens = windows_of(dataset)[..., 0]
    # no window holds rows of two assets: they are a hundred apart
    assert (np.ptp(opens, axis=1) < 3).all()
    assert {round(value / 100) for value in opens[:, 0]} == {1, 2, 3}


def test_date_and_time_of_day_are_one_time(cases: Path) -> None:
    dataset = load_dataset(str(cases / "date-and-time.csv"))
    assert [column.name for column in dataset.layout.columns] == ["Voltage"]  # type: ignore[union-attr]
    assert "1 minute" in text_of(dataset)
    assert any("left out" in note and "name" in note for note in dataset.notes)
    table = table_of(cases / "date-and-time.csv")
    assert table.stamps is not None
    assert table.times is not None
    assert tuple(table.stamps.columns) == ("Date", "Time")
    minutes = np.datetime64("2006-12-16T17:24", "m") + np.arange(4000)
    assert np.array_equal(table.times.astype("datetime64[ns]"), minutes.astype("datetime64[ns]"))
    written = table.stamps.write(table.times[:2])
    assert [written["Date"][0], written["Time"][1]] == ["16/12/2006", "17:25:00"]


def test_a_mark_for_missing_values_is_noticed(cases: Path) -> None:
    path = str(cases / "sentinel.csv")
    findings = [finding for finding in load_dataset(path).findings if "-200" in finding.sentence()]
    assert len(findings) == 1
    assert findings[0].topic == "missing"
    assert "--missing" in findings[0].option
    assert "-200" in findings[0].option
    dataset = load_dataset(path, missing="-200")
    assert dataset.layout is not None
    assert dataset.layout.columns[0].low > 1
    values = table_of(cases / "sentinel.csv", missing="-200").values["CO"]
    assert np.flatnonzero(np.isnan(values)).tolist() == list(range(4, 800, 9))


def test_shards_without_labels_are_no_classes(cases: Path, saddle: Command) -> None:  # noqa: F811
    assert load_dataset(str(cases / "shards.zip")).classes == ()
    assert inspect_source(str(cases / "shards.zip")).classes == {}
    code, _, err = saddle("train", "cgan", "--data", str(cases / "shards.zip"), "--steps", "1", "--no-report")
    assert (code, "label" in err or "class" in err) == (2, True)
    with pytest.raises((ConfigError, DataError)):
        api.train("cgan", str(cases / "shards.zip"), steps=1)


def test_unlabelled_test_pictures_leave_classes_alone(cases: Path, saddle: Command) -> None:  # noqa: F811
    dataset = load_dataset(str(cases / "flat-test"))
    assert {*dataset.classes} == {"low", "med", "high"}
    labels = dataset.splits["train"].labels
    assert labels is not None
    counted = inspect_source(str(cases / "flat-test"))
    assert counted.classes == dict.fromkeys(dataset.classes, 15)
    assert any("6" in note and "label" in note for note in dataset.notes)
    small = ["--size", "32", "--width", "4", "--discriminator-width", "4", "--blocks", "1", "--layers", "3"]
    words = ["--batch-size", "4", "--steps", "1", "--threads", "1", "--no-report", "--out", "run"]
    code, _, err = saddle("train", "stargan", "--data", str(cases / "flat-test"), *small, *words)
    assert code == 0, err


def test_twelve_bits_are_spread_over_the_range_in_use(cases: Path) -> None:
    dataset = load_dataset(str(cases / "twelve-bits"))
    levels = len(np.unique(dataset.splits["train"].x))
    told = [finding for finding in dataset.findings if finding.topic == "depth"]
    assert told
    assert levels > 250 or any("4,095" in finding.says and finding.option for finding in told)


def test_pages_are_told_and_all_are_taken_by_option(cases: Path) -> None:
    dataset = load_dataset(str(cases / "pages"))
    told = [finding for finding in dataset.findings if finding.topic == "pages"]
    assert [finding.option for finding in told] == ["--pages all"]
    assert "first page" in told[0].says
    assert "40 pages" in told[0].says
    every = load_dataset(str(cases / "pages"), pages="all")
    assert sum(len(part) for part in every.splits.values()) == 48


def test_windows_in_an_array_are_for_families_of_sequences(cases: Path, saddle: Command) -> None:  # noqa: F811
    path = str(cases / "windows.npy")
    dataset = load_dataset(path, modality="sequence")
    assert dataset.spec.shape == (24, 5)
    assert sum(len(part) for part in dataset.splits.values()) == 300
    code, _, err = saddle("train", "timegan", "--data", path, "--steps", "1", "--out", "run", *SMALL)
    assert code == 0, err
    assert inspect_source(path, modality="sequence").shape == (24, 5)
