"""What `imagenet-lite` sees with its published weights, on tiles of the two photographs that scikit-learn brings."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from saddlepoint.metrics import imagenet
from saddlepoint.metrics.efficientnet import EfficientNetLite0
from saddlepoint.metrics.imagenet import ImagenetLite, imagenet_lite
from saddlepoint.metrics.imagenet_weights import published_weights
from saddlepoint.metrics.kernel import kernel_distance
from saddlepoint.metrics.manifold import manifold
from saddlepoint.metrics.memorisation import memorisation, nearness
from tests.unit.test_imagenet import equals_reference

pytestmark = pytest.mark.slow
SIDE = 32


@pytest.fixture(scope="module")
def lite() -> ImagenetLite:
    return ImagenetLite(EfficientNetLite0(published_weights()))


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    """Tiles that do not overlap, in random order: uint8 (520, 3, 32, 32)."""
    found = [
        image[y : y + SIDE, x : x + SIDE].transpose(2, 0, 1)
        for image in load_sample_images().images
        for y in range(0, image.shape[0] - SIDE + 1, SIDE)
        for x in range(0, image.shape[1] - SIDE + 1, SIDE)
    ]
    return np.stack(found)[np.random.default_rng(0).permutation(len(found))]


def _each(change: Callable[[Image.Image], Image.Image], tiles: np.ndarray) -> np.ndarray:
    pictures = (change(Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0)))) for tile in tiles)
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def rough(tiles: np.ndarray) -> np.ndarray:
    """Return the places of tiles with much to see first: those of plain sky are like one another to anybody."""
    return np.argsort(-tiles.astype(np.float64).std((2, 3)).mean(1), kind="stable")


def blurred(tiles: np.ndarray, sigma: float) -> np.ndarray:
    return _each(lambda picture: picture.filter(ImageFilter.GaussianBlur(sigma)), tiles)


def noised(tiles: np.ndarray, levels: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, levels, tiles.shape)
    return np.clip(np.rint(tiles + noise), 0, 255).astype(np.uint8)


def packed(tiles: np.ndarray, quality: float) -> np.ndarray:
    def change(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(quality))
        return Image.open(buffer).convert("RGB")

    return _each(change, tiles)


def cropped(tiles: np.ndarray, pixels: float) -> np.ndarray:
    box = (pixels, pixels, SIDE - pixels, SIDE - pixels)
    return _each(lambda picture: picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), tiles)


@pytest.mark.parametrize("side", [96, 128, 224])
def test_published_weights_give_the_references_outputs(lite: ImagenetLite, side: int) -> None:
    equals_reference(lite.network, "published", side)


def test_it_is_what_is_asked_for_by_name(lite: ImagenetLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "_LOADED", {})
    assert imagenet_lite().sha256 == lite.sha256  # and the weights are kept in the cache of this test
    monkeypatch.setattr(imagenet, "_LOADED", {})
    found = imagenet_lite(download=False)
    assert found.sha256 == lite.sha256
    assert imagenet_lite() is found


@pytest.mark.parametrize(
    ("change", "steps"),
    [(blurred, (0.7, 1.0, 1.5, 2.5)), (noised, (8, 16, 32, 64)), (packed, (40, 20, 10, 5)), (cropped, (4, 6, 9, 12))],
)
def test_worse_pictures_lie_farther(
    change: Callable[[np.ndarray, float], np.ndarray], steps: tuple[float, ...], lite: ImagenetLite, tiles: np.ndarray
) -> None:
    real, other = lite.extract(tiles[:260]).x, tiles[260:]
    found = [kernel_distance(real, lite.extract(rows).x) for rows in (other, *(change(other, step) for step in steps))]
    values = [estimate.value for estimate in found]
    assert values == sorted(values), values
    assert found[-1].value > 5 * (found[0].standard_error or 0.0)


def test_few_pictures_repeated_are_no_variety(lite: ImagenetLite, tiles: np.ndarray) -> None:
    real, other = lite.extract(tiles[:260]).x, lite.extract(tiles[260:]).x
    near, far = lite.directions(real), lite.directions(other)
    found = [manifold(near, far[np.arange(260) % kept]) for kept in (260, 60, 10, 2)]
    for metric in ("recall", "coverage"):
        values = [figures[metric].value for figures in found]
        assert values == sorted(values, reverse=True), (metric, values)
        assert values[-1] < 0.2 * values[0]
    distances = [kernel_distance(real, other[np.arange(260) % kept]).value for kept in (260, 60, 10, 2)]
    assert distances == sorted(distances)


def test_noise_has_little_precision(lite: ImagenetLite, tiles: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (260, 3, SIDE, SIDE), dtype=np.uint8)
    real, other, nothing = (lite.directions(lite.extract(rows).x) for rows in (tiles[:260], tiles[260:], noise))
    found, photographs = manifold(real, nothing), manifold(real, other)
    assert photographs["precision"].value > 0.6
    for metric in ("precision", "density", "coverage"):
        assert found[metric].value < photographs[metric].value / 3


def test_the_same_picture_is_the_nearest(lite: ImagenetLite, tiles: np.ndarray) -> None:
    rows = torch.from_numpy(lite.extract(tiles).x)
    own = rough(tiles)[:200]
    changes = {
        "moved": np.pad(tiles[own], ((0, 0), (0, 0), (0, 0), (2, 0)), mode="edge")[..., :SIDE],
        "brighter": np.minimum(tiles[own].astype(np.int64) + 20, 255).astype(np.uint8),
        "JPEG": packed(tiles[own], 75),
        "noise": noised(tiles[own], 3),
        "mirrored": np.ascontiguousarray(tiles[own][..., ::-1]),
    }
    for name, changed in changes.items():
        nearest = torch.cdist(torch.from_numpy(lite.extract(changed).x), rows).argmin(1).numpy()
        assert (nearest == own).mean() > 0.9, (name, (nearest == own).mean())


def test_copies_are_found_mirrored_and_with_noise_too(lite: ImagenetLite, tiles: np.ndarray) -> None:
    train, held_out, fresh = tiles[:260], tiles[260:400], tiles[400:]
    known = lite.directions(lite.extract(train).x)
    usual = nearness(lite.directions(lite.extract(held_out).x), known)
    chosen = train[rough(train)[:20]]
    assert not memorisation(nearness(lite.directions(lite.extract(fresh).x), known), usual, len(train)).copying
    for name, copies in {
        "as they are": chosen,
        "mirrored": np.ascontiguousarray(chosen[..., ::-1]),
        "with noise": noised(chosen, 3),
    }.items():
        samples = np.concatenate([fresh[:60], copies])
        found = memorisation(nearness(lite.directions(lite.extract(samples).x), known), usual, len(train))
        assert found.copying, name
        assert (found.closest[:15] >= 60).sum() >= 12, (name, found.closest[:20])
