"""Shards of WebDataset (files in a tar that share a name are one sample), and images in any other tar."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data import limits
from saddlepoint.data.labels.arrange import Arranged, arrange, may_say_labels, must_say_labels
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.sources.extras import guarded
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES, Item, Label, Source, split_word, stamp

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_KIND = "a tar"
_BESIDE = ("cls", "json", "txt")
_JSON_KEYS = ("label", "cls", "class", "category", "target")
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
"""WebDataset's own rule: what precedes the first dot of a file's name tells the sample, what follows its part."""
_OPENERS: Mapping[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_MOST_TEXT = 1024**2
_LONGEST_WORD = 64
_MOST_HEADER, _DIGITS = 1024**2, re.compile(rb"\d{65}")

Place = tuple[int, str]
"""Number of the tar, name within it."""


@dataclass
class _Seen:
    """What the tars hold.

    Attributes:
        images: places of the images, in their order.
        beside: contents of files that may hold labels, by ending and place of the sample.
        texts: label files of a folder.
        aside: other files.
        links: members that are no files.
        notes: what is odd.
        room: for their labels.
    """

    images: list[Place] = field(default_factory=list)
    beside: dict[str, dict[Place, bytes]] = field(default_factory=lambda: {kind: {} for kind in _BESIDE})
    texts: dict[str, bytes] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    room: limits.Texts = field(default_factory=lambda: limits.Texts("the tars"))

    def look(self, number: int, path: Path) -> None:
        """Go through one tar."""
        for archive, member in _members(path, self.notes):
            name = member.name
            if member.isdir() or any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
                continue
            if not member.isreg():
                self.links.append(name)
                continue
            match = _KEY.fullmatch(name)
            end = match[2].lower() if match else ""
            if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
                self.images.append((number, name))
            elif match and end in _BESIDE and member.size <= _MOST_TEXT and not may_say_labels(name):
                self.room.room(name, member.size, must=True)
                self.beside[end][number, match[1]] = _content(archive, member, _MOST_TEXT)
            elif may_say_labels(name) and self.room.room(name, member.size, must_say_labels(name)):
                self.texts.setdefault(name, _content(archive, member, limits.MOST_TEXT))
            else:
                self.aside.append(name)


def is_tar(path: Path) -> bool:
    """Whether a file is named like a tar, compressed or not."""
    return path.name.lower().endswith(SUFFIXES)


def tar_files(folder: Path) -> list[Path]:
    """Return the tars that lie in a folder, or in folders of splits in it."""
    inner = [entry for entry in folder.iterdir() if entry.is_dir() and split_word(entry.name)]
    return sorted(path for place in (folder, *inner) for path in place.iterdir() if is_tar(path) and path.is_file())


def tar_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read images from tars, one member at a time; nothing is unpacked to disk, and links are not followed.

    A sample is all files that share the name before the first dot, as in WebDataset: ``0001.jpg`` with ``0001.cls`` (a
    number), ``0001.json`` (an object with a label) or ``0001.txt`` (a word). Without such files the tar is read like a
    folder: labels come from a label file or subfolders.

    Args:
        path: what the user named: a tar, or a folder of shards.
        files: the tars.
        options: of images.

    Raises:
        DataError: if a tar is damaged, holds no images, or samples hold several.
    """
    seen = _Seen()
    for number, file in enumerate(files):
        with guarded(file, _KIND):
            seen.look(number, file)
    if not seen.images:
        raise DataError(
            f"{path} holds no image files ({len(seen.aside)} other files: {shortened(seen.aside, 8)}); images are png, "
            "jpg, webp and the like: other data is unpacked first, and its folder named"
        )
    samples = {place: _sample_of(place) for place in seen.images}
    if any(sample in kept for kept in seen.beside.values() for sample in samples.values()):
        chosen, labels, notes = _shards(path, seen, samples, options)
        arranged = Arranged([])
    else:
        arranged = arrange(str(path), list(dict.fromkeys(name for _, name in seen.images)), seen.texts, options)
        kept, notes = set(arranged.images), list[Note](arranged.findings)
        chosen = {place for place in seen.images if place[1] in kept}
        labels = {place: arranged.labels.get(place[1]) for place in chosen}
    if seen.aside:
        notes.append(
            Finding("source", f"{len(seen.aside)} files are no images: left aside: {shortened(seen.aside, 8)}")
        )
    if seen.links:
        notes.append(Finding("source", f"links in the tar are not followed: {shortened(seen.links, 8)}"))

    def items() -> Iterator[Item]:
        for number, file in enumerate(files):
            split = _split_of(file) if options.splits != "none" else ""
            with guarded(file, _KIND):
                for archive, member in _members(file):
                    place = (number, member.name)
                    if place in chosen and member.isreg():
                        data, inner = _content(archive, member, limits.MOST_MEMBER), arranged.splits.get(place[1], "")
                        yield Item(data, labels.get(place), f"{file.name}/{place[1]}", split or inner)

    key = "tar\n" + stamp(files, path if path.is_dir() else path.parent)
    return Source(
        str(path), key, items, classes=arranged.classes, notes=(*seen.notes, *notes), labelling=arranged.labelling,
        heeds=("labels", "splits", *(("label_column",) if arranged.images else ())),
        size=sum(file.stat().st_size for file in files),
    )  # fmt: skip


class _Careful:
    """A file that is never asked for more than an image may have, and unpacked so far only: headers claim any size.

    Args:
        file: opened, unpacked while it is read.
        path: of it.
    """

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.size = file, path, path.stat().st_size

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        limits.check_unpacked(str(self.path), self.file.tell(), self.size)
        if size > limits.MOST_MEMBER + 1024:
            raise ValueError(f"a part claims {size:,} bytes")
        data: bytes = self.file.read(size)
        return data

    def seek(self, place: int) -> int:
        """Go to a place."""
        limits.check_unpacked(str(self.path), place, self.size)
        return int(self.file.seek(place))

    def tell(self) -> int:
        """Return where it stands."""
        return int(self.file.tell())


class _Info(tarfile.TarInfo):
    """A member whose extended header is looked at before tarfile searches it: that takes the square of its digits."""

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        place = self.offset + tarfile.BLOCKSIZE
        if self.size > _MOST_HEADER:
            raise ValueError(f"an extended header claims {self.size:,} bytes")
        archive.fileobj.seek(place)
        if _DIGITS.search(archive.fileobj.read(self.size)):
            raise ValueError("an extended header holds a number of more than 64 digits")
        archive.fileobj.seek(place)
        found: tarfile.TarInfo = super()._proc_pax(archive)  # type: ignore[misc]
        return found


def _members(path: Path, notes: list[Note] | None = None) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of a tar in their order; memory does not grow with their number.

    Raises:
        ValueError: if it ends in the middle, which tarfile itself passes over in silence.
    """
    with open(path, "rb") as raw:
        opener = _OPENERS.get(raw.read(2))
    with open(path, "rb") if opener is None else opener(path) as file:
        careful = _Careful(file, path)
        archive = tarfile.TarFile(fileobj=careful, mode="r", tarinfo=_Info)  # type: ignore[arg-type]
        count = 0
        while (member := archive.next()) is not None:
            count += 1
            limits.check_members(str(path), count, careful.size)
            yield archive, member
            archive.members = []  # type: ignore[attr-defined]
        file.seek(archive.offset)
        rest = file.read(tarfile.BLOCKSIZE)
        if rest.strip(b"\0"):
            raise ValueError(f"what follows member {count:,} is no header")
        if not rest and notes is not None:
            notes.append(Finding("source", f"{path.name} has no end mark", "it may have been cut off", sure=False))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    if member.size > most or member.issparse():
        return b""
    stream = archive.extractfile(member)
    data = b"" if stream is None else stream.read(most)
    if len(data) < member.size:
        raise ValueError(f"{member.name} is cut off")
    return data


def _sample_of(place: Place) -> Place:
    match = _KEY.fullmatch(place[1])
    return place[0], match[1] if match else place[1]


def _shards(
    path: Path, seen: _Seen, samples: Mapping[Place, Place], options: Options
) -> tuple[set[Place], dict[Place, Label], list[Note]]:
    """Return the image of each sample, its label, and what to say."""
    images: dict[Place, list[str]] = {}
    for place, sample in samples.items():
        images.setdefault(sample, []).append(place[1])
    chosen: set[Place] = set()
    others: set[str] = set()
    for sample, names in images.items():
        plain = [name for name in names if "." not in name[len(sample[1]) + 1 :]]
        if len(plain) != 1 and len(names) > 1:
            raise DataError(
                f"{path}: the sample {sample[1]} holds several images ({shortened(names, 8)}), and none is the only "
                "one with a plain ending; write shards with one image a sample"
            )
        name = plain[0] if plain else names[0]
        chosen.add((sample[0], name))
        others.update(other[len(sample[1]) :] for other in names if other != name)
    notes: list[Note] = [Finding("images", f"{len(chosen):,} samples of WebDataset shards", "files share their names")]
    if others:
        notes.append(Finding("images", f"further images of the samples are left out: {shortened(sorted(others), 8)}"))
    found, told = _labels(seen, set(images))
    if options.labels == "none":
        found, told = {}, [Finding("labels", "no labels are used, as asked")]
    return chosen, {place: found.get(samples[place]) for place in chosen}, [*notes, *told]


def _labels(seen: _Seen, samples: set[Place]) -> tuple[dict[Place, Label], list[Note]]:
    """Return the label of each sample: a number in .cls, an object's label in .json, or a word in .txt."""
    held = {kind: {k: v for k, v in kept.items() if k in samples} for kind, kept in seen.beside.items()}
    notes: list[Note] = []
    if held["cls"]:
        return {k: _word(v) for k, v in held["cls"].items()}, [Finding("labels", "labels were read from .cls files")]
    parsed = {k: _parsed(v) for k, v in held["json"].items()}
    for key in _JSON_KEYS:
        rows = {k: v.get(key) for k, v in parsed.items() if isinstance(v, dict)}
        found: dict[Place, Label] = {
            k: v if isinstance(v, str) else int(v) for k, v in rows.items() if isinstance(v, int | str)
        }
        if found:
            return found, [Finding("labels", f"labels are '{key}' of .json files")]
    if held["json"]:
        notes.append(Finding("labels", "the .json files hold no label", f"none has {' or '.join(_JSON_KEYS)}"))
    if held["txt"]:
        words = {k: _word(v) for k, v in held["txt"].items()}
        values = set(words.values())
        longest = max(len(str(value)) for value in values)
        if len(values) <= max(2, len(words) // 4) and longest <= _LONGEST_WORD and len(values) > 1:
            why = f"{len(words):,} files hold {len(values):,} different words"
            return words, [
                *notes,
                Finding("labels", "labels are the words of .txt files", why, "--labels none", sure=False),
            ]
        notes.append(Finding("labels", "the .txt files are captions, which are not used", "nearly all differ"))
    return {}, notes


def _word(data: bytes) -> Label:
    text = data.decode("utf-8", "replace").strip()
    return int(text) if re.fullmatch(r"-?\d{1,17}", text, re.ASCII) else text


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _split_of(file: Path) -> str:
    """Return the split that a shard's name or folder tells, or ""."""
    words = [*re.split(r"[^A-Za-z]+", file.name), file.parent.name]
    return next((split for word in words if (split := split_word(word))), "")
