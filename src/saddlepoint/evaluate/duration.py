"""How long an evaluation will take: small parts of it, timed, times how many of them there are."""

from __future__ import annotations

import time
from collections.abc import Callable

from saddlepoint._errors import DataError
from saddlepoint.evaluate.protocol import Protocol, Task
from saddlepoint.evaluate.sets import Bench

_PART = 16
_SAID = 5.0
"""Seconds below which nobody need be told."""


def timed(work: Callable[[], object], times: float = 1.0) -> float:
    """Return the seconds that ``work`` takes, times ``times``."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * times


def expected(protocol: Protocol, task: Task, controls: int) -> float:
    """Return about how many seconds a protocol will take on a bench.

    Args:
        protocol: what is measured.
        task: its task.
        controls: control sets that are measured anew, beside the model's samples.
    """
    sets = 1 + controls
    seconds = 0.0
    try:
        if task.extractor is not None:
            seconds += sets * _features(task)
        if protocol.seconds is not None:
            seconds += sets * protocol.seconds(task)
    except (DataError, ValueError, RuntimeError):
        # What cannot be measured in small may be refused in full, with words; its time is not known.
        return seconds
    return seconds


def _features(task: Task) -> float:
    """Return the time to look at one set of samples; what an earlier evaluation kept costs nothing, but is counted."""
    assert task.extractor is not None
    rows = task.bench.dataset.splits["test"].x[:_PART]
    extractor = task.extractor
    extractor.extract(rows)  # the first call pays for more than itself
    return timed(lambda: extractor.extract(rows), task.n / max(1, len(rows)))


def drawing(bench: Bench, n: int) -> float:
    """Return the time to draw ``n`` samples."""
    few = min(_PART, n)
    return timed(lambda: bench.subject.sample(few, bench.seed), n / few)


def words(seconds: float) -> str:
    """Return a time as people say it.

    >>> words(41), words(95), words(4000)
    ('40 s', '2 min', '1.1 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def worth_saying(seconds: float) -> bool:
    """Whether a time is long enough to be told beforehand."""
    return seconds >= _SAID
