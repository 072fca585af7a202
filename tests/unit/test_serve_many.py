"""Many clients at once: a queue that is full, requests that fail, a server that is stopped, clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import io
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError
from saddlepoint.export.service import Rows, Service
from saddlepoint.serve.api.access import Limits
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.batching import Batcher, Ending, Full
from saddlepoint.serve.api.timeouts import make_server
from tests.unit.serving import (
    HOME,
    Slow,
    client,
    run_of,
    served,
)


@pytest.fixture(scope="module")
def digits() -> Service:
    return Service(run_of("cgan", "mnist"), batch=8)


def test_who_asks_a_server_that_is_being_stopped_is_told_at_once(digits: Service) -> None:
    """Not only when what is computed now is done."""
    slow = Slow(run_of("cgan", "mnist"), batch=8)
    batcher = Batcher(slow)

    async def scenario() -> None:
        def ask(n: int) -> Any:
            return batcher.submit(n, lambda: slow.rows(n, seed=n), lambda samples: samples)

        first = asyncio.create_task(ask(3))
        await asyncio.sleep(0.05)
        batcher.turn_away()
        with pytest.raises(Ending):
            await asyncio.wait_for(ask(1), 5)
        slow.gate.set()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(scenario())
    batcher.close()


def test_a_full_queue_refuses_and_recovers() -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    batcher = Batcher(slow, most_waiting=8)

    async def scenario() -> None:
        def ask(n: int) -> Any:
            return batcher.submit(n, lambda: slow.rows(n, seed=n), lambda samples: samples)

        first = [asyncio.create_task(ask(n)) for n in (3, 5)]
        await asyncio.sleep(0.05)
        with pytest.raises(Full):
            await ask(1)
        slow.gate.set()
        assert [len(x) for x in await asyncio.gather(*first)] == [3, 5]
        assert len(await ask(8)) == 8

    asyncio.run(scenario())
    assert batcher.waiting == 0
    assert sum(slow.computed) == 16
    assert max(slow.computed) <= 4
    batcher.close()


def _stopped(grace: float, opened: bool) -> tuple[list[int], list[str], float]:
    """Stop a server with one request at work and two that wait; return statuses, what it said, and the seconds."""
    slow, said = Slow(run_of("gan", "mnist"), 4), list[str]()
    app = make_app(slow)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(3) as pool:
        server = make_server(app, grace=grace, say=said.append)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
        thread.start()
        address, batcher = f"{HOME}:{listener.getsockname()[1]}", app.state.server.batcher
        while not server.started:
            time.sleep(0.01)
        asked = []
        for n in (6, 5, 3):
            asked.append(pool.submit(httpx.post, f"{address}/v1/sample", json={"n": n}, timeout=30))
            wanted = batcher.waiting + n
            while batcher.waiting < wanted and not asked[-1].done():
                time.sleep(0.01)
        start, server.should_exit = time.monotonic(), True
        while not said:
            time.sleep(0.01)
        if opened:
            slow.gate.set()
        statuses = [one.result().status_code for one in asked]
        thread.join(20)
        seconds = time.monotonic() - start
    assert not thread.is_alive()
    slow.gate.set()
    batcher.close()
    return statuses, said, seconds


def test_a_server_that_is_stopped_ends_what_is_at_work_and_turns_away_what_waits() -> None:
    statuses, said, _ = _stopped(grace=20, opened=True)
    assert statuses == [200, 503, 503]
    assert said[0].startswith("stopping: ")
    assert said[-1] == "stopped"


def test_a_server_that_is_stopped_waits_no_longer_than_its_grace() -> None:
    statuses, said, seconds = _stopped(grace=0.3, opened=False)
    assert statuses == [503, 503, 503]
    assert "requests at work have 0.3 s" in said[0]
    assert seconds < 10


def test_a_request_that_fails_harms_no_other() -> None:
    service = Service(run_of("gan", "mnist"), batch=4)
    batcher = Batcher(service)

    def broken() -> Rows:
        raise ConfigError("there is no such class")

    async def scenario() -> list[Any]:
        good = [batcher.submit(2, lambda: service.rows(2), lambda x: x) for _ in range(2)]
        bad = batcher.submit(3, broken, lambda x: x)
        worse = batcher.submit(1, lambda: service.rows(1), lambda x: 1 / 0)
        return await asyncio.gather(good[0], bad, worse, good[1], return_exceptions=True)

    first, second, third, fourth = asyncio.run(scenario())
    assert isinstance(second, ConfigError)
    assert isinstance(third, ZeroDivisionError)
    assert np.array_equal(first, fourth)
    assert batcher.waiting == 0
    batcher.close()


def test_one_client_has_half_of_the_queue() -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    batcher = Batcher(slow, most_waiting=8)

    async def scenario() -> None:
        def ask(n: int, peer: str) -> Any:
            return batcher.submit(n, lambda: slow.rows(n, seed=n), lambda samples: samples, peer)

        tasks = [asyncio.create_task(ask(n, "a")) for n in (2, 2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Full, match="4 rows are waiting for you already, and one client may have half"):
            await ask(1, "a")
        tasks.append(asyncio.create_task(ask(4, "b")))
        await asyncio.sleep(0.05)
        with pytest.raises(Full, match="8 rows are waiting already"):
            await ask(1, "c")
        slow.gate.set()
        assert [len(x) for x in await asyncio.gather(*tasks)] == [2, 2, 4]
        assert len(await ask(6, "a")) == 6, "more than half where none of one's own wait"

    asyncio.run(scenario())
    assert (batcher.waiting, batcher._of) == (0, {})
    batcher.close()


def test_a_request_beyond_the_limit_is_computed_where_nothing_waits() -> None:
    service = Service(run_of("gan", "mnist"), batch=4)
    batcher = Batcher(service, most_waiting=2)
    found = asyncio.run(batcher.submit(6, lambda: service.rows(6), lambda samples: samples))
    assert len(found) == 6
    batcher.close()


def test_what_nobody_foresaw_counts_as_an_error_of_the_server(digits: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(digits) as ask:
        monkeypatch.setattr(digits, "rows", lambda *words: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask("POST", "/v1/sample", json={"n": 1})
        assert 'path="/v1/sample",status="500"} 1' in ask("GET", "/metrics").text


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return a real server's address."""
    app = make_app(Service(run_of("cgan", "mnist"), batch=8), limits=Limits(seconds=2.0))
    with served(app, make_server(app, timeout=2.0)) as port:
        yield f"{HOME}:{port}"


def test_many_clients_get_what_one_gets(address: str) -> None:
    with httpx.Client(base_url=address, timeout=30) as http, ThreadPoolExecutor(12) as pool:

        def ask(seed: int) -> bytes:
            return http.post("/v1/sample", json={"n": 2, "seed": seed, "format": "npz"}).content

        alone = [ask(seed) for seed in range(24)]
        together = list(pool.map(ask, range(24)))
    arrays = [[np.load(io.BytesIO(content))["x"] for content in contents] for contents in (alone, together)]
    assert all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def test_clients_that_hang_cut_off_or_send_rubbish_do_no_harm(address: str) -> None:
    place = address.removeprefix("http://").split(":")
    head = (
        b"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    )
    words = [
        b"",
        b"POST /v1/sample HTT",
        head,
        head + b'{"n"',
        b"\x16\x03\x01" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
    ]
    held = []
    for content in words * 4:
        talk = socket.create_connection((place[0], int(place[1])))
        with contextlib.suppress(OSError):
            talk.sendall(content)
        held.append(talk)
    for talk in held[::2]:
        # Gone with a reset, in the middle of what they said.
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        talk.close()
    try:
        assert httpx.post(f"{address}/v1/sample", json={"n": 4}, timeout=30).status_code == 200
        late = held[3]
        late.settimeout(10)
        assert b"408" in late.recv(1000), "a body that never comes is waited for without end"
        for silent in (held[1], held[7]):
            silent.settimeout(10)
            assert silent.recv(1000) == b"", "a head that never comes is waited for without end"
    finally:
        for talk in held[1::2]:
            talk.close()
    assert "saddlepoint_waiting_rows 0" in httpx.get(f"{address}/metrics").text


def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(address: str) -> None:
    place = address.removeprefix("http://").split(":")
    whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection((place[0], int(place[1]))) as talk:
        talk.settimeout(10)
        # The first request is answered: the timeout is of each head, not with the connection.
        talk.sendall(whole)
        assert b"200 OK" in talk.recv(4000)
        ended = False
        for byte in whole * 4:
            with contextlib.suppress(ConnectionError):
                talk.sendall(bytes([byte]))
            if ended := bool(select.select([talk], [], [], 0.1)[0]):
                break
        assert ended, "a head that takes longer than the timeout is still being read"
        with contextlib.suppress(ConnectionError):
            assert talk.recv(100) == b""
