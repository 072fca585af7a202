"""A plan carried out: the data opened, the folder chosen, the engine set to work, alone or beside other processes."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.config import from_json, override, to_json
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.quoting import for_shell
from saddlepoint.data import Dataset
from saddlepoint.data.feed import Feed
from saddlepoint.data.plan import ReadingPlan
from saddlepoint.engine.doctor.diagnostics import Examiner
from saddlepoint.engine.doctor.monitor import NULL_MONITOR, Monitor
from saddlepoint.engine.doctor.remedies import course_of, finish_announced, train_with_remedies
from saddlepoint.engine.doctor.verdict import diagnose
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.distributed import ProcessGroup, join
from saddlepoint.engine.machine.precision import Precision, choose_precision
from saddlepoint.engine.machine.threads import AS_THEY_ARE, ChosenThreads, Threads
from saddlepoint.engine.settings import SILENT, Observer, Outcome
from saddlepoint.engine.storage.folder import OWN_NAMES, RunFolder
from saddlepoint.engine.storage.lookup import runs_folder
from saddlepoint.engine.storage.origin import counted
from saddlepoint.evaluation.features import shipped_classifier
from saddlepoint.family import Family, FamilyConfig, build_family, get_family
from saddlepoint.family.registry import families, has_changed, source_of
from saddlepoint.figures import grids, snapshots
from saddlepoint.run.plan import Plan, resolve
from saddlepoint.run.run import Run, load
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
    if not group.writes:
        observer, announce = SILENT, None
    runtime.keep_freed_memory()
    runtime.use_threads(request.threads)
    device = runtime.resolve_device(request.device, group.local_rank if group.size > 1 else None)
    asked = request
    resolved = group.in_turn(lambda: resolve(_among(asked, group, observer.say), device, observer.say))
    request, dataset, network = resolved.plan, resolved.dataset, resolved.network
    shares = request.settings.shares(request.options.batch_size, group.size)
    config = {**resolved.to_json(), "device": device.type, "machine": runtime.machine()}
    folder, resumed = group.shared(lambda: _choose_folder(request, config, fresh))
    precision = group.shared(lambda: _precision(request, network, device, folder if resumed else None))
    observer.say(f"precision: {precision}")
    threads = _threads(request, device, folder if resumed else None, group, observer.say)
    config |= {"processes": group.size, "precision": dataclasses.asdict(precision)}
    if (source := source_of(type(network))) is not None:
        config["family_source"] = source
    if resumed and has_changed(type(network), folder.read_config()):
        observer.warn(f"the file of the family '{request.family}' has changed since this run began")
    with contextlib.ExitStack() as held:
        if request.threads is None:
            held.callback(runtime.use_threads, torch.get_num_threads())
        group.shared(lambda: held.enter_context(folder.locked()))
        tell = folder.write_status if group.writes else _say_nothing
        group.shared(lambda: folder.write_config(config))
        feed = Feed(dataset.splits["train"], request.options.batch_size, request.settings.seed, device, shares)
        observer = dataclasses.replace(observer, snapshot=_snapshots(folder, dataset, network, observer))
        examiner = Examiner(dataset, request.settings.seed, device, shipped_classifier(dataset, device))

        def build(options: FamilyConfig) -> Trainer:
            monitor = Monitor(examiner, request.settings, folder, observer) if group.writes else NULL_MONITOR
            with rebuilt(folder) if resumed else contextlib.nullcontext():
                family = build_family(request.family, options, dataset.spec)
            trainer = Trainer(family, feed, request.settings, folder, observer, monitor, group, precision, threads)
            tell(state="running")
            return trainer

        if announce:
            announce(Start(folder.path, dataset, network, config, resumed, resolved.reading))
        try:
            outcome = _trained(build, request, folder, observer, dataset, group)
        except BaseException as error:
            tell(state="failed", reason=str(error) or type(error).__name__, **_verdict(folder))
            raise
        tell(
            state="interrupted" if outcome.reason == "interrupted" else "finished",
            reason=outcome.reason,
            **dataclasses.asdict(outcome.progress),
            seconds=outcome.seconds,
            **_verdict(folder),
        )
    return load(folder.path), outcome


def _precision(request: Plan, network: Family, device: torch.device, resumed: RunFolder | None) -> Precision:
    """Return what training is computed in; a run goes on as it began, unless it is told otherwise."""
    before = resumed.read_config().get("precision") if resumed else None
    if before is not None and request.settings.precision in ("auto", before["name"]):
        return Precision(**before)
    depth = request.preparation.get("depth") or 8
    return choose_precision(request.settings.precision, device, network.data.modality, depth)


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


def _trained(
    build: Callable[[FamilyConfig], Trainer],
    request: Plan,
    folder: RunFolder,
    observer: Observer,
    dataset: Dataset,
    group: ProcessGroup,
) -> Outcome:
    """Train, with remedies if there is one process; several start from the options that a run's log left in force."""
    if group.size == 1:
        remedies = get_family(request.family).remedies
        return train_with_remedies(build, request.options, remedies, folder, observer, dataset.stats)

    def in_force() -> FamilyConfig:
        finish_announced(folder)
        return override(request.options, course_of(folder).changes)

    return build(group.shared(in_force)).train(dataset.stats)


def _verdict(folder: RunFolder) -> dict[str, Any]:
    """Return the doctor's last word for ``status.json``."""
    diagnosis = diagnose(folder.read_log())
    return {"verdict": diagnosis.verdict, "evidence": list(diagnosis.evidence), "since_nimg": diagnosis.since}


def _choose_folder(request: Plan, config: Mapping[str, Any], fresh: bool) -> tuple[RunFolder, bool]:
    """Return the folder to train in and whether it already holds this training."""
    if request.out is not None:
        folder = RunFolder(request.out)
        if not (folder.path / "config.json").exists():
            if taken := [name for name in OWN_NAMES if (folder.path / name).exists()]:
                raise ConfigError(
                    f"'{folder.path}' is no run folder (it has no config.json), but holds {' and '.join(taken)}, "
                    "which a run would write over; choose another --out"
                )
            return folder, False
        kept = folder.read_config()
        if request.goes_on:
            _refuse_other_data(folder.path, kept, config)
        if difference := _difference(kept, config):
            raise ConfigError(
                f"'{folder.path}' holds a run of another configuration ({difference}); choose another --out or --name"
            )
        if fresh:
            raise ConfigError(f"'{folder.path}' holds this run already; remove it, or choose another --out")
        return folder, True
    runs = runs_folder(request.root)
    if not fresh and runs.is_dir():
        for path in sorted(runs.iterdir(), reverse=True):
            folder = RunFolder(path)
            if folder.read_status().get("state") in ("running", "interrupted", "failed") and _same_run(folder, config):
                return folder, True
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(request.source).name).strip("-")[:60]
    path = runs / f"{request.family}-{label}-{stamp}"
    number = 2
    while path.exists():
        path = runs / f"{request.family}-{label}-{stamp}-{number}"
        number += 1
    return RunFolder(path), False


def _refuse_other_data(path: Path, kept: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than a run began with, in words that say what changed and what can be done."""
    try:
        then, now = kept["data"], config["data"]
        if then["fingerprint"] == now["fingerprint"]:
            return
        begin = for_shell(
            "saddle", "train", str(kept["family"]), "--preset", str(kept["preset"]), "--data", str(now["source"])
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"'{path}/config.json' is damaged: {error}") from error
    raise DataError(
        f"'{path}' was trained on other data than '{now['source']}' holds: {counted(then, now)}. Bring the old data "
        f"back, or start a new run on what is there now: {begin}"
    )


def _same_run(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    try:
        if _difference(folder.read_config(), config):
            return False
        with folder.locked():
            return True
    except CheckpointError:
        return False


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must agree for two processes to work on the same training; the budget may differ."""
    data, settings = config["data"], config["settings"]
    return {
        "family": config["family"],
        "seed": settings["seed"],
        "data": data["fingerprint"],
        **{f"option {key}": value for key, value in _options(config).items()},
    }


def _options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a run's options as this version names and completes them: an earlier one may have known fewer."""
    kind = families().get(config["family"])
    if kind is None:
        return dict(config["options"])
    try:
        return to_json(from_json(kind.Config, config["options"]))
    except ConfigError:
        return dict(config["options"])


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words how two configurations differ in what must agree; empty if they do not."""
    try:
        before, after = _identity(old), _identity(new)
    except (KeyError, TypeError, AttributeError):
        return "its config.json is none of saddlepoint's"
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return ", ".join(
        _other_data(old["data"], new["data"])
        if key == "data"
        else f"{key}: {before.get(key)} there, {after.get(key)} now"
        for key in changed[:3]
    )


def _other_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words how two data sets differ: by their name, or how they are prepared, or else by what they hold."""
    if old.get("source") != new.get("source"):
        return f"data: {old.get('source')} there, {new.get('source')} now"
    before, after = dict(old.get("options") or {}), dict(new.get("options") or {})
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return (
        ", ".join(
            f"data option {key}: {before.get(key, 'not given')} there, {after.get(key, 'not given')} now"
            for key in changed[:3]
        )
        or f"data: {new.get('source')} has changed, {counted(old, new)}"
    )


def _snapshots(
    folder: RunFolder, dataset: Dataset, network: Family, observer: Observer
) -> Callable[[int, Tensor], None]:
    """Return what keeps a picture of every snapshot, then hands it on; a full disk loses the picture, not the run."""

    rows = None if dataset.modality == "image" else dataset.splits["train"].x
    columns = grids.class_columns(network.classes)

    def write(step: int, samples: Tensor) -> None:
        try:
            snapshots.save_snapshot(folder.samples, step, samples, rows, columns)
        except OSError as error:
            observer.warn(f"the samples of step {step} could not be written ({error.strerror}); training goes on")
        observer.snapshot(step, samples)

    return write
