"""A training in the logger ``saddlepoint``: what is told of it, how it stands, every line of ``log.jsonl``, its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from saddlepoint.core.logs import LOGGER, Telling, log
from saddlepoint.core.progress import duration
from saddlepoint.engine.settings import Means, Observer, Outcome, Reason, Settings
from saddlepoint.family import Progress
from saddlepoint.run.progress import LINE_SECONDS, Pace
from saddlepoint.run.trackers.content import event_of, numbers_of

_ENDED: dict[Reason, str] = {
    "budget": "the budget is spent", "stages": "all stages are over", "interrupted": "interrupted, and saved",
    "stopped": "ended by a callback", "finished": "nothing improved any more",
}  # fmt: skip


def logged(observer: Observer, settings: Settings) -> Observer:
    """Return an observer that hands on what it hears, and lets the log have it.

    Args:
        observer: hears everything as well.
        settings: the budget, for the time left.
    """
    pace = Pace(settings, LINE_SECONDS, at_once=False)

    def tick(at: Progress, seconds: float, means: Means) -> None:
        observer.tick(at, seconds, means)
        if LOGGER.isEnabledFor(logging.INFO) and (told := pace.at(at, seconds, means)) is not None:
            share, left, words = told
            log(logging.INFO, "  ".join(word for word in (f"{share:.0%}", left, words) if word))

    def report(line: Mapping[str, Any]) -> None:
        observer.report(line)
        if LOGGER.isEnabledFor(logging.DEBUG):
            log(logging.DEBUG, words_of(line))

    return replace(
        observer, tick=tick, report=report, say=Telling(observer.say), warn=Telling(observer.warn, logging.WARNING)
    )


def words_of(line: Mapping[str, Any]) -> str:
    """Return a line of ``log.jsonl`` in words.

    >>> words_of({"step": 10, "nimg": 640, "V": -1.25, "verdict": "no trouble seen", "signs": {"spread": 0.9}})
    'step 10, 0.6 kimg: V -1.25, doctor/spread 0.9, doctor/alarm 0, no trouble seen'
    >>> words_of({"step": 10, "nimg": 640, "event": "threads", "threads": 2})
    'step 10, 0.6 kimg: threads: threads 2'
    """
    numbers = (f"{name} {value:.6g}" for name, value in numbers_of(line).items() if not name.startswith("progress/"))
    words = (event_of(line), *numbers, str(line.get("verdict", "")))
    return f"step {line['step']:,}, {line.get('nimg', 0) / 1000:,.1f} kimg: {', '.join(word for word in words if word)}"


def ending(outcome: Outcome) -> str:
    """Return how a training ended, in words."""
    at = outcome.progress
    why = _ENDED.get(outcome.reason, outcome.reason)
    return f"{why}: {at.step:,} steps, {at.nimg / 1000:,.1f} kimg, {duration(outcome.seconds)}"
