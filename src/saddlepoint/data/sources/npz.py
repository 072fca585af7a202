"""Files of NumPy: .npy and .npz, looked at without unpacking, unpacked to temporary files, and as sources."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.zips import Zip
from saddlepoint.data import limits
from saddlepoint.data.sources.arrays import array_parts_source
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.scratch import Scratch
from saddlepoint.data.texts import texts_of

_DATA_KEYS = ("x", "images", "image", "data", "samples", "arr_0")
_LABEL_KEYS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")
_PREFIXES = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
_PEEK = 4 * 1024**2


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
        scratch = Scratch()
        parts = {
            split: (
                _unpack(path, archive, names[x], scratch.path),
                None if y is None else _unpack(path, archive, names[y], scratch.path),
            )
            for split, (x, y) in roles.items()
        }
        columns = _unpack(path, archive, names["columns"], scratch.path) if "columns" in names else None
    texts = None if columns is None or columns.ndim != 1 else texts_of(columns, f"{path}: columns")
    return Held(parts, texts, scratch)


@contextmanager
def _zipped(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with Zip(path) as archive:
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
