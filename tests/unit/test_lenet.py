"""The small classifier: what it learns, what it repeats exactly, what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from saddlepoint.core.errors import ConfigError, DataError, TrainingError
from saddlepoint.metrics import lenet
from saddlepoint.metrics.lenet import (
    Classifier,
    Training,
    accuracy,
    augment,
    classify,
    load_classifier,
    save_classifier,
    train_classifier,
)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = np.minimum(bunch.images[order] * 16, 255).astype(np.uint8)[:, None]
    return images, bunch.target[order].astype(np.int64)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return _digits()


@pytest.fixture(scope="module")
def training(digits: tuple[np.ndarray, np.ndarray]) -> Training:
    x, y = digits
    return train_classifier(x[:1000], y[:1000], valid=(x[1200:1500], y[1200:1500]), epochs=6, batch=32, shift=1)


def test_it_learns_handwritten_digits(digits: tuple[np.ndarray, np.ndarray], training: Training) -> None:
    x, y = digits
    assert accuracy(training.classifier, x[1500:], y[1500:]) > 0.85


def test_random_labels_cannot_be_predicted(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    shuffled = np.random.default_rng(1).permutation(y)
    found = train_classifier(x[:600], shuffled[:600], epochs=3, batch=32, shift=1)
    assert accuracy(found.classifier, x[600:], shuffled[600:]) < 0.2


def test_the_chosen_epoch_is_the_best_on_validation_images(
    digits: tuple[np.ndarray, np.ndarray], training: Training
) -> None:
    x, y = digits
    accuracies = [epoch.valid_accuracy for epoch in training.epochs]
    assert accuracies[training.chosen] == max(accuracies)
    assert accuracy(training.classifier, x[1200:1500], y[1200:1500]) == max(accuracies)


def test_an_early_epoch_is_kept_when_later_ones_are_worse(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = digits
    # of the newest epoch and of the best one so far, in turns
    ranks = iter([(0.2, 0.0), (0.2, 0.0), (0.9, 0.0), (0.2, 0.0), (0.5, 0.0), (0.9, 0.0)])
    monkeypatch.setattr(lenet, "_rank", lambda _: next(ranks))
    found = train_classifier(x[:200], y[:200], valid=(x[200:300], y[200:300]), epochs=3, batch=50)
    assert found.chosen == 1
    monkeypatch.undo()
    chosen = found.epochs[1].valid_accuracy
    assert accuracy(found.classifier, x[200:300], y[200:300]) == chosen != found.epochs[2].valid_accuracy


def test_the_seed_decides_every_weight_and_the_global_state_is_left_alone(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = digits[0][:300], digits[1][:300]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_classifier(x, y, epochs=2, batch=64, flip=True).classifier.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = train_classifier(x, y, epochs=2, batch=64, flip=True).classifier.state_dict()
    other = train_classifier(x, y, epochs=2, batch=64, flip=True, seed=1).classifier.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["hidden.weight"], other["hidden.weight"])


def test_lines_are_said_and_epochs_recorded(digits: tuple[np.ndarray, np.ndarray]) -> None:
    lines: list[str] = []
    found = train_classifier(digits[0][:100], digits[1][:100], epochs=2, batch=50, say=lines.append)
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert math.isnan(found.epochs[0].valid_accuracy)
    assert found.chosen == 1


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 17)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, *shape), dtype=np.uint8)
    found = train_classifier(images, np.arange(24) % 3, epochs=1, batch=8)
    features, logits = classify(found.classifier, images, 7)
    assert features.shape == (24, 64)
    assert logits.shape == (24, 3)
    assert np.isfinite(features).all()


def test_every_shift_and_mirror_occurs_and_nothing_else() -> None:
    picture = torch.arange(1, 31, dtype=torch.uint8).reshape(1, 5, 6)
    padded = torch.nn.functional.pad(picture, (1, 1, 1, 1))
    expected = {}
    for mirrored in (False, True):
        for down in range(3):
            for right in range(3):
                window = padded[:, down : down + 5, right : right + 6]
                expected[(window.flip(2) if mirrored else window).numpy().tobytes()] = (mirrored, down, right)
    assert len(expected) == 18
    found = augment(picture.expand(1800, 1, 5, 6), 1, True, torch.Generator().manual_seed(0))
    counts = dict.fromkeys(expected.values(), 0)
    for one in found:
        counts[expected[one.contiguous().numpy().tobytes()]] += 1
    # 100 of each are expected; 5 standard deviations are 49.
    assert 50 < min(counts.values()) <= max(counts.values()) < 150


def test_without_shift_and_mirror_nothing_changes() -> None:
    images = torch.randint(0, 256, (5, 3, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(images, 0, False, torch.Generator().manual_seed(0)), images)


def test_a_saved_classifier_comes_back_and_equal_ones_give_equal_files(
    digits: tuple[np.ndarray, np.ndarray], training: Training, tmp_path: Path
) -> None:
    facts = {"name": "digits-lenet", "accuracy": 0.5, "classes": list("0123456789"), "version": "1"}
    digest = save_classifier(tmp_path / "deep" / "a.safetensors", training.classifier, facts)
    assert save_classifier(tmp_path / "b.safetensors", training.classifier, dict(reversed(facts.items()))) == digest
    assert (tmp_path / "deep" / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found, about, read = load_classifier(tmp_path / "b.safetensors", digest)
    assert (about, read) == (facts, digest)
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())
    for ours, theirs in zip(classify(found, digits[0], 99), classify(training.classifier, digits[0], 99), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_a_damaged_file_is_refused(training: Training, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = save_classifier(path, training.classifier, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="expected"):
        load_classifier(path, digest)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot be read as a classifier"):
        load_classifier(path)
    with pytest.raises(DataError, match="cannot be read as a classifier"):
        load_classifier(tmp_path / "missing.safetensors")


def test_other_tensors_and_formats_are_refused(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="cannot be read as a classifier"):
        load_classifier(tmp_path / "other.safetensors")
    monkeypatch.setattr(lenet, "FORMAT", 2)
    save_classifier(tmp_path / "new.safetensors", training.classifier, {})
    monkeypatch.undo()
    with pytest.raises(DataError, match="format 2"):
        load_classifier(tmp_path / "new.safetensors")


def test_a_folder_that_cannot_be_written_is_named(training: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        save_classifier(tmp_path / "file" / "a.safetensors", training.classifier, {})


def test_a_loss_that_is_not_finite_ends_the_training(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lenet, "_RATE", 1e30)
    with pytest.raises(TrainingError, match="loss is nan"):
        train_classifier(digits[0][:200], digits[1][:200], epochs=2, batch=50)


def test_wrong_arguments() -> None:
    x, y = _digits()
    x, y = x[:50], y[:50]
    with pytest.raises(ConfigError, match="too small"):
        Classifier((1, 7, 28), 10)
    with pytest.raises(ConfigError, match="at least 2"):
        Classifier((1, 8, 8), 1)
    with pytest.raises(DataError, match="must be uint8"):
        train_classifier(x.astype(np.float32), y)
    with pytest.raises(DataError, match="must be uint8"):
        train_classifier(x[:0], y[:0])
    with pytest.raises(DataError, match="50 images need as many"):
        train_classifier(x, y[:49])
    with pytest.raises(DataError, match="as many integer labels"):
        train_classifier(x, y.astype(float))
    with pytest.raises(DataError, match="labels go from"):
        train_classifier(x, y, classes=5, batch=10)
    with pytest.raises(DataError, match="labels go from -1"):
        train_classifier(x, y - 1, classes=10, batch=10)
    with pytest.raises(DataError, match="labels go from"):
        train_classifier(x, np.zeros(50, np.int64), classes=2, valid=(x, y), batch=10)
    with pytest.raises(ConfigError, match="batch 128"):
        train_classifier(x, y)
    with pytest.raises(ConfigError, match="epochs is 0"):
        train_classifier(x, y, epochs=0, batch=10)
