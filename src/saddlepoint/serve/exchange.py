"""One request and its answer, as the connection sees them: whether the client is still there, what is sent at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["EXCHANGE", "Exchange", "Joined", "nobody"]

EXCHANGE = "saddlepoint.exchange"
"""Where a request's scope has its `Exchange`, under ``extensions``."""


class Exchange:
    """What the connection knows of a request, and ASGI would say in messages only.

    A task that waits for the message that a client has left, and a timer for a body that is there, would cost as much
    as all else that a small request needs.

    Attributes:
        left: whether the client has left before its answer was complete.
        whole: whether all of the request's body has come.
        hears: called when the client leaves.
    """

    __slots__ = ("hears", "left", "whole")

    def __init__(self) -> None:
        self.left = self.whole = False
        self.hears: Callable[[], object] = nobody

    def leave(self) -> None:
        """Note that the client has left."""
        self.left = True
        self.hears()


def nobody() -> object:
    """Hear nothing."""
    return None


class Joined:
    """What an answer is written to: its head waits for the first piece of its body, and both are sent at once.

    Args:
        transport: of the connection.
        loop: in whose next turn a head is sent for which no body came.
    """

    __slots__ = ("_held", "_loop", "_transport", "begins", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._held, self.begins = transport, loop, b"", True
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Hold what comes first of an answer, and send it with what comes next."""
        if self.begins:
            self._held, self.begins = data, False
            self._loop.call_soon(self.flush)
        else:
            if self._held:
                data, self._held = self._held + data, b""
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()
