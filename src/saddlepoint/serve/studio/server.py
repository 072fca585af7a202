"""The studio's HTTP server: the limits of connections that the API has, and small messages."""

from __future__ import annotations

import math
from typing import Any

import uvicorn

from saddlepoint.serve.connections import ConnectionLimits, most_connections
from saddlepoint.serve.studio.gate import MOST_MESSAGE
from saddlepoint.serve.wire import bounded

UPLOAD = 1024
"""Bytes a second that a file must come in at least."""


def make_server(app: Any, wire: ConnectionLimits | None = None) -> uvicorn.Server:
    """Return the server of the studio.

    Args:
        app: that answers requests, as `make_app` makes it.
        wire: limits of connections; None: the usual ones.
    """
    wire = wire or ConnectionLimits(connections=most_connections(), upload=UPLOAD)
    # Uncompressed messages: what unfolds to a thousand times its bytes is never unfolded.
    config = uvicorn.Config(
        app, http=bounded(wire), log_level="error", access_log=False, server_header=False,
        timeout_keep_alive=math.ceil(wire.timeout), ws_max_size=MOST_MESSAGE, ws_per_message_deflate=False,
    )  # fmt: skip
    return uvicorn.Server(config)
