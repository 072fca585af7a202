"""Columns become features and come back: categories, frequent values, rules between columns, old descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, load_dataset, load_samples
from saddlepoint.data.series.columns import columns_of, filled
from saddlepoint.data.series.layout import Column, Layout, layout_from_json
from saddlepoint.data.series.rules import Rule, notice, read_rules, verify
from saddlepoint.data.series.samples import write_samples
from saddlepoint.data.tables.table import Table
from tests.unit.data_helpers import own_cache  # noqa: F401

ROWS = 600


def weather(path: Path) -> str:
    """Days with rain (half without), a sky of three texts, a flag of 0 and 1, lowest and highest temperature."""
    rng, lines = np.random.default_rng(0), ["day,rain,sky,windy,low,high"]
    for i in range(ROWS):
        dry = rng.random() < 0.5
        low = round(10 * np.sin(i / 50) + rng.normal(), 1)
        rain = "0.0" if dry else f"{rng.exponential(3) + 0.1:.1f}"
        sky = ["clear", "grey", "black"][int(rng.integers(3))]
        lines.append(f"{i},{rain},{sky},{int(rng.random() < 0.3)},{low},{round(low + rng.exponential(4), 1)}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def layout_of(data: Dataset) -> Layout:
    assert data.layout is not None
    return data.layout


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return load_dataset(weather(tmp_path / "w.csv"), time_column="day", window=8, keep="low <= high")


def test_every_column_is_what_it_holds_and_stands_where_the_contract_says(data: Dataset) -> None:
    layout, spec = layout_of(data), data.spec
    assert [column.name for column in layout.columns] == ["rain", "low", "high", "sky", "windy"]
    assert spec.onehot == (2, 3, 2)
    assert spec.spikes == (0.0,)
    assert (spec.static, spec.known) == (0, 0)
    assert spec.shape == (8, 3 + 7)
    x = data.splits["train"].x
    for first, size in ((3, 2), (5, 3), (8, 2)):
        assert np.array_equal(x[..., first : first + size].sum(-1), np.ones(x.shape[:2]))
    assert np.array_equal(x[..., 3] == 1, x[..., 0] == 0)


def test_values_come_back_as_they_were(data: Dataset, tmp_path: Path) -> None:
    lines = [line.split(",") for line in (tmp_path / "w.csv").read_text().splitlines()[1:]]
    x = data.splits["train"].x[:40]
    written = write_samples(tmp_path / "s.csv", x, layout_of(data)).read_text().splitlines()
    assert written[0] == "window,day,rain,sky,windy,low,high"
    for number, line in enumerate(written[1:]):
        window, step = divmod(number, 8)
        cells, original = line.split(","), lines[window + step]
        assert cells[3:5] == original[2:4]
        assert [float(cells[k]) for k in (2, 5, 6)] == [float(original[k]) for k in (1, 4, 5)]
    back, _ = load_samples(tmp_path / "s.csv", data)
    assert np.allclose(back, x, atol=1e-6)
    write_samples(tmp_path / "s.npz", x, layout_of(data))
    assert np.allclose(load_samples(tmp_path / "s.npz", data)[0], x, atol=1e-6)


def test_whatever_a_generator_makes_is_a_row_of_the_table(data: Dataset) -> None:
    """Uniform noise as features: rules hold, categories are values, the share of zeros is that of the indicator."""
    layout = layout_of(data)
    x = np.random.default_rng(1).random((500, 8, 10))
    x[:250, :, 0] *= 0.01  # would round to 0
    values = layout.restore(x)
    rain, low, high, sky, windy = np.moveaxis(values, -1, 0)
    assert (low <= high).all()
    assert np.array_equal(rain == 0, x[..., 3] > x[..., 4])
    assert np.array_equal(rain, rain.round(1))
    assert set(np.unique(sky)) == {0, 1, 2}
    assert set(np.unique(windy)) == {0, 1}
    again = layout.as_written(x)
    assert np.array_equal(layout.restore(again.astype(np.float64)), values)


def test_the_description_is_kept_and_old_ones_are_read(data: Dataset) -> None:
    layout = layout_of(data)
    assert layout_from_json(json.loads(json.dumps(layout.to_json()))) == layout
    column = {"name": "v", "low": 1.0, "high": 3.0, "decimals": 1}
    clock = {"name": "t", "form": "number", "last": 9.0, "step": 1.0, "unit": "number", "sample": "", "decimals": 0}
    old = layout_from_json({"columns": [column], "order": ["t", "v"], "clock": clock, "label": ""})
    assert old.restore(np.array([[[0.5]]])).tolist() == [[[2.0]]]
    assert old.time_index is not None
    assert old.time_index.after(2) == [10, 11]
    assert (old.features, old.onehot, old.known, old.one_to_one) == (1, (), 0, True)
    with pytest.raises(DataError, match="is damaged"):
        layout_from_json({"columns": [{"name": "v"}], "order": [], "clock": None, "label": ""})


def table_of(categories: dict[str, tuple[str, ...]] | None = None, **values: np.ndarray) -> Table:
    return Table("made", dict(values), categories or {}, tuple(values))


def test_missing_categories_repeat_what_was_before_in_their_piece() -> None:
    table = table_of({"c": ("a", "b", "c")}, c=np.array([-1, 1, -1, 2, -1, -1, 0, 0, -1, 2], np.int32))
    findings = filled(table, {"train": [(0, 5)], "valid": [(5, 8)], "test": [(8, 10)]})
    assert table.values["c"].tolist() == [1, 1, 1, 2, 2, 0, 0, 0, 2, 2]
    assert "5 missing values (50.0%) repeat the one before" in findings[0].says


def test_what_is_no_category_is_refused_with_columns_that_work(tmp_path: Path) -> None:
    texts = tuple(f"t{i}" for i in range(80))
    table = table_of({"c": texts}, c=np.arange(80, dtype=np.int32), v=np.arange(80.0))
    with pytest.raises(DataError, match=r"80 different texts.*--columns v"):
        columns_of(table, np.array([0]), [(0, 80)], ())


@pytest.mark.parametrize(
    ("values", "spike"),
    [
        (np.r_[np.zeros(57), np.linspace(0.1, 9, 43)], 0.0),
        (np.r_[np.full(20, 7.5), np.linspace(0.1, 9, 80)], 7.5),
        (np.r_[np.zeros(5), np.linspace(0.1, 9, 95)], 0.0),  # nothing is below it
        (np.r_[np.zeros(4), np.linspace(0.1, 9, 96)], None),  # 4%
        (np.r_[np.zeros(9), np.linspace(-0.1, 9, 91)], None),  # a value is below it, and 9% are too few
        (np.tile(np.arange(5.0), 20), None),  # counts: every value is frequent
        (np.r_[np.full(30, 0.5), np.ones(25), np.linspace(2, 9, 45)], None),  # two of them
    ],
)
def test_a_frequent_value_is_one_that_no_other_comes_near(values: np.ndarray, spike: float | None) -> None:
    (column,), _ = columns_of(table_of(v=np.random.default_rng(0).permutation(values)), np.array([0]), [(0, 100)], ())
    assert column.spike == spike


def test_rules_hold_by_construction_whatever_their_number() -> None:
    """Open, close below high, low below both: each is above the largest of its bounds by a difference of 0 or more."""
    rng = np.random.default_rng(0)
    low = rng.normal(100, 5, 400).round(2)
    opened, closed = (low + rng.exponential(1, (2, 400))).round(2)
    high = (np.maximum(opened, closed) + rng.exponential(1, 400)).round(2)
    keep = ("low <= open", "close >= low", "high >= open", "close <= high", "high > 50")
    table = table_of(high=high, open=opened, close=closed, low=low)
    columns, findings = columns_of(table, np.array([0]), [(0, 400)], keep)
    layout = Layout(columns, ("high", "open", "close", "low"))
    assert sum("in every row" in finding.says for finding in findings) == 5
    values = np.stack([table.values[column.name] for column in columns], -1)
    assert np.array_equal(layout.restore(layout.scale(values)), values)
    made = layout.restore(rng.random((5000, 4)))
    places = {column.name: made[:, place] for place, column in enumerate(columns)}
    assert (places["high"] >= np.maximum(places["open"], places["close"])).all()
    assert (np.minimum(places["open"], places["close"]) >= places["low"]).all()
    assert (places["high"] > 50).all()


def test_bounds_of_finer_columns_hold_after_rounding() -> None:
    coarse = Column("coarse", 0.0, 1.0, 0, above=("fine",), range=(0.0, 10.0))
    fine = Column("fine", 0.0, 10.0, 2)
    made = Layout((coarse, fine), ("coarse", "fine")).restore(np.random.default_rng(0).random((2000, 2)))
    assert (made[:, 0] >= made[:, 1]).all()
    assert np.array_equal(made[:, 0], made[:, 0].round())


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (("high <= low",), r"rows \(.*%\) break the rule 'high <= low'"),
        (("low <= high", "high <= low"), "round in a circle"),
        (("low = high",), "a rule is two columns"),
        (("low <= hihg",), "did you mean 'high'"),
        (("1 <= 2",), "names no column"),
        (("sky <= high",), "no column of numbers 'sky'"),
    ],
)
def test_rules_that_are_none_are_refused(tmp_path: Path, keep: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(weather(tmp_path / "w.csv"), time_column="day", window=8, keep=keep)


def test_few_rows_that_break_a_rule_are_mended_and_counted() -> None:
    values = {"a": np.arange(400.0), "b": np.arange(400.0) + 1}
    values["b"][7] = 0.0
    found = verify((Rule("a", "b"),), values, "made")
    assert "1 rows broke it: 'b' was set to the bound" in found[0].sentence()
    assert values["b"][7] == values["a"][7] == 7


def test_rules_that_nobody_asked_for_are_noticed_with_the_option_that_keeps_them(tmp_path: Path) -> None:
    path = weather(tmp_path / "w.csv")
    data = load_dataset(path, time_column="day", window=8)
    (found,) = [finding for finding in data.findings if finding.topic == "rules"]
    assert not found.sure
    assert found.option == '--keep "low <= high"'
    # The advice, followed once:
    kept = load_dataset(path, time_column="day", window=8, keep=found.option.split('"')[1])
    assert not [finding for finding in kept.findings if finding.topic == "rules" and not finding.sure]
    rng = np.random.default_rng(0)
    apart = {"a": rng.normal(size=200), "b": rng.normal(size=200) + 50}
    assert notice(apart, ()) == [], "columns of other scales are no pair"
    assert read_rules(("b >= a",), ("a", "b"), "made") == (Rule("a", "b"),)


def test_figures_see_columns_and_not_how_they_are_told(data: Dataset) -> None:
    layout = layout_of(data)
    x = data.splits["train"].x[:50]
    seen = layout.seen(x)
    values = layout.restore(x)
    assert seen.shape == (50, 8, 3 + 3 + 1), "numbers, a share for each sky, one for the flag"
    for place in range(3):
        assert abs(np.corrcoef(seen[..., place].ravel(), values[..., place].ravel())[0, 1]) > 1 - 1e-6
    assert np.array_equal(seen[..., 3:6].argmax(-1), values[..., 3])
    assert np.array_equal(seen[..., 6] == 1, values[..., 4] == 0)
