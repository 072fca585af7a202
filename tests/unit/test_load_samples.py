"""Samples from elsewhere: read as they are, or refused in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, Split, load_dataset, load_samples


def _data(shape: tuple[int, ...] = (1, 8, 8), classes: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    x = np.zeros((20, *shape), np.uint8)
    split = Split(x, np.zeros(20, np.int64) if classes else None)
    return Dataset("pets", "image", {"train": split, "valid": split, "test": split}, classes, "ab" * 32)


def _pixels(n: int, seed: int = 0, shape: tuple[int, ...] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_bytes_come_through_unchanged(tmp_path: Path) -> None:
    pixels = _pixels(7)
    np.savez(tmp_path / "s.npz", x=pixels)
    x, labels = load_samples(tmp_path / "s.npz", _data())
    assert np.array_equal(x[:, 0], pixels)
    assert labels is None
    for index, image in enumerate(pixels):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "folder" / f"{index}.png")
    assert np.array_equal(load_samples(tmp_path / "folder", _data())[0], x)
    np.save(tmp_path / "signed.npy", (pixels[:, None].astype(np.float32) / 127.5) - 1)
    assert np.array_equal(load_samples(tmp_path / "signed.npy", _data())[0], x)


def test_labels_are_matched_by_name_or_number(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        (tmp_path / "named" / name).mkdir(parents=True)
        Image.fromarray(_pixels(1)[0]).save(tmp_path / "named" / name / "0.png")
    _, labels = load_samples(tmp_path / "named", _data())
    assert labels is not None
    assert labels.tolist() == [0, 1]
    np.savez(tmp_path / "s.npz", x=_pixels(3), y=np.array([1, 0, 1]))
    _, numbers = load_samples(tmp_path / "s.npz", _data())
    assert numbers is not None
    assert numbers.tolist() == [1, 0, 1]
    np.savez(tmp_path / "bad.npz", x=_pixels(2), y=np.array([0, 5]))
    with pytest.raises(DataError, match="label '5', which is no class"):
        load_samples(tmp_path / "bad.npz", _data())


def test_every_sample_counts_labelled_or_not(tmp_path: Path) -> None:
    for index, image in enumerate(_pixels(30)):
        Image.fromarray(image).save(tmp_path / f"{index:02d}.png")
    rows = "".join(f"{index:02d}.png,cat\n" for index in range(29))
    (tmp_path / "labels.csv").write_text("file_name,label\n" + rows)
    x, labels = load_samples(tmp_path, _data())
    assert np.array_equal(x[:, 0], _pixels(30))
    assert labels is None


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        (tmp_path / name).mkdir()
        Image.fromarray(_pixels(1)[0]).save(tmp_path / name / "0.png")
    _, labels = load_samples(tmp_path, _data(classes=("bus", "train")))
    assert labels is not None
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (_pixels(3, shape=(9, 9)), r"9 x 9 pixels, but 'pets' is measured at 8 x 8"),
        (_pixels(3, shape=(8, 8, 3)), "colours, but 'pets' is grey"),
        (np.full((3, 8, 8), np.nan, np.float32), "nan"),
        (np.zeros((3, 5), np.float32), "vectors, but 'pets' holds images"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "s.npy", array)
    with pytest.raises(DataError, match=words):
        load_samples(tmp_path / "s.npy", _data())


def test_a_broken_file_is_named_and_nothing_is_skipped(tmp_path: Path) -> None:
    Image.fromarray(_pixels(1)[0]).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_text("no picture")
    with pytest.raises(DataError, match=re.escape("1.png")):
        load_samples(tmp_path, _data())
    with pytest.raises(DataError, match="no samples at"):
        load_samples(tmp_path / "nothing", _data())


def test_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((4, 2), np.float32))
    x, _ = load_samples(tmp_path / "v.npy", load_dataset("ring8"))
    assert x.shape == (4, 2)
    np.save(tmp_path / "w.npy", np.ones((4, 3), np.float32))
    with pytest.raises(DataError, match="3 values, but rows of 'ring8' have 2"):
        load_samples(tmp_path / "w.npy", load_dataset("ring8"))
