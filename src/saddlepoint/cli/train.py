"""`saddle train`, and `saddle demo`, which does everything once: train, draw, measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from saddlepoint.cli.arguments import check_cheaply, read_options
from saddlepoint.cli.evaluate import measured
from saddlepoint.cli.options import (
    DOCTOR,
    INTERRUPTED,
    PLACE,
    DataOption,
    DeviceOption,
    OutOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    is_silent,
    say_aside,
    tell,
    tell_json,
    with_fields,
)
from saddlepoint.cli.resume import changed, has_ended, is_given, refuse_changes, say_spent
from saddlepoint.core.quoting import for_shell
from saddlepoint.data.options import Preparation
from saddlepoint.family.registry import import_option
from saddlepoint.run.request import Picture, TrainRequest

if TYPE_CHECKING:
    from saddlepoint.run.launch import Start
    from saddlepoint.run.plan import Plan
    from saddlepoint.run.run import Run

ResumeOption = Annotated[
    Path | None,
    typer.Option(
        help="Go on with this run: folder, name, its beginning, or latest. With --data: where its data is now.",
        rich_help_panel=PLACE,
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Begin anew although an unfinished run is there.", rich_help_panel=PLACE)
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


def add_training(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(
        epilog="Examples:  saddle train  |  saddle train dcgan --data ./photos --budget 20m  |  "
        "saddle train gan --preset mnist-2014 --kimg 500 --seed 1  |  saddle train --resume latest --budget +1h",
    )(train)
    app.command(epilog="Example:  saddle demo --budget 3m")(demo)


@with_fields
def train(
    ctx: typer.Context,
    *,
    family: Annotated[str, typer.Argument(help="Family of models; `saddle families` lists them.")] = "gan",
    data: DataOption = "mnist",
    request: TrainRequest,
    resume: ResumeOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
    report: ReportOption = None,
    quiet: QuietOption = False,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change a field of the family.")
    ] = None,
    preparation: Preparation,
) -> None:
    """Train a family on data. Running the same command again goes on where it stopped.

    Every field of the family is an option as well: --lr 0.1, --batch-size 64; `saddle train gan --help` lists them.
    Of your own images size, augmentation and budget are chosen, and said.
    """
    check_cheaply(family if resume is None else None, request)
    own = read_options(option or [], ctx.command, family, None if resume is None else (resume, request.runs))

    from saddlepoint.run import api

    if resume is None:
        plan = api.plan(family, data, options=own, **vars(request), **preparation)
    else:
        refuse_changes([*own, *changed(ctx)])
        plan = api.plan_to_resume(
            resume, runs=request.runs, data=data if is_given(ctx, "data") else None, budget=request.budget,
            kimg=request.kimg, steps=request.steps, stop_when=request.stop_when,
            device=None if request.device == "auto" else request.device, threads=request.threads, log_to=request.log_to,
        )  # fmt: skip
    if dry_run:
        _tell_resolved(plan)
    elif has_ended(plan):
        say_spent(plan, asked=request.budget)
        _finish(api.load(cast(Path, plan.out)), plan, report, trained=False, quiet=quiet)
    else:
        run, trained = _run(plan, quiet=quiet, fresh=fresh, report=_is_measured(plan, report))
        _finish(run, plan, report, trained=trained, quiet=quiet)


def demo(
    budget: Annotated[str, typer.Option(help="Training time.")] = "3m",
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train the GAN on MNIST, draw its pictures, measure it: everything once. Without a network it uses digits."""
    from saddlepoint.core.errors import DataError
    from saddlepoint.data import load_dataset
    from saddlepoint.run import api
    from saddlepoint.run.samples import pictures

    source = "mnist"
    try:
        load_dataset(source, say=say_aside)
    except DataError as error:
        tell(f"MNIST cannot be had here ({error}).", "The demo goes on with the digits that scikit-learn brings along.")
        source = "digits"
    plan = api.plan(data=source, budget=budget, seed=seed, out=out, device=device, threads=threads)
    run, _ = _run(plan, report=True, demo=True)
    shown = [picture for picture in Picture if picture not in ("styles", "truncation", "references")]
    drawn = [pictures.draw(run, picture, seed=seed) for picture in shown]
    page = measured(run, seed, threads=threads)
    tell("")
    for picture, path in zip(shown, drawn, strict=True):
        tell(f"{picture.value + ':':<15}{path}")
    tell(f"{'report:':<15}{page}")
    tell(f"{'log:':<15}{run.path / 'log.jsonl'}")


def _tell_resolved(plan: Plan) -> None:
    """Say how the data is read, and print the resolved configuration."""
    from saddlepoint.cli import tables
    from saddlepoint.run import api

    resolved = api.resolve(plan, say_aside)
    say_aside(*tables.reading_table(resolved.reading.findings))
    tell_json(json.dumps(resolved.to_json(), indent=1))


def _run(
    plan: Plan, *, quiet: bool = False, fresh: bool = False, report: bool = False, demo: bool = False
) -> tuple[Run, bool]:
    """Train with a display; return the run, and whether anything was left to train. Leave with 130 when interrupted."""
    from saddlepoint.cli.display import Display
    from saddlepoint.engine.plan import unfinished
    from saddlepoint.run import api

    silent = is_silent()

    def announce(start: Start) -> None:
        display.announce(start)
        if report and not (quiet or silent):
            display.say(_after(start, "" if demo else "; --no-report leaves it out"))

    with Display(plan.settings, quiet=quiet or silent) as display:
        run, outcome = api.start(plan, display.observer(), fresh=fresh, announce=announce)
    progress = outcome.progress
    if silent:
        raise typer.Exit(INTERRUPTED if outcome.reason == "interrupted" else 0)
    if outcome.reason == "interrupted":
        way = for_shell("saddle", "train", "--resume", run.path, *import_option(run.config))
        say_aside(f"interrupted at step {progress.step:,}; saved. Go on with: {way}")
        raise typer.Exit(INTERRUPTED)
    if display.began is not None and display.began.progress.step == progress.step > 0:
        say_spent(plan, run.path)
        return run, False
    if not quiet:
        speed = f", {progress.nimg / outcome.seconds:,.0f} samples/s" if outcome.seconds else ""
        tell(f"trained:  {progress.nimg / 1000:,.1f} kimg in {outcome.seconds:,.0f} s{speed}")
    if early := unfinished(run.family.stages(), progress.step):
        way = for_shell("saddle", "train", "--resume", run.path, "--budget", "+10m", *import_option(run.config))
        tell(f"note:     {early}; more time: {way}")
    tell(f"run:      {run.path}")
    return run, True


def _is_measured(plan: Plan, asked: bool | None) -> bool:
    """Whether a training is followed by its report: as asked, else where the data is the user's own."""
    from saddlepoint.run.measure import is_followed

    return asked if asked is not None else is_followed(plan.source)


def _after(start: Start, way_out: str) -> str:
    """Say what comes after training, which is not in the budget, and how to do without."""
    from saddlepoint.run.measure import after_training, report_time

    return f"report:   {after_training(report_time(start.dataset, start.family, start.config))}{way_out}"


def _finish(run: Run, plan: Plan, report: bool | None, *, trained: bool, quiet: bool) -> None:
    """Measure a run of own data, unless nothing was trained and it was measured already; else say what comes next."""
    from saddlepoint.engine.storage.folder import RunFolder
    from saddlepoint.run.samples import pictures

    there = RunFolder(run.path).report / "index.html"
    if _is_measured(plan, report) and (trained or report or not there.exists()):
        page = measured(run, 0, quiet=quiet, threads=plan.threads)
        tell(f"samples:  {pictures.draw(run, 'grid')}")
        tell(f"report:   {page}")
    elif not trained and there.exists():
        tell(f"report:   {there}")
    elif not quiet:
        ways = (
            for_shell("saddle", command, run.path, *import_option(run.config)) for command in ("sample", "evaluate")
        )
        tell(f"next:     {'    '.join(ways)}")
