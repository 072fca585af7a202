"""A run measured, and its report: the figures, and beside them what was trained, on what, for how long."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saddlepoint.data import short_name
from saddlepoint.data.cache import cache_dir
from saddlepoint.engine.machine.threads import told_threads
from saddlepoint.engine.plan import unfinished
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Report, evaluate
from saddlepoint.evaluation.report.facts import changed_options, chosen_options
from saddlepoint.evaluation.report.page import Training, save_report
from saddlepoint.run import weights

if TYPE_CHECKING:
    from saddlepoint.run.run import Run


def measure(
    run: Run,
    protocols: Sequence[str] | None = None,
    *,
    seed: int,
    features: str | None,
    say: Callable[[str], None] | None,
    detail: Callable[[str], None] | None,
    partial: bool,
    threads: int | str | None,
) -> Report:
    """Measure the generator of a run; see `Run.evaluate`."""
    shown = contextlib.nullcontext() if weights.is_export(run.path) else RunFolder(run.path).measured()
    with shown as note:

        def tell(line: str) -> None:
            if note is not None:
                note(line)
            if say is not None:
                say(line)

        dataset = run.dataset(say)
        report = evaluate(
            run.subject(dataset), dataset, protocols, seed=seed, features=features,
            cache_dir=cache_dir() / "controls", progress=tell, detail=detail or say, partial=partial, threads=threads,
        )  # fmt: skip
    early = unfinished(run.family.stages(), run.step)
    first = (f"{early[:1].upper()}{early[1:]}.",) if early else ()
    return dataclasses.replace(report, limits=(*first, *report.limits))


def save(run: Run, report: Report, folder: str | Path | None) -> Path:
    """Write the report of a run; see `Run.save_report`."""
    place = RunFolder(run.path).own("report") if folder is None else folder
    return save_report(place, report, training_of(run))


def training_of(run: Run) -> Training:
    """Return what a report says of the training of a run."""
    config, diagnosis = run.config, run.diagnosis
    machine, seconds = config.get("machine", {}), run.seconds
    facts = {
        "run": run.path.name,
        "family": f"{config['family']}, preset {config['preset']}, seed of training {config['settings']['seed']}",
        "trained": f"{run.step * run.family.config.batch_size:,} samples seen, step {run.step:,}"
        + ("" if seconds is None else f", {seconds:,.0f} s of training"),
        "machine": ", ".join(str(machine[key]) for key in ("processor", "torch") if key in machine)
        + f", {told_threads(run.log, config.get('threads'))}, {config['device']}",
        "saddlepoint": str(config.get("saddlepoint", "?")),
    }
    about = {
        "run": f"{run.path.resolve().name}, {facts['trained']}",
        "family": f"{run.family.summary}; preset {config['preset']}",
        "options that differ from the preset": ", ".join(changed_options(config)) or "none",
        "chosen automatically": "; ".join(chosen_options(config)),
    }
    title = f"{config['family']} on {short_name(str(config['data']['name']))}"
    snapshots = RunFolder(run.path).samples
    return Training(run.log, diagnosis.verdict, diagnosis.evidence, facts, title, about, snapshots)
