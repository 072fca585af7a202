"""Values on a grid: tens of degrees, whole knots in miles an hour; samples stay on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.data import load_dataset
from saddlepoint.data.series.layout import Column
from saddlepoint.data.tables.numbers import on_grid, step_of
from saddlepoint.export.sampler import units as alone
from tests.unit.data_helpers import own_cache  # noqa: F401

KNOTS = 1.15078


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.arange(0, 370, 10.0), 10.0),
        (np.r_[np.arange(0, 370, 10.0), np.nan], 10.0),
        (np.arange(5, 365, 10.0), 10.0),
        (np.arange(40) * KNOTS, KNOTS),
        (np.arange(40) / 3, 1 / 3),
        (np.arange(40) * 0.25, 0.25),
        (np.arange(40) * 0.05 - 1, 0.05),
        (np.array([0, 20, 40, 60, 80.0]), 20.0),
        (np.arange(40) * 7e6, 7e6),
        (np.arange(40.0), None),
        (np.arange(40) / 10, None),
        (np.array([0, 10, 70, 90, 340.0]), None),
        (np.array([0, 10, 20.0]), None),
        (np.r_[np.arange(0, 370, 10.0), 7], None),
        (np.random.default_rng(0).normal(size=500), None),
        (np.random.default_rng(0).normal(size=500).round(2), None),
        (np.cumsum(np.random.default_rng(0).integers(1, 9, 100)) / 3 + 1e-3 * np.arange(100), None),
        (np.full(50, 3.0), None),
        (np.array([1e300, -1e300, 0, 1, 2, 3, 4]), None),
        (np.array([]), None),
    ],
)
def test_the_common_step_of_values(values: np.ndarray, step: float | None) -> None:
    found = step_of(values)
    assert found == step if step is None else found == pytest.approx(step, rel=1e-12)


def test_values_come_back_from_the_grid() -> None:
    values = np.arange(40) * KNOTS
    step = step_of(values)
    assert step is not None
    assert np.abs(on_grid(values + 0.4, 0.0, step, None) - values).max() < 1e-9
    assert str(on_grid(np.array([9 * KNOTS]), 0.0, step, None)[0]) == "10.35702", "not 10.357019999999999"


@pytest.mark.parametrize("spike", [None, 0.0, 20.0])
def test_the_program_beside_an_export_does_the_same(spike: float | None) -> None:
    column = Column("v", 0.0, 360.0, 0, spike=spike, step=10.0)
    scaled = np.linspace(0, 1, 501)
    mine = column.beside_spike(scaled) if spike is not None else column.restore(scaled)
    kept = {"spike": None} | column.to_json()
    other = alone.scaled_back(scaled, kept)
    other = alone.beside(other, scaled, kept) if spike is not None else other
    assert np.array_equal(mine, other)
    assert (mine % 10 == 0).all()
    assert spike not in mine


def test_samples_stay_on_the_grid_of_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 400
    frame = pd.DataFrame({
        "t": pd.date_range("2020-01-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M"),
        "dir": rng.integers(1, 37, rows) * 10, "speed": rng.integers(3, 40, rows) * KNOTS,
        "count": rng.integers(0, 100, rows), "v": rng.normal(size=rows),
    })  # fmt: skip
    frame["dir"] = frame["dir"].astype("Int64").mask(rng.random(rows) < 0.1)  # filled on lines between neighbours
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = load_dataset(str(tmp_path / "t.csv"))
    layout = data.layout
    assert layout is not None
    said = " ".join(data.notes)
    assert "values on a grid, and kept so: dir (steps of 10), speed (steps of 1.15078)" in said
    assert "whole numbers, and kept so: count" in said
    assert [column.step for column in layout.columns] == [10.0, pytest.approx(KNOTS), None, None]
    windows = np.concatenate([np.asarray(split.x) for split in data.splits.values()])
    assert (layout.restore(windows)[..., 0] % 10 == 0).all(), "what is filled lies on it, too"
    made = layout.restore(rng.random((50, *windows.shape[1:])))
    assert (made[..., 0] % 10 == 0).all()
    knots = made[..., 1] / KNOTS
    assert np.abs(knots - np.rint(knots)).max() < 1e-6
    assert max(len(str(value).partition(".")[2]) for value in made[..., 1].reshape(-1)[:500]) <= 5
    written = layout.as_written(made.astype(np.float32) * 0 + rng.random(made.shape).astype(np.float32))
    assert np.allclose(layout.as_written(written), written, atol=1e-6)
