"""What the scripts that ask a server share: servers as processes, clients that ask as fast as they are answered."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "a-token-of-the-benchmark"
"""Of servers that ask for one."""

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def run_or_write(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], None], write: Callable[[], None]
) -> None:
    """Obey the command line: ``run RUN``, with the options of the parser, or ``write``."""
    parser.add_argument("what", choices=("run", "write"))
    parser.add_argument("run", type=Path, nargs="?")
    words = parser.parse_args()
    if words.what == "write":
        write()
    elif words.run is None:
        sys.exit("name a run")
    else:
        measure(words)


@contextlib.contextmanager
def started(command: list[str], source: Path | None = None, quiet: bool = False) -> Iterator[tuple[int, int]]:
    """Start a server that says its port in its first line; yield port and process, and stop it with Ctrl-C.

    Args:
        command: of the server. Where Ctrl-C has not stopped it within a minute, it is killed.
        source: folder that it imports the package from; None: as this script does.
        quiet: whether what it says of its troubles is not shown.
    """
    said = subprocess.DEVNULL if quiet else None
    settings = None if source is None else {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=settings) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)[/ ]", line)
        if found is None:
            sys.exit(f"the server did not start: {line}")
        try:
            yield int(found[1]), process.pid
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def serving(
    run: Path, *words: str, source: Path | None = None, quiet: bool = False
) -> contextlib.AbstractContextManager[tuple[int, int]]:
    """Start `saddle serve` on a free port, with one thread for the generator; as `started`."""
    command = [sys.executable, "-m", "saddlepoint", "serve", str(run), "--port", "0", "--threads", "1", *words]
    return started(command, source, quiet)


def request(path: str, body: bytes | None = None, method: str = "", close: bool = False) -> bytes:
    """Return a request; with a body it is a POST of JSON."""
    head = f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += "Connection: close\r\n" if close else ""
    if body is None:
        return head.encode() + b"\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def with_token(words: bytes, token: str = TOKEN) -> bytes:
    """Return a request that brings a token."""
    return words.replace(b"\r\n", f"\r\nAuthorization: Bearer {token}\r\n".encode(), 1)


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
    """One connection after the other, and what it waits for."""

    number: int
    talk: socket.socket | None = None
    held: bytearray = field(default_factory=bytearray)
    since: float = 0.0
    opened: float = 0.0
    asked: int = 0


@dataclass
class Load:
    """What clients found.

    Attributes:
        times: seconds that each answer took.
        statuses: how many answers had each status.
        lost: requests that got no answer.
        refused: connections that were not taken: refused, or made after ``closing`` and reset.
        seconds: from the first request to the last answer.
    """

    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    refused: int = 0
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the times, in milliseconds."""
        times = sorted(self.times)
        return 1000 * times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


class Clients:
    """Clients in one thread, each of which asks as soon as it has its answer.

    Args:
        port: of the server on this machine.
        ask: (client, number of its request) -> the request.
        heard: (client, number of its request, status, body) of each answer.
        at: called in each turn with the seconds that passed.

    Attributes:
        closing: when the server was told to take no more connections.
    """

    def __init__(
        self, port: int, ask: Callable[[int, int], bytes],
        heard: Callable[[int, int, int, bytes], object] | None = None, at: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        self.port, self.ask, self.heard, self.at = port, ask, heard, at
        self.closing = math.inf
        self.found, self.poll, self.asked, self.started = Load(), selectors.DefaultSelector(), 0, 0.0

    def run(self, clients: int, seconds: float = math.inf, most: float = math.inf, patience: float = 60.0) -> Load:
        """Let so many clients ask for so long, or so many requests in all, and wait for what was asked."""
        self.seconds, self.most, self.started = seconds, most, time.perf_counter()
        talking = {number for number in range(clients) if self._next(Client(number))}
        while talking:
            if self.at is not None:
                self.at(self._spent())
            for key, _ in self.poll.select(0.2):
                if not self._read(key.data) and not self._next(key.data):
                    talking.discard(key.data.number)
            if self._spent() > seconds + patience:
                self.found.lost += len(talking)
                break
        self.found.seconds = self._spent()
        for key in list(self.poll.get_map().values()):
            key.data.talk.close()
        self.poll.close()
        return self.found

    def _spent(self) -> float:
        return time.perf_counter() - self.started

    def _next(self, one: Client) -> bool:
        """Send the next request, over a new connection if there is none; return whether an answer is waited for."""
        if self.asked >= self.most or self._spent() >= self.seconds:
            self._close(one)
            return False
        if one.talk is None:
            try:
                one.talk = socket.create_connection(("127.0.0.1", self.port), 10)
            except OSError:
                self.found.refused += 1
                return False
            one.talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.opened = time.perf_counter()
            self.poll.register(one.talk, selectors.EVENT_READ, one)
        self.asked += 1
        one.asked, one.since = one.asked + 1, time.perf_counter()
        try:
            one.talk.sendall(self.ask(one.number, one.asked))
        except OSError:
            self._lose(one)
            return self._next(one)
        return True

    def _read(self, one: Client) -> bool:
        """Read what is there; return whether the answer is still waited for."""
        assert one.talk is not None
        try:
            part = one.talk.recv(1 << 18)
        except OSError:
            part = b""
        if not part:
            self._lose(one)
            return False
        one.held += part
        if not (size := complete(one.held)):
            return True
        status = int(one.held[9:12])
        self.found.times.append(time.perf_counter() - one.since)
        self.found.statuses[status] += 1
        end = one.held.find(b"\r\n\r\n")
        if self.heard is not None:
            self.heard(one.number, one.asked, status, bytes(one.held[end + 4 : size]))
        if one.held.find(b"connection: close\r\n", 0, end + 2) > 0:
            self._close(one)
        else:
            del one.held[:size]
        return False

    def _lose(self, one: Client) -> None:
        if one.opened < self.closing:
            self.found.lost += 1
        else:
            self.found.refused += 1
        self._close(one)

    def _close(self, one: Client) -> None:
        if one.talk is not None:
            self.poll.unregister(one.talk)
            one.talk.close()
        one.talk = None
        one.held.clear()


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
