"""Memorisation: planted copies are found, held-out rows and blurs are not flagged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.memorisation import NEIGHBOURS, Nearness, _smaller, memorisation, nearness


def _images(seed: int, n: int) -> np.ndarray:
    """Smooth random pictures: three random waves."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, 1, 12)
    waves = np.stack([np.sin(np.pi * (k + 1) * grid) for k in range(4)])
    weights = rng.normal(size=(n, 4, 4))
    x = np.einsum("nij,ih,jw->nhw", weights, waves, waves) * 40 + 128 + rng.normal(0, 6, (n, 12, 12))
    return np.clip(x, 0, 255).astype(np.uint8)[:, None]


TRAIN, HELD_OUT, FRESH = _images(0, 1500), _images(1, 500), _images(2, 500)


def test_nearness_is_that_of_all_distances() -> None:
    found = nearness(FRESH[:60], TRAIN)
    table = cdist(FRESH[:60].reshape(60, -1) / 255, TRAIN.reshape(1500, -1) / 255)
    assert np.array_equal(found.index, table.argmin(1))
    assert found.distance == pytest.approx(table.min(1), rel=1e-12)
    near = np.sort(table, 1)[:, :NEIGHBOURS]
    assert found.relative == pytest.approx(near[:, 0] / near.mean(1), rel=1e-12)
    assert not found.copies.any()


def test_vectors_keep_their_units_and_large_offsets_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    train, rows = rng.normal(size=(300, 3)), rng.normal(size=(40, 3))
    plain, moved = nearness(rows, train), nearness(rows + 1e5, train + 1e5)
    assert np.array_equal(plain.index, moved.index)
    assert plain.relative == pytest.approx(moved.relative, rel=1e-6)


def _judge(samples: np.ndarray, train: np.ndarray = TRAIN) -> tuple[bool, float, float]:
    found = memorisation(nearness(samples, train), nearness(HELD_OUT, train), len(train))
    return found.copying, found.p_value, found.near.value


def test_fresh_real_rows_are_not_flagged() -> None:
    copying, p_value, near = _judge(FRESH)
    assert not copying
    assert p_value > 0.01
    assert near < 0.04


def test_a_training_set_is_found_at_once() -> None:
    copying, p_value, near = _judge(TRAIN[:500])
    assert copying
    assert p_value < 1e-6
    assert near == 1.0


def test_five_percent_of_disturbed_copies_are_found_and_come_first() -> None:
    samples = FRESH.copy()
    noise = np.random.default_rng(3).normal(0, 4, (25, *TRAIN.shape[1:]))
    samples[100:125] = np.clip(TRAIN[:25] + noise, 0, 255).astype(np.uint8)
    found = memorisation(nearness(samples, TRAIN), nearness(HELD_OUT, TRAIN), len(TRAIN))
    assert found.copying
    assert set(found.closest[:25].tolist()) == set(range(100, 125))


def test_blurs_lie_near_to_everything_and_are_no_copies() -> None:
    order = np.random.default_rng(4).permutation(1500).reshape(500, 3)
    blurs = TRAIN[order].astype(np.float64).mean(1).round().astype(np.uint8)
    found, real = nearness(blurs, TRAIN), nearness(HELD_OUT, TRAIN)
    # The trap this test is for: by plain distance they would all be near copies.
    assert np.median(found.distance) < np.percentile(real.distance, 10)
    assert not memorisation(found, real, len(TRAIN)).copying


def test_p_values_are_uniform_where_nothing_is_copied() -> None:
    rng = np.random.default_rng(5)
    whole = nearness(np.concatenate([HELD_OUT, FRESH]), TRAIN)
    alarms = flags = 0
    for _ in range(200):
        order = rng.permutation(1000)
        parts = [
            Nearness(whole.index[rows], whole.distance[rows], whole.relative[rows], whole.copies[rows])
            for rows in (order[:500], order[500:])
        ]
        found = memorisation(parts[0], parts[1], 1500)
        alarms += found.p_value < 0.05
        flags += found.copying
    assert 1 <= alarms <= 22
    assert flags <= 6


def test_samples_farther_away_than_real_rows_are_no_copies() -> None:
    noise = np.random.default_rng(7).integers(0, 256, (200, *TRAIN.shape[1:])).astype(np.uint8)
    found = memorisation(nearness(noise, TRAIN), nearness(HELD_OUT, TRAIN), len(TRAIN))
    assert found.p_value > 0.999
    assert not found.copying


def test_small_data_carries_a_warning() -> None:
    found = memorisation(nearness(FRESH, TRAIN[:200]), nearness(HELD_OUT, TRAIN[:200]), 200)
    assert "200 training rows" in str(found.near.details["limitation"])


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="same units"):
        nearness(FRESH.astype(np.float32), TRAIN)
    with pytest.raises(DataError, match="10 training rows"):
        nearness(FRESH, TRAIN[:10])
    with pytest.raises(DataError, match="rows of shape"):
        nearness(FRESH[:, :, :5], TRAIN)
    with pytest.raises(DataError, match="4 samples"):
        memorisation(nearness(FRESH[:4], TRAIN), nearness(HELD_OUT, TRAIN), 1500)


def test_few_held_out_rows_leave_more_to_chance() -> None:
    """Real rows are not called copies because a hundred others happened to lie a little further away."""

    def at(relative: np.ndarray) -> Nearness:
        n = len(relative)
        return Nearness(np.zeros(n, dtype=np.int64), relative, relative, np.zeros(n, dtype=bool))

    rng = np.random.default_rng(0)
    told = [memorisation(at(rng.normal(1, 0.1, 100)), at(rng.normal(1, 0.1, 100)), 800).copying for _ in range(300)]
    assert np.mean(told) < 0.05
    for held_out in (20, 100, 1000):
        copies = at(np.concatenate([rng.normal(0.2, 0.01, 50), rng.normal(1, 0.1, 50)]))
        assert memorisation(copies, at(rng.normal(1, 0.1, held_out)), 800).copying, held_out


@pytest.mark.parametrize("case", ["apart", "ties", "few", "constant"])
def test_the_p_value_is_that_of_scipy(case: str) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0, 1, 40), rng.normal(0.3, 1, 70)
    if case == "ties":
        a, b = a.round(1), b.round(1)
    if case == "few":
        a = a[:6]
    if case == "constant":
        a, b = np.zeros(40), np.zeros(70)
    with np.errstate(invalid="ignore"):
        expected = float(mannwhitneyu(a, b, alternative="less").pvalue)
    assert _smaller(a, b) == pytest.approx(1.0 if case == "constant" else expected, rel=1e-12)
