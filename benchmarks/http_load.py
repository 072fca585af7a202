"""What the scripts that ask a server share: servers as processes, clients that ask as fast as they are answered."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@contextlib.contextmanager
def started(command: list[str], seconds: float = 60.0) -> Iterator[tuple[int, int]]:
    """Start a server that says its port in its first line; yield port and process, and stop it with Ctrl-C."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+) ", line)
        if found is None:
            sys.exit(f"the server did not start: {line}")
        try:
            yield int(found[1]), process.pid
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(seconds)


def serving(run: Path, *words: str) -> contextlib.AbstractContextManager[tuple[int, int]]:
    """Start `saddle serve` on a free port, with one thread for the generator."""
    command = [sys.executable, "-m", "saddlepoint", "serve", str(run), "--port", "0", "--threads", "1", *words]
    return started(command)


def request(path: str, body: bytes | None = None, method: str = "", close: bool = False) -> bytes:
    """Return a request; with a body it is a POST of JSON."""
    head = f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += "Connection: close\r\n" if close else ""
    if body is None:
        return head.encode() + b"\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def one_sample(seed: int) -> bytes:
    """Return a request for a PNG of one sample."""
    return request("/v1/sample", json.dumps({"n": 1, "seed": seed, "format": "png"}).encode())


def complete(held: bytes | bytearray) -> int:
    """Return how many bytes the answer at the beginning of what was read has; 0: it is not whole yet."""
    end = held.find(b"\r\n\r\n")
    if end < 0:
        return 0
    found = _LENGTH.search(held, 0, end + 2)
    size = end + 4 + (int(found[1]) if found else 0)
    return size if len(held) >= size else 0


@dataclass
class Client:
    """One connection, and what it waits for."""

    number: int
    talk: socket.socket
    held: bytearray = field(default_factory=bytearray)
    since: float = 0.0
    asked: int = 0


@dataclass
class Load:
    """What clients found.

    Attributes:
        times: seconds that each answer took.
        statuses: how many answers had each status.
        lost: requests that got none.
        seconds: from the first request to the last answer.
    """

    times: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the times, in milliseconds."""
        times = sorted(self.times)
        return 1000 * times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def load(
    port: int, clients: int, seconds: float, ask: Callable[[int, int], bytes],
    at: Callable[[float], None] = lambda spent: None,
) -> Load:  # fmt: skip
    """Let clients ask, each as soon as it has its answer, over connections that they keep.

    Args:
        port: of the server on this machine.
        clients: at once, in this one thread.
        seconds: in which new requests are sent; what was asked is waited for.
        ask: (client, number of its request) -> the request.
        at: called in each turn with the seconds that passed.
    """
    found, poll, open_now = Load(), selectors.DefaultSelector(), 0
    started = time.perf_counter()
    for number in range(clients):
        one = Client(number, socket.create_connection(("127.0.0.1", port), 10))
        one.talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(one.talk, selectors.EVENT_READ, one)
        _ask(one, ask)
        open_now += 1
    while open_now:
        at(time.perf_counter() - started)
        for key, _ in poll.select(0.5):
            one = key.data
            going = _heard(one, found)
            if going and one.since == 0.0 and time.perf_counter() - started < seconds:
                going = _ask(one, ask) or _lose(found)
            elif going and one.since == 0.0:
                going = False
            if not going:
                poll.unregister(one.talk)
                one.talk.close()
                open_now -= 1
        if time.perf_counter() - started > seconds + 60:
            found.lost += open_now
            break
    found.seconds = time.perf_counter() - started
    poll.close()
    return found


def _lose(found: Load) -> bool:
    found.lost += 1
    return False


def _ask(one: Client, ask: Callable[[int, int], bytes]) -> bool:
    words = ask(one.number, one.asked)
    one.asked += 1
    one.since = time.perf_counter()
    try:
        return one.talk.send(words) == len(words)
    except OSError:
        return False


def _heard(one: Client, found: Load) -> bool:
    """Read what is there; return whether the connection goes on."""
    try:
        part = one.talk.recv(1 << 18)
    except OSError:
        part = b""
    if not part:
        found.lost += one.since > 0.0
        return False
    one.held += part
    if size := complete(one.held):
        now, status = time.perf_counter(), int(one.held[9:12])
        found.times.append(now - one.since)
        found.statuses[status] = found.statuses.get(status, 0) + 1
        ended = b"connection: close\r\n" in one.held[:1000]
        del one.held[:size]
        one.since = 0.0
        return not ended
    return True


def processor_seconds(process: int) -> float:
    """Return the time of the CPU that a process had, with all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Return the memory that a process holds, in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(process: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def threads(process: int) -> int:
    """Return how many threads a process has."""
    return len(os.listdir(f"/proc/{process}/task"))
