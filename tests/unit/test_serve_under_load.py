"""What makes the server fast changes no answer: the short way, smaller batches, batches near the loop, stopping."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.images.write import png
from saddlepoint.export.service import Rows, Service
from saddlepoint.serve.api import timeouts
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.batching import Batcher, Ending, Full
from saddlepoint.serve.api.timeouts import make_server
from saddlepoint.serve.connections import ConnectionLimits
from saddlepoint.serve.exchange import Joined
from saddlepoint.serve.wire import bounded
from tests.unit.serving import (
    CASES,
    HEAD,
    HOME,
    PARSERS,
    Slow,
    connected,
    heard,
    listening,
    run_of,
    talks_end,  # noqa: F401
)


@pytest.fixture(scope="module")
def digits() -> Service:
    return Service(run_of("cgan", "mnist"), batch=8)


def near(service: Service) -> Service:
    """Return the service as one whose batches take a millisecond."""
    service.seconds = 0.001
    return service


# The short way.


def asked(app: Any, method: str, path: str, **words: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME) as http:
            return await http.request(method, path, **words)

    return asyncio.run(ask())


JSON = {"content-type": "application/json"}
BODIES: list[tuple[bytes, dict[str, str]]] = [
    (b'{"n": 2, "seed": 3, "format": "png", "label": "b"}', JSON),
    (b'{"seed": 3, "seed": 4, "format": "png"}', JSON),
    (b'{"n": 1.0, "seed": 3.0}', JSON),
    ('{"seed": 3, "label": "b"}'.encode("utf-16"), JSON),
    (b'\xef\xbb\xbf{"seed": 3}', JSON),
    (b'{"seed": 3}', {"content-type": "application/json; charset=utf-8"}),
    (b'{"seed": 3}', {"content-type": "Application/JSON ;charset=latin-1"}),
    (b'{"seed": 3}', {"content-type": "application/problem+json"}),
    (b'{"seed": 3}', {"content-type": "text/plain"}),
    (b'{"seed": 3}', {}),
    (b'{"seed": NaN}', JSON),
    (b'{"n": Infinity}', JSON),
    (b'{"n": true}', JSON),
    (b'{"seed": "3"}', JSON),
    (b'{"label": "\\ud800"}', JSON),
    (b'{"label": 1}', JSON),
    (b'{"label": null}', JSON),
    (b'{"path": "/etc/passwd"}', JSON),
    (b"{}", JSON),
    (b"", JSON),
    (b"[]", JSON),
    (b"null", JSON),
    (b'{"n": 300}', JSON),
    (b'{"n": 1}x', JSON),
    (b"[" * 2000, JSON),
]
QUERIES = [
    "", "seed=3&n=2&label=b", "seed=3&seed=4", "label=", "n", "n=+2", "n=%32", "seed=3&format=npz&label=2", "n=2.0",
    "n=2.5", "n=0", "seeds=3", "seed=%ff", "seed=\xb2", "&&&", "seed=3;n=2", "n=2&truncation=0.5", "label=b%00",
]  # fmt: skip


def alike(one: httpx.Response, other: httpx.Response) -> None:
    assert one.status_code == other.status_code
    assert one.headers["content-type"] == other.headers["content-type"]
    assert one.headers["content-length"] == other.headers["content-length"]
    same = one.content == other.content
    if not same and one.content[:2] == b"PK":  # a zip has the time in it
        arrays = [dict(np.load(io.BytesIO(answer.content))) for answer in (one, other)]
        same = all(np.array_equal(arrays[0][name], arrays[1][name]) for name in ("x", "labels"))
    assert same


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_short_way_answers_as_the_framework_does(digits: Service, method: str) -> None:
    short, long = make_app(digits), make_app(digits)
    taken, way = [0], short.app.endpoints  # type: ignore[attr-defined]
    answer = way[method, "/v1/sample"].answer

    async def counted(*words: Any) -> Any:
        taken[0] += 1
        return await answer(*words)

    way[method, "/v1/sample"] = type(way[method, "/v1/sample"])(way[method, "/v1/sample"].model, counted)
    long.app = long.app.app  # type: ignore[attr-defined]
    if method == "POST":
        for body, headers in BODIES:
            alike(*(asked(app, "POST", "/v1/sample", content=body, headers=headers) for app in (short, long)))
    else:
        for query in QUERIES:
            alike(*(asked(app, "GET", f"/v1/sample?{query}") for app in (short, long)))
    assert taken[0] >= 4, "the short way was not taken"
    for app in (short, long):
        app.state.server.batcher.close()


def test_series_take_the_short_way_as_text() -> None:
    app = make_app(Service(run_of("timegan", "increments"), batch=4))
    answer = asked(app, "POST", "/v1/series", json={"n": 2})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    app.state.server.batcher.close()


@pytest.mark.parametrize(("name", "preset"), [("cgan", "mnist"), ("timegan", "increments"), ("stargan", "tiny-32")])
def test_examples_of_the_description_are_answered(name: str, preset: str) -> None:
    app = make_app(Service(run_of(name, preset), batch=4))
    schema, found = asked(app, "GET", "/openapi.json").json(), 0
    for path, operations in schema["paths"].items():
        if "post" in operations:
            body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            for example in schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["examples"]:
                assert asked(app, "POST", path, json=example).status_code == 200, (path, example)
                found += 1
    assert found
    app.state.server.batcher.close()


# Smaller batches.


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_smaller_batches_have_the_same_bits(name: str, preset: str) -> None:
    service = Service(run_of(name, preset), batch=8)
    wanted = service.rows(8, seed=5)
    (whole,) = service.compute([wanted])
    service.try_sizes()
    assert service.sizes[-1] == 8
    assert 0 < service.seconds < 60
    for n in (1, 2, 3, 5, 8):
        (few,) = service.compute([service.rows(n, seed=5)])
        assert np.array_equal(few, whole[:n], equal_nan=True), f"{n} rows have other bits in {service.sizes}"


def test_a_size_that_adds_in_another_order_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the last bit of a few numbers of one row differs in batches of 4."""
    service, honest = Service(run_of("gan", "mnist"), batch=8), Service._samples

    def planted(self: Service, tensors: Any) -> np.ndarray:
        found = honest(self, tensors)
        if len(found) == 4:
            found[3, ..., 0, :2] = np.nextafter(found[3, ..., 0, :2], np.float32(2))
        return found

    monkeypatch.setattr(Service, "_samples", planted)
    service.try_sizes()
    assert 4 not in service.sizes
    assert service.sizes[-1] == 8


def test_translators_and_classes_are_tried_too() -> None:
    for name, preset in (("stargan", "tiny-32"), ("cgan", "mnist")):
        service = Service(run_of(name, preset), batch=4)
        service.try_sizes()
        assert service.sizes[-1] == 4


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_a_few_inputs_are_the_first_of_many(name: str, preset: str) -> None:
    run = run_of(name, preset)
    for seed in (0, 7):
        many = run.inputs(40, seed=seed)
        for n in (1, 3, 16, 17):
            assert torch.equal(run.inputs(n, seed=seed), many[:n])


# Batches in the thread of the loop.


def test_batches_near_the_loop_are_those_of_the_thread() -> None:
    run = run_of("cgan", "mnist")
    apps = [make_app(Service(run, batch=8)), make_app(near(Service(run, batch=8)))]

    async def all_of(app: Any) -> list[bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME) as http:
            paths = [f"/v1/sample?seed={seed}&n={n}&format=png" for seed in range(6) for n in (1, 3, 70)]
            return [answer.content for answer in await asyncio.gather(*map(http.get, paths))]

    far, close = (asyncio.run(all_of(app)) for app in apps)
    assert far == close
    for app in apps:
        assert app.state.server.batcher.waiting == 0
        app.state.server.batcher.close()


def test_small_requests_wait_behind_no_large_ones() -> None:
    slow = near(Slow(run_of("gan", "mnist"), 4))
    threads: list[str] = []

    def noted(parts: Any) -> Any:
        threads.append(threading.current_thread().name)
        if threads[-1] == "batches":
            slow.gate.wait(20)
        return Service.compute(slow, parts)

    slow.compute = noted  # type: ignore[method-assign]
    batcher = Batcher(slow, near=True)
    prepared = threading.Event()

    def prepare(n: int) -> Rows:
        prepared.wait(20)
        return slow.rows(n)

    async def scenario() -> None:
        large = asyncio.create_task(batcher.submit(8, lambda: prepare(8), lambda x: x))
        await asyncio.sleep(0.05)
        small = await asyncio.wait_for(batcher.submit(1, lambda: slow.rows(1), lambda x: x, small=True), 10)
        assert len(small) == 1
        assert not large.done()
        prepared.set()
        slow.gate.set()
        assert len(await large) == 8

    asyncio.run(scenario())
    assert threads[0] != "batches"
    assert threads[1:] == ["batches", "batches"]
    batcher.close()


@pytest.mark.parametrize("small", [False, True])
def test_clients_take_turns(small: bool) -> None:
    """Who asks for much waits behind itself: a request of another client comes after the one that is at work."""
    slow = Slow(run_of("gan", "mnist"), 4)
    slow.gate.set()
    batcher, order = Batcher(slow, near=True), list[str]()

    async def ask(name: str, n: int) -> None:
        await batcher.submit(n, lambda: slow.rows(n), lambda x: order.append(name), name[0], small)

    async def scenario() -> None:
        if not small:
            slow.gate.clear()
        first = [asyncio.create_task(ask(f"a{k}", 4)) for k in range(5)]
        await asyncio.sleep(0 if small else 0.05)
        second = [asyncio.create_task(ask(f"{name}{k}", 2)) for k in range(2) for name in "bc"]
        await asyncio.sleep(0 if small else 0.05)
        slow.gate.set()
        await asyncio.gather(*first, *second)

    asyncio.run(scenario())
    assert [name for name in order if name[0] == "a"] == ["a0", "a1", "a2", "a3", "a4"]
    assert order.index("a0") == 0
    assert {"b0", "c0"} <= set(order[:4]), order
    assert {"b1", "c1"} <= set(order[:6]), order
    assert (batcher.waiting, batcher._next, batcher._of) == (0, {}, {})
    batcher.close()


def test_near_the_loop_failures_limits_and_endings_are_those_of_the_thread() -> None:
    service = near(Service(run_of("gan", "mnist"), batch=4))
    batcher = Batcher(service, most_waiting=8, near=True)

    def broken() -> Rows:
        raise ConfigError("there is no such class")

    async def scenario() -> None:
        def ask(n: int, prepare: Any = None, finish: Any = lambda x: x) -> Any:
            return batcher.submit(n, prepare or (lambda: service.rows(n)), finish, small=True)

        found = await asyncio.gather(
            ask(2), ask(1, broken), ask(1, finish=lambda x: 1 / 0), ask(4), ask(1), return_exceptions=True
        )
        assert isinstance(found[1], ConfigError)
        assert isinstance(found[2], ZeroDivisionError)
        assert [len(found[k]) for k in (0, 3)] == [2, 4]
        assert isinstance(found[4], Full)
        late = asyncio.create_task(ask(1))
        await asyncio.sleep(0)
        batcher.turn_away()
        with pytest.raises(Ending):
            await late
        with pytest.raises(Ending):
            await ask(1)

    asyncio.run(scenario())
    assert batcher.waiting == 0
    batcher.close()


# Who leaves, and who waits for too long.


def test_who_is_gone_has_no_place_in_the_queue() -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    batcher = Batcher(slow, most_waiting=8)

    async def scenario() -> None:
        def ask(n: int, peer: str = "") -> Any:
            return asyncio.create_task(batcher.submit(n, lambda: slow.rows(n), lambda x: x, peer))

        first, second = ask(4), ask(4, "a")
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.01)
        assert (batcher.waiting, batcher._of["a"]) == (4, 0)
        third = ask(4, "b")
        await asyncio.sleep(0.01)
        assert not third.done()
        slow.gate.set()
        assert len(await first) == len(await third) == 4

    asyncio.run(scenario())
    assert (batcher.waiting, sum(slow.computed)) == (0, 8)
    batcher.close()


def test_each_request_has_the_same_timeout() -> None:
    slow = Slow(run_of("gan", "mnist"), 4)
    batcher = Batcher(slow, timeout=0.2)

    async def scenario() -> list[float]:
        async def ask(after: float) -> float:
            await asyncio.sleep(after)
            start = time.monotonic()
            with pytest.raises(TimeoutError):
                await batcher.submit(1, lambda: slow.rows(1), lambda x: x)
            return time.monotonic() - start

        return await asyncio.gather(*(ask(after) for after in (0.0, 0.1, 0.15)))

    for _ in range(2):  # the timer is set again
        assert all(0.19 < seconds < 2 for seconds in asyncio.run(scenario()))
    assert batcher.waiting == 0
    slow.gate.set()
    batcher.close()


class Transport:
    """Keeps what is done with it."""

    def __init__(self, address: Any = ("10.0.0.1", 5)) -> None:
        self.address, self.sent, self.did = address, list[bytes](), list[str]()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.address if name in ("peername", "sockname") else default

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return bool(self.did)

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.did.append(name)


@pytest.mark.parametrize("base", PARSERS)
def test_a_connection_without_an_address_is_not_listened_to(base: Any) -> None:
    """Reset before it is looked at, it would have no peer, and so a share of its own for each request."""
    import uvicorn

    async def scenario() -> None:
        config = uvicorn.Config(lambda scope: None, http=bounded(ConnectionLimits(), base), lifespan="off")
        state = uvicorn.server.ServerState()
        for address, aborted in ((None, True), (("10.0.0.1", 5), False)):
            transport, one = Transport(address), config.http(config=config, server_state=state, app_state={})  # type: ignore[operator]
            one.connection_made(transport)
            assert ("abort" in transport.did) is aborted
            one.connection_lost(None)

    asyncio.run(scenario())


def test_a_head_is_sent_with_its_body() -> None:
    async def scenario() -> None:
        transport, loop = Transport(), asyncio.get_running_loop()
        joined = Joined(transport, loop)  # type: ignore[arg-type]
        joined.write(b"head ")
        joined.write(b"body")
        joined.write(b"more")
        assert transport.sent == [b"head body", b"more"]
        joined.begins = True
        joined.write(b"100 ")
        await asyncio.sleep(0)
        assert transport.sent[2:] == [b"100 "], "a head without a body is not sent"
        joined.begins = True
        joined.write(b"head")
        joined.close()
        await asyncio.sleep(0)
        assert transport.sent[3:] == [b"head"]
        assert "close" in transport.did

    asyncio.run(scenario())


# Stopping.


@pytest.mark.parametrize("base", PARSERS)
def test_a_request_on_its_way_is_answered_when_the_server_is_stopped(digits: Service, base: Any) -> None:
    app = make_app(digits)
    said: list[str] = []
    server = make_server(app, grace=0.5, say=said.append, base=base)
    with listening(server) as port:
        idle = [connected(port, HEAD + b"\r\n") for _ in range(3)]
        for talk in idle:
            assert talk.recv(4000).startswith(b"HTTP/1.1 200 ")
        backlog = connected(port)
        server.should_exit = True
        while not said:
            time.sleep(0.005)
        idle[0].sendall(HEAD + b"\r\n")
        idle[1].sendall(b"GET /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        backlog.sendall(HEAD + b"\r\n")
        answers = [heard(talk) for talk in (*idle, backlog)]
    for answer, status in ((answers[0], b"200"), (answers[1], b"503"), (answers[3], b"200")):
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close\r\n" in answer.lower()
    assert answers[2] == b"", "a connection without a request is closed"
    app.state.server.batcher.close()


def test_connections_that_the_system_has_made_are_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(listener: socket.socket) -> float:
        waiting = asyncio.create_task(timeouts._taken([listener]))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "what has not been taken would be reset"
        listener.accept()[0].close()
        await asyncio.wait_for(waiting, 0.3)
        connected(listener.getsockname()[1])
        start = time.monotonic()
        await timeouts._taken([listener])
        return time.monotonic() - start

    monkeypatch.setattr(timeouts, "_MOST_TAKING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connected(listener.getsockname()[1])
        assert asyncio.run(scenario(listener)) >= 0.45, "those that come on and on are not waited for without end"


@pytest.mark.parametrize("half", [False, True])
def test_who_closes_its_side_is_gone(digits: Service, half: bool) -> None:
    """Also of one side only: what is computed for it would not be heard by most."""
    app = make_app(digits)
    with listening(make_server(app, grace=0.2)) as port:
        talk = connected(port, HEAD)
        if half:
            talk.shutdown(socket.SHUT_WR)
            assert talk.recv(100) == b""
        talk.close()
        assert httpx.get(f"{HOME}:{port}/health").status_code == 200
    app.state.server.batcher.close()


# The pictures.


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("level", [0, 1, 6])
def test_a_png_holds_the_pixels(kind: Any, channels: int, level: int) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (channels, 7, 5)).astype(kind)
    with Image.open(io.BytesIO(png(pixels, level))) as image:
        image.load()
        found = np.asarray(image)
    assert image.size == (5, 7)
    wanted = pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
    if kind is np.uint16 and channels > 1:  # Pillow reads their upper bytes
        wanted = (wanted >> 8).astype(np.uint8)
    assert np.array_equal(found, wanted)
