"""Means over the processes of one machine, through memory that they share.

gloo sends every number through a socket, within a machine too, where a copy in memory takes a tenth of the time. Here
each process lays its numbers into its own row of a file in memory that all have mapped; each adds up one part of all
rows; all read what came out. Sums are made in the order of ranks, by one process for each place: the means are the
same, bit for bit, in all of them, and in every run.

Processes meet at counters in the same memory. A counter says that what was written before it may be read: x86 keeps
stores in their order, other processors need not, so they talk through gloo, as do several machines.
"""

from __future__ import annotations

import mmap
import os
import platform
import select
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

FOLDER = "/dev/shm"
"""What lies there lies in memory; every Linux has it."""

LINE = 8
"""Whole numbers of 64 bits in a line of a processor's cache: two counters in one would make their writers wait."""

BLOCK = 1 << 16
"""Floats whose sum stays in a core's own cache until it is divided."""

YIELDS = 2_000
"""Turns that a waiting process gives to others, about a millisecond, before it sleeps."""

NAP, LOOK, PATIENCE = 5e-5, 0.05, 1800.0
"""Seconds: of a sleep; until it is looked whether the others live, and each time again; until it gives up, as gloo."""


class ProcessGone(Exception):
    """Another process has ended, or does not come."""


class SharedMemory:
    """What the processes of one machine say to one another.

    All of them call the same methods in the same order; each call waits for the others.

    Args:
        path: a file of `header_bytes` bytes that all map.
        rank: this process's number, from 0.
        processes: their ids, by rank.

    Raises:
        OSError: if the file or a process cannot be seen from here, as from another container.
    """

    def __init__(self, path: str, rank: int, processes: Sequence[int]) -> None:
        self.path, self.rank, self.size = path, rank, len(processes)
        self._numbers = memoryview(_mapped(path)).cast("q")
        self._alive = select.poll()
        for process in processes:
            if process != os.getpid():
                self._alive.register(os.pidfd_open(process), select.POLLIN)
        self._meetings = self._said = self._files = 0
        self._rows, self._means = torch.empty(self.size, 0), torch.empty(0)
        self._most: int | None = None  # floats that a file had no room for

    def largest(self, words: Sequence[int]) -> list[int]:
        """Return the largest of each number over all processes.

        Args:
            words: at most `LINE` whole numbers, as many in every process.
        """
        # Two pages in turn: who writes to one again has met all others since they read it.
        page = LINE * self.size * (1 + self._said % 2)
        self._said += 1
        for place, word in enumerate(words):
            self._numbers[page + LINE * self.rank + place] = word
        self._meet()
        return [max(self._numbers[page + LINE * other + i] for other in range(self.size)) for i in range(len(words))]

    def mean(self, tensors: Sequence[Tensor]) -> Tensor | None:
        """Return the mean over all processes as one flat tensor (n), valid until the next call; None: no room.

        Args:
            tensors: fp32, on the CPU; of the same sizes in every process.
        """
        n = sum(tensor.numel() for tensor in tensors)
        if not self._has_room(n):
            return None
        torch.cat([tensor.reshape(-1) for tensor in tensors], out=self._rows[self.rank, :n])
        self._meet()
        part = -(-n // self.size)
        for start in range(self.rank * part, min(n, (self.rank + 1) * part), BLOCK):
            here = slice(start, min(n, (self.rank + 1) * part, start + BLOCK))
            total = self._means[here]
            torch.add(self._rows[0, here], self._rows[1, here], out=total)
            for row in self._rows[2:]:
                total += row[here]
            total /= self.size
        # Nobody writes to these means again before all have read them: they meet on the way.
        self._meet()
        return self._means[:n]

    def _has_room(self, n: int) -> bool:
        """Make the file as long as needed; all processes come to the same answer."""
        if n <= len(self._means):
            return True
        if self._most is not None and n >= self._most:
            return False
        path, rows = f"{self.path}-{self._files}", self.size + 1
        self._files += 1
        made, held = self._tried(lambda: _create(path, 4 * n * rows) if self.rank == 0 else None)
        if made:
            made, held = self._tried(lambda: torch.frombuffer(_mapped(path), dtype=torch.float32).view(rows, n))
        if self.rank == 0 and os.path.exists(path):
            os.unlink(path)  # mapped memory stays without a name, and goes with the last process, however it ends
        if made and held is not None:
            self._rows, self._means = held[:-1], held[-1]
        else:
            self._most = n
        return made

    def _tried(self, make: Callable[[], T]) -> tuple[bool, T | None]:
        """Return whether it succeeded in every process, and what it gave here."""
        try:
            found, failed = make(), 0
        except OSError:
            found, failed = None, 1
        return not self.largest([failed])[0], found

    def _meet(self) -> None:
        """Wait until every process has come here as often as this one."""
        self._meetings += 1
        self._numbers[LINE * self.rank] = self._meetings
        for other in range(self.size):
            if self._numbers[LINE * other] < self._meetings:
                self._wait_for(other)

    def _wait_for(self, other: int) -> None:
        for _ in range(YIELDS):
            if self._numbers[LINE * other] >= self._meetings:
                return
            os.sched_yield()
        started = looked = time.monotonic()
        while self._numbers[LINE * other] < self._meetings:
            time.sleep(NAP)
            now = time.monotonic()
            if now - looked < LOOK:
                continue
            looked = now
            # Who ended after its last word has said all: it counts as gone only where this one still waits for it.
            if self._alive.poll(0) and self._numbers[LINE * other] < self._meetings:
                raise ProcessGone("it has ended")
            if now - started > PATIENCE:
                raise ProcessGone(f"it has not been heard of for {PATIENCE / 60:.0f} minutes")


def fits_here() -> bool:
    """Whether this system has what is needed: Linux on x86, all processes of the job on this machine."""
    known = sys.platform == "linux" and platform.machine() == "x86_64" and os.path.isdir(FOLDER)
    return known and os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")


def create(size: int) -> str:
    """Return the path of a new file that `SharedMemory` can map, for ``size`` processes.

    Raises:
        OSError: if there is no room.
    """
    file, path = tempfile.mkstemp(prefix="saddlepoint-", dir=FOLDER)
    _reserve(file, path, header_bytes(size))
    return path


def header_bytes(size: int) -> int:
    """Return the length of the file: a line of counters and two of words for each process."""
    return 8 * LINE * size * 3


def _create(path: str, length: int) -> None:
    _reserve(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), path, length)


def _reserve(file: int, path: str, length: int) -> None:
    """Give a new, open file its length, and close it; without room there is no file."""
    try:
        # Not ftruncate: of a file without room behind it a write is no error but the end of the process.
        os.posix_fallocate(file, 0, length)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(file)


def _mapped(path: str) -> mmap.mmap:
    file = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(file, 0)
    finally:
        os.close(file)
