"""`saddle average`: an average of a run's weights of another length, asked for or chosen by a figure."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import typer

from saddlepoint.cli.options import (
    DeviceOption,
    JsonOption,
    MovedDataOption,
    QuietOption,
    RunArgument,
    ThreadsOption,
    say_aside,
    tell,
    tell_json,
    with_fields,
    with_runs,
)
from saddlepoint.run.request import AverageRequest

if TYPE_CHECKING:
    from saddlepoint.run.average import Trial


def add_averaging(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        epilog="Examples:  saddle average runs/my-run  |  saddle average runs/my-run --length 0.1 --out smoother  |  "
        "saddle average runs/my-run --length 0.05 --end 500"
    )(average)


@with_runs("run")
@with_fields
def average(
    *,
    run: RunArgument,
    request: AverageRequest,
    as_json: JsonOption = False,
    data: MovedDataOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Average G's weights over another share of the training than the run did, after it.

    Without --length ten lengths are measured on validation rows (images: Fréchet distance; series: a classifier;
    vectors: energy distance), beside the present average and the last weights, and the best is made. Test rows are not
    looked at. What is made is a folder that sample, evaluate, export and explore take like a run.
    """
    from saddlepoint.run.average import average_run

    def measured(trial: Trial) -> None:
        if not quiet:
            say_aside(f"{trial.title}: {trial.value:.4g}")

    found = average_run(
        run, **{field.name: getattr(request, field.name) for field in dataclasses.fields(request)}, data=data,
        device=device, threads=threads, say=(lambda line: None) if quiet else say_aside, measured=measured,
    )  # fmt: skip
    if as_json:
        tell_json(json.dumps(found.to_json(), indent=1))
        return
    if found.trials:
        from saddlepoint.cli import tables

        tables.print_trials(found)
        tell(found.verdict)
    tell("nothing was made: the run has these weights (--raw: the last ones)" if found.path is None else found.path)
