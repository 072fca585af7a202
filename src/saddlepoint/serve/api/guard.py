"""What stands before the server: who may ask, how much may be sent and how slowly, what is counted."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the histogram of answering times, in seconds."""


OPEN = frozenset({"/", "/health"})
"""Paths that ask for no token: a page without samples, and what is served."""


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        samples: of one request.
        values: of one request's answer: samples times values of a sample.
        body: bytes.
        pictures: that are translated at once.
        seconds: until an answer is there; also until a body is.
        waiting: rows in the queue.
    """

    samples: int = 256
    values: int = 4_000_000
    body: int = 8 * 1024**2
    pictures: int = 16
    seconds: float = 30.0
    waiting: int = 4096


@dataclass
class Counts:
    """What has happened since the server began.

    Attributes:
        requests: by (path, status).
        answers: by bucket; the last one is beyond all.
        seconds: of all answers together.
        samples: that were sent.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0
    samples: int = 0

    def note(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests[path, status] += 1
        self.seconds += seconds
        self.answers[next((i for i, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))] += 1


class Guard:
    """Lets requests through that may ask.

    Args:
        app: behind it.
        limits: of bodies.
        counts: kept.
        paths: that are counted by name; all others are "other".
        hosts: names under which it answers; None: any. A page of the web that gives itself the server's address could
            otherwise read from it.
        token: that requests must bring as ``Authorization: Bearer``, except for `OPEN`; None: none.
        origins: whose pages may read the answers; see `cors_headers`.
        access: hears a line for each answer; None: nobody does.
    """

    def __init__(
        self, app: App, limits: Limits, counts: Counts, paths: frozenset[str], hosts: frozenset[str] | None,
        token: str | None, origins: frozenset[str] = frozenset(), access: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.app, self.limits, self.counts, self.paths = app, limits, counts, paths
        self.hosts, self.expected = hosts, None if token is None else f"Bearer {token}".encode()
        self.origins, self.access = origins, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
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
            self.counts.note(path, status, seconds)
            if self.access is not None:
                self.access(access_line(scope, status, size, seconds))

    async def _answered(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if refusal := self._refusal(scope, headers):
            await _refuse(send, *refusal)
            return
        if is_preflight(scope, headers) and self.origins:
            # What may be asked was said in the headers that every answer has; a token comes with the request itself.
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            body = await asyncio.wait_for(self._body(receive), self.limits.seconds)
        except TimeoutError:
            await _refuse(send, 408, f"the body did not come within {self.limits.seconds:g} s")
            return
        if body is None:
            await _refuse(send, 413, f"the body has more than {self.limits.body:,} bytes")
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        name = headers.get(b"host", b"").decode("latin-1").lower()
        if self.hosts is not None and name.rsplit(":", 1)[0] not in self.hosts:
            return 421, f"this server answers as {' or '.join(sorted(self.hosts))}, not as another host"
        given = headers.get(b"authorization", b"")
        asks_only = self.origins and is_preflight(scope, headers)
        open_to_all = self.expected is None or scope["path"] in OPEN or asks_only
        if not open_to_all and not hmac.compare_digest(given, self.expected or b""):
            return 401, "this server asks for its token: send it as Authorization: Bearer TOKEN"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limits.body:
            return 413, f"the body has more than {self.limits.body:,} bytes"
        return None

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None if it is too large."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.limits.body:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


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
    client = (scope.get("client") or ("-",))[0]
    query = scope.get("query_string", b"").decode("latin-1")
    # As sent, not decoded: a path cannot put a line of its own into the log.
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    asked = "".join(c if c.isprintable() else "?" for c in path + (f"?{query}" if query else ""))
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return f"{now} {client} {scope['method']} {asked[:500]} {status} {size} B {1000 * seconds:.0f} ms"


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    # What is left of the body is not read.
    headers += [(b"connection", b"close")] if status in (408, 413) else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def prometheus(counts: Counts, gauges: dict[str, float]) -> str:
    """Return all figures in Prometheus' text format."""
    lines = ["# TYPE saddlepoint_requests_total counter"]
    for (path, status), number in sorted(counts.requests.items()):
        lines.append(f'saddlepoint_requests_total{{path="{path}",status="{status}"}} {number}')
    lines += ["# TYPE saddlepoint_samples_total counter", f"saddlepoint_samples_total {counts.samples}"]
    lines.append("# TYPE saddlepoint_answer_seconds histogram")
    total = 0
    for end, number in zip([*map(str, BUCKETS), "+Inf"], counts.answers, strict=True):
        total += number
        lines.append(f'saddlepoint_answer_seconds_bucket{{le="{end}"}} {total}')
    lines += [f"saddlepoint_answer_seconds_sum {counts.seconds:.6f}", f"saddlepoint_answer_seconds_count {total}"]
    for name, value in gauges.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# TYPE saddlepoint_{name} {kind}", f"saddlepoint_{name} {value:g}"]
    return "\n".join(lines) + "\n"
