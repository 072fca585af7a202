"""Hostile and broken input: one clear DataError that says what was found and what to do, nothing else."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.inputs import load_samples
from saddlepoint.data.series import read_samples
from saddlepoint.data.sources import idx
from saddlepoint.data.tables import files as series_files
from saddlepoint.data.tables import text as series_text
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_parquet  # noqa: F401


def _refused(path: Path | str, *words: str, **options: object) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(str(path), **options)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


def test_missing_path_and_misspelt_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    _refused("mnits", "mnits", "did you mean 'mnist'")
    _refused(tmp_path / "photo", "did you mean", "photos")
    _refused("", "digits")
    _refused(tmp_path / "no" / "such", "no data set or path")


def test_empty_folder(tmp_path: Path) -> None:
    _refused(tmp_path, "no image files", "it is empty")


def test_folder_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    _refused(tmp_path, "no image files", "a.txt")


def test_one_image_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(pictures(1)[0]))
    _refused(tmp_path / "a.png", "name the folder")
    _refused(tmp_path, "holds 1 usable rows", "at least 5")


def test_text_renamed_png_is_named_and_skipped_only_up_to_a_share(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(39))
    (root / "fake.png").write_text("not a picture")
    data = load_dataset(str(root))
    assert any("1 of 40" in note and "fake.png" in note for note in data.notes)
    (root / "fake2.png").write_text("not a picture")
    (root / "fake3.jpg").write_bytes(b"")
    _refused(root, "3 of 42 images cannot be used", "fake2.png", "5%")


def test_truncated_image_counts_as_unreadable(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", pictures(30, 64))
    whole = (root / "0003.png").read_bytes()
    (root / "0003.png").write_bytes(whole[: len(whole) // 2])
    data = load_dataset(str(root))
    assert sum(len(part) for part in data.splits.values()) == 29
    assert any("0003.png: damaged" in note for note in data.notes)


def test_images_of_one_pixel(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", [np.zeros((1, 1), np.uint8)] * 10)
    _refused(root, "10 of 10 images cannot be used", "1x1 pixels")


def test_all_unreadable_folder_needs_no_survey_to_fail(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(b"\x00" * 50)
    _refused(tmp_path, "5 of 5")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1500, 8, 8), (1500, 3)])
def test_values_that_are_not_finite_are_placed(tmp_path: Path, value: float, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, dtype=np.float32)
    x[(1234, *[2] * (len(shape) - 1))] = value
    np.save(tmp_path / "x.npy", x)
    _refused(tmp_path / "x.npy", str(value), f"({', '.join(['1234', *['2'] * (len(shape) - 1)])})")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((10, 784), np.uint8), ["(10, 784)", "reshaped"]),
        (np.zeros((10,), np.float32), ["10 rows"]),
        (np.zeros((0, 8, 8), np.uint8), ["empty"]),
        (np.zeros((10, 8, 8, 7), np.uint8), ["(10, 8, 8, 7)"]),
        (np.zeros((10, 8, 8), np.complex64), ["complex64"]),
        (np.full((10, 8, 8), 300.0), ["from 300 to 300"]),
        (np.full((10, 8, 8), -2.0), ["from -2 to -2"]),
        (np.full((10, 8, 8), -1000, np.int64), ["-1000 alone", "--levels"]),
        (np.array([[{}]] * 10, dtype=object), ["never unpickled"]),
        (np.full((10, 3), 1e300), ["32-bit"]),
        (np.zeros((3, 8, 8), np.uint8), ["3 usable rows"]),
    ],
)
def test_arrays_that_are_neither_images_nor_vectors(tmp_path: Path, array: np.ndarray, words: list[str]) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    _refused(tmp_path / "x.npy", *words)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.zip", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x93NUMPY\x01\x00", b"PAR1" * 5])
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    _refused(tmp_path / name, name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.zip", "x.parquet"])
def test_truncated_files(tmp_path: Path, name: str) -> None:
    images, path = pictures(60), tmp_path / name
    if name == "x.npy":
        np.save(path, images)
    elif name == "x.npz":
        np.savez(path, x=images)
    elif name == "x.parquet":
        write_parquet(path, images, [0] * 60, None)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for i, x in enumerate(images):
                archive.writestr(f"{i}.png", png(x))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    _refused(path, name)


def test_corrupted_parquet_pages(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", pictures(60), [0] * 60, None)
    whole = bytearray(path.read_bytes())
    whole[10:2000] = b"\xff" * 1990
    path.write_bytes(bytes(whole))
    _refused(path, "x.parquet")


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}] * 10, dtype=object))
    _refused(tmp_path / "x.npz", "never unpickled", "x.npz")


def test_npz_without_known_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", foo=pictures(10), bar=pictures(10))
    _refused(tmp_path / "x.npz", "foo", "bar", "x_train")


@pytest.mark.parametrize("labels", [np.zeros(9, np.int64), np.zeros((10, 2), np.int64), np.full(10, 0.5)])
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", x=pictures(10), y=labels)
    _refused(tmp_path / "x.npz", "label")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_name,label\n0000.png,1\nmissing.png,2\n", ["9 of 10", "have no label", "0001.png", "--unlabelled drop"]),
        ("file_name,label\n0000.png,1\n", ["9 of 10", "have no label", "0001.png", "--unlabelled keep"]),
        ("file_name,label\nmissing.png,1\ngone.png,2\n", ["names 2 files", "none of them is there", "missing.png"]),
        ("a,b\n1,2\n", ["file_name"]),
        ("file_name,label\n0000.png,0.5\n0001.png,1.5\n", ["real numbers", "0.5", "--labels none"]),
        ("", ["labels"]),
        ("file_name,label\n0000.png,1\n0000.png,2\n", ["two labels"]),
    ],
)
def test_label_files_that_do_not_fit(tmp_path: Path, text: str, words: list[str]) -> None:
    root = write_folder(tmp_path / "d", pictures(10))
    (root / "metadata.csv").write_text(text)
    _refused(root, "metadata.csv", *words)


@pytest.mark.parametrize(
    "text", ["{", "3", "[]", "[1, 2]", '{"labels": [["0000.png"]]}', '{"0000.png": 1.5}', "[" * 10**5]
)
def test_json_labels_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    root = write_folder(tmp_path / "d", pictures(10))
    (root / "labels.json").write_text(text)
    _refused(root, "labels.json")


def test_label_outside_declared_classes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", pictures(10), [0, 5] * 5, ["a", "b"])
    _refused(path, "a label is 5", "2 classes")


def test_parquet_without_images(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"price": ["one", "two"]}), tmp_path / "x.parquet")
    _refused(tmp_path / "x.parquet", "no image column", "price (string)")
    pq.write_table(pa.table({"price": [1.0, 2.0]}), tmp_path / "numbers.parquet")
    _refused(tmp_path / "numbers.parquet", "a series of 2 rows is too short", "at least 72 rows")


def test_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\x00" * (32 * 1024**2))
    _refused(path, "a.png", "times its packed size")


def test_an_idx_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "_MOST_IDX", 2**22)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            packed = gzip.compress(b"\x00\x00\x08\x01\x00\x60\x00\x00" + bytes(0x600000))
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(packed)
    _refused(tmp_path, "unpacks to more than 4,194,304 bytes")


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_a_table_of_more_rows_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A million equal rows are a few kilobytes in either."""
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"a": np.zeros(10**6), "b": np.zeros(10**6)}), path)
    else:
        path.write_bytes(gzip.compress(b"a,b\n" + b"0,0\n" * 10**6))
    assert path.stat().st_size < 40_000
    for module in (series_files, series_text):
        monkeypatch.setattr(module, "usable_memory", lambda: 16 * 10**6)
    _refused(path, "rows of 2 columns", "--columns")


def test_an_npz_bomb_is_no_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{t % 7},{t % 5}\n" for t in range(150)))
    dataset = load_dataset(str(tmp_path / "x.csv"), window=8)
    np.savez_compressed(tmp_path / "samples.npz", x=np.zeros((10**5, 8, 2)))
    assert load_samples(tmp_path / "samples.npz", dataset)[0].shape == (10**5, 8, 2)
    monkeypatch.setattr(read_samples, "_MOST_BYTES", 10**6)
    with pytest.raises(DataError, match="unpacks to 12,800,"):
        load_samples(tmp_path / "samples.npz", dataset)


def test_picture_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "d", pictures(10))
    (root / "bomb.png").write_bytes(png(np.zeros((60, 60), np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    _refused(root, "bomb.png", "decompression bombs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 3}, "size is 3"),
        ({"size": 5000}, "5000"),
        ({"channels": 2}, "channels is 2"),
        ({"fit": "x"}, "fit is 'x'"),
    ],
)
def test_options(options: dict[str, object], words: str) -> None:
    _refused("digits", words, **options)


@pytest.mark.parametrize("name", ["hf:", "hf:mnist", "hf:a/b/c/d"])
def test_hub_ids(name: str) -> None:
    _refused(name, "hf:owner/name")


def test_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "file"))
    _refused(write_folder(tmp_path / "d", pictures(10)), "cannot be written", "SADDLEPOINT_CACHE_DIR")


@pytest.mark.parametrize(
    ("train", "test"),
    [(np.zeros((100, 8), np.float32), np.zeros((100, 4), np.float32)),
     (np.zeros((40, 8, 8), np.float32), np.zeros((40, 8, 8), np.uint8))],
)  # fmt: skip
def test_parts_of_different_kinds_are_refused(tmp_path: Path, train: np.ndarray, test: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", x_train=train, x_test=test)
    with pytest.raises(DataError, match="give all parts the same type, range and features"):
        load_dataset(str(tmp_path / "x.npz"))


def test_labels_of_odd_types(tmp_path: Path) -> None:
    x = pictures(20)
    np.savez(tmp_path / "b.npz", x=x, y=np.array([b"cat", b"dog"] * 10))
    assert load_dataset(str(tmp_path / "b.npz")).classes == ("cat", "dog")
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(20).astype("datetime64[D]"))
    with pytest.raises(DataError, match="labels of type datetime64"):
        load_dataset(str(tmp_path / "t.npz"))
    folder = write_folder(tmp_path / "f", x, ["--5", "7"] * 10)
    assert load_dataset(str(folder)).classes == ("7", "--5")
