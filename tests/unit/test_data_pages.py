"""Files of several pages: all of them counted, none dropped in silence, none in two splits."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from saddlepoint.data import inspect_source, load_dataset
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.images.splits import assign_splits
from tests.unit.data_helpers import own_cache, pictures, png  # noqa: F401


def stack(frames: list[np.ndarray], kind: str = "TIFF", **options: object) -> bytes:
    buffer = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(buffer, kind, save_all=True, append_images=others, **options)
    return buffer.getvalue()


def files(root: Path, n: int = 8, pages: int = 6, kind: str = "TIFF") -> np.ndarray:
    """Write ``n`` files of pages whose top left pixel is the number of their file, and return all pages."""
    root.mkdir()
    x = pictures(n * pages, 16, 1)
    x[:, 0, 0] = np.repeat(np.arange(n), pages)
    for number, frames in enumerate(x.reshape(n, pages, 16, 16)):
        (root / f"{number}.{kind.lower()}").write_bytes(stack(list(frames), kind, **LOSSLESS.get(kind, {})))
    return x


LOSSLESS: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "GIF": {"disposal": 2}}


def rows(dataset: Dataset) -> dict[str, np.ndarray]:
    return {split: np.asarray(dataset.splits[split].x)[:, 0] for split in SPLITS}


def test_the_first_page_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    x = files(tmp_path / "d")
    dataset = load_dataset(str(tmp_path / "d"))
    found = np.concatenate(list(rows(dataset).values()))
    assert {row.tobytes() for row in found} == {row.tobytes() for row in x[::6]}
    (said,) = [finding for finding in dataset.findings if finding.topic == "pages"]
    assert not said.sure
    for words in ("of 8 files with several pages the first page is taken", "40 pages are left aside", "--pages all"):
        assert words in said.sentence()
    assert any("--pages all" in line for line in inspect_source(str(tmp_path / "d")).plan)


def test_the_advice_followed_takes_every_page(tmp_path: Path) -> None:
    x = files(tmp_path / "d")
    found = rows(load_dataset(str(tmp_path / "d"), pages="all"))
    assert sorted(row.tobytes() for split in found.values() for row in split) == sorted(row.tobytes() for row in x)
    inspected = inspect_source(str(tmp_path / "d"), pages="all")
    assert inspected.rows == 48
    assert any("each of the 48 pages of 8 files is an image" in line for line in inspected.plan)


@pytest.mark.parametrize(("n", "pages"), [(8, 6), (3, 30), (40, 3), (12, 1)])
def test_pages_of_a_file_stay_in_one_split(tmp_path: Path, n: int, pages: int) -> None:
    files(tmp_path / "d", n, pages)
    found = rows(load_dataset(str(tmp_path / "d"), pages="all"))
    owners = [set(part[:, 0, 0].tolist()) for part in found.values()]
    assert all(owners)
    assert sum(len(owner) for owner in owners) == n == len(set.union(*owners))
    assert len(found["train"]) >= n * pages / 3


def test_pages_of_one_file_are_split_in_order_and_said(tmp_path: Path) -> None:
    x = files(tmp_path / "d", 1, 40)
    dataset = load_dataset(str(tmp_path / "d"), pages="all")
    found = rows(dataset)
    assert np.array_equal(np.concatenate([found["train"], found["valid"], found["test"]]), x)
    assert any("the last pages in order" in note for note in dataset.notes)


def test_files_of_equal_content_stay_in_one_split() -> None:
    hashes = [n // 4 for n in range(40)] + [0, 1, 2]
    parts, _ = assign_splits([""] * len(hashes), hashes, files=True)
    owners = [{hashes[i] for i in index} for index in parts.values()]
    assert len(set.union(*owners)) == sum(len(owner) for owner in owners)


def test_a_long_stack_among_single_pictures_is_trained_on() -> None:
    for stack in range(20):
        hashes = [stack] * 300 + [n for n in range(20) if n != stack for _ in range(2)]
        parts, _ = assign_splits([""] * len(hashes), hashes, files=True)
        assert set(range(300)) <= set(parts["train"].tolist())
        assert all(len(parts[split]) >= 2 for split in ("valid", "test"))


def test_labels_and_splits_of_a_file_are_those_of_its_pages(tmp_path: Path) -> None:
    for split, n in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for number in range(n):
                frames = list(pictures(3, 16, 1, seed=zlib.crc32(f"{split}{name}{number}".encode())))
                (tmp_path / "d" / split / name / f"{number}.tif").write_bytes(stack(frames))
    dataset = load_dataset(str(tmp_path / "d"), pages="all")
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.splits["test"]) == 12
    labels = np.concatenate([dataset.splits[split].labels for split in SPLITS])  # type: ignore[list-item]
    assert np.bincount(labels).tolist() == [24, 24]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_read_frame_by_frame(tmp_path: Path, kind: str) -> None:
    x = files(tmp_path / "d", 8, 3, kind)
    assert sum(map(len, rows(load_dataset(str(tmp_path / "d"))).values())) == 8
    found = rows(load_dataset(str(tmp_path / "d"), pages="all", channels=1))
    read = np.concatenate(list(found.values()))
    assert len(read) == 24
    own = x.reshape(24, -1)
    nearest = [np.abs(own - row.reshape(1, -1).astype(int)).mean(1).min() for row in read]
    assert max(nearest) < 3  # a palette rounds


def test_deep_pages_share_one_scale(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    values = (np.arange(8 * 4)[:, None, None] * 100 + np.zeros((1, 16, 16))).astype(np.uint16)
    values[:, 0, 0] += 1
    for number in range(8):
        (tmp_path / "d" / f"{number}.tif").write_bytes(stack(list(values[4 * number : 4 * number + 4])))
    found = np.concatenate(list(rows(load_dataset(str(tmp_path / "d"), pages="all")).values()))
    assert sorted(found[:, 8, 8].tolist()) == sorted(np.rint(values[:, 8, 8] / 4095 * 255).astype(int).tolist())


def test_a_damaged_page_is_told_and_the_others_stay(tmp_path: Path) -> None:
    files(tmp_path / "d", 30, 2)
    whole = (tmp_path / "d" / "7.tiff").read_bytes()
    (tmp_path / "d" / "7.tiff").write_bytes(whole[: len(whole) - 40])
    dataset = load_dataset(str(tmp_path / "d"), pages="all")
    assert 58 <= sum(map(len, dataset.splits.values())) < 60


def test_ome_tiff_says_what_its_pages_are(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number, x in enumerate(pictures(24, 16, 1).reshape(8, 3, 16, 16)):
        text = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
        (tmp_path / "d" / f"{number}.ome.tif").write_bytes(stack(list(x), description=text))
    notes = load_dataset(str(tmp_path / "d")).notes
    assert any("8 are OME-TIFF: pages are their channels, planes or times" in note for note in notes)


def test_a_plain_png_with_text_is_one_page(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number, x in enumerate(pictures(8, 16)):
        info = PngImagePlugin.PngInfo()
        info.add_text("note", "plain")
        Image.fromarray(x).save(tmp_path / "d" / f"{number}.png", pnginfo=info)
    assert not [f for f in load_dataset(str(tmp_path / "d")).findings if f.topic == "pages"]
    assert png(x)
