"""Files that are never seen half written, and JSON that nobody can choke on."""

from __future__ import annotations

import json
import os
import stat
import uuid
from pathlib import Path
from typing import Any

MOST = 64 * 1024**2
"""Bytes of a JSON file that is read: descriptions are a thousandth of it."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part: temporary file, fsync, rename.

    Args:
        path: of the file; its folder must be there.
        content: text, which is written as UTF-8, or bytes.
    """
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


def read_json(path: Path, most: int = MOST) -> Any:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        most: bytes that are read.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is larger, no JSON, not UTF-8, or nested too deeply.
    """
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes, which no description has")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
