"""The folder of a training: the one that is asked for, that of the same training, unfinished, or a new one."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.config import from_json, to_json
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.quoting import for_shell
from saddlepoint.engine.storage.folder import OWN_NAMES, RunFolder
from saddlepoint.engine.storage.lookup import runs_folder
from saddlepoint.engine.storage.origin import counted
from saddlepoint.family.registry import families
from saddlepoint.run.plan import Plan


def choose_folder(request: Plan, config: Mapping[str, Any], fresh: bool) -> tuple[RunFolder, bool]:
    """Return the folder to train in and whether it already holds this training."""
    if request.out is not None:
        return _asked_for(request.out, request.goes_on, config, fresh)
    runs = runs_folder(request.root)
    if not fresh and runs.is_dir():
        for path in sorted(runs.iterdir(), reverse=True):
            folder = RunFolder(path)
            if folder.read_status().get("state") in ("running", "interrupted", "failed") and _same_run(folder, config):
                return folder, True
    return _new(runs, request), False


def _new(runs: Path, request: Plan) -> RunFolder:
    """Return a folder that is not there yet, named by family, data and time."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(request.source).name).strip("-")[:60]
    path = runs / f"{request.family}-{label}-{stamp}"
    number = 2
    while path.exists():
        path = runs / f"{request.family}-{label}-{stamp}-{number}"
        number += 1
    return RunFolder(path)


def _asked_for(out: Path, goes_on: bool, config: Mapping[str, Any], fresh: bool) -> tuple[RunFolder, bool]:
    """Return the folder that a user named; one that holds something else is refused."""
    folder = RunFolder(out)
    if not (folder.path / "config.json").exists():
        if taken := [name for name in OWN_NAMES if (folder.path / name).exists()]:
            raise ConfigError(
                f"'{folder.path}' is no run folder (it has no config.json), but holds {' and '.join(taken)}, "
                "which a run would write over; choose another --out"
            )
        return folder, False
    kept = folder.read_config()
    if goes_on:
        _refuse_other_data(folder.path, kept, config)
    if difference := _difference(kept, config):
        raise ConfigError(
            f"'{folder.path}' holds a run of another configuration ({difference}); choose another --out or --name"
        )
    if fresh:
        raise ConfigError(f"'{folder.path}' holds this run already; remove it, or choose another --out")
    return folder, True


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
        "weights to begin with": (config.get("start_from") or {}).get("sha256"),
        "frozen layers of D": settings.get("freeze_discriminator", 0),
        "privacy": settings.get("privacy"),
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
