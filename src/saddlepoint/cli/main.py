"""The command: `saddlepoint`, or `saddle` for short. A thin layer over `saddlepoint.run.api`."""

from __future__ import annotations

import io
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from saddlepoint.cli import waiting
from saddlepoint.cli.arguments import check_cheaply, gather, import_own, in_own_words, read_options
from saddlepoint.cli.data import data_app
from saddlepoint.cli.experiments import add_experiments
from saddlepoint.cli.explore import add_exploration
from saddlepoint.cli.families import add_families, family_options
from saddlepoint.cli.options import (
    INTERRUPTED,
    LIMITS,
    PLACE,
    BudgetOption,
    CompileOption,
    DataOption,
    DeviceOption,
    DryRunOption,
    FormatOption,
    MicroBatchOption,
    MovedDataOption,
    OutOption,
    PrecisionOption,
    QuietOption,
    RemedyOption,
    ReportOption,
    RunArgument,
    RunsOption,
    SeedOption,
    StopOption,
    ThreadsOption,
    complain,
    fastest_threads,
    say_aside,
    tell,
    tell_json,
    with_preparation,
    with_runs,
)
from saddlepoint.cli.resume import after, changed, finish, has_ended, is_given, refuse_changes, say_spent, wants_report
from saddlepoint.cli.runs import add_runs
from saddlepoint.cli.ship import add_shipping
from saddlepoint.core.errors import ConfigError, SaddlepointError
from saddlepoint.core.quoting import for_shell
from saddlepoint.core.version import __version__
from saddlepoint.data.plan import OpenQuestion, gaps_of
from saddlepoint.engine.storage.lookup import find_run

app = typer.Typer(
    name="saddle",
    help="Train, measure, explore and ship generative adversarial networks.",
    epilog="Start with: saddle train        (the 2014 GAN on MNIST, three minutes)",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app)

# Typer exports the leaves of its error tree only; this is the common base of wrong usage.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_MANY = 1000
"""Samples from which the number of threads is measured."""


class Picture(StrEnum):
    """What `saddle sample` can draw."""

    grid = "grid"
    filmstrip = "filmstrip"
    neighbours = "neighbours"
    interpolation = "interpolation"
    styles = "styles"
    truncation = "truncation"
    references = "references"


def _version(wanted: bool) -> None:
    if wanted:
        tell(f"saddlepoint {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Import a Python file, or module, with families of your own first; before or after the command, "
            "any number of times. SADDLEPOINT_IMPORT does the same.",
        ),
    ] = None,
) -> None:
    pass  # --import is taken out of the words before any command reads them, see `import_own`


@app.command(
    epilog="Examples:  saddle train  |  saddle train dcgan --data ./photos --budget 20m  |  "
    "saddle train gan --preset mnist-2014 --kimg 500 --seed 1  |  saddle train --resume latest --budget +1h",
)
@with_preparation
def train(
    ctx: typer.Context,
    family: Annotated[str, typer.Argument(help="Family of GANs; `saddle families` lists them.")] = "gan",
    data: DataOption = "mnist",
    preset: Annotated[str | None, typer.Option(help="Named configuration; `saddle families gan` lists them.")] = None,
    budget: BudgetOption = None,
    kimg: Annotated[
        float | None, typer.Option(help="Limit in thousands of samples seen.", rich_help_panel=LIMITS)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Limit in steps. The first limit reached ends training.", rich_help_panel=LIMITS),
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of this run.", rich_help_panel=PLACE)] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run: its folder in the folder of runs.", rich_help_panel=PLACE)
    ] = None,
    where: RunsOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    checkpoint: Annotated[str, typer.Option(help="Time between checkpoints.", rich_help_panel=PLACE)] = "60s",
    remedy: RemedyOption = None,
    stop_when: StopOption = None,
    micro_batch: MicroBatchOption = None,
    precision: PrecisionOption = "auto",
    compile: CompileOption = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run: folder, name, its beginning, or latest. With --data: where its data is now.",
            rich_help_panel=PLACE,
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Begin anew although an unfinished run is there.", rich_help_panel=PLACE),
    ] = False,
    dry_run: DryRunOption = False,
    report: ReportOption = None,
    quiet: QuietOption = False,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change a field of the family.")
    ] = None,
    *,
    preparation: dict[str, Any],
) -> None:
    """Train a family on data. Running the same command again goes on where it stopped.

    Every field of the family is an option as well: --lr 0.1, --batch-size 64; `saddle train gan --help` lists them.
    Of your own images size, augmentation and budget are chosen, and said.
    """
    check_cheaply(family if resume is None else None, budget, checkpoint)
    options = read_options(option or [], app, family, None if resume is None else (resume, where))

    from saddlepoint.cli import tables
    from saddlepoint.run import api

    if resume is not None:
        refuse_changes([*options, *changed(ctx)])
        device_or_kept = None if device == "auto" else device
        request = api.plan_to_resume(
            resume, runs=where, data=data if is_given(ctx, "data") else None, budget=budget, kimg=kimg,
            steps=steps, stop_when=stop_when, device=device_or_kept, threads=threads,
        )  # fmt: skip
    else:
        request = api.plan(
            family, data, preset=preset, options=options, budget=budget, kimg=kimg, steps=steps, seed=seed, out=out,
            name=name, runs=where, device=device, threads=threads, checkpoint=checkpoint, remedy=remedy,
            stop_when=stop_when, micro_batch=micro_batch, precision=precision, compile=compile, **preparation,
        )  # fmt: skip
    if dry_run:
        resolved = api.resolve(request, say_aside)
        say_aside(*tables.reading_table(resolved.reading.findings))
        tell_json(json.dumps(resolved.to_json(), indent=1))
        return
    if has_ended(request):
        say_spent(request, asked=budget)
        trained, run = False, api.load(cast(Path, request.out))
    else:
        trained, run = _run(request, quiet=quiet, fresh=fresh, report=wants_report(request, report))
    finish(run, request, report, trained, quiet, _measure)


@app.command(epilog="Example:  saddle demo --budget 3m")
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
    _, run = _run(
        api.plan(data=source, budget=budget, seed=seed, out=out, device=device, threads=threads), report=True, demo=True
    )
    shown = [picture for picture in Picture if picture not in ("styles", "truncation", "references")]
    drawn = [pictures.draw(run, picture, seed=seed) for picture in shown]
    page = _measure(run, seed, threads=threads)
    tell("")
    for picture, path in zip(shown, drawn, strict=True):
        tell(f"{picture.value + ':':<15}{path}")
    tell(f"{'report:':<15}{page}")
    tell(f"{'log:':<15}{run.path / 'log.jsonl'}")


@app.command(
    epilog="Examples:  saddle sample runs/my-run -n 64 --seed 1  |  saddle sample runs/my-run --picture filmstrip  |  "
    "saddle sample runs/my-run --label 3 -n 64  |  saddle sample runs/my-run -n 10000 --out samples.npz  |  "
    "saddle sample runs/prices -n 1000 --format csv  |  saddle sample runs/my-run -n 1000 --out made/  |  "
    "saddle sample runs/my-run --seeds 0-63,100 --truncation 0.7 --out made/"
)
@with_runs("run")
def sample(
    run: RunArgument,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="Samples; columns of a filmstrip, rows of an interpolation."),
    ] = None,
    picture: Annotated[Picture, typer.Option(help="What to draw.")] = Picture.grid,
    label: Annotated[
        str | None, typer.Option(help="Name or index of a class, for a conditional generator; default: every class.")
    ] = None,
    seed: SeedOption = 0,
    seeds: Annotated[
        str | None, typer.Option(help="One sample for each of these seeds, such as 0-63,100, the same in any company.")
    ] = None,
    out: OutOption = None,
    kind: FormatOption = None,
    truncation: Annotated[
        float | None,
        typer.Option(help="Of families with w: pull samples towards the mean, as 0.7; 1: not at all."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Of series: time of the first step, as 2016-07-01. Default: after the data.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Use the last weights, not their moving average.")] = False,
    data: MovedDataOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Draw samples of a run: a PNG picture, with --out FOLDER one file each, with --out FILE.npz the arrays; of series
    a CSV.

    --seeds names the samples: --out FOLDER has seed0000.png and so on, --out FILE.png a sheet of them.
    grid: samples, or inputs beside their translations. filmstrip: the same z over training. neighbours: samples
    beside their nearest training images, framed in yellow. interpolation: straight lines between points of z space.
    styles: coarse styles of the first column, fine ones of the first row; of stargan2 inputs in the style of one seed
    a column. references: inputs in the styles of the first row. truncation: each row pulled towards the mean and
    beyond it.
    """
    from saddlepoint.data.series.positions import times_text
    from saddlepoint.run import api
    from saddlepoint.run.samples import pictures
    from saddlepoint.run.samples.seeds import draw_seeds

    loaded = api.load(run, device=device, averaged=not raw, data=data)
    with fastest_threads(loaded, threads, worth=seeds is not None or (n or 1) >= _MANY):
        if seeds is not None:
            if picture != Picture.grid or seed:
                raise ConfigError("--seeds names the samples itself; leave out --picture and --seed")
            words: dict[str, Any] = {"label": label, "kind": kind, "truncation": truncation, "start": start}
            tell(draw_seeds(loaded, seeds, out, n=n, **words))
            return
        drawn = pictures.draw(
            loaded, picture, n, seed=seed, label=label, out=out, kind=kind, truncation=truncation, start=start
        )
    tell(drawn)
    if drawn.suffix.lower() in (".csv", ".parquet"):
        said = times_text(loaded.layout, n or pictures.WINDOWS, loaded.family.data.shape[0], start)
        for line in filter(None, (said, *gaps_of(loaded.config["data"]))):
            say_aside(line)


@app.command(
    epilog="Examples:  saddle evaluate runs/my-run  |  saddle evaluate runs/my-run --protocol parzen  |  "
    "saddle evaluate --samples samples.npz --data mnist"
)
@with_preparation
def evaluate(
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
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Protocol, such as fd, parzen or fd2k_pixels_test; may be given several times. Default: all."
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature extractor: mnist-lenet, pixels, inception-v3, ... Default: by the data.")
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the report; default: RUN/report, of --samples NAME: ./NAME-report."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Use the last weights, not their moving average.")] = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    where: RunsOption = None,
    *,
    preparation: dict[str, Any],
) -> None:
    """Measure a run, or samples from elsewhere, by named protocols, beside rows that say what a figure can tell.

    The shortest figures come first; Ctrl-C stops with those that are there.
    """
    from saddlepoint.cli.display import Measuring
    from saddlepoint.run import measure
    from saddlepoint.run import run as runs

    if (run is None) == (samples is None):
        raise ConfigError("evaluate takes a run folder, or --samples with --data: give exactly one of the two")
    if samples is not None:
        if data is None:
            raise ConfigError("--samples needs --data: the data set they are to be compared with")
        with Measuring(quiet=quiet) as shown:
            report, page = measure.evaluate_samples(
                samples, data, protocol, seed=seed, features=features, out=out, say=shown.say, detail=shown.detail,
                partial=True, threads=threads, **preparation,
            )  # fmt: skip
    else:
        if preparation:
            wrong = next(iter(preparation)).replace("_", "-")
            raise ConfigError(f"a run is measured against the data it was trained on; leave out --{wrong}")
        assert run is not None
        loaded = runs.load(find_run(run, where), device=device, averaged=not raw, data=data)
        if out is None:
            loaded.check_report_place()
        with Measuring(quiet=quiet) as shown:
            report = loaded.evaluate(
                protocol,
                seed=seed,
                features=features,
                say=shown.say,
                detail=shown.detail,
                partial=True,
                threads=threads,
            )
        page = loaded.save_report(report, out)
    _tell(report, page, as_json=as_json)


add_runs(app)
add_exploration(app)
add_shipping(app)
add_experiments(app)
add_families(app)


def _measure(run: Any, seed: int, *, quiet: bool = False, threads: int | str | None = None) -> Path:
    """Measure a run by all that fits, print the figures, and return the path of the report."""
    from saddlepoint.cli.display import Measuring

    run.check_report_place()
    with Measuring(quiet=quiet) as shown:
        report = run.evaluate(seed=seed, say=shown.say, detail=shown.detail, partial=True, threads=threads)
    page: Path = run.save_report(report)
    _tell(report, None)
    return page


def _tell(report: Any, page: Path | None, *, as_json: bool = False) -> None:
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


def _run(
    request: Any, *, quiet: bool = False, fresh: bool = False, report: bool = False, demo: bool = False
) -> tuple[bool, Any]:
    """Train with a display; return whether anything was left to train, and the run. Leave with 130 when interrupted."""
    from saddlepoint.cli.display import Display
    from saddlepoint.engine.plan import unfinished
    from saddlepoint.run import api

    silent = _follows()

    def announce(start: Any) -> None:
        display.announce(start)
        if report and not (quiet or silent):
            display.say(after(start, "" if demo else "; --no-report leaves it out"))

    with Display(request.settings, quiet=quiet or silent) as display:
        run, outcome = api.start(request, display.observer(), fresh=fresh, announce=announce)
    progress = outcome.progress
    if silent:
        raise typer.Exit(INTERRUPTED if outcome.reason == "interrupted" else 0)
    if outcome.reason == "interrupted":
        way = for_shell("saddle", "train", "--resume", run.path)
        say_aside(f"interrupted at step {progress.step:,}; saved. Go on with: {way}")
        raise typer.Exit(INTERRUPTED)
    if display.began is not None and display.began.progress.step == progress.step > 0:
        say_spent(request, run.path)
        return False, run
    if not quiet:
        speed = f", {progress.nimg / outcome.seconds:,.0f} samples/s" if outcome.seconds else ""
        tell(f"trained:  {progress.nimg / 1000:,.1f} kimg in {outcome.seconds:,.0f} s{speed}")
    if early := unfinished(run.family.stages(), progress.step):
        way = for_shell("saddle", "train", "--resume", run.path, "--budget", "+10m")
        tell(f"note:     {early}; more time: {way}")
    tell(f"run:      {run.path}")
    return True, run


def _follows() -> bool:
    """Whether another process of the same job speaks for this one."""
    return os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


def main() -> None:
    """Run the command; expected errors are one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be text.
            stream.reconfigure(errors="backslashreplace")
    try:
        with waiting.began(quiet=_follows() or bool({"-q", "--quiet"} & set(sys.argv[1:]))):
            code = app(gather(import_own(sys.argv[1:]), app), standalone_mode=False)
        family_options(sys.argv[1:])
    except OpenQuestion as question:
        code = complain(question.text(["saddle", *sys.argv[1:]]), lines=True)
    except ConfigError as error:
        code = 2 if _follows() else complain(str(error))
    except SaddlepointError as error:
        code = complain(str(error))
    except _UsageError as error:
        # Without a command, typer has printed the help already and its error is empty.
        message = in_own_words(error, app)
        code = complain(message, lines=True) if message.strip() else 0
    except OSError as error:
        code = complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except (MemoryError, RuntimeError, ImportError) as error:
        words = ("out of memory", "allocate memory", "tried to allocate", "failed to map segment")
        unbuilt = str(error) == "could not create a primitive"  # oneDNN, without memory for its code
        if not (isinstance(error, MemoryError) or unbuilt or any(word in str(error) for word in words)):
            raise
        code = complain(
            "there is not enough memory; lower --batch-size, or share it with --micro-batch. What is saved stays"
        )
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)
