"""Copies in small tables: planted ones are caught, fresh windows of the same process are not, two held out suffice."""

from __future__ import annotations

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, Split
from saddlepoint.data.series.layout import Column, Layout
from saddlepoint.evaluation import evaluate
from saddlepoint.evaluation.sequences import (
    AUTOREGRESSION,
    BOOTSTRAP,
    SHUFFLED,
    make_sequences,
    seen,
    told,
)
from saddlepoint.metrics.leave_out import nearest_ratio, rows_of
from saddlepoint.metrics.series import marginal_distance

STEPS = 24


def walk(rows: int, features: int, keep: float, rng: np.random.Generator) -> np.ndarray:
    """An autoregression of order 1, from its stationary state."""
    noise, x = rng.normal(size=(rows + 60, features)), np.zeros((rows + 60, features))
    for t in range(1, rows + 60):
        x[t] = keep * x[t - 1] + noise[t]
    return x[60:]


def cut(rows: np.ndarray, steps: int = STEPS) -> np.ndarray:
    return np.stack([rows[i : i + steps] for i in range(len(rows) - steps + 1)])


@pytest.mark.parametrize(("rows", "features", "keep"), [(52, 1, 0.8), (100, 3, 0.8), (220, 1, 0.95)])
def test_planted_copies_are_caught_and_fresh_windows_are_not(rows: int, features: int, keep: float) -> None:
    """Ten tables each: of 300 samples a third are training windows, or all with a little noise, or none."""
    rng, told_of = np.random.default_rng(0), {"fresh": 0, "third": 0, "noisy": 0}
    covered = 0
    for _ in range(10):
        train = cut(walk(rows, features, keep, rng))
        fresh = np.stack([walk(STEPS, features, keep, rng) for _ in range(300)])
        copies = train[rng.integers(0, len(train), 300)]
        mixed = np.where((np.arange(300) < 100)[:, None, None], copies, fresh)
        noisy = copies + 0.03 * rng.normal(size=copies.shape)
        for name, samples in (("fresh", fresh), ("third", mixed), ("noisy", noisy)):
            found = nearest_ratio(samples, train)
            told_of[name] += int(found.details["copying"])
            if name == "fresh":
                assert found.interval is not None
                covered += found.interval[0] <= 1 <= found.interval[1]
    assert told_of == {"fresh": 0, "third": 10, "noisy": 10}
    assert covered >= 7


def test_rows_are_those_that_windows_were_cut_from() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    for stride in (1, 3):
        windows = np.concatenate([cut(rows[:25], 8)[::stride], cut(rows[25:], 8)[::stride]])
        found = rows_of(windows)
        assert [np.array_equal(part, rows[25 * k :][: len(part)]) for k, part in enumerate(found)] == [True, True]
        assert all(len(part) >= 25 - 10 - stride for part in found)


def test_tables_that_repeat_themselves_tell_no_copies() -> None:
    train = cut(np.tile([0.0, 1.0, 3.0, 2.0], 30)[:, None])
    with pytest.raises(DataError, match="repeat themselves"):
        nearest_ratio(train[:20], train)


def small(rows: int = 100) -> Dataset:
    """A table of one number with dates, cut as `load_dataset` cuts it: two windows are held out."""
    x = walk(rows, 1, 0.8, np.random.default_rng(3))
    x = (x - x.min()) / (x.max() - x.min())
    parts = {"train": x[:52], "valid": x[52:76], "test": x[76:]}
    splits = {name: Split(cut(part).astype(np.float32)) for name, part in parts.items()}
    return Dataset("small", "sequence", splits, (), "0", layout=Layout((Column("v", 0.0, 1.0),), ("v",)))


def test_a_report_on_a_hundred_rows_says_whether_samples_are_copies() -> None:
    dataset, rng = small(), np.random.default_rng(0)
    train = dataset.splits["train"].x
    assert sum(len(dataset.splits[name]) for name in ("valid", "test")) == 2

    def copies(n: int, seed: int):  # type: ignore[no-untyped-def]
        import torch

        return torch.from_numpy(train[rng.integers(0, len(train), n)])

    report = evaluate(copies, dataset)
    row = report.find("leave-out")
    assert row is not None
    assert row.details["copying"]
    assert "some are copies of training windows" in report.verdict
    assert "'leave-out' looks for copies without them" in report.omitted["memorisation"]


def calendar_set() -> Dataset:
    """Numbers that the season moves, with its phase as a known feature, and a category."""
    rng = np.random.default_rng(0)
    turn = (np.arange(300) / 50) % 1
    sky = rng.integers(0, 3, 300)
    rows = np.stack(
        [0.5 + 0.4 * np.cos(2 * np.pi * turn) + 0.05 * rng.normal(size=300), *(sky == k for k in range(3)), turn], 1
    )
    columns = (Column("v", 0.0, 1.0), Column("sky", 0.0, 2.0, 0, ("a", "b", "c")))
    x = cut(rows, 8).astype(np.float32)
    return Dataset(
        "turns", "sequence", {"train": Split(x[:200]), "valid": Split(x[210:240]), "test": Split(x[250:])}, (), "0",
        layout=Layout(columns, ("v", "sky"), calendar=("season",)),
    )  # fmt: skip


def test_the_calendar_is_no_part_of_figures_but_the_critic_sees_it() -> None:
    dataset = calendar_set()
    x = dataset.splits["train"].x
    assert seen(dataset, x).shape[2] == 4
    assert told(dataset, x).shape[2] == 6
    shifted = x.copy()
    shifted[..., -1] = (shifted[..., -1] + 0.5) % 1
    figures = [marginal_distance(seen(dataset, x), seen(dataset, other))[0].value for other in (x, shifted)]
    assert figures == [0, 0]
    assert not np.array_equal(told(dataset, x), told(dataset, shifted))


@pytest.mark.parametrize("name", [BOOTSTRAP, AUTOREGRESSION, SHUFFLED])
def test_controls_are_windows_of_the_contract_at_times_of_the_data(name: str) -> None:
    dataset = calendar_set()
    train = dataset.splits["train"].x
    made = make_sequences(name, train, dataset.splits["test"].x, 60, np.random.default_rng(0), dataset)
    assert made.shape == (60, 8, 5)
    assert np.array_equal(made[..., 1:4].sum(-1), np.ones((60, 8)))
    assert set(np.unique(made[..., 1:4])) == {0, 1}
    known = {tuple(row) for row in train[..., -1].round(5).tolist()}
    assert {tuple(row) for row in made[..., -1].round(5).tolist()} <= known
    if name != SHUFFLED:
        assert np.abs(made[:, 0, 0] - (0.5 + 0.4 * np.cos(2 * np.pi * made[:, 0, -1]))).mean() < 0.1
