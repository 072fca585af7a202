"""The HTTP server itself: when it stops, and what it allows a connection (`saddlepoint.serve.connections`)."""

from __future__ import annotations

import asyncio
import math
import select
import socket
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from saddlepoint.core.progress import Say
from saddlepoint.serve.connections import ConnectionLimits, most_connections
from saddlepoint.serve.wire import bounded

GRACE = 5.0
"""Seconds that requests at work get to end in when the server is stopped; a container's own limit is often 10."""

_MOST_TAKING = 0.5
"""Seconds in which connections are taken that were made before the server was stopped; others may go on coming."""


def make_server(
    app: Any,
    timeout: float = 15.0,
    grace: float = GRACE,
    say: Say = lambda line: None,
    wire: ConnectionLimits | None = None,
    base: type[asyncio.Protocol] = AutoHTTPProtocol,
) -> uvicorn.Server:
    """Return the server of an application.

    When it is told to stop, it takes no new connection, answers with 503 what waits, lets what is at work end within
    the grace, and then answers the rest with 503, too.

    Args:
        app: that answers requests, as `make_app` makes it.
        timeout: seconds for the head of a request to arrive in, from the connection or from its first byte on; also
            between requests.
        grace: seconds for requests at work, once the server is told to stop.
        say: hears when it begins to stop, and when it has.
        wire: limits of connections; None: the usual ones, with this timeout.
        base: uvicorn's protocol, by h11 or by httptools.
    """
    wire = wire or ConnectionLimits(timeout=timeout, connections=most_connections())

    batcher, http = app.state.server.batcher, bounded(wire, base)

    class Graceful(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            rows = f"{batcher.waiting:,} rows wait or are computed"
            say(f"stopping: {rows}; requests at work have {grace:g} s, the others get a 503")
            batcher.turn_away()
            # Of all connections, also of those that are made just now and that uvicorn will not know of.
            http.crowd.ending = True
            await _taken(sockets or [])
            timer = asyncio.get_running_loop().call_later(grace, batcher.abandon)
            await super().shutdown(sockets)
            timer.cancel()
            say("stopped")

    # A second beyond the grace, for the last answers to be sent; then connections are cut.
    # Warnings would be lines that strangers write: one for each request that is none.
    config = uvicorn.Config(
        app, http=http, ws="none", log_level="error", access_log=False,
        timeout_keep_alive=math.ceil(wire.timeout), timeout_graceful_shutdown=math.ceil(grace) + 1,
    )  # fmt: skip
    return Graceful(config)


async def _taken(sockets: list[socket.socket]) -> None:
    """Wait until connections that the system has made already are taken: their requests may be here, too.

    What is left when a listening socket is closed is reset. The loop takes one connection a turn.
    """
    end = time.monotonic() + _MOST_TAKING
    while time.monotonic() < end and select.select(sockets, [], [], 0)[0]:
        await asyncio.sleep(0)
