"""The studio's live connections and heads over real sockets: what is odd, huge or silent ends itself, nothing else."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nicegui import core
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from saddlepoint.serve.address import listen
from saddlepoint.serve.connections import ConnectionLimits
from saddlepoint.serve.studio import gate
from saddlepoint.serve.studio.app import make_app
from saddlepoint.serve.studio.server import make_server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Return host and port of a studio that is really served, with a short timeout."""
    listener, address = listen("127.0.0.1", 0)
    server = make_server(make_app(tmp_path), ConnectionLimits(timeout=1.0))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    yield address.removeprefix("http://")
    server.should_exit = True
    thread.join(20)
    listener.close()


LIVE = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def asked(place: str, sent: bytes, seconds: float = 5.0) -> bytes:
    """Send bytes, and return all that comes back until the other side closes."""
    host, port = place.split(":")
    heard = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as line:
        line.sendall(sent)
        while piece := line.recv(65536):
            heard += piece
    return heard


def test_heads_and_silent_connections_have_limits(served: str) -> None:
    """B2, W18: for the studio as for the API."""
    head = f"GET / HTTP/1.1\r\nHost: {served}\r\n".encode()
    assert asked(served, head + b"X: " + b"x" * 70_000).startswith(b"HTTP/1.1 431 ")
    assert asked(served, b"GET /" + b"x" * 9000).startswith(b"HTTP/1.1 414 ")
    assert asked(served, head) == b"", "closed after the timeout"


def test_a_live_connection_outlasts_the_timeout_of_heads(served: str) -> None:
    with connect(f"ws://{served}{LIVE}", origin=Origin(f"http://{served}")) as line:
        assert str(line.recv(5)).startswith("0{")
        time.sleep(2.5)
        line.send("40")
        assert str(line.recv(5)).startswith("40{")
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{served}{LIVE}", origin=Origin("http://evil.example")).close()
    assert refused.value.response.status_code == 403


ODD_MESSAGES = [
    "", "x", "9", "4", "42", "4\u0662", "40/none,", "42[]", "42{}", "42[1]", '42["event"]', '42["event",{}]',
    '42["event",5]', '42["event",{"client_id":{}}]', '42["javascript_response",{"client_id":"x"}]', '42["log",{}]',
    '42["handshake",[]]', '42["ack",{"client_id":null}]', "42" + "[" * 50_000, '42["disconnect"]', "44{}", "43[]",
    "41", "1", "5", "2" * 1000, '42["event",{"client_id":"x","id":"__class__","args":[]}]',
]  # fmt: skip


@contextmanager
def greeted(place: str) -> Iterator[Any]:
    """Hold a live connection at which a page can begin to speak."""
    with connect(f"ws://{place}{LIVE}", origin=Origin(f"http://{place}")) as line:
        line.recv(5)
        line.send("40")
        assert str(line.recv(5)).startswith("40{")
        yield line


def heard(line: Any) -> None:
    """Wait until the studio has looked at all that was sent: it says so of a last message."""
    line.send('427["ack",{"client_id":"x"}]')
    while not str(line.recv(5)).startswith("437"):
        pass


def test_live_connections_beyond_a_number_are_refused(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_LINES", len(core.sio.eio.sockets) + 1)
    with greeted(served):
        with pytest.raises(InvalidStatus), greeted(served):
            pass
        head = f"GET {LIVE.replace('websocket', 'polling')} HTTP/1.1\r\nHost: {served}\r\nConnection: close\r\n\r\n"
        assert asked(served, head.encode()).startswith(b"HTTP/1.1 503")


def test_odd_messages_leave_the_studio_as_it_is(served: str, caplog: pytest.LogCaptureFixture) -> None:
    with greeted(served) as line:
        heard(line)
    caplog.clear()  # the framework starts again what pages of earlier tests in this process left to be started
    for message in ODD_MESSAGES:
        with greeted(served) as line:
            line.send(message)
    with greeted(served) as line:
        heard(line)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    head = f"GET /lab HTTP/1.1\r\nHost: {served}\r\nConnection: close\r\n\r\n"
    assert asked(served, head.encode()).startswith(b"HTTP/1.1 200")


def test_bytes_are_not_gathered_without_an_end(served: str) -> None:
    """A message may say that ten thousand million pieces follow, each of a megabyte; all would be kept."""
    with greeted(served) as line:
        line.send('459999999999-["event",{}]')
        for _ in range(20):
            line.send(bytes(100_000))
        heard(line)
        assert core.sio._binary_packet == {}


def test_a_huge_message_ends_its_connection(served: str) -> None:
    with greeted(served) as line:
        with pytest.raises(ConnectionClosed):
            sent_and_heard(line, "4" + "x" * (gate.MOST_MESSAGE + 1))
        assert line.close_code == 1009


def sent_and_heard(line: Any, message: str) -> None:
    """Send a message, and hear until the other side closes."""
    line.send(message)
    while True:
        line.recv(5)
