"""Feature extractors: golden values, independence of batch size and threads, clear refusals."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import extractors, inception
from saddlepoint.metrics.extractors import Extractor, Features, Pixels, describe, mnist_lenet
from saddlepoint.metrics.inception import Inception, inception_v3

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "mnist_test_200.npz"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(GOLDEN) as file:
        return file["images"], file["labels"]


def test_pixels_are_the_image_in_unit_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    found = Pixels((3, 4, 5)).extract(images, batch=3)
    np.testing.assert_allclose(found.x, images.reshape(7, 60) / 255.0, rtol=1e-7)
    assert found.x.dtype == np.float32
    assert found.probabilities is None
    assert len(found) == 7
    assert Pixels((1, 2, 2)).sha256 == Pixels((3, 4, 5)).sha256 != ""
    with pytest.raises(ConfigError, match="without classes"):
        _ = found.labels


def test_mnist_lenet_on_a_fixed_sample(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    found = mnist_lenet().extract(images)
    assert int((found.labels == labels).sum()) == 200
    # Recorded when the weights were made; any change needs a new version.
    expected = [2.8970942, 3.8000867, 0.3081905, -4.5965042, 6.4533305, -3.1271582]
    np.testing.assert_allclose(found.x[0, :6], expected, rtol=1e-4)
    np.testing.assert_allclose([found.x.mean(), found.x.std()], [-0.8913935, 4.0075536], rtol=1e-4)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)


def test_mnist_lenet_is_what_the_figures_say() -> None:
    figures = json.loads((ROOT / "benchmarks" / "figures" / "lenet" / "mnist-lenet.json").read_text())
    extractor = mnist_lenet()
    assert hashlib.sha256(extractors.MNIST_LENET.read_bytes()).hexdigest() == extractor.sha256 == figures["sha256"]
    assert extractor.name == figures["name"] == "mnist-lenet"
    assert extractor.version == figures["version"]
    assert (extractor.shape, extractor.features, extractor.classes) == ((1, 28, 28), 64, 10)
    assert figures["test_accuracy"] >= 0.993
    assert extractors.MNIST_LENET.stat().st_size == figures["weights_bytes"] < 1_000_000


@pytest.mark.slow
def test_mnist_lenet_on_all_test_images() -> None:
    from saddlepoint.data import load_dataset

    test = load_dataset("mnist").splits["test"]
    assert (mnist_lenet().extract(test.x).labels == test.labels).mean() == pytest.approx(0.9957, abs=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize("name", ["mnist-lenet", "pixels"])
def test_batch_size_does_not_matter(name: str, batch: int, digits: tuple[np.ndarray, np.ndarray]) -> None:
    extractor: Extractor = mnist_lenet() if name == "mnist-lenet" else Pixels((1, 28, 28))
    images = digits[0][:100]
    reference, found = extractor.extract(images, 50), extractor.extract(images, batch)
    np.testing.assert_allclose(found.x, reference.x, rtol=1e-4, atol=1e-4)
    if reference.probabilities is not None and found.probabilities is not None:
        np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=1e-5)


def test_threads_and_neighbours_do_not_matter(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = digits[0]
    reference = mnist_lenet().extract(images)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(mnist_lenet().extract(images[order]).x, reference.x[order], rtol=1e-4, atol=1e-4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = mnist_lenet().extract(images)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found.x, reference.x, rtol=1e-4, atol=1e-4)


def test_numpy_memory_maps_and_torch_agree(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    images = digits[0][:20]
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for extractor in (mnist_lenet(), Pixels((1, 28, 28))):
        reference = extractor.extract(images).x
        np.testing.assert_array_equal(extractor.extract(mapped).x, reference)
        np.testing.assert_array_equal(extractor.extract(torch.from_numpy(images)).x, reference)


def test_random_state_is_left_alone(digits: tuple[np.ndarray, np.ndarray]) -> None:
    before = torch.get_rng_state()
    mnist_lenet.__wrapped__("cpu").extract(digits[0][:5])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((4, 1, 32, 32), np.uint8), r"\(4, 1, 32, 32\), but 'mnist-lenet' takes \(n, 1, 28, 28\)"),
        (np.zeros((4, 3, 28, 28), np.uint8), r"takes \(n, 1, 28, 28\)"),
        (np.zeros((4, 784), np.uint8), r"takes \(n, 1, 28, 28\)"),
        (np.zeros((0, 1, 28, 28), np.uint8), "n at least 1"),
        (np.zeros((4, 1, 28, 28), np.float32), "float32, but 'mnist-lenet' takes uint8"),
        (
            torch.zeros(4, 1, 28, 28),
            r"takes uint8 in \[0, 255\]: convert them with saddlepoint\.figures\.grids\.to_uint8",
        ),
    ],
)
def test_wrong_images(images: np.ndarray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        mnist_lenet().extract(images)


def test_wrong_batch() -> None:
    with pytest.raises(ConfigError, match="batch is 0"):
        Pixels((1, 2, 2)).extract(np.zeros((1, 1, 2, 2), np.uint8), 0)


def test_damaged_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(extractors.MNIST_LENET.read_bytes())
    data[-1] ^= 1
    (tmp_path / "w.safetensors").write_bytes(data)
    monkeypatch.setattr(extractors, "MNIST_LENET", tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="install saddlepoint again"):
        mnist_lenet.__wrapped__("cpu")


def test_describe() -> None:
    assert describe(Pixels((1, 2, 2))) == {"extractor": "pixels", "version": "1", "sha256": Pixels.sha256}


def test_labels_are_the_most_probable_class() -> None:
    probabilities = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(Features(np.zeros((2, 1), np.float32), probabilities).labels, [1, 0])


class _Fidelity(torch.nn.Module):
    """Stands for torch-fidelity's network: same constructor, same outputs, weights of three numbers."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None) -> None:
        super().__init__()
        assert feature_extractor_weights_path is None
        module = sys.modules["torch_fidelity.feature_extractor_inceptionv3"]
        self.scale = module.load_state_dict_from_url("https://nowhere")["scale"]  # type: ignore[attr-defined]
        assert features_list == ["2048", "logits_unbiased"]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        means = x.float().mean((2, 3)) @ self.scale[:, None]
        return means.expand(-1, 2048), means * torch.linspace(0, 1, 1008)


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = _Fidelity  # type: ignore[attr-defined]
    module.load_state_dict_from_url = "the original"  # type: ignore[attr-defined]
    package = types.ModuleType("torch_fidelity")
    package.feature_extractor_inceptionv3 = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_inception_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r"saddlepoint\[inception\]"):
        inception_v3()


def test_inception_without_its_weights(
    fidelity: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"put https://github\.com"):
        inception_v3(tmp_path / "missing.pth")

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    lines: list[str] = []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(DataError, match="cannot be downloaded"):
        inception_v3(say=lines.append)
    assert len(lines) == 1
    assert "91 MB" in lines[0]


def test_inception_with_other_weights(fidelity: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(DataError, match="expected 6726825d0af5f729"):
        inception_v3(tmp_path / "w.pth")


def test_inception_through_a_network_of_the_same_form(
    fidelity: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"scale": torch.tensor([1.0, 2.0, 3.0])}, path)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    extractor: Inception = inception_v3(path)
    assert fidelity.load_state_dict_from_url == "the original"
    colour = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)
    found = extractor.extract(colour, batch=2)
    expected = colour.astype(np.float64).mean((2, 3)) @ [1.0, 2.0, 3.0]
    np.testing.assert_allclose(found.x, np.repeat(expected[:, None], 2048, 1), rtol=1e-5)
    assert found.probabilities is not None
    assert found.probabilities.shape == (5, 1008)
    np.testing.assert_array_equal(found.labels, 1007)
    grey = colour[:, :1]
    np.testing.assert_array_equal(extractor.extract(grey).x, extractor.extract(np.repeat(grey, 3, 1)).x)
    with pytest.raises(DataError, match=r"takes \(n, 3, any, any\)"):
        extractor.extract(colour[:, :2])
    assert extractor.sha256 == inception.SHA256
