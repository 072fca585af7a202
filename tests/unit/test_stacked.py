"""Stacked MNIST: how it is made, and how its modes are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.sources.prepared import stacked_source
from saddlepoint.metrics.extractors import mnist_lenet

GOLDEN = Path(__file__).parents[1] / "golden" / "mnist_test_200.npz"


def mnist() -> Dataset:
    """Two hundred real digits in every split."""
    with np.load(GOLDEN) as arrays:
        x = arrays[arrays.files[0]].reshape(-1, 1, 28, 28)
    assert x.dtype == np.uint8
    return Dataset("mnist", "image", {name: Split(x) for name in ("train", "valid", "test")}, (), "ab" * 32)


def stacked(rows: int = 300) -> Dataset:
    source = stacked_source(mnist(), "stacked-mnist", (rows, 20, rows))
    found: dict[str, list[np.ndarray]] = {}
    for item in source.items():
        found.setdefault(item.split, []).append(np.asarray(item.payload).transpose(2, 0, 1))
    return Dataset("stacked-mnist", "image", {k: Split(np.stack(v)) for k, v in found.items()}, (), "cd" * 32)


def test_every_channel_is_a_digit_of_the_same_split_drawn_anew() -> None:
    one, two = stacked(), stacked()
    assert {name: part.x.shape for name, part in one.splits.items()} == {
        "train": (300, 3, 28, 28), "valid": (20, 3, 28, 28), "test": (300, 3, 28, 28),
    }  # fmt: skip
    assert np.array_equal(one.splits["train"].x, two.splits["train"].x)
    known = {image.tobytes() for image in mnist().splits["train"].x[:, 0]}
    channels = one.splits["train"].x.reshape(-1, 28, 28)
    assert all(channel.tobytes() in known for channel in channels)
    assert not np.array_equal(one.splits["train"].x, one.splits["test"].x)


def test_modes_are_the_digits_that_the_classifier_sees_in_the_channels() -> None:
    data = stacked()
    images = data.splits["test"].x
    report = ev.evaluate(lambda n, seed: torch.from_numpy(images[:n].copy()), data, ["stacked"])
    rows = [row for row in report.rows if row.role == "model"]
    lenet = mnist_lenet()
    digits = np.stack([lenet.extract(images[:, [c]].copy()).labels for c in range(3)], 1)
    assert rows[0].value == len(np.unique(digits @ [100, 10, 1]))
    assert report.results[0].protocol == "stacked300_mnist-lenet"


def test_other_data_has_no_such_modes() -> None:
    with pytest.raises(ConfigError, match="it counts the modes of 'stacked-mnist'"):
        ev.evaluate(lambda n, seed: None, mnist(), ["stacked"])  # type: ignore[arg-type, return-value]
