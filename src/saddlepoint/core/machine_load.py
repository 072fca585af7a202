"""How busy the machine is with other programs: the wall clock against the processor time of work that just was done."""

from __future__ import annotations

import time
from collections import deque
from threading import get_ident

WINDOW, STEP = 60.0, 1.0
"""Seconds of work that are remembered, and between two notes."""

LEAST = 5.0
"""Seconds of work from which what was noted is fairer than a moment's look: other programs come and go."""

_GAP = 5.0
"""Seconds without a note after which work is taken to have paused: waiting for people says nothing."""

_NOTES: deque[tuple[int, float, float]] = deque()
"""Thread, wall clock and processor time of each note."""


def working() -> None:
    """Take note that this thread is in the midst of work that only waits for a core; cheap, for every step of it."""
    wall = time.perf_counter()
    if _NOTES and _NOTES[-1][0] == get_ident() and wall - _NOTES[-1][1] < STEP:
        return
    note(get_ident(), wall, time.thread_time())


def note(thread: int, wall: float, own: float) -> None:
    """Remember one note, and forget those from before a pause, of other threads, and of long ago."""
    if _NOTES and (_NOTES[-1][0] != thread or wall - _NOTES[-1][1] > _GAP + 10 * (own - _NOTES[-1][2])):
        _NOTES.clear()
    _NOTES.append((thread, wall, own))
    while wall - _NOTES[0][1] > WINDOW:
        _NOTES.popleft()


def lately() -> float | None:
    """Return how many times its processor time the latest work took, at least 1; None if too little was noted."""
    if not _NOTES:
        return None
    wall, own = (_NOTES[-1][place] - _NOTES[0][place] for place in (1, 2))
    return max(1.0, wall / own) if wall >= LEAST and own > 0 else None
