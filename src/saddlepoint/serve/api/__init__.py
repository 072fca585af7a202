"""A run that answers requests over HTTP, on this machine unless it is told otherwise."""

from __future__ import annotations

import gc
import os
import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.progress import Say
from saddlepoint.engine.machine.runtime import use_threads
from saddlepoint.export.service import Service
from saddlepoint.run.run import load
from saddlepoint.serve.address import API_PORT, listen

__all__ = ["TOKEN", "serve_run"]

TOKEN = "SADDLEPOINT_TOKEN"
"""Variable of the environment with the token; without it one is made up."""

_LOCAL = ("127.0.0.1", "localhost", "::1")


def serve_run(
    run: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = API_PORT,
    backend: str = "torch",
    batch: int = 32,
    device: str = "cpu",
    threads: int | str | None = None,
    waiting: int = 4096,
    origins: Sequence[str] = (),
    grace: float = 5.0,
    access_log: bool = False,
    say: Say = lambda line: None,
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
        origins: whose pages may read the answers, such as ``https://example.org``; ``*``: those of all.
        grace: seconds for requests at work, once the server is told to stop; what waits gets a 503.
        access_log: say a line for each answer.
        say: hears the address, and when the server begins to stop and has stopped.

    Raises:
        ConfigError: if the extra ``[serve]`` is not installed, an origin is none, or the port is taken, or as
            `Service`.
        CheckpointError: if the run cannot be loaded.
    """
    try:
        from saddlepoint.serve.api.access import Limits
        from saddlepoint.serve.api.app import LOOPBACK, make_app
        from saddlepoint.serve.api.timeouts import make_server
    except ImportError as error:
        raise ConfigError(
            f"serving needs packages that are not installed ({error.name}); run: pip install 'saddlepoint[serve]'"
        ) from error
    check_origins(origins)
    use_threads(threads)
    service = _service(run, device, backend, batch, say)
    listener, address = listen(host, port)
    local = host in _LOCAL
    token = os.environ.get(TOKEN) or (None if local else secrets.token_urlsafe(24))
    app = make_app(
        service, limits=Limits(waiting=waiting), hosts=LOOPBACK if local else None, token=token, origins=origins,
        access=say if access_log else None,
    )  # fmt: skip
    say(f"serving:  {address}   (a page to try it; {address}/openapi.json says what can be asked; Ctrl-C ends it)")
    if token is not None and not os.environ.get(TOKEN):
        say(f"token:    {token}   (Authorization: Bearer TOKEN; {TOKEN} sets it)")
    _answer_soon()
    with listener:
        make_server(app, grace=grace, say=say).run(sockets=[listener])


def _service(run: str | Path, device: str, backend: str, batch: int, say: Say) -> Service:
    """Return what samples, and knows which sizes of batches it may compute."""
    service = Service(load(run, device=device), backend, batch, say)
    service.try_sizes()
    return service


def _answer_soon() -> None:
    """Keep the interpreter from holding answers back."""
    # Every system call of the loop gives up the interpreter, and waits so long to get it back while rows are written as
    # JSON: five times the usual 5 ms for one answer of /health.
    sys.setswitchinterval(0.001)
    # What was imported stays: looking through all of it for garbage would stop every answer for a third of a second.
    gc.collect()
    gc.freeze()


def check_origins(origins: Iterable[str]) -> None:
    """Raise a `ConfigError` if words are no origin as browsers send it: scheme, host, port, nothing else."""
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin):
            raise ConfigError(
                f"the origin is '{origin}', but it must be as browsers send it, such as https://example.org or "
                "http://localhost:3000 (small letters, no path, no slash at the end), or * for all pages"
            )
