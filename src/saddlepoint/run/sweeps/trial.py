"""One trial of a sweep: a training that the doctor may end, judged on validation rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saddlepoint.core.config import override
from saddlepoint.core.errors import ConfigError, DataError, TrainingError
from saddlepoint.core.progress import Say
from saddlepoint.data import Dataset
from saddlepoint.engine.doctor.rules import ALARMS
from saddlepoint.engine.machine.threads import measured_threads
from saddlepoint.engine.settings import SILENT, Observer, Outcome
from saddlepoint.evaluation.choosing import judge_for
from saddlepoint.run.callbacks import Callback, StopTraining, train_with
from saddlepoint.run.plan import Plan
from saddlepoint.run.run import Run


class Pruning(Callback):
    """Ends a training on which the doctor's alarm stands, and remembers how it ended.

    Args:
        prunes: whether it ends one.
    """

    def __init__(self, prunes: bool) -> None:
        self.prunes = prunes
        self.verdict = ""
        self.outcome: Outcome | None = None

    def on_report(self, line: Mapping[str, Any]) -> None:
        """Read the verdict of a line of the log."""
        if self.prunes and line.get("verdict") in ALARMS:
            self.verdict = str(line["verdict"])
            raise StopTraining(self.verdict)

    def on_end(self, run: Run, outcome: Outcome) -> None:
        """Remember how it ended."""
        self.outcome = outcome


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        state: complete, pruned, failed, or interrupted: it can go on.
        figure: on validation rows, lower is better; of a complete one.
        about: what else is kept of it.
    """

    state: str
    figure: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Validation:
    """Judges the runs of one sweep: one figure on validation rows, by the same rows and the same features for all.

    Args:
        dataset: of all runs; its test rows are not looked at.
        n: rows and samples, at most.
        seed: of the samples.
        features: name of a feature extractor; None: the best one for the data.
        say: receives lines on what takes long.

    Raises:
        ConfigError: on an extractor that does not fit the data.
        DataError: if there are fewer than 50 validation rows.
    """

    def __init__(self, dataset: Dataset, n: int, seed: int, features: str | None, say: Say) -> None:
        self.dataset, self.say = dataset, say
        self.judge = judge_for(dataset, n, seed, features, say, remedy="bring more data")
        for line in (f"judged by: {self.judge.figure}", *self.judge.notes):
            say(line)

    def measure(self, run: Run) -> tuple[float, float | None]:
        """Return the figure of a run, and its standard error.

        Raises:
            DataError: if it holds samples that are not finite.
        """
        estimate = self.judge.measure(run.subject(self.dataset))
        return estimate.value, estimate.standard_error


def planned(base: Plan, options: Mapping[str, Any], out: Path, seed: int, *, trial: bool) -> Plan:
    """Return the plan of one training of a sweep.

    Args:
        base: what all have in common.
        options: that were drawn.
        out: run folder.
        seed: of the training.
        trial: whether it is one of many: the doctor changes nothing, and no averages of other lengths are kept.

    Raises:
        ConfigError: if the options are not possible together.
    """
    settings = dataclasses.replace(base.settings, seed=seed, remedy="off")
    if trial:
        settings = dataclasses.replace(settings, averages="off")
    # What was drawn is named: nothing is chosen in its place from the data.
    named = None if base.named is None else base.named | set(options)
    return dataclasses.replace(base, options=override(base.options, options), out=out, settings=settings, named=named)


def carry_out(plan: Plan, prunes: bool, validation: Validation, observer: Observer = SILENT) -> Ended:
    """Train as planned, or go on with it, and judge it.

    Args:
        plan: of `planned`.
        prunes: whether the doctor's alarm ends it.
        validation: judges it.
        observer: hears of the training.
    """
    watch = Pruning(prunes)
    try:
        run = train_with(plan, [watch], observer)
    except TrainingError as error:
        return Ended("pruned", about={"why": str(error), "verdict": "diverged"})
    except ConfigError as error:
        return Ended("failed", about={"why": str(error)})
    outcome = watch.outcome
    assert outcome is not None
    about = {
        "step": outcome.progress.step, "nimg": outcome.progress.nimg, "seconds": round(outcome.seconds, 3),
        "verdict": run.diagnosis.verdict,
    }  # fmt: skip
    if watch.verdict:
        return Ended("pruned", about={**about, "why": f"the doctor: {run.diagnosis}"})
    if outcome.reason == "interrupted":
        return Ended("interrupted")
    try:
        with measured_threads(plan.threads, lambda: run.sample(16), validation.say):
            value, spread = validation.measure(run)
    except DataError as broken:
        return Ended("pruned", about={**about, "why": str(broken)})
    if not math.isfinite(value):
        return Ended("pruned", about={**about, "why": f"{validation.judge.figure} is {value}"})
    return Ended("complete", value, {**about, "standard_error": spread})
