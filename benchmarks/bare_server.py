"""The floor of docs/serving.md: an application that answers always the same bytes, on the same uvicorn.

python benchmarks/bare_server.py FILE [--limits]     with the limits of connections that `saddle serve` has
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from saddlepoint.serve.address import listen
from saddlepoint.serve.wire import bounded


def main() -> None:
    """Serve one file until Ctrl-C."""
    content = Path(sys.argv[1]).read_bytes()
    headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"image/png")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    http: Any = bounded() if "--limits" in sys.argv else AutoHTTPProtocol
    config = uvicorn.Config(app, http=http, lifespan="off", log_level="error", access_log=False)
    listener, address = listen("127.0.0.1", 0)
    print(f"bare:     {address}  ", flush=True)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
