"""Inspection: what is planted is found, with exact counts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saddlepoint.data import inspect_source, load_dataset
from saddlepoint.data.images.duplicates import near_pairs
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_named  # noqa: F401


def test_planted_duplicates_are_counted_exactly(tmp_path: Path) -> None:
    images = pictures(200, 64, 3)
    root = write_folder(tmp_path / "d", images)
    for i in range(5):  # exact, in another format
        Image.fromarray(images[i]).save(root / f"copy{i}.bmp")
    (root / "copy0again.png").write_bytes(png(images[0]))
    for i in range(10, 17):  # near: recompressed
        (root / f"near{i}.jpg").write_bytes(png(images[i], "JPEG", quality=85))
    for i in range(20, 24):  # near: at another size
        Image.fromarray(images[i]).resize((96, 96), Image.Resampling.BICUBIC).save(root / f"large{i}.png")
    found = inspect_source(str(root))
    assert found.rows == 217
    assert found.exact_duplicates == 6
    assert found.near_duplicates == 11
    assert set(found.near_examples) <= {(f"{i:04d}.png", f"near{i}.jpg") for i in range(10, 17)} | {
        (f"{i:04d}.png", f"large{i}.png") for i in range(20, 24)
    }
    assert ("0003.png", "copy3.bmp") in found.duplicate_examples
    assert any("6 images repeat" in line for line in found.advice)


def test_near_pairs_against_the_full_comparison() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (160, 16, 17), dtype=np.uint8)
    for i in range(40):
        noise = rng.integers(-i // 8, i // 8 + 1, (16, 17))
        thumbnails[100 + i] = (thumbnails[i].astype(int) + noise).clip(0, 255)
    bits = (thumbnails[:, :, 1:] > thumbnails[:, :, :-1]).reshape(160, -1)
    flat = thumbnails.reshape(160, -1).astype(float)
    expected = {}
    for i in range(160):
        for j in range(i + 1, 160):
            if np.abs(flat[i] - flat[j]).mean() <= 0.05 * min(flat[i].std(), flat[j].std()):
                expected[i, j] = int((bits[i] != bits[j]).sum())
    found = near_pairs(thumbnails)
    assert found == sorted(found)
    assert set(found) <= {pair for pair, distance in expected.items() if distance <= 24}
    assert set(found) >= {pair for pair, distance in expected.items() if distance <= 7}
    assert len(found) >= 16


def test_report_of_a_mixed_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(40, 48), ["big"] * 38 + ["small"] * 2)
    (root / "big" / "wide.png").write_bytes(png(pictures(1, 60, 3, seed=4)[0][:50]))
    (root / "small" / "fake.png").write_text("text")
    found = inspect_source(str(root))
    assert found.sizes == {"48x48": 40, "60x50": 1}
    assert found.modes == {"L": 40, "RGB": 1}
    assert found.classes == {"big": 39, "small": 2}
    assert [name for name, _ in found.unreadable] == ["small/fake.png"]
    assert found.shape == (3, 32, 32)
    text = " ".join(found.plan) + " ".join(found.advice)
    for words in ("train on 32x32 images with 3 channels", "1 of 42 images are not square", "uneven (2 to 39", "few"):
        assert words in text
    back = json.loads(found.to_json())
    assert back["exact_duplicates"] == 0
    assert back["classes"] == {"big": 39, "small": 2}


@pytest.mark.parametrize("n", [0, 3])
def test_data_that_cannot_be_used_is_described_all_the_same(tmp_path: Path, n: int) -> None:
    root = write_folder(tmp_path / "d", pictures(n)) if n else tmp_path
    for i in range(3):
        (root / f"fake{i}.png").write_text("text")
    found = inspect_source(str(root))
    assert found.shape is None
    assert len(found.unreadable) == 3
    assert any("cannot be used" in line for line in found.advice)
    assert any("too few" in line for line in found.advice)


def test_vectors(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[10] = x[20] = x[30]
    np.save(tmp_path / "x.npy", x)
    found = inspect_source(str(tmp_path / "x.npy"))
    assert (found.modality, found.rows, found.shape, found.exact_duplicates) == ("vector", 50, (3,), 2)


def test_names_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    write_named(tmp_path, "mnist", 60, 12)
    found = inspect_source("mnist", size=32, channels=3)
    assert found.splits == {"test": 12, "train": 60}
    assert found.shape == (3, 32, 32)
    assert found.classes["0"] == 8
    digits = inspect_source("digits")
    assert digits.rows == 1797
    assert sum(digits.classes.values()) == 1797


def test_colour_hidden_in_a_late_picture_is_seen(tmp_path: Path) -> None:
    grey = [np.repeat(x[..., None], 3, axis=2) for x in pictures(10)]
    grey[9] = grey[9].copy()
    grey[9][0, 0] = (255, 0, 0)
    assert inspect_source(str(write_folder(tmp_path / "d", grey))).shape == (3, 16, 16)
    buffer = io.BytesIO()
    Image.fromarray(grey[0]).save(buffer, "PNG")
    assert buffer.getvalue() == png(grey[0])


def test_what_dedupe_leaves_out_is_told_as_training_tells_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", pictures(12))
    (folder / "copy.png").write_bytes((folder / "0000.png").read_bytes())
    found = inspect_source(str(folder), dedupe=True)
    trained = load_dataset(str(folder), dedupe=True)
    (finding,) = [f for f in found.findings if f.topic == "duplicates"]
    assert finding.says.startswith("1 of 13 images look like another")
    assert finding in trained.findings
    assert not [text for text in found.advice if "--dedupe" in text]


@pytest.mark.parametrize(("name", "noticed"), [("masks", True), ("winter", False)])
def test_masks_beside_images_are_noticed(tmp_path: Path, name: str, noticed: bool) -> None:
    for folder, seed in (("images", 0), (name, 1)):
        write_folder(tmp_path / "a" / folder, pictures(12, seed=seed))
    found = inspect_source(str(tmp_path / "a"))
    assert len(found.classes) == 2
    notes = [f for f in found.findings if "looks like masks of 'images'" in f.says]
    assert bool(notes) is noticed
    if noticed:
        assert inspect_source(str(tmp_path / "a" / "images")).rows == 12
