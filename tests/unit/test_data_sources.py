"""Folders, archives, tables and arrays: what is written comes back, with labels and splits."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, load_dataset
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_parquet  # noqa: F401


def _pairs(data: Dataset) -> list[tuple[bytes, str]]:
    """Return (pixels, class name) of every row, sorted."""
    rows = []
    for part in data.splits.values():
        for i, x in enumerate(part.x):
            rows.append((x.tobytes(), "" if part.labels is None else data.classes[part.labels[i]]))
    return sorted(rows)


def _expected(images: np.ndarray, classes: list[str] | None = None) -> list[tuple[bytes, str]]:
    return sorted((x.tobytes(), classes[i] if classes else "") for i, x in enumerate(images))


def test_flat_folder_round_trip(tmp_path: Path) -> None:
    images = pictures(30)
    data = load_dataset(str(write_folder(tmp_path / "d", images)))
    assert data.spec.shape == (1, 16, 16)
    assert _pairs(data) == _expected(images)
    assert data.classes == ()
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 24, "valid": 3, "test": 3}
    assert any("set aside" in note for note in data.notes)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    images, classes = pictures(20, channels=3), ["cat", "dog"] * 10
    data = load_dataset(str(write_folder(tmp_path / "d", images, classes)))
    assert data.classes == ("cat", "dog")
    assert data.spec.shape == (3, 16, 16)
    assert _pairs(data) == sorted((x.transpose(2, 0, 1).tobytes(), c) for x, c in zip(images, classes, strict=True))


def test_split_folders_are_splits(tmp_path: Path) -> None:
    images = pictures(30)
    names = ["train/a"] * 10 + ["train/b"] * 10 + ["validation/a"] * 4 + ["test/b"] * 6
    data = load_dataset(str(write_folder(tmp_path / "d", images, names)))
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 20, "valid": 4, "test": 6}
    assert data.classes == ("a", "b")
    assert _pairs(data) == _expected(images, [n[-1] for n in names])


@pytest.mark.parametrize(
    ("folders", "classes", "splits"),
    [
        (["photos/summer/alps", "photos/summer/andes", "photos/winter/alps", "photos/winter"], "ssww", "train"),
        (["trainA", "trainB", "testA", "testB"], "ABAB", "tthh"),
        (["data/train/A/2019", "data/test/B", "data/train/B/2019", "data/test/A/2020"], "ABBA", "thth"),
        (["deep/only", "deep/only", "deep/only", "deep/only"], "oooo", "train"),
    ],
)
def test_the_first_folders_that_differ_are_classes(
    tmp_path: Path, folders: list[str], classes: str, splits: str
) -> None:
    images = pictures(40)
    data = load_dataset(str(write_folder(tmp_path / "d", images, folders * 10)))
    expected = [{"s": "summer", "w": "winter", "o": "only"}.get(each, each) for each in classes * 10]
    assert _pairs(data) == _expected(images, expected)
    if splits != "train":
        assert {s: len(part) for s, part in data.splits.items() if s != "valid"}["test"] == 20
    said = any("folders within them" in note for note in data.notes)
    assert said == any(name in str(folders) for name in ("alps", "2019"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", lambda rows: "file_name,label\n" + "".join(f"{n},{c}\n" for n, c in rows)),
        ("labels.csv", lambda rows: "label,file_name\n" + "".join(f"{c},{n}\n" for n, c in rows)),
        ("labels.json", lambda rows: json.dumps(dict(rows))),
        ("dataset.json", lambda rows: json.dumps({"labels": [[n, c] for n, c in rows]})),
        ("metadata.json", lambda rows: json.dumps([{"file_name": n, "label": c} for n, c in rows])),
        ("metadata.jsonl", lambda rows: "\n".join(json.dumps({"file_name": n, "label": c}) for n, c in rows)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_label_files(tmp_path: Path, name: str, text: Callable[[list], str], packed: bool) -> None:
    images, labels = pictures(12), [0, 2, 7] * 4
    root = write_folder(tmp_path / "d", images)
    (root / name).write_text(text([(f"{i:04d}.png", labels[i]) for i in range(12)]), encoding="utf-8")
    if packed:
        root = _zipped(root)
    data = load_dataset(str(root))
    assert data.classes == ("0", "2", "7")
    assert _pairs(data) == _expected(images, [str(label) for label in labels])
    assert any("gaps" in note for note in data.notes)


def test_metadata_without_labels_falls_back_to_folders(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(12), ["a", "b"] * 6)
    (root / "metadata.csv").write_text("file_name,text\na/0000.png,hello\n")
    assert load_dataset(str(root)).classes == ("a", "b")


def test_zip_equals_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(20), ["x", "y"] * 10)
    folder, packed = load_dataset(str(root)), load_dataset(str(_zipped(root)))
    assert packed.fingerprint == folder.fingerprint


def test_zip_with_names_that_climb_out_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "evil.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for i, x in enumerate(pictures(10)):
            archive.writestr(f"../../climb{i}.png", png(x))
    assert len(_pairs(load_dataset(str(path)))) == 10
    assert not list(tmp_path.rglob("climb*"))


def test_parquet_in_the_hubs_layout(tmp_path: Path) -> None:
    images, names = pictures(30), ["zero", "one", "two"]
    for split, rows in (("train", slice(0, 20)), ("validation", slice(20, 24)), ("test", slice(24, 30))):
        chosen = images[rows]
        labels = [i % 3 for i in range(30)][rows]
        write_parquet(tmp_path / "d" / f"{split}-00000-of-00001.parquet", chosen, labels, names, column="img")
    data = load_dataset(str(tmp_path / "d"))
    assert {s: len(p) for s, p in data.splits.items()} == {"train": 20, "valid": 4, "test": 6}
    assert _pairs(data) == _expected(images, [names[i % 3] for i in range(30)])
    assert np.array_equal(data.splits["train"].x[:, 0], images[:20])  # order is kept


def test_single_parquet_file_without_metadata(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", pictures(20), [5, 9] * 10, None)
    assert load_dataset(str(path)).classes == ("5", "9")


def test_withheld_labels_are_not_a_class(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", pictures(20), [-1] * 20, ["a", "b"])
    assert load_dataset(str(path)).splits["train"].labels is None


@pytest.mark.parametrize(
    ("change", "exact"),
    [
        (lambda x: x, True),
        (lambda x: x[..., None], True),
        (lambda x: x[:, None], True),
        (lambda x: x.astype(np.int64), True),
        (lambda x: (x / 255).astype(np.float32), True),
        (lambda x: x / 127.5 - 1, True),
        (lambda x: x.astype(np.uint16) * 257, True),
        (lambda x: np.asfortranarray(x), True),
    ],
)
def test_npy_images_of_every_kind(tmp_path: Path, change: Callable, exact: bool) -> None:
    images = pictures(20)
    images[0, 0, 0], images[1, 0, 0] = 0, 255
    np.save(tmp_path / "x.npy", change(images))
    assert _pairs(load_dataset(str(tmp_path / "x.npy"))) == _expected(images)


@pytest.mark.parametrize("first", [True, False])
def test_npy_colour_in_both_orders(tmp_path: Path, first: bool) -> None:
    images = pictures(12, channels=3).transpose(0, 3, 1, 2)
    np.save(tmp_path / "x.npy", images if first else images.transpose(0, 2, 3, 1))
    assert _pairs(load_dataset(str(tmp_path / "x.npy"))) == _expected(images)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_splits_and_labels(tmp_path: Path, save: Callable) -> None:
    images, labels = pictures(30), np.arange(30) % 4
    path = tmp_path / "x.npz"
    save(path, x_train=images[:24], y_train=labels[:24], x_test=images[24:], y_test=labels[24:])
    data = load_dataset(str(path))
    assert len(data.splits["test"]) == 6
    assert _pairs(data) == _expected(images, [str(label) for label in labels])


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("arr_0", "arr_1"), ("data", "target")])
def test_npz_names(tmp_path: Path, names: tuple[str, str]) -> None:
    images = pictures(10)
    np.savez(tmp_path / "x.npz", **dict(zip(names, (images, np.array(["a", "b"] * 5)), strict=True)))
    assert _pairs(load_dataset(str(tmp_path / "x.npz"))) == _expected(images, ["a", "b"] * 5)


def test_vectors_keep_their_units(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(50, 20, (40, 3))
    np.save(tmp_path / "x.npy", x)
    data = load_dataset(str(tmp_path / "x.npy"))
    assert data.modality == "vector"
    found = np.concatenate([part.x for part in data.splits.values()])
    assert found.dtype == np.float32
    assert sorted(map(tuple, found)) == sorted(map(tuple, x.astype(np.float32)))
    with pytest.raises(DataError, match="vectors"):
        load_dataset(str(tmp_path / "x.npy"), size=8)


def test_arrays_are_not_opened_for_a_second_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", x=pictures(10))
    first = load_dataset(str(tmp_path / "x.npz"))
    monkeypatch.setattr("saddlepoint.data.sources.paths.npz_source", None)
    assert load_dataset(str(tmp_path / "x.npz")).fingerprint == first.fingerprint


@pytest.mark.parametrize("n", [5, 9, 10, 11, 100])
def test_small_sets_have_all_splits(tmp_path: Path, n: int) -> None:
    data = load_dataset(str(write_folder(tmp_path / "d", pictures(n))))
    sizes = {split: len(part) for split, part in data.splits.items()}
    assert sum(sizes.values()) == n
    assert sizes["valid"] == sizes["test"] == max(1, round(n / 10))


def test_one_class_and_mixed_sizes_and_modes(tmp_path: Path) -> None:
    root = tmp_path / "d" / "only"
    root.mkdir(parents=True)
    for i, side in enumerate([20, 33, 40, 35, 50, 60, 38, 39, 41, 36]):
        (root / f"{i}.png").write_bytes(png(pictures(1, side, 3 if i == 4 else 1, seed=i)[0][: side - i]))
    data = load_dataset(str(tmp_path / "d"))
    assert data.spec.shape == (3, 32, 32)
    assert data.classes == ("only",)
    text = " ".join(data.notes)
    for words in ("size 32 was chosen", "9 of 10 images are not square", "scaled down", "enlarged", "over three"):
        assert words in text
    padded = load_dataset(str(tmp_path / "d"), fit="pad", size=16, channels=1)
    assert padded.spec.shape == (1, 16, 16)
    assert "padded" in " ".join(padded.notes)
    assert "converted to grey" in " ".join(padded.notes)


def test_split_follows_content_not_names(tmp_path: Path) -> None:
    images = pictures(40)
    write_folder(tmp_path / "a", images)
    write_folder(tmp_path / "b", images[::-1])
    first, second = load_dataset(str(tmp_path / "a")), load_dataset(str(tmp_path / "b"))
    for split in ("train", "valid", "test"):
        assert {x.tobytes() for x in first.splits[split].x} == {x.tobytes() for x in second.splits[split].x}


def test_equal_images_never_lie_in_two_splits(tmp_path: Path) -> None:
    images = np.repeat(pictures(40), 2, axis=0)
    data = load_dataset(str(write_folder(tmp_path / "d", images)))
    seen = [{x.tobytes() for x in part.x} for part in data.splits.values()]
    assert sum(len(part) for part in seen) == 40


def test_all_images_equal_still_gives_three_splits(tmp_path: Path) -> None:
    data = load_dataset(str(write_folder(tmp_path / "d", np.repeat(pictures(1), 10, axis=0))))
    assert [len(part) for part in data.splits.values()] == [8, 1, 1]


def test_symlink_loops_end(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(10), ["a", "b"] * 5)
    os.symlink(root, root / "a" / "again")
    os.symlink(root / "missing.png", root / "b" / "nowhere.png")
    data = load_dataset(str(root))
    assert sum(len(part) for part in data.splits.values()) == 10
    assert any("a/again" in note for note in data.notes)


def test_hidden_and_foreign_files_are_left_aside(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(10))
    (root / "._0000.png").write_bytes(b"apple")
    (root / "notes.txt").write_text("hello")
    assert any("1 files are not images" in note and "notes.txt" in note for note in load_dataset(str(root)).notes)


def test_grey_pictures_stored_in_colour_become_one_channel(tmp_path: Path) -> None:
    images = pictures(10)
    root = write_folder(tmp_path / "d", [np.repeat(x[..., None], 3, axis=2) for x in images])
    data = load_dataset(str(root))
    assert _pairs(data) == _expected(images)
    assert load_dataset(str(root), channels=3).spec.shape == (3, 16, 16)


def _zipped(root: Path) -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root))
    return path
