"""The HTTP server itself, which does not wait for ever for clients that say nothing, or say it a byte at a time."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

CONNECTIONS = 1024
"""Open connections beyond which requests are answered with 503."""


GRACE = 5.0
"""Seconds that requests at work get to end in when the server is stopped; a container's own limit is often 10."""


def make_server(
    app: Any, patience: float = 15.0, grace: float = GRACE, say: Callable[[str], None] = lambda line: None
) -> uvicorn.Server:
    """Return the server of an application.

    When it is told to stop, it takes no new connection, answers with 503 what waits, lets what is at work end within
    the grace, and then answers the rest with 503, too.

    Args:
        app: that answers requests, as `make_app` makes it.
        patience: seconds for the head of a request to arrive in, from the connection or from its first byte on; also
            between requests.
        grace: seconds for requests at work, once the server is told to stop.
        say: hears when it begins to stop, and when it has.
    """

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport
        cycle: Any
        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.waiting = self.loop.call_later(patience, self.transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self.stop_waiting()
            elif self.waiting is None:
                self.waiting = self.loop.call_later(patience, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self.stop_waiting()
            super().connection_lost(exc)

        def stop_waiting(self) -> None:
            if self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None

    batcher = app.state.server.batcher

    class Graceful(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            rows = f"{batcher.waiting:,} rows wait or are computed"
            say(f"stopping: {rows}; requests at work have {grace:g} s, the others get a 503")
            batcher.turn_away()
            timer = asyncio.get_running_loop().call_later(grace, batcher.abandon)
            await super().shutdown(sockets)
            timer.cancel()
            say("stopped")

    # A second beyond the grace, for the last answers to be sent; then connections are cut.
    config = uvicorn.Config(
        app, http=Patient, ws="none", log_level="warning", access_log=False, timeout_keep_alive=int(patience),
        limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=math.ceil(grace) + 1,
    )  # fmt: skip
    return Graceful(config)
