"""Parzen figures against closed forms and the plain direct formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import (
    SIGMAS,
    cross_validate,
    kmeans_centroids,
    log_likelihood,
    mean_and_error,
    nearest,
    parzen10k,
)
from saddlepoint.metrics.distances import block_rows


def direct_log_likelihood(points: np.ndarray, centres: np.ndarray, sigma: float) -> np.ndarray:
    """The formula as it stands, with a (points, centres, d) broadcast in float64."""
    a = (points[:, None].astype(np.float64) - centres[None].astype(np.float64)) / sigma
    exponent = -0.5 * (a**2).sum(2)
    top = exponent.max(1, keepdims=True)
    mean = top[:, 0] + np.log(np.exp(exponent - top).mean(1))
    return mean - points.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


def _draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def test_one_centre_is_a_gaussian() -> None:
    points, centre = _draw(0, 50, 7), _draw(1, 1, 7)
    cov = 0.3**2 * np.eye(7)
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(centre[0]), torch.from_numpy(cov))
    expected = normal.log_prob(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(log_likelihood(points, centre, 0.3), expected, rtol=1e-12)


def test_two_centres_by_hand() -> None:
    value = log_likelihood(np.array([[0.0]]), np.array([[1.0], [-2.0]]), 1.0)[0]
    expected = math.log(0.5 * (math.exp(-0.5) + math.exp(-2.0))) - 0.5 * math.log(2 * math.pi)
    assert value == pytest.approx(expected, rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 30), st.integers(1, 40)),
    sigma=st.floats(1e-7, 1e3),
    offset=st.sampled_from([0.0, 1.0, 1e4, -1e6]),
    outlier=st.sampled_from([0.0, 1e5]),
    copies=st.booleans(),
    budget=st.sampled_from([1, 5_000, 2**26]),
)
def test_agrees_with_the_direct_formula(
    seed: int,
    shape: tuple[int, int, int],
    sigma: float,
    offset: float,
    outlier: float,
    copies: bool,
    budget: int,
) -> None:
    n, m, d = shape
    centres, points = _draw(seed, m, d), _draw(seed + 1, n, d)
    if copies:
        points = centres[np.arange(n) % m]
    # Round first, so that both formulas see the same representable numbers.
    centres, points = centres + offset, points + offset
    centres[0] += outlier
    actual = log_likelihood(points, centres, sigma, budget=budget)
    expected = direct_log_likelihood(points, centres, sigma)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    assert actual.dtype == np.float64


@pytest.mark.parametrize("sigma", [1e-9, 1e-6, 1e-3, 0.1668])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_points_equal_to_centres_at_image_size(sigma: float, offset: float) -> None:
    centres = _draw(2, 300, 784) + offset
    centres[7] -= 1e4
    # Float noise of the matrix product, divided by the square of a tiny sigma, would be many nats here.
    points = np.concatenate([centres[:20], centres[20:40] + sigma / 30])
    expected = direct_log_likelihood(points, centres, sigma)
    np.testing.assert_allclose(log_likelihood(points, centres, sigma), expected, rtol=1e-6)


def test_float32_and_bytes_and_torch_agree_with_float64() -> None:
    images = np.random.default_rng(3).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
    flat = images.reshape(40, -1).astype(np.float64)
    expected = direct_log_likelihood(flat[:9], flat[9:], 40.0)
    np.testing.assert_allclose(log_likelihood(images[:9], images[9:], 40.0), expected, rtol=1e-10)
    tensor = torch.from_numpy(images).float()
    np.testing.assert_allclose(log_likelihood(tensor[:9], tensor[9:], 40.0), expected, rtol=1e-10)


def test_order_and_common_shift_do_not_matter() -> None:
    points, centres = _draw(4, 30, 10), _draw(5, 80, 10)
    base = log_likelihood(points, centres, 0.2)
    order = np.random.default_rng(6).permutation(80)
    np.testing.assert_allclose(log_likelihood(points, centres[order], 0.2), base, rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(points[::-1], centres, 0.2), base[::-1], rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(points + 5.0, centres + 5.0, 0.2), base, rtol=1e-11)


@pytest.mark.parametrize("budget", [1, 1_500, 5_000, 2**26])
def test_block_size_does_not_matter(budget: int) -> None:
    points, centres = _draw(7, 15, 12), _draw(8, 31, 12)
    for sigma in (0.01, 0.1, 1.0):
        np.testing.assert_allclose(
            log_likelihood(points, centres, sigma, budget=budget),
            direct_log_likelihood(points, centres, sigma),
            rtol=1e-9,
        )


@pytest.mark.parametrize("features", [1, 64, 784, 12_288])
@pytest.mark.parametrize("budget", [2**20, 96 * 2**20])
def test_blocks_fill_the_budget_and_do_not_exceed_it(features: int, budget: int) -> None:
    rows = block_rows(features, budget)
    assert 24 * rows * (features + rows) <= budget < 24 * (rows + 1) * (features + rows + 1)


def test_cross_validation_takes_the_best_of_all_widths() -> None:
    valid, centres = _draw(9, 40, 5), _draw(10, 200, 5)
    result = cross_validate(valid, centres)
    means = [direct_log_likelihood(valid, centres, sigma).mean() for sigma in SIGMAS]
    np.testing.assert_allclose(result.means, means, rtol=1e-9)
    assert result.sigma == SIGMAS[int(np.argmax(means))]
    # Single widths and all together see the same distances.
    single = [log_likelihood(valid, centres, sigma).mean() for sigma in SIGMAS]
    np.testing.assert_allclose(result.means, single, rtol=1e-12)


def test_released_grid() -> None:
    rounded = [0.1, 0.1292, 0.1668, 0.2154, 0.2783, 0.3594, 0.4642, 0.5995, 0.7743, 1.0]
    np.testing.assert_allclose(SIGMAS, rounded, atol=5e-5)


def test_protocol_and_its_standard_error() -> None:
    samples, valid, test = _draw(11, 100, 4), _draw(12, 20, 4), _draw(13, 30, 4)
    result = parzen10k(samples, valid, test)
    values = direct_log_likelihood(test, samples, result.sigma)
    assert result.value == pytest.approx(values.mean(), rel=1e-10)
    assert result.standard_error == pytest.approx(math.sqrt(((values - values.mean()) ** 2).mean() / 30), rel=1e-9)
    assert (result.n_centres, result.n_valid, result.n_test) == (100, 20, 30)
    assert result.sigma == result.validation.sigma == cross_validate(valid, samples).sigma


def test_standard_error_covers_the_truth() -> None:
    rng = np.random.default_rng(14)
    hits = [abs(mean - 2.0) < 1.96 * se for mean, se in (mean_and_error(rng.exponential(2.0, 400)) for _ in range(500))]
    assert 0.91 < np.mean(hits) < 0.98


def test_refuses_what_it_cannot_measure() -> None:
    good = _draw(15, 5, 3)
    for sigma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="positive"):
            log_likelihood(good, good, sigma)
    with pytest.raises(ConfigError, match="positive"):
        cross_validate(good, good, ())
    with pytest.raises(DataError, match=r"\(4,\)"):
        log_likelihood(good, _draw(0, 5, 4), 1.0)
    with pytest.raises(DataError, match="at least one"):
        log_likelihood(good[:0], good, 1.0)
    broken = good.copy()
    broken[[1, 3], 0] = np.nan
    with pytest.raises(DataError, match="0 points and 2 centres"):
        log_likelihood(good, broken, 1.0)
    broken[0, 0] = np.inf
    with pytest.raises(DataError, match="3 points and 0 centres"):
        log_likelihood(broken, good, 1.0)


@pytest.mark.parametrize("budget", [1, 4_000, 2**26])
def test_nearest_against_brute_force(budget: int) -> None:
    samples, train = _draw(16, 17, 3, 4), _draw(17, 60, 3, 4)
    gaps = np.sqrt(((samples[:, None] - train[None]) ** 2).sum((2, 3)))
    indices, distances = nearest(samples, train, budget=budget)
    np.testing.assert_array_equal(indices, gaps.argmin(1))
    np.testing.assert_allclose(distances, gaps.min(1), rtol=1e-12)


def test_nearest_finds_planted_copies_in_a_memory_map(tmp_path) -> None:
    train = np.random.default_rng(18).integers(0, 256, (500, 1, 7, 7), dtype=np.uint8)
    train[400] = train[3]
    np.save(tmp_path / "train.npy", train)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    planted = np.array([499, 3, 400, 77])
    indices, distances = nearest(train[planted], mapped, budget=30_000)
    assert indices.tolist() == [499, 3, 3, 77]
    assert distances.tolist() == [0.0] * 4


def test_nearest_refuses_mixed_units() -> None:
    with pytest.raises(DataError, match="to_uint8"):
        nearest(_draw(0, 2, 4), np.zeros((3, 4), np.uint8))


def test_kmeans_centroids_are_means_of_rows() -> None:
    rng = np.random.default_rng(19)
    corners = np.array([[0, 0], [0, 50], [50, 0], [50, 50]], np.float32)
    rows = (corners[np.arange(400) % 4] + rng.normal(size=(400, 2))).astype(np.float32)
    one = kmeans_centroids(rows, 1, seed=0)
    np.testing.assert_allclose(one[0], rows.mean(0), rtol=1e-5)
    many = kmeans_centroids(rows.reshape(400, 1, 1, 2), 40, seed=1)
    assert many.shape == (40, 1, 1, 2)
    assert np.array_equal(many, kmeans_centroids(rows.reshape(400, 1, 1, 2), 40, seed=1))
    assert not np.array_equal(many, kmeans_centroids(rows.reshape(400, 1, 1, 2), 40, seed=2))
    with pytest.raises(ConfigError, match="401"):
        kmeans_centroids(rows, 401, seed=0)


def test_kmeans_is_one_iteration_of_lloyd() -> None:
    from sklearn.cluster import KMeans

    rows = np.random.default_rng(20).integers(0, 256, (2500, 1, 3, 3), dtype=np.uint8)
    start = rows[np.sort(np.random.default_rng(4).choice(2500, 60, replace=False))]
    flat = rows.reshape(2500, -1).astype(np.float32)
    model = KMeans(60, init=start.reshape(60, -1).astype(np.float32), n_init=1, max_iter=1).fit(flat)
    ours = kmeans_centroids(rows, 60, seed=4).reshape(60, -1)
    np.testing.assert_allclose(ours, model.cluster_centers_, rtol=1e-4, atol=1e-3)


def test_kmeans_of_duplicated_rows_is_no_trouble() -> None:
    assert not kmeans_centroids(np.zeros((20, 3)), 4, seed=0).any()
