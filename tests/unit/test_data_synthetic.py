"""Synthetic data against their closed forms, statistics against direct formulas, and the digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, Split, load_dataset, mixture
from tests.unit.data_helpers import own_cache  # noqa: F401


@pytest.mark.parametrize(("name", "modes", "sigma"), [("ring8", 8, 0.01), ("grid25", 25, 0.05)])
def test_mixtures_are_where_they_should_be(name: str, modes: int, sigma: float) -> None:
    data, model = load_dataset(name), mixture(name)
    assert {split: len(part) for split, part in data.splits.items()} == {
        "train": 100_000,
        "valid": 10_000,
        "test": 10_000,
    }
    assert data.spec.modality == "vector"
    assert data.spec.shape == (2,)
    assert len(data.classes) == modes
    train = data.splits["train"]
    assert train.labels is not None
    away = train.x - model.centres[train.labels]
    assert np.abs(away.std(axis=0) / sigma - 1).max() < 0.01
    # in two dimensions P(r < 3 sigma) = 1 - exp(-4.5)
    near = (np.hypot(*away.T) < 3 * sigma).mean()
    assert abs(near - (1 - math.exp(-4.5))) < 0.002
    counts = np.bincount(train.labels, minlength=modes)
    assert np.abs(counts - 100_000 / modes).max() < 5 * math.sqrt(100_000 / modes)


def test_ring_has_eight_different_modes_on_the_unit_circle() -> None:
    centres = mixture("ring8").centres
    assert np.allclose(np.hypot(*centres.T), 1)
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 9 * np.eye(8)
    assert np.isclose(gaps.min(), 2 * math.sin(math.pi / 8))


def test_gaussian1d_has_the_stated_moments_and_no_labels() -> None:
    data, model = load_dataset("gaussian1d"), mixture("gaussian1d")
    x = data.splits["train"].x
    assert data.splits["train"].labels is None
    assert abs(x.mean() - 4) < 5 * model.sigma / math.sqrt(len(x))
    assert abs(x.std() / model.sigma - 1) < 0.01


def test_density_integrates_to_one() -> None:
    x = np.linspace(-6, 14, 4001)[:, None]
    assert abs(mixture("gaussian1d").density(x).sum() * (x[1, 0] - x[0, 0]) - 1) < 1e-6
    ticks = np.linspace(-1.1, 1.1, 881)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    assert abs(mixture("ring8").density(grid).sum() * (ticks[1] - ticks[0]) ** 2 - 1) < 1e-3


def test_synthetic_data_are_the_same_every_time() -> None:
    first, second = load_dataset("ring8"), load_dataset("ring8")
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.splits["test"].x, second.splits["test"].x)
    assert load_dataset("grid25").fingerprint != first.fingerprint


def test_synthetic_data_refuse_image_options_and_wrong_names() -> None:
    with pytest.raises(DataError, match="vectors"):
        load_dataset("ring8", size=32)
    with pytest.raises(DataError, match="did you mean 'ring8'"):
        mixture("ring9")


def test_digits_need_no_network_and_are_stratified() -> None:
    said: list[str] = []
    data = load_dataset("digits", say=said.append)
    assert said == []
    assert data.spec.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    from sklearn.datasets import load_digits

    original = load_digits()
    everything = np.concatenate([part.x[:, 0] for part in data.splits.values()])
    scaled = np.rint(original.images * 255 / 16).astype(np.uint8)
    assert sorted(x.tobytes() for x in everything) == sorted(x.tobytes() for x in scaled)
    for part, share in ((data.splits["train"], 0.8), (data.splits["valid"], 0.1), (data.splits["test"], 0.1)):
        counts = np.bincount(part.labels)
        assert np.abs(counts - share * np.bincount(original.target)).max() < 2


def test_statistics_of_images_match_the_direct_formula() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (700, 3, 20, 20), dtype=np.uint8)
    x[:, 0, 0, 0] = 200
    data = Dataset("x", "image", {"train": Split(x)}, (), "")
    stats = data.stats()
    inside = x.astype(np.float64) / 127.5 - 1
    assert torch.allclose(stats.mean.double(), torch.from_numpy(inside.mean(axis=0)), atol=1e-7)
    assert torch.allclose(stats.std.double(), torch.from_numpy(inside.std(axis=0)), atol=1e-7)
    assert stats.std[0, 0, 0] == 0


def test_statistics_of_vectors_keep_a_small_spread_around_a_large_mean() -> None:
    x = (1e4 + np.arange(4).repeat(2500) / 256).astype(np.float32)[:, None]
    stats = Dataset("x", "vector", {"train": Split(x)}, (), "").stats()
    assert abs(float(stats.std) / x.astype(np.float64).std() - 1) < 1e-6
