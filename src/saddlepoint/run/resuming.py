"""The plan that goes on with a run: its own configuration, with new limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.config import from_json
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.quoting import for_shell
from saddlepoint.core.times import parse_more
from saddlepoint.data import in_memory
from saddlepoint.data.options import preparation_of
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.entries import check_complete
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.engine.storage.origin import refuse_gone
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.family import Family
from saddlepoint.family.registry import family_of
from saddlepoint.run.plan import Plan, options_for
from saddlepoint.run.request import TrainRequest
from saddlepoint.run.trackers.names import read_trackers
from saddlepoint.run.weights import read_config, refuse_export


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
    log_to: str | Sequence[str] | None = None,
) -> Plan:
    """Return the plan that goes on with the run in ``path``, for `start`.

    Args:
        path: run folder, ``latest``, the name of a run, or its beginning; see `find_run`.
        data: where the run's data is now, if it was moved; or the data itself, if it was given in memory and the cache
            has it no longer. It must be the same: its fingerprint is compared.
        budget: training time in all, counted from the run's beginning; ``"+10m"``: so much more than is spent.
        kimg, steps: new limits, counted from the run's beginning. Without any limit, the run's own.
        stop_when, log_to: as in `plan`; None: as before.
        device: where to go on; None: where it was.
        threads: as in `plan`; None: as before. A number that was asked for stays; one that was measured is where the
            run begins.
        runs: folder in which names are looked for; None: as in `plan`.

    Raises:
        CheckpointError: if the folder holds no run, or its configuration is damaged.
        ConfigError: if a limit or an option is not possible.
        DataError: if the data is no longer where it was.
    """
    asked = TrainRequest(budget=budget, kimg=kimg, steps=steps, stop_when=stop_when, threads=threads)
    count, limits, more = runtime.read_threads(threads), *_limits(asked)
    folder = RunFolder(find_run(path, runs))
    config = read_config(folder)
    refuse_export(folder.path, config)
    if more and limits.seconds is not None:
        limits = dataclasses.replace(limits, seconds=standing_of(folder).seconds + limits.seconds)
    try:
        check_complete(config)
        kind, known = family_of(config, folder.path), config["data"]
        source = known["source"] if data is None else _source_again(folder, kind, known, data)
        refuse_gone(source, folder.path, for_shell("saddle", "train", "--resume", folder.path, "--data", "NEW"))
        return Plan(
            family=kind.name,
            preset=config["preset"],
            options=from_json(kind.Config, config["options"]),
            source=source,
            preparation=preparation_of(known),
            settings=_going_on(Settings(**config["settings"]), limits),
            device=device or config["device"],
            threads=runtime.read_threads(config["threads"]) if threads is None else count,
            out=folder.path,
            goes_on=True,
            start_from=config["start_from"]["source"] if "start_from" in config else None,
            log_to=read_trackers(log_to),
        )
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error


def _limits(asked: TrainRequest) -> tuple[Settings, bool]:
    """Return settings that hold limits alone, and whether the time is so much more than was spent."""
    seconds, more = parse_more(asked.budget)
    return Settings(steps=asked.steps, kimg=asked.kimg, seconds=seconds, stop_when=asked.stop_when), more


def _going_on(settings: Settings, limits: Settings) -> Settings:
    """Return a run's settings with new limits; without any it keeps its own."""
    if limits.seconds is not None or limits.kimg is not None or limits.steps is not None:
        settings = dataclasses.replace(settings, seconds=limits.seconds, kimg=limits.kimg, steps=limits.steps)
    return dataclasses.replace(settings, stop_when=limits.stop_when or settings.stop_when)


def _source_again(folder: RunFolder, kind: type[Family], known: Mapping[str, Any], data: Any) -> str:
    """Return the source of data that a run was trained on: its new place, or data in memory, which is held."""
    if in_memory.is_name(data):
        return str(data)
    if not in_memory.in_memory(known["source"]):
        raise ConfigError(f"'{folder.path}' was trained on '{known['source']}', no data in memory; leave it out")
    name = in_memory.hold(data, options_for(kind, preparation_of(known)))
    if name != known["source"]:
        raise ConfigError(f"'{folder.path}' was trained on other data ({known['source']} then, {name} now)")
    return name
