"""Bodies that want a server to fall: their size, their pace, what they hold, and pictures in them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import inputs, read_picture
from saddlepoint.export.service import Service
from saddlepoint.run.run import Run
from saddlepoint.serve.api.access import Limits
from saddlepoint.serve.connections import ConnectionLimits
from saddlepoint.serve.wire import bounded
from tests.unit.serving import (
    HOME,
    PARSERS,
    POST,
    api,
    client,
    connected,
    heard,
    listening,
    run_of,
    talks_end,  # noqa: F401
    until,
)


@pytest.fixture(scope="module")
def digits() -> Service:
    return Service(run_of("cgan", "mnist"), batch=8)


@pytest.fixture(scope="module")
def painter() -> Service:
    return Service(run_of("stargan", "tiny-32"), batch=8)


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
