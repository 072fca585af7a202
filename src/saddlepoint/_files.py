"""Files that are never seen half written, and JSON that nobody can choke on."""

from __future__ import annotations

import json
import os
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
