"""Remedies: go back to the last healthy state, change one thing, watch, keep or undo; and write down all of it.

The log is the memory. A rollback cuts it back to the healthy checkpoint, as resuming does, and adds a line that says
which remedy is on trial until when; the lines that were cut off go to ``remedies/``. The options in force are
therefore a function of the log, and a run resumes with the remedy it had. A rollback is announced in
``rollback.json`` before it begins and carried out again if it was cut short.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from saddlepoint._errors import CheckpointError, TrainingError
from saddlepoint._files import write_atomically
from saddlepoint.config import override, to_json
from saddlepoint.engine.doctor import Diagnosis, Watch, diagnose
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.settings import Observer, Outcome
from saddlepoint.engine.state import (
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    step_of,
    write_checkpoint,
)
from saddlepoint.family import DataStats, FamilyConfig, Remedy

if TYPE_CHECKING:
    from saddlepoint.engine.loop import Trainer

WATCH_NIMG = 20_000
"""A remedy is watched until this many samples, or half of what was taken back if that is more, beyond the alarm."""

MOST_REMEDIES = 12
"""Rollbacks in one run; after them training goes on as it is."""

C = TypeVar("C", bound=FamilyConfig)


@dataclass(frozen=True)
class Trial:
    """A remedy being watched: its name, the fields it changed, and the count of samples at which it is kept."""

    remedy: str
    changes: Mapping[str, Any]
    until: int


@dataclass
class Course:
    """What the events of a log add up to.

    Attributes:
        kept: fields changed by remedies that healed.
        trial: the remedy being watched, or None.
        tried: remedies tried since the last one that was kept.
        rollbacks: how many there were.
        over: no remedy is left; training goes on and verdicts are only told.
    """

    kept: dict[str, Any] = field(default_factory=dict)
    trial: Trial | None = None
    tried: tuple[str, ...] = ()
    rollbacks: int = 0
    over: bool = False

    @property
    def changes(self) -> dict[str, Any]:
        """The fields in force that differ from the run's configuration."""
        return {**self.kept, **(self.trial.changes if self.trial else {})}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the log into account."""
        event = line.get("event")
        if event == "rollback":
            self.rollbacks, self.trial = int(line["number"]), None
            if line["remedy"] is None:
                self.over = True
            else:
                self.tried = (*self.tried, line["remedy"])
                self.trial = Trial(line["remedy"], dict(line["changes"]), int(line["until"]))
        elif event == "kept":
            self.kept, self.trial, self.tried = self.changes, None, ()

    def review(self, watch: Watch, step: int, nimg: int) -> dict[str, Any] | None:
        """Return the line that says the remedy on trial is kept, if it is time and nothing is wrong."""
        if self.trial is None or nimg < self.trial.until or not watch.sound:
            return None
        return {"step": step, "nimg": nimg, "event": "kept", "remedy": self.trial.remedy}

    def choose(
        self, config: FamilyConfig, verdict: str, remedies: Sequence[Remedy]
    ) -> tuple[Remedy, dict[str, Any]] | None:
        """Return the first remedy against ``verdict`` that was not tried yet, and the fields it changes."""
        if self.rollbacks >= MOST_REMEDIES:
            return None
        for remedy in remedies:
            if verdict not in remedy.verdicts or remedy.name in self.tried:
                continue
            changed = remedy.change(config)
            if changed is not None:
                before, after = to_json(config), to_json(changed)
                return remedy, {key: value for key, value in after.items() if value != before[key]}
        return None


def train_with_remedies(
    build: Callable[[FamilyConfig], Trainer],
    config: FamilyConfig,
    remedies: Sequence[Remedy],
    folder: RunFolder,
    observer: Observer,
    stats: Callable[[], DataStats],
) -> Outcome:
    """Train; whenever a verdict asks for a remedy, carry it out and train on.

    Args:
        build: makes a trainer from the options in force.
        config: the run's own options.
        remedies: the family's, in order.
        folder: of the run.
        observer: hears what is done.
        stats: as for `Trainer.train`.

    Raises:
        TrainingError: if training diverges and no remedy is left.
        CheckpointError: as `Trainer.train`; also if there is no healthy checkpoint to go back to.
    """
    finish_rollback(folder)
    while True:
        folder.recover(observer.warn)
        trainer = build(override(config, course_of(folder).changes))
        try:
            outcome = trainer.train(stats)
            if outcome.reason != "verdict":
                write_remedies(folder)
                return outcome
        except TrainingError:
            if (
                trainer.settings.remedy != "auto"
                or course_of(folder).over
                or newest_checkpoint(folder.healthy)[0] is None
            ):
                raise
        _intervene(trainer, config, remedies, observer)


def course_of(folder: RunFolder) -> Course:
    """Return what the events of the folder's log add up to."""
    course = Course()
    for line in folder.read_log():
        course.add(line)
    return course


def _intervene(trainer: Trainer, config: FamilyConfig, remedies: Sequence[Remedy], observer: Observer) -> None:
    """Undo the remedy on trial, if any, go back, and put the next one on trial."""
    folder = trainer.folder
    lines = folder.read_log()
    diagnosis, course = diagnose(lines), course_of(folder)
    healthy, problems = newest_checkpoint(folder.healthy)
    if healthy is None:
        raise CheckpointError(
            f"no healthy checkpoint to go back to ({'; '.join(problems.values()) or 'none was kept'}); "
            "go on with --remedy off"
        )
    alarm, back = trainer.state.progress.nimg, int(healthy.facts["nimg"])
    in_force = override(config, course.kept)
    chosen = course.choose(in_force, diagnosis.verdict, remedies)
    number = course.rollbacks + 1
    event: dict[str, Any] = {
        "step": healthy.step,
        "nimg": back,
        "event": "rollback",
        "number": number,
        "verdict": diagnosis.verdict,
        "evidence": list(diagnosis.evidence),
        "alarm_nimg": alarm,
        "undone": course.trial.remedy if course.trial else None,
        "remedy": chosen[0].name if chosen else None,
        "why": chosen[0].why if chosen else "no remedy is left; training goes on as before, verdicts are only told",
        "changes": chosen[1] if chosen else {},
        "until": alarm + max(WATCH_NIMG, (alarm - back) // 2),
        "abandoned": f"remedies/{number:02d}.jsonl",
    }
    for sentence in _told(event, diagnosis):
        observer.warn(sentence)
    write_atomically(_announcement(folder), json.dumps({"event": event, "seconds": trainer.state.seconds}) + "\n")
    finish_rollback(folder)
    observer.report(event)


def _told(event: Mapping[str, Any], diagnosis: Diagnosis) -> list[str]:
    """Say what is about to be done."""
    found = (
        [f"doctor: remedy '{event['undone']}' did not help ({diagnosis.verdict}); undone"] if event["undone"] else []
    )
    back = f"back to the last healthy state, {event['nimg'] / 1000:,.0f} kimg"
    if event["remedy"] is None:
        return [*found, f"doctor: {back}; {event['why']}"]
    changes = ", ".join(f"{key.replace('_', '-')} {_short(value)}" for key, value in event["changes"].items())
    return [
        *found,
        f"doctor: {back}; remedy '{event['remedy']}' ({changes}), watched until {event['until'] / 1000:,.0f} kimg",
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _announcement(folder: RunFolder) -> Path:
    return folder.path / "rollback.json"


def finish_rollback(folder: RunFolder) -> None:
    """Carry out the rollback that is announced, if there is one; every part of it may have been done already."""
    try:
        announced = json.loads(_announcement(folder).read_text())
    except FileNotFoundError:
        return
    except ValueError as error:
        raise CheckpointError(f"'{_announcement(folder)}' is damaged: {error}") from error
    event = announced["event"]
    step, number = int(event["step"]), int(event["number"])
    lines = folder.read_log()
    abandoned = [line for line in lines if line.get("step", 0) > step]
    archive = folder.path / event["abandoned"]
    if abandoned:
        archive.parent.mkdir(exist_ok=True)
        write_atomically(archive, "".join(json.dumps(line) + "\n" for line in abandoned))
    healthy = read_checkpoint(folder.healthy / f"step{step:08d}")
    # The time spent on what is given up stays spent.
    restored = replace(healthy, facts={**healthy.facts, "seconds": announced["seconds"]})
    write_checkpoint(folder.checkpoints, restored, keep=10**9)
    for path in list_checkpoints(folder.checkpoints):
        if step_of(path) > step:
            shutil.rmtree(path)
    folder.drop_snapshots(step)
    kept = [line for line in lines if line.get("step", 0) <= step and line.get("number", 0) != number]
    folder.write_log([*kept, event])
    write_remedies(folder)
    _announcement(folder).unlink()


def write_remedies(folder: RunFolder) -> None:
    """Write ``remedies.json``, the story for a reader: what was tried, why, and what came of it."""
    story: list[dict[str, Any]] = []
    for line in folder.read_log():
        if line.get("event") == "rollback":
            if story and line["undone"]:
                story[-1]["outcome"] = f"undone: {line['verdict']} at {line['alarm_nimg'] / 1000:,.0f} kimg"
            outcome = "watching" if line["remedy"] else "training goes on"
            names = ("number", "verdict", "evidence", "alarm_nimg", "remedy", "why", "changes", "until", "abandoned")
            story.append({**{name: line[name] for name in names}, "back_to_nimg": line["nimg"], "outcome": outcome})
        elif line.get("event") == "kept" and story:
            story[-1]["outcome"] = f"kept at {line['nimg'] / 1000:,.0f} kimg"
    if story:
        write_atomically(folder.path / "remedies.json", json.dumps(story, indent=1) + "\n")
