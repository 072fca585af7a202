"""Bytes in memory on behalf of clients: bodies that came, answers that are being read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

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


def paced(send: Send, share: Share, refuse: Callable[..., Awaitable[None]]) -> Send:
    """Return what sends an answer in pieces, each when the one before has left, or refuses it if there is no room.

    An answer that is handed over whole would lie in the buffer of its connection for as long as its client likes.
    """
    begun: Message | None = None
    refused = False

    async def sent(message: Message) -> None:
        nonlocal begun, refused
        if message["type"] == "http.response.start":
            begun = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if begun is not None:
            start, begun = begun, None
            if len(body) > PIECE and not share.grow(share.size + len(body)):
                refused = True
                await refuse(send, 503, "large answers are still being read by others; try again in a moment")
                return
            await send(start)
        if refused:
            return
        for place in range(0, max(1, len(body)), PIECE):
            last = place + PIECE >= len(body)
            await send({**message, "body": body[place : place + PIECE], "more_body": more or not last})
            if not last:
                await asyncio.sleep(0)

    return sent


__all__ = ["PIECE", "Flight", "Share", "paced"]
