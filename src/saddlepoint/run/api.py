"""Training in Python: a request becomes a plan, the plan becomes a run. The command is a thin layer over this."""

from __future__ import annotations

import dataclasses
import inspect as inspection
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import from_json, override
from saddlepoint.core.errors import CheckpointError, ConfigError, suggest
from saddlepoint.core.quoting import for_shell
from saddlepoint.core.times import parse_budget, parse_more, parse_time
from saddlepoint.data import Inspection, in_memory, inspect_source
from saddlepoint.data.options import Options, Preparation, preparation_of
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.precision import PRECISIONS
from saddlepoint.engine.settings import SILENT, Settings
from saddlepoint.engine.storage.entries import check_complete
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import check_name, find_run, runs_folder
from saddlepoint.engine.storage.origin import refuse_gone
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.family import Family, families, get_family, get_preset
from saddlepoint.family.registry import family_of
from saddlepoint.run import plan as resolving
from saddlepoint.run.callbacks import Callback, StopTraining, train_with
from saddlepoint.run.launch import Start, start
from saddlepoint.run.plan import Plan, Resolved
from saddlepoint.run.progress import Line, is_watched
from saddlepoint.run.run import Run, load
from saddlepoint.run.weights import read_config, refuse_export

__all__ = [
    "Callback", "Plan", "Resolved", "Run", "Start", "StopTraining", "inspect", "list_families", "load", "parse_budget",
    "plan", "plan_to_resume", "resolve", "resume", "start", "train",
]  # fmt: skip


def list_families() -> dict[str, type[Family]]:
    """Return the families by name, in the order of publication; ``PRESETS`` of each are its named configurations."""
    return families()


def plan(
    family: str = "gan",
    data: Any = "mnist",
    *,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
    kimg: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    name: str | None = None,
    runs: str | Path | None = None,
    device: str = "auto",
    threads: int | str | None = None,
    checkpoint: str | float = "60s",
    remedy: str | None = None,
    stop_when: str | None = None,
    micro_batch: int | None = None,
    precision: str = "auto",
    compile: bool = False,
    **preparation: Unpack[Preparation],
) -> Plan:
    """Resolve a training request without reading any data.

    Args:
        family: name of a family; `saddlepoint.list_families()` has them.
        data: name of a data set, path of images, arrays or a CSV, or ``hf:owner/name``; or data in memory, as
            `load_dataset` takes it.
        preset: named configuration of the family; None: its default.
        options: fields of the family's configuration to change, such as ``{"batch_size": 64}``.
        budget: training time, such as ``"90s"``, ``"3m"``, ``"1.5h"``; a number (no text) is seconds.
        kimg: budget in thousands of samples seen.
        steps: budget in steps. The first spent ends training; none: the family's.
        seed: of weights, data order and noise.
        out: run folder; if it holds the same training, that goes on. None: a new folder below ``runs/``, or that
            of an unfinished run of the same configuration.
        name: of the run, instead of ``out``: its folder below ``runs``.
        runs: folder of runs; None: ``SADDLEPOINT_RUNS``, or ``runs`` in the working directory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the CPU: a number, which never changes; ``auto`` or None: what is measured to be fastest.
        checkpoint: time between checkpoints, as ``budget``.
        remedy: ``auto``: on an alarm the doctor may change one thing; ``off``: it tells. None: off for paper presets.
        stop_when: ``finished`` ends training when the doctor finds no more improvement; None: the budget alone does.
        micro_batch: samples computed at once; a minibatch is gone through in such pieces, which takes less memory.
            None: a process's whole part at once.
        precision: of matrix products: ``fp32``, ``bf16`` (all else stays fp32), or ``auto``: what is faster here.
        compile: try `torch.compile` on each network, and keep it where the gradients stay the same.
        preparation: how data is prepared, fields of `saddlepoint.Options`: ``size=64``, ``time_column="day"``, ...; and
            fields of the family's configuration by their names, ``lr=0.1``, as in ``options``.

    Raises:
        ConfigError: on an unknown family, preset or option, or a value that breaks a rule.
    """
    kind = get_family(family)
    preparation, options = _told_apart(kind, preparation, options or {})
    preset, config = get_preset(kind, preset)
    count = runtime.read_threads(threads)
    remedy = ("off" if preset in kind.paper_presets else "auto") if remedy is None else remedy
    settings = _settings(seed, steps, kimg, budget, kind.default_budget, checkpoint, remedy, stop_when)
    settings = dataclasses.replace(settings, micro_batch=micro_batch, precision=precision, compile=compile)
    _check_words(remedy, stop_when, precision)
    runtime.resolve_device(device)
    asked = Options.of(**preparation)
    return Plan(
        family=kind.name,
        preset=preset,
        options=override(config, options),
        source=str(data) if in_memory.is_name(data) else in_memory.hold(data, _reading(kind, preparation)),
        preparation=asked.explicit(),
        settings=settings,
        device=device,
        threads=count,
        out=_place(out, name, runs),
        root=None if runs is None else Path(runs),
        chosen=None if preset in kind.paper_presets else frozenset(key.replace("-", "_") for key in options),
    )


def _place(out: str | Path | None, name: str | None, runs: str | Path | None) -> Path | None:
    """Return the run folder that is asked for; None: one is found or made."""
    if name is None:
        return None if out is None else Path(out)
    if out is not None:
        raise ConfigError(f"out is '{out}' and name is '{name}': a run has one place; leave one of the two out")
    return runs_folder(runs) / check_name(name)


def _told_apart(
    kind: type[Family], given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Preparation, dict[str, Any]]:
    """Tell options of data from fields of the family's configuration, which join ``options``.

    Raises:
        ConfigError: on a name that nobody has, with the nearest of all; or one that is given twice.
    """
    data, own = ({field.name for field in dataclasses.fields(cls)} for cls in (Options, kind.Config))
    found = {key.replace("-", "_"): value for key, value in options.items()}
    for name in given.keys() - data:
        if name not in own:
            more = {*inspection.signature(plan).parameters, *inspection.signature(train).parameters}
            known = data | own | more - {"preparation", "request"}
            raise ConfigError(f"there is no argument '{name}'; {suggest(name, known)}")
        if name in found:
            raise ConfigError(f"'{name}' is given twice: by itself, and in options")
    preparation = {name: value for name, value in given.items() if name in data}
    return cast(Preparation, preparation), {**found, **{name: given[name] for name in given if name not in data}}


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
    seconds, every = parse_budget(budget), parse_time("checkpoint", checkpoint)
    return Settings(seed, steps, kimg, seconds, checkpoint_seconds=every, remedy=remedy, stop_when=stop_when)


def _reading(kind: type[Family], preparation: Preparation) -> Options:
    """Return options with what the family needs, for data that may be images or sequences."""
    own = kind.tags.modalities
    known: Preparation = {"modality": own[0]} if len(own) == 1 else {}
    return Options.of(**{**known, **preparation})


def train(
    family: str = "gan",
    data: Any = "mnist",
    *,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
    **request: Any,
) -> Run:
    """Train a family on data, or go on with the same unfinished training, and return the run.

    Args:
        family: name of a family.
        data: name of a data set, path of images or arrays, or ``hf:owner/name``; or data in memory: an array or tensor,
            (x, labels), a list of pictures, a data set of PyTorch or of `datasets`, a pandas.DataFrame, a `Dataset`,
            or a mapping from split names to these.
        progress: say how training stands, in a line on standard error or in the notebook; None: where somebody is
            likely to look, which is a notebook or a terminal.
        callbacks: hear of the training, and may end it; see `Callback`.
        **request: everything else that `plan` accepts (``budget="3m"``, ``seed=1``, ``out="runs/mine"``, ...),
            options of data (``size=64``), and options of the family as on the command line (``lr=0.1``).

    Raises:
        ConfigError: on an impossible request.
        DataError: if the data cannot be found or used.
        CheckpointError: if the run folder cannot be used.
        TrainingError: if a loss or a weight stops being finite.
        Exception: what a callback raised, once the state is saved.

    Example:
        ``saddlepoint.train("dcgan", "./photos", budget="20m", lr=1e-4)``
    """
    return _train(plan(family, data, **request), progress, callbacks)


def _train(request: Plan, progress: bool | None, callbacks: Sequence[Callback]) -> Run:
    """Carry out a plan with whoever looks on."""
    line = Line(request.settings) if (is_watched() if progress is None else progress) else None
    try:
        if line is None:
            return train_with(request, callbacks, SILENT)
        return train_with(request, callbacks, line.observer(), line.announce)
    finally:
        if line is not None:
            line.end()
        in_memory.forget(request.source)  # what is needed from now on, the cache has


def resolve(request: Plan, say: Callable[[str], None] | None = None) -> Resolved:
    """Read the data of a request and make all choices, without training: what a dry run shows.

    Args:
        request: of `plan` or `plan_to_resume`.
        say: receives lines worth telling while data is fetched.

    Raises:
        ConfigError: if the family does not take the data.
        DataError: if the data cannot be found or used; `OpenQuestion` if it can be read in several ways.
    """
    return resolving.resolve(request, runtime.resolve_device(request.device), say)


def inspect(
    source: Any,
    family: str | None = None,
    *,
    preset: str | None = None,
    say: Callable[[str], None] | None = None,
    **preparation: Unpack[Preparation],
) -> Inspection:
    """Look at every row of a data set, and say what training would do with it.

    Args:
        source: as in `train`.
        family: what would be trained on it: its choices (size, augmentation, minibatch) are part of the answer.
        preset: of the family.
        say: receives lines worth telling while data is fetched.
        preparation: as in `plan`.

    Raises:
        ConfigError: if there is no such family, or it does not take the data.
        DataError: as `resolve`.
    """
    if not in_memory.is_name(source):
        wanted = Options.of(**preparation) if family is None else _reading(get_family(family), preparation)
        source = in_memory.hold(source, wanted)
    if family is None:
        found = inspect_source(source, say=say, **preparation)
        if found.modality != "image" or preparation.get("size") is not None:
            return found
        hint = "families choose their own size and augmentation: --family dcgan, say, tells what training would take"
        return dataclasses.replace(found, advice=(*found.advice, hint))
    resolved = resolve(plan(family, source, preset=preset, **preparation), say)
    found = inspect_source(source, say=say, **preparation_of({"options": resolved.plan.preparation}))
    return dataclasses.replace(found, findings=resolved.reading.findings, shape=resolved.dataset.spec.shape)


def resume(path: str | Path, *, progress: bool | None = None, callbacks: Sequence[Callback] = (), **limits: Any) -> Run:
    """Go on with the run in ``path`` and return it, bit for bit as if it had never stopped.

    Args:
        path: run folder.
        progress: as in `train`.
        callbacks: as in `train`.
        **limits: new ones, from the run's beginning: ``budget``, ``kimg``, ``steps``, ``stop_when``, as in `plan`; also
            ``device`` and ``threads``; ``data`` where that was given in memory. None given: the run's own.

    Raises:
        CheckpointError: if the folder holds no run, or its configuration is damaged.
        ConfigError: if a limit or an option is not possible.
        Exception: as `train`.
    """
    return _train(plan_to_resume(path, **limits), progress, callbacks)


def plan_to_resume(
    path: str | Path,
    *,
    data: Any = None,
    budget: str | float | None = None,
    kimg: float | None = None,
    steps: int | None = None,
    stop_when: str | None = None,
    device: str | None = None,
    threads: int | str | None = None,
    runs: str | Path | None = None,
) -> Plan:
    """Return the plan that goes on with the run in ``path``, for `start`.

    Args:
        path: run folder, ``latest``, the name of a run, or its beginning; see `find_run`.
        data: where the run's data is now, if it was moved; or the data itself, if it was given in memory and the cache
            has it no longer. It must be the same: its fingerprint is compared.
        budget: training time in all, counted from the run's beginning; ``"+10m"``: so much more than is spent.
        kimg, steps: new limits, counted from the run's beginning. Without any limit, the run's own.
        stop_when: as in `plan`; None: as before.
        device: where to go on; None: where it was.
        threads: as in `plan`; None: as before. A number that was asked for stays; one that was measured is where the
            run begins.
        runs: folder in which names are looked for; None: as in `plan`.

    Raises:
        CheckpointError: if the folder holds no run, or its configuration is damaged.
        ConfigError: if a limit or an option is not possible.
        DataError: if the data is no longer where it was.
    """
    count = runtime.read_threads(threads)
    _check_words("off", stop_when)
    total, more = parse_more(budget)
    limits = Settings(steps=steps, kimg=kimg, seconds=total)
    folder = RunFolder(find_run(path, runs))
    config = read_config(folder)
    refuse_export(folder.path, config)
    if more and limits.seconds is not None:
        limits = dataclasses.replace(limits, seconds=standing_of(folder).seconds + limits.seconds)
    try:
        check_complete(config)
        kind = family_of(config, folder.path)
        settings = Settings(**config["settings"])
        known = config["data"]
        source = known["source"] if data is None else _given_again(folder, kind, known, data)
        refuse_gone(source, folder.path, for_shell("saddle", "train", "--resume", folder.path, "--data", "NEW"))
        if budget is not None or kimg is not None or steps is not None:
            settings = dataclasses.replace(settings, seconds=limits.seconds, kimg=kimg, steps=steps)
        settings = dataclasses.replace(settings, stop_when=stop_when or settings.stop_when)
        return Plan(
            family=kind.name,
            preset=config["preset"],
            options=from_json(kind.Config, config["options"]),
            source=source,
            preparation=preparation_of(known),
            settings=settings,
            device=device or config["device"],
            threads=runtime.read_threads(config["threads"]) if threads is None else count,
            out=folder.path,
            goes_on=True,
        )
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error


def _given_again(folder: RunFolder, kind: type[Family], known: Mapping[str, Any], data: Any) -> str:
    """Return the source of data that a run was trained on: its new place, or data in memory, which is held."""
    if in_memory.is_name(data):
        return str(data)
    if not in_memory.in_memory(known["source"]):
        raise ConfigError(f"'{folder.path}' was trained on '{known['source']}', no data in memory; leave it out")
    name = in_memory.hold(data, _reading(kind, preparation_of(known)))
    if name != known["source"]:
        raise ConfigError(f"'{folder.path}' was trained on other data ({known['source']} then, {name} now)")
    return name


def _check_words(remedy: str, stop_when: str | None, precision: str = "auto") -> None:
    words = (
        ("remedy", remedy, ("auto", "off")), ("stop-when", stop_when, ("finished",)),
        ("precision", precision, PRECISIONS),
    )  # fmt: skip
    for name, word, known in words:
        if word is not None and word not in known:
            raise ConfigError(f"{name} is '{word}'; {suggest(word, known)}")
