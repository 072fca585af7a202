"""Training in Python: a request becomes a plan, the plan becomes a run. The command is a thin layer over this."""

from __future__ import annotations

import dataclasses
import inspect as inspection
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import override
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.logs import logged
from saddlepoint.core.times import parse_budget, parse_time
from saddlepoint.core.waiting import StatusLine
from saddlepoint.data import Dataset, Inspection, in_memory, inspect_source
from saddlepoint.data.options import Options, Preparation, preparation_of
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import SILENT, Outcome, Privacy, Settings
from saddlepoint.engine.storage.lookup import check_name, runs_folder
from saddlepoint.family import Family, FamilyConfig, families, get_family, get_preset
from saddlepoint.family.capabilities import paper_presets
from saddlepoint.run import fine_tuning
from saddlepoint.run import plan as resolving
from saddlepoint.run.callbacks import Callback, StopTraining, train_with
from saddlepoint.run.launch import Start, start
from saddlepoint.run.logged import ending
from saddlepoint.run.plan import Plan, Resolved, options_for
from saddlepoint.run.progress import Line, is_watched
from saddlepoint.run.request import TrainRequest
from saddlepoint.run.resuming import plan_to_resume
from saddlepoint.run.run import Run, load
from saddlepoint.run.trackers.names import read_trackers

__all__ = [
    "Callback", "Plan", "Resolved", "Run", "Start", "StopTraining", "inspect", "list_families", "load", "parse_budget",
    "plan", "plan_to_resume", "resolve", "resume", "start", "train",
]  # fmt: skip


def list_families() -> dict[str, type[Family]]:
    """Return the families by name, in the order of publication; ``PRESETS`` of each are its named configurations."""
    return families()


def plan(family: str = "gan", data: Any = "mnist", *, options: Mapping[str, Any] | None = None, **request: Any) -> Plan:
    """Resolve a training request without reading any data.

    Args:
        family: name of a family; `saddlepoint.list_families()` has them.
        data: name of a data set, path of images, arrays or a CSV, or ``hf:owner/name``; or data in memory, as
            `load_dataset` takes it.
        options: fields of the family's configuration to change, such as ``{"batch_size": 64}``.
        **request: how it is trained, fields of `TrainRequest`: ``budget="3m"``, ``seed=1``, ``out="runs/mine"``, ...;
            how data is prepared, fields of `saddlepoint.Options`: ``size=64``, ``time_column="day"``, ...; and fields
            of the family's configuration by their names, ``lr=0.1``, as in ``options``.

    Raises:
        ConfigError: on an unknown family, preset or option, or a value that breaks a rule.
    """
    kind = get_family(family)
    asked, preparation, options = _told_apart(kind, request, options or {})
    preset, config = get_preset(kind, asked.preset)
    if asked.start_from is not None:
        preset, config, preparation = _as_begun(kind, asked, preset, config, preparation)
    if isinstance(data, Dataset):
        preparation = resolving.as_prepared(kind, data, preparation)
    count, settings = runtime.read_threads(asked.threads), _settings(kind, preset, asked)
    runtime.resolve_device(asked.device)
    return Plan(
        family=kind.name,
        preset=preset,
        preparation=Options.of(**preparation).explicit(),
        options=override(config, options),
        source=str(data) if in_memory.is_name(data) else in_memory.hold(data, options_for(kind, preparation)),
        settings=settings,
        device=asked.device,
        threads=count,
        out=_place(asked),
        root=None if asked.runs is None else Path(asked.runs),
        named=None if preset in paper_presets(kind) else frozenset(key.replace("-", "_") for key in options),
        start_from=None if asked.start_from is None else str(asked.start_from),
        log_to=read_trackers(asked.log_to),
    )


def _as_begun(
    kind: type[Family], asked: TrainRequest, preset: str, config: FamilyConfig, preparation: Preparation
) -> tuple[str, FamilyConfig, Preparation]:
    """Return preset, options and preparation of a run that begins with another one's weights: that one's.

    A preset that is named stays, and so does a size.
    """
    begun, options, size = fine_tuning.options_of(cast(Any, asked.start_from), kind)
    same = (begun, options) if asked.preset is None else (preset, config)
    return *same, cast(Preparation, {**size, **preparation})


def _place(asked: TrainRequest) -> Path | None:
    """Return the run folder that is asked for; None: one is found or made."""
    if asked.name is None:
        return None if asked.out is None else Path(asked.out)
    if asked.out is not None:
        raise ConfigError(
            f"out is '{asked.out}' and name is '{asked.name}': a run has one place; leave one of the two out"
        )
    return runs_folder(asked.runs) / check_name(asked.name)


def _told_apart(
    kind: type[Family], arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[TrainRequest, Preparation, dict[str, Any]]:
    """Tell the request and options of data from fields of the family's configuration, which join ``options``.

    Raises:
        ConfigError: on a name that nobody has, with the nearest of all; or one that is given twice.
    """
    general, data, own = ({field.name for field in dataclasses.fields(c)} for c in (TrainRequest, Options, kind.Config))
    found = {key.replace("-", "_"): value for key, value in options.items()}
    for name in arguments.keys() - general - data:
        if name not in own:
            more = {"options", *inspection.signature(train).parameters} - {"request"}
            raise ConfigError(f"there is no argument '{name}'; {suggest(name, general | data | own | more)}")
        if name in found:
            raise ConfigError(f"'{name}' is given twice: by itself, and in options")
    request, preparation = (
        {name: value for name, value in arguments.items() if name in names} for names in (general, data)
    )
    found |= {name: value for name, value in arguments.items() if name not in general | data}
    return TrainRequest(**request), cast(Preparation, preparation), found


def _settings(kind: type[Family], preset: str, asked: TrainRequest) -> Settings:
    """Return what the engine is told; without any limit the budget is the family's default."""
    unlimited = asked.budget is None and asked.kimg is None and asked.steps is None
    usual = "off" if preset in paper_presets(kind) else "auto"
    return Settings(
        seed=asked.seed, steps=asked.steps, kimg=asked.kimg,
        seconds=parse_budget(kind.tags.budget if unlimited else asked.budget),
        checkpoint_seconds=parse_time("checkpoint", asked.checkpoint),
        remedy=("off" if asked.private else usual) if asked.remedy is None else asked.remedy, stop_when=asked.stop_when,
        micro_batch=asked.micro_batch, precision=asked.precision, compile=asked.compile,
        deterministic=asked.deterministic, averages=asked.averages, freeze_discriminator=asked.freeze_discriminator,
        privacy=_privacy(asked),
    )  # fmt: skip


def _privacy(asked: TrainRequest) -> Privacy | None:
    """Return what privacy is asked for; without a word on clip and delta the usual ones."""
    if not asked.private:
        return None
    named = {name: getattr(asked, name) for name in ("clip", "delta", "noise_multiplier", "epsilon")}
    return Privacy(**{name: value for name, value in named.items() if value is not None})


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
    try:
        if not (is_watched() if progress is None else progress):
            return train_with(request, callbacks, SILENT)
        with StatusLine() as waiting, Line(request.settings) as line:

            def begun(what: Start) -> None:
                waiting.stop()
                line.announce(what)

            return train_with(request, [*callbacks, _Ending(line)], line.observer(), begun)
    finally:
        in_memory.forget(request.source)  # what is needed from now on, the cache has


class _Ending(Callback):
    """Says how a training ended, after everybody else has heard of it."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def on_end(self, run: Run, outcome: Outcome) -> None:
        self.line.say(ending(outcome))


@logged
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


@logged
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
    kind = None if family is None else get_family(family)
    if kind is not None and isinstance(source, Dataset):
        preparation = resolving.as_prepared(kind, source, preparation)
    if not in_memory.is_name(source):
        wanted = Options.of(**preparation) if kind is None else options_for(kind, preparation)
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
            ``device``, ``threads`` and ``log_to``; ``data`` where that was given in memory. None given: the run's own.

    Raises:
        CheckpointError: if the folder holds no run, or its configuration is damaged.
        ConfigError: if a limit or an option is not possible.
        Exception: as `train`.
    """
    return _train(plan_to_resume(path, **limits), progress, callbacks)
