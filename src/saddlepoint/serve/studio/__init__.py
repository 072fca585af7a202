"""The studio: runs, generators, trainings and the lab in a browser, on this machine."""

from __future__ import annotations

import secrets
from pathlib import Path

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.progress import Say
from saddlepoint.engine.machine.runtime import use_threads
from saddlepoint.serve.address import STUDIO_PORT, listen

__all__ = ["open_studio"]


def open_studio(
    runs: str | Path = "runs",
    *,
    host: str = "127.0.0.1",
    port: int = STUDIO_PORT,
    show: bool = True,
    say: Say = lambda line: None,
) -> None:
    """Serve the studio until it is interrupted.

    Args:
        runs: folder of runs.
        host: address to listen at; other machines can reach it only if it is not a loopback address, and then a token
            is asked for.
        port: to listen at; 0: any that is free.
        show: open it in the browser.
        say: hears the address.

    Raises:
        ConfigError: if the extra ``[studio]`` is not installed, or the port is taken.
    """
    try:
        import uvicorn  # noqa: F401 - what is below imports it only once

        from saddlepoint.serve.studio.app import LOOPBACK, make_app
        from saddlepoint.serve.studio.server import make_server
    except ImportError as error:
        raise ConfigError(
            f"the studio needs packages that are not installed ({error.name}); run: pip install 'saddlepoint[studio]'"
        ) from error
    listener, address = listen(host, port)
    token = None if host in LOOPBACK else secrets.token_urlsafe(16)
    address += f"/?token={token}" if token else "/"
    # Pictures of one sample and games on a line: more threads would only take them from trainings.
    use_threads(1)
    app = make_app(runs, host, token)
    say(f"studio:   {address}   (Ctrl-C ends it; trainings go on)")
    if show:
        import webbrowser

        webbrowser.open(address)
    with listener:
        make_server(app).run(sockets=[listener])
