"""What readers of other fields' formats share: packages that extras bring, damage told in words, limits, levels."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.packages import needed
from saddlepoint.data import limits
from saddlepoint.data.labels.arrange import Arranged, arrange, may_say_labels, must_say_labels
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Note
from saddlepoint.data.sources.folder import Item, Source, stamp, walk

MOST_BYTES = 4 * 1024**3
"""Bytes of one file or array once it is unpacked."""
MOST_PIXELS = 2**27
"""Pixels of one picture."""


def need(module: str, extra: str, kind: str) -> Any:
    """Import a package that an extra brings.

    Raises:
        DataError: if it is not installed, with the command that installs it.
    """
    return needed(module, extra, f"reading {kind}", DataError)


@contextmanager
def guarded(path: Path | str, kind: str) -> Iterator[None]:
    """Turn whatever a foreign reader raises into a DataError; what it merely remarks on is silenced.

    Damaged files make readers raise anything: struct.error, KeyError, MemoryError, RecursionError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise DataError(
                f"{path} cannot be read as {kind} ({reason}); the copy may be damaged: fetch it again"
            ) from error


def check_room(path: Path | str, what: str, size: int) -> None:
    """Refuse an array that is too large to be held.

    Args:
        path: of the file.
        what: name of the array, for the message.
        size: bytes.

    Raises:
        DataError: if it takes more than 4 GB, or half of the memory.
    """
    most = min(MOST_BYTES, usable_memory() // 2)
    if size > most:
        raise DataError(f"{path}: {what} takes {size:,} bytes, and at most {most:,} are read; give a part of it")


def unpacked(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file, unpacked if it is gzipped, which its content tells.

    Raises:
        DataError: if there are too many, or the file is damaged.
    """
    data = bytearray()
    try:
        with open(path, "rb") as raw:
            packed, size = raw.read(2) == b"\x1f\x8b", os.fstat(raw.fileno()).st_size
        with gzip.open(path) if packed else open(path, "rb") as file:
            # One read of so many bytes would take the memory for them, whatever the file holds.
            while piece := file.read(1024**2):
                data += piece
                if len(data) > most:
                    raise DataError(f"{path} unpacks to more than {most:,} bytes; give a part of it")
                if packed:
                    limits.check_unpacked(str(path), len(data), size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); the copy may be damaged: fetch it again") from error
    return bytes(data)


Exact = Literal["bytes", "whole", "floats"]
"""What values a picture has: 0 to 255, other whole numbers, or numbers with decimals."""


def check_held(path: Path, numbers: int, exact: Exact) -> None:
    """Refuse pictures that are packed into far fewer bytes than they take, by what a header says.

    Args:
        path: of the file.
        numbers: of all its pictures that are held at once.
        exact: what they are; what is no byte is held in 4 to 8 of them.

    Raises:
        DataError: as `limits.check_unpacked`.
    """
    limits.check_unpacked(str(path), numbers * (1 if exact == "bytes" else 4), path.stat().st_size)


def one_type(kinds: Iterable[Exact]) -> np.dtype:
    """Return the type that holds the values of all pictures of a set: one scale holds for all of them.

    >>> one_type(["bytes", "whole"])
    dtype('int64')
    """
    found = set(kinds)
    return np.dtype("float32" if "floats" in found else "int64" if "whole" in found else "uint8")


def without_gaps(values: np.ndarray) -> np.ndarray:
    """Return values with the least finite one in place of NaN and infinity."""
    if values.dtype.kind != "f":
        return values
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, values[finite].min() if finite.any() else 0.0)


@dataclass(frozen=True)
class Files:
    """Files of images that are no pictures by themselves, arranged like a folder of pictures.

    Attributes:
        used: the files, each with its path relative to the folder.
        arranged: their labels and splits.
    """

    used: Mapping[Path, str]
    arranged: Arranged

    def item(self, file: Path, payload: bytes | np.ndarray, part: str = "") -> Item:
        """Return a row; ``part`` is what it is of a file that holds several."""
        name = self.used[file]
        label, split = self.arranged.labels.get(name), self.arranged.splits.get(name, "")
        return Item(payload, label, f"{name} {part}".strip(), split, name if part else "")

    def source(self, path: Path, kind: str, items: Callable[[], Iterator[Item]], notes: Sequence[Note]) -> Source:
        """Return the source of all files."""
        root = path if path.is_dir() else path.parent
        return Source(
            str(path), f"{kind}\n" + stamp(list(self.used), root), items, classes=self.arranged.classes,
            notes=(*notes, *self.arranged.findings), labelling=self.arranged.labelling,
            heeds=("labels", "label_column", "splits") if path.is_dir() else (),
            size=sum(file.stat().st_size for file in self.used),
        )  # fmt: skip


def arrange_files(path: Path, files: Sequence[Path], options: Options) -> Files:
    """Give files their labels and splits: from label files beside them, or their folders.

    Raises:
        OpenQuestion, DataError: as `arrange`.
    """
    if path.is_file():
        return Files({path: path.name}, Arranged([path.name]))
    names = {file: file.relative_to(path).as_posix() for file in files}
    beside = [file for file in walk(path)[0] if may_say_labels(file.name) and file not in names]
    room = limits.Texts(str(path))
    beside = [file for file in beside if room.room(file.name, file.stat().st_size, must_say_labels(file.name))]
    texts = {file.relative_to(path).as_posix(): unpacked(file, limits.MOST_TEXT) for file in beside}
    arranged = arrange(str(path), list(names.values()), texts, options)
    kept = set(arranged.images)
    return Files({file: name for file, name in names.items() if name in kept}, arranged)
