"""What a tracker is to a run: a few calls, in the order of the log. Names are those of `names.tracker_names`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saddlepoint.run.trackers.content import Setting


@dataclass(frozen=True)
class Destination:
    """Which run is logged, and where it went before.

    Attributes:
        folder: of the run.
        identity: by which the tracker knew this run before; "": it did not.
        since: step after which lines follow now, -1 before the first; None: nothing that is there is made again.
    """

    folder: Path
    identity: str = ""
    since: int | None = None


class Tracker:
    """A tracker at work on one run; any of the calls may raise whatever its package raises.

    Args:
        destination: which run.

    Attributes:
        identity: by which it knows the run again.
        takes_back: whether what was sent for later steps goes when a run goes on from an earlier one. Where it does
            not, the same lines are not sent twice, and what a remedy made anew stands after what it gave up.
    """

    takes_back = False

    def __init__(self, destination: Destination) -> None:
        self.identity = destination.identity

    def settings(self, found: Mapping[str, Setting]) -> None:
        """Keep hyper-parameters; those that it has already stay as they are."""
        raise NotImplementedError

    def numbers(self, step: int, found: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        raise NotImplementedError

    def note(self, step: int, name: str, text: str) -> None:
        """Keep a text of a step; the last one of a name is what stands."""
        raise NotImplementedError

    def picture(self, step: int, name: str, path: Path) -> None:
        """Keep a PNG file of a step."""
        raise NotImplementedError

    def take_back(self, step: int) -> None:
        """Forget what came after a step; asked of those that do."""

    def close(self, state: str) -> None:
        """Send what is left; ``state``: finished, interrupted or failed."""
        raise NotImplementedError
