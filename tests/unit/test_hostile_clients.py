"""Clients that want a server to fall: each limit of a connection, a request, an answer, over real sockets."""

from __future__ import annotations

import contextlib
import json
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from saddlepoint.export.service import Service
from saddlepoint.serve.address import peer_of
from saddlepoint.serve.api import responses
from saddlepoint.serve.api.access import Limits
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.flight import PIECE
from saddlepoint.serve.api.timeouts import make_server
from saddlepoint.serve.connections import ConnectionLimits, Crowd, most_connections
from saddlepoint.serve.wire import bounded
from tests.unit.serving import (
    HEAD,
    HOME,
    PARSERS,
    POST,
    Slow,
    api,
    client,
    closed,
    connected,
    heard,
    listening,
    run_of,
    said,
    talks_end,  # noqa: F401
    until,
)  # fmt: skip


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


def httpx_json(service: Service, body: Any) -> bytes:
    """Return an answer's content."""
    with client(service) as ask:
        content: bytes = ask("POST", "/v1/sample", json=body).content
    return content


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
