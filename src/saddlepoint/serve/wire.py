"""How a connection is held to its limits before a request is looked at: heads, waiting, slow readers and senders.

Both servers use it: `bounded` gives the class that uvicorn takes as its protocol. Heads are gathered and checked here;
the parser below (h11 or httptools) sees whole heads only, one request at a time, and bodies of a length that was said.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from saddlepoint.serve.address import peer_of
from saddlepoint.serve.connections import ConnectionLimits, Crowd
from saddlepoint.serve.exchange import EXCHANGE, Exchange, Joined

_CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\n]*(?=\r\n)", re.IGNORECASE)
_LINGER = 2.0
"""Seconds for which a refused client is still listened to, so that it reads the refusal and no reset."""

_LAST = 0.25
"""Seconds for which connections without a request are still listened to when the server is stopped."""


def bounded(wire: ConnectionLimits | None = None, base: type[asyncio.Protocol] = AutoHTTPProtocol) -> Any:
    """Return uvicorn's protocol with limits, for ``uvicorn.Config(http=...)``.

    Args:
        wire: limits.
        base: uvicorn's `H11Protocol` or `HttpToolsProtocol`.
    """
    wire = wire or ConnectionLimits()
    return type("Bounded", (_Bounded, base), {"wire": wire, "crowd": Crowd(wire)})


class _Bounded:
    """What is put before uvicorn's protocol; see `bounded`."""

    wire: ClassVar[ConnectionLimits]
    crowd: ClassVar[Crowd]
    # Of uvicorn's protocols:
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any
    flow: Any
    config: Any
    connections: set[Any]

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        self.held, self.seen, self.left = bytearray(), 0, 0
        self.refused = self.upgraded = self.over = self.blank = self.ending = False
        self.exchange: Exchange | None = None
        self.joined: Joined | None = None
        self.waiting: asyncio.TimerHandle | None = None
        self.reading: asyncio.TimerHandle | None = None
        self.bringing: asyncio.TimerHandle | None = None
        self.since, self.full, self.read, self.answered = 0.0, 0, 0, None
        super().connection_made(transport)  # type: ignore[misc]
        transport.set_write_buffer_limits(64 * 1024)
        if (address := transport.get_extra_info("peername")) is None:
            # Reset before it was looked at: nobody's share of rows and memory would count what it has sent.
            transport.abort()
        self.peer = peer_of(address)
        self._wait()
        self.crowd.make_room(len(self.connections))
        if len(self.connections) > self.wire.connections + self.wire.waiting:
            # All are at work, and those that go are not gone yet.
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.over = True
        self.held.clear()
        self._stop_waiting()
        self._stop_reading()
        self._stop_bringing()
        super().connection_lost(exc)  # type: ignore[misc]
        if self.exchange is not None:
            self.exchange.leave()

    def data_received(self, data: bytes) -> None:
        """Gather heads; pass whole ones on, and bodies."""
        if self.refused:
            self.seen += len(data)
            if self.seen > 16 * self.wire.head:
                self.transport.pause_reading()
        if self.refused or self.over:
            return
        self.held += data
        self._pass_on()

    def _pass_on(self) -> None:
        while self.held and not (self.refused or self.over or self.upgraded or self.transport.is_closing()):
            if self.left:
                part = bytes(self.held[: self.left])
                del self.held[: len(part)]
                self.left -= len(part)
                super().data_received(part)  # type: ignore[misc]
                if not self.left:
                    if self.exchange is not None:
                        self.exchange.whole = True
                    self._stop_bringing()
                    if self.at_work:
                        self.crowd.leave(self)
            elif self.at_work:
                # A client that does not wait for its answer: the next request is looked at when this one is done.
                if len(self.held) > self.wire.head:
                    self.flow.pause_reading()
                return
            elif not self._take_head():
                return

    @property
    def at_work(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _take_head(self) -> bool:
        """Pass a whole head on; return whether to go on with what was held."""
        if self.held[:1] in (b"\r", b"\n"):
            return self._pass_blank_line()
        end = self.held.find(b"\r\n\r\n", max(0, self.seen - 3))
        size = len(self.held) if end < 0 else end + 4
        line = self.held.find(b"\n", 0, self.wire.line)
        if line < 0 and size > self.wire.line:
            return self._refuse(414, "URI Too Long", f"the first line has more than {self.wire.line:,} bytes")
        if size > self.wire.head:
            return self._refuse(
                431, "Request Header Fields Too Large", f"the head has more than {self.wire.head:,} bytes"
            )
        if end < 0:
            self.seen = len(self.held)
            return False
        head = bytes(self.held[:size])
        del self.held[:size]
        self.seen, self.blank = 0, False
        if head.count(b"\n") != head.count(b"\r\n"):
            # One parser would see an end here where another sees none.
            return self._refuse(400, "Bad Request", "lines of the head must end in CR LF")
        if head.count(b"\n") > self.wire.fields + 2:
            return self._refuse(
                431, "Request Header Fields Too Large", f"the head has more than {self.wire.fields} fields"
            )
        if _CHUNKED.search(head):
            # Chunks of a byte each would cost a thousand times what they bring; nobody needs them for a body in hand.
            return self._refuse(411, "Length Required", "say the body's length (Content-Length); chunks are not taken")
        if self.config.ws_protocol_class is None:
            head = _UPGRADE.sub(b"", head)
        before = self.cycle
        super().data_received(head)  # type: ignore[misc]
        if self.cycle is not before and not self.upgraded:
            # The task that answers was made, and begins in the loop's next turn.
            self.exchange = Exchange()
            self.cycle.scope["extensions"] = {EXCHANGE: self.exchange}
            if self.joined is None:
                self.joined = Joined(self.transport, self.loop)
            self.joined.begins, self.cycle.transport = True, self.joined
            if self.ending or self.crowd.ending:
                self.cycle.keep_alive = False
                self.cycle.scope["headers"].append((b"connection", b"close"))  # h11 says what the client said
            sent = dict(self.cycle.scope["headers"]) if _LENGTH.search(head) else {}
            self.left = int(sent.get(b"content-length", b"0"))
            self.exchange.whole = not self.left
            self._stop_waiting(leave=not self.left)
            if self.left and self.wire.upload:
                self._watch_body(self.left)
        return True

    def _pass_blank_line(self) -> bool:
        """Leave out one blank line before a request, as RFC 9112 wants it; the parser would look at any number."""
        if self.held == b"\r":
            return False
        if self.blank or self.held[:2] != b"\r\n":
            return self._refuse(400, "Bad Request", "blank lines stand where a request should begin")
        del self.held[:2]
        self.blank = True
        return True

    def handle_websocket_upgrade(self, *arguments: Any) -> None:
        """Hand the connection over; what comes now is no request."""
        self.upgraded = True
        self._stop_waiting()
        super().handle_websocket_upgrade(*arguments)  # type: ignore[misc]

    def shutdown(self) -> None:
        """Close when what is at work is answered; where nothing is, when nothing more comes for a moment.

        A request that is on its way would else meet a closed door, and its client not know whether it was heard.
        """
        self.ending = True
        if not self.at_work:
            self._end_soon()
        elif not self.cycle.response_started:  # else its head has not said that the connection ends
            super().shutdown()  # type: ignore[misc]

    def _end_soon(self) -> None:
        # Twice: after a long turn of the loop timers come before what has arrived.
        self.loop.call_later(_LAST, lambda: self.loop.call_later(0.01, self._end))

    def _end(self) -> None:
        if not (self.over or self.at_work):
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next head, which may be here already."""
        super().on_response_complete()  # type: ignore[misc]
        self.exchange = None
        if self.ending:
            self._end_soon()
        if not self.over and self.waiting is None:
            self._wait()
            self.loop.call_soon(self._pass_on)

    def _refuse(self, status: int, phrase: str, detail: str) -> bool:
        self.refused = True
        self.held.clear()
        body = f'{{"detail": "{detail}"}}'.encode()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.crowd.leave(self)
        self._stop_waiting()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.waiting = self.loop.call_later(_LINGER, self.transport.abort)
        return False

    def _wait(self) -> None:
        self.crowd.enter(self, self.peer)
        self.waiting = self.loop.call_later(self.wire.timeout, self._give_up)

    def _give_up(self) -> None:
        if self.reading is not None:
            # Still at an answer that was handed over whole: `_watch` says when it is too slow.
            self.waiting = self.loop.call_later(self.wire.timeout, self._give_up)
        elif self.transport.get_write_buffer_size():
            # Closing would wait for the rest to be read; who has not read it by now never will.
            self.transport.abort()
        else:
            self.transport.close()

    def _stop_waiting(self, leave: bool = True) -> None:
        if leave:
            self.crowd.leave(self)
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _watch_body(self, left: int) -> None:
        """Look after a while whether enough of a body has come, of which so much was left."""

        def look() -> None:
            if left - self.left < self.wire.upload * self.wire.timeout and not self.flow.read_paused:
                self.transport.abort()
            else:
                self._watch_body(self.left)

        self.bringing = self.loop.call_later(self.wire.timeout, look)

    def _stop_bringing(self) -> None:
        if self.bringing is not None:
            self.bringing.cancel()
            self.bringing = None

    def pause_writing(self) -> None:
        """Begin to watch how fast the client reads."""
        super().pause_writing()  # type: ignore[misc]
        self.full = self.transport.get_write_buffer_size()
        if not self.since or self.cycle is not self.answered:
            # The time of an answer is counted over all its pauses: bursts do not begin it anew.
            self.since, self.read, self.answered = self.loop.time(), 0, self.cycle
        self._watch()

    def resume_writing(self) -> None:
        """Note what was read."""
        super().resume_writing()  # type: ignore[misc]
        if self.reading is not None:
            self.read += self.full - self.transport.get_write_buffer_size()
        self._stop_reading()

    def _watch(self) -> None:
        read = self.read + self.full - self.transport.get_write_buffer_size()
        until = self.since + self.wire.timeout + read / self.wire.rate
        if until <= self.loop.time():
            self.transport.abort()
            return
        self.reading = self.loop.call_at(until, self._watch)

    def _stop_reading(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            self.reading = None
