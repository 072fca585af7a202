"""Temporary folders for rows that are mapped, not held: removed with the last reference, or a day after a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
import weakref
from pathlib import Path

_PREFIX = "saddlepoint-rows-"
_ABANDONED_SECONDS = 24 * 3600


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left behind: temporary folders of this user that are a day old."""
    for path in folder.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if stat.S_ISDIR(status.st_mode) and own and time.time() - status.st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


class Scratch:
    """A temporary folder that is removed with the last reference to it."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        weakref.finalize(self, shutil.rmtree, str(self.path), ignore_errors=True)
