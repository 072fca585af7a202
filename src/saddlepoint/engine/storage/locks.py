"""Who works in a run folder: locks on files that go with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path
from typing import BinaryIO

from saddlepoint.core.files import open_regular, read_regular

LOCK, MEASURING = ".lock", ".measuring"
"""Files in the run folder of the process that trains it, and of the one that measures it."""

_MOST = 4096  # bytes of what stands in one
_PAUSES = (0.05, 0.05, 0.1)  # seconds between tries: who looks whether a folder is in use holds its lock for a moment


def take(file: BinaryIO, exclusive: bool = True) -> bool:
    """Lock an open file without waiting, and say whether it was to be had; where there are no locks, it always is."""
    # flock, not a file with a number in it: the system releases it however the process ends.
    if os.name != "posix":
        return True  # Windows: two processes in one folder are not noticed
    import fcntl

    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_soon(file: BinaryIO) -> bool:
    """Lock an open file for this process alone, and say whether it was to be had within a fifth of a second."""
    for pause in _PAUSES:
        if take(file):
            return True
        time.sleep(pause)
    return take(file)


def sign(file: BinaryIO, line: str = "") -> None:
    """Write into a lock that this process holds whose it is, and what it is at."""
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n{line}\n".rstrip("\n").encode()[: _MOST - 1] + b"\n")
        file.flush()


def holder(path: Path) -> tuple[int, str] | None:
    """Return the process that holds a lock, 0 if it is another machine's, and what it is at; None if none does."""
    try:
        with open_regular(path) as file:
            # Shared: two that look at once do not see each other. To be had means that nobody holds it.
            if take(file, exclusive=False):
                return None
            who, _, line = file.read(_MOST).decode(errors="replace").partition("\n")
    except OSError:
        return None
    return _process(who), line.strip()


def last_holder(path: Path) -> int:
    """Return the process that holds a lock, or held it last; 0 if it is another machine's, or none."""
    try:
        return _process(read_regular(path, _MOST).decode(errors="replace").partition("\n")[0])
    except (OSError, ValueError):
        return 0


def _process(text: str) -> int:
    """Return the number in the first line of a lock; 0 if it is another machine's, or none."""
    # A folder on a network drive: another machine's number says nothing about processes here.
    number, _, host = text.strip().partition(" ")
    return int(number) if re.fullmatch("[0-9]{1,9}", number) and host == socket.gethostname() else 0
