"""Servers of untrained generators for tests, within this process and behind a socket, and clients of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saddlepoint.export.service import Service
from saddlepoint.run.run import Run
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.timeouts import make_server
from saddlepoint.serve.connections import ConnectionLimits
from tests.contract.presets import untrained

HOME = "http://127.0.0.1"


CASES = [
    ("gan", "mnist"), ("gan", "mnist-inpainting"), ("cgan", "mnist-2014"), ("dcgan", "small-conditional"),
    ("timegan", "increments"), ("stylegan", "tiny-32"),
]  # fmt: skip
"""Without and with labels, dropout's draws, convolutions, sequences, styles with noise."""


def run_of(name: str, preset: str) -> Run:
    """Return an untrained run."""
    family, dataset = untrained(name, preset)
    data = {"modality": dataset.modality, "shape": list(dataset.spec.shape), "classes": list(dataset.spec.classes)}
    config = {"family": name, "data": data}
    return Run(Path("made"), config, family, 1, True)


@contextlib.contextmanager
def client(service: Service, **options: Any) -> Iterator[Any]:
    """Yield what asks the application without a socket."""
    app = make_app(service, **options)

    async def asked(method: str, path: str, **words: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME) as http:
            return await http.request(method, path, **words)

    yield lambda method, path, **words: asyncio.run(asked(method, path, **words))
    app.state.server.batcher.close()


class Slow(Service):
    """Computes only when it is let."""

    def __init__(self, run: Run, batch: int) -> None:
        super().__init__(run, batch=batch)
        self.gate, self.computed = threading.Event(), list[int]()

    def compute(self, parts: Any) -> list[np.ndarray]:
        self.gate.wait(20)
        self.computed.append(sum(len(part) for part in parts))
        return super().compute(parts)


@contextlib.contextmanager
def served(app: Any, server: Any) -> Iterator[int]:
    """Let a server run in a thread while the block lasts; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)
        app.state.server.batcher.close()


PARSERS = [H11Protocol, HttpToolsProtocol]


HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


POST = b"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def listening(server: uvicorn.Server) -> Iterator[int]:
    """Let a server run in a thread; give its port. Its sockets hold little, so that who reads slowly is seen soon."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


@contextlib.contextmanager
def api(
    service: Service, wire: ConnectionLimits | None = None, base: Any = HttpToolsProtocol, **options: Any
) -> Iterator[tuple[int, Any]]:
    """Serve over a socket; give port and application."""
    app = make_app(service, **options)
    with listening(make_server(app, grace=0.2, wire=wire, base=base)) as port:
        yield port, app
    app.state.server.batcher.close()


TALKS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def talks_end() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    for talk in TALKS:
        talk.close()
    TALKS.clear()


def connected(port: int, words: bytes = b"", small: bool = False) -> socket.socket:
    """Return a connection over which something was said."""
    talk = socket.socket()
    TALKS.append(talk)
    if small:
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    talk.settimeout(10)
    talk.connect(("127.0.0.1", port))
    with contextlib.suppress(OSError):
        talk.sendall(words)
    return talk


def heard(talk: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := talk.recv(65536):
            parts.append(part)
    talk.close()
    return b"".join(parts)


def said(port: int, words: bytes) -> bytes:
    """Return the whole answer to some words, after which the server has closed."""
    return heard(connected(port, words))


def closed(talk: socket.socket, seconds: float = 0.05) -> bool:
    """Say whether the server has closed a connection over which nothing was to be read."""
    talk.settimeout(seconds)
    try:
        return talk.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def until(true: Any, seconds: float = 10.0) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())
