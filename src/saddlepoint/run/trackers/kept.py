"""``trackers.json`` of a run folder: which trackers a run is logged to, and how far each of them is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from saddlepoint.core.files import read_json, write_atomically
from saddlepoint.run.trackers.names import TRACKERS

FILE = "trackers.json"
"""File of a run folder."""

_MOST = 64 * 1024
_WRITING = threading.Lock()


@dataclass
class Sent:
    """How far one tracker is.

    Attributes:
        identity: by which it knows the run.
        step, event: of the last line of the log that it has.
        remedies: number of the last change of a remedy that it has.
        picture: step of the last picture that it has.
    """

    identity: str = ""
    step: int = -1
    event: str = ""
    remedies: int = 0
    picture: int = -1

    @property
    def place(self) -> tuple[int, str]:
        """Where the last line stands in the order of a log, as `content.place_of`."""
        return self.step, self.event


def read_sent(folder: Path) -> dict[str, Sent]:
    """Return how far the trackers of a run are, by their names; nothing of a file that is not there, or damaged."""
    try:
        kept = read_json(folder / FILE, _MOST)
        return {name: _sound(kept[name]) for name in TRACKERS if name in kept}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _sound(kept: Mapping[str, object]) -> Sent:
    """Return an entry, if all of it is what this program wrote: the folder may come from elsewhere."""
    found = Sent(**kept)  # type: ignore[arg-type]
    for name, value in asdict(Sent()).items():
        if type(getattr(found, name)) is not type(value):
            raise TypeError(f"{name} is {str(getattr(found, name))[:60]!r}")
    return found


def keep_sent(folder: Path, name: str, sent: Sent) -> None:
    """Note how far a tracker is; a disk that is full loses the note, and lines are sent twice after a resume."""
    with _WRITING, contextlib.suppress(OSError):
        kept = {**{key: asdict(value) for key, value in read_sent(folder).items()}, name: asdict(sent)}
        write_atomically(folder / FILE, json.dumps(kept, indent=1) + "\n")


def forget(folder: Path) -> None:
    """Let a run be logged to no tracker any more."""
    (folder / FILE).unlink(missing_ok=True)
