"""How long an evaluation will take: small parts of it, timed, times how many of them there are.

What is timed lasts milliseconds, and beside other programs the clock on the wall says of such a part either too little
or, where it had to wait for a core, a hundred times too much. So parts are timed by the processor time of this thread,
the quickest of a few repetitions counts, and how many times as long all of it took by the clock is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.machine_load import lately
from saddlepoint.core.progress import duration
from saddlepoint.evaluation.protocol import Protocol, Task
from saddlepoint.evaluation.sets import ROWS_PER_CENTROID, Bench
from saddlepoint.metrics import kmeans_centroids

_PART, _FEW = 64, 2
_DRAWN, _TIMED_ROWS = 16, 2_000
_SAID = 5.0
"""Seconds below which nobody need be told."""


_REPEATED, _ENOUGH = 3, 0.02
"""A part is timed so often, but not again once it has taken so many seconds."""

BUSY = 1.5
"""A machine on which work takes so many times its processor time is called busy."""


@dataclass(frozen=True)
class Forecast:
    """How long something will take.

    Attributes:
        seconds: on a machine that does nothing else.
        stretch: times as long it takes while this machine is as busy, at least 1.
        lately: whether that is what work took in the last minute, not what a moment's look says.
    """

    seconds: float
    stretch: float = 1.0
    lately: bool = False

    def text(self, more: str = "") -> str:
        """Say it, both ends where the machine is busy.

        Args:
            more: what follows the first number, such as " more after the training".

        >>> Forecast(41).text(), Forecast(41, 3.0, lately=True).text()
        ('about 40 s', 'about 40 s, or 2 min if this machine stays as busy as in the last minute')
        >>> Forecast(41, 3.0).text()
        'about 40 s, or up to 2 min if this machine stays as busy as at this moment'
        """
        told = f"about {duration(self.seconds, about=True)}{more}"
        if self.stretch < BUSY:
            return told
        long = duration(self.seconds * self.stretch, about=True)
        if self.lately:
            return f"{told}, or {long} if this machine stays as busy as in the last minute"
        return f"{told}, or up to {long} if this machine stays as busy as at this moment"


class Stretch:
    """How many times its processor time the work took since this was made, at least 1."""

    def __init__(self) -> None:
        self._wall, self._own = time.perf_counter(), time.thread_time()

    def forecast(self, seconds: float) -> Forecast:
        """Return the forecast of so many seconds of processor time: by what work took in the last minute, if known."""
        known = lately()
        return Forecast(seconds, self()) if known is None else Forecast(seconds, known, lately=True)

    def __call__(self) -> float:
        """Return it."""
        wall, own = time.perf_counter() - self._wall, time.thread_time() - self._own
        return max(1.0, wall / own) if own > 0 else 1.0


def timed(work: Callable[[], object], times: float = 1.0) -> float:
    """Return the seconds of processor time that ``work`` takes, times ``times``; it is done a few times."""
    work()  # the first call pays for more than itself
    quickest, spent = float("inf"), 0.0
    for _ in range(_REPEATED):
        start = time.thread_time()
        work()
        last = time.thread_time() - start
        quickest, spent = min(quickest, last), spent + last
        if spent > _ENOUGH:
            break
    return quickest * times


def timed_by_rows(work: Callable[[np.ndarray], object], rows: np.ndarray, few: int) -> tuple[float, float]:
    """Return the seconds of processor time of work that does not depend on its rows, and of each row.

    Args:
        work: on rows.
        rows: (n, ...) on which it is timed.
        few: of them on which it is timed too, taken to be no more than the fixed part.
    """
    some = rows[:few]
    fixed = timed(lambda: work(some))
    if len(rows) == len(some):
        return fixed, 0.0
    return fixed, max(0.0, timed(lambda: work(rows)) - fixed) / (len(rows) - len(some))


def expected(protocol: Protocol, task: Task, controls: int) -> float:
    """Return about how many seconds a protocol will take on a bench, beside the features that it shares with others.

    Args:
        protocol: what is measured.
        task: its task.
        controls: control sets that are measured anew, beside the model's samples.
    """
    try:
        if protocol.seconds is not None:
            return (1 + controls) * protocol.seconds(task)
    except (DataError, ValueError, RuntimeError):
        # What cannot be measured in small may be refused in full, with words; its time is not known.
        return 0.0
    return 0.0


def features(tasks: Sequence[tuple[Task, int]]) -> float:
    """Return the time to look at all sets of samples, once for each extractor, however many protocols share it.

    Args:
        tasks: each with the number of its control sets that are measured anew.
    """
    sets: dict[str, tuple[Task, int]] = {}
    for task, controls in tasks:
        if task.extractor is not None:
            key = task.extractor.sha256
            before = sets.get(key, (task, 0))
            sets[key] = (max(before[0], task, key=lambda one: one.n), max(before[1], 2 + controls))
    return sum(count * extraction(task) for task, count in sets.values())


def extraction(task: Task) -> float:
    """Return the time to look at one set of samples; what an earlier evaluation kept costs nothing, but is counted."""
    extractor = task.extractor
    if extractor is None:
        return 0.0
    rows = task.bench.dataset.splits["test"].x[:_PART]
    return timed(lambda: extractor.extract(rows), task.n / max(1, len(rows)))


def centroids(bench: Bench, n: int) -> float:
    """Return the time to make ``n`` k-means centroids as a control set."""
    train = bench.dataset.splits["train"].x
    part = np.asarray(train[:_TIMED_ROWS])
    few, clusters = max(1, len(part) // ROWS_PER_CENTROID), max(1, min(n, len(train) // ROWS_PER_CENTROID))
    return timed(lambda: kmeans_centroids(part, few, bench.seed), len(train) / len(part) * clusters / few)


def stand_in(task: Task, most: int) -> np.ndarray:
    """Return made-up features of as many columns as the real ones, at most ``most`` rows: only their time counts."""
    task_rows = task.bench.dataset.splits["test"].x[:_FEW]
    wide = task_rows.reshape(len(task_rows), -1).shape[1]
    if task.extractor is not None:
        wide = task.extractor.extract(np.ascontiguousarray(task_rows)).x.shape[1]
    return np.random.default_rng(0).normal(size=(max(_FEW, min(task.n, most)), wide)).astype(np.float32)


def drawing(bench: Bench, n: int) -> float:
    """Return the time to draw ``n`` samples."""
    few = min(_DRAWN, n)
    return timed(lambda: bench.subject.sample(few, bench.seed), n / few)


def worth_saying(seconds: float) -> bool:
    """Whether a time is long enough to be told beforehand."""
    return seconds >= _SAID
