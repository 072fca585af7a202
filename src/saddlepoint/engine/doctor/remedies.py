"""Remedies: change one thing, watch, keep or undo; go back only from what is lost; and write down all of it.

Training goes on from where it stands (event ``remedy``), or, where samples are one sample or numbers have diverged,
from the last state without trouble (event ``rollback``); where neither is expected to pay, as it is.

The log is the memory. Going back cuts it to the checkpoint, as resuming does; the lines that were cut off go to
``remedies/``. Either event says which remedy is on trial until when, so that the options in force are a function of
the log. Either is announced in ``rollback.json`` before it begins and carried out again if it was cut short.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saddlepoint.core.config import override, to_json
from saddlepoint.core.durable import flush
from saddlepoint.core.errors import CheckpointError, TrainingError
from saddlepoint.core.files import read_json, write_atomically
from saddlepoint.engine.doctor.verdict import CHANGES, Watch, diagnose
from saddlepoint.engine.settings import Observer, Outcome
from saddlepoint.engine.storage.checkpoint import (
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    step_of,
    write_checkpoint,
)
from saddlepoint.engine.storage.entries import is_sound
from saddlepoint.engine.storage.folder import RunFolder, reason
from saddlepoint.family import DataStats, FamilyConfig, Remedy

if TYPE_CHECKING:
    from saddlepoint.engine.loop import Trainer

# A remedy is watched until this many samples, or half of what was taken back if that is more, beyond the alarm.
WATCH_NIMG = 20_000
# What the budget must leave for a change from where training stands, as a multiple of the samples seen. It upsets
# players that went one way for so long: on ring8 samples were worse at twice as many samples, as good at four times.
PAYBACK = 3.0
MOST_REMEDIES = 12  # rollbacks in one run; after them training goes on as it is
LOST = ("full collapse", "diverged")
"""Verdicts of states that there is no going on from."""

GONE_BACK, FROM_HERE = CHANGES
PLACES = {GONE_BACK: "healthy", FROM_HERE: "checkpoints"}
"""Events that put a remedy on trial, and the folder whose checkpoint it starts from."""


@dataclass(frozen=True)
class Trial:
    """A remedy being watched.

    Attributes:
        remedy: its name.
        changes: the fields it changed.
        until: samples seen at which it is kept.
        verdict: what it is against.
        place: samples seen where it started.
    """

    remedy: str
    changes: Mapping[str, Any]
    until: int
    verdict: str = ""
    place: int = 0


@dataclass
class Course:
    """What the events of a log add up to.

    Attributes:
        kept: fields changed by remedies that healed.
        trial: the remedy being watched, or None.
        tried: remedies tried since the last one that was kept.
        rollbacks: how many remedies were put on trial, by going back or from where training stood.
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
        # The trial last: it may change a field again that an earlier remedy changed for good.
        return {**self.kept, **(self.trial.changes if self.trial else {})}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the log into account."""
        event = line.get("event")
        if event in PLACES:
            self.rollbacks, self.trial = int(line["number"]), None
            if line["remedy"] is None:
                self.over = True
            else:
                self.tried = (*self.tried, line["remedy"])
                verdict, place = str(line.get("verdict", "")), int(line["nimg"])
                self.trial = Trial(line["remedy"], dict(line["changes"]), int(line["until"]), verdict, place)
        elif event == "kept":
            # What helped makes another training: remedies that failed before may help now.
            self.kept, self.trial, self.tried = self.changes, None, ()

    def review(self, watch: Watch, step: int, nimg: int) -> dict[str, Any] | None:
        """Return the line that says the remedy on trial is kept, if it is time and nothing is wrong."""
        if self.trial is None or nimg < self.trial.until or not watch.sound:
            return None
        return {"step": step, "nimg": nimg, "event": "kept", "remedy": self.trial.remedy}

    def goes_back(self, verdict: str, healthy: int) -> bool:
        """Whether a remedy starts from the last state without trouble, at ``healthy`` samples seen."""
        trial = self.trial
        # Twice from one place to the same end: the place itself leads there.
        again = trial is not None and (trial.verdict, trial.place) == (verdict, healthy)
        return verdict in LOST and not again

    def pays(self, verdict: str, healthy: int, now: int, left: float) -> str | None:
        """Return why no remedy is expected to pay, in words; None where one is.

        Args:
            verdict: of the alarm.
            healthy: samples seen at the last state without trouble.
            now: samples seen.
            left: samples that the budget still allows.
        """
        back = self.goes_back(verdict, healthy)
        needed = now - healthy if back else PAYBACK * now  # going back, what is given up must be made again
        if left >= max(WATCH_NIMG, needed):
            return None
        rest = f"the budget leaves {left / 1000:,.0f} kimg"
        if back and needed > WATCH_NIMG:
            return f"going back would give up {needed / 1000:,.0f} kimg, and {rest}"
        return f"what a change upsets may take {max(WATCH_NIMG, needed) / 1000:,.0f} kimg to settle, and {rest}"

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
                # As fields that differ: the log keeps these, and they apply to a configuration read later.
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
    finish_announced(folder)
    while True:
        folder.recover(observer.warn)
        # The options in force are a function of the log, so a killed run goes on with the remedy it had.
        trainer = build(override(config, course_of(folder).changes))
        lost: TrainingError | None = None
        try:
            outcome = trainer.train(stats)
            if outcome.reason != "verdict":
                write_remedies(folder)
                return outcome
        except TrainingError as error:
            if trainer.settings.remedy != "auto":
                raise
            healthy, problems = newest_checkpoint(folder.healthy)
            if healthy is None:
                for problem in problems.values():
                    observer.warn(f"doctor: there is no going back: {problem}")
                raise
            lost = error
        _intervene(trainer, config, remedies, observer, lost)


def course_of(folder: RunFolder) -> Course:
    """Return what the events of the folder's log add up to."""
    course = Course()
    for line in folder.read_log():
        course.add(line)
    return course


def _intervene(
    trainer: Trainer, config: FamilyConfig, remedies: Sequence[Remedy], observer: Observer, lost: TrainingError | None
) -> None:
    """Undo the remedy on trial, if any, and put the next one on trial; raise what is lost if none is left."""
    folder = trainer.folder
    lines = folder.read_log()
    diagnosis, course = diagnose(lines), course_of(folder)  # from disk, as after a kill: one way only
    healthy, problems = newest_checkpoint(folder.healthy)
    if healthy is None:
        raise CheckpointError(
            f"no healthy checkpoint to go back to ({'; '.join(problems.values()) or 'none was kept'}); "
            "go on with --remedy off"
        )
    # Of the options kept for good: the remedy on trial has failed, and is undone by not being among them.
    chosen = None if course.over else course.choose(override(config, course.kept), diagnosis.verdict, remedies)
    if chosen is None and lost is not None:
        raise lost
    now, earlier = trainer.state.progress.nimg, int(healthy.facts["nimg"])
    # Of numbers that are not finite nothing can be made: there each remedy starts from the same place.
    back = lost is not None or (chosen is not None and course.goes_back(diagnosis.verdict, earlier))
    place, number = earlier if back else now, course.rollbacks + 1
    event: dict[str, Any] = {
        "step": healthy.step if back else trainer.state.step,
        "nimg": place,
        "event": GONE_BACK if back else FROM_HERE,
        "number": number,
        "verdict": diagnosis.verdict,
        "evidence": list(diagnosis.evidence),
        "alarm_nimg": now,
        "undone": course.trial.remedy if course.trial else None,
        "remedy": chosen[0].name if chosen else None,
        "why": chosen[0].why if chosen else "no remedy is left; training goes on as it is, verdicts are only told",
        "changes": chosen[1] if chosen else {},
        "until": now + max(WATCH_NIMG, (now - place) // 2),
        "abandoned": _archive(number),
    }
    for sentence in _told(event):
        observer.warn(sentence)
    # Announced before anything is touched: a process killed in between finds it and carries it out again.
    write_atomically(_announcement(folder), json.dumps({"event": event, "seconds": trainer.state.seconds}) + "\n")
    finish_announced(folder)
    observer.report(event)


def _told(event: Mapping[str, Any]) -> list[str]:
    """Say what is about to be done, and what is given up for it."""
    found = [f"doctor: remedy '{event['undone']}' did not help ({event['verdict']}); undone"] if event["undone"] else []
    if event["remedy"] is None:
        return [*found, f"doctor: {event['why']}"]
    changes = ", ".join(f"{key.replace('_', '-')} {_short(value)}" for key, value in event["changes"].items())
    remedy = f"remedy '{event['remedy']}' ({changes}), watched until {event['until'] / 1000:,.0f} kimg"
    given_up = (event["alarm_nimg"] - event["nimg"]) / 1000
    if event["event"] == FROM_HERE:
        return [*found, f"doctor: {remedy}; nothing is given up"]
    back = f"back to the last state without trouble, {event['nimg'] / 1000:,.0f} kimg"
    return [*found, f"doctor: {back}; {given_up:,.0f} kimg are given up; {remedy}"]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _announcement(folder: RunFolder) -> Path:
    return folder.path / "rollback.json"


def _archive(number: int) -> str:
    """Return the file of the run that keeps the log lines which a remedy gave up."""
    return f"remedies/{number:02d}.jsonl"


def _announced(folder: RunFolder) -> dict[str, Any] | None:
    """Return what is announced; None: nothing is.

    Raises:
        CheckpointError: if it cannot be what this program wrote.
    """
    path = _announcement(folder)
    try:
        found: dict[str, Any] = read_json(path, 1024**2)
        event, seconds = found["event"], found["seconds"]
        if not is_sound(event) or event["event"] not in PLACES or event["abandoned"] != _archive(event["number"]):
            raise ValueError("it announces nothing that can be carried out")
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ValueError(f"seconds are {str(seconds)[:20]}, but must be 0 or more")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"'{path}' is damaged: {reason(error)}") from error


def finish_announced(folder: RunFolder) -> None:
    """Carry out what is announced, if anything is; every part of it may have been done already.

    Raises:
        CheckpointError: if the announcement is damaged, or a folder of the run is a link.
    """
    announced = _announced(folder)
    if announced is None:
        return
    event = announced["event"]
    step, number = event["step"], event["number"]
    folder.refuse_links()
    lines = folder.read_log()
    abandoned = [line for line in lines if line.get("step", 0) > step]
    if abandoned:
        folder.own("remedies")
        # A second time nothing is left to abandon, so that the archive of the first is not written over.
        write_atomically(folder.path / _archive(number), "".join(json.dumps(line) + "\n" for line in abandoned))
    place = read_checkpoint(folder.path / PLACES[event["event"]] / f"step{step:08d}")
    # The time spent on what is given up stays spent.
    restored = replace(place, facts={**place.facts, "seconds": announced["seconds"]})
    write_checkpoint(folder.checkpoints, restored, keep=10**9)  # none goes for its age: later ones are removed below
    for path in list_checkpoints(folder.checkpoints):
        if step_of(path) > step:
            shutil.rmtree(path)
    flush(folder.checkpoints)  # or a loss of power could bring back what was given up, and nothing would announce it
    folder.drop_later(step)
    # Without this event's own line, which an earlier try may have written.
    kept = [line for line in lines if line.get("step", 0) <= step and line.get("number", 0) != number]
    folder.write_log([*kept, event])
    write_remedies(folder)
    _announcement(folder).unlink()  # last: until here all of it can be done again


def write_remedies(folder: RunFolder) -> None:
    """Write ``remedies.json``, the story for a reader: what was tried, why, and what came of it."""
    story: list[dict[str, Any]] = []
    for line in folder.read_log():
        if line.get("event") in PLACES:
            if story and line["undone"]:
                story[-1]["outcome"] = f"undone: {line['verdict']} at {line['alarm_nimg'] / 1000:,.0f} kimg"
            outcome = "watching" if line["remedy"] else "training goes on"
            names = ("number", "verdict", "evidence", "alarm_nimg", "remedy", "why", "changes", "until", "abandoned")
            story.append({**{name: line[name] for name in names}, "back_to_nimg": line["nimg"], "outcome": outcome})
        elif line.get("event") == "kept" and story:
            story[-1]["outcome"] = f"kept at {line['nimg'] / 1000:,.0f} kimg"
    if story:
        write_atomically(folder.path / "remedies.json", json.dumps(story, indent=1) + "\n")
