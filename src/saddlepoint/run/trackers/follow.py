"""A training followed by trackers: they hear what its log and its folder get, and nothing else.

The loop knows nothing of them. They read the lines of ``log.jsonl`` as they are written, the pictures in ``samples/``,
``config.json`` and the outcome; after an evaluation the figures of its report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from saddlepoint.engine.doctor.remedies import finish_announced
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.checkpoint import list_checkpoints, step_of
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run.trackers import kept
from saddlepoint.run.trackers.content import figures_of, settings_of, table_of
from saddlepoint.run.trackers.names import tracker_names
from saddlepoint.run.trackers.sender import Sender, senders

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report


@contextmanager
def followed(
    folder: RunFolder, names: Sequence[str] | None, config: Mapping[str, Any], observer: Observer
) -> Iterator[Observer]:
    """Let trackers follow a training in the block.

    Args:
        folder: of the run, which this process holds.
        names: of trackers; (): none any more; None: those that the run had before.
        config: the run's configuration.
        observer: hears everything as well.

    Yields:
        The observer for the engine.
    """
    if names == ():
        kept.forget(folder.path)
    wanted = tuple(kept.read_sent(folder.path)) if names is None else names
    if not wanted:
        yield observer
        return
    finish_announced(folder)  # what a killed process left undone of a remedy: steps are taken back by it
    checkpoints = list_checkpoints(folder.checkpoints)
    at_work = senders(wanted, folder.path, step_of(checkpoints[0]) if checkpoints else -1, observer.warn)
    known = settings_of(config)
    for sender in at_work:
        sender.call(lambda tracker: tracker.settings({tracker_names(known)[name]: v for name, v in known.items()}))
        if checkpoints:
            sender.catch_up()
    try:
        yield _heard(observer, at_work)
    finally:
        _end(folder, at_work)


def _end(folder: RunFolder, at_work: Sequence[Sender]) -> None:
    """Close trackers with the state in which the folder says that training ended."""
    state = str(folder.read_status().get("state", "failed"))
    for sender in at_work:
        sender.close("failed" if state == "running" else state)


def _heard(observer: Observer, at_work: Sequence[Sender]) -> Observer:
    """Return an observer that hands on what it hears, and lets the trackers have it."""
    last, told = Diagnosis(), Diagnosis()

    def diagnosis(found: Diagnosis) -> None:
        nonlocal last
        observer.diagnosis(found)
        last = found

    def report(line: Mapping[str, Any]) -> None:
        nonlocal told
        observer.report(line)
        words = str(last) if "verdict" in line and last.verdict != told.verdict else ""
        told = last if words else told
        for sender in at_work:
            sender.line(dict(line), words)

    def snapshot(step: int, samples: Tensor) -> None:
        observer.snapshot(step, samples)
        for sender in at_work:
            sender.picture(step)

    return replace(observer, diagnosis=diagnosis, report=report, snapshot=snapshot)


def send_report(folder: Path, report: Report, step: int, warn: Callable[[str], None]) -> None:
    """Send the figures of a report, with their intervals, to the trackers that a run is logged to.

    Args:
        folder: of the run.
        report: of its samples.
        step: of the weights that were measured.
        warn: a line that must be seen.
    """
    numbers, table = figures_of(report), table_of(report)
    names = tracker_names(numbers)
    state = str(RunFolder(folder).read_status().get("state", "finished"))
    for sender in senders(tuple(kept.read_sent(folder)), folder, None, warn):
        sender.call(lambda tracker: tracker.numbers(step, {names[name]: value for name, value in numbers.items()}))
        sender.call(lambda tracker: tracker.note(step, "figures/table", table))
        sender.close(state)
