"""The doctor at work: evaluations at reports, verdicts said aloud, healthy states kept, the word that a remedy is due.

Nothing here touches what training computes: a monitored run makes the same steps, bit for bit, as one without,
until a remedy is carried out (`engine/doctor/remedies.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.remedies import Course
from saddlepoint.engine.doctor.verdict import Diagnosis, Watch
from saddlepoint.engine.settings import Observer, Reason, Settings
from saddlepoint.engine.storage.checkpoint import list_checkpoints, step_of, write_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.training import TrainingState
from saddlepoint.family import Family, Iterative, Phase

FIRST_MILESTONE = 100  # from this step on, evaluations are made at milestones too
# Every third evaluation the classifier is asked; it costs half as much as all other indicators together.
THOROUGH_EVERY = 3
HEALTHY_NIMG = 50_000  # samples seen between two checkpoints without trouble
HEALTHY_KEPT = 2  # how many of them are kept: the newest, and one more in case it is damaged


def evaluation_is_due(step: int, report_every: int) -> bool:
    """Whether a report at ``step`` comes with an evaluation: regular ones, and milestones that are not close to one.

    >>> [step for step in (10, 100, 156, 200, 300, 312, 400, 500) if evaluation_is_due(step, 156)]
    [100, 156, 200, 312, 400]
    """
    to_regular = min(step % report_every, -step % report_every)  # steps to the nearest regular one, before or after
    return to_regular == 0 or (step >= FIRST_MILESTONE and 4 * to_regular >= report_every)


def plays(family: Family, stage: str) -> bool:
    """Whether the generator is trained in a stage; before that its samples say nothing of the game."""
    return any(
        family.averaged[0] in phase.trains for one in family.stages() if one.name == stage for phase in one.cycle
    )


class NullMonitor:
    """What the training loop asks of the doctor, answered by nobody."""

    def restore(self, read_log: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Take over what the log says of the run so far."""

    def begin(self, state: TrainingState) -> None:
        """Look at the state before the first step."""

    def record_gradients(self, state: TrainingState, phase: Phase, gradients: Sequence[Tensor | None]) -> None:
        """Look at a phase's gradients, in steps that a report follows."""

    def on_report(self, line: dict[str, Any], state: TrainingState, report_every: int) -> list[dict[str, Any]]:
        """Complete a log line; return it, and a second one if there is an event to note."""
        return [line]

    def note_divergence(self, what: str, state: TrainingState) -> list[dict[str, Any]]:
        """Return the log lines about a step that could not be made."""
        return []

    def reason(self, state: TrainingState) -> Reason | None:
        """Return why training should end after the latest report, or None."""
        return None


NULL_MONITOR = NullMonitor()


class Monitor(NullMonitor):
    """The doctor at work in one run.

    Args:
        evaluator: takes the indicators.
        settings: whether remedies are wanted, whether to stop when finished.
        folder: of the run.
        observer: who hears verdicts.
    """

    def __init__(self, evaluator: Evaluator, settings: Settings, folder: RunFolder, observer: Observer) -> None:
        self.evaluator, self.settings, self.folder, self.observer = evaluator, settings, folder, observer
        self.watch, self.course = Watch(), Course()
        self._healthy_nimg: int | None = None
        self._declined: tuple[str, int] | None = None
        self._norms: dict[str, list[float]] = {}

    @property
    def diagnosis(self) -> Diagnosis:
        """The verdict after the latest report."""
        return self.watch.diagnosis

    def restore(self, read_log: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Take over what the log says of the run so far."""
        self.watch, self.course, self._healthy_nimg = Watch(), Course(), None
        for line in read_log():
            self.watch.add(line)
            self.course.add(line)
        self.observer.diagnosis(self.diagnosis)

    def begin(self, state: TrainingState) -> None:
        """Keep the state at the start, if there may be remedies: where there was always trouble, they go back to it."""
        if self.settings.remedy == "auto":
            self._keep(state)

    def record_gradients(self, state: TrainingState, phase: Phase, gradients: Sequence[Tensor | None]) -> None:
        """Remember the norm of a phase's gradient; asked in the steps that a report follows only."""
        player = "G" if set(phase.trains) & set(state.family.averaged) else "D"
        squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
        if squares:
            # ||g||^2 = sum of the parameters' own; one number is read, so that an accelerator waits once.
            self._norms.setdefault(f"gradient {player}", []).append(math.sqrt(float(torch.stack(squares).sum())))

    def on_report(self, line: dict[str, Any], state: TrainingState, report_every: int) -> list[dict[str, Any]]:
        """Evaluate if it is due, and complete the log line; return it, and a second one for an event if any."""
        step, lines = state.step, [line]
        # Samples that take many passes of a network would take more time than the training between two reports.
        looks = plays(state.family, line["stage"]) and not isinstance(state.family, Iterative)
        if evaluation_is_due(step, report_every) and looks:
            norms = {name: sum(found) / len(found) for name, found in self._norms.items()}
            line["signs"] = self.evaluator.evaluate(
                state, norms, thorough=len(self.watch.evaluations) % THOROUGH_EVERY == 0
            )
            self._consider(line)  # first, so that the line carries the verdict that it leads to
            line["verdict"] = self.diagnosis.verdict
            if (event := self.course.review(self.watch, step, state.progress.nimg)) is not None:
                lines.append(event)
                self.course.add(event)
                self.observer.say(f"doctor: remedy '{event['remedy']}' is kept")
            elif self._worth_keeping(state):
                self._keep(state)
        self._norms = {}
        return lines

    def note_divergence(self, what: str, state: TrainingState) -> list[dict[str, Any]]:
        """Return the log line of the step that could not be made."""
        line = {"step": state.step + 1, "nimg": state.progress.nimg, "event": "diverged", "what": what}
        self._consider(line)
        return [line]

    def reason(self, state: TrainingState) -> Reason | None:
        """Return why training should end after the latest report, or None."""
        if self.settings.stop_when == "finished" and self.diagnosis.verdict == "finished":
            return "finished"
        # Asked before every step: where no remedy pays now, a longer budget on resuming changes that.
        wanted = self.settings.remedy == "auto" and not self.course.over and self.diagnosis.alarming
        return "verdict" if wanted and self._pays(state) else None

    def _pays(self, state: TrainingState) -> bool:
        """Whether a remedy is expected to pay within the budget that is left; say once why it is not."""
        if self._healthy_nimg is None:
            kept = list_checkpoints(self.folder.healthy)
            # Steps are of equal size.
            self._healthy_nimg = step_of(kept[0]) * state.family.config.batch_size if kept else 0
        left = self.settings.left(state.progress, state.seconds)
        why = self.course.pays(self.diagnosis.verdict, self._healthy_nimg, state.progress.nimg, left)
        alarm = (self.diagnosis.verdict, self.diagnosis.since)  # an alarm that stands is asked about at every step
        if why is not None and alarm != self._declined:
            self._declined = alarm
            self.observer.say(f"doctor: no remedy: {why}")
        return why is None

    def _consider(self, line: Mapping[str, Any]) -> None:
        before = self.diagnosis
        after = self.watch.add(line)
        # That a young run is old enough to be judged, and found in order, need not be said.
        told = after.alarming or before.alarming or "finished" in (before.verdict, after.verdict)
        if told and after.verdict != before.verdict:
            (self.observer.warn if after.alarming else self.observer.say)(f"doctor: {after}")
        self.observer.diagnosis(after)

    def _worth_keeping(self, state: TrainingState) -> bool:
        """Whether this state is one to come back to; a remedy on trial must not move the point of return."""
        if self.settings.remedy != "auto" or self.course.trial is not None or not self.watch.sound:
            return False
        kept = list_checkpoints(self.folder.healthy)
        steps = step_of(kept[0]) if kept else 0
        # (steps since) * nimg / steps >= HEALTHY_NIMG, without a division at step 0.
        return (state.step - steps) * state.progress.nimg >= HEALTHY_NIMG * state.step

    def _keep(self, state: TrainingState) -> None:
        if state.first_non_finite() is not None:
            return  # a loss may still be finite where a weight no longer is
        try:
            write_checkpoint(self.folder.healthy, state.checkpoint(), HEALTHY_KEPT)
            self._healthy_nimg = state.progress.nimg
        except CheckpointError as error:
            self.observer.warn(f"{error}; a remedy would go back further")
