"""idx files beside MNIST's own four: EMNIST, and single files with or without labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.sources.arrays import array_parts_source
from saddlepoint.data.sources.extras import unpacked
from saddlepoint.data.sources.folder import SPLIT_NAMES, Source, stamp

_MOST_IDX = 1024**3
"""Bytes of an unpacked idx file; the largest published one has 640 MB."""
_NAME = re.compile(r"(?P<head>.*?)(?P<kind>images|labels)(?P<tail>[-.]idx\d[-.]ubyte(?:\.gz)?)", re.IGNORECASE)
_EMNIST = re.compile(r"emnist-(?P<set>[a-z]+)-(?:train|test)-", re.IGNORECASE)
_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_CHARACTERS: Mapping[str, tuple[str, int]] = {
    "letters": (_UPPER, 1), "digits": (_DIGITS, 0), "mnist": (_DIGITS, 0), "byclass": (_DIGITS + _UPPER + _LOWER, 0),
    "bymerge": (_DIGITS + _UPPER + "abdefghnqrt", 0), "balanced": (_DIGITS + _UPPER + "abdefghnqrt", 0),
}  # fmt: skip
"""Characters of EMNIST's sets in the order of their labels (the files named mapping.txt), and the first label."""


@dataclass(frozen=True)
class _Pair:
    """Images and, if there are any, their labels."""

    images: Path
    labels: Path | None
    split: str
    group: str


def is_idx(path: Path) -> bool:
    """Whether a file is named like an idx file of images, as MNIST and EMNIST name them."""
    match = _NAME.fullmatch(path.name)
    if match:
        return match["kind"].lower() == "images"
    return path.suffix.lower() in (".idx", ".idx3") or bool(re.search(r"idx3[-.]ubyte(\.gz)?$", path.name))


def idx_files(folder: Path) -> list[Path]:
    """Return the idx files of images that lie in a folder itself."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_idx(path))


def named_idx_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read idx files of images with the labels that lie beside them.

    EMNIST's files hold every image transposed; they are turned, and its labels become characters.

    Args:
        path: what the user named.
        files: idx files of images.
        options: ``array`` names one of several sets of EMNIST.

    Raises:
        OpenQuestion: if a folder holds several sets, and none is named.
        DataError: if a file is damaged, or labels do not fit.
    """
    pairs = [_pair(file) for file in files]
    pairs = _one_group(path, pairs, options)
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for pair in pairs:
        labels = None if pair.labels is None else read_idx(pair.labels)
        parts[pair.split if len(pairs) > 1 else pair.split or ""] = (read_idx(pair.images), labels)
    found = _EMNIST.match(pairs[0].images.name)
    first, classes = 0, ""
    if found:
        classes, first = _CHARACTERS.get(found["set"].lower(), ("", 0))
        parts = {split: _turned(path, x, y, first, classes) for split, (x, y) in parts.items()}
    used = [file for pair in pairs for file in (pair.images, pair.labels) if file is not None]
    source = array_parts_source(str(path), "idx\n" + stamp(used, used[0].parent), parts)
    notes = [
        Finding(
            "labels",
            f"{pair.images.name}: " + (f"labels are in {pair.labels.name}" if pair.labels else "no labels"),
            "" if pair.labels else "no file of labels lies beside it",
        )
        for pair in pairs
    ]
    if found:
        notes.insert(0, Finding("images", "images were turned upright", "EMNIST's files hold them transposed"))
    size = sum(file.stat().st_size for file in used)
    return replace(source, classes=tuple(classes), notes=(*notes, *source.notes), size=size)


def _turned(
    path: Path, x: np.ndarray, y: np.ndarray | None, first: int, classes: str
) -> tuple[np.ndarray, np.ndarray | None]:
    if y is not None and classes and y.size and not first <= int(y.min()) <= int(y.max()) < first + len(classes):
        raise DataError(
            f"{path} has labels from {int(y.min())} to {int(y.max())}, but EMNIST's are {first} to "
            f"{first + len(classes) - 1}; check that images and labels belong together"
        )
    turned = x.transpose(0, 2, 1) if x.ndim == 3 else x
    return turned, None if y is None else y.astype(np.int64) - first


def _pair(file: Path) -> _Pair:
    match = _NAME.fullmatch(file.name)
    if match is None:
        return _Pair(file, None, "", "")
    tail = re.sub(r"idx\d", "idx1", match["tail"], flags=re.IGNORECASE)
    word = "labels" if match["kind"].islower() else "Labels"
    plain = tail.removesuffix(".gz")
    beside = [file.with_name(match["head"] + word + end) for end in (tail, plain, plain + ".gz")]
    labels = next((path for path in beside if path.is_file()), None)
    words = re.split(r"[-_.]", match["head"].lower())
    split = next((SPLIT_NAMES.get(word, "test") for word in reversed(words) if word in (*SPLIT_NAMES, "t10k")), "")
    found = _EMNIST.match(file.name)
    return _Pair(file, labels, split, found["set"].lower() if found else "")


def _one_group(path: Path, pairs: Sequence[_Pair], options: Options) -> list[_Pair]:
    groups = sorted({pair.group for pair in pairs})
    if options.array is not None:
        chosen = [pair for pair in pairs if options.array in (pair.group, pair.images.name)]
        if not chosen:
            raise DataError(
                f"{path} has no '{options.array}' (--array); it holds {shortened([g for g in groups if g], 8)}"
            )
        return chosen
    if len(groups) > 1:
        readings = [
            Reading(f"the set '{group}'", {"array": group}, [pair.images.name for pair in pairs if pair.group == group])
            for group in groups
            if group
        ]
        raise OpenQuestion(f"{path} holds {len(groups)} sets of images; which one?", readings)
    splits = [pair.split for pair in pairs]
    if len(set(splits)) < len(splits):
        named = [pair.images.name for pair in pairs]
        readings = [Reading(f"the file {name}", {"array": name}) for name in named]
        raise OpenQuestion(f"{path} holds {len(pairs)} idx files of images; which one?", readings)
    return list(pairs)


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
    data = unpacked(path, _MOST_IDX)
    try:
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("it does not start like one")
        shape = np.frombuffer(data, dtype=">u4", count=data[3], offset=4).astype(int)
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read as an idx file ({error}); fetch it again") from error


def _idx_file(folder: Path, name: str) -> Path | None:
    found = [folder / text for text in (name, name + ".gz") if (folder / text).is_file()]
    return found[0] if found else None
