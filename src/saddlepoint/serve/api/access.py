"""What stands before the server: who may ask, how much may be sent and how slowly, what is counted."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from saddlepoint.data.limits import SERVED_PIXELS
from saddlepoint.serve.api.flight import PIECE, Flight, Share, paced
from saddlepoint.serve.api.metrics import Metrics
from saddlepoint.serve.wire import GONE, Gone, nobody, peer_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/health"})
"""Paths that ask for no token: a page without samples, and what is served."""

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
        start, status, size = time.perf_counter(), 499, 0
        shared = cors_headers(dict(scope["headers"]).get(b"origin"), self.origins)

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *shared]}
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._answered(scope, receive, noted)
        except Exception:
            # What nobody foresaw is answered outside of here.
            status = 500
            raise
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            seconds = time.perf_counter() - start
            self.metrics.note(path, status, seconds)
            if self.access is not None:
                self.access(access_line(scope, status, size, seconds))

    async def _answered(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        has_body = headers.get(b"content-length", b"0") != b"0"
        if refusal := self._refusal(scope, headers):
            await _refuse(send, *refusal, close=has_body)
            return
        if self.origins and is_preflight(scope, headers):
            # What may be asked was said in the headers that every answer has; a token comes with the request itself.
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        with self.flight.share(peer_of(scope.get("client"))) as share:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    body = await self._body(receive, self.limits.body_of(scope["path"]), share)
            except TimeoutError:
                await _refuse(send, 408, f"the body did not come within {self.limits.seconds:g} s", close=True)
                return
            if isinstance(body, tuple):
                await _refuse(send, *body, close=True)
            elif body is not None:
                await self._passed_on(body, scope, receive, paced(send, share, _refuse))

    async def _passed_on(self, body: bytes, scope: Message, receive: Receive, send: Send) -> None:
        """Let the application answer, as long as somebody is there to hear it."""
        task = asyncio.current_task()
        gone: Gone | None = scope.get("extensions", {}).get(GONE)
        if gone is None or task is None:  # a server that is not ours; it says so to who asks for the next message
            await self.app(scope, replayed(body, receive), send)
            return
        if gone.left:
            return
        gone.hears = task.cancel
        try:
            await self.app(scope, replayed(body, receive), send)
        except asyncio.CancelledError:
            if not gone.left:  # the server itself ends the task
                raise
            task.uncancel()
        finally:
            gone.hears = nobody

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            return 400, "the request names several hosts"
        name = host_of(headers.get(b"host", b"").decode("latin-1"))
        if self.hosts is not None and name not in self.hosts:
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
