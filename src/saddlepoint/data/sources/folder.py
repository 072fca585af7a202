"""Where rows come from: folders, zip archives, and what every other reader has in common with them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.files import read_at_most
from saddlepoint.core.progress import counted
from saddlepoint.core.quoting import shortened
from saddlepoint.core.types import Modality
from saddlepoint.core.zips import Zip
from saddlepoint.data import limits
from saddlepoint.data.labels.arrange import Arranged, arrange, may_say_labels, must_say_labels
from saddlepoint.data.labels.files import Label
from saddlepoint.data.labels.splits import SPLIT_NAMES, split_word
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note

__all__ = [
    "IMAGE_SUFFIXES", "SPLIT_NAMES", "Item", "Label", "Source", "folder_source", "split_word", "stamp",
    "walk", "zip_source",
]  # fmt: skip

_KINDS = "png jpg jpeg jpe jfif bmp gif tif tiff webp ppm pgm pbm pnm tga jp2 avif"
IMAGE_SUFFIXES = frozenset("." + kind for kind in _KINDS.split())


@dataclass(frozen=True)
class Item:
    """One row as it stands in a source.

    Attributes:
        payload: bytes of an image file, pixels (height, width[, channel]) of any type of numbers, or a float32
            vector (feature,).
        label: class name, class index, a number for each class of a labelling (1, 0, or -1: not known), or None.
        origin: file or row, for messages.
        split: ``train``, ``valid``, ``test``, or "" if the source does not say.
        file: what several rows are slices or frames of, so that no two splits may share it; "": the row stands alone.
    """

    payload: bytes | np.ndarray
    label: Label
    origin: str
    split: str = ""
    file: str = ""


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
        heeds: which of the options about labels its reader has followed.
        count: number of items, where that is known before they are read.
        size: bytes of its files on the disk, where they may be packed.
    """

    name: str
    key: str
    items: Callable[[], Iterator[Item]]
    modality: Modality = "image"
    classes: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    keep: object = None
    labelling: tuple[tuple[int, ...], ...] = ()
    heeds: tuple[str, ...] = ()
    count: int | None = None
    size: int | None = None

    def told(self, what: str) -> Iterator[Item]:
        """Go through the items, and tell how far that is; ``what`` is done with the rows."""
        return counted(self.items(), f"{what} {self.name}", self.count)

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


def folder_source(root: Path, options: Options | None = None) -> Source:
    """Read a folder of images; labels come from a label file in it, or from its subfolders.

    Args:
        root: the folder.
        options: where labels and splits come from, if the user chose; see `arrange`.

    Raises:
        DataError: if there is no image, a file cannot be reached, or labels do not fit the images.
    """
    files, notes = walk(root)
    names = {path.relative_to(root).as_posix(): path for path in files}
    images, aside = _images_of(names)
    if not images:
        raise DataError(f"{root} holds no image files ({_found(aside)}); {_wanted()}")
    room = limits.Texts(str(root))
    wanted = {name: path for name, path in names.items() if may_say_labels(name)}
    texts = {name: data for name, path in wanted.items() if (data := _text_of(path, name, room)) is not None}
    arranged = arrange(str(root), images, texts, options)

    def items() -> Iterator[Item]:
        for name in arranged.images:
            try:
                payload = picture_bytes(names[name])
            except OSError:
                payload = b""
            yield Item(payload, arranged.labels.get(name), name, arranged.splits[name])

    key = "folder\n" + stamp([names[n] for n in (*images, *texts)], root)
    return _source(str(root), key, items, arranged, aside, notes)


def zip_source(path: Path, options: Options | None = None) -> Source:
    """Read images from a zip archive, laid out like a folder; nothing is unpacked to disk.

    Args:
        path: the archive.
        options: as of `folder_source`.

    Raises:
        DataError: if it is not a zip, holds no image, is encrypted, or unpacks to absurd sizes.
    """
    try:
        with Zip(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _hidden(m.filename)]
            names = {m.filename: m for m in members}
            images, aside = _images_of(names)
            wanted = [name for name in names if may_say_labels(name)]
            room = limits.Texts(str(path))
            for name in (*images, *wanted):
                _refuse_bomb(path, names[name])
            wanted = [name for name in wanted if room.room(name, names[name].file_size, must_say_labels(name))]
            size = path.stat().st_size
            limits.check_unpacked(str(path), sum(names[name].file_size for name in (*images, *wanted)), size)
            if not images:
                raise DataError(f"{path} holds no image files ({_found(aside)}); {_wanted()}")
            texts = {name: _member(archive, names[name]) for name in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as a zip archive ({error}); check that the copy is complete") from error
    arranged = arrange(str(path), images, texts, options)

    def items() -> Iterator[Item]:
        with Zip(path) as archive:
            for name in arranged.images:
                try:
                    payload = _member(archive, names[name])
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
                    payload = b""
                yield Item(payload, arranged.labels.get(name), name, arranged.splits[name])

    return replace(_source(str(path), "zip\n" + stamp([path], path.parent), items, arranged, aside, []), size=size)


def _source(
    name: str, key: str, items: Callable[[], Iterator[Item]], arranged: Arranged, aside: Sequence[str],
    notes: Sequence[Note],
) -> Source:  # fmt: skip
    left = [file for file in aside if file not in arranged.used]
    said = [Finding("source", f"{len(left)} files are not images by their name and were left aside: {shortened(left)}")]
    return Source(
        name, key, items, classes=arranged.classes, notes=(*notes, *arranged.findings, *(said if left else ())),
        labelling=arranged.labelling, heeds=("labels", "label_column", "splits"), count=len(arranged.images),
    )  # fmt: skip


def picture_bytes(path: Path) -> bytes:
    """Return the content of a file of a picture; nothing of one that is larger than any picture is.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return read_at_most(file, limits.MOST_MEMBER)
    except ValueError:
        return b""


def _text_of(path: Path, name: str, room: limits.Texts) -> bytes | None:
    """Return the bytes of a file that may hold labels; None if it is too large and not called as label files are.

    Raises:
        DataError: if it cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            fits = room.room(name, os.fstat(file.fileno()).st_size, must_say_labels(name))
            return file.read(limits.MOST_TEXT) if fits else None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error


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


def _hidden(name: str) -> bool:
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _images_of(names: Mapping[str, object]) -> tuple[list[str], list[str]]:
    images = sorted(name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    return images, sorted(set(names) - set(images))


def _found(aside: Sequence[str]) -> str:
    return f"{len(aside)} other files: {shortened(aside)}" if aside else "it is empty"


def _wanted() -> str:
    return "images are png, jpg, webp, bmp, gif, tif and the like; parquet, npy, npz and zip files are named directly"


def _refuse_bomb(path: Path, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise DataError(f"{path}: {member.filename} is encrypted; unpack the archive and point at the folder")
    ratio = member.file_size / max(1, member.compress_size)
    many = ratio > limits.MAX_RATIO and member.file_size > limits.RATIO_FROM
    if member.file_size > limits.MOST_MEMBER or many:
        raise DataError(
            f"{path}: {member.filename} unpacks to {member.file_size:,} bytes ({ratio:.0f} times its packed "
            f"size); files are read up to {limits.MOST_MEMBER:,} bytes and a ratio of {limits.MAX_RATIO}: if you trust "
            "it, unpack the archive yourself"
        )


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # the declared size is the archive's claim; reading stops there whatever the stream holds
    with archive.open(member) as stream:
        return stream.read(min(member.file_size, limits.MOST_MEMBER))
