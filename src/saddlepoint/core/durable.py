"""What is still there when the power has gone: bytes once their file was flushed, names once their folder was.

POSIX promises no more, and file systems differ in what else they keep (Pillai et al., All file systems are not created
equal, OSDI 2014). So whatever is said to be saved goes through here: contents first, then the names in their folder.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_UNKNOWN = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)
"""What file systems say that cannot flush folders, or folders that may be written but not read."""


def flush(path: Path) -> None:
    """Force the bytes of a file, or the names in a folder, to the disk; of folders, where the file system knows how.

    Raises:
        OSError: if it is not there, or the disk fails.
    """
    folder = path.is_dir()
    if folder and sys.platform == "win32":
        return  # folders cannot be opened there; NTFS keeps names in its journal
    try:
        descriptor = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not folder or error.errno not in _UNKNOWN:
            raise


def flush_tree(folder: Path) -> None:
    """Force all that is below a folder to the disk, and its names; links are left as they are.

    Raises:
        OSError: if the disk fails.
    """
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            flush_tree(path)
        elif path.is_file():
            flush(path)
    flush(folder)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, if they are not there; their names are on the disk then.

    Raises:
        OSError: if it cannot be made.
    """
    missing, at = list[Path](), path
    while not at.is_dir() and at != at.parent:
        missing.append(at)
        at = at.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        flush(made.parent)


def move_into_place(temporary: Path, final: Path) -> None:
    """Give a finished file or folder its name: after a loss of power it is there whole, or what was there before is.

    Args:
        temporary: in the same folder, written and closed.
        final: replaced, if it is a file, a link or an empty folder.

    Raises:
        OSError: if it cannot be renamed, or the disk fails.
    """
    if temporary.is_dir():
        flush_tree(temporary)
    else:
        flush(temporary)
    os.replace(temporary, final)
    flush(final.parent)
