"""Clients that want a server to fall: each limit of a connection, a request, an answer, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import select
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
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saddlepoint.core.errors import DataError
from saddlepoint.data import inputs, read_picture
from saddlepoint.export.service import Service
from saddlepoint.run.run import Run
from saddlepoint.serve.address import peer_of
from saddlepoint.serve.api import responses
from saddlepoint.serve.api.access import Limits
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.flight import PIECE
from saddlepoint.serve.api.timeouts import make_server
from saddlepoint.serve.connections import ConnectionLimits, Crowd, most_connections
from saddlepoint.serve.wire import bounded
from tests.unit.test_serve import HOME, Slow, client, run_of

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
def _talks_end() -> Iterator[None]:
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


@pytest.fixture(scope="module")
def digits() -> Service:
    return Service(run_of("cgan", "mnist"), batch=8)


@pytest.fixture(scope="module")
def painter() -> Service:
    return Service(run_of("stargan", "tiny-32"), batch=8)


@pytest.fixture(scope="module", params=PARSERS)
def port(request: pytest.FixtureRequest, digits: Service) -> Iterator[int]:
    """Return the port of a server, once with each parser that uvicorn may have."""
    with api(digits, ConnectionLimits(timeout=3.0), request.param) as (number, _):
        yield number


# The head of a request, before host, token and path are looked at.


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: a\r\n" * 101 + b"\r\n", 431),
        (HEAD + b"X: a\r\n" * 20_000, 431),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414),
        (b"GET /health?" + b"a" * 90_000, 414),
        (b"A" * 70_000, 414),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", 411),
        (POST + b"transfer-encoding : gzip, chunked\r\nContent-Length: 2\r\n\r\n{}", 411),
        (b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (2 * b"\r\n" + HEAD + b"\r\n", 400),
        (100_000 * b"\r\n", 400),
        (b"\n" + HEAD + b"\r\n", 400),
    ],
)
def test_a_head_beyond_its_limits_is_refused(port: int, words: bytes, status: int) -> None:
    answer = said(port, words)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1") == 1
    assert status == 400 or b"x-content-type-options: nosniff\r\n" in answer
    assert httpx.get(f"{HOME}:{port}/health").status_code == 200


def test_a_head_within_its_limits_is_read(port: int) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (k, b"a" * 600) for k in range(98))
    assert said(port, HEAD + b"Connection: close\r\n" + fields + b"\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_head_at_a_limit_is_read_and_one_beyond_it_is_not(port: int, beyond: int) -> None:
    wire, close = ConnectionLimits(), b"Connection: close\r\n"
    start, end = b"GET /health?", b" HTTP/1.1\r\n"
    line = start + b"a" * (wire.line - len(start) - len(end) + beyond) + end
    assert said(port, line + b"Host: 127.0.0.1\r\n" + close + b"\r\n").startswith(b"HTTP/1.1 414") is bool(beyond)
    head = HEAD + close + b"X: \r\n\r\n"
    head = head.replace(b"X: ", b"X: " + b"a" * (wire.head - len(head) + beyond))
    assert said(port, head).startswith(b"HTTP/1.1 431") is bool(beyond)
    known = (HEAD + close).count(b"\r\n") - 1
    fields = HEAD + close + b"X: a\r\n" * (wire.fields - known + beyond) + b"\r\n"
    assert said(port, fields).startswith(b"HTTP/1.1 431") is bool(beyond)


def test_one_blank_line_before_a_request_is_passed_over(port: int) -> None:
    """RFC 9112, 2.2; some clients end a body with one. Also where its halves come one after the other."""
    one = HEAD + b"\r\n"
    answer = said(port, b"\r\n" + one + b"\r\n" + HEAD + b"Connection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"200"]
    talk = connected(port, b"\r")
    time.sleep(0.05)
    talk.sendall(b"\n" + HEAD + b"Connection: close\r\n\r\n")
    assert heard(talk).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("base", PARSERS)
def test_a_head_is_not_gathered_beyond_its_limit(digits: Service, base: Any) -> None:
    """A megabyte that never ends: refused after 64 KiB, however it is cut up."""
    with api(digits, base=base) as (port, _):
        talk, sent = connected(port, HEAD), 0
        while sent < 1_000_000:
            with contextlib.suppress(OSError):
                talk.sendall(b"X: " + b"a" * 997)
            sent += 1000
            if select.select([talk], [], [], 0.001)[0]:
                break
        assert sent < 1_000_000
        assert talk.recv(12) == b"HTTP/1.1 431"


def test_requests_that_are_sent_at_once_are_answered_one_after_the_other(port: int) -> None:
    words = b"".join(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % k for k in range(300))
    answer = said(port, words + HEAD + b"Connection: close\r\n\r\n")
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", answer)
    assert statuses == [b"404"] * 300 + [b"200"]


@pytest.mark.parametrize("base", PARSERS)
def test_only_one_request_of_a_connection_is_taken_up(base: Any) -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    body = b'{"n":1}'
    one = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with api(slow, base=base) as (port, app):
        talk = connected(port, one * 50)
        assert until(lambda: app.state.server.batcher.waiting == 1)
        time.sleep(0.1)
        assert app.state.server.batcher.waiting == 1
        # What follows is not read without end, either.
        talk.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 20_000_000:
                sent += talk.send(one * 1000)
        assert sent < 20_000_000
        slow.gate.set()
        talk.close()


def test_an_upgrade_is_not_heard(port: int) -> None:
    asked = b"Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    asked += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert said(port, HEAD + asked + b"\r\n").startswith(b"HTTP/1.1 200 ")
    asked += b"Content-Length: 7\r\n\r\n" + b'{"n":1}'
    assert said(port, POST + asked).startswith(b"HTTP/1.1 200 ")


def test_a_body_is_asked_for_only_if_it_may_come(port: int) -> None:
    talk = connected(port, POST + b"Expect: 100-continue\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
    assert talk.recv(1000).startswith(b"HTTP/1.1 100 ")
    talk.sendall(b'{"n":1}')
    assert heard(talk).startswith(b"HTTP/1.1 200 ")
    answer = said(port, POST + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    answer = said(
        port, POST.replace(b"127.0.0.1", b"evil.example") + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 421 ")


def test_a_body_of_a_question_without_one_is_bounded_too(port: int) -> None:
    assert said(port, HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nabcd").startswith(b"HTTP/1.1 200 ")
    assert said(port, HEAD + b"Content-Length: 65537\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert said(port, HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")[9:12] in (b"413", b"400")


def test_rubbish_writes_no_log(digits: Service, capfd: pytest.CaptureFixture[str]) -> None:
    for base in PARSERS:
        with api(digits, base=base) as (port, _):
            for words in (b"\x16\x03\x01\r\n\r\n", HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"):
                connected(port, words).close()
            assert httpx.get(f"{HOME}:{port}/health").status_code == 200
    assert capfd.readouterr().err == ""


# Connections.


@pytest.mark.parametrize("base", PARSERS)
def test_silent_connections_shut_nobody_out(digits: Service, base: Any) -> None:
    with api(digits, ConnectionLimits(waiting=16), base) as (port, _):
        silent = [connected(port, b"GET" * (k % 2)) for k in range(24)]
        # A body that does not come is waited for no less than a head.
        silent += [connected(port, POST + b"Content-Length: 9\r\n\r\n") for _ in range(24)]
        assert httpx.get(f"{HOME}:{port}/health", timeout=10).status_code == 200
        assert until(lambda: all(closed(talk) for talk in silent[:32])), "the oldest are not closed"
        assert not any(closed(talk, 0.01) for talk in silent[-15:])


def test_connections_of_all_clients_together_are_bounded(digits: Service) -> None:
    with api(digits, ConnectionLimits(waiting=1000, connections=20)) as (port, _):
        silent = [connected(port) for _ in range(60)]
        assert httpx.get(f"{HOME}:{port}/health", timeout=10).status_code == 200
        assert until(lambda: sum(closed(talk, 0.001) for talk in silent) >= 40)


def test_a_client_is_an_address_or_a_network() -> None:
    assert peer_of(("10.0.0.7", 5)) == "10.0.0.7" == peer_of(("::ffff:10.0.0.7", 5))
    assert peer_of(("2001:db8::1", 5)) == peer_of(("2001:db8:0:0:9::9", 6)) != peer_of(("2001:db8:0:1::1", 5))
    assert peer_of(None) == ""
    assert 16 <= most_connections() <= 1024


def test_who_waits_longest_goes_first() -> None:
    class Talk:
        def __init__(self) -> None:
            self.transport, self.open = self, True

        def close(self) -> None:
            self.open = False

    crowd, talks, other = Crowd(ConnectionLimits(waiting=2)), [Talk() for _ in range(3)], Talk()
    crowd.enter(other, "b")
    for talk in talks[:2]:
        crowd.enter(talk, "a")
    crowd.enter(talks[0], "a")  # was answered, and waits anew
    crowd.enter(talks[2], "a")
    assert [talk.open for talk in (*talks, other)] == [True, False, True, True]
    crowd.leave(talks[0])
    crowd.leave(talks[0])
    crowd.enter(talks[1], "a")
    assert talks[2].open


# Slow readers.


def _buffered(server: uvicorn.Server) -> int:
    return sum(one.transport.get_write_buffer_size() for one in list(server.server_state.connections))


@pytest.mark.parametrize("base", PARSERS)
def test_who_reads_slowly_costs_little_and_is_cut(digits: Service, base: Any) -> None:
    app = make_app(digits)
    server = make_server(app, grace=0.2, wire=ConnectionLimits(timeout=1.0, rate=1_000_000), base=base)
    body = b'{"n":256,"format":"json"}'
    words = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with listening(server) as port:
        slow = connected(port, words * 5, small=True)
        assert until(lambda: _buffered(server) > 0)
        assert _buffered(server) <= 3 * PIECE, "the whole answer lies in the buffer of the connection"
        end = time.monotonic() + 15
        while server.server_state.connections and time.monotonic() < end:
            with contextlib.suppress(OSError):
                slow.recv(1)
            time.sleep(0.05)
        assert not server.server_state.connections, "a client may read as slowly as it likes"
        slow.close()
        assert httpx.get(f"{HOME}:{port}/health").status_code == 200
    app.state.server.batcher.close()


def test_who_reads_an_answer_steadily_gets_it_whole(digits: Service) -> None:
    body = b'{"n":256,"format":"json"}'
    words = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with api(digits, ConnectionLimits(timeout=0.5, rate=100_000)) as (port, _):
        talk, parts = connected(port, words, small=True), []
        start = time.monotonic()
        while part := talk.recv(20_000):
            parts.append(part)
            if time.monotonic() - start < 2:  # about 400 kB/s, for longer than the timeout
                time.sleep(0.05)
        head, _, content = b"".join(parts).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(content)["shape"] == [256, 1, 16, 16]


def test_answers_that_are_being_read_have_a_total(digits: Service) -> None:
    body = b'{"n":256,"format":"json"}'
    words = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    size = len(httpx_json(digits, json.loads(body)))
    assert size > 4 * PIECE
    # One client may have half of it all.
    with api(digits, ConnectionLimits(timeout=2.0), limits=Limits(flight=5 * size)) as (port, _):
        slow = [connected(port, words, small=True) for _ in range(2)]
        for talk in slow:
            assert talk.recv(15) == b"HTTP/1.1 200 OK"
        url = f"{HOME}:{port}/v1/sample"
        refused = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=20)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "large answers are still being read" in refused.json()["detail"]
        assert httpx.post(url, json={"n": 1}, timeout=20).status_code == 200, "small answers wait for nobody"
        for talk in slow:
            talk.close()

        def again() -> bool:
            return httpx.post(url, json=json.loads(body), timeout=20).status_code == 200

        assert until(again), "what was taken is not given back"


def httpx_json(service: Service, body: Any) -> bytes:
    """Return an answer's content."""
    with client(service) as ask:
        content: bytes = ask("POST", "/v1/sample", json=body).content
    return content


def test_numbers_are_written_a_few_thousand_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 50, 70)).astype(np.float32)
    x[1, 0, :, 3] = np.nan
    whole = json.loads("".join(responses._texts(x, False)))
    assert np.array_equal(np.array(whole, dtype=np.float32), x, equal_nan=True)
    sizes, plain = list[int](), responses._to_json

    def noted(part: np.ndarray, images: bool) -> list[Any]:
        sizes.append(part.size)
        return plain(part, images)

    monkeypatch.setattr(responses, "_to_json", noted)
    "".join(responses._texts(x, False))
    assert max(sizes) <= 4096
    assert sum(sizes) == x.size


# Bodies.


def test_a_body_is_small_unless_it_holds_pictures(digits: Service, painter: Service) -> None:
    padded = b'{"n": 1}' + b" " * 70_000
    said_json = {"content-type": "application/json"}
    with client(digits) as ask:
        assert ask("POST", "/v1/sample", content=padded, headers=said_json).status_code == 413
        assert ask("POST", "/v1/translate", content=padded[:60_000], headers=said_json).status_code == 404
        assert ask("GET", "/health").json()["limits"]["body"] == 65_536
    with client(painter) as ask:
        assert ask("GET", "/health").json()["limits"]["body"] == 8 * 1024**2
        assert ask("GET", "/health", content=padded).status_code == 413


def test_a_thousand_fields_are_one_error(digits: Service) -> None:
    with client(digits) as ask:
        answer = ask("POST", "/v1/sample", json={f"x{k}": k for k in range(5000)})
        wanted = "5000 things are asked for, but a request has at most 16"
        assert (answer.status_code, answer.json()["detail"]) == (422, wanted)
        answer = ask("GET", "/v1/sample?" + "&".join(f"x{k}=1" for k in range(1000)))
        assert (answer.status_code, answer.json()["detail"]) == (422, wanted.replace("5000", "1000"))


def test_a_body_with_a_million_numbers_is_not_parsed(painter: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, loads = list[int](), json.loads

    def noted(text: Any, **words: Any) -> Any:
        parsed.append(len(text))
        return loads(text, **words)

    monkeypatch.setattr(json, "loads", noted)
    headers = {"content-type": "application/json"}
    bodies = [
        b'{"pictures":[' + b"0," * 100_000 + b"0]}",
        b"{" + b",".join(b'"%d":0' % k for k in range(20_000)) + b"}",
    ]
    with client(painter) as ask:
        for body in bodies:
            answer = ask("POST", "/v1/translate", content=body, headers=headers)
            assert answer.status_code == 422
            assert "the body lists more than 1,000 things" in answer.content.decode()
    assert not [size for size in parsed if size > 100_000]


@pytest.mark.parametrize("base", PARSERS)
def test_bodies_in_memory_have_a_total(painter: Service, base: Any) -> None:
    head = POST.replace(b"sample", b"translate") + b"Content-Length: 1000000\r\n\r\n"
    with api(painter, base=base, limits=Limits(flight=2_000_000, seconds=3.0)) as (port, app):
        flight = app.state.server.flight
        held = [connected(port, head + b" " * 450_000) for _ in range(2)]
        assert until(lambda: flight.taken >= 900_000)
        third = connected(port, head + b" " * 450_000)
        assert third.recv(12) == b"HTTP/1.1 503"
        third.close()
        assert httpx.get(f"{HOME}:{port}/health").status_code == 200
        for talk in held:
            talk.close()
        assert until(lambda: flight.taken == 0), "what was taken is not given back"
        assert not flight.of


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"label": "\\ud800"}', "there is no class"),
        (b'{"\\ud800": 1}', ""),
        (b'{"format": "\\ud800"}', "format is"),
        (b'{"seed": ' + b"9" * 4300 + b"}", "seed is"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"label": ' + b"9" * 4300 + b"}", "there is no class"),
        (b'{"' + b"a" * 60_000 + b'": 1}', "to ask for"),
        (b"[" * 60_000, "no JSON"),
        (b'{"n":' * 10_000, "no JSON"),
    ],
)
def test_odd_json_is_refused_in_words(digits: Service, body: bytes, words: str) -> None:
    with client(digits) as ask:
        answer = ask("POST", "/v1/sample", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        assert words in answer.json()["detail"]
        assert len(answer.json()["detail"]) < 500


@pytest.mark.parametrize("query", ["seed=--5", "seed=%E2%81%B5", "seed=%D9%A3%D9%A3x", "n=-", "seed=%ff", "label=%00"])
def test_odd_numbers_in_an_address_are_refused_in_words(digits: Service, query: str) -> None:
    with client(digits) as ask:
        assert ask("GET", f"/v1/sample?{query}").status_code == 422


def test_a_method_of_any_length_is_not_repeated(digits: Service) -> None:
    lines: list[str] = []
    with api(digits, base=H11Protocol, access=lines.append) as (port, _):
        method = b"A" * 5000
        answer = said(port, method + b" /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert len(answer) < 1000
    assert len(lines[0]) < 200


# Who asks.


def test_a_token_is_taken_whatever_the_letters_of_its_scheme(digits: Service) -> None:
    with client(digits, token="secret", hosts=None) as ask:
        for given_words, status in (
            ("bearer secret", 200), ("BEARER   secret", 200), ("Bearer secret ", 200), ("secret", 401),
            ("Basic secret", 401), ("Bearer", 401), ("Bearer Secret", 401), ("Bearer ", 401),
        ):  # fmt: skip
            answer = ask("GET", "/metrics", headers={"authorization": given_words})
            assert answer.status_code == status, given_words


def test_hosts_of_both_families_are_read(digits: Service) -> None:
    with client(digits) as ask:
        for host, status in (
            ("[::1]", 200), ("[::1]:8018", 200), ("LOCALHOST", 200), ("127.0.0.1:", 200), ("127.0.0.1:1:2", 421),
            ("[::1", 421), ("::1", 421), ("127.0.0.1@evil.example", 421), ("evil.example:127.0.0.1", 421),
            ("[::1].evil.example", 421), ("127.0.0.1:80.evil.example", 421),
        ):  # fmt: skip
            assert ask("GET", "/health", headers={"host": host}).status_code == status, host


def test_a_request_names_one_host(digits: Service) -> None:
    for base in PARSERS:
        with api(digits, base=base) as (port, _):
            answer = said(
                port, b"GET /health HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 400 ")


# Pictures.


def flat(width: int, height: int, kind: str = "PNG") -> bytes:
    """Return a picture of one colour, which is small however many pixels it has."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, kind)
    return file.getvalue()


def in_base64(*files: bytes) -> list[str]:
    return [base64.b64encode(file).decode() for file in files]


def test_large_pictures_are_refused_before_anything_waits_for_them(
    painter: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr(inputs, "decode", lambda *words: decoded.append(words))
    small, large = flat(16, 16), flat(4100, 4100)
    with client(painter) as ask:
        answer = ask("POST", "/v1/translate", json={"pictures": in_base64(small, large)})
        assert answer.status_code == 422
        assert "picture 1 declares 4,100x4,100 pixels, and at most 16,000,000 are taken" in answer.json()["detail"]
        answer = ask("POST", "/v1/translate", json={"pictures": in_base64(*[flat(4000, 3000)] * 6)})
        assert answer.status_code == 422
        assert "72,000,000 pixels together, but at most 64,000,000" in answer.json()["detail"]
        assert "saddlepoint_batches_total 0" in ask("GET", "/metrics").text
    assert not decoded


@pytest.mark.parametrize("kind", ["EPS", "JPEG2000", "TGA", "PPM"])
def test_only_usual_kinds_of_pictures_are_taken_from_strangers(painter: Service, kind: str) -> None:
    with client(painter) as ask:
        answer = ask("POST", "/v1/translate", json={"pictures": in_base64(flat(16, 16, kind))})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("picture 0 ")
    for usual in sorted(inputs.STRANGERS - {"MPO"}):
        assert read_picture(flat(16, 16, usual), "x", (1, 8, 8), most_pixels=256).shape == (1, 8, 8)


def test_a_jpeg_of_strangers_is_decoded_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.mgrid[0:960, 0:1280]
    file = io.BytesIO()
    Image.fromarray(np.stack([rows / 4, columns / 5, rows * 0 + 90], 2).astype(np.uint8)).save(file, "JPEG", quality=95)
    sizes, decode = list[tuple[int, int]](), inputs.decode

    def noted(image: Any, *words: Any) -> Any:
        sizes.append(image.size)
        return decode(image, *words)

    monkeypatch.setattr(inputs, "decode", noted)
    whole = read_picture(file.getvalue(), "x", (3, 32, 32))
    part = read_picture(file.getvalue(), "x", (3, 32, 32), most_pixels=1280 * 960)
    assert sizes == [(1280, 960), (160, 120)]
    assert np.abs(whole.astype(int) - part).max() <= 3
    with pytest.raises(DataError, match="x declares 1,280x960 pixels, and at most 1,228,799"):
        read_picture(file.getvalue(), "x", (3, 32, 32), most_pixels=1280 * 960 - 1)


# Clients that go away.


@pytest.mark.parametrize("base", PARSERS)
def test_nothing_is_computed_for_who_is_gone(base: Any) -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    body = b'{"n":4}'
    words = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with api(slow, base=base) as (port, app):
        batcher = app.state.server.batcher
        talks = [connected(port, words) for _ in range(6)]
        assert until(lambda: batcher.waiting == 24)
        for talk in talks:
            talk.close()
        assert until(lambda: not app.state.server.batcher._open), "requests of who is gone still wait"
        slow.gate.set()
        assert httpx.post(f"{HOME}:{port}/v1/sample", json={"n": 4}, timeout=20).status_code == 200
        # One was at work already.
        assert sum(slow.computed) <= 8
        assert 'status="499"} 6' in httpx.get(f"{HOME}:{port}/metrics").text


def test_pictures_of_who_is_gone_are_not_read(painter: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    read, gate = list[str](), threading.Event()
    original = Run.read_pictures

    def slowly(self: Run, files: Any, **words: Any) -> Any:
        read.extend(name for name, _ in files)
        gate.wait(20)
        return original(self, files, **words)

    monkeypatch.setattr(Run, "read_pictures", slowly)
    body = json.dumps({"pictures": in_base64(*[flat(16, 16)] * 5)}).encode()
    with api(painter) as (port, app):
        talk = connected(port, POST.replace(b"sample", b"translate") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert until(lambda: read)
        talk.close()
        assert until(lambda: not app.state.server.batcher._open)
        gate.set()
        assert until(lambda: app.state.server.batcher.waiting == 0)
    assert read == ["picture 0"]


# The studio has the same limits, and its live connection.


def test_the_studio_has_the_limits_of_connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from saddlepoint.serve import studio
    from saddlepoint.serve.studio import app as pages

    configs: list[Any] = []

    class Server:
        def __init__(self, config: Any) -> None:
            configs.append(config)

        def run(self, sockets: Any) -> None:
            pass

    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr(pages, "make_app", lambda *words: None)
    studio.open_studio(tmp_path, port=0, show=False)
    assert isinstance(configs[0].http.wire, ConnectionLimits)
    assert configs[0].http.wire.upload > 0


@pytest.mark.parametrize("base", PARSERS)
def test_a_body_comes_at_a_pace(base: Any) -> None:
    """By bytes since the last look, not by the time of all."""

    async def size(scope: Any, receive: Any, send: Any) -> None:
        length, more = 0, True
        while more and (message := await receive())["type"] == "http.request":
            length, more = length + len(message["body"]), message["more_body"]
        if not more:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"%4d" % length})

    wire = ConnectionLimits(timeout=0.3, upload=1000)
    config = uvicorn.Config(size, http=bounded(wire, base), lifespan="off", log_level="error")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n"
    with listening(uvicorn.Server(config)) as port:
        steady, slow = connected(port, head), connected(port, head)
        for _ in range(10):
            steady.sendall(b"a" * 400)
            with contextlib.suppress(OSError):
                slow.sendall(b"a")
            time.sleep(0.1)
        assert heard(steady).endswith(b"4000")
        assert heard(slow) == b""


@pytest.mark.parametrize("base", PARSERS)
def test_a_live_connection_outlives_the_timeout(base: Any) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})

    config = uvicorn.Config(echo, http=bounded(ConnectionLimits(timeout=0.3), base), lifespan="off", log_level="error")
    asked = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    asked += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with listening(uvicorn.Server(config)) as port:
        talk = connected(port, asked)
        assert talk.recv(2000).startswith(b"HTTP/1.1 101 ")
        time.sleep(0.6)
        talk.sendall(b"\x81\x82\x00\x00\x00\x00hi")
        assert talk.recv(100) == b"\x81\x02hi"
        talk.close()


def test_the_flight_is_shared() -> None:
    from saddlepoint.serve.api.flight import Flight

    flight = Flight(100)
    with flight.share("a") as one, flight.share("a") as two, flight.share("b") as three:
        assert one.grow(40)
        assert not two.grow(20), "one client has half at most"
        assert two.grow(10)
        assert three.grow(50)
        assert not three.grow(51)
        assert flight.taken == 100
        assert one.grow(0)
        assert two.grow(50)
    assert (flight.taken, flight.of) == (0, {})
