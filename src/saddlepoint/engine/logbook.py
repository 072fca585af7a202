"""The log while it is written: a full disk makes lines wait, it does not stop training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saddlepoint.engine.folder import RunFolder


class Logbook:
    """Appends lines to a run's log.

    Args:
        folder: of the run.
        warn: hears of lines that could not be written.
    """

    def __init__(self, folder: RunFolder, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        self.unwritten: list[Mapping[str, Any]] = []

    def add(self, *lines: Mapping[str, Any]) -> None:
        """Append lines, after those that wait."""
        self.unwritten.extend(lines)
        self.flush()

    def flush(self) -> None:
        """Append the waiting lines; a full disk makes them wait longer."""
        try:
            while self.unwritten:
                self.folder.append_log(self.unwritten[0])
                self.unwritten.pop(0)
        except OSError as error:
            self.warn(f"the log could not be written ({error.strerror}); training goes on")
