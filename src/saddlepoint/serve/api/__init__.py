"""A run that answers requests over HTTP, on this machine unless it is told otherwise."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from saddlepoint._errors import ConfigError
from saddlepoint.engine.runtime import use_threads
from saddlepoint.run import load
from saddlepoint.serve.address import listen
from saddlepoint.service import Service

__all__ = ["TOKEN", "serve_run"]

TOKEN = "SADDLEPOINT_TOKEN"
"""Variable of the environment with the token; without it one is made up."""

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve_run(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8018,
    backend: str = "torch",
    batch: int = 32,
    device: str = "cpu",
    threads: int | str | None = None,
    waiting: int = 4096,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve a run until it is interrupted.

    Args:
        run: run folder, export of weights, or ``hf:owner/name``.
        host: address to listen at; if other machines can reach it, a token is asked for.
        port: to listen at; 0: any that is free.
        backend: torch, or onnx.
        batch: rows that are computed at once.
        device: of the networks, for torch.
        threads: of the CPU; None: all cores.
        waiting: rows that may wait; beyond them requests are refused with 429.
        say: hears the address.

    Raises:
        ConfigError: if the extra ``[serve]`` is not installed, or the port is taken, or as `Service`.
        CheckpointError: if the run cannot be loaded.
    """
    try:
        from saddlepoint.serve.api.app import LOOPBACK, make_app
        from saddlepoint.serve.api.guard import Limits
        from saddlepoint.serve.api.patience import make_server
    except ImportError as error:
        raise ConfigError(
            f"serving needs packages that are not installed ({error.name}); run: pip install 'saddlepoint[serve]'"
        ) from error
    use_threads(threads)
    service = Service(load(run, device=device), backend, batch, say)
    listener, address = listen(host, port)
    local = host in _LOCAL
    token = os.environ.get(TOKEN) or (None if local else secrets.token_urlsafe(24))
    app = make_app(service, limits=Limits(waiting=waiting), hosts=LOOPBACK if local else None, token=token)
    say(f"serving:  {address}   ({address}/openapi.json says what can be asked; Ctrl-C ends it)")
    if token is not None and not os.environ.get(TOKEN):
        say(f"token:    {token}   (Authorization: Bearer TOKEN; {TOKEN} sets it)")
    with listener:
        make_server(app).run(sockets=[listener])
