"""What stands before the server: who may ask, how much may be sent and how slowly, what is counted."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the histogram of answering times, in seconds."""


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
        token: that requests must bring as ``Authorization: Bearer``, except for ``/health``; None: none.
    """

    def __init__(
        self, app: App, limits: Limits, counts: Counts, paths: frozenset[str], hosts: frozenset[str] | None,
        token: str | None,
    ) -> None:  # fmt: skip
        self.app, self.limits, self.counts, self.paths = app, limits, counts, paths
        self.hosts, self.expected = hosts, None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answered(scope, receive, noted)
        except Exception:
            # What nobody foresaw is answered outside of here.
            status = 500
            raise
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counts.note(path, status, time.perf_counter() - start)

    async def _answered(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if refusal := self._refusal(scope, headers):
            await _refuse(send, *refusal)
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
        open_to_all = self.expected is None or scope["path"] == "/health"
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
