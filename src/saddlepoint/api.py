"""Training in Python: a request becomes a plan, the plan becomes a run. The command is a thin layer over this."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint import __version__, explore
from saddlepoint._errors import CheckpointError, ConfigError, suggest
from saddlepoint.config import from_json, override, to_json
from saddlepoint.data import Dataset, absolute_source, load_dataset, natural_side
from saddlepoint.data.feed import Feed
from saddlepoint.engine import runtime
from saddlepoint.engine.care import Care
from saddlepoint.engine.doctor import diagnose
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.remedies import train_with_remedies
from saddlepoint.engine.settings import SILENT, Observer, Outcome, Settings
from saddlepoint.engine.signs import Examiner
from saddlepoint.family import Family, FamilyConfig, build_family, families, get_family, get_preset
from saddlepoint.features import shipped_classifier
from saddlepoint.run import Run, load

__all__ = ["Plan", "Run", "families", "load", "parse_budget", "plan", "plan_to_resume", "resume", "start", "train"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Plan:
    """A training request with every choice resolved, before any data is read.

    Attributes:
        family: name of the family.
        preset: name of the preset that the options started from.
        options: the family's configuration.
        source: data set name, path or hub id.
        preparation: how images are prepared: size, channels, fit.
        settings: seed, budget and cadence.
        device: cpu, cuda, mps or auto.
        threads: CPU threads; None leaves the choice to PyTorch.
        out: run folder; None: a new one below ``runs/``, or an unfinished one of the same configuration.
        chosen: options that the user named; None: nothing is left to choose from the data.
    """

    family: str
    preset: str
    options: FamilyConfig
    source: str
    preparation: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    device: str = "auto"
    threads: int | None = None
    out: Path | None = None
    chosen: frozenset[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it is printed by a dry run and kept in ``config.json``."""
        return {
            "saddlepoint": __version__,
            "family": self.family,
            "preset": self.preset,
            "options": to_json(self.options),
            "data": {"source": self.source, **self.preparation},
            "settings": dataclasses.asdict(self.settings),
            "device": self.device,
            "threads": self.threads,
        }


def plan(
    family: str = "gan",
    data: str = "mnist",
    *,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
    kimg: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    checkpoint: str | float = "60s",
    remedy: str | None = None,
    stop_when: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    fit: str = "crop",
) -> Plan:
    """Resolve a training request without reading any data.

    Args:
        family: name of a family; `saddlepoint.families()` lists them.
        data: name of a data set, path of images or arrays, or ``hf:owner/name``.
        preset: named configuration of the family; None: its default.
        options: fields of the family's configuration to change, such as ``{"batch_size": 64}``.
        budget: training time, such as ``"90s"``, ``"3m"``, ``"1.5h"``, or seconds as a number.
        kimg, steps: budget in thousands of samples seen, in steps. The first spent ends training; none: the family's.
        seed: of weights, data order and noise.
        out: run folder; if it holds the same training, that goes on. None: a new folder below ``runs/``, or that
            of an unfinished run of the same configuration.
        device, threads: ``auto``, ``cpu``, ``cuda`` or ``mps``; CPU threads, None leaves the choice to PyTorch.
        checkpoint: time between checkpoints, as ``budget``.
        remedy: ``auto``: the doctor may go back and change one thing; ``off``: it tells. None: off for paper presets.
        stop_when: ``finished`` ends training when the doctor finds no more improvement; None: the budget alone does.
        size, channels: side of the images in pixels, 1 or 3; None: chosen from the data.
        fit: ``crop`` or ``pad`` images that are not square.

    Raises:
        ConfigError: on an unknown family, preset or option, or a value that breaks a rule.
    """
    kind = get_family(family)
    preset, config = get_preset(kind, preset)
    _check_numbers(kimg, steps, threads, seed)
    remedy = ("off" if preset in kind.paper_presets else "auto") if remedy is None else remedy
    settings = _settings(seed, steps, kimg, budget, kind.default_budget, checkpoint, remedy, stop_when)
    runtime.resolve_device(device)
    return Plan(
        family=kind.name,
        preset=preset,
        options=override(config, options or {}),
        source=str(data),
        preparation={"size": size, "channels": channels, "fit": fit},
        settings=settings,
        device=device,
        threads=threads,
        out=None if out is None else Path(out),
        chosen=None if preset in kind.paper_presets else frozenset(key.replace("-", "_") for key in options or {}),
    )


def _settings(
    seed: int,
    steps: int | None,
    kimg: float | None,
    budget: str | float | None,
    default_budget: str,
    checkpoint: str | float,
    remedy: str,
    stop_when: str | None,
) -> Settings:
    """Read times and words; without any limit the budget is the family's default."""
    if budget is None and kimg is None and steps is None:
        budget = default_budget
    _check_words(remedy, stop_when)
    seconds, every = parse_budget(budget), parse_time("checkpoint", checkpoint)
    return Settings(seed, steps, kimg, seconds, checkpoint_seconds=every, remedy=remedy, stop_when=stop_when)


def train(family: str = "gan", data: str = "mnist", **request: Any) -> Run:
    """Train a family on data, or go on with the same unfinished training, and return the run.

    Args:
        family: name of a family.
        data: name of a data set, path of images or arrays, or ``hf:owner/name``.
        **request: everything else that `plan` accepts.

    Raises:
        ConfigError: on an impossible request.
        DataError: if the data cannot be found or used.
        CheckpointError: if the run folder cannot be used.
        TrainingError: if a loss or a weight stops being finite.
    """
    return start(plan(family, data, **request))[0]


def resume(path: str | Path, **limits: Any) -> Run:
    """Go on with the run in ``path`` and return it; arguments as in `plan_to_resume`, errors as in `train`."""
    return start(plan_to_resume(path, **limits))[0]


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
    threads = runtime.use_threads(request.threads)
    device = runtime.resolve_device(request.device)
    request, dataset = _suited(request, device, observer.say)
    network = build_family(request.family, request.options, dataset.spec)
    config = {**request.to_json(), "device": str(device), "threads": threads, "machine": runtime.machine()}
    config["data"] |= _described(dataset, request.source)
    folder, resumed = _choose_folder(request, config, fresh)
    with folder.locked():
        folder.write_config(config)
        feed = Feed(dataset.splits["train"], request.options.batch_size, request.settings.seed, device)
        observer = dataclasses.replace(observer, snapshot=_snapshots(folder, dataset, network, observer))
        examiner = Examiner(dataset, request.settings.seed, device, shipped_classifier(dataset, device))

        def build(options: FamilyConfig) -> Trainer:
            care = Care(examiner, request.settings, folder, observer)
            family = build_family(request.family, options, dataset.spec)
            trainer = Trainer(family, feed, request.settings, folder, observer, care)
            folder.write_status(state="running")
            return trainer

        if announce:
            announce(Start(folder.path, dataset, network, config, resumed))
        try:
            remedies = get_family(request.family).remedies
            outcome = train_with_remedies(build, request.options, remedies, folder, observer, dataset.stats)
        except BaseException as error:
            folder.write_status(state="failed", reason=str(error) or type(error).__name__, **_verdict(folder))
            raise
        folder.write_status(
            state="interrupted" if outcome.reason == "interrupted" else "finished",
            reason=outcome.reason,
            **dataclasses.asdict(outcome.progress),
            seconds=outcome.seconds,
            **_verdict(folder),
        )
    return load(folder.path), outcome


@dataclass(frozen=True)
class Start:
    """What is known when training begins: the folder, the data, the networks, whether it goes on."""

    folder: Path
    dataset: Dataset
    family: Family
    config: Mapping[str, Any]
    resumed: bool


def plan_to_resume(
    path: str | Path,
    *,
    budget: str | float | None = None,
    kimg: float | None = None,
    steps: int | None = None,
    stop_when: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Plan:
    """Return the plan that goes on with the run in ``path``, for `start`.

    Args:
        path: run folder.
        budget, kimg, steps: new limits, counted from the run's beginning; without any, the run's own.
        stop_when: as in `plan`; None: as before.
        device: where to go on; None: where it was.
        threads: CPU threads; None: as before, which keeps the result the same bit for bit.

    Raises:
        CheckpointError: if the folder holds no run, or its configuration is damaged.
        ConfigError: if a limit or an option is not possible.
    """
    _check_numbers(kimg, steps, threads)
    _check_words("off", stop_when)
    folder = RunFolder(path)
    config = folder.read_config()
    try:
        kind = get_family(config["family"])
        settings = Settings(**config["settings"])
        data = config["data"]
        if budget is not None or kimg is not None or steps is not None:
            settings = dataclasses.replace(settings, seconds=parse_budget(budget), kimg=kimg, steps=steps)
        settings = dataclasses.replace(settings, stop_when=stop_when or settings.stop_when)
        return Plan(
            family=kind.name,
            preset=config["preset"],
            options=from_json(kind.Config, config["options"]),
            source=data["source"],
            preparation={key: data[key] for key in ("size", "channels", "fit")},
            settings=settings,
            device=device or config["device"],
            threads=threads or config["threads"],
            out=folder.path,
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error


def _suited(request: Plan, device: torch.device, say: Callable[[str], None]) -> tuple[Plan, Dataset]:
    """Load the data; choose what the plan leaves open by what it is, and say why."""
    kind, preparation = get_family(request.family), request.preparation
    choosing = bool(kind.sizes) and preparation["size"] is None
    dataset, own = None, natural_side(request.source) if choosing else None
    if own is None:
        dataset = load_dataset(request.source, say=say, **preparation)
        own = dataset.spec.shape[1] if choosing and dataset.modality == "image" else None
    if own is not None:
        side, why = choose_size(own, kind.sizes, None if device.type != "cpu" else kind.most_on_cpu)
        if why:
            say(why)
            preparation, dataset = {**preparation, "size": side}, None
    if dataset is None:
        dataset = load_dataset(request.source, say=say, **preparation)
    if request.chosen is None:
        return replace(request, preparation=preparation), dataset
    options, reasons = kind.suited(request.options, dataset.spec, request.chosen)
    for reason in reasons:
        say(reason)
    return replace(request, preparation=preparation, options=options), dataset


def choose_size(own: int, sizes: Sequence[int], most: int | None) -> tuple[int, str]:
    """Return the side of the images to train on, and why it is not their own; an empty reason if it is.

    Args:
        own: side of the images as they are.
        sizes: sides the family can make.
        most: largest side to choose, or None.

    >>> choose_size(20, (16, 28, 32, 64), 32)
    (16, 'size 16 was chosen: the nearest to 20 that the family can make')
    >>> choose_size(28, (16, 28, 32, 64), 32)
    (28, '')
    """
    side = max((size for size in sizes if size <= min(own, most or own)), default=min(sizes))
    if side == own:
        return side, ""
    if most is not None and own > most:
        larger = min((size for size in sizes if size > side), default=side)
        return side, f"size {side} was chosen: the largest that trains in minutes on a CPU (--size {larger} for more)"
    return side, f"size {side} was chosen: the nearest to {own} that the family can make"


def _described(dataset: Dataset, source: str) -> dict[str, Any]:
    """Return what ``config.json`` keeps of the data; the source must be found from any working directory."""
    return {
        "source": absolute_source(source),
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "shape": list(dataset.spec.shape),
        "modality": dataset.modality,
        "classes": list(dataset.classes),
        "rows": dataset.spec.rows,
        "shares": list(dataset.spec.shares),
        "notes": list(dataset.notes),
    }


def _check_numbers(kimg: float | None, steps: int | None, threads: int | None, seed: int = 0) -> None:
    for name, amount in (("kimg", kimg), ("steps", steps)):
        if amount is not None and not 0 < amount < math.inf:
            raise ConfigError(f"{name} is {amount}, but it must be positive")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}, but it must be at least 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, but it must be 0 or more")


def _check_words(remedy: str, stop_when: str | None) -> None:
    for name, word, known in (("remedy", remedy, ("auto", "off")), ("stop-when", stop_when, ("finished",))):
        if word is not None and word not in known:
            raise ConfigError(f"{name} is '{word}'; {suggest(word, known)}")


def _verdict(folder: RunFolder) -> dict[str, Any]:
    """Return the doctor's last word for ``status.json``."""
    diagnosis = diagnose(folder.read_log())
    return {"verdict": diagnosis.verdict, "evidence": list(diagnosis.evidence), "since_nimg": diagnosis.since}


def parse_budget(budget: str | float | None) -> float | None:
    """Return a budget in seconds, or None for no limit; see `parse_time`."""
    return None if budget is None else parse_time("budget", budget)


def parse_time(name: str, text: str | float) -> float:
    """Return seconds from ``"90s"``, ``"3m"``, ``"1.5h"``, ``"1d"`` or a number of seconds.

    Raises:
        ConfigError: if it is none of these, or not positive; it names the option ``name``.

    >>> parse_time("budget", "3m")
    180.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{name} is '{text}', but it must be a positive time such as 90s, 3m or 1.5h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _choose_folder(request: Plan, config: Mapping[str, Any], fresh: bool) -> tuple[RunFolder, bool]:
    """Return the folder to train in and whether it already holds this training."""
    if request.out is not None:
        folder = RunFolder(request.out)
        if not (folder.path / "config.json").exists():
            return folder, False
        if difference := _difference(folder.read_config(), config):
            raise ConfigError(
                f"'{folder.path}' holds a run of another configuration ({difference}); choose another --out"
            )
        if fresh:
            raise ConfigError(f"'{folder.path}' holds this run already; remove it, or choose another --out")
        return folder, True
    runs = Path("runs")
    if not fresh and runs.is_dir():
        for path in sorted(runs.iterdir(), reverse=True):
            folder = RunFolder(path)
            if folder.read_status().get("state") in ("running", "interrupted", "failed") and _same_run(folder, config):
                return folder, True
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(request.source).name).strip("-")
    path = runs / f"{request.family}-{label}-{stamp}"
    number = 2
    while path.exists():
        path = runs / f"{request.family}-{label}-{stamp}-{number}"
        number += 1
    return RunFolder(path), False


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
        **{f"option {key}": value for key, value in config["options"].items()},
    }


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words how two configurations differ in what must agree; empty if they do not."""
    try:
        before, after = _identity(old), _identity(new)
    except (KeyError, TypeError, AttributeError):
        return "its config.json is none of saddlepoint's"
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return ", ".join(f"{key}: {before.get(key)} there, {after.get(key)} now" for key in changed[:3])


def _snapshots(
    folder: RunFolder, dataset: Dataset, network: Family, observer: Observer
) -> Callable[[int, Tensor], None]:
    """Return the observer that keeps a picture of every snapshot; a full disk loses the picture, not the run."""

    rows = dataset.splits["train"].x if dataset.modality == "vector" else None
    columns = explore.class_columns(network.classes)

    def write(step: int, samples: Tensor) -> None:
        try:
            explore.save_snapshot(folder.samples, step, samples, rows, columns)
        except OSError as error:
            observer.warn(f"the samples of step {step} could not be written ({error.strerror}); training goes on")

    return write
