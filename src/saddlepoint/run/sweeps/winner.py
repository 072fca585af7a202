"""The winner of a sweep: trained again with seeds that it was not chosen by, measured once on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saddlepoint.core.errors import TrainingError
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.metrics.bootstrap import student_interval
from saddlepoint.run.callbacks import train_with
from saddlepoint.run.plan import Plan
from saddlepoint.run.run import Run
from saddlepoint.run.sweeps.trial import Pruning, planned

if TYPE_CHECKING:
    from saddlepoint.evaluation import Result
    from saddlepoint.run.sweeps.store import Trial

SEEDS = 3
"""Trainings of the winner."""


@dataclass(frozen=True)
class Figure:
    """A figure of the winner on held-out rows, over its seeds.

    Attributes:
        protocol: full name.
        metric: name.
        better: lower, higher or neither.
        value: mean over seeds.
        interval: 95%, Student's, over seeds, cut where no figure can be: it counts another training, not another
            draw of the rows. None: one seed, or all have the same figure.
        values: of each seed, in order.
        floor: the figure of held-out rows in place of samples, where the protocol has it.
    """

    protocol: str
    metric: str
    better: str
    value: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    floor: float | None = None


@dataclass(frozen=True)
class Winner:
    """What the winner came to.

    Attributes:
        trial: its number.
        runs: folders of its trainings, one for each seed that did not diverge.
        diverged: why the others have none.
        figures: on held-out rows.
    """

    trial: int
    runs: tuple[Path, ...]
    diverged: tuple[str, ...]
    figures: tuple[Figure, ...]


def train_winner(
    base: Plan, options: dict[str, Any], best: Trial, folder: Path, seeds: int, observer: Observer,
    say: Callable[[str], None],
) -> Winner | None:  # fmt: skip
    """Train the winner with other seeds than the trials had, and measure it on the test rows; None: interrupted.

    What was trained or measured before is not again.

    Args:
        base: what all trainings of the sweep have in common.
        options: of the winner.
        best: its trial.
        folder: of the sweep.
        seeds: trainings.
        observer: hears of them.
        say: receives a line on each.
    """
    runs, diverged = list[Path](), list[str]()
    results: list[Sequence[Result]] = []
    for seed in range(base.settings.seed + 1, base.settings.seed + 1 + seeds):
        out, ended = folder / "winner" / f"{best.number:04d}-seed{seed}", Pruning(prunes=False)
        say(f"winner: trial {best.number}, seed {seed}: {out}")
        try:
            run = train_with(planned(base, options, out, seed, trial=False), [ended], observer)
        except TrainingError as error:
            diverged.append(f"seed {seed}: {error}")
            continue
        if ended.outcome is not None and ended.outcome.reason == "interrupted":
            return None
        runs.append(out)
        results.append(_measured(run, say, base.threads))
    return Winner(best.number, tuple(runs), tuple(diverged), tuple(_figures(results)))


def _measured(run: Run, say: Callable[[str], None], threads: int | None) -> Sequence[Result]:
    """Return the figures of a run's report; it is measured unless it was."""
    from saddlepoint.evaluation import kept_results

    folder = RunFolder(run.path)
    if not (folder.report / "index.html").exists():
        run.save_report(run.evaluate(say=say, threads=threads))
    return kept_results(folder.report)


def _figures(results: Sequence[Sequence[Result]]) -> list[Figure]:
    """Return each figure over the seeds that have it."""
    found = list[Figure]()
    for result in results[0] if results else ():
        for metric in result.metrics:
            if metric.name.endswith("p-value"):  # whose mean over trainings says nothing
                continue
            rows = [row for own in results for one in own if one.protocol == result.protocol
                    if (row := one.find(metric.name)) is not None]  # fmt: skip
            floors = [row.value for row in result.rows if row.metric == metric.name and row.row.startswith("held-out")]
            if rows:
                values = tuple(row.value for row in rows)
                spread = len(set(values)) > 1  # equal ones do not say how far another would be
                interval = student_interval(values, metric.least, metric.most) if spread else None
                mean = sum(values) / len(values)
                floor = floors[0] if floors else None
                found.append(Figure(result.protocol, metric.name, metric.better, mean, interval, values, floor))
    return found
