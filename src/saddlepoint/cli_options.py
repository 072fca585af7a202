"""Options of the command, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    str, typer.Option("--data", "-d", help="Data set name, path of your images, arrays or CSV, or hf:owner/name.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; default: all cores.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
RunArgument = Annotated[Path, typer.Argument(help="Run folder, such as runs/gan-mnist-20261124-101500.")]
SizeOption = Annotated[int | None, typer.Option(help="Side of the images in pixels; default: chosen from the data.")]
ChannelsOption = Annotated[int | None, typer.Option(help="1 for grey, 3 for colour; default: chosen from the data.")]
RemedyOption = Annotated[
    str | None,
    typer.Option(help="auto: the doctor may go back, change one thing; off: it tells. Default: off for paper presets."),
]
BudgetOption = Annotated[
    str | None, typer.Option(help="Training time: 90s, 3m, 1.5h. Default: some minutes, by the family.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration as JSON and stop.")]
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
AttributesOption = Annotated[
    str | None, typer.Option(help="Columns to use of a table of attributes, such as Black_Hair,Smiling. Default: all.")
]
FitOption = Annotated[str, typer.Option(help="crop or pad images that are not square.")]
ColumnsOption = Annotated[
    str | None, typer.Option(help="Of a CSV: columns to learn, as a,b,c. Default: all columns of numbers.")
]
TimeOption = Annotated[str | None, typer.Option(help="Of a CSV: its time column. Default: the first one of dates.")]
GroupOption = Annotated[str | None, typer.Option(help="Of a CSV: the column that tells several series apart.")]
LabelColumnOption = Annotated[str | None, typer.Option(help="Of a CSV: the column that holds a class.")]
WindowOption = Annotated[int | None, typer.Option(help="Of a CSV: rows in a window. Default: 24.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="Of series: write csv, parquet or npz, in the units of the data.")
]


def named(text: str | None) -> tuple[str, ...]:
    """Return the names that stand in a text, separated by commas.

    >>> named("Black_Hair, Smiling"), named(None)
    (('Black_Hair', 'Smiling'), ())
    """
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def say_aside(line: str) -> None:
    """Say what is not the command's result: on standard error."""
    typer.echo(line, err=True)
