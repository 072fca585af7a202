"""Distances between bytes are exact, and figures by them are those by floats, whichever way a processor computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from saddlepoint.metrics import SIGMAS, centroids, memorisation, parzen
from saddlepoint.metrics.byte_distances import Bytes, _fast, byte_distances, takes
from saddlepoint.metrics.centroids import kmeans_centroids
from saddlepoint.metrics.memorisation import nearness
from saddlepoint.metrics.parzen import log_likelihood, parzen10k
from saddlepoint.metrics.parzen_bytes import byte_likelihoods, near_likelihood
from saddlepoint.metrics.sums import sum_of_exp


def _bytes(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _smooth(seed: int, n: int) -> np.ndarray:
    """Pictures some of which are near each other, as digits are."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(0).integers(0, 256, (12, 1, 9, 9))
    return np.clip(base[rng.integers(0, 12, n)] + rng.normal(0, 9, (n, 1, 9, 9)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("features", [2, 3, 64, 2_500])
def test_squared_distances_are_whole_and_exact(features: int) -> None:
    a, b = _bytes(0, 7, features), _bytes(1, 11, features)
    a[0], b[0] = 0, 255  # the largest distance there is
    expected = ((a[:, None].astype(np.int64) - b) ** 2).sum(2)
    found = byte_distances(Bytes.of(a), Bytes.of(torch.from_numpy(b)))
    assert np.array_equal(found.numpy(), expected)
    ranks = byte_distances(Bytes.of(a), Bytes.of(b), ranks_only=True).numpy()
    assert np.array_equal(ranks.argsort(1, kind="stable"), expected.argsort(1, kind="stable"))


def test_only_bytes_of_bounded_length_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.metrics.byte_distances._fast", lambda: True)
    assert takes(_bytes(0, 3, 1, 8, 8))
    assert not takes(_bytes(0, 3, 8), np.zeros((3, 8), np.float32))
    assert not takes(_bytes(0, 3, 1))  # see there
    assert takes(_bytes(0, 1, 33_025))
    assert not takes(_bytes(0, 1, 33_026))  # 33,026 x 255^2 is above 2^31
    monkeypatch.setattr("saddlepoint.metrics.byte_distances._fast", lambda: False)
    assert not takes(_bytes(0, 3, 8))


Both = Callable[[Callable[[], Any]], tuple[Any, Any]]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    """Return what computes something by bytes and by floats."""

    def computed(work: Callable[[], Any]) -> tuple[Any, Any]:
        found = []
        for by_bytes in (True, False):
            for module in (centroids, memorisation, parzen):
                monkeypatch.setattr(module, "takes", lambda *tables, own=by_bytes: own and takes_bytes(*tables))
            found.append(work())
        return found[0], found[1]

    def takes_bytes(*tables: Any) -> bool:
        return all(rows.dtype in (np.uint8, torch.uint8) for rows in tables)

    return computed


def test_centroids_are_the_same(both: Both) -> None:
    rows = _smooth(1, 900)
    rows[500] = rows[0]
    one, two = both(lambda: kmeans_centroids(rows, 60, 0))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_nearness_is_the_same(both: Both) -> None:
    train, rows = _smooth(2, 700), _smooth(3, 50)
    rows[3] = train[650]
    one, two = both(lambda: nearness(rows, train))
    assert np.array_equal(one.index, two.index)
    assert one.index[3] == 650
    assert one.distance[3] == 0
    np.testing.assert_allclose(one.distance, two.distance, rtol=1e-12)
    np.testing.assert_allclose(one.relative, two.relative, rtol=1e-12)
    assert np.array_equal(one.copies, two.copies)


@pytest.mark.parametrize("kind", ["bytes", "between bytes"])
def test_parzen_figures_are_the_same(kind: str, both: Both) -> None:
    samples: np.ndarray = _smooth(4, 400)
    if kind == "between bytes":
        noise = np.random.default_rng(5).uniform(-0.5, 0.5, samples.shape)
        samples = np.clip((samples + noise) / 255, 0, 1).astype(np.float32)
    valid, test = _smooth(6, 40), _smooth(7, 90)
    one, two = both(lambda: parzen10k(samples, valid, test))
    assert one.sigma == two.sigma
    assert one.value == pytest.approx(two.value, rel=1e-7)
    assert one.standard_error == pytest.approx(two.standard_error, rel=1e-5)
    np.testing.assert_allclose(one.validation.means, two.validation.means, rtol=1e-6)


def test_likelihoods_of_bytes_follow_the_formula() -> None:
    points, centres = _bytes(8, 9, 30), _bytes(9, 50, 30)
    squares = ((points[:, None] / 255 - centres / 255) ** 2).sum(2)
    for k, sigma in enumerate(SIGMAS):
        expected = logsumexp(-squares / (2 * sigma**2), 1) - np.log(50) - 30 * np.log(sigma * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(byte_likelihoods(points, centres, SIGMAS)[k], expected, rtol=1e-12)


def test_centres_between_bytes_are_looked_at_where_few_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.metrics.byte_distances._fast", lambda: True)
    rng = np.random.default_rng(10)
    centres = (_bytes(11, 3_000, 100) / 255 + rng.uniform(-0.002, 0.002, (3_000, 100))).astype(np.float64)
    points = np.clip((centres[::100] + rng.normal(0, 0.01, (30, 100))) * 255, 0, 255).astype(np.uint8)
    found = near_likelihood(points, centres, 0.05)
    assert found is not None
    np.testing.assert_allclose(found, log_likelihood(points / 255, centres, 0.05), rtol=1e-11)
    assert near_likelihood(points, centres, 1.0) is None  # all of them count
    centres[7, 3] = np.nan
    assert near_likelihood(points, centres, 0.05) is None


@pytest.mark.parametrize("sigma", [0.05, 3.0])
def test_sums_of_few_and_of_many_terms(sigma: float) -> None:
    d2 = np.random.default_rng(12).uniform(0, 20, (6, 200))
    d2[:, 0] = 0
    expected = np.exp(-d2 / (2 * sigma**2)).sum(1)
    np.testing.assert_allclose(sum_of_exp(torch.from_numpy(d2), sigma).numpy(), expected, rtol=1e-14)
    whole = torch.from_numpy((d2 * 1000).astype(np.int32))
    np.testing.assert_allclose(
        sum_of_exp(whole, 30 * sigma).numpy(), np.exp(-whole.numpy() / (2 * (30 * sigma) ** 2)).sum(1), rtol=1e-14
    )


@pytest.mark.parametrize(("units", "exact"), [(True, True), (True, False), (False, True)])
def test_units_are_used_where_they_are_there_and_exact(
    units: bool, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if (a.dtype, b.dtype) != (torch.int8, torch.int8):
            raise RuntimeError("bytes only")
        return a.int() @ b.int() if exact else (a.int() @ b.int()).clamp(max=32_767)  # as 16 bits saturate

    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: units)
    monkeypatch.setattr(torch, "_int_mm", product)
    assert _fast.__wrapped__() is (units and exact)
