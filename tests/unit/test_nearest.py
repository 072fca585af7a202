"""The nearest training row: the float32 screen never changes what float64 says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.core.errors import DataError
from saddlepoint.metrics import nearest


def _plain(samples: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (samples, train))
    table = np.sqrt(((a[:, None] - b) ** 2).sum(2))
    return table.argmin(1), table.min(1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 60), st.integers(1, 40)),
    kind=st.sampled_from(["bytes", "coarse", "float32", "float64"]),
    offset=st.sampled_from([0.0, 1e3, -1e6]),
    outlier=st.sampled_from([0.0, 1e5]),
    budget=st.sampled_from([1, 5_000, 50_000, 2**26]),
)
def test_agrees_with_all_distances(
    seed: int, shape: tuple[int, int, int], kind: str, offset: float, outlier: float, budget: int
) -> None:
    rng = np.random.default_rng(seed)
    n, m, d = shape
    if kind == "bytes":
        rows = rng.integers(0, 256, (n + m, d)).astype(np.uint8)
    elif kind == "coarse":
        # Few different rows, so that most distances are equal to others.
        rows = rng.integers(0, 2, (n + m, d)).astype(np.float64)
    else:
        rows = (rng.random((n + m, d)) + offset).astype(kind)
        rows[n] += outlier
    index, distance = nearest(rows[:n], rows[n:], budget=budget)
    expected_index, expected = _plain(rows[:n], rows[n:])
    np.testing.assert_allclose(distance, expected, rtol=1e-9, atol=1e-12)
    # Different rows at equal distance may change places, by rounding.
    chosen, first = (rows[n:][i].astype(np.float64) for i in (index, expected_index))
    gaps = [((rows[:n] - row) ** 2).sum(1) for row in (chosen, first)]
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=1e-12, atol=1e-12)


def test_differences_that_float32_does_not_see() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    # All rows agree in the first seven digits; the nearest one differs from the sample in the tenth.
    train = base + rng.normal(0, 1e-8, (500, 200))
    samples = train[[7, 100, 499]] + 1e-10
    index, distance = nearest(samples, train, budget=200_000)
    np.testing.assert_array_equal(index, [7, 100, 499])
    np.testing.assert_allclose(distance, 1e-10 * np.sqrt(200), rtol=1e-3)


def test_rows_on_a_sphere_around_the_sample() -> None:
    rng = np.random.default_rng(4)
    directions = rng.normal(size=(600, 50))
    directions -= directions.mean(0)
    radii = 1 + 1e-9 * rng.permutation(600)
    train = directions / np.linalg.norm(directions, axis=1, keepdims=True) * radii[:, None]
    index, distance = nearest(np.zeros((1, 50)), train, budget=20_000)
    assert index[0] == radii.argmin()
    assert distance[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("budget", [1, 20_000, 2**26])
def test_copies_have_distance_zero_and_the_first_of_equals_wins(budget: int) -> None:
    train = np.random.default_rng(1).integers(0, 256, (90, 1, 6, 6), dtype=np.uint8)
    train[50:70] = train[20]
    index, distance = nearest(train[[20, 55, 80]], train, budget=budget)
    np.testing.assert_array_equal(index, [20, 20, 80])
    np.testing.assert_array_equal(distance, 0)
    same = np.full((40, 36), 7, np.uint8)
    index, distance = nearest(same, same, budget=budget)
    np.testing.assert_array_equal(index, 0)
    np.testing.assert_array_equal(distance, 0)


def test_torch_and_memory_maps(tmp_path: object) -> None:
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 256, (60, 12), dtype=np.uint8)
    np.save(f"{tmp_path}/x.npy", rows)
    mapped = np.load(f"{tmp_path}/x.npy", mmap_mode="r")
    expected = _plain(rows[:10], rows[10:])
    for found in (nearest(mapped[:10], mapped[10:]), nearest(*torch.from_numpy(rows).split([10, 50]))):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("row", [0, 15])
def test_values_that_are_not_finite_are_refused(value: float, row: int) -> None:
    rows = np.random.default_rng(3).random((30, 4))
    rows[row, 2] = value
    with pytest.raises(DataError, match="not finite"):
        nearest(rows[:10], rows[10:], budget=2_000)
