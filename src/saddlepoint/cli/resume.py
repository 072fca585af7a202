"""What `saddle train` takes of a run that goes on, and says where nothing is left to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from saddlepoint.cli.options import tell
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_shell
from saddlepoint.family.registry import import_option

_TAKEN = {
    "family", "data", "runs", "budget", "kimg", "steps", "stop_when", "device", "threads", "dry_run", "report",
    "quiet", "log_to",
}  # fmt: skip
"""Options that a resumed run takes; those of the family are looked at apart."""


def changed(ctx: typer.Context) -> list[str]:
    """Return the options that differ from what they are when left out, but for those that a resumed run takes."""
    own = [p for p in ctx.command.params if p.name not in _TAKEN | {"resume", "option"}]
    return [str(p.name).replace("_", "-") for p in own if ctx.params[str(p.name)] != p.get_default(ctx)]


def is_given(ctx: typer.Context, name: str) -> bool:
    """Whether an option was written down, and is not merely what it is when left out."""
    return getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"


def refuse_changes(names: list[str]) -> None:
    """Refuse options that a resumed run keeps.

    Raises:
        ConfigError: naming the first of them, and what may change.
    """
    if names:
        raise ConfigError(
            f"a resumed run keeps its options; leave out --{names[0]}, or start a new run with it: the same command "
            "without --resume. What may change: --budget, --kimg, --steps, --stop-when, --device, --threads, --log-to, "
            "and --data where the data was moved"
        )


def has_ended(request: Any) -> bool:
    """Whether a run that is to go on has nothing left to do, as its folder says: its data need not be read."""
    from saddlepoint.engine.storage.folder import RunFolder
    from saddlepoint.engine.storage.standing import standing_of

    if not request.goes_on:
        return False
    folder = RunFolder(request.out)
    return folder.read_status().get("state") == "finished" and standing_of(folder).spent(request.settings)


def say_spent(request: Any, path: Path | None = None, asked: str | float | None = None) -> None:
    """Say that nothing was trained, and how it goes on."""
    from saddlepoint.core.progress import duration
    from saddlepoint.engine.storage.folder import RunFolder
    from saddlepoint.engine.storage.standing import standing_of

    path = path or request.out
    at, settings = standing_of(RunFolder(path)), request.settings
    if at.over:
        tell(f"finished: {at.over}: this run has nothing left to train")
    elif asked and settings.seconds is not None and settings.seconds < at.seconds:
        tell(
            f"finished: {duration(at.seconds)} are spent already, and --budget {asked} is the total; "
            f"--budget +{asked} goes on for so long"
        )
    else:
        of = duration(settings.seconds) if settings.seconds is not None else at.summary(settings).split(" are spent")[0]
        known = import_option(RunFolder(path).read_config())
        way = for_shell("saddle", "train", "--resume", path, "--budget", "+10m", *known)
        tell(f"finished: this run has spent its budget of {of}; {way} goes on")
    tell(f"run:      {path}")
