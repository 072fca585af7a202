"""How many CPU threads: measured for the step at hand, in the presence of what else runs, and looked at again.

On an idle machine a step on all cores may take half the time of one on a single core; beside other programs it may take
a hundred times as long, since threads wait for one another and one of them always lacks a core. Sums are taken in
another order with another number, which is therefore part of the log: a line whenever it changes.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from saddlepoint.engine.machine.runtime import read_threads, use_threads

Say = Callable[[str], None]

SLICE = 0.02  # seconds of steps that are timed with one number of threads before it is the next one's turn
SLICES = 10  # slices of each number of threads, if they fit into the time for a look
SLOW = 2.0  # seconds of a first step from which there is no second one; making kernels takes less
HOPELESS = 3.0  # a number with which a step takes so many times as long as with another one is not timed again
PAYS = 1.1  # more threads must be this much faster than fewer: they take cores from others
CHANGES = 1.25  # in the midst of a run another number must be this much faster than the present one: timings scatter
FIRST_SECONDS, FIRST_SHARE = 1.0, 0.01  # longest first look, in seconds; with a budget of time it is this share of it
LATER_SECONDS = 0.3  # longest later look, and the shortest limit of the first one
INTERVALS = (20.0, 320.0)  # seconds between looks: at first, and at most; each look that changes nothing doubles them
WINDOW = 1.0  # seconds of steps whose mean is one value of the pace
# Training has collapsed when each of so many windows took so many times as long a step as the run's median.
COLLAPSE, LASTING = 2.0, 3
OTHERS = 0.5  # mean number of other programs that want a core from which a sentence speaks of them


@dataclass(frozen=True)
class StepTimes:
    """What was measured.

    Attributes:
        seconds: mean of a step, by number of threads.
        others: mean number of other threads on this machine that wanted a core; None: it cannot be known here.
    """

    seconds: Mapping[int, float]
    others: float | None = None

    def best(self) -> int:
        """Return the smallest number of threads that is nearly as fast as the fastest.

        >>> StepTimes({1: 0.010, 2: 0.0095}).best(), StepTimes({1: 0.010, 2: 0.006}).best()
        (1, 2)
        """
        least = min(self.seconds.values())
        return min(n for n, seconds in self.seconds.items() if seconds <= PAYS * least)

    def better(self, present: int) -> int:
        """Return the best number, or the present one where the best is not much faster.

        >>> StepTimes({1: 0.010, 2: 0.0085}).better(1), StepTimes({1: 0.010, 2: 0.0075}).better(1)
        (1, 2)
        """
        best, now = self.best(), self.seconds.get(present, math.inf)
        return best if now > CHANGES * self.seconds[best] else present

    def told(self) -> str:
        """Say what was measured.

        >>> StepTimes({1: 0.003, 2: 0.31}, others=1.9).told()
        'here a step takes 3.0 ms with 1, 310 ms with 2: other programs use the cores'
        """
        each = ", ".join(f"{_shown(seconds)} with {n}" for n, seconds in sorted(self.seconds.items()))
        beside = self.others is not None and self.others >= OTHERS
        return f"here a step takes {each}" + (": other programs use the cores" if beside else "")


def time_steps(step: Callable[[], object], most: int, seconds: float = FIRST_SECONDS) -> StepTimes:
    """Time a step with ``most`` threads, half of them, and so on to one, in slices; the number in use stays as it was.

    Args:
        step: what is timed; called several times with each number.
        most: threads at most.
        seconds: about how long it may take, beside a first step of each number, which is not counted. Two steps of each
            are made in any case, of long ones one, and these only down to a number much slower than a larger one.
    """
    before = torch.get_num_threads()
    spent, others = dict[int, list[tuple[float, int]]](), list[int]()
    try:
        for count in _candidates(most):
            use_threads(count)
            first = _time_slice(step, 0.0)  # also makes threads, and kernels for them
            slow = first[0] > max(seconds, SLOW)
            # A long first step is believed: making threads and kernels is a small part of it.
            spent[count] = [first if slow else _time_slice(step, SLICE)]
            others += _wanting(count)
            if slow and _mean(spent[count]) > HOPELESS * min(map(_mean, spent.values())):
                break
        for _ in range(SLICES - 1):  # in turns: what else the machine does meanwhile meets all numbers alike
            least = min(map(_mean, spent.values()))
            hopeful = [n for n, slices in spent.items() if _mean(slices) <= HOPELESS * least]
            used = sum(passed for slices in spent.values() for passed, _ in slices)
            if len(hopeful) == 1 or used + _round(spent, hopeful) > seconds:
                break
            for count in hopeful:
                use_threads(count)
                spent[count].append(_time_slice(step, SLICE))
    finally:
        use_threads(before)
    return StepTimes({n: _mean(slices) for n, slices in spent.items()}, statistics.mean(others) if others else None)


def _candidates(most: int) -> list[int]:
    """Return ``most``, half of it, and so on.

    >>> _candidates(12), _candidates(2)
    ([12, 6, 3, 1], [2, 1])
    """
    found = [most]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _time_slice(step: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Make steps for some time, at least one; return the time they took and their number."""
    started, made = time.perf_counter(), 0
    while True:
        step()
        made += 1
        if (passed := time.perf_counter() - started) >= seconds:
            return passed, made


def _mean(slices: Sequence[tuple[float, int]]) -> float:
    return sum(seconds for seconds, _ in slices) / sum(made for _, made in slices)  # slices weigh by their steps


def _round(spent: Mapping[int, Sequence[tuple[float, int]]], counts: Sequence[int]) -> float:
    """Return about how long a turn of each of these numbers of threads takes."""
    return sum(max(SLICE, _mean(spent[n])) for n in counts)


def _wanting(own: int) -> list[int]:
    """Return how many threads of others want a core now, if this can be known."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return []
    # Only beside one thread of our own: how many of more are running at this moment is not known.
    return [max(0, running - 1)] if own == 1 else []


def _shown(seconds: float) -> str:
    """Return a time with two digits.

    >>> [_shown(seconds) for seconds in (0.00031, 0.003, 0.0123, 0.31, 1.53)]
    ['0.31 ms', '3.0 ms', '12 ms', '310 ms', '1.5 s']
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    thousandths = seconds * 1e3
    return f"{thousandths:.{2 if thousandths < 1 else 1 if thousandths < 10 else 0}f} ms"


class Threads:
    """The threads of one run that stay as they are: nothing is measured, nothing noted."""

    def restore(self, lines: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Take over what the log says of the run so far."""

    def before_step(self, step: int, nimg: int, stage: str, rehearse: Callable[[], object]) -> list[dict[str, Any]]:
        """Choose the number of threads for the coming step; return the log line of a change, if there is one.

        Args:
            step: steps made.
            nimg: samples seen.
            stage: that the coming step is part of.
            rehearse: computes what a step computes, and leaves nothing behind.
        """
        return []

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Notice how long the step inside takes."""
        yield


AS_THEY_ARE = Threads()


class ChosenThreads(Threads):
    """The threads of one run, as its log has them.

    Args:
        asked: a number that never changes; None: it is measured.
        before: the number that the run's configuration names; None: it names none, or the run is new.
        budget: seconds of the run, if they are limited.
        say: hears of choices.
    """

    def __init__(
        self, asked: int | None, *, before: int | None = None, budget: float | None = None, say: Say = lambda line: None
    ) -> None:
        self.asked, self.say, self._before = asked, say, before
        self.most = torch.get_num_threads()
        self.count: int | None = asked
        self._noted: int | None = None
        self._first = FIRST_SECONDS if budget is None else max(LATER_SECONDS, FIRST_SHARE * budget)
        self._rest, self._next, self._stage = INTERVALS[0], math.inf, ""  # no second look before a first one
        self._window, self._made = 0.0, 0
        self._pace: deque[float] = deque(maxlen=300)

    def restore(self, lines: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Begin with the number that the run had; a trainer of the same process keeps what it has measured."""
        self._noted = threads_of(lines(), self._before)
        # Sums come out otherwise with another number: a resumed run makes the steps it would have made.
        if self.count is None and self._noted is not None and self._noted <= self.most:
            self._take(self._noted)
        elif self.count is not None:
            use_threads(self.count)

    def before_step(self, step: int, nimg: int, stage: str, rehearse: Callable[[], object]) -> list[dict[str, Any]]:
        """Look if it is time to; say and return what changed."""
        seconds = dict[str, float]()
        if self.asked is None and self.most > 1 and self._due(stage):
            seconds = self._measure(rehearse)
        elif self.count is None:
            self._take(self.most)
        self._stage = stage
        # A number that was asked for is in the configuration; it is noted only where the log says another.
        changed = self.count != self._noted and (self.asked is None or self._noted is not None)
        if not changed:
            return []
        self._noted = self.count
        measured = {"step_seconds": seconds} if seconds else {}
        return [{"step": step, "nimg": nimg, "event": "threads", "threads": self.count, **measured}]

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Notice how long the step inside takes."""
        started = time.perf_counter()
        yield
        self._window, self._made = self._window + time.perf_counter() - started, self._made + 1
        # Windows of a second, not steps: of short steps single ones scatter, and of long ones each is a window.
        if self._window >= WINDOW:
            self._pace.append(self._window / self._made)
            self._window, self._made = 0.0, 0

    def collapsed(self) -> bool:
        """Whether the latest steps take much longer than those of the run so far."""
        if len(self._pace) < 2 * LASTING:
            return False
        pace = list(self._pace)
        # Each of the latest: a snapshot in between is no collapse. The median: a slow start is no standard.
        return min(pace[-LASTING:]) > COLLAPSE * statistics.median(pace[:-LASTING])

    def _due(self, stage: str) -> bool:
        other = bool(self._stage) and stage != self._stage  # another stage has steps of another length
        return self.count is None or other or time.monotonic() >= self._next or (self._made == 0 and self.collapsed())

    def _measure(self, rehearse: Callable[[], object]) -> dict[str, float]:
        """Time steps, choose, say it if that changes something; return the seconds of a step by number of threads."""
        first, before = self.count is None, self.count
        found = time_steps(rehearse, self.most, self._first if first else LATER_SECONDS)
        chosen = found.best() if self.count is None else found.better(self.count)
        self._rest = INTERVALS[0] if chosen != before else min(2 * self._rest, INTERVALS[1])
        self._take(chosen)
        if chosen != before:
            instead = "" if before is None else f" instead of {before}"
            self.say(f"threads: {chosen}{instead} ({found.told()})")
        return {str(n): float(f"{seconds:.3g}") for n, seconds in sorted(found.seconds.items())}

    def _take(self, count: int) -> None:
        self.count = use_threads(count)
        self._next = time.monotonic() + self._rest
        self._window, self._made = 0.0, 0  # another number has another pace
        self._pace.clear()


def threads_of(lines: Sequence[Mapping[str, Any]], configured: object = None) -> int | None:
    """Return the number of threads that a run used last, by its log, else by its configuration; None: not known.

    >>> threads_of([{"event": "threads", "threads": 2}, {"event": "threads", "threads": 1}, {"step": 9}], "auto")
    1
    """
    found = [line["threads"] for line in lines if line.get("event") == "threads"]
    known = found[-1] if found else configured
    return known if isinstance(known, int) else None


def told_threads(lines: Sequence[Mapping[str, Any]], configured: object = None) -> str:
    """Say which numbers of threads a run used.

    >>> told_threads([{"event": "threads", "threads": n} for n in (2, 1, 2)]), told_threads([], 4)
    ('1 to 2 threads', '4 threads')
    """
    used = {line["threads"] for line in lines if line.get("event") == "threads"} or {configured or "?"}
    return f"{min(used)} threads" if len(used) == 1 else f"{min(used)} to {max(used)} threads"


@contextmanager
def measured_threads(
    asked: int | str | None, step: Callable[[], object], say: Say = lambda line: None, *, worth: bool = True
) -> Iterator[int]:
    """Compute what is inside with a number of threads; afterwards it is as before.

    Args:
        asked: the number; ``auto`` or None: what is fastest for ``step``, here and now, up to the present number.
        step: a typical part of what is computed inside, some milliseconds long.
        say: hears of the choice.
        worth: whether what is inside takes long enough to measure; else the number stays where none is asked for.

    Raises:
        ConfigError: as `read_threads`.
    """
    before, chosen = torch.get_num_threads(), read_threads(asked)
    if chosen is None and before > 1 and worth:
        found = time_steps(step, before)
        chosen = found.best()
        say(f"threads: {chosen} ({found.told()})")
    try:
        yield use_threads(chosen)
    finally:
        use_threads(before)
