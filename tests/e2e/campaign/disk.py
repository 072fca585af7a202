"""A disk that keeps, after a loss of power, what was synced, and of the rest whatever it likes.

What a file system promises is little (Pillai et al., All file systems are not created equal, OSDI 2014): bytes are
there once their *file* was synced, names once their *folder* was. Until then each write may be lost, alone or with
others, in whole or in blocks; a name may be there without its bytes, or the old name still. A rename within a folder is
one change: it is there or not. Real file systems keep more in order than this one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BLOCK = 4096
"""Bytes that are lost together."""

Keep = Callable[[str], bool]
"""Whether a change that was not synced is there after all; told whether it is of ``names`` or of ``bytes``."""


@dataclass
class File:
    """A file: what is on the disk, and the writes that are not there for certain. ``None`` as data: cut at ``at``."""

    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write(self, at: int, data: bytes | None) -> None:
        """Write, or cut."""
        self.pending.append((at, data))

    def sync(self) -> None:
        """Put all of it on the disk."""
        self.synced, self.pending = self.content(), []

    @property
    def size(self) -> int:
        """Bytes, as a process sees them."""
        size = len(self.synced)
        for at, data in self.pending:
            size = at if data is None else max(size, at + len(data))
        return size

    def content(self, keep: Keep = lambda of: True) -> bytes:
        """Return the bytes that are there if those writes are kept."""
        found = bytearray(self.synced)
        for at, data in self.pending:
            if data is None:
                if keep("bytes"):
                    found[at:] = bytes(max(0, at - len(found)))
                continue
            for begin in range(0, len(data), BLOCK):
                if keep("bytes"):
                    piece, place = data[begin : begin + BLOCK], at + begin
                    found.extend(bytes(max(0, place - len(found))))  # what was lost before it is a hole: zeros
                    found[place : place + len(piece)] = piece
        return bytes(found)


@dataclass(frozen=True)
class Link:
    """A link, which is all name."""

    target: str

    def sync(self) -> None:
        """Nothing: its folder holds it."""


@dataclass
class Folder:
    """A folder: names that are on the disk, and changes of names that are not there for certain."""

    synced: dict[str, Node] = field(default_factory=dict)
    pending: list[dict[str, Node | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = dict(self.synced)
        """Names as processes see them."""

    def change(self, names: dict[str, Node | None]) -> None:
        """Make one change: each name is what it is given, or gone."""
        self.pending.append(names)
        self.now = _changed(self.now, names)

    def sync(self) -> None:
        """Put all names on the disk."""
        self.synced, self.pending = dict(self.now), []

    def names(self, keep: Keep) -> dict[str, Node]:
        """Return what is there if those changes are kept."""
        found = dict(self.synced)
        for names in self.pending:
            if keep("names"):
                found = _changed(found, names)
        return found


Node = File | Folder | Link
Found = tuple[PurePosixPath, bytes | Link | None]
"""What is there after a loss: a path, and bytes of a file, a link, None of a folder."""


def _changed(names: dict[str, Node], change: dict[str, Node | None]) -> dict[str, Node]:
    return {name: node for name, node in (names | change).items() if node is not None}


class Disk:
    """The files below a folder, as they are when recording begins: all of it is on the disk.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _taken(root)
        self.at: dict[str, int | None] = {}
        """Where the next byte of a file goes that is open; None: at its end."""

    def find(self, path: str) -> Node | None:
        """Return what a process sees at a path below the root; None: nothing."""
        node: Node | None = self.top
        for part in self.parts(path):
            node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def parts(self, path: str) -> tuple[str, ...]:
        """Return the names on the way from the root."""
        return PurePosixPath(path).relative_to(self.root).parts

    def holds(self, path: str) -> bool:
        """Whether a path is below the root, or is it."""
        return PurePosixPath(path).is_relative_to(self.root)

    def parent(self, path: str) -> tuple[Folder, str]:
        """Return the folder that a name stands in, and the name."""
        *way, name = self.parts(path)
        folder = self.find(str(self.root.joinpath(*way)))
        assert isinstance(folder, Folder), path
        return folder, name

    def rename(self, old: str, new: str) -> None:
        """Give another name: one change within a folder, two between folders."""
        (source, before), (target, after) = self.parent(old), self.parent(new)
        node = self.find(old)
        if source is target:
            source.change({before: None, after: node})
        else:
            target.change({after: node})
            source.change({before: None})


def _taken(path: Path) -> Folder:
    found: dict[str, Node] = {}
    for child in path.iterdir():
        if child.is_symlink():
            found[child.name] = Link(os.readlink(child))
        else:
            found[child.name] = _taken(child) if child.is_dir() else File(child.read_bytes())
    return Folder(found)


def after_power_loss(folder: Folder, rng: random.Random, way: str) -> Iterator[Found]:
    """Yield what is there after the loss: path and bytes of files, a `Link`, None of folders.

    Args:
        folder: the disk's top.
        rng: draws what is kept.
        way: ``nothing`` that was not synced is kept; ``names`` are, bytes not; ``bytes`` are, names not; ``some``: each
            change may be.
    """
    share = rng.uniform(0.2, 0.8)

    def keep(of: str) -> bool:
        return of == way if way in ("names", "bytes") else way == "some" and rng.random() < share

    def walk(node: Folder, at: PurePosixPath) -> Iterator[Found]:
        for name, child in node.names(keep).items():
            if isinstance(child, File):
                yield at / name, child.content(keep)
            elif isinstance(child, Link):
                yield at / name, child
            else:
                yield at / name, None
                yield from walk(child, at / name)

    return walk(folder, PurePosixPath())


def lay_down(found: Iterator[Found], place: Path) -> None:
    """Write what is there into a real folder."""
    for path, content in found:
        if content is None:
            (place / path).mkdir(parents=True, exist_ok=True)
            continue
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            (place / path).symlink_to(content.target)
        else:
            (place / path).write_bytes(content)
