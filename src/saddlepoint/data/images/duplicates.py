"""Pictures that look the same: found in time and memory that 100,000 of them allow, written down, or left out."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import DataError
from saddlepoint.data.cells import harmless
from saddlepoint.data.images.depth import TOP
from saddlepoint.data.images.shape import Planes

if TYPE_CHECKING:
    from PIL import Image

NEAR_BITS = 24
"""Pictures look the same if at most this many of the 256 bits of their difference hashes differ ..."""
NEAR_CONTRAST = 0.05
"""... and their thumbnails differ, on average, by at most this share of their own standard deviation."""

_SIDE = 16
_CROWD = 64
_WINDOW = 16
_ONES = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint16)
_RANK = {"test": 0, "valid": 1}
Pair = tuple[int, int, str]
"""Two pictures by number, the earlier one first, and ``exact`` or ``near``."""


@dataclass
class Copies:
    """What is remembered of each picture to find those that look the same: a digest and 272 bytes.

    Attributes:
        origins: where each picture came from.
    """

    origins: list[str] = field(default_factory=list)
    _first: dict[bytes, int] = field(default_factory=dict)
    _repeats: list[Pair] = field(default_factory=list)
    _thumbnails: list[np.ndarray] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)

    def add(self, image: Image.Image | Planes, origin: str) -> int | None:
        """Remember a decoded picture; return the number of the earlier one that it repeats exactly, or None."""
        number = len(self.origins)
        self.origins.append(origin)
        digest = digest_of(image)
        if (earlier := self._first.setdefault(digest, number)) != number:
            self._repeats.append((earlier, number, "exact"))
            return earlier
        self._thumbnails.append(thumbnail(image))
        self._places.append(number)
        return None

    def pairs(self) -> list[Pair]:
        """Return all pairs that look the same, sorted; of equal pictures each with the first of them."""
        near = near_pairs(np.stack(self._thumbnails)) if self._thumbnails else []
        return sorted([*self._repeats, *((self._places[i], self._places[j], "near") for i, j in near)])


def digest_of(image: Image.Image | Planes) -> bytes:
    """Return a digest of the pixels of a decoded picture."""
    if isinstance(image, Planes):
        whole = hashlib.blake2b(f"planes {len(image.channels)} {image.size}".encode(), digest_size=16)
        for plane in image.channels:
            whole.update(plane.tobytes())
        return whole.digest()
    return hashlib.blake2b(f"{image.mode} {image.size}".encode() + image.tobytes(), digest_size=16).digest()


def thumbnail(image: Image.Image | Planes) -> np.ndarray:
    """Return the grey thumbnail of a decoded picture that `near_pairs` compares, uint8 (16, 17)."""
    from PIL import Image

    if isinstance(image, Planes):
        colours = image.channels[: len(image.channels) - image.alpha]
        grey = sum(np.asarray(plane, dtype=np.float64) for plane in colours) / len(colours)
        image = Image.fromarray(np.rint(grey / (TOP // 255)).astype(np.uint8))
    elif image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    small = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    return np.frombuffer(small.tobytes(), dtype=np.uint8).reshape(_SIDE, _SIDE + 1)


def near_pairs(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Find pairs of pictures that look the same.

    The difference hash (is a pixel brighter than its left neighbour?) has 256 bits. Only pictures whose
    hashes agree in one of eight bands of 32 bits are compared: certain for those that differ in up to 7
    bits, likely for the rest. Of a band that more than 64 pictures share (an empty margin) each is compared with
    the 16 whose whole hash follows its own in order.

    Args:
        thumbnails: uint8 (rows, 16, 17) grey thumbnails.

    Returns:
        Sorted pairs of row indices.
    """
    bits = thumbnails[:, :, 1:] > thumbnails[:, :, :-1]
    packed = np.packbits(bits.reshape(len(bits), -1), axis=1)
    spreads = thumbnails.reshape(len(thumbnails), -1).std(axis=1)
    pairs: set[tuple[int, int]] = set()
    for band in range(8):
        words = packed[:, 4 * band : 4 * band + 4].copy().view(np.uint32)[:, 0]
        order = np.argsort(words, kind="stable")
        starts = np.flatnonzero(np.r_[True, words[order][1:] != words[order][:-1], True])
        for begin, end in pairwise(starts):
            group = np.sort(order[begin:end])
            if 2 <= len(group) <= _CROWD:
                for place, i in enumerate(group[:-1]):
                    pairs.update(_alike(int(i), group[place + 1 :], packed, thumbnails, spreads))
            elif len(group) > _CROWD:
                crowd = group[np.lexsort(packed[group].T[::-1])]
                for place, i in enumerate(crowd[:-1]):
                    pairs.update(_alike(int(i), crowd[place + 1 : place + 1 + _WINDOW], packed, thumbnails, spreads))
    return sorted(pairs)


def _alike(
    i: int, others: np.ndarray, packed: np.ndarray, thumbnails: np.ndarray, spreads: np.ndarray
) -> Iterator[tuple[int, int]]:
    others = others[_ONES[packed[others] ^ packed[i]].sum(axis=1) <= NEAR_BITS]
    if not len(others):
        return
    apart = np.abs(thumbnails[others].astype(np.int16) - thumbnails[i]).mean(axis=(1, 2))
    for j in others[apart <= NEAR_CONTRAST * np.minimum(spreads[others], spreads[i])]:
        yield (i, int(j)) if i < j else (int(j), i)


def repeats(pairs: Sequence[Pair], splits: Sequence[str]) -> dict[int, str]:
    """Choose which pictures to leave out, so that no two of those that stay look the same.

    Of a group that looks the same a held-out picture stays before a training one, then the first. A picture is left out
    only if it looks like one that stays: in a chain of pictures of which only neighbours are alike every second one
    stays.

    Args:
        pairs: of `Copies.pairs`.
        splits: split that each picture's source names, or "".

    Returns:
        numbers of the pictures to leave out, each with ``exact`` or ``near``.
    """
    same = {j: i for i, j, kind in pairs if kind == "exact"}
    near: dict[int, set[int]] = {}
    for i, j, kind in pairs:
        if kind == "near":
            near.setdefault(i, set()).add(j)
            near.setdefault(j, set()).add(i)
    kept, left = set[int](), dict[int, str]()
    for number in sorted({n for pair in pairs for n in pair[:2]}, key=lambda n: (_RANK.get(splits[n], 2), n)):
        picture = same.get(number, number)
        if picture in kept:
            left[number] = "exact"
        elif kept & near.get(picture, set()):
            left[number] = "near"
        else:
            kept.add(picture)
    return left


def write_pairs(path: str | Path, pairs: Sequence[Pair], origins: Sequence[str]) -> Path:
    """Write all pairs that look the same as a table: first, second, kind.

    Args:
        path: a file ending in .csv; its folder is made if missing.
        pairs: of `Copies.pairs`.
        origins: of the pictures.

    Raises:
        DataError: on another ending, or if the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise DataError(f"the list of duplicates is '{path}', but it must end in .csv")
    try:
        make_folder(path.parent)
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["first", "second", "kind"])
            table.writerows((harmless(origins[i]), harmless(origins[j]), kind) for i, j, kind in pairs)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error})") from error
    return path
