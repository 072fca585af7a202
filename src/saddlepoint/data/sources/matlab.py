"""Arrays of numbers in MATLAB files (level 5), step by step: SciPy's reader crashes the process on damaged files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.sources.extras import check_room, guarded

KIND = "a MATLAB file"
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED: Mapping[int, str] = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES: Mapping[int, str] = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_COMPLEX = 0x0800
_MOST_PARTS = 10_000
"""Arrays and other parts of a file."""
_HEAD = 4096
"""Bytes of a matrix in which its class, sides and name stand."""


@dataclass(frozen=True)
class _Head:
    """What a matrix is: its name, sides and type; None if it holds no real numbers; where its values begin."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    start: int


def matlab_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a file, by name.

    Raises:
        DataError: if it is damaged, or of another level.
    """
    with guarded(path, KIND):
        return {head.name: head.shape for head, _ in _matrices(path, ())}


def matlab_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of real numbers by name; those that are not there, or hold something else, are left out.

    Raises:
        DataError: if the file is damaged, or of another level.
    """
    with guarded(path, KIND):
        return {head.name: values for head, values in _matrices(path, names) if values is not None}


def _matrices(path: Path, names: Sequence[str]) -> Iterator[tuple[_Head, np.ndarray | None]]:
    """Yield what each matrix of a file is, and the values of those that are named."""
    with open(path, "rb") as file:
        header = file.read(_HEADER)
        if header.startswith(b"MATLAB 7.3"):
            raise DataError(f"{path} is a MATLAB 7.3 file, which is HDF5 inside; save it with -v7, or as .h5")
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None:
            raise ValueError("it does not start like one of level 5")
        count = 0
        while tag := file.read(8):
            count += 1
            if count > _MOST_PARTS:
                raise ValueError(f"it has more than {_MOST_PARTS:,} parts")
            kind, size = (int(number) for number in np.frombuffer(tag, order + "u4"))
            left = path.stat().st_size - file.tell()
            if size > left:
                raise ValueError(f"an array claims {size:,} bytes, and {left:,} follow")
            data = file.read(size)
            if kind == _COMPRESSED:
                unpacker = zlib.decompressobj()
                start = unpacker.decompress(data, _HEAD)
                kind, size = (int(number) for number in np.frombuffer(start[:8], order + "u4"))
                data = start[8:]
            if kind != _MATRIX:
                continue
            head = _head(data[:_HEAD], order)
            values = None
            if head.name in names and head.dtype is not None:
                check_room(path, head.name, size)
                limits.check_unpacked(f"{path}: {head.name}", size, path.stat().st_size)
                if len(data) < size:
                    data += unpacker.decompress(unpacker.unconsumed_tail, size - len(data) + 1)
                values = _values(head, data, order)
            yield head, values


def _head(data: bytes, order: str) -> _Head:
    flags, place = _element(data, 0, order)
    sides, place = _element(data, place, order)
    name, place = _element(data, place, order)
    what = int(flags[0])
    dtype = None if what & _COMPLEX else _CLASSES.get(what & 0xFF)
    shape = tuple(int(side) for side in sides)
    if not 1 < len(shape) < 33 or min(shape) < 0:
        raise ValueError(f"an array has the shape {shape}")
    return _Head(bytes(name.astype(np.uint8)).decode("ascii", "replace"), shape, dtype, place)


def _values(head: _Head, data: bytes, order: str) -> np.ndarray:
    """Return the values of a matrix in its own type; what is stored may be of a smaller one."""
    stored, _ = _element(data, head.start, order)
    if len(stored) != int(np.prod(head.shape, dtype=object)):
        raise ValueError(f"'{head.name}' is of shape {head.shape}, and holds {len(stored):,} values")
    dtype: Any = np.dtype(head.dtype)
    return (stored if stored.dtype == dtype else stored.astype(dtype)).reshape(head.shape, order="F")


def _element(data: bytes, place: int, order: str) -> tuple[np.ndarray, int]:
    """Return the numbers of one part of a matrix, and where the next one begins."""
    first, size = (int(number) for number in np.frombuffer(data, order + "u4", 2, place))
    start = place + 8
    if first >> 16:  # so few bytes that they stand in the tag itself
        first, size, start = first & 0xFFFF, first >> 16, place + 4
        end = place + 8
    else:
        end = start + size + -size % 8
    dtype = np.dtype(order + _STORED[first])
    if start + size > len(data) or size % dtype.itemsize:
        raise ValueError(f"a part claims {size:,} bytes, and {max(0, len(data) - start):,} follow")
    return np.frombuffer(data, dtype, size // dtype.itemsize, start), end
