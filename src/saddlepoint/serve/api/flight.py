"""Bytes in memory on behalf of clients: bodies that came, answers that are being read."""

from __future__ import annotations

from collections import Counter

PIECE = 64 * 1024
"""Bytes that are sent at once, and up to which nothing is counted: the number of connections bounds these."""


class Flight:
    """Counts the bytes of all requests together, and of each client: one may have half of them.

    Args:
        most: bytes at once.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self.of: Counter[str] = Counter()

    def share(self, peer: str) -> Share:
        """Return a request's share, for a ``with`` block that takes it back at its end."""
        return Share(self, peer)


class Share:
    """What one request has of a `Flight`."""

    __slots__ = ("flight", "peer", "size")

    def __init__(self, flight: Flight, peer: str) -> None:
        self.flight, self.peer, self.size = flight, peer, 0

    def __enter__(self) -> Share:
        """Begin with nothing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Give all of it back."""
        if self.size:
            self.grow(0)

    def grow(self, size: int) -> bool:
        """Take so many bytes in all, or give back; say whether there was room."""
        more = size - self.size
        of = self.flight.of
        if more > 0 and (self.flight.taken + more > self.flight.most or of[self.peer] + more > self.flight.most // 2):
            return False
        self.size = size
        self.flight.taken += more
        of[self.peer] += more
        if not of[self.peer]:
            del of[self.peer]
        return True


__all__ = ["PIECE", "Flight", "Share"]
