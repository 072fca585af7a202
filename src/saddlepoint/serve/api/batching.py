"""Requests put together: one thread computes what waits, first come first served; when too much waits, it refuses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saddlepoint.engine.machine.runtime import use_threads
from saddlepoint.export.service import Rows, Service, part


class Full(Exception):
    """Too many rows are waiting already; the text says whose."""


class Ending(Exception):
    """The server is being stopped: what has not begun is not begun any more."""


@dataclass(eq=False)
class _Pending:
    n: int
    prepare: Callable[[], Rows]
    finish: Callable[[np.ndarray], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    peer: str = ""
    rows: Rows | None = None
    done: int = 0
    made: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = self.n

    def resolve(self, outcome: Any) -> None:
        """Hand the outcome to whoever waits; nobody may, by now."""

        def deliver() -> None:
            if self.future.done():
                return
            if isinstance(outcome, BaseException):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(deliver)


class Batcher:
    """Computes requests in batches of a fixed number of rows, in a thread of its own.

    It never waits for more requests: while one batch is computed, the next one gathers.

    Args:
        service: what computes.
        most_waiting: rows that may wait; beyond them requests are refused. One client may have half of them.
    """

    def __init__(self, service: Service, most_waiting: int = 4096) -> None:
        self.service, self.most_waiting = service, most_waiting
        self.batches = self.rows = 0
        self.seconds = 0.0
        self._waiting: deque[_Pending] = deque()
        self._open: set[_Pending] = set()
        self._of = Counter[str]()
        self._count, self._closed, self._ending = 0, False, False
        self._changed = threading.Condition()
        self._threads = use_threads(None)
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait or are being computed."""
        return self._count

    async def submit(
        self, n: int, prepare: Callable[[], Rows], finish: Callable[[np.ndarray], Any], peer: str = ""
    ) -> Any:
        """Compute ``n`` rows and return what ``finish`` makes of the samples.

        Args:
            n: rows that ``prepare`` will give.
            prepare: draws them; called in the thread.
            finish: encodes the samples; called in the thread.
            peer: who asks; "": nobody in particular, whose rows have no share.

        Raises:
            Full: if too much is waiting, of all or of this client.
            Ending: if the server is being stopped.
            Exception: whatever ``prepare``, the generator or ``finish`` raises.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(n, prepare, finish, loop, loop.create_future(), peer)
        with self._changed:
            # A request that is larger than the limit is computed where nothing else waits.
            if self._closed or self._ending:
                raise Ending
            if self._count and self._count + n > self.most_waiting:
                raise Full(f"{self._count:,} rows are waiting already")
            if peer and self._of[peer] and self._of[peer] + n > self.most_waiting // 2:
                raise Full(f"{self._of[peer]:,} rows are waiting for you already, and one client may have half of all")
            self._waiting.append(pending)
            self._count += n
            self._of[peer] += n
            self._changed.notify()
        self._open.add(pending)
        try:
            return await pending.future
        finally:
            self._open.discard(pending)

    def turn_away(self) -> None:
        """Let only requests go on of which a part has been computed; all others hear of `Ending`."""
        self._ending = True

    def abandon(self) -> None:
        """Let everybody who still waits hear of `Ending`; called in the thread of the event loop."""
        self._ending = True
        for pending in self._open:
            if not pending.future.done():
                pending.future.set_exception(Ending())

    def close(self, seconds: float | None = None) -> None:
        """Compute what is waiting, then end the thread; wait for that for so many seconds at most, if given."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        # OpenMP counts by thread: this one would take all cores, and its helpers spin between batches.
        use_threads(self._threads)
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
            batch = self._gathered()
            if batch:
                self._compute(batch)

    def _gathered(self) -> list[tuple[_Pending, Rows]]:
        """Take rows of the first requests until the batch is full; a request may be taken in pieces."""
        batch: list[tuple[_Pending, Rows]] = []
        room = self.service.batch
        while room and self._waiting:
            first = self._waiting[0]
            if first.future.done():  # cancelled, or abandoned
                self._leave(first)
                continue
            if self._ending and not first.done:
                self._leave(first, Ending())
                continue
            try:
                first.rows = first.rows or first.prepare()
            except Exception as error:
                self._leave(first, error)
                continue
            taken = min(room, first.n - first.done)
            batch.append((first, part(first.rows, first.done, first.done + taken)))
            first.done += taken
            room -= taken
            if first.done == first.n:
                self._waiting.popleft()
        return batch

    def _leave(self, pending: _Pending, outcome: Any = None) -> None:
        """Let the first request go before its time."""
        with self._changed:
            self._waiting.popleft()
            self._forget(pending)
        if outcome is not None:
            pending.resolve(outcome)

    def _forget(self, pending: _Pending) -> None:
        """Count the rows of a request no more."""
        self._count -= pending.n
        self._of[pending.peer] -= pending.n
        if not self._of[pending.peer]:
            del self._of[pending.peer]

    def _compute(self, batch: list[tuple[_Pending, Rows]]) -> None:
        start = time.perf_counter()
        try:
            outcomes: list[Any] = list(self.service.compute([rows for _, rows in batch]))
        except Exception as error:
            outcomes = [error] * len(batch)
        self.seconds += time.perf_counter() - start
        self.batches += 1
        self.rows += sum(len(rows) for _, rows in batch)
        for (pending, rows), outcome in zip(batch, outcomes, strict=True):
            pending.made.append(outcome)
            pending.left -= len(rows)
            if pending.left == 0:
                self._finish(pending)

    def _finish(self, pending: _Pending) -> None:
        with self._changed:
            self._forget(pending)
        if pending.future.done():  # nobody waits: nothing is encoded
            return
        try:
            failed = next((made for made in pending.made if isinstance(made, Exception)), None)
            pending.resolve(failed or pending.finish(np.concatenate(pending.made)))
        except Exception as error:
            pending.resolve(error)
