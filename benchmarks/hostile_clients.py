"""Clients that want a server to fall, each until a time, and how often each did what it does; see `server_faults`.

    python benchmarks/hostile_clients.py NAME PORT SECONDS     prints how often, and how often it was let in

They come from 127.0.0.2: limits of one client are those of an address, and the ordinary clients have another.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator

from http_load import TOKEN, request, with_token

MANY, FEW = 300, 64
HEAD = with_token(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
POST = with_token(b"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
LARGE = with_token(request("/v1/sample", b'{"n": 256, "format": "json"}'))
FIELDS = with_token(request("/v1/sample", b"{" + b",".join(b'"%d":0' % k for k in range(6000)) + b"}", close=True))
ONE = with_token(request("/v1/sample?seed=1"))
FRESH = request("/v1/sample?seed=1", close=True)
LET_IN = [0]
"""Answers with 200 to what was said over fresh connections."""

Hostile = Callable[[int, float], int]


def connected(port: int, small: bool = False) -> socket.socket | None:
    """Return a connection, if there is one to be had."""
    talk = socket.socket()
    if small:
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    talk.settimeout(2)
    try:
        talk.bind(("127.0.0.2", 0))
        talk.connect(("127.0.0.1", port))
    except OSError:
        talk.close()
        return None
    return talk


def until(end: float) -> Iterator[None]:
    """Yield until the time is over."""
    while time.monotonic() < end:
        yield


def held(port: int, end: float, many: int, begin: bytes, more: Callable[[], bytes], pause: float) -> int:
    """Hold many connections, say a little over each again and again, and open those anew that were closed."""
    talks: list[socket.socket | None] = [None] * many
    made = 0
    for _ in until(end):
        for place, talk in enumerate(talks):
            try:
                if talk is None:
                    talk = talks[place] = connected(port)
                    made += talk is not None
                    if talk is not None:
                        talk.setblocking(False)
                        talk.send(begin)
                elif words := more():
                    talk.send(words)
                elif talk.recv(1) == b"":
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                if talk is not None:
                    talk.close()
                talks[place] = None
        time.sleep(pause)
    return made


def said(port: int, end: float, words: Callable[[], bytes], reset: bool = False, half: bool = False) -> int:
    """Say something over one fresh connection after the other."""
    times = 0
    for _ in until(end):
        if (talk := connected(port)) is None:
            continue
        with contextlib.suppress(OSError), talk:
            talk.sendall(words())
            times += 1
            if reset:  # closing sends a reset
                talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                continue
            if half:
                talk.shutdown(socket.SHUT_WR)
            while part := talk.recv(1 << 16):
                LET_IN[0] += part.startswith(b"HTTP/1.1 200 ")
    return times


def unread(port: int, end: float, words: bytes) -> int:
    """Ask over many connections, again and again, and read nothing."""
    talks: list[socket.socket | None] = [None] * FEW
    asked = 0
    for _ in until(end):
        for place, talk in enumerate(talks):
            try:
                if talk is None:
                    talk = talks[place] = connected(port, small=True)
                if talk is not None:
                    talk.setblocking(False)
                    asked += talk.send(words) > 0
            except BlockingIOError:
                continue
            except OSError:
                if talk is not None:
                    talk.close()
                talks[place] = None
        time.sleep(0.02)
    return asked


def asking(port: int, end: float, words: bytes) -> int:
    """Ask over many connections and read, as fast as it goes."""
    talks = [talk for _ in range(FEW) if (talk := connected(port)) is not None]
    heard = 0
    for talk in talks:
        talk.sendall(words)
        talk.setblocking(False)
    for _ in until(end):
        for talk in talks:
            with contextlib.suppress(OSError):
                part = talk.recv(1 << 18)
                heard += part.count(b"HTTP/1.1 ")
                if b"HTTP/1.1 " in part:
                    talk.send(words)
    return heard


def rubbish() -> bytes:
    """Return bytes of any kind."""
    return random.randbytes(random.randrange(1, 3000)) + b"\r\n\r\n"


OTHER_HOSTS, WRONG_TOKENS = "names of other hosts", "tokens that lack a letter"
"""Whoever sends these must get no samples."""

BODY = b"Content-Length: 1000\r\n\r\n"
KINDS: dict[str, Hostile] = {
    "heads byte by byte, 300 connections": lambda port, end: held(port, end, MANY, HEAD, lambda: b"X", 0.02),
    "bodies byte by byte, 300 connections": lambda port, end: held(port, end, MANY, POST + BODY, lambda: b" ", 0.02),
    "300 silent connections": lambda port, end: held(port, end, MANY, b"", lambda: b"", 0.02),
    "64 that never read large answers": lambda port, end: unread(port, end, LARGE),
    "64 that send on and never read": lambda port, end: unread(port, end, ONE * 200),
    "resets within a body": lambda port, end: said(port, end, lambda: POST + BODY + b'{"n":', reset=True),
    "resets after the request": lambda port, end: said(port, end, lambda: LARGE, reset=True),
    "half-closed after the request": lambda port, end: said(port, end, lambda: ONE, half=True),
    "fresh connections, one request each": lambda port, end: said(port, end, lambda: request("/health", close=True)),
    "64 that ask for the largest answers": lambda port, end: asking(port, end, LARGE),
    "64 that ask as fast as they are answered": lambda port, end: asking(port, end, ONE),
    "random bytes": lambda port, end: said(port, end, rubbish),
    "heads of a megabyte": lambda port, end: said(port, end, lambda: HEAD + b"X: " + b"a" * 1_000_000),
    "bodies beyond the limit": lambda port, end: said(port, end, lambda: POST + b"Content-Length: 99999999\r\n\r\n{"),
    OTHER_HOSTS: lambda port, end: said(
        port, end, lambda: with_token(FRESH.replace(b"Host: 127.0.0.1", b"Host: evil.example"))
    ),
    WRONG_TOKENS: lambda port, end: said(port, end, lambda: with_token(FRESH, TOKEN[:-1])),
    "objects of 6,000 fields": lambda port, end: said(
        port,
        end,
        lambda: request("/v1/sample", b"{" + b",".join(b'"%d":0' % k for k in range(6000)) + b"}", close=True),
    ),
}


def main() -> None:
    """Be one of them."""
    name, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(KINDS[name](port, time.monotonic() + seconds), LET_IN[0], flush=True)


if __name__ == "__main__":
    main()
