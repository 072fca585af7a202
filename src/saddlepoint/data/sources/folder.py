"""Where rows come from: folders, zip archives, and what every other reader has in common with them."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint._types import Modality
from saddlepoint.data.labels.attributes import (
    ATTRIBUTE_FILES,
    PARTITION_FILES,
    match_attributes,
    name_labels,
    read_attributes,
    read_partition,
)
from saddlepoint.data.labels.files import LABEL_FILES, match_labels, read_labels
from saddlepoint.data.plan import Note

_KINDS = "png jpg jpeg jpe jfif bmp gif tif tiff webp ppm pgm pbm pnm tga jp2 avif"
IMAGE_SUFFIXES = frozenset("." + kind for kind in _KINDS.split())
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_DOMAINS = re.compile(r"(train|valid|val|test)([A-Z])")
TEXT_FILES = (*LABEL_FILES, *ATTRIBUTE_FILES, *PARTITION_FILES)
MAX_MEMBER = 512 * 1024**2
MAX_RATIO = 200

Label = int | str | tuple[int, ...] | None


@dataclass(frozen=True)
class Item:
    """One row as it stands in a source.

    Attributes:
        payload: bytes of an image file, uint8 pixels (height, width[, channel]), or a float32 vector
            (feature,).
        label: class name, class index, a number for each class of a labelling (1, 0, or -1: not known), or None.
        origin: file or row, for messages.
        split: ``train``, ``valid``, ``test``, or "" if the source does not say.
    """

    payload: bytes | np.ndarray
    label: Label
    origin: str
    split: str = ""


@dataclass(frozen=True)
class Source:
    """Rows that can be read as often as needed, one at a time.

    Attributes:
        name: what the user asked for.
        key: text that changes whenever the content changes (sizes and times of files).
        items: starts reading from the first row.
        modality: image or vector.
        classes: class names by index, where the source declares them.
        notes: how it is read, and why.
        keep: whatever must live as long as the source (temporary files).
        labelling: of rows that carry several labels at once; see `DataSpec`.
    """

    name: str
    key: str
    items: Callable[[], Iterator[Item]]
    modality: Modality = "image"
    classes: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    keep: object = None
    labelling: tuple[tuple[int, ...], ...] = ()

    def with_notes(self, *notes: Note) -> Source:
        """Return the same source with further notes."""
        return replace(self, notes=(*self.notes, *notes))


def stamp(paths: Sequence[Path], root: Path) -> str:
    """Return a line for each file: path relative to ``root``, size, time of change."""
    lines = [str(root.resolve())]
    for path in paths:
        status = path.stat()
        lines.append(f"{path.relative_to(root)}|{status.st_size}|{status.st_mtime_ns}")
    return "\n".join(lines)


def folder_source(root: Path) -> Source:
    """Read a folder of images; labels come from a label file in it, or from its subfolders.

    Raises:
        DataError: if there is no image, a file cannot be reached, or labels do not fit the images.
    """
    files, notes = walk(root)
    names = {path.relative_to(root).as_posix(): path for path in files}
    images, aside = _images_of(names)
    if not images:
        raise DataError(f"{root} holds no image files ({_found(aside)}); {_wanted()}")
    texts = {name: path.read_bytes() for name, path in names.items() if PurePosixPath(name).name in TEXT_FILES}
    arranged = arrange(str(root), images, texts)
    notes += [*arranged.notes, *_aside_note(aside, texts)]

    def items() -> Iterator[Item]:
        for name in images:
            try:
                payload = names[name].read_bytes()
            except OSError:
                payload = b""
            yield Item(payload, arranged.labels.get(name), name, arranged.splits.get(name) or split_of(name))

    key = "folder\n" + stamp([names[n] for n in (*images, *texts)], root)
    return Source(
        str(root), key, items, classes=arranged.classes, notes=tuple(notes), labelling=arranged.labelling
    )  # fmt: skip


def zip_source(path: Path) -> Source:
    """Read images from a zip archive, laid out like a folder; nothing is unpacked to disk.

    Raises:
        DataError: if it is not a zip, holds no image, is encrypted, or unpacks to absurd sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _hidden(m.filename)]
            names = {m.filename: m for m in members}
            images, aside = _images_of(names)
            for name in images:
                _refuse_bomb(path, names[name])
            if not images:
                raise DataError(f"{path} holds no image files ({_found(aside)}); {_wanted()}")
            texts = {name: _member(archive, names[name]) for name in names if PurePosixPath(name).name in TEXT_FILES}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as a zip archive ({error}); check that the copy is complete") from error
    arranged = arrange(str(path), images, texts)
    notes = [*arranged.notes, *_aside_note(aside, texts)]

    def items() -> Iterator[Item]:
        with zipfile.ZipFile(path) as archive:
            for name in images:
                try:
                    payload = _member(archive, names[name])
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
                    payload = b""
                yield Item(payload, arranged.labels.get(name), name, arranged.splits.get(name) or split_of(name))

    key = "zip\n" + stamp([path], path.parent)
    return Source(
        str(path), key, items, classes=arranged.classes, notes=tuple(notes), labelling=arranged.labelling
    )  # fmt: skip


def walk(root: Path) -> tuple[list[Path], list[str]]:
    """List the files below a folder, sorted, following links but never into a loop; hidden ones are left out.

    Raises:
        DataError: if the folder cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    loops: list[str] = []

    def visit(folder: Path) -> None:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            loops.append(folder.relative_to(root).as_posix())
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if _hidden(entry.name):
                continue
            path = folder / entry.name
            try:
                if entry.is_dir():
                    visit(path)
                elif entry.is_file():
                    found.append(path)
                elif entry.is_symlink():
                    loops.append(path.relative_to(root).as_posix())
            except OSError:
                loops.append(path.relative_to(root).as_posix())

    try:
        visit(root)
    except OSError as error:
        raise DataError(f"{root} cannot be listed ({error.strerror or error}); check its permissions") from error
    notes = [f"links and folders that could not be followed, or lead nowhere new: {shortened(loops)}"] if loops else []
    return found, notes


@dataclass(frozen=True)
class Arranged:
    """What is known of the images of a folder beside their pixels.

    Attributes:
        labels: by name; empty: none.
        notes: where they come from.
        classes, labelling: of labels that are several numbers each.
        splits: by name, where a file says them.
    """

    labels: Mapping[str, Label]
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    labelling: tuple[tuple[int, ...], ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)


def arrange(where: str, images: Sequence[str], texts: Mapping[str, bytes]) -> Arranged:
    """Give every image its label: from a table of attributes, a label file, its name, or its subfolder.

    Raises:
        DataError: if a table or a label file does not fit the images.
    """
    by_kind = {PurePosixPath(name).name: name for name in sorted(texts, reverse=True)}
    for kind in ATTRIBUTE_FILES:
        if kind in by_kind:
            return _with_attributes(where, images, texts, by_kind, by_kind[kind])
    plain = [name for name in texts if PurePosixPath(name).name in LABEL_FILES]
    labels, notes = _labels(where, images, {name: texts[name] for name in plain})
    return Arranged(labels, tuple(notes))


def _with_attributes(
    where: str, images: Sequence[str], texts: Mapping[str, bytes], by_kind: Mapping[str, str], name: str
) -> Arranged:
    table = read_attributes(f"{where}/{name}", texts[name])
    labels = match_attributes(f"{where}/{name}", table, images)
    notes, splits = [f"{len(table.names)} attributes were read from {name}"], {}
    partition = next((by_kind[kind] for kind in PARTITION_FILES if kind in by_kind), None)
    if partition is not None:
        parts = read_partition(f"{where}/{partition}", texts[partition])
        splits = {image: parts.get(PurePosixPath(image).name, "") for image in images}
        notes.append(f"splits were read from {partition}")
    return Arranged(labels, tuple(notes), table.names, ((1,) * len(table.names),), splits)


def _labels(where: str, images: Sequence[str], texts: Mapping[str, bytes]) -> tuple[Mapping[str, Label], list[str]]:
    passed: list[str] = []
    labels, notes = _labels_by(where, images, texts, passed)
    if passed:
        notes.append(f"label files that do not cover all images were not used: {shortened(passed)}")
    return labels, notes


def _labels_by(
    where: str, images: Sequence[str], texts: Mapping[str, bytes], passed: list[str]
) -> tuple[Mapping[str, Label], list[str]]:
    """Return labels by a file, by the images' names, or by subfolders; ``passed`` takes files passed over."""
    for name in sorted(texts, key=lambda n: (n.count("/"), LABEL_FILES.index(PurePosixPath(n).name))):
        table = read_labels(f"{where}/{name}", texts[name])
        if table is not None:
            base = PurePosixPath(name).parent
            prefix = "" if str(base) == "." else f"{base}/"
            if all(image.startswith(prefix) for image in images):
                labels = match_labels(f"{where}/{name}", {prefix + k: v for k, v in table.items()}, images)
                return labels, [f"labels were read from {name}"]
            passed.append(name)
    if named := name_labels(images):
        return dict(named), ["classes are the expressions that the file names say (Radboud Faces Database)"]
    parts, deeper = _classes_of(images)
    outside = [name for name, label in parts.items() if label is None]
    if len(outside) == len(images):
        return {}, []
    if outside:
        return {}, [
            f"{len(outside)} of {len(images)} images lie outside the subfolders ({shortened(outside)}), so subfolders "
            "were not taken as classes"
        ]
    within = f"; folders within them ({shortened(deeper)}) say nothing" if deeper else ""
    return dict(parts), [f"classes are the {len(set(parts.values()))} subfolders{within}"]


def split_of(name: str) -> str:
    """Return the split that a path names by its first folder that does, or ""."""
    for part in PurePosixPath(name).parts[:-1]:
        word = _halves(part)[0].lower()
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return ""


def shortened(names: Sequence[str], most: int = 5) -> str:
    """Join names for a message, the first few of them only."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _classes_of(images: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """Return the class of each image, its first folder that names no split and is not one for all; and deeper folders.

    Images that lie in no such folder have none.
    """
    folders = {name: _telling(name) for name in images}
    first, last = min(folders.values(), default=[]), max(folders.values(), default=[])
    shared = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    if 0 < shared == len(last):
        shared -= 1  # all images lie in one folder: that is their class
    found = {name: parts[shared] if len(parts) > shared else None for name, parts in folders.items()}
    return found, sorted({part for parts in folders.values() for part in parts[shared + 1 :]})


def _telling(name: str) -> list[str]:
    """Return the folders of a path that may be classes."""
    halves = [_halves(part) for part in PurePosixPath(name).parts[:-1]]
    return [domain or word for word, domain in halves if domain or word.lower() not in SPLIT_WORDS]


def _halves(part: str) -> tuple[str, str]:
    """Return the split and the domain of folders such as trainA and testB (CycleGAN), of others the name and ""."""
    found = _DOMAINS.fullmatch(part)
    return (found[1], found[2]) if found else (part, "")


def _hidden(name: str) -> bool:
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _images_of(names: Mapping[str, object]) -> tuple[list[str], list[str]]:
    images = sorted(name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    return images, sorted(set(names) - set(images))


def _aside_note(aside: Sequence[str], texts: Mapping[str, object]) -> list[str]:
    left = [name for name in aside if name not in texts]
    return [f"{len(left)} files are not images by their name and were left aside: {shortened(left)}"] if left else []


def _found(aside: Sequence[str]) -> str:
    return f"{len(aside)} other files: {shortened(aside)}" if aside else "it is empty"


def _wanted() -> str:
    return "images are png, jpg, webp, bmp, gif, tif and the like; parquet, npy, npz and zip files are named directly"


def _refuse_bomb(path: Path, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise DataError(f"{path}: {member.filename} is encrypted; unpack the archive and point at the folder")
    ratio = member.file_size / max(1, member.compress_size)
    if member.file_size > MAX_MEMBER or (ratio > MAX_RATIO and member.file_size > 16 * 1024**2):
        raise DataError(
            f"{path}: {member.filename} unpacks to {member.file_size:,} bytes ({ratio:.0f} times its packed "
            "size); images are "
            f"read up to {MAX_MEMBER:,} bytes and a ratio of {MAX_RATIO}: if you trust it, unpack the archive yourself"
        )


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # the declared size is the archive's claim; reading stops there whatever the stream holds
    with archive.open(member) as stream:
        return stream.read(min(member.file_size, MAX_MEMBER))
