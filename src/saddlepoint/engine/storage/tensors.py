"""Files of tensors that may come from elsewhere: what their header says is held against the file before it is read."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saddlepoint.core.files import give_usual_mode, open_regular, parse_json
from saddlepoint.data.memory import usable_memory

MOST_HEADER = 16 * 1024**2  # bytes of a header, which takes a hundred for a tensor
_MOST_AXES = 64  # of a tensor in PyTorch; a product of a million sizes takes minutes
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A tensor as a header describes it.

    Attributes:
        dtype: in the words of safetensors, such as ``F32``.
        shape: of the tensor.
    """

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path, follow: bool = False) -> dict[str, Entry]:
    """Return what tensors a file holds, without reading them.

    Args:
        path: of a safetensors file.
        follow: whether it may be a link, as in an export in a cache of downloads.

    Raises:
        OSError: if it cannot be opened, or is no plain file.
        ValueError: if it is none of safetensors, or its tensors do not fill it.
    """
    with open_regular(path, follow=follow) as file:
        return _header(file)


def load_tensors(path: Path, follow: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a file whose header agrees with it; arguments and errors as `read_header`."""
    read_header(path, follow)
    return load_file(path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write tensors, from whatever device, into a file with the mode that new files get; `flush` it where it counts.

    Args:
        tensors: by name.
        path: of the file.
        about: texts that its header holds.

    Raises:
        OSError: if it cannot be written, such as on a full disk.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(held, path, metadata=None if about is None else dict(about))
    except SafetensorError as error:
        # The library has one error of its own for all that can go wrong, and tells the system's number in words.
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number) if found else str(error), str(path)) from error
    give_usual_mode(path)


def numbers_in(entries: Mapping[str, Entry]) -> int:
    """Return how many numbers tensors have together."""
    return sum(math.prod(entry.shape) for entry in entries.values())


def _header(file: BinaryIO) -> dict[str, Entry]:
    # The format: 8 bytes of length, a header in JSON, then the tensors without gaps. All of it may be a stranger's, so
    # nothing is allocated by a size that the file does not have.
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MOST_HEADER):
        raise ValueError(f"its header has {length:,} bytes, more than the file or than any has")
    if size > (usable := usable_memory()):
        raise ValueError(f"it has {size / 1e9:,.0f} GB, more than the {usable / 1e9:,.0f} GB of memory here")
    told = parse_json(file.read(length))
    if not isinstance(told, dict):
        raise ValueError("its header is no list of tensors")
    found, ends = dict[str, Entry](), list[tuple[int, int]]()
    for name, value in told.items():
        if name != "__metadata__":
            found[name], place = _entry(name, value)
            ends.append(place)
    end = 0  # overlaps could make a small file into many large tensors
    for begin, stop in sorted(ends):
        if begin != end:
            raise ValueError("its tensors overlap, or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its tensors have {end:,} bytes, but the file has {size - 8 - length:,} for them")
    return found


def _entry(name: str, value: Any) -> tuple[Entry, tuple[int, int]]:
    try:
        entry, (begin, end) = Entry(value["dtype"], tuple(value["shape"])), value["data_offsets"]
        # Bounded before they are multiplied: Python's whole numbers grow without end.
        sound = all(type(number) is int and 0 <= number < 2**62 for number in (*entry.shape, begin, end))
        sound = sound and len(entry.shape) <= _MOST_AXES
        if sound and end - begin == math.prod(entry.shape) * _BYTES[entry.dtype]:
            return entry, (begin, end)
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"its tensor '{name[:60]}' is described wrongly")
