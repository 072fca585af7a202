"""Arrays as sources: .npy and .npz files, idx files, and data sets that are already prepared."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import sys
import tempfile
import time
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data import limits
from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.sources.folder import Item, Label, Source, stamp

_DATA_KEYS = ("x", "images", "image", "data", "samples", "arr_0")
_LABEL_KEYS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")
_PREFIXES = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
_CHUNK = 1024
_PEEK = 4 * 1024**2
_MOST_IDX = 1024**3
"""Bytes of an unpacked idx file; the largest published one has 640 MB."""
_PREFIX, _ABANDONED_SECONDS = "saddlepoint-npz-", 24 * 3600


def npy_source(path: Path, key: str) -> Source:
    """Read images or vectors from a .npy file, memory-mapped.

    Raises:
        DataError: see `array_parts_source`; also if the file is damaged or holds Python objects.
    """
    return replace(array_parts_source(str(path), key, {"": (_open_npy(path), None)}), size=path.stat().st_size)


def npz_source(path: Path, key: str, array: str | None = None) -> Source:
    """Read images or vectors from a .npz file.

    Arrays are found by name: x (or images, data, samples, arr_0) and y (or labels, targets, arr_1), also
    with a split, as in x_train, y_train, train_images. They are unpacked to temporary files, so that memory
    stays bounded.

    Args:
        path: of the file.
        key: see `Source`.
        array: name of the data, where it has another.

    Raises:
        DataError: see `array_parts_source`; also if no array has such a name, or an array holds Python
            objects.
    """
    held = open_arrays(path, array)
    return replace(array_parts_source(str(path), key, held.parts, keep=held.keep), size=path.stat().st_size)


def array_parts_source(
    name: str, key: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]], keep: object = None
) -> Source:
    """Return a source over arrays, by split ("" if there is none).

    Images are (rows, height, width), (rows, height, width, channel) or (rows, channel, height, width), as
    uint8, booleans, or numbers of any other type, whose levels the preparation decides as for deep picture files;
    vectors are floats (rows, feature).

    Args:
        name: what the user asked for.
        key: see `Source`.
        parts: data and labels of each split.
        keep: kept alive as long as the source (temporary files).

    Raises:
        DataError: on another shape or type, NaN or infinity, or a count of labels other than the count of rows.
    """
    for split, (x, y) in parts.items():
        where = f"{name} ({split})" if split else name
        _check_shape(where, x)
        _check_values(where, x)
        if y is not None and (y.ndim == 2 and y.shape[1] == 1):
            y = y[:, 0]
        if y is not None and y.shape != (len(x),):
            raise DataError(f"{where} holds {len(x)} rows but labels of shape {y.shape}; give one label for each row")
        if y is not None and y.dtype.kind not in "biufSU":
            raise DataError(f"{where} has labels of type {y.dtype}; labels are whole numbers or words")
    first = next(iter(parts.values()))[0]
    _check_alike(name, parts)
    vectors = first.ndim == 2
    notes = ("booleans became 0 and 255",) if first.dtype == np.bool_ else ()

    def items() -> Iterator[Item]:
        for split, (x, y) in parts.items():
            for row, value in enumerate(_rows(x, vectors)):
                yield Item(
                    value,
                    None if y is None else to_label(y.reshape(-1)[row]),
                    f"{split or 'row'} {row}".strip(),
                    split,
                )

    return Source(name, key, items, modality="vector" if vectors else "image", notes=notes, keep=keep)


def dataset_source(dataset: Dataset, key: str) -> Source:
    """Return a prepared image data set as a source, to prepare it again with other options."""

    def items() -> Iterator[Item]:
        for split in SPLITS:
            part = dataset.splits[split]
            for row, pixels in enumerate(part.x):
                label = None if part.labels is None else label_of_row(part.labels[row])
                value = np.asarray(pixels)
                yield Item(value if value.ndim == 1 else value.transpose(1, 2, 0), label, f"{split} row {row}", split)

    return Source(
        dataset.name, key, items, modality=dataset.modality, classes=dataset.classes, notes=dataset.findings,
        labelling=dataset.labelling,
    )  # fmt: skip


def label_of_row(label: np.ndarray) -> int | tuple[int, ...]:
    """Return one row of prepared labels as a source has it."""
    return tuple(int(value) for value in label) if label.ndim else int(label)


def stacked_source(dataset: Dataset, name: str, rows: Sequence[int], seed: int = 2017) -> Source:
    """Return pictures of three grey images of a data set, one in each channel, without labels.

    Args:
        dataset: grey images; the channels of a picture come from one of its splits, each drawn with replacement.
        name: of the result.
        rows: pictures in train, valid and test.
        seed: of the draws.
    """

    def items() -> Iterator[Item]:
        rng = np.random.default_rng(seed)
        for split, count in zip(SPLITS, rows, strict=True):
            x = np.asarray(dataset.splits[split].x)[:, 0]
            for row, chosen in enumerate(rng.integers(0, len(x), (count, 3))):
                yield Item(x[chosen].transpose(1, 2, 0), None, f"{split} row {row}", split)

    note = f"three images of {dataset.name} in the channels of each picture, drawn with replacement within its splits"
    return Source(name, f"stacked/{dataset.fingerprint}/{seed}", items, modality="image", notes=(note,))


def find_idx(folder: Path) -> Path | None:
    """Return the folder if it holds MNIST-like idx files (gzipped or not)."""
    names = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    return folder if all(_idx_file(folder, name) for name in names) else None


def idx_source(name: str, folder: Path, classes: tuple[str, ...] = ()) -> Source:
    """Read MNIST-like idx files: train-images-idx3-ubyte and its three companions, gzipped or not.

    Args:
        name: what the user asked for.
        folder: where they are.
        classes: names of the classes, which the files do not hold; empty: their numbers.

    Raises:
        DataError: if a file is damaged.
    """
    parts, files = {}, []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (_idx_file(folder, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        assert images is not None
        assert labels is not None
        parts[split] = (read_idx(images), read_idx(labels))
        files += [images, labels]
    source = array_parts_source(name, "idx\n" + stamp(files, folder), parts)
    return replace(source, classes=classes, size=sum(file.stat().st_size for file in files))


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes.

    Raises:
        DataError: if it is damaged, or not of unsigned bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data, size = bytearray(), path.stat().st_size
            # One read of so many bytes would take the memory for them, whatever the file holds.
            while piece := file.read(1024**2):
                data += piece
                if len(data) > _MOST_IDX:
                    raise ValueError(f"it unpacks to more than {_MOST_IDX:,} bytes")
                limits.check_unpacked(str(path), len(data), size)
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("it does not start like one")
        shape = np.frombuffer(data, dtype=">u4", count=data[3], offset=4).astype(int)
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an idx file ({error}); fetch it again") from error


@dataclass(frozen=True)
class Held:
    """The arrays of a .npy or .npz file that matter.

    Attributes:
        parts: data and labels by split, "" where the file says none.
        columns: names of the features, where the file says them.
        keep: kept alive as long as the arrays are used (temporary files).
    """

    parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]]
    columns: list[str] | None = None
    keep: object = None


@dataclass(frozen=True)
class Peek:
    """What is known of an array before it is read.

    Attributes:
        shape, dtype: of the whole.
        few: some of its rows.
        named: whether the file names columns.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    few: np.ndarray
    named: bool = False


def peek_array(path: Path, array: str | None = None) -> Peek:
    """Look at the first array of data in a .npy or .npz file, without unpacking it.

    Args:
        path: of the file.
        array: as in `open_arrays`.

    Raises:
        DataError: as `open_arrays`.
    """
    if path.suffix.lower() == ".npy":
        x = _open_npy(path)
        rows = max(1, _PEEK // max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize)) if x.ndim else 1
        return Peek(x.shape, x.dtype, np.asarray(x[:rows]) if x.ndim else x)
    with _zipped(path) as archive:
        names = _members(archive)
        name, _ = next(iter(_roles(path, names, array).values()))
        try:
            with archive.open(names[name]) as stream:
                shape, fortran, dtype = _header(stream)
                row = max(1, int(np.prod(shape[1:], dtype=object)) * dtype.itemsize)
                count = 0 if fortran or not shape or row > _PEEK else min(shape[0], _PEEK // row)
                few = np.frombuffer(stream.read(count * row), dtype).reshape(count, *shape[1:])
        except Exception as error:  # a damaged header may raise anything
            raise _no_array(path, name, error) from error
        return Peek(shape, dtype, few, "columns" in names)


def open_arrays(path: Path, array: str | None = None) -> Held:
    """Open a .npy or .npz file without a rule for what it holds.

    Args:
        path: of the file.
        array: name of the data in an .npz; None: found by name, see `npz_source`.

    Raises:
        DataError: if the file is damaged, holds Python objects, or no array has such a name.
    """
    if path.suffix.lower() == ".npy":
        return Held({"": (_open_npy(path), None)})
    with _zipped(path) as archive:
        names = _members(archive)
        roles = _roles(path, names, array)
        scratch = _Scratch()
        parts = {
            split: (
                _unpack(path, archive, names[x], scratch.path),
                None if y is None else _unpack(path, archive, names[y], scratch.path),
            )
            for split, (x, y) in roles.items()
        }
        columns = _unpack(path, archive, names["columns"], scratch.path) if "columns" in names else None
    texts = None if columns is None or columns.ndim != 1 else [str(name) for name in columns.tolist()]
    return Held(parts, texts, scratch)


@contextmanager
def _zipped(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as npz ({error}); save it again with numpy.savez") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}


def _roles(path: Path, names: Mapping[str, object], array: str | None) -> dict[str, tuple[str, str | None]]:
    """Return the names of data and labels by split.

    Raises:
        DataError: if the file has no such arrays.
    """
    if array is None:
        return _pair_up(path, [name for name in names if name != "columns"])
    if array not in names:
        raise DataError(f"{path} has no array '{array}' (--array); {suggest(array, names)}")
    return {"": (array, next((n for n in names if n.lower() in _LABEL_KEYS and n != array), None))}


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left behind: temporary folders of this user that are a day old."""
    for path in folder.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if stat.S_ISDIR(status.st_mode) and own and time.time() - status.st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


class _Scratch:
    """A temporary folder that is removed with the last reference to it."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        weakref.finalize(self, shutil.rmtree, str(self.path), ignore_errors=True)


def _open_npy(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind == "U" and array.size:
            order = ">" if array.dtype.byteorder == ">" else "<"
            if np.frombuffer(array.tobytes(), order + "u4").max() > sys.maxunicode:
                raise ValueError("its texts hold what is no character")
    except Exception as error:  # a damaged header may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "object" in reason.lower() or "pickle" in reason.lower():
            reason = "it holds Python objects, which are never unpickled"
        raise DataError(f"{path} cannot be read as an array ({reason}); save plain numbers with numpy.save") from error
    return array


def _unpack(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> np.ndarray:
    """Unpack one array to a temporary file, and map it.

    Raises:
        DataError: if its header says another size than the archive does, if it is too large, or damaged.
    """
    try:
        with archive.open(member) as stream:
            shape, _, dtype = _header(stream)
            size, claimed = stream.tell(), int(np.prod(shape, dtype=object)) * dtype.itemsize
        if member.file_size != size + claimed:
            raise ValueError(
                f"an array of shape {shape} and type {dtype} has {claimed:,} bytes, but {member.file_size - size:,} "
                "follow"
            )
    except Exception as error:  # a damaged header may raise anything
        raise _no_array(path, member.filename, error) from error
    limits.check_unpacked(f"{path}: {member.filename}", member.file_size, path.stat().st_size)
    free = shutil.disk_usage(folder).free
    if member.file_size > free // 2:
        raise DataError(
            f"{path}: {member.filename} unpacks to {member.file_size:,} bytes, more than half of the {free:,} that "
            f"{folder} has left; free some space, or set TMPDIR to a larger disk"
        )
    target = folder / (os.urandom(8).hex() + ".npy")
    left = member.file_size
    with archive.open(member) as stream, open(target, "wb") as file:
        # what is unpacked is the stream's claim: no more is written than was checked
        while left > 0 and (piece := stream.read(min(left, 1024**2))):
            file.write(piece)
            left -= len(piece)
    try:
        return _open_npy(target)
    except DataError as error:
        raise DataError(str(error).replace(str(target), f"{path}: {member.filename}")) from error


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order and type of an array from the head of a .npy file.

    Raises:
        ValueError: if it holds Python objects; and what numpy raises of a damaged one.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    return shape, fortran, dtype


def _no_array(path: Path, name: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path}: {name} cannot be read as an array ({reason}); save plain numbers with numpy.savez")


def _pair_up(path: Path, names: list[str]) -> dict[str, tuple[str, str | None]]:
    roles: dict[str, dict[str, str]] = {}
    for name in names:
        words = name.lower().split("_")
        for word, rest in ((words[0], words[1:]), (words[-1], words[:-1])):
            base = "_".join(rest) if word in _PREFIXES else ""
            for role, keys in (("x", _DATA_KEYS), ("y", _LABEL_KEYS)):
                if base in keys:
                    roles.setdefault(_PREFIXES[word], {})[role] = name
                elif name.lower() in keys:
                    roles.setdefault("", {}).setdefault(role, name)
    pairs = {split: (role["x"], role.get("y")) for split, role in roles.items() if "x" in role}
    if not pairs and len(names) == 1:
        pairs = {"": (names[0], None)}
    if not pairs:
        listed = ", ".join(names) or "none"
        raise DataError(
            f"{path} holds the arrays {listed}; none is called x, images, data, samples or x_train: rename one, or "
            "name it with --array"
        )
    if "" in pairs and len(pairs) > 1:
        del pairs[""]
    return pairs


def _check_shape(where: str, x: np.ndarray) -> None:
    if x.dtype.kind not in "buif":
        raise DataError(f"{where} is of type {x.dtype}; images are uint8 or floats, vectors are floats")
    if x.size == 0:
        raise DataError(f"{where} is empty (shape {x.shape})")
    if x.ndim == 2 and x.dtype.kind == "f":
        return
    if x.ndim == 2:
        raise DataError(
            f"{where} has shape {x.shape} and type {x.dtype}: flat images must be reshaped to (rows, height, width), "
            "vectors must be floats"
        )
    if x.ndim == 3 or (x.ndim == 4 and (x.shape[3] in (1, 3, 4) or x.shape[1] in (1, 3, 4))):
        return
    raise DataError(
        f"{where} has shape {x.shape}; images are (rows, height, width), (rows, height, width, channel) or "
        "(rows, channel, height, width) with 1, 3 or 4 channels, vectors (rows, feature)"
    )


def _check_values(where: str, x: np.ndarray) -> None:
    if x.dtype.kind != "f":
        return
    for start in range(0, len(x), _CHUNK):
        chunk = np.asarray(x[start : start + _CHUNK])
        if not np.isfinite(chunk).all():
            place = np.argwhere(~np.isfinite(chunk))[0]
            value = chunk[tuple(place)]
            place[0] += start
            raise DataError(
                f"{where} holds {value} at position {tuple(int(i) for i in place)}; every value must be finite: "
                "fill or drop such rows"
            )
        most = float(np.abs(chunk).max())
        if x.ndim == 2 and most > float(np.finfo(np.float32).max):
            raise DataError(f"{where} holds values up to {most:g}, beyond 32-bit floats; rescale them")


def _check_alike(name: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> None:
    """Refuse splits that are not of one kind: one rule of scaling holds for all.

    Raises:
        DataError: if they differ in type, or vectors in their features.
    """
    (split, (first, _)), *rest = parts.items()
    for other, (x, _) in rest:
        same = x.dtype.kind == first.dtype.kind and x.ndim == first.ndim
        if not same or (x.ndim == 2 and x.shape[1] != first.shape[1]):
            raise DataError(
                f"{name}: {split} is {first.dtype} of shape {first.shape}, but {other} is {x.dtype} of shape "
                f"{x.shape}; give all parts the same type, range and features"
            )


def _rows(x: np.ndarray, vectors: bool) -> Iterator[np.ndarray]:
    last = x.ndim != 4 or x.shape[3] in (1, 3, 4)
    for start in range(0, len(x), _CHUNK):
        chunk = np.asarray(x[start : start + _CHUNK])
        if vectors:
            yield from chunk.astype(np.float32)
            continue
        if chunk.dtype == np.bool_:
            chunk = chunk.astype(np.uint8) * np.uint8(255)
        yield from chunk if last else chunk.transpose(0, 2, 3, 1)


def to_label(value: np.generic) -> Label:
    """Return a label as sources have it: a whole number or a word.

    Raises:
        DataError: if it has decimals.
    """
    label = value.item()
    if isinstance(label, bytes):
        return label.decode("utf-8", "backslashreplace")
    if isinstance(label, float) and not label.is_integer():
        raise DataError(f"a label is {label}; labels are whole numbers or words")
    return label if isinstance(label, str) else int(label)


def _idx_file(folder: Path, name: str) -> Path | None:
    found = [folder / text for text in (name, name + ".gz") if (folder / text).is_file()]
    return found[0] if found else None
