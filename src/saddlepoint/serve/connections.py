"""How many connections a server keeps, and what it allows each: limits, and who goes where too many wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONNECTIONS = 1024
"""Open connections at most, where the system allows as many open files."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What a server allows a connection, and all of them.

    Attributes:
        head: bytes of a request's head.
        line: bytes of its first line.
        fields: lines of the head.
        timeout: seconds from the connection, or the last answer, to a whole head; and before a reader is slow.
        rate: bytes a second that a client must read of an answer, once the timeout is over.
        upload: bytes a second that a client must send of a body, counted over each ``timeout``; 0: any. For a server
            whose bodies may take hours; others give them a time as a whole.
        waiting: connections of one client that wait for what it has to send.
        connections: of all clients together.
    """

    head: int = 64 * 1024
    line: int = 8 * 1024
    fields: int = 100
    timeout: float = 15.0
    rate: int = 64 * 1024
    upload: int = 0
    waiting: int = 64
    connections: int = CONNECTIONS


def most_connections() -> int:
    """Return how many connections there may be: half of the files that this process may open, `CONNECTIONS` at most."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if files == resource.RLIM_INFINITY else max(16, min(CONNECTIONS, files // 2))


class Crowd:
    """Connections that wait for their clients to send; where there are too many, who has waited longest has to go.

    Closing the oldest rather than refusing the newest keeps the door open for a client whose address others use to
    hold connections: it sends its head at once and leaves the crowd.

    Attributes:
        ending: whether the server is being stopped: each connection ends with its next answer.
    """

    def __init__(self, wire: ConnectionLimits) -> None:
        self.wire = wire
        self.ending = False
        self._all: dict[Any, str] = {}
        self._of: dict[str, dict[Any, None]] = {}

    def enter(self, one: Any, peer: str) -> None:
        """Count a connection."""
        self.leave(one)
        self._all[one] = peer
        mine = self._of.setdefault(peer, {})
        mine[one] = None
        if len(mine) > self.wire.waiting:
            self._dismiss(next(iter(mine)))

    def leave(self, one: Any) -> None:
        """Count a connection no more."""
        peer = self._all.pop(one, None)
        if peer is not None:
            self._of[peer].pop(one)
            if not self._of[peer]:
                del self._of[peer]

    def make_room(self, open_now: int) -> None:
        """Let the one go that has waited longest, if so many connections are too many."""
        if open_now > self.wire.connections and self._all:
            self._dismiss(next(iter(self._all)))

    def _dismiss(self, one: Any) -> None:
        self.leave(one)
        one.transport.close()
