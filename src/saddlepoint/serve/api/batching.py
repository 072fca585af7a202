"""Requests put together: what waits is computed at once, clients take turns; when too much waits, it refuses.

Clients are served at an equal pace, counted in rows (start-time fair queueing, Goyal et al. 1996): who asks for much
waits behind itself, and among the requests of one client first come is first served.

Where a batch takes milliseconds, small requests are computed in the thread of the event loop itself: waking another
thread, and waiting for the interpreter after each operation of PyTorch, cost more than the batch. All else is computed
in a thread of its own, beside which the loop answers; small requests do not wait behind it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saddlepoint.engine.machine.runtime import use_threads
from saddlepoint.export.service import Rows, Service, part


class Full(Exception):
    """Too many rows are waiting already; the text says whose."""


class Ending(Exception):
    """The server is being stopped: what has not begun is not begun any more."""


@dataclass(eq=False, slots=True)
class _Pending:
    n: int
    prepare: Callable[[], Rows]
    finish: Callable[[np.ndarray], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    peer: str = ""
    small: bool = False
    until: float = math.inf
    rows: Rows | None = None
    counted: bool = True
    done: int = 0
    left: int = 0
    made: list[Any] = field(default_factory=list)


_Turn = tuple[int, int, _Pending]
"""Rows after which a request begins, in the time that all clients share; its number; the request."""


def _deliver(outcomes: Iterable[tuple[_Pending, Any]]) -> None:
    """Hand outcomes to those who wait; nobody may, by now."""
    for pending, outcome in outcomes:
        if pending.future.done():
            continue
        if isinstance(outcome, BaseException):
            pending.future.set_exception(outcome)
        else:
            pending.future.set_result(outcome)


class Batcher:
    """Computes requests in batches of a fixed number of rows.

    It never waits for more requests: while one batch is computed, the next one gathers.

    Args:
        service: what computes.
        most_waiting: rows that may wait; beyond them requests are refused. One client may have half of them.
        near: whether small requests are computed in the thread of the event loop; for batches of milliseconds.
        timeout: seconds until who waits hears of a `TimeoutError`.
    """

    def __init__(
        self, service: Service, most_waiting: int = 4096, near: bool = False, timeout: float = math.inf
    ) -> None:
        self.service, self.most_waiting, self.near, self.timeout = service, most_waiting, near, timeout
        self.batches = self.rows = 0
        self.seconds = 0.0
        self._waiting: list[_Turn] = []  # heaps
        self._near: list[_Turn] = []
        self._now, self._next = 0, Counter[str]()
        self._number = itertools.count()
        self._open: dict[_Pending, None] = {}
        self._watched: asyncio.AbstractEventLoop | None = None
        self._of = Counter[str]()
        self._turning: asyncio.AbstractEventLoop | None = None
        self._count, self._closed, self._ending = 0, False, False
        self._changed, self._computing = threading.Condition(), threading.Lock()
        self._threads = use_threads(None)
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait or are being computed."""
        return self._count

    async def submit(
        self, n: int, prepare: Callable[[], Rows], finish: Callable[[np.ndarray], Any], peer: str = "",
        small: bool = False,
    ) -> Any:  # fmt: skip
        """Compute ``n`` rows and return what ``finish`` makes of the samples.

        Args:
            n: rows that ``prepare`` will give.
            prepare: draws them; called in the thread that computes.
            finish: encodes the samples; called there, too.
            peer: who asks; "": nobody in particular, whose rows have no share.
            small: whether ``prepare`` and ``finish`` take less than a millisecond.

        Raises:
            Full: if too much is waiting, of all or of this client.
            Ending: if the server is being stopped.
            TimeoutError: if it takes longer than the timeout.
            Exception: whatever ``prepare``, the generator or ``finish`` raises.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self.timeout
        pending = _Pending(n, prepare, finish, loop, loop.create_future(), peer, small, until, left=n)
        with self._changed:
            # A request that is larger than the limit is computed where nothing else waits.
            if self._closed or self._ending:
                raise Ending
            if self._count and self._count + n > self.most_waiting:
                raise Full(f"{self._count:,} rows are waiting already")
            if peer and self._of[peer] and self._of[peer] + n > self.most_waiting // 2:
                raise Full(f"{self._of[peer]:,} rows are waiting for you already, and one client may have half of all")
            self._count += n
            self._of[peer] += n
            start = max(self._now, self._next[peer])
            self._next[peer] = start + n
            turn = start, next(self._number), pending
            if small and self.near:
                heapq.heappush(self._near, turn)
                self._turn_soon(loop)
            else:
                heapq.heappush(self._waiting, turn)
                self._changed.notify()
        self._open[pending] = None
        if self._watched is not loop and self.timeout < math.inf:
            self._watched = loop
            loop.call_later(self.timeout, self._look, loop)
        try:
            return await pending.future
        finally:
            del self._open[pending]
            if pending.counted:  # its client has left, or waited too long: a place for others
                with self._changed:
                    self._forget(pending)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell those who have waited for too long; one timer is for all, as they come in its order."""
        now = loop.time()
        for pending in [one for one in self._open if one.loop is loop]:
            if pending.until > now:
                loop.call_at(pending.until, self._look, loop)
                return
            if not pending.future.done():
                pending.future.set_exception(TimeoutError())
        self._watched = None

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

    def _turn_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # A turn of the loop later: what has arrived by then is one batch.
        if self._turning is not loop:
            self._turning = loop
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute one batch of small requests, after that of the thread if it is at one: they wait behind no others."""
        self._turning = None
        _deliver(self._computed(self._gathered(self._near)))
        if self._near:
            self._turn_soon(loop)

    def _work(self) -> None:
        # OpenMP counts by thread: this one would take all cores, and its helpers spin between batches.
        use_threads(self._threads)
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._changed.wait()
            self._send(self._computed(self._gathered(self._waiting)))

    def _send(self, outcomes: Iterable[tuple[_Pending, Any]]) -> None:
        """Hand outcomes over to the loops of who waits: those of small requests together, the others at once."""
        held: dict[asyncio.AbstractEventLoop, list[tuple[_Pending, Any]]] = {}
        for pending, outcome in outcomes:
            held.setdefault(pending.loop, []).append((pending, outcome))
            if not pending.small:
                _wake(pending.loop, held.pop(pending.loop))
        for loop, found in held.items():
            _wake(loop, found)

    def _gathered(self, waiting: list[_Turn]) -> list[tuple[_Pending, Rows]]:
        """Take rows of the first requests until the batch is full; a request may be taken in pieces."""
        batch: list[tuple[_Pending, Rows]] = []
        room = self.service.batch
        while room and waiting:
            with self._changed:  # whoever comes from here on begins later than this one
                start, _, first = waiting[0]
                self._now = max(self._now, start)
            if first.future.done():  # cancelled, or abandoned
                self._leave(waiting)
                continue
            if self._ending and not first.done:
                self._leave(waiting, Ending())
                continue
            try:
                first.rows = first.rows or first.prepare()
            except Exception as error:
                self._leave(waiting, error)
                continue
            taken = min(room, first.n - first.done)
            whole = taken == first.n
            batch.append((first, first.rows if whole else part(first.rows, first.done, first.done + taken)))
            first.done += taken
            room -= taken
            if first.done == first.n:
                with self._changed:
                    heapq.heappop(waiting)
        return batch

    def _leave(self, waiting: list[_Turn], outcome: Any = None) -> None:
        """Let the first request go before its time."""
        with self._changed:
            pending = heapq.heappop(waiting)[2]
            self._forget(pending)
        if outcome is not None:
            _wake(pending.loop, [(pending, outcome)])

    def _forget(self, pending: _Pending) -> None:
        """Count the rows of a request no more."""
        if not pending.counted:
            return
        pending.counted = False
        self._count -= pending.n
        self._of[pending.peer] -= pending.n
        if not self._of[pending.peer]:
            del self._of[pending.peer], self._next[pending.peer]

    def _computed(self, batch: list[tuple[_Pending, Rows]]) -> Iterator[tuple[_Pending, Any]]:
        """Compute a batch; yield the requests that are complete by it, each with its outcome."""
        if not batch:
            return
        start = time.perf_counter()
        try:
            with self._computing:
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
                with self._changed:
                    self._forget(pending)
                if not pending.future.done():  # else nobody waits: nothing is encoded
                    yield pending, _finished(pending)


def _finished(pending: _Pending) -> Any:
    """Return what a request gets: its answer, or what went wrong."""
    try:
        failed = next((made for made in pending.made if isinstance(made, Exception)), None)
        made = pending.made[0] if len(pending.made) == 1 else None
        return failed or pending.finish(np.concatenate(pending.made) if made is None else made)
    except Exception as error:
        return error


def _wake(loop: asyncio.AbstractEventLoop, outcomes: list[tuple[_Pending, Any]]) -> None:
    """Hand outcomes over in the thread of their loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_deliver, outcomes)
