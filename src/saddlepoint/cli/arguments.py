"""Words of the command line before any command reads them: families to import, and options of a family's own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from saddlepoint.core.errors import ConfigError, SaddlepointError, enumerated, suggest
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.run.request import TrainRequest

if TYPE_CHECKING:
    from saddlepoint.family import FamilyConfig


def import_own(arguments: list[str]) -> list[str]:
    """Import what --import names, for this process and those that it starts; return the other words."""
    rest, named = list[str](), list[str]()
    remaining = iter(arguments)
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif word == "--import":
            named.append(next(remaining, ""))
        elif word.startswith("--import="):
            named.append(word.partition("=")[2])
        else:
            rest.append(word)
    if named:
        from saddlepoint.family import registry

        if not all(named):
            raise ConfigError("--import needs a Python file or a module, as --import my_family.py")
        registry.import_families(*named)
        registry.remember(*named)
    return rest


def gather(arguments: list[str], app: typer.Typer) -> list[str]:
    """Turn ``--lr 0.1`` and ``--lr=0.1`` of `saddle train` into ``--option lr=0.1`` where --lr is not its own.

    Of `saddle sweep`, too.
    """
    if arguments[:1] not in (["train"], ["sweep"]):
        return arguments
    general = _flags_of(cast(Any, typer.main.get_command(app)).commands[arguments[0]])
    gathered, rest = arguments[:1], arguments[1:]
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or f"--{name}" in general:
            gathered.append(word)
            continue
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        gathered += ["--option", f"{name}={value}"]
    return gathered


def in_own_words(error: Exception, app: typer.Typer) -> str:
    """Return a refusal of typer without words of the libraries below it; of an option, which commands have it."""
    told: Any = error
    message = str(getattr(told, "format_message", lambda: str(error))()).replace("Value error, ", "")
    name, context = getattr(told, "option_name", ""), getattr(told, "ctx", None)
    if type(error).__name__ != "NoSuchOption" or not name or context is None:
        return message
    names, at = list[str](), context
    while at.parent is not None:
        names, at = [at.info_name, *names], at.parent
    here = " ".join(["saddle", *names])
    refused = f"there is no option '{name}' of `{here}`; "
    owners = [path for path, words in _commands(typer.main.get_command(app), "saddle") if name in words]
    if owners:
        shown = [f"`{path}`" for path in owners[:4]]
        return refused + f"{enumerated(shown)} {'has' if len(owners) == 1 else 'have'} it"
    near = suggest(name, _flags_of(context.command))
    return refused + (near if near.startswith("did") else f"`{here} --help` lists them")


def _flags_of(command: Any) -> set[str]:
    """Return the options of a command, long ones only."""
    named = {word for own in command.params for word in (*own.opts, *own.secondary_opts)}
    return {word for word in named if word.startswith("--")} | {"--help"}


def _commands(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every command below one, with its options."""
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{path} {name}")
    if not getattr(command, "commands", {}):
        yield path, _flags_of(command)


def check_cheaply(family: str | None, request: TrainRequest) -> None:
    """Refuse what can be told to be wrong before PyTorch is loaded, which takes seconds.

    Args:
        family: its name; None: a run that goes on has its own, and may get so much more of a budget (+10m).
        request: with its times.

    Raises:
        ConfigError: on an unknown family, or what is no time.
    """
    from saddlepoint.core.times import parse_budget, parse_more, parse_time
    from saddlepoint.family import registry
    from saddlepoint.run.trackers.names import read_trackers

    if family is None:
        parse_more(request.budget)
    else:
        registry.refuse_unknown(family)
        parse_budget(request.budget)
    parse_time("checkpoint", request.checkpoint)
    read_trackers(request.log_to)


def read_options(
    pairs: list[str], command: Any, family: str, run: tuple[Path, str | Path | None] | None = None
) -> dict[str, str]:
    """Read NAME=VALUE pairs for the family's configuration; which one a run has that goes on, its folder says.

    Args:
        pairs: of the command line.
        command: of Typer, whose own options an unknown name may have meant.
        family: its name.
        run: that goes on, and the folder in which it is looked for.
    """
    import saddlepoint.families  # noqa: F401 - registers the families
    from saddlepoint.engine.storage.folder import RunFolder
    from saddlepoint.family import get_family
    from saddlepoint.family.registry import family_of

    folder, config = Path(), dict[str, Any]()
    if run is not None:
        with contextlib.suppress(SaddlepointError):  # what is not there, or damaged, is said when it is read again
            folder = find_run(*run)
            config = dict(RunFolder(folder).read_config())
    kind = family_of(config, folder) if "family" in config else get_family(family)
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(kind.Config)}
    known = {f"--{field}" for field in fields} | _flags_of(command)
    options: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in fields:
            raise ConfigError(f"unknown option '--{name}'; {suggest(f'--{name}', known)}")
        if not value:
            truth = "; it is on or off: true or false" if _is_switch(kind.Config, name) else ""
            raise ConfigError(f"option '--{name}' needs a value{truth}")
        options[name] = value
    return options


def _is_switch(config: type[FamilyConfig], name: str) -> bool:
    """Whether an option of a family is on or off."""
    return any(str(f.type) == "bool" for f in dataclasses.fields(config) if f.name == name.replace("-", "_"))
