"""Options of the command, with their help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saddlepoint.cli import waiting
from saddlepoint.core.quoting import for_terminal
from saddlepoint.data.options import Options, Preparation
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.run.request import SampleRequest, TrainRequest

if TYPE_CHECKING:
    from saddlepoint.run.run import Run

INTERRUPTED = 130
"""Exit code of a command that was interrupted and kept what was there."""

LIMITS, START, PLACE, MACHINE, DOCTOR = "Limits", "Fine-tuning", "Run", "Machine", "Doctor and report"
PRIVACY, SWEEP = "Privacy", "Sweep"
_PANELS = {
    "": None, "limits": LIMITS, "start": START, "place": PLACE, "machine": MACHINE, "doctor": DOCTOR,
    "privacy": PRIVACY, "sweep": SWEEP, "any": "Data", "image": "Data: images", "table": "Data: tables and series",
}  # fmt: skip
"""Panels of the help, in the order in which `saddle train` has them, by what a field is for."""


def option_of(owner: type, name: str) -> Any:
    """Return a field of a request, or of `saddlepoint.Options`, as an option of commands, with its help and range."""
    field = next(field for field in dataclasses.fields(owner) if field.name == name)
    kind, more = str(field.type), field.metadata
    flags = more.get("flags") or ([f"--{name}{f'/--no-{name}' * (kind != 'bool')}"] if kind.startswith("bool") else [])
    found = {key: more[key] for key in ("min", "metavar", "envvar") if key in more}
    return typer.Option(*flags, help=more["help"], rich_help_panel=_PANELS[more.get("room", "")], **found)


SeedOption = Annotated[int, option_of(TrainRequest, "seed")]
DeviceOption = Annotated[str, option_of(TrainRequest, "device")]
ThreadsOption = Annotated[str | None, option_of(TrainRequest, "threads")]
RunsOption = Annotated[Path | None, option_of(TrainRequest, "runs")]
OutOption = Annotated[Path | None, option_of(SampleRequest, "out")]
DataOption = Annotated[
    str, typer.Option("--data", "-d", help="Data set name, path of your images, arrays or CSV, or hf:owner/name.")
]
MovedDataOption = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Where the run's data is now, if it was moved.", rich_help_panel=PLACE),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
RawOption = Annotated[bool, typer.Option("--raw", help="Use the last weights, not their moving average.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunArgument = Annotated[
    Path, typer.Argument(help="Run folder; or the name of a run, its beginning, or latest (`saddle runs` lists them).")
]


def with_runs(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command find runs by name in the folder of --runs.

    Args:
        names: its arguments that hold a run, or a list of them; each may be None.
    """

    def changed(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def called(*, where: Path | None, **given: Any) -> Any:
            def found(word: Any) -> Any:
                return word if str(word).startswith("hf:") else find_run(word, where)

            for name in names:
                word = given[name]
                given[name] = [found(one) for one in word] if isinstance(word, list) else word and found(word)
            return command(**given)

        own = inspect.signature(command, eval_str=True)
        last = inspect.Parameter("where", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=RunsOption)
        ordered = sorted([*own.parameters.values(), last], key=lambda parameter: parameter.kind)
        called.__signature__ = own.replace(parameters=ordered)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return called

    return changed


@contextmanager
def fastest_threads(
    run: Run, asked: int | str | None, say: Callable[[str], None] | None = None, *, worth: bool = True
) -> Iterator[None]:
    """Compute what is inside with the number of threads that samples of a run are made fastest with, here and now.

    Args:
        run: whose generator computes.
        asked: a number that is taken instead; ``auto`` or None: it is measured.
        say: hears of the choice; None: a line on standard error.
        worth: whether what is inside takes seconds; else nothing is measured.

    Raises:
        ConfigError: if what is asked for is no number of threads.
    """
    from saddlepoint.engine.machine.threads import measured_threads

    with measured_threads(asked, lambda: run.sample(16), say or say_aside, worth=worth):
        yield


def with_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every field of the requests among its parameters as an option, in their place.

    A parameter of type `Preparation` stands for the fields of `saddlepoint.Options`: it receives those that were used.
    One description serves the library and all commands, so that none can know less than another.
    """
    own = inspect.signature(command, eval_str=True)
    owners = {name: Options if p.annotation is Preparation else p.annotation for name, p in own.parameters.items()}
    taken = {name: owner for name, owner in owners.items() if dataclasses.is_dataclass(owner)}

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        for name, owner in taken.items():
            asked = {field: given.pop(field.name) for field in dataclasses.fields(owner)}
            used = {field.name: value for field, value in asked.items() if value != _usual(owner, field)}
            given[name] = used if owner is Options else owner(**used)
        return command(**given)

    parameters = list[inspect.Parameter]()
    for name, parameter in own.parameters.items():
        fields = dataclasses.fields(taken[name]) if name in taken else ()
        parameters += [_parameter(taken[name], field) for field in fields] or [parameter]
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _parameter(owner: type, field: dataclasses.Field[Any]) -> inspect.Parameter:
    """Return the parameter of a command for a field: of its types the one in which it is written in a shell."""
    hint = typing.get_type_hints(owner)[field.name]
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = [kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not types.NoneType]
    first = list[str] if kinds[0] == Sequence[str] else kinds[0] if isinstance(kinds[0], type) else str
    kind, usual = next((kind for kind in (Path, str) if kind in kinds), first), _usual(owner, field)
    annotation = Annotated[kind | None if usual is None else kind, option_of(owner, field.name)]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=usual, annotation=annotation)


def _usual(owner: type, field: dataclasses.Field[Any]) -> Any:
    """Return what an option is when it is left out; of data, lists, sizes and numbers are None there."""
    return field.default if owner is not Options or isinstance(field.default, bool | str) else None


def is_silent() -> bool:
    """Whether another process of the same job speaks for this one."""
    return os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


def tell(*lines: object) -> None:
    """Print lines of the command's result; a line stays one, whatever names are in it."""
    for line in lines:
        typer.echo(for_terminal(str(line)))


def tell_json(text: str) -> None:
    """Print JSON, whose writer has escaped whatever is not ASCII: of what is hidden, that leaves one character."""
    typer.echo(text.replace("\x7f", "\\u007f"))


def say_aside(*lines: object) -> None:
    """Say what is not the command's result: lines on standard error."""
    waiting.said()
    for line in lines:
        typer.echo(for_terminal(str(line)), err=True)


def complain(message: str, lines: bool = False) -> int:
    """Print an error, and return the command's exit code.

    Args:
        message: in words.
        lines: whether it has several lines of its own.
    """
    typer.echo(f"error: {for_terminal(message, lines)}", err=True)
    return 2
