"""Files that are never seen half written, files that are files, and JSON that nobody can choke on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from saddlepoint.core.durable import flush, make_folder, move_into_place

MOST = 16 * 1024**2
"""Bytes of a JSON file that is read: descriptions are a hundredth of it."""

DEEPEST = 100
"""Lists and objects in one another that are read."""


_LONGEST_SUFFIX, _LONGEST_PART = 20, 100


def hidden_beside(path: Path, suffix: str = "") -> Path:
    """Return a path in the same folder that nobody can foresee, hidden, for what takes the place of `path` in the end.

    It begins like the name, and is short enough for any file system, however long that is.

    >>> hidden_beside(Path("runs/a.png"), ".png").name[:7], len(hidden_beside(Path("a" * 255)).name)
    ('.a.png-', 134)
    """
    begin = path.name.encode(errors="ignore")[:_LONGEST_PART].decode(errors="ignore")
    return path.with_name(f".{begin}-{uuid.uuid4().hex}{suffix}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part: temporary file, fsync, rename.

    Once this returns, the new content outlasts a loss of power.

    Args:
        path: of the file; its folder must be there.
        content: text, which is written as UTF-8, or bytes.
    """
    temporary = hidden_beside(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Let a library write a file under another name in the block, which then takes its place whole.

    A link in that place is replaced; nothing is written through it. The other name can't be foreseen, so that no link
    waits there.

    Args:
        path: of the file; its folder must be there. The other name has the same ending.
    """
    temporary = hidden_beside(path, path.suffix if len(path.suffix) < _LONGEST_SUFFIX else "")
    try:
        yield temporary
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def give_usual_mode(path: Path) -> None:
    """Give a file the mode that any new file beside it gets (0666 less the umask).

    Libraries that write through a temporary file of their own leave it readable by its owner alone: another user,
    a container or a web server could not read it.
    """
    probe = path.with_name(f".mode-{uuid.uuid4().hex}")
    handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        os.chmod(path, stat.S_IMODE(os.fstat(handle).st_mode))
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)


def open_regular(path: Path, mode: str = "rb", follow: bool = False) -> BinaryIO:
    """Open a file of a folder that may come from elsewhere, if it is a plain one.

    A pipe would keep the reader waiting, a device may never end, and what is written through a link is written to
    another place, chosen by whoever made the folder. None of them is opened, not even for a moment.

    Args:
        path: of the file. Folders on the way to it may be links; `is_folder_no_link` says whether one is.
        mode: ``rb``; ``ab``, which makes the file if it is not there, and can also read.
        follow: whether a link to a plain file is read, as caches of downloads are made of; only with ``rb``.

    Raises:
        OSError: if it cannot be opened, or is no plain file.
    """
    if mode not in ("rb", "ab") or (follow and mode != "rb"):
        raise ValueError(f"mode must be 'rb' or 'ab', and links are only followed to read; not '{mode}'")
    flags = os.O_RDONLY if mode == "rb" else os.O_RDWR | os.O_APPEND | os.O_CREAT
    # Windows has neither flag, and neither pipes nor links in folders that are unpacked without special rights.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        # What POSIX says of a link; of a pipe that nobody reads or a socket.
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _not_regular(path, error.errno) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_regular(path, errno.EINVAL)
        return os.fdopen(descriptor, "rb" if mode == "rb" else "a+b")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int, follow: bool = False) -> bytes:
    """Return what a plain file holds; see `open_regular`.

    Args:
        path: of the file.
        most: bytes that it may have.
        follow: whether a link to a plain file is read.

    Raises:
        OSError: if it cannot be read, or is no plain file.
        ValueError: if it has more bytes.
    """
    with open_regular(path, follow=follow) as file:
        return read_at_most(file, most)


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """Return what is left of an opened file.

    Raises:
        ValueError: if it has more bytes.
    """
    # Python takes as much memory as a read asks for before it knows what is there: so no more than the file has.
    size = os.fstat(file.fileno()).st_size - file.tell()
    content = file.read(min(size, most) + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_end(path: Path, most: int) -> bytes:
    """Return the last bytes of a plain file, at most so many, from the beginning of a line on; see `open_regular`.

    Raises:
        OSError: if it cannot be read, or is no plain file.
    """
    with open_regular(path) as file:
        begin = max(0, file.seek(0, os.SEEK_END) - most)
        # One byte more tells whether the cut is just before a line.
        file.seek(max(0, begin - 1))
        content = file.read(most + (begin > 0))
    return content if not begin else content.partition(b"\n")[2]


def is_folder_no_link(path: Path) -> bool:
    """Say whether a path is a folder, and no link to one: what is removed or written in it stays where it seems."""
    return path.is_dir() and not path.is_symlink()


def _not_regular(path: Path, number: int) -> OSError:
    return OSError(
        number, "it is a link, a pipe or a device, and a run holds plain files only; copy what it points to", str(path)
    )


def own_folder(path: Path) -> Path:
    """Make a folder that is written in, if it is not there, and return it; a link to another place is refused.

    Raises:
        OSError: if it cannot be made, or is a link.
    """
    if path.is_symlink():
        raise OSError(
            errno.ELOOP,
            "it is a link to another place, and what is written here stays here; make it a folder",
            str(path),
        )
    make_folder(path)
    return path


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says, as `json.loads` does, if it is nested no deeper than what can be written again.

    Raises:
        ValueError: if it is no JSON, not UTF-8, or nested too deeply.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # A writer in Python gives up where the reader in C does not yet.
    level = _parts(found)
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _parts(whole)]
    if level:
        raise ValueError("it is nested too deeply")
    return found


def _parts(whole: Any) -> list[Any]:
    """Return the lists and objects in a list or an object."""
    inner = whole.values() if isinstance(whole, dict) else whole
    return [part for part in inner if isinstance(part, dict | list)] if isinstance(whole, dict | list) else []


def read_json(path: Path, most: int = MOST, follow: bool = False) -> Any:
    """Return what a plain file of JSON holds; see `open_regular`.

    Args:
        path: of the file.
        most: bytes that are read.
        follow: whether a link to a plain file is read.

    Raises:
        OSError: if it cannot be read, or is no plain file.
        ValueError: if it is larger, no JSON, not UTF-8, or nested too deeply.
    """
    return parse_json(read_regular(path, most, follow))


_SNAPSHOT = re.compile(r"step([0-9]{8,15})\.png")


def snapshots_in(folder: Path) -> dict[int, Path]:
    """Return the pictures of samples in a folder, ``step????????.png``, by their steps, in order."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found = [(int(match[1]), folder / match[0]) for name in names if (match := _SNAPSHOT.fullmatch(name))]
    return dict(sorted(found))
