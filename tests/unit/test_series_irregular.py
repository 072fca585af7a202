"""Times that keep no step: asked about, brought to a step as pandas does, or learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import saddlepoint
from saddlepoint.data import Dataset, load_dataset, load_samples
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.series.irregular import irregularity, resampled, suggested_step
from saddlepoint.data.series.samples import write_samples
from saddlepoint.data.tables.pace import DAY, SECOND
from saddlepoint.data.tables.stamps import Stamps
from saddlepoint.data.tables.table import Table
from tests.unit.data_helpers import own_cache  # noqa: F401


def flights(path: Path, rows: int = 600) -> str:
    """Take-offs of one plane: usually nine hours apart, to the minute as it comes."""
    rng = np.random.default_rng(0)
    stamps = pd.Timestamp("2013-01-01 06:00") + pd.to_timedelta(np.cumsum(rng.integers(400, 700, rows)), unit="min")
    lines = [f"{t:%Y-%m-%d %H:%M},{rng.integers(-10, 60)},{'JFK' if rng.random() < 0.6 else 'EWR'}" for t in stamps]
    path.write_text("\n".join(["off,delay,port", *lines]) + "\n")
    return str(path)


def notes_of(data: Dataset) -> str:
    return " ".join(data.notes)


def test_a_question_is_put_with_readings_that_work(tmp_path: Path) -> None:
    path = flights(tmp_path / "f.csv")
    with pytest.raises(OpenQuestion) as caught:
        load_dataset(path, window=6)
    readings = [dict(reading.options) for reading in caught.value.readings]
    assert readings == [{"resample": "10h"}, {"resample": "steps"}] or readings[0]["resample"].endswith("h")
    for reading in caught.value.readings:
        assert len(reading.rows) == 3
        assert load_dataset(path, window=6, **reading.options).spec.shape[0] == 6  # type: ignore[arg-type]


def test_a_twentieth_of_odd_gaps_is_irregular_and_whole_multiples_are_not() -> None:
    assert "4.7% of the steps" in irregularity(np.r_[np.full(953, 1.0), np.full(47, 4.4)])
    assert irregularity(np.r_[np.full(953, 1.0), np.full(47, 4.0)]) == ""
    assert irregularity(np.random.default_rng(0).normal(1, 0.02, 500)) == "", "a clock that is not quite exact"


@pytest.mark.parametrize(
    ("step", "dates", "word"),
    [(9 * 3600 * SECOND, True, "12h"), (50 * SECOND, True, "1min"), (DAY, True, "1D"), (12.3456, False, "12.3")],
)
def test_the_step_that_is_advised_is_a_usual_one(step: float, dates: bool, word: str) -> None:
    assert suggested_step(step, dates) == word


def test_suggested_steps_are_those_of_clocks_and_calendars() -> None:
    words = [f"{n}{unit}" for unit in ("s", "min") for n in (1, 2, 5, 10, 15, 30)]
    words += [f"{n}h" for n in (1, 2, 3, 4, 6, 12)] + ["1D", "7D", "28D"]
    sizes = [pd.Timedelta(word).value for word in words]
    assert [suggested_step(size, True) for size in sizes] == words
    assert [suggested_step(size - 1, True) for size in sizes] == words
    assert suggested_step(sizes[-1] * 2, True) == "28D"


def test_rows_are_brought_to_a_step_as_pandas_does_it() -> None:
    rng = np.random.default_rng(1)
    stamps = np.datetime64("2020-01-01", "ns") + np.sort(rng.choice(40 * 24 * 60, 900, replace=False)).astype("m8[m]")
    values, codes = rng.normal(size=900), rng.integers(0, 3, 900).astype(np.int32)
    values[::50] = np.nan
    table = Table(
        "made", {"v": values, "c": codes}, {"c": ("x", "y", "z")}, ("t", "v", "c"), stamps.astype(np.int64),
        Stamps(("t",), ("%Y-%m-%d %H:%M",), ("text",)),
    )  # fmt: skip
    made, _ = resampled(table, "2h")
    frame = pd.DataFrame({"v": values, "c": codes}, index=stamps)
    mean = frame["v"].resample("2h").mean()
    assert made.times is not None
    index = pd.DatetimeIndex(made.times.astype("datetime64[ns]"))
    assert np.allclose(made.values["v"], mean.reindex(index), equal_nan=True)
    counts = frame.groupby([pd.Grouper(freq="2h"), "c"]).size().unstack(fill_value=0).reindex(index, fill_value=0)
    there = made.values["c"] >= 0
    assert (counts.to_numpy()[there, made.values["c"][there]] == counts.to_numpy()[there].max(1)).all()
    assert (counts.to_numpy()[~there].sum(1) == 0).all()
    # Of the steps without any row those are there that stand alone or in pairs; longer ones stay gaps.
    occupied = frame["c"].resample("2h").size().to_numpy() > 0
    rows = np.flatnonzero(occupied)
    assert len(index) == len(rows) + sum(gap - 1 for gap in np.diff(rows) if gap <= 3)


def test_learned_steps_give_the_very_times_back(tmp_path: Path) -> None:
    path = flights(tmp_path / "f.csv")
    data = load_dataset(path, window=6, resample="steps")
    layout = data.layout
    assert layout is not None
    assert data.spec.known == 0
    assert "the time to the next row is learned" in notes_of(data)
    rows = pd.read_csv(path, parse_dates=["off"])
    x = data.splits["train"].x[::6][:20]
    table = pd.read_csv(write_samples(tmp_path / "s.csv", x, layout), parse_dates=["off"])
    assert list(table) == ["window", "off", "delay", "port"]
    assert table["delay"].tolist() == rows["delay"][:120].tolist()
    assert table["port"].tolist() == rows["port"][:120].tolist()
    assert table["off"].diff().iloc[1:].tolist() == rows["off"][:120].diff().iloc[1:].tolist()
    assert table["off"].iloc[0] > rows["off"].iloc[-1]
    back, _ = load_samples(tmp_path / "s.csv", data)
    steps = [column.time for column in layout.columns].index(True)
    inner = layout.restore(back)[:, :-1], layout.restore(x)[:, :-1]
    assert np.allclose(inner[0][..., steps], inner[1][..., steps], atol=1)


def test_a_run_on_learned_steps_writes_rising_times(tmp_path: Path) -> None:
    options = {"width": 8, "critic_width": 8, "latent_size": 4, "latent_shared": 2, "batch_size": 8}
    run = saddlepoint.train(
        "timegan", flights(tmp_path / "f.csv"), steps=2, options=options, window=6, resample="steps", threads=1,
        out=tmp_path / "run",
    )  # fmt: skip
    table = pd.read_csv(run.write(tmp_path / "s.csv", 10), parse_dates=["off"])
    assert table["off"].is_monotonic_increasing
    assert table["off"].is_unique
    assert set(table["port"]) <= {"JFK", "EWR"}


def test_summer_time_is_no_gap(tmp_path: Path) -> None:
    local = pd.date_range("2021-03-01", "2021-04-30", freq="15min", tz="Europe/Berlin")
    lines = [f"{t:%Y-%m-%d %H:%M},{i}" for i, t in enumerate(local)]
    (tmp_path / "x.csv").write_text("\n".join(["t,v", *lines]) + "\n")
    assert "gaps" not in notes_of(load_dataset(str(tmp_path / "x.csv"), window=8))
    del lines[2000:2010]
    (tmp_path / "y.csv").write_text("\n".join(["t,v", *lines]) + "\n")
    assert "1 gap of" in notes_of(load_dataset(str(tmp_path / "y.csv"), window=8))


def test_rows_that_skip_a_step_are_counted(tmp_path: Path) -> None:
    days = [day for i, day in enumerate(pd.date_range("2020-01-01", periods=300)) if i % 9]
    (tmp_path / "x.csv").write_text("\n".join(["t,v", *(f"{d:%Y-%m-%d},{i}" for i, d in enumerate(days))]) + "\n")
    data = load_dataset(str(tmp_path / "x.csv"), window=8)
    (finding,) = [finding for finding in data.findings if "skip one or two" in finding.says]
    assert finding.option == "--resample STEP"
    mended = load_dataset(str(tmp_path / "x.csv"), window=8, resample="1D")
    assert "missing values" in notes_of(mended)
    assert len(mended.splits["train"]) > len(data.splits["train"])
