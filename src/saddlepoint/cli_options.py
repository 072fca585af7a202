"""Options of the command, with their help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from saddlepoint.data.options import OPTION_FIELDS

DataOption = Annotated[
    str, typer.Option("--data", "-d", help="Data set name, path of your images, arrays or CSV, or hf:owner/name.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; default: all cores.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
RunArgument = Annotated[Path, typer.Argument(help="Run folder, such as runs/gan-mnist-20261124-101500.")]
RemedyOption = Annotated[
    str | None,
    typer.Option(help="auto: the doctor may go back, change one thing; off: it tells. Default: off for paper presets."),
]
BudgetOption = Annotated[
    str | None, typer.Option(help="Training time: 90s, 3m, 1.5h. Default: some minutes, by the family.")
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Read the data, print how, and the resolved configuration; stop."),
]
ReportOption = Annotated[
    bool | None, typer.Option("--report/--no-report", help="Measure the run at the end. Default: for your own data.")
]
StopOption = Annotated[str | None, typer.Option(help="finished: stop when the doctor finds no more improvement.")]
MicroBatchOption = Annotated[
    int | None, typer.Option(help="Samples computed at once: less memory, the same minibatch. Default: all.")
]
PrecisionOption = Annotated[
    str, typer.Option(help="Of matrix products: fp32, bf16 (all else stays fp32), auto: what is faster here.")
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Try torch.compile on each network; kept where its gradients stay the same.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Of series: csv, parquet or npz, in the units of the data. Of images: png, webp or jpg, a file each.",
    ),
]


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


def say_aside(line: str) -> None:
    """Say what is not the command's result: on standard error."""
    typer.echo(line, err=True)
