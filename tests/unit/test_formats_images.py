"""Images of other fields: files made by each format's own library are read as that library reads them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion, as_findings
from saddlepoint.data.sources.folder import Item, Source
from saddlepoint.data.sources.hdf5 import MIN_SIDE, _Array
from saddlepoint.data.sources.idx import is_idx
from saddlepoint.data.sources.paths import path_source
from tests.unit.data_helpers import pictures, png


def rows_of(path: Path, **options: Any) -> tuple[list[Item], Source]:
    source = path_source(path, Options.of(**options))
    return list(source.items()), source


def said(source: Source) -> str:
    return "\n".join(finding.sentence() for finding in as_findings(source.notes))


def names_of(source: Source, items: list[Item]) -> list[Any]:
    """Return labels by the names of their classes, where there are names."""
    return [source.classes[item.label] if source.classes and isinstance(item.label, int) else item.label
            for item in items]  # fmt: skip


# idx


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write bytes as idx, by the layout that the MNIST page gives: two zeros, 8, axes, sides, values."""
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
def test_emnist_is_turned_upright_and_its_labels_are_letters(tmp_path: Path, end: str) -> None:
    upright = {"train": pictures(20, 28, seed=1), "test": pictures(8, 28, seed=2)}
    numbers = {"train": np.arange(20) + 1, "test": np.arange(8) + 19}
    for split, x in upright.items():
        write_idx(tmp_path / f"emnist-letters-{split}-images-idx3-ubyte{end}", x.transpose(0, 2, 1))
        write_idx(tmp_path / f"emnist-letters-{split}-labels-idx1-ubyte{end}", numbers[split])
    items, source = rows_of(tmp_path)
    got = {split: [item for item in items if item.split == split] for split in upright}
    for split, x in upright.items():
        assert np.array_equal(np.stack([item.payload for item in got[split]]), x)
    assert "".join(names_of(source, got["train"])) == "ABCDEFGHIJKLMNOPQRST"
    assert "".join(names_of(source, got["test"])) == "STUVWXYZ"
    assert "turned upright (EMNIST's files hold them transposed)" in said(source)


def test_several_sets_of_emnist_are_asked_about_and_the_answer_works(tmp_path: Path) -> None:
    for kind, side in (("letters", 1), ("digits", 2)):
        write_idx(tmp_path / f"emnist-{kind}-train-images-idx3-ubyte", pictures(6, 28, seed=side))
        write_idx(tmp_path / f"emnist-{kind}-train-labels-idx1-ubyte", np.arange(6) + 1)
    with pytest.raises(OpenQuestion, match="2 sets") as asked:
        rows_of(tmp_path)
    assert [reading.options for reading in asked.value.readings] == [{"array": "digits"}, {"array": "letters"}]
    for reading, first in zip(asked.value.readings, "1A", strict=True):
        items, source = rows_of(tmp_path, **reading.options)
        assert names_of(source, items)[0] == first


def test_a_single_idx_file_takes_the_labels_beside_it(tmp_path: Path) -> None:
    x = pictures(12, 20)
    images = write_idx(tmp_path / "own-images.idx3-ubyte", x)
    items, source = rows_of(images)
    assert np.array_equal(np.stack([item.payload for item in items]), x)
    assert {item.label for item in items} == {None}
    assert "no labels (no file of labels lies beside it)" in said(source)
    write_idx(tmp_path / "own-labels.idx1-ubyte", np.arange(12) % 3)
    items, source = rows_of(images)
    assert [item.label for item in items] == [0, 1, 2] * 4
    assert "labels are in own-labels.idx1-ubyte" in said(source)


# CIFAR


def write_cifar(path: Path, x: np.ndarray, *labels: np.ndarray) -> None:
    records = [np.stack(labels, 1).astype(np.uint8), x.transpose(0, 3, 1, 2).reshape(len(x), -1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.concatenate(records, 1).tobytes())


def test_cifar10_binary(tmp_path: Path) -> None:
    x, y = pictures(40, 32, 3), np.arange(40) % 10
    for i in range(3):
        write_cifar(tmp_path / f"data_batch_{i + 1}.bin", x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10])
    write_cifar(tmp_path / "test_batch.bin", x[30:], y[30:])
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    items, source = rows_of(tmp_path)
    assert np.array_equal(np.stack([item.payload for item in items]), x)
    assert names_of(source, items) == [names[i] for i in y]
    assert [item.split for item in items] == ["train"] * 30 + ["test"] * 10
    alone, _ = rows_of(tmp_path / "test_batch.bin")
    assert np.array_equal(np.stack([item.payload for item in alone]), x[30:])


def test_cifar100_uses_its_fine_labels(tmp_path: Path) -> None:
    x, fine = pictures(30, 32, 3), np.arange(30) * 3
    write_cifar(tmp_path / "train.bin", x[:20], fine[:20] % 20, fine[:20])
    write_cifar(tmp_path / "test.bin", x[20:], fine[20:] % 20, fine[20:])
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"class {i}" for i in range(100)))
    items, source = rows_of(tmp_path)
    assert np.array_equal(np.stack([item.payload for item in items]), x)
    assert names_of(source, items) == [f"class {i}" for i in fine]
    assert "100 fine labels" in said(source)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": [1, 2]}, protocol=2))
    for path in (tmp_path, tmp_path / "data_batch_1"):
        with pytest.raises(DataError, match=r"pickle, .* never read; .*cifar-10-binary\.tar\.gz"):
            rows_of(path)


def test_a_cut_cifar_file_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path / "train.bin", pictures(5, 32, 3), np.arange(5))
    (tmp_path / "train.bin").write_bytes((tmp_path / "train.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match="15,364 bytes is none of"):
        rows_of(tmp_path / "train.bin")


# SVHN


def test_svhn(tmp_path: Path) -> None:
    from scipy.io import loadmat, savemat

    x, y = pictures(30, 32, 3), (np.arange(30) % 10 + 1)[:, None].astype(np.uint8)
    for name, part in (("train", slice(0, 20)), ("test", slice(20, 30)), ("extra", slice(0, 5))):
        savemat(tmp_path / f"{name}_32x32.mat", {"X": x[part].transpose(1, 2, 3, 0), "y": y[part]}, do_compression=True)
    items, source = rows_of(tmp_path)
    kept = loadmat(tmp_path / "train_32x32.mat")
    assert np.array_equal(np.stack([item.payload for item in items[:20]]), kept["X"].transpose(3, 0, 1, 2))
    assert np.array_equal(np.stack([item.payload for item in items]), x)
    assert [item.label for item in items] == [(i + 1) % 10 for i in range(30)]
    assert [item.split for item in items] == ["train"] * 20 + ["test"] * 10
    assert "extra_32x32.mat is left out" in said(source)
    alone, _ = rows_of(tmp_path / "extra_32x32.mat")
    assert len(alone) == 5
    assert {item.split for item in alone} == {""}
    alone, _ = rows_of(tmp_path / "test_32x32.mat")
    assert {item.split for item in alone} == {""}, "a file by itself is divided"


def test_another_matlab_file_is_refused_in_words(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "other.mat", {"X": np.zeros((4, 4)), "y": np.zeros(4)})
    with pytest.raises(DataError, match=r"SVHN's is \(32, 32, 3, n\)"):
        rows_of(tmp_path / "other.mat")


# HDF5


def test_galaxy10_layout(tmp_path: Path) -> None:
    import h5py

    x, y = pictures(30, 24, 3), np.arange(30) % 10
    with h5py.File(tmp_path / "Galaxy10.h5", "w") as file:
        file.create_dataset("images", data=x, chunks=(4, 24, 24, 3), compression="gzip")
        file["ans"] = y.astype(np.uint8)
        file["ra"] = np.linspace(0, 1, 30)
    items, source = rows_of(tmp_path / "Galaxy10.h5")
    with h5py.File(tmp_path / "Galaxy10.h5") as file:
        assert np.array_equal(np.stack([item.payload for item in items]), file["images"][()])
    assert [item.label for item in items] == y.tolist()
    assert "labels are 'ans'" in said(source)
    assert "left out: ra" in said(source)


def test_pcam_layout(tmp_path: Path) -> None:
    import h5py

    x, y = pictures(30, 16, 3), np.arange(30) % 2
    parts = {"train": slice(0, 20), "valid": slice(20, 25), "test": slice(25, 30)}
    for split, part in parts.items():
        with h5py.File(tmp_path / f"camelyonpatch_level_2_split_{split}_x.h5", "w") as file:
            file["x"] = x[part]
        with h5py.File(tmp_path / f"camelyonpatch_level_2_split_{split}_y.h5", "w") as file:
            file["y"] = y[part].reshape(-1, 1, 1, 1).astype(np.uint8)
    items, _ = rows_of(tmp_path)
    for split, part in parts.items():
        mine = [item for item in items if item.split == split]
        assert np.array_equal(np.stack([item.payload for item in mine]), x[part])
        assert [item.label for item in mine] == y[part].tolist()
    alone, source = rows_of(tmp_path / "camelyonpatch_level_2_split_valid_x.h5")
    assert [item.label for item in alone] == y[20:25].tolist()
    assert "split_valid_y.h5" in said(source)


def test_an_hdf5_file_of_two_arrays_of_images_is_asked_about(tmp_path: Path) -> None:
    import h5py

    x = pictures(10, 16)
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        file["scan/images"], file["scan/masks"], file["scan/labels"] = x, x > 100, [b"a", b"b"] * 5
        file["table"] = np.zeros((10, 3))
    with pytest.raises(OpenQuestion, match="2 arrays that could be the images") as asked:
        rows_of(tmp_path / "two.hdf5")
    expected = {"scan/images": x, "scan/masks": (x > 100) * np.uint8(255)}
    for reading in asked.value.readings:
        items, _ = rows_of(tmp_path / "two.hdf5", **reading.options)
        assert np.array_equal(np.stack([item.payload for item in items]), expected[reading.options["array"]])
        assert [item.label for item in items] == ["a", "b"] * 5


def test_channels_first_and_splits_within_a_file(tmp_path: Path) -> None:
    import h5py

    x = pictures(20, 16, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/x"], file["train/y"] = x[:15].transpose(0, 3, 1, 2), np.arange(15)
        file["test/x"], file["test/y"] = x[15:].transpose(0, 3, 1, 2), np.arange(5)
    items, _ = rows_of(tmp_path / "a.h5")
    for split, part in (("train", x[:15]), ("test", x[15:])):
        mine = [item for item in items if item.split == split]
        assert np.array_equal(np.stack([item.payload for item in mine]), part)
        assert [item.label for item in mine] == list(range(len(part)))


@pytest.mark.parametrize(
    ("shape", "kind", "wanted"),
    [
        ((9, 28, 28), "uint8", True), ((9, 28, 28, 3), "uint8", True), ((9, 3, 28, 28), "float32", True),
        ((9, 4, 28, 28), "uint8", True), ((9, 28, 28, 4), "bool", True), ((9, 1, 28, 28), "int16", True),
        ((9, 28, 28, 1), "uint8", True), ((9, 2, 28, 28), "uint8", False), ((9, 5, 28, 28), "uint8", False),
        ((9, 28, 28, 2), "uint8", False), ((9, 28), "uint8", False), ((9, 1, 1, 28, 28), "uint8", False),
        ((0, 28, 28), "uint8", False), ((9, 28, 28), "object", False), ((9, 28, 28), "complex64", False),
        ((9, 28, MIN_SIDE - 1), "uint8", False), ((9, MIN_SIDE, MIN_SIDE), "uint8", True),
        ((9, MIN_SIDE - 1, 28, 3), "uint8", False),
    ],
)  # fmt: skip
def test_which_arrays_of_hdf5_can_hold_images(shape: tuple[int, ...], kind: str, wanted: bool) -> None:
    assert _Array(Path("x.h5"), "x", shape, kind).is_images is wanted


def test_hdf5_never_leaves_its_file(tmp_path: Path) -> None:
    import h5py

    x = pictures(10, 16)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["images"] = x
    x.tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("secret.h5", "images")
        file["again"] = h5py.SoftLink("/images")
    with pytest.raises(DataError, match="holds no array of images"):
        rows_of(tmp_path / "link.h5")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("images", x.shape, x.dtype, external=[(str(tmp_path / "secret.bin"), 0, x.nbytes)])
    layout = h5py.VirtualLayout(x.shape, x.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "images", x.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    for name in ("raw.h5", "virtual.h5"):
        with pytest.raises(DataError, match="stand in other files, which are not opened"):
            rows_of(tmp_path / name)


def test_hdf5_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("images", (10**9, 64, 64), np.uint8, chunks=(1, 64, 64))
    with pytest.raises(DataError, match="and 0 are stored"):
        rows_of(tmp_path / "huge.h5")


# WebDataset


def write_shards(root: Path, samples: list[dict[str, Any]], each: int, name: str = "set-%06d.tar") -> list[Path]:
    import webdataset

    root.mkdir(parents=True, exist_ok=True)
    found = []
    for start in range(0, len(samples), each):
        path = root / (name % (start // each))
        with webdataset.TarWriter(str(path)) as sink:
            for sample in samples[start : start + each]:
                sink.write(sample)
        found.append(path)
    return found


def own_reading(files: list[Path]) -> list[dict[str, Any]]:
    """Return the samples as webdataset itself decodes them."""
    import webdataset

    return list(webdataset.WebDataset([str(file) for file in files], shardshuffle=False).decode("rgb8"))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_is_read_as_its_library_does(tmp_path: Path) -> None:
    x = pictures(30, 16, 3)
    samples = [{"__key__": f"{i:04d}", "png": x[i], "cls": i % 7, "json": {"label": "no"}} for i in range(30)]
    files = write_shards(tmp_path / "shards", samples, 12)
    expected = own_reading(files)
    items, source = rows_of(tmp_path / "shards")
    assert len(items) == len(expected) == 30
    from PIL import Image

    for item, sample in zip(items, expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item.payload))), sample["png"])
        assert item.label == sample["cls"]
    assert "30 samples of WebDataset shards" in said(source)
    assert "read from .cls files" in said(source)


@pytest.mark.parametrize(
    ("beside", "labels", "words"),
    [
        ({"json": lambda i: {"label": ["cat", "dog"][i % 2], "id": i}}, ["cat", "dog"], "'label' of .json"),
        ({"txt": lambda i: ["cat", "dog"][i % 2]}, ["cat", "dog"], "words of .txt files"),
        ({"txt": lambda i: f"a photo number {i}"}, [None, None], "captions, which are not used"),
        ({"json": lambda i: {"width": i}}, [None, None], "hold no label"),
    ],
)
def test_labels_of_shards(tmp_path: Path, beside: dict[str, Any], labels: list[Any], words: str) -> None:
    ((kind, make),) = beside.items()
    x = pictures(20, 16, 3)
    samples = [{"__key__": f"in/s{i:04d}", "jpg": x[i], kind: make(i)} for i in range(20)]
    (file,) = write_shards(tmp_path, samples, 20)
    items, source = rows_of(file)
    assert [item.label for item in items] == labels * 10
    assert words in said(source)


def test_shards_of_splits_are_no_classes(tmp_path: Path) -> None:
    x = pictures(24, 16, 3)
    samples = [{"__key__": f"{i:03d}", "png": x[i], "cls": i % 2} for i in range(24)]
    write_shards(tmp_path, samples[:18], 9, "train-%06d.tar")
    write_shards(tmp_path, samples[18:], 6, "val-%06d.tar")
    items, _ = rows_of(tmp_path)
    assert [item.split for item in items] == ["train"] * 18 + ["valid"] * 6


def test_a_sample_of_several_images(tmp_path: Path) -> None:
    x = pictures(8, 16, 3)
    samples = [{"__key__": f"{i:03d}", "png": x[i], "seg.png": x[-i], "cls": 0} for i in range(8)]
    (file,) = write_shards(tmp_path / "one", samples, 8)
    items, source = rows_of(file)
    assert [item.origin.split("/")[-1] for item in items] == [f"{i:03d}.png" for i in range(8)]
    assert "further images of the samples are left out: .seg.png" in said(source)
    pairs = [{"__key__": f"{i:03d}", "a.png": x[i], "b.png": x[-i], "cls": 0} for i in range(8)]
    (file,) = write_shards(tmp_path / "two", pairs, 8)
    with pytest.raises(DataError, match="holds several images"):
        rows_of(file)


@pytest.mark.parametrize("end", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_a_tar_of_a_folder_is_read_like_the_folder(tmp_path: Path, end: str) -> None:
    x = pictures(12)
    root = tmp_path / "set"
    for i, image in enumerate(x):
        path = root / ("train" if i < 8 else "test") / ["cat", "dog"][i % 2] / f"img.{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    with tarfile.open(tmp_path / f"set.{end}", f"w:{ {'tar': '', 'tgz': 'gz'}.get(end, end[4:]) }") as archive:
        archive.add(root, "set")
    folder, _ = rows_of(root)
    items, _ = rows_of(tmp_path / f"set.{end}")
    assert sorted((i.payload, i.label, i.split) for i in items) == sorted((i.payload, i.label, i.split) for i in folder)


def test_links_in_a_tar_are_not_followed_and_a_cut_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for i, image in enumerate(pictures(6)):
            data = png(image)
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("9.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    items, source = rows_of(path)
    assert len(items) == 6
    assert "links in the tar are not followed: 9.png" in said(source)
    data = path.read_bytes()
    for cut in (700, 1400):
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.tar"):
            rows_of(tmp_path / "cut.tar")
    (tmp_path / "cut.tar").write_bytes(data[:1024])  # between two members
    assert "cut.tar has no end mark (it may have been cut off)" in said(rows_of(tmp_path / "cut.tar")[1])
    broken = bytearray(data)
    broken[1024 + 148] ^= 0x01  # within the checksum of the second header, which tarfile takes for the end
    (tmp_path / "cut.tar").write_bytes(broken)
    with pytest.raises(DataError, match="what follows member 1 is no header"):
        rows_of(tmp_path / "cut.tar")


# DICOM


def write_dicom(path: Path, values: np.ndarray, **tags: Any) -> Path:
    """Write a file with pydicom; (frame, height, width) has several frames."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName, data.Modality = "Nobody^Knows", "CT"
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_is_in_the_units_of_its_header(tmp_path: Path) -> None:
    import pydicom
    from pydicom.pixels import apply_modality_lut

    rng = np.random.default_rng(0)
    for i in range(6):
        write_dicom(
            tmp_path / ("ill" if i % 2 else "well") / f"{i}.dcm",
            rng.integers(0, 4096, (20, 16), dtype=np.uint16),
            BitsStored=12, HighBit=11, RescaleSlope=2, RescaleIntercept=-1024,
        )  # fmt: skip
    items, source = rows_of(tmp_path)
    for item in items:
        data = pydicom.dcmread(tmp_path / item.origin)
        assert np.array_equal(item.payload, apply_modality_lut(data.pixel_array, data))
        assert item.payload.min() < 0
        assert item.label == item.origin.split("/")[0]
    assert "RescaleSlope and RescaleIntercept were applied to 6 files" in said(source)
    assert "Nobody" not in said(source)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    values = np.arange(320, dtype=np.uint16).reshape(20, 16)
    write_dicom(tmp_path / "a.dcm", values, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    (item,), source = rows_of(tmp_path)
    assert np.array_equal(item.payload, 4095 - values.astype(int))
    assert "1 files were inverted" in said(source)


def test_one_type_holds_for_a_set_of_dicom(tmp_path: Path) -> None:
    values = np.arange(320, dtype=np.uint16).reshape(20, 16)
    write_dicom(tmp_path / "a.dcm", values)
    write_dicom(tmp_path / "b.dcm", values, RescaleSlope="0.5", RescaleIntercept="-1")
    items, _ = rows_of(tmp_path)
    assert {item.payload.dtype for item in items} == {np.dtype("float32")}
    assert np.array_equal(items[0].payload, values)
    assert np.array_equal(items[1].payload, values * 0.5 - 1)


def test_frames_of_dicom(tmp_path: Path) -> None:
    values = np.arange(5 * 320, dtype=np.uint8).reshape(5, 20, 16)
    path = write_dicom(tmp_path / "a.dcm", values)
    items, source = rows_of(path)
    assert np.array_equal(np.stack([item.payload for item in items]), values[:1])
    assert "the first of the 5 frames of 1 files of each is used" in said(source)
    assert "--pages all" in said(source)
    items, source = rows_of(path, pages="all")
    assert np.array_equal(np.stack([item.payload for item in items]), values)


def test_damaged_dicom_is_counted(tmp_path: Path) -> None:
    values = np.arange(320, dtype=np.uint16).reshape(20, 16)
    for i in range(3):
        write_dicom(tmp_path / f"{i}.dcm", values)
    path = tmp_path / "1.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    items, _ = rows_of(tmp_path)
    assert [isinstance(item.payload, bytes) for item in items] == [False, True, False]


# NIfTI


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_nifti_slices_are_what_nibabel_gives(tmp_path: Path, end: str) -> None:
    import nibabel

    rng = np.random.default_rng(0)
    for i in range(2):
        image = nibabel.Nifti1Image(rng.integers(-500, 500, (12, 20, 7), dtype=np.int16), np.eye(4))
        image.header.set_slope_inter(0.25, -3)
        nibabel.save(image, tmp_path / f"scan{i}{end}")
    items, source = rows_of(tmp_path)
    assert len(items) == 14
    for i in range(2):
        volume = nibabel.load(tmp_path / f"scan{i}{end}").get_fdata()
        for k in range(7):
            assert items[7 * i + k].payload.shape == (20, 12)
            assert np.array_equal(items[7 * i + k].payload, volume[:, :, k].T.astype(np.float32))
    assert "all 14 slices along the last axis are images" in said(source)
    assert "else --pages first" in said(source)
    first, _ = rows_of(tmp_path, pages="first")
    assert np.array_equal(first[1].payload, items[7].payload)


def test_volumes_of_whole_numbers_stay_whole(tmp_path: Path) -> None:
    import nibabel

    values = np.arange(8 * 9 * 3).reshape(8, 9, 3).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.stack([values, values], 3), np.eye(4)), tmp_path / "b.nii")
    items, source = rows_of(tmp_path)
    assert {item.payload.dtype.kind for item in items} == {"i"}
    assert np.array_equal(np.stack([item.payload for item in items]), np.tile(values.transpose(2, 1, 0), (2, 1, 1)))
    assert "1 files hold several volumes" in said(source)


# FITS


def test_fits_is_what_astropy_gives(tmp_path: Path) -> None:
    from astropy.io import fits

    rng = np.random.default_rng(0)
    values = rng.integers(0, 65536, (5, 12, 16)).astype(np.uint16)
    for i, plane in enumerate(values):
        fits.PrimaryHDU(plane).writeto(tmp_path / f"{i}.fits{'.gz' if i % 2 else ''}")
    items, source = rows_of(tmp_path)
    assert len(items) == 5
    for item in items:
        with fits.open(tmp_path / item.origin) as parts:
            assert np.array_equal(item.payload, parts[0].data)
    assert np.array_equal(np.stack([item.payload for item in items]), values)
    assert "BSCALE and BZERO were applied" in said(source)
    assert "first row stored is the uppermost" in said(source)


def test_gaps_of_fits_become_the_lowest(tmp_path: Path) -> None:
    from astropy.io import fits

    values = np.linspace(-3, 5, 192, dtype=np.float32).reshape(12, 16)
    holed = values.copy()
    holed[3, 4] = np.nan
    parts = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(holed, name="SCI"), fits.ImageHDU(values, name="ERR")])
    parts.writeto(tmp_path / "a.fits")
    fits.CompImageHDU(values.astype(np.int16)).writeto(tmp_path / "b.fits")
    items, source = rows_of(tmp_path)
    expected = values.copy()
    expected[3, 4] = -3
    assert np.array_equal(items[0].payload, expected)
    assert np.array_equal(items[1].payload, values.astype(np.int16))
    assert {item.payload.dtype for item in items} == {np.dtype("float32")}
    assert "left out: ERR" in said(source)


def test_cubes_and_tables_of_fits(tmp_path: Path) -> None:
    from astropy.io import fits

    values = np.arange(4 * 12 * 16, dtype=np.int32).reshape(4, 12, 16)
    fits.PrimaryHDU(values).writeto(tmp_path / "cube.fits")
    items, source = rows_of(tmp_path / "cube.fits")
    assert len(items) == 1
    assert "first plane of each is used" in said(source)
    items, _ = rows_of(tmp_path / "cube.fits", pages="all")
    assert np.array_equal(np.stack([item.payload for item in items]), values)
    fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.arange(5.0))]).writeto(tmp_path / "table.fits")
    with pytest.raises(DataError, match=r"no image of two or more axes .*tables of FITS are not read"):
        rows_of(tmp_path / "table.fits")


# what is missing


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("a.h5", "h5py", "formats"), ("a.dcm", "pydicom", "medical"), ("a.nii.gz", "nibabel", "medical"),
     ("a.fits", "astropy", "astronomy")],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    import sys

    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"needs {module}: pip install 'saddlepoint\[{extra}\]'"):
        rows_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("train-images-idx3-ubyte", True), ("train-images-idx3-ubyte.gz", True), ("t10k-images.idx3-ubyte", True),
        ("train-labels-idx1-ubyte", False), ("a.idx", True), ("a.IDX3", True), ("a.idx1", False), ("a.png", False),
        ("emnist-letters-train-images-idx3-ubyte.gz", True), ("emnist-letters-train-labels-idx1-ubyte.gz", False),
    ],
)  # fmt: skip
def test_which_files_are_images_of_idx(name: str, images: bool) -> None:
    assert is_idx(Path(name)) is images
