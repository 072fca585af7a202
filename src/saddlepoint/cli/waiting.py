"""The one line that tells of the command at hand while it is not ready to say anything else."""

from __future__ import annotations

from saddlepoint.core.waiting import StatusLine

_CURRENT: list[StatusLine] = []


def began(quiet: bool) -> StatusLine:
    """Return what tells of a command that has just been given."""
    _CURRENT[:] = [StatusLine(quiet=quiet)]
    return _CURRENT[0]


def said() -> None:
    """Take note that the command has said something."""
    for line in _CURRENT:
        line.stop()
