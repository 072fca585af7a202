"""The command: `saddlepoint`, or `saddle` for short. A thin layer over `saddlepoint.api`."""

from __future__ import annotations

import io
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from saddlepoint._errors import ConfigError, SaddlepointError, suggest
from saddlepoint._version import __version__
from saddlepoint.cli_data import data_app
from saddlepoint.cli_experiments import add_experiments
from saddlepoint.cli_explore import add_exploration
from saddlepoint.cli_options import (
    BudgetOption,
    CompileOption,
    DataOption,
    DeviceOption,
    DryRunOption,
    FormatOption,
    MicroBatchOption,
    OutOption,
    PrecisionOption,
    QuietOption,
    RemedyOption,
    ReportOption,
    RunArgument,
    SeedOption,
    StopOption,
    ThreadsOption,
    say_aside,
    with_preparation,
)
from saddlepoint.cli_ship import add_shipping
from saddlepoint.data.plan import OpenQuestion

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

_INTERRUPTED = 130


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
        typer.echo(f"saddlepoint {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:  saddle train  |  saddle train dcgan --data ./photos --budget 20m  |  "
    "saddle train gan --preset mnist-2014 --kimg 500 --seed 1  |  saddle train --resume runs/my-run --budget 1h",
)
@with_preparation
def train(
    ctx: typer.Context,
    family: Annotated[str, typer.Argument(help="Family of GANs; `saddle families` lists them.")] = "gan",
    data: DataOption = "mnist",
    preset: Annotated[str | None, typer.Option(help="Named configuration; `saddle families gan` lists them.")] = None,
    budget: BudgetOption = None,
    kimg: Annotated[float | None, typer.Option(help="Limit in thousands of samples seen.")] = None,
    steps: Annotated[int | None, typer.Option(help="Limit in steps. The first limit reached ends training.")] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    checkpoint: Annotated[str, typer.Option(help="Time between checkpoints.")] = "60s",
    remedy: RemedyOption = None,
    stop_when: StopOption = None,
    micro_batch: MicroBatchOption = None,
    precision: PrecisionOption = "auto",
    compile: CompileOption = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew although an unfinished run is there.")] = False,
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

    Every field of the family's configuration is an option as well: --lr 0.1, --batch-size 64, --k 3
    (`saddle families gan` lists them). Of your own images size, augmentation and budget are chosen, and said.
    """
    from saddlepoint import api, pictures, tables
    from saddlepoint.data import KNOWN

    options = _family_options(option or [], family)
    if resume is not None:
        _refuse_changes([*options, *_changed(ctx)])
        device_or_kept = None if device == "auto" else device
        request = api.plan_to_resume(
            resume, budget=budget, kimg=kimg, steps=steps, stop_when=stop_when, device=device_or_kept, threads=threads
        )
    else:
        request = api.plan(
            family, data, preset=preset, options=options, budget=budget, kimg=kimg, steps=steps, seed=seed, out=out,
            device=device, threads=threads, checkpoint=checkpoint, remedy=remedy, stop_when=stop_when,
            micro_batch=micro_batch, precision=precision, compile=compile, **preparation,
        )  # fmt: skip
    if dry_run:
        resolved = api.resolve(request, say_aside)
        say_aside("\n".join(tables.reading_table(resolved.reading.findings)))
        typer.echo(json.dumps(resolved.to_json(), indent=1))
        return
    run = _run(request, quiet=quiet, fresh=fresh)
    if report or (report is None and request.source not in KNOWN):
        page = _measure(run, 0, quiet=quiet)
        typer.echo(f"samples:  {pictures.draw(run, 'grid')}")
        typer.echo(f"report:   {page}")
    elif not quiet:
        typer.echo(f"next:     saddle sample {run.path}    saddle evaluate {run.path}")


@app.command(epilog="Example:  saddle demo --budget 3m")
def demo(
    budget: Annotated[str, typer.Option(help="Training time.")] = "3m",
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train the GAN on MNIST, draw its pictures, measure it: everything once. Without a network it uses digits."""
    from saddlepoint import api, pictures
    from saddlepoint._errors import DataError
    from saddlepoint.data import load_dataset

    source = "mnist"
    try:
        load_dataset(source, say=say_aside)
    except DataError as error:
        typer.echo(
            f"MNIST cannot be had here ({error}).\nThe demo goes on with the digits that scikit-learn brings along."
        )
        source = "digits"
    run = _run(api.plan(data=source, budget=budget, seed=seed, out=out, device=device, threads=threads))
    shown = [picture for picture in Picture if picture not in ("styles", "truncation", "references")]
    drawn = [pictures.draw(run, picture, seed=seed) for picture in shown]
    page = _measure(run, seed)
    typer.echo("")
    for picture, path in zip(shown, drawn, strict=True):
        typer.echo(f"{picture.value + ':':<15}{path}")
    typer.echo(f"{'report:':<15}{page}")
    typer.echo(f"{'log:':<15}{run.path / 'log.jsonl'}")


@app.command(
    epilog="Examples:  saddle sample runs/my-run -n 64 --seed 1  |  saddle sample runs/my-run --picture filmstrip  |  "
    "saddle sample runs/my-run --label 3 -n 64  |  saddle sample runs/my-run -n 10000 --out samples.npz  |  "
    "saddle sample runs/prices -n 1000 --format csv  |  saddle sample runs/my-run -n 1000 --out made/  |  "
    "saddle sample runs/my-run --seeds 0-63,100 --truncation 0.7 --out made/"
)
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
    from saddlepoint import api, pictures
    from saddlepoint.data.series.positions import in_words
    from saddlepoint.engine.runtime import use_threads
    from saddlepoint.seeds import draw_seeds

    use_threads(threads)
    loaded = api.load(run, device=device, averaged=not raw)
    if seeds is not None:
        if picture != Picture.grid or seed:
            raise ConfigError("--seeds names the samples itself; leave out --picture and --seed")
        words: dict[str, Any] = {"label": label, "kind": kind, "truncation": truncation, "start": start}
        typer.echo(draw_seeds(loaded, seeds, out, n=n, **words))
        return
    drawn = pictures.draw(
        loaded, picture, n, seed=seed, label=label, out=out, kind=kind, truncation=truncation, start=start
    )
    typer.echo(drawn)
    if drawn.suffix.lower() in (".csv", ".parquet"):
        said = in_words(loaded.layout, n or pictures.WINDOWS, loaded.family.data.shape[0], start)
        if said:
            say_aside(said)


@app.command(
    epilog="Examples:  saddle evaluate runs/my-run  |  saddle evaluate runs/my-run --protocol parzen  |  "
    "saddle evaluate --samples samples.npz --data mnist"
)
@with_preparation
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run folder; or leave it out and give --samples.")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples that anything made: folder or zip of images, parquet, .npy, .npz.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="What --samples are compared with.")] = None,
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
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the report; default: RUN/report.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Use the last weights, not their moving average.")] = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    *,
    preparation: dict[str, Any],
) -> None:
    """Measure a run, or samples from elsewhere, by named protocols, beside rows that say what a figure can tell."""
    from saddlepoint import measure, tables
    from saddlepoint import run as runs
    from saddlepoint.engine.runtime import use_threads

    if (run is None) == (samples is None):
        raise ConfigError("evaluate takes a run folder, or --samples with --data: give exactly one of the two")
    use_threads(threads)
    say = None if quiet else say_aside
    if samples is not None:
        if data is None:
            raise ConfigError("--samples needs --data: the data set they are to be compared with")
        report, page = measure.evaluate_samples(
            samples, data, protocol, seed=seed, features=features, out=out, say=say, **preparation
        )
    else:
        if data is not None or preparation:
            wrong = "data" if data is not None else next(iter(preparation)).replace("_", "-")
            raise ConfigError(f"a run is measured against the data it was trained on; leave out --{wrong}")
        assert run is not None
        loaded = runs.load(run, device=device, averaged=not raw)
        report = loaded.evaluate(protocol, seed=seed, features=features, say=say)
        page = loaded.save_report(report, out)
    tables.print_report(report)
    typer.echo(f"report: {page}")


@app.command(epilog="Example:  saddle compare runs/one runs/two --protocol fd --protocol pr")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of reports, that were evaluated.")],
    protocol: Annotated[
        list[str] | None, typer.Option(help="Compare these protocols only; default: all of the first run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put evaluated runs side by side; say which differences are larger than chance."""
    import dataclasses

    from saddlepoint import tables
    from saddlepoint.measure import compare_runs

    lines = compare_runs(runs, protocol)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in lines], indent=1))
    else:
        tables.print_comparison(lines)


add_exploration(app)
add_shipping(app)
add_experiments(app)


@app.command("families", epilog="Examples:  saddle families  |  saddle families gan")
def families_(
    family: Annotated[str | None, typer.Argument(help="Show the presets and options of one.")] = None,
) -> None:
    """List the families, or the presets and options of one."""
    from rich.console import Console
    from rich.table import Table

    from saddlepoint import api
    from saddlepoint.config import describe
    from saddlepoint.family import get_family

    console = Console()
    if family is None:
        for kind in api.list_families().values():
            console.print(f"[bold]{kind.name}[/]  {kind.summary}; presets: {', '.join(kind.PRESETS)}", highlight=False)
        return
    kind = get_family(family)
    table = Table(title=f"{kind.name}: {kind.summary}", box=None, title_justify="left")
    table.add_column("option")
    for preset in kind.PRESETS:
        table.add_column(preset)
    table.add_column("meaning")
    columns = [describe(kind.Config, config) for config in kind.PRESETS.values()]
    for rows in zip(*columns, strict=True):
        table.add_row(rows[0][0], *(value for _, value, _ in rows), rows[0][2])
    console.print(table)


def _measure(run: Any, seed: int, *, quiet: bool = False) -> Path:
    """Measure a run by all that fits, print the figures, and return the path of the report."""
    from saddlepoint import tables

    report = run.evaluate(seed=seed, say=None if quiet else say_aside)
    page: Path = run.save_report(report)
    tables.print_report(report)
    return page


_OF_RESUMING = {"family", "budget", "kimg", "steps", "stop_when", "device", "threads", "dry_run", "report", "quiet"}
"""Options that a resumed run takes; those of the family are looked at apart."""


def _changed(ctx: typer.Context) -> list[str]:
    """Return the options that differ from what they are when left out, but for those that a resumed run takes."""
    own = [p for p in ctx.command.params if p.name not in _OF_RESUMING | {"resume", "option"}]
    return [str(p.name).replace("_", "-") for p in own if ctx.params[str(p.name)] != p.get_default(ctx)]


def _refuse_changes(changed: list[str]) -> None:
    if changed:
        raise ConfigError(f"a resumed run keeps its options; leave out --{changed[0]}, or start a new run")


def _general_options() -> set[str]:
    """Names of the options of `saddle train` that belong to no family."""
    command = cast(Any, typer.main.get_command(app)).commands["train"]
    words = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
    return {word.removeprefix("--") for word in words if word.startswith("--")} | {"help"}


def _gather(words: list[str]) -> list[str]:
    """Turn ``--lr 0.1`` and ``--lr=0.1`` of `saddle train` into ``--option lr=0.1`` where --lr is not its own."""
    if words[:1] != ["train"]:
        return words
    gathered, general = ["train"], _general_options()
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name in general:
            gathered.append(word)
            continue
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        gathered += ["--option", f"{name}={value}"]
    return gathered


def _family_options(pairs: list[str], family: str) -> dict[str, str]:
    """Read NAME=VALUE pairs for the family's configuration."""
    import dataclasses

    import saddlepoint.families  # noqa: F401 - registers the families
    from saddlepoint.family import get_family

    fields = {f.name.replace("_", "-") for f in dataclasses.fields(get_family(family).Config)}
    options: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in fields:
            raise ConfigError(f"unknown option '--{name}'; {suggest(name, fields | _general_options())}")
        if not value:
            raise ConfigError(f"option '--{name}' needs a value")
        options[name] = value
    return options


def _run(request: Any, *, quiet: bool = False, fresh: bool = False) -> Any:
    """Train with a display; leave with code 130 when interrupted."""
    from saddlepoint import api
    from saddlepoint.display import Display

    silent = _follows()
    with Display(request.settings, quiet=quiet or silent) as display:
        run, outcome = api.start(request, display.observer(), fresh=fresh, announce=display.announce)
    progress = outcome.progress
    if silent:
        raise typer.Exit(_INTERRUPTED if outcome.reason == "interrupted" else 0)
    if outcome.reason == "interrupted":
        typer.echo(
            f"interrupted at step {progress.step:,}; saved. Go on with: saddle train --resume {run.path}", err=True
        )
        raise typer.Exit(_INTERRUPTED)
    if not quiet:
        speed = f", {progress.nimg / outcome.seconds:,.0f} samples/s" if outcome.seconds else ""
        typer.echo(f"trained:  {progress.nimg / 1000:,.1f} kimg in {outcome.seconds:,.0f} s{speed}")
    typer.echo(f"run:      {run.path}")
    return run


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
        code = app(_gather(sys.argv[1:]), standalone_mode=False)
    except OpenQuestion as question:
        code = _fail(question.text(["saddle", *sys.argv[1:]]))
    except ConfigError as error:
        code = 2 if _follows() else _fail(str(error))
    except SaddlepointError as error:
        code = _fail(str(error))
    except _UsageError as error:
        # Without a command, typer has printed the help already and its error is empty.
        message = getattr(error, "format_message", lambda: str(error))()
        code = _fail(message) if message.strip() else 0
    except OSError as error:
        code = _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except (MemoryError, RuntimeError, ImportError) as error:
        words = ("out of memory", "allocate memory", "tried to allocate", "failed to map segment")
        unbuilt = str(error) == "could not create a primitive"  # oneDNN, without memory for its code
        if not (isinstance(error, MemoryError) or unbuilt or any(word in str(error) for word in words)):
            raise
        code = _fail(
            "there is not enough memory; lower --batch-size, or share it with --micro-batch. What is saved stays"
        )
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return 2
