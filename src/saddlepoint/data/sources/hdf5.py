"""HDF5 files of images: PCam's and Galaxy10's layouts, and any file with one array of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data import limits
from saddlepoint.data.options import MIN_SIDE, Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.sources.extras import check_room, guarded, need
from saddlepoint.data.sources.folder import SPLIT_NAMES, Item, Label, Source, stamp
from saddlepoint.data.sources.hdf5_trial import look_first

SUFFIXES = (".h5", ".hdf5", ".hdf")
_KIND = "HDF5"
_LABELS = ("y", "ans", "label", "labels", "target", "targets", "class", "classes", "category")
_PARTNER = re.compile(r"(.*[_-])?x", re.IGNORECASE)
_MOST_OBJECTS, _DEEPEST = 10_000, 20
_BATCH_BYTES, _CHUNK_BYTES = 32 * 1024**2, 256 * 1024**2
_LABELS_AT_ONCE = 64
"""Texts of any length may all stand in one place of the file."""
_MOST_RATIO = 2000
"""Bytes of an array for each byte stored; more is a file made to exhaust, or an array that was never filled."""


@dataclass(frozen=True)
class _Array:
    """An array of a file.

    Attributes:
        file: where it is.
        name: path within the file.
        shape, kind: of it; kind is the type in words.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def is_images(self) -> bool:
        """Whether it can hold images: (rows, height, width) or with 1, 3 or 4 channels, first or last."""
        if self.kind[0] not in "buif" or not all(self.shape) or len(self.shape) not in (3, 4):
            return False
        sides = self.shape[1:]
        if len(sides) == 3:
            if sides[2] not in (1, 3, 4) and sides[0] not in (1, 3, 4):
                return False
            sides = sides[:2] if sides[2] in (1, 3, 4) else sides[1:]
        return min(sides) >= MIN_SIDE

    @property
    def split(self) -> str:
        """The split that its name, or the name of its file, tells; or ""."""
        words = re.split(r"[^a-z]+", f"{self.file.stem}/{self.name}".lower())
        return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), "")

    def row(self) -> str:
        """Return a line for a question."""
        return f"{self.kind} {' x '.join(map(str, self.shape))}"


@dataclass(frozen=True)
class _Part:
    images: _Array
    labels: _Array | None
    split: str


def hdf5_files(folder: Path) -> list[Path]:
    """Return the HDF5 files that lie in a folder itself."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def hdf5_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read images from HDF5 files, a few rows at a time; links that leave a file are never followed.

    Args:
        path: what the user named: a file, or a folder.
        files: the files; one that ends in ``_x.h5`` has its labels in the file that ends in ``_y.h5`` (PCam).
        options: ``array`` names the array of images where several could be meant.

    Raises:
        OpenQuestion: if several arrays could hold the images.
        DataError: if a file is damaged, needs others, or holds no images.
    """
    h5py = need("h5py", "formats", files[0].suffix.lower())
    beside = [partner for file in files if (partner := _partner(file)) is not None]
    opened = list(dict.fromkeys([*files, *beside]))
    look_first(*opened)
    arrays: list[_Array] = []
    left: list[str] = []
    for file in opened:
        found, links = _arrays(h5py, file)
        arrays += found
        left += links
    parts = _parts(path, arrays, options)
    notes = [_told(part) for part in parts]
    others = sorted({a.name for a in arrays} - {a.name for p in parts for a in (p.images, p.labels) if a is not None})
    if others:
        notes.append(Finding("columns", f"other arrays are left out: {shortened(others, 8)}"))
    if left:
        notes.append(Finding("source", f"links within the file are not followed: {shortened(left, 8)}"))

    def items() -> Iterator[Item]:
        for part in parts:
            with guarded(part.images.file, _KIND):
                yield from _rows(h5py, part)

    key = "hdf5\n" + stamp(opened, opened[0].parent)
    return Source(str(path), key, items, notes=tuple(notes), size=sum(file.stat().st_size for file in opened))


def refuse_outside(path: Path) -> None:
    """Refuse an HDF5 file whose links or values stand in other files, before another reader follows them.

    Raises:
        DataError: if there are such, or the file is damaged.
    """
    h5py = need("h5py", "formats", path.suffix.lower())
    look_first(path)
    arrays, links = _arrays(h5py, path)
    if links:
        raise DataError(f"{path} holds links ({shortened(links, 8)}), which are not followed; save it without them")
    with guarded(path, _KIND), h5py.File(path, "r") as file:
        for array in arrays:
            _checked(h5py, array, file[array.name])


def _told(part: _Part) -> Finding:
    split = f" ({part.split})" if part.split else ""
    at = f"{part.images.file.name}: " if part.labels is None or part.labels.file == part.images.file else ""
    labels = "no array of labels lies beside them"
    if part.labels is not None:
        where = "" if part.labels.file == part.images.file else f" of {part.labels.file.name}"
        labels = f"labels are '{part.labels.name}'{where}"
    return Finding("images", f"{at}'{part.images.name}' holds the images{split}; {labels}", part.images.row())


def _partner(file: Path) -> Path | None:
    """Return PCam's file of labels beside a file of images, if it is there."""
    match = _PARTNER.fullmatch(file.stem)
    if match is None:
        return None
    there = file.with_name(file.stem[:-1] + ("Y" if file.stem[-1] == "X" else "y") + file.suffix)
    return there if there.is_file() else None


def _arrays(h5py: Any, path: Path) -> tuple[list[_Array], list[str]]:
    """Return all arrays of a file, and the names of links that are not followed."""
    found: list[_Array] = []
    links: list[str] = []
    seen: set[int] = set()

    def visit(group: Any, prefix: str, depth: int) -> None:
        for name in group:
            where = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                links.append(where)
                continue
            thing = group[name]
            place = int(h5py.h5o.get_info(thing.id).addr)
            if len(seen) > _MOST_OBJECTS or depth > _DEEPEST:
                raise DataError(f"{path} holds more than {_MOST_OBJECTS:,} things, or {_DEEPEST} levels; name an array "
                                "of a simpler file")  # fmt: skip
            if place in seen:
                continue
            seen.add(place)
            if isinstance(thing, h5py.Group):
                visit(thing, where + "/", depth + 1)
            elif isinstance(thing, h5py.Dataset) and thing.shape is not None:
                text = h5py.check_string_dtype(thing.dtype) is not None
                found.append(_Array(path, where, tuple(map(int, thing.shape)), "text" if text else str(thing.dtype)))

    with guarded(path, _KIND), h5py.File(path, "r") as file:
        visit(file, "", 0)
    return found, links


def _parts(path: Path, arrays: Sequence[_Array], options: Options) -> list[_Part]:
    images = [array for array in arrays if array.is_images]
    if options.array is not None:
        images = [array for array in arrays if array.name == options.array.strip("/")]
        wrong = [array for array in images if not array.is_images]
        if not images or wrong:
            what = f"is {wrong[0].row()}, which is no set of images" if wrong else "is not there"
            raise DataError(f"{path}: the array '{options.array}' {what}; it holds {_shown(arrays)}")
    if not images:
        raise DataError(f"{path} holds no array of images (rows, height, width[, channels]); it holds {_shown(arrays)}")
    splits = [array.split for array in images]
    if len(set(splits)) < len(splits) or ("" in splits and len(splits) > 1):
        names = list(dict.fromkeys(array.name for array in images))
        if len(names) == 1:
            raise DataError(
                f"{path}: several files hold '{names[0]}', and their names do not say which split each is; name one "
                "of the files, or put train, valid or test into their names"
            )
        rows = {name: [array.row() for array in images if array.name == name] for name in names}
        readings = [Reading(f"images are '{name}'", {"array": name}, rows[name]) for name in names]
        raise OpenQuestion(f"{path} holds {len(names)} arrays that could be the images; which one?", readings)
    if len(kinds := {array.kind for array in images}) > 1:
        raise DataError(f"{path}: splits are of different types ({shortened(sorted(kinds), 8)}); save all alike")
    alone = len(images) == 1
    return [_Part(array, _labels_of(array, arrays), "" if alone else array.split) for array in images]


def _labels_of(images: _Array, arrays: Sequence[_Array]) -> _Array | None:
    """Return the array of labels: named like one, as long as the images, in the same group or of the same split."""
    files = {images.file, _partner(images.file)}
    fits = [
        array
        for array in arrays
        if array.file in files
        and array.shape[:1] == images.shape[:1]
        and set(array.shape[1:]) <= {1}
        and any(word in _LABELS for word in re.split(r"[^a-z]+", array.name.lower()))
        and (array.split == images.split)
    ]
    folder = images.name.rpartition("/")[0]
    nearest = [array for array in fits if array.name.rpartition("/")[0] == folder] or fits
    return nearest[0] if len(nearest) == 1 else next((a for a in nearest if a.name.split("/")[-1] in _LABELS), None)


def _shown(arrays: Sequence[_Array]) -> str:
    return shortened([f"'{array.name}' ({array.row()})" for array in arrays], 8) or "no array"


def _rows(h5py: Any, part: _Part) -> Iterator[Item]:
    with h5py.File(part.images.file, "r") as file:
        images = _checked(h5py, part.images, file[part.images.name])
        labels = [None] * images.shape[0] if part.labels is None else _read_labels(h5py, part.labels)
        last = images.ndim != 4 or images.shape[3] in (1, 3, 4)
        step = _step(part.images, images)
        for start in range(0, images.shape[0], step):
            chunk = np.asarray(images[start : start + step])
            chunk = chunk.astype(np.uint8) * 255 if chunk.dtype == bool else chunk
            for row, value in enumerate(chunk if last else chunk.transpose(0, 2, 3, 1)):
                yield Item(value, labels[start + row], f"{part.images.name} {start + row}", part.split)


def _step(array: _Array, images: Any) -> int:
    """Return how many rows are read at once: whole pieces where those are small, so that none is unpacked twice.

    Raises:
        DataError: if pieces hold so many rows that unpacking them again and again would take long.
    """
    row = max(1, int(np.prod(images.shape[1:])) * images.dtype.itemsize)
    step, rows = max(1, _BATCH_BYTES // row), images.chunks[0] if images.chunks else 1
    if rows * row <= _CHUNK_BYTES:
        return max(step // rows, 1) * rows
    again = -(-rows // step) * row * images.shape[0]
    limits.check_unpacked(f"{array.file}: '{array.name}', read in pieces of {rows:,} rows,", again,
                          array.file.stat().st_size)  # fmt: skip
    return step


def _checked(h5py: Any, array: _Array, dataset: Any) -> Any:
    """Return a dataset that can be read safely.

    Raises:
        DataError: if its values stand in other files, or it claims far more than is stored.
    """
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{array.file}: the values of '{array.name}' stand in other files, which are not opened; save "
                        "them in one file")  # fmt: skip
    size, stored = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if size > _MOST_RATIO * max(stored, 1) and size > 16 * 1024**2:
        raise DataError(f"{array.file}: '{array.name}' claims {size:,} bytes, and {stored:,} are stored; it is damaged "
                        "or was never filled")  # fmt: skip
    limits.check_unpacked(f"{array.file}: '{array.name}'", size, array.file.stat().st_size)
    check_room(array.file, f"a row of '{array.name}'", size // max(1, dataset.shape[0]))
    if dataset.chunks and int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize > _CHUNK_BYTES:
        raise DataError(f"{array.file}: '{array.name}' is stored in pieces of more than {_CHUNK_BYTES:,} bytes; save "
                        "it in smaller chunks")  # fmt: skip
    return dataset


def _read_labels(h5py: Any, array: _Array) -> list[Label]:
    with guarded(array.file, _KIND), h5py.File(array.file, "r") as file:
        dataset = _checked(h5py, array, file[array.name])
        check_room(array.file, f"'{array.name}'", array.shape[0] * dataset.dtype.itemsize)
        where, texts = f"{array.file}: '{array.name}'", array.kind == "text"
        if not texts:
            return [_checked_label(where, value) for value in np.asarray(dataset[()]).reshape(-1).tolist()]
        read, found = dataset.asstr(errors="replace"), list[Label]()
        for start in range(0, dataset.shape[0], _LABELS_AT_ONCE):
            words = np.asarray(read[start : start + _LABELS_AT_ONCE]).reshape(-1).tolist()
            found += [_checked_label(where, word) for word in words]
        return found


def _checked_label(where: str, value: Any) -> Label:
    """Return a label as sources have it: a whole number or a word.

    Raises:
        DataError: on anything else.
    """
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(value, str):
        if len(value) > limits.MOST_WORD:
            raise DataError(
                f"{where} holds a text of {len(value):,} characters; labels have up to {limits.MOST_WORD:,}"
            )
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise DataError(f"{where} holds {value!r}; labels are whole numbers or words")
