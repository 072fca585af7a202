"""Which extractor suits which data, and classifiers that are trained once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Dataset, Split, load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import features
from saddlepoint.evaluation.features import Trained, extractor_for


def _data(name: str, shape: tuple[int, ...]) -> Dataset:
    split = Split(np.zeros((20, *shape), np.uint8), np.arange(20) % 2)
    return Dataset(name, "image", {"train": split, "valid": split, "test": split}, ("a", "b"), "ab" * 32)


def test_data_has_its_own_classifier_or_pixels() -> None:
    assert features.default_name(_data("mnist", (1, 28, 28))) == "mnist-lenet"
    assert features.default_name(_data("mnist", (1, 14, 14))) == "pixels"
    assert features.default_name(_data("cifar10-jpeg", (3, 32, 32))) == "cifar10-jpeg-lenet"
    assert features.default_name(_data("cifar10-jpeg", (1, 32, 32))) == "pixels"
    assert features.default_name(_data("./photos", (3, 64, 64))) == "pixels"
    assert extractor_for(_data("mnist", (1, 28, 28))).classes == 10
    assert extractor_for(_data("./photos", (3, 64, 64))).features == 3 * 64 * 64


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
