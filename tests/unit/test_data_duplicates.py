"""Copies: found, written down, left out, and never on both sides of a split."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.dataset import SPLITS
from saddlepoint.data.images.duplicates import Copies, near_pairs, repeats, write_pairs
from saddlepoint.data.inspect import find_copies
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401


def planted(root: Path) -> np.ndarray:
    """Write 60 pictures, 5 exact copies and 7 recompressed ones, and return the 60."""
    images = pictures(60, 64, 3)
    write_folder(root, list(images))
    for i in range(5):
        Image.fromarray(images[i]).save(root / f"copy{i}.bmp")
    for i in range(10, 17):
        (root / f"near{i}.jpg").write_bytes(png(images[i], "JPEG", quality=90))
    return images


def test_one_of_each_group_stays_and_the_rest_is_counted(tmp_path: Path) -> None:
    images = planted(tmp_path / "d")
    dataset = load_dataset(str(tmp_path / "d"), dedupe=True)
    rows = np.concatenate([np.asarray(dataset.splits[split].x) for split in SPLITS])
    assert {row.tobytes() for row in rows} == {image.transpose(2, 0, 1).tobytes() for image in images}
    (said,) = [finding for finding in dataset.findings if finding.topic == "duplicates"]
    assert "12 of 72 images look like another" in said.says
    assert "5 repeat one exactly, 7 nearly" in said.says
    assert sum(map(len, load_dataset(str(tmp_path / "d")).splits.values())) == 72


def test_a_held_out_picture_stays_before_its_training_copy(tmp_path: Path) -> None:
    images = pictures(40, 64, 3)
    write_folder(tmp_path / "d" / "train", list(images[:30]))
    write_folder(tmp_path / "d" / "test", list(images[30:]))
    for i in range(30, 36):
        quality = {"quality": 92} if i % 2 else {}
        (tmp_path / "d" / "train" / f"again{i}.{'jpg' if i % 2 else 'png'}").write_bytes(
            png(images[i], "JPEG" if i % 2 else "PNG", **quality)
        )
    dataset = load_dataset(str(tmp_path / "d"), dedupe=True)
    assert len(dataset.splits["test"]) == 10
    assert sum(len(dataset.splits[split]) for split in SPLITS) == 40
    small = [
        np.stack([np.asarray(Image.fromarray(x.transpose(1, 2, 0)).convert("L").resize((17, 16))) for x in part.x])
        for part in dataset.splits.values()
    ]
    owner = np.repeat(np.arange(len(small)), [len(part) for part in small])
    assert not [pair for pair in near_pairs(np.concatenate(small)) if owner[pair[0]] != owner[pair[1]]]


def test_a_picture_is_left_out_only_for_one_that_stays() -> None:
    chain = [(0, 1, "near"), (1, 2, "near"), (2, 3, "near")]
    assert repeats(chain, [""] * 4) == {1: "near", 3: "near"}
    # 2 equals 0, which looks like 1: of the three one stays, the held-out one
    assert repeats([(0, 1, "near"), (0, 2, "exact")], ["train", "test", "train"]) == {0: "near", 2: "near"}
    assert repeats([(0, 1, "near"), (0, 2, "exact")], ["train", "train", "test"]) == {0: "exact", 1: "near"}
    assert repeats([], ["train"]) == {}


def test_crowds_of_copies_are_found_without_comparing_all_of_them() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (16, 17))
    crowd = (one + rng.integers(-2, 3, (3000, 16, 17))).clip(0, 255).astype(np.uint8)
    pairs = near_pairs(crowd)
    assert len(pairs) < 3000 * 8 * 16
    copies = {number for pair in pairs for number in pair}
    assert len(copies) > 2900
    left = repeats([(i, j, "near") for i, j in pairs], [""] * 3000)
    assert len(left) > 2000


def test_the_list_of_pairs_is_a_file(tmp_path: Path) -> None:
    planted(tmp_path / "d")
    copies = find_copies(str(tmp_path / "d"))
    path = write_pairs(tmp_path / "out" / "pairs.csv", copies.pairs(), copies.origins)
    with path.open(newline="") as file:
        first, *rows = list(csv.reader(file))
    assert first == ["first", "second", "kind"]
    assert {tuple(row) for row in rows} == {(f"{i:04d}.png", f"copy{i}.bmp", "exact") for i in range(5)} | {
        (f"{i:04d}.png", f"near{i}.jpg", "near") for i in range(10, 17)
    }
    with pytest.raises(DataError, match=r"must end in \.csv"):
        write_pairs(tmp_path / "pairs.txt", copies.pairs(), copies.origins)


def test_copies_of_transparent_and_deep_pictures_are_found() -> None:
    copies = Copies()
    x = pictures(3, 32, 3)
    for image in (x[0], x[1], x[0]):
        layered = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        copies.add(Image.fromarray(layered), f"{len(copies.origins)}")
    assert copies.pairs() == [(0, 2, "exact")]


def test_too_few_different_pictures_are_refused(tmp_path: Path) -> None:
    images = [pictures(1, 32)[0]] * 20
    source = str(write_folder(tmp_path / "d", images))
    with pytest.raises(DataError, match="1 usable rows"):
        load_dataset(source, dedupe=True)
