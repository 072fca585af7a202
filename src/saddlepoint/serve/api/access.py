"""What stands before the server: who may ask, how much may be sent and how slowly, what is counted."""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from saddlepoint.data.limits import SERVED_PIXELS
from saddlepoint.serve.address import peer_of
from saddlepoint.serve.api.flight import PIECE, Flight, Share
from saddlepoint.serve.api.metrics import Metrics
from saddlepoint.serve.exchange import EXCHANGE, Exchange, nobody

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/health"})
"""Paths that ask for no token: a page without samples, and what is served."""

_LONGEST_HOST = 300
"""Characters of a host; longer words are kept nowhere."""

WITH_PICTURES = "/v1/translate"
"""The path whose bodies hold pictures."""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        samples: of one request.
        values: of one request's answer: samples times values of a sample.
        body: bytes of a body with pictures.
        small: bytes of any other body.
        things: commas in a larger body; text in base64 has none, and reading a million numbers takes a second.
        pictures: that are translated at once.
        pixels: of one picture.
        all_pixels: of the pictures of one request.
        flight: bytes of larger bodies and answers in memory at once, of all requests together.
        seconds: until an answer is there; also until a body is.
        waiting: rows in the queue.
    """

    samples: int = 256
    values: int = 4_000_000
    body: int = 8 * 1024**2
    small: int = PIECE
    things: int = 1000
    pictures: int = 16
    pixels: int = SERVED_PIXELS
    all_pixels: int = 64_000_000
    flight: int = 256 * 1024**2
    seconds: float = 30.0
    waiting: int = 4096

    def body_of(self, path: str) -> int:
        """Return how many bytes a body for a path may have."""
        return self.body if path == WITH_PICTURES else min(self.body, self.small)


class Answering:
    """What an answer is sent by: it notes status and size, and sends large answers in pieces.

    A piece is sent when the one before has left; what is handed over whole would lie in the buffer of its connection
    for as long as its client likes. A large answer for which there is no room is refused.

    Args:
        send: of the server.
        headers: that every answer has.
        share: of the memory for bodies and answers.
    """

    __slots__ = ("_begun", "_headers", "_refused", "_send", "share", "size", "status")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], share: Share) -> None:
        self._send, self._headers, self.share = send, headers, share
        self.status, self.size = 499, 0
        self._begun: Message | None = None
        self._refused = False

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI."""
        if message["type"] == "http.response.start":
            self._begun = message
            return
        if self._refused:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        start, self._begun = self._begun, None
        if start is not None:
            if len(body) > PIECE and not self.share.grow(self.share.size + len(body)):
                await _refuse(self, 503, "large answers are still being read by others; try again in a moment")
                self._refused = True
                return
            if self._headers:
                start = {**start, "headers": [*start.get("headers", ()), *self._headers]}
            self.status = start["status"]
            await self._send(start)
        self.size += len(body)
        if len(body) <= PIECE:
            await self._send(message)
            return
        for place in range(0, len(body), PIECE):
            last = place + PIECE >= len(body)
            await self._send({**message, "body": body[place : place + PIECE], "more_body": more or not last})
            if not last:
                await asyncio.sleep(0)


class AccessControl:
    """Lets requests through that may ask.

    Args:
        app: behind it.
        limits: of bodies.
        metrics: kept.
        paths: that are counted by name; all others are "other".
        hosts: names under which it answers; None: any. A page of the web that gives itself the server's address could
            otherwise read from it.
        token: that requests must bring as ``Authorization: Bearer``, except for `OPEN`; None: none.
        origins: whose pages may read the answers; see `cors_headers`.
        access: hears a line for each answer; None: nobody does.
        flight: counts bodies and answers in memory; None: one of its own.

    Attributes:
        state: what the application keeps.
    """

    def __init__(
        self, app: App, limits: Limits, metrics: Metrics, paths: frozenset[str], hosts: frozenset[str] | None,
        token: str | None, origins: frozenset[str] = frozenset(), access: Callable[[str], None] | None = None,
        flight: Flight | None = None,
    ) -> None:  # fmt: skip
        self.app, self.limits, self.metrics, self.paths = app, limits, metrics, paths
        self.hosts, self.expected = hosts, None if token is None else token.encode()
        self.origins, self.access = origins, access
        self.flight = flight or Flight(limits.flight)
        self.state: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        start, headers = time.perf_counter(), dict(scope["headers"])
        with self.flight.share(peer_of(scope.get("client"))) as share:
            answer = Answering(send, cors_headers(headers.get(b"origin"), self.origins), share)
            try:
                await self._answered(scope, headers, receive, answer)
            except Exception:
                # What nobody foresaw is answered outside of here.
                answer.status = 500
                raise
            finally:
                path = scope["path"] if scope["path"] in self.paths else "other"
                seconds = time.perf_counter() - start
                self.metrics.note(path, answer.status, seconds)
                if self.access is not None:
                    self.access(access_line(scope, answer.status, answer.size, seconds))

    async def _answered(self, scope: Message, headers: dict[bytes, bytes], receive: Receive, answer: Answering) -> None:
        has_body = headers.get(b"content-length", b"0") != b"0"
        if refusal := self._refusal(scope, headers):
            await _refuse(answer, *refusal, close=has_body)
            return
        if self.origins and is_preflight(scope, headers):
            # What may be asked was said in the headers that every answer has; a token comes with the request itself.
            await answer({"type": "http.response.start", "status": 204, "headers": []})
            await answer({"type": "http.response.body", "body": b""})
            return
        exchange: Exchange | None = scope.get("extensions", {}).get(EXCHANGE)
        most = self.limits.body_of(scope["path"])
        if exchange is not None and exchange.whole:
            body = await self._body(receive, most, answer.share)
        else:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    body = await self._body(receive, most, answer.share)
            except TimeoutError:
                await _refuse(answer, 408, f"the body did not come within {self.limits.seconds:g} s", close=True)
                return
        if isinstance(body, tuple):
            await _refuse(answer, *body, close=True)
        elif body is not None:
            await self._passed_on(body, scope, receive, answer, exchange)

    async def _passed_on(
        self, body: bytes, scope: Message, receive: Receive, answer: Answering, exchange: Exchange | None
    ) -> None:
        """Let the application answer, as long as somebody is there to hear it."""
        task = asyncio.current_task()
        if exchange is None or task is None:  # a server that is not ours; it says so to who asks for the next message
            await self.app(scope, replayed(body, receive), answer)
            return
        if exchange.left:
            return
        exchange.hears = task.cancel
        try:
            await self.app(scope, replayed(body, receive), answer)
        except asyncio.CancelledError:
            if not exchange.left:  # the server itself ends the task
                raise
            task.uncancel()
        finally:
            exchange.hears = nobody

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        # As many headers as names: none comes twice.
        if len(headers) < len(scope["headers"]) and [name for name, _ in scope["headers"]].count(b"host") > 1:
            return 400, "the request names several hosts"
        name = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and (len(name) > _LONGEST_HOST or host_of(name) not in self.hosts):
            return 421, f"this server answers as {' or '.join(sorted(self.hosts))}, not as another host"
        asks_only = self.origins and is_preflight(scope, headers)
        open_to_all = self.expected is None or scope["path"] in OPEN or asks_only
        if not open_to_all and not hmac.compare_digest(
            token_of(headers.get(b"authorization", b"")), self.expected or b""
        ):
            return 401, "this server asks for its token: send it as Authorization: Bearer TOKEN"
        length, most = headers.get(b"content-length", b"0"), self.limits.body_of(scope["path"])
        # Compared as text first: int() refuses numbers of thousands of digits.
        if not length.isdigit() or len(length) > 18 or int(length) > most:
            return 413, f"the body has more than {most:,} bytes"
        return None

    async def _body(self, receive: Receive, most: int, share: Share) -> bytes | tuple[int, str] | None:
        """Return the whole body, or status and words if it is too large, or None if nobody is there any more."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            if len(body) + len(part) > most:
                return 413, f"the body has more than {most:,} bytes"
            if len(body) + len(part) > self.limits.small and not share.grow(len(body) + len(part)):
                return 503, "the bodies of other requests fill the memory set apart for them; try again in a moment"
            body += part
            if not message.get("more_body", False):
                break
        if len(body) > self.limits.small and body.count(b",") > self.limits.things:
            return 422, f"the body lists more than {self.limits.things:,} things; send pictures as text in base64"
        return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


@functools.lru_cache(256)
def host_of(name: str) -> str:
    """Return the host of what a header ``Host`` says, without its port.

    >>> host_of("LocalHost:80"), host_of("[::1]:80"), host_of("[::1]"), host_of("127.0.0.1")
    ('localhost', '[::1]', '[::1]', '127.0.0.1')
    """
    found = re.fullmatch(r"(\[[0-9a-f:.]*\]|[^:\[\]]*)(?::\d*)?", name.strip().lower())
    return "" if found is None else found[1]


def token_of(sent: bytes) -> bytes:
    """Return the token of a header ``Authorization``; empty if there is none.

    >>> token_of(b"bearer  abc"), token_of(b"Basic abc"), token_of(b"")
    (b'abc', b'', b'')
    """
    scheme, _, word = sent.partition(b" ")
    return word.strip() if scheme.lower() == b"bearer" else b""


def is_preflight(scope: Message, headers: Mapping[bytes, bytes]) -> bool:
    """Say whether a browser asks if a page of another origin may send a request."""
    return scope["method"] == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def cors_headers(origin: bytes | None, allowed: frozenset[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of another origin read an answer; never with credentials.

    Args:
        origin: the page's, as its browser says it.
        allowed: exact origins, or ``*`` for all.
    """
    if not allowed:
        return []
    found = [] if "*" in allowed else [(b"vary", b"Origin")]
    if origin is None or not ("*" in allowed or origin.decode("latin-1") in allowed):
        return found
    return [
        *found,
        (b"access-control-allow-origin", b"*" if "*" in allowed else origin),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"Authorization, Content-Type"),
        (b"access-control-expose-headers", b"Retry-After"),
        (b"access-control-max-age", b"600"),
    ]


def access_line(scope: Message, status: int, size: int, seconds: float) -> str:
    """Return one line on an answer: time, client, request as it was sent, status, bytes, milliseconds."""
    # A proxy on this machine may say any word for its client.
    client = "".join(c if c.isprintable() and c != " " else "?" for c in (scope.get("client") or ("-",))[0][:60])
    query = scope.get("query_string", b"").decode("latin-1")
    # As sent, not decoded: a path cannot put a line of its own into the log.
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    asked = "".join(c if c.isprintable() else "?" for c in path + (f"?{query}" if query else ""))
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return f"{now} {client} {scope['method'][:20]} {asked[:500]} {status} {size} B {1000 * seconds:.0f} ms"


async def _refuse(send: Send, status: int, detail: str, close: bool = False) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    # What is left of the body is not read.
    headers += [(b"connection", b"close")] if close else []
    headers += [(b"retry-after", b"1")] if status == 503 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
