"""Series of a run that go on from a table, fill one, or are long: files in the data's own units, times and words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data.series.history import _with_gaps
from saddlepoint.data.series.time_index import TimeIndex
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.run.samples import pictures, seeds

DAYS = pd.date_range("2020-01-01", periods=240)


def _table() -> pd.DataFrame:
    """A number that follows the weekday, a category that follows the number, and a whole number."""
    rng = np.random.default_rng(0)
    value = np.round(DAYS.day_of_week + rng.normal(0, 0.3, len(DAYS)), 2)
    weather = np.where(value > 3, "warm", "cold")
    return pd.DataFrame({"day": DAYS.strftime("%Y-%m-%d"), "value": value, "count": (10 * value).astype(int),
                         "weather": weather})  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> saddlepoint.Run:
    """A generator of windows of 12 days with a weekday, hardly trained: what files hold does not depend on it."""
    folder = tmp_path_factory.mktemp("given")
    _table().to_csv(folder / "data.csv", index=False)
    return saddlepoint.train(
        "timegan", data=str(folder / "data.csv"), window=12, steps=3, width=8, critic_width=8, threads=1,
        runs=str(folder / "runs"),
    )  # fmt: skip


def _history(path: Path, rows: slice, **holes: list[int]) -> Path:
    table = _table()[rows].reset_index(drop=True)
    for column, places in holes.items():
        table[column] = table[column].astype(object)
        table.loc[places, column] = None
    table.to_csv(path, index=False)
    return path


def test_samples_go_on_from_a_table_at_the_times_after_it(run: saddlepoint.Run, tmp_path: Path) -> None:
    history = _history(tmp_path / "history.csv", slice(100, 130))
    made = pd.read_csv(run.write(tmp_path / "on.csv", 6, given=history, length=20))
    assert made["window"].value_counts().tolist() == [20] * 6
    assert list(made.columns) == ["window", "day", "value", "count", "weather"]
    after = pd.date_range("2020-05-10", periods=20).strftime("%Y-%m-%d").tolist()
    assert made[made["window"] == 3]["day"].tolist() == after
    assert set(made["weather"]) <= {"warm", "cold"}
    assert made["count"].dtype == np.int64
    assert made.groupby("window")["value"].apply(tuple).nunique() == 6
    first = run.write(tmp_path / "one.csv", 6, given=history, length=20).read_bytes()
    assert first == (tmp_path / "on.csv").read_bytes(), "a seed gives the same again"


def test_holes_are_filled_and_what_is_given_stands_as_it_was(run: saddlepoint.Run, tmp_path: Path) -> None:
    holes = {"value": [3, 4, 5, 30], "weather": [4, 20], "count": [4]}
    table = _history(tmp_path / "holes.csv", slice(0, 40), **holes)
    lines = table.read_text().splitlines()
    del lines[13]  # a day that is left out is a hole in every column
    table.write_text("\n".join(lines) + "\n")
    made = pd.read_csv(run.write(tmp_path / "whole.csv", 5, fill=table))
    truth = _table()[:40]
    assert made["window"].value_counts().tolist() == [40] * 5
    for number in range(5):
        one = made[made["window"] == number].reset_index(drop=True)
        assert one["day"].tolist() == truth["day"].tolist()
        for column, places in holes.items():
            given = [row for row in range(40) if row not in places and row != 12]
            assert one[column][given].tolist() == truth[column][given].tolist()
        assert one.notna().all().all()


@pytest.mark.parametrize(
    ("freq", "unit", "step"),
    [("MS", "months", 1), ("QS", "months", 3), ("YS", "months", 12), ("ME", "month ends", 1),
     ("BME", "working month ends", 1), ("B", "working days", 1), ("W", "time", 7 * 86_400 * 10**9),
     ("D", "time", 86_400 * 10**9)],
)  # fmt: skip
def test_rows_that_are_left_out_are_holes_at_every_step(freq: str, unit: str, step: int) -> None:
    days = pd.date_range("1974-01-01", periods=40, freq=freq).as_unit("ns").asi8
    layout: Any = SimpleNamespace(time_index=TimeIndex(0, step, unit, Stamps(("day",), ("%Y-%m-%d",), ("text",))))
    kept = np.setdiff1d(np.arange(40), [3, 17, 18])
    values, times = _with_gaps(Path("holes.csv"), kept[:, None] * 1.0, days[kept], layout)
    assert times.tolist() == days.tolist()
    assert np.isnan(values[:, 0]).nonzero()[0].tolist() == [3, 17, 18]
    assert values[kept, 0].tolist() == kept.tolist()


def test_a_long_series_follows_its_dates_and_so_the_weekday(run: saddlepoint.Run, tmp_path: Path) -> None:
    made = pd.read_csv(run.write(tmp_path / "long.csv", 2, length=100, start="2021-03-01"))
    assert len(made) == 200
    assert (
        made[made["window"] == 1]["day"].tolist()
        == pd.date_range("2021-03-01", periods=100).strftime("%Y-%m-%d").tolist()
    )
    again = run.write(tmp_path / "long.npz", 1, length=30)
    assert np.load(again)["x"].shape == (1, 30, 3)
    short = pd.read_csv(run.write(tmp_path / "short.csv", 4, length=5))
    assert short["window"].value_counts().tolist() == [5] * 4


def test_the_command_writes_them(run: saddlepoint.Run, tmp_path: Path) -> None:
    # Of ten rows no one could say that a text is a category: the run knows.
    history = _history(tmp_path / "history.csv", slice(100, 110), weather=list(range(1, 10)), count=list(range(10)))
    out = tmp_path / "on.csv"
    words = ["sample", str(run.path), "--given", str(history)]
    done = CliRunner().invoke(app, [*words, "-n", "3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(out)) == 3 * 6  # half of a window
    refused = CliRunner().invoke(app, [*words, "--fill", str(history)])
    assert isinstance(refused.exception, ConfigError) or refused.exit_code == 2
    assert "ask for one of them" in refused.output + str(refused.exception)
    drawn = pictures.draw(run, length=50)
    assert drawn.suffix == ".csv"
    assert len(pd.read_csv(drawn)) == 50


def test_tables_that_do_not_fit_are_refused_in_words(run: saddlepoint.Run, tmp_path: Path) -> None:
    def refused(text: str, words: str, **asked: object) -> None:
        path = tmp_path / "wrong.csv"
        path.write_text(text)
        with pytest.raises((DataError, ConfigError), match=words):
            run.write(tmp_path / "out.csv", 2, **({"given": path} | asked))  # type: ignore[arg-type]
        assert not (tmp_path / "out.csv").exists()

    right = _history(tmp_path / "right.csv", slice(0, 20)).read_text()
    refused(right.replace("weather", "whether"), "weather")
    refused(right.replace("warm", "tepid"), "'tepid', which the data does not have")
    refused("\n".join(",".join(line.split(",")[1:]) for line in right.splitlines()) + "\n", "no times")
    refused(right + right.splitlines()[-1] + "\n", "repeat a time")
    refused(right, "--length is 0", length=0)
    refused(right, "leave --start out", start="2021-01-01")
    refused(right, "leave --length out", given=None, fill=tmp_path / "wrong.csv", length=5)
    with pytest.raises(DataError, match="there is no table"):
        run.write(tmp_path / "out.csv", 2, given=tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match="leave --seeds out"):
        seeds.draw_seeds(run, "0-3", length=30)


def test_a_table_without_a_column_of_the_data_is_told_its_own_columns(run: saddlepoint.Run, tmp_path: Path) -> None:
    table = _table()[:30].rename(columns={"value": "Value"})
    table.to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="no column 'value', which the data has; did you mean 'Value'"):
        run.write(tmp_path / "on.csv", 2, given=tmp_path / "other.csv")


@pytest.mark.parametrize("n", [2.5, "8", None, True])
def test_a_number_of_samples_is_a_whole_number(run: saddlepoint.Run, tmp_path: Path, n: Any) -> None:
    for way in (run.sample, lambda n: run.write(tmp_path / "x.csv", n), lambda n: run.write(tmp_path, n, length=50)):
        with pytest.raises(ConfigError, match=r"the number of samples is .* whole number"):
            way(n)
    assert len(run.sample(np.int64(3))) == 3


def test_a_workbook_says_what_a_csv_of_its_rows_says(run: saddlepoint.Run, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    history = _history(tmp_path / "history.csv", slice(100, 130))
    pd.read_csv(history).to_excel(tmp_path / "history.xlsx", index=False)
    ways = [run.write(tmp_path / f"{kind}.csv", 2, given=tmp_path / f"history.{kind}") for kind in ("csv", "xlsx")]
    assert len({way.read_bytes() for way in ways}) == 1
