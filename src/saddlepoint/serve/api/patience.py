"""The HTTP server itself, which does not wait for ever for clients that say nothing, or say it a byte at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

CONNECTIONS = 1024
"""Open connections beyond which requests are answered with 503."""


def make_server(app: Any, patience: float = 15.0) -> uvicorn.Server:
    """Return the server of an application.

    Args:
        app: that answers requests.
        patience: seconds for the head of a request to arrive in, from the connection or from its first byte on; also
            between requests.
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

    return uvicorn.Server(
        uvicorn.Config(
            app, http=Patient, ws="none", log_level="warning", access_log=False, timeout_keep_alive=int(patience),
            limit_concurrency=CONNECTIONS,
        )
    )  # fmt: skip
