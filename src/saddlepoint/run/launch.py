"""A plan carried out: the data opened, the folder chosen, the engine set to work, alone or beside other processes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from saddlepoint.core.config import override
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.logs import log
from saddlepoint.data import Dataset
from saddlepoint.data.feed import Feed
from saddlepoint.data.plan import ReadingPlan
from saddlepoint.data.poisson import PoissonFeed
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.monitor import NULL_MONITOR, Monitor
from saddlepoint.engine.doctor.remedies import course_of, finish_announced, train_with_remedies
from saddlepoint.engine.doctor.verdict import diagnose
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.distributed import ProcessGroup, join
from saddlepoint.engine.machine.precision import Precision, choose_precision, kernels_told
from saddlepoint.engine.machine.threads import AS_THEY_ARE, ChosenThreads, Threads
from saddlepoint.engine.privacy.secret import secret_of
from saddlepoint.engine.privacy.trainer import PrivateTrainer
from saddlepoint.engine.settings import SILENT, Observer, Outcome
from saddlepoint.engine.storage.checkpoint import list_checkpoints
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.warm_start import first_layers
from saddlepoint.evaluation.features import shipped_classifier
from saddlepoint.family import Family, FamilyConfig, build_family, get_family
from saddlepoint.family.capabilities import remedies
from saddlepoint.family.registry import has_changed, source_of
from saddlepoint.figures import grids, snapshots
from saddlepoint.nn.native import dispatch
from saddlepoint.run.fine_tuning import beginning, opened
from saddlepoint.run.logged import ending, logged
from saddlepoint.run.place import choose_folder
from saddlepoint.run.plan import Plan, Resolved, resolve
from saddlepoint.run.privacy import spent_by
from saddlepoint.run.progress import sentence
from saddlepoint.run.run import Run, load
from saddlepoint.run.trackers.follow import followed
from saddlepoint.run.weights import rebuilt


@dataclass(frozen=True)
class Start:
    """What is known when training begins: folder, data, networks, whether it goes on, and how the data is read."""

    folder: Path
    dataset: Dataset
    family: Family
    config: Mapping[str, Any]
    resumed: bool
    reading: ReadingPlan


def start(
    request: Plan,
    observer: Observer = SILENT,
    *,
    fresh: bool = False,
    announce: Callable[[Start], None] | None = None,
) -> tuple[Run, Outcome]:
    """Carry out a plan.

    Args:
        request: what to train.
        observer: who hears of progress.
        fresh: begin a new run although an unfinished one of the same configuration is there.
        announce: called once everything is loaded, before the first step.

    Returns:
        The run and how training ended. Raises as `train`.
    """
    group = join()
    if group.writes:
        observer = logged(observer, request.settings)
    else:
        observer, announce = SILENT, None
    runtime.keep_freed_memory()
    runtime.use_threads(request.threads)
    job = _prepared(request, group, observer, fresh)
    with contextlib.ExitStack() as held:
        if request.threads is None:
            held.callback(runtime.use_threads, torch.get_num_threads())
        held.enter_context(runtime.sums_in_one_order(job.device, request.settings.deterministic))
        group.shared(lambda: held.enter_context(job.folder.locked()))
        outcome = _carried_out(job, observer, announce)
    if group.writes:
        log(logging.INFO, ending(outcome))
    return load(job.folder.path), outcome


@dataclass(frozen=True)
class _Job:
    """A plan whose data is read, whose folder is chosen, and all that its training is computed with."""

    resolved: Resolved
    shares: int
    config: Mapping[str, Any]
    folder: RunFolder
    resumed: bool
    group: ProcessGroup
    device: torch.device
    precision: Precision
    threads: Threads
    warm_start: Callable[[Family, Collection[str]], None] | None

    @property
    def plan(self) -> Plan:
        """The plan, with what was chosen from the data."""
        return self.resolved.plan


def _prepared(request: Plan, group: ProcessGroup, observer: Observer, fresh: bool) -> _Job:
    """Read the data, choose the folder and what computes; of several processes all take the choice of the first."""
    device = runtime.resolve_device(request.device, group.local_rank if group.size > 1 else None)
    runtime.use_device(device)
    resolved = group.in_turn(lambda: resolve(_among(request, group, observer.say), device, observer.say))
    plan, network = resolved.plan, resolved.network
    if plan.settings.privacy is not None and group.size > 1:
        raise ConfigError(f"{group.size} processes would draw rows apart, but --private counts on one; use one process")
    shares = plan.settings.shares(plan.options.batch_size, group.size)
    config = {**resolved.to_json(), "device": device.type}
    first_layers(network, plan.settings.freeze_discriminator)  # refuses what cannot be before a folder is made
    origin = opened(plan.start_from, type(network)) if plan.start_from and not plan.goes_on else None
    if plan.start_from:
        config["start_from"] = (
            RunFolder(cast(Path, plan.out)).read_config()["start_from"] if origin is None else origin.facts
        )
    folder, resumed = group.shared(lambda: choose_folder(plan, config, fresh))
    precision = group.shared(lambda: _precision(plan, network, device, folder if resumed else None))
    observer.say(f"precision: {precision}")
    config["machine"] = _machine(precision, device, folder if resumed else None, group, observer)
    threads = _threads(plan, device, folder if resumed else None, group, observer.say)
    config |= {"processes": group.size, "precision": dataclasses.asdict(precision)}
    if (source := source_of(type(network))) is not None:
        config["family_source"] = source
    if resumed and has_changed(type(network), folder.read_config()):
        observer.warn(f"the file of the family '{plan.family}' has changed since this run began")
    warm_start = beginning(config.get("start_from"), origin, type(network), observer.say)
    return _Job(resolved, shares, config, folder, resumed, group, device, precision, threads, warm_start)


def _carried_out(job: _Job, observer: Observer, announce: Callable[[Start], None] | None) -> Outcome:
    """Train in the folder, which is locked, and let trackers follow, where there are any."""
    job.group.shared(lambda: job.folder.write_config(job.config))
    if not job.group.writes:
        return _trained_to_the_end(job, observer, announce)
    with followed(job.folder, job.plan.log_to, job.config, observer) as heard:
        return _trained_to_the_end(job, heard, announce)


def _trained_to_the_end(job: _Job, observer: Observer, announce: Callable[[Start], None] | None) -> Outcome:
    """Train, and keep in ``status.json`` how that stands and ends."""
    folder, resolved = job.folder, job.resolved
    tell = folder.write_status if job.group.writes else _say_nothing
    observer = replace(
        observer,
        snapshot=_snapshots(
            folder, resolved.dataset, resolved.network, observer, job.plan.settings.privacy is not None
        ),
    )
    build = _builder(job, observer, lambda: tell(state="running"))
    begun = Start(folder.path, resolved.dataset, resolved.network, job.config, job.resumed, resolved.reading)
    if job.group.writes:
        log(logging.INFO, sentence(begun))
    if announce:
        announce(begun)
    try:
        outcome = _trained(build, job, observer)
    except BaseException as error:
        tell(state="failed", reason=str(error) or type(error).__name__, **_verdict(folder))
        raise
    tell(
        state="interrupted" if outcome.reason == "interrupted" else "finished",
        reason=outcome.reason,
        **dataclasses.asdict(outcome.progress),
        seconds=outcome.seconds,
        **_spent(job, outcome, observer),
        **_verdict(folder),
    )
    return outcome


def _builder(job: _Job, observer: Observer, built: Callable[[], None]) -> Callable[[FamilyConfig], Trainer]:
    """Return what builds networks and trainer for options, which a remedy may change; ``built`` hears of each time."""
    plan, dataset, group, folder = job.plan, job.resolved.dataset, job.group, job.folder
    settings, device = plan.settings, job.device
    if settings.privacy is not None:
        return _private_builder(job, observer, built)
    feed = Feed(dataset.splits["train"], plan.options.batch_size, settings.seed, device, job.shares)
    evaluator = Evaluator(dataset, settings.seed, device, shipped_classifier(dataset, device))

    def build(options: FamilyConfig) -> Trainer:
        monitor = Monitor(evaluator, settings, folder, observer) if group.writes else NULL_MONITOR
        with rebuilt(folder) if job.resumed else contextlib.nullcontext():
            family = build_family(plan.family, options, dataset.spec)
        trainer = Trainer(
            family, feed, settings, folder, observer, monitor, group, job.precision, job.threads, job.warm_start
        )
        built()
        return trainer

    return build


def _private_builder(job: _Job, observer: Observer, built: Callable[[], None]) -> Callable[[FamilyConfig], Trainer]:
    """Return the same for a private run: minibatches by Poisson sampling, and no doctor, who would look at rows."""
    plan, dataset, folder = job.plan, job.resolved.dataset, job.folder
    secret = secret_of(folder, bool(list_checkpoints(folder.checkpoints)))
    feed = PoissonFeed(dataset.splits["train"], plan.options.batch_size, secret, job.device)

    def build(options: FamilyConfig) -> Trainer:
        with rebuilt(folder) if job.resumed else contextlib.nullcontext():
            family = build_family(plan.family, options, dataset.spec)
        trainer = PrivateTrainer(
            family, feed, plan.settings, folder, observer, NULL_MONITOR, job.group, job.precision, job.threads,
            job.warm_start, secret=secret,
        )  # fmt: skip
        built()
        return trainer

    return build


def _spent(job: _Job, outcome: Outcome, observer: Observer) -> dict[str, float]:
    """Return what a private run has spent, and say it; nothing of others."""
    found = spent_by(job.plan.settings, job.resolved.network, outcome.progress.step)
    if found is None:
        return {}
    observer.say(f"privacy: {found}")
    return {"epsilon": found.epsilon, "delta": found.delta} if found.epsilon < float("inf") else {}


def _precision(request: Plan, network: Family, device: torch.device, resumed: RunFolder | None) -> Precision:
    """Return what training is computed in; a run goes on as it began, unless it is told otherwise."""
    before = resumed.read_config().get("precision") if resumed else None
    if before is not None and request.settings.precision in ("auto", before["name"]):
        return Precision(**before)
    depth = request.preparation.get("depth") or 8
    return choose_precision(request.settings.precision, device, network.data.modality, depth)


def _machine(
    precision: Precision, device: torch.device, resumed: RunFolder | None, group: ProcessGroup, observer: Observer
) -> dict[str, Any]:
    """Describe the machine, and say what computes products; the kernels in C are compiled by the first process."""
    told = group.in_turn(lambda: kernels_told(precision, device))
    if told is not None:
        observer.say(f"kernels: {told}")
    found = {**runtime.machine(), "kernels": dispatch.state() if told is not None else "PyTorch"}
    if resumed and told is not None:
        # Runs of before there were kernels do not name any.
        kept = str((resumed.read_config().get("machine") or {}).get("kernels", "PyTorch"))
        before, now = ("the kernels in C" if each.startswith("C") else "PyTorch's" for each in (kept, found["kernels"]))
        if before != now:
            observer.warn(f"this run began with {before} and goes on with {now}: from here its sums round otherwise")
    return found


def _threads(
    request: Plan, device: torch.device, resumed: RunFolder | None, group: ProcessGroup, say: Callable[[str], None]
) -> Threads:
    """Return who chooses the number of threads; beside other processes of the run, and for a GPU, it stays."""
    if group.size > 1 or device.type != "cpu":
        return AS_THEY_ARE
    before = resumed.read_config().get("threads") if resumed else None
    return ChosenThreads(
        request.threads, before=before if isinstance(before, int) else None, budget=request.settings.seconds, say=say
    )


def _say_nothing(**status: Any) -> None:
    pass


def _among(request: Plan, group: ProcessGroup, say: Callable[[str], None]) -> Plan:
    """Return the plan as several processes can carry it out: they cannot go back together, so remedies are off."""
    if group.size == 1:
        return request
    say(f"{group.size} processes train together: the doctor tells what it sees, remedies are off")
    return replace(request, settings=replace(request.settings, remedy="off"))


def _trained(build: Callable[[FamilyConfig], Trainer], job: _Job, observer: Observer) -> Outcome:
    """Train, with remedies if there is one process; several start from the options that a run's log left in force."""
    plan, folder, stats = job.plan, job.folder, job.resolved.dataset.stats
    if job.group.size == 1:
        return train_with_remedies(build, plan.options, remedies(get_family(plan.family)), folder, observer, stats)

    def in_force() -> FamilyConfig:
        finish_announced(folder)
        return override(plan.options, course_of(folder).changes)

    return build(job.group.shared(in_force)).train(stats)


def _verdict(folder: RunFolder) -> dict[str, Any]:
    """Return the doctor's last word for ``status.json``."""
    diagnosis = diagnose(folder.read_log())
    return {"verdict": diagnosis.verdict, "evidence": list(diagnosis.evidence), "since_nimg": diagnosis.since}


def _snapshots(
    folder: RunFolder, dataset: Dataset, network: Family, observer: Observer, private: bool
) -> Callable[[int, Tensor], None]:
    """Return what keeps a picture of every snapshot, then hands it on; a full disk loses the picture, not the run."""

    rows = None if dataset.modality == "image" or private else dataset.splits["train"].x
    columns = grids.class_columns(network.classes)

    def write(step: int, samples: Tensor) -> None:
        try:
            snapshots.save_snapshot(folder.samples, step, samples, rows, columns)
        except OSError as error:
            observer.warn(f"the samples of step {step} could not be written ({error.strerror}); training goes on")
        observer.snapshot(step, samples)

    return write
