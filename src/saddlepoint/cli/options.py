"""Options of the command, with their help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saddlepoint.cli import waiting
from saddlepoint.core.quoting import for_terminal
from saddlepoint.data.options import OPTION_FIELDS
from saddlepoint.engine.storage.lookup import VARIABLE, find_run

if TYPE_CHECKING:
    from saddlepoint.run.run import Run

INTERRUPTED = 130
"""Exit code of a command that was interrupted and kept what was there."""

DataOption = Annotated[
    str, typer.Option("--data", "-d", help="Data set name, path of your images, arrays or CSV, or hf:owner/name.")
]
LIMITS, PLACE, MACHINE, DOCTOR = "Limits", "Run", "Machine", "Doctor and report"
"""Panels of the help, in the order in which `saddle train` has them, before those of the data."""

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=MACHINE)]
ThreadsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="CPU threads: a number, or auto, the default: what is fastest here, measured.",
        rich_help_panel=MACHINE,
    ),
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
RunArgument = Annotated[
    Path, typer.Argument(help="Run folder; or the name of a run, its beginning, or latest (`saddle runs` lists them).")
]
RunsOption = Annotated[
    Path | None,
    typer.Option(
        "--runs", envvar=VARIABLE, help="Folder of runs, where names are looked for. Default: runs.",
        rich_help_panel=PLACE,
    ),
]  # fmt: skip
MovedDataOption = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Where the run's data is now, if it was moved.", rich_help_panel=PLACE),
]
RemedyOption = Annotated[
    str | None,
    typer.Option(
        help="auto: on an alarm the doctor may change one thing; off: it tells. Default: off for paper presets.",
        rich_help_panel=DOCTOR,
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="Training time in all: 90s, 3m, 1.5h; with --resume also +10m: so much more. Default: by the family.",
        rich_help_panel=LIMITS,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Read the data, print how, and the resolved configuration; stop.", rich_help_panel=PLACE
    ),
]
ReportOption = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report", help="Measure the run at the end. Default: for your own data.", rich_help_panel=DOCTOR
    ),
]
StopOption = Annotated[
    str | None,
    typer.Option(help="finished: stop when the doctor finds no more improvement.", rich_help_panel=LIMITS),
]
MicroBatchOption = Annotated[
    int | None,
    typer.Option(
        help="Samples computed at once: less memory, the same minibatch. Default: all.", rich_help_panel=MACHINE
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="Of matrix products: fp32, bf16 (all else stays fp32), auto: what is faster here.", rich_help_panel=MACHINE
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Try torch.compile on each network; kept where its gradients stay the same.",
        rich_help_panel=MACHINE,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Of series: csv, parquet or npz, in the units of the data. Of images: png, webp or jpg, a file each.",
    ),
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


def with_preparation(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of `saddlepoint.data.Options`; it receives those that were used, as ``preparation``.

    One description serves the library and all commands, so that none can know less than another.
    """

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        asked = {field.name: given.pop(field.name) for field in OPTION_FIELDS}
        used = {field.name: asked[field.name] for field in OPTION_FIELDS if asked[field.name] != _usual(field)}
        return command(**given, preparation=used)

    own = inspect.signature(command, eval_str=True)
    parameters = {name: parameter for name, parameter in own.parameters.items() if name != "preparation"}
    for field in OPTION_FIELDS:
        parameters[field.name] = inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=_usual(field), annotation=_annotation(field)
        )
    ordered = sorted(parameters.values(), key=lambda parameter: parameter.kind)
    called.__signature__ = own.replace(parameters=ordered)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return called


def _usual(field: Any) -> Any:
    """Return what an option is on the command line when it is left out: lists and sizes are words there."""
    return field.default if isinstance(field.default, bool | str) else None


def _annotation(field: Any) -> Any:
    shown = {"help": field.metadata["help"], "rich_help_panel": _PANELS[field.metadata["room"]]}
    if field.default is False:
        return Annotated[bool, typer.Option(f"--{field.name}", **shown)]
    if field.type.startswith("bool"):
        return Annotated[bool | None, typer.Option(f"--{field.name}/--no-{field.name}", **shown)]
    kind = int | None if field.type.startswith("int") else str if isinstance(field.default, str) else str | None
    return Annotated[kind, typer.Option(**shown)]


_PANELS = {"any": "Data", "image": "Data: images", "table": "Data: tables and series"}


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
