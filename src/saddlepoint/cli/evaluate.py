"""`saddle evaluate`: a run, or samples that anything made, measured; the figures printed, the report written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saddlepoint.cli.options import (
    INTERRUPTED,
    DeviceOption,
    QuietOption,
    RawOption,
    RunsOption,
    ThreadsOption,
    say_aside,
    tell,
    tell_json,
    with_fields,
)
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.options import Preparation
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.run.request import EvaluateRequest

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report
    from saddlepoint.run.run import Run


def add_evaluation(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        epilog="Examples:  saddle evaluate runs/my-run  |  saddle evaluate runs/my-run --protocol parzen  |  "
        "saddle evaluate --samples samples.npz --data mnist"
    )(evaluate)


@with_fields
def evaluate(
    *,
    run: Annotated[
        Path | None,
        typer.Argument(help="Run (folder, name, its beginning, latest); or leave it out and give --samples."),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples that anything made: folder or zip of images, parquet, .npy, .npz.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="What --samples are compared with; of a run: where its data is now, if it was moved."
        ),
    ] = None,
    request: EvaluateRequest,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
    raw: RawOption = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    where: RunsOption = None,
    preparation: Preparation,
) -> None:
    """Measure a run, or samples from elsewhere, by named protocols, beside rows that say what a figure can tell.

    The shortest figures come first; Ctrl-C stops with those that are there.
    """
    if samples is not None and run is None:
        found = _of_samples(samples, data, request, threads, quiet, preparation)
    elif run is not None and samples is None:
        if preparation:
            wrong = next(iter(preparation)).replace("_", "-")
            raise ConfigError(f"a run is measured against the data it was trained on; leave out --{wrong}")
        from saddlepoint.family.explicit import set_evaluations
        from saddlepoint.run.run import load

        loaded = load(find_run(run, where), device=device, averaged=not raw, data=data)
        set_evaluations(loaded.family, request.evaluations)
        found = _of_run(loaded, request, threads, quiet)
    else:
        raise ConfigError("evaluate takes a run folder, or --samples with --data: give exactly one of the two")
    _tell(*found, as_json=as_json)


def measured(run: Run, seed: int, *, quiet: bool = False, threads: int | str | None = None) -> Path:
    """Measure a run by all that fits, print the figures, and return the path of the report."""
    report, page = _of_run(run, EvaluateRequest(seed=seed), threads, quiet)
    _tell(report, None)
    return page


def _of_run(run: Run, request: EvaluateRequest, threads: int | str | None, quiet: bool) -> tuple[Report, Path]:
    """Measure a run, showing how far that is, and write the report."""
    from saddlepoint.cli.display import Measuring

    if request.out is None:
        run.check_report_place()
    with Measuring(quiet=quiet) as shown:
        report = run.evaluate(
            request.protocols, seed=request.seed, features=request.features, say=shown.say, detail=shown.detail,
            partial=True, threads=threads,
        )  # fmt: skip
    return report, run.save_report(report, request.out, warn=lambda line: say_aside(f"warning: {line}"))


def _of_samples(
    samples: Path, data: str | None, request: EvaluateRequest, threads: int | str | None, quiet: bool,
    preparation: Preparation,
) -> tuple[Report, Path]:  # fmt: skip
    """Measure samples from elsewhere, showing how far that is, and write the report."""
    if data is None:
        raise ConfigError("--samples needs --data: the data set they are to be compared with")
    from saddlepoint.cli.display import Measuring
    from saddlepoint.run.measure import evaluate_samples

    with Measuring(quiet=quiet) as shown:
        return evaluate_samples(
            samples, data, request.protocols, seed=request.seed, features=request.features, out=request.out,
            say=shown.say, detail=shown.detail, partial=True, threads=threads, **preparation,
        )  # fmt: skip


def _tell(report: Report, page: Path | None, *, as_json: bool = False) -> None:
    """Print a report, or the part of it that was measured before an interrupt, which then ends the command."""
    from saddlepoint.cli import tables

    if as_json:
        tell_json(json.dumps({**report.to_json(), "report": str(page)}, indent=1))
    else:
        tables.print_report(report)
        if page is not None:
            tell(f"report: {page}")
    if report.stopped:
        say_aside("stopped: the report has the figures above, and says what is left out")
        raise typer.Exit(INTERRUPTED)
