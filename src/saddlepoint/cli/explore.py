"""Commands that look into runs: `explore` walks in latent space, `translate` takes pictures, `studio` has pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saddlepoint.cli.edit import DistanceOption
from saddlepoint.cli.options import (
    DeviceOption,
    OutOption,
    RawOption,
    RunArgument,
    SeedOption,
    ThreadsOption,
    fastest_threads,
    say_aside,
    tell,
    with_runs,
)
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.storage.lookup import VARIABLE
from saddlepoint.serve.address import STUDIO_PORT

if TYPE_CHECKING:
    from saddlepoint.run.samples.latent import Explorer


def add_exploration(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(
        epilog="Examples:  saddle explore runs/my-run  |  saddle explore runs/my-run --point 3,1=2 --out place.png  |  "
        "saddle explore runs/my-run --point 3 --point 8 --out film.gif  |  saddle explore runs/my-run --project me.png"
        "  |  saddle explore runs/my-run --attribute glasses"
    )(explore)
    app.command(
        epilog="Examples:  saddle translate runs/my-run ./digits --to red,bold --out ./red  |  "
        "saddle translate runs/my-run ./photos --to Blond_Hair --to not-Smiling --out ./out  |  "
        "saddle translate runs/my-run me.png --to winter --out winter.png"
    )(translate)
    app.command(epilog="Examples:  saddle studio  |  saddle studio elsewhere/runs --port 9000 --no-browser")(studio)


@with_runs("run")
def explore(
    run: RunArgument,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="SEED or SEED,DIRECTION=AMOUNT,... such as 3,1=2,4=-1.5; several make a path. pivot1 in the place of "
            "the seed: the picture that `saddle edit` tuned the run to."
        ),
    ] = None,
    at: Annotated[float, typer.Option(help="Place on the path: 0 is the first point, 1 the second.")] = 0.0,
    label: Annotated[str | None, typer.Option(help="Name or index of a class; default: that of the seed.")] = None,
    truncation: Annotated[float, typer.Option(help="Distance from the mean: 0 is the mean, 1 changes nothing.")] = 1.0,
    mix: Annotated[str | None, typer.Option(help="SEED:LAYER: from this layer on the style of another seed.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of a film.")] = 60,
    project: Annotated[
        list[Path] | None, typer.Option(help="Picture whose nearest sample is looked for; may be given several times.")
    ] = None,
    distance: DistanceOption = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="Class or attribute of the run's data whose direction is learned and kept; several times."),
    ] = None,
    replicate: Annotated[
        int, typer.Option(min=0, help="Held-out images that go in, above what comes out; families with an encoder.")
    ] = 0,
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Walk in a generator's latent space.

    Without --out FILE.png, .gif or .mp4: a sheet of what every principal direction does to the point. A PNG shows the
    place itself, a film the path through the points. --project finds the points nearest to pictures of your own, by the
    encoder where there is one; --replicate shows what its decoder makes of held-out images. --attribute learns in which
    direction samples come to look like those of a label: points then take it by name, as in --point 3,glasses=2.
    """
    from saddlepoint.run import api
    from saddlepoint.run.samples import views
    from saddlepoint.run.samples.latent import Explorer, View, read_points

    explorer = Explorer(api.load(run, device=device))
    if replicate:
        with fastest_threads(explorer.run, threads):
            tell(views.draw_replication(explorer.run, replicate, out))
        return
    if project:
        with fastest_threads(explorer.run, threads):
            _project(explorer, project, label, distance, seed, out)
        return
    if attribute:
        with fastest_threads(explorer.run, threads):
            _learn(explorer, attribute, seed)
    view = View(read_points(point or []), at, label, truncation, _mix(mix))
    with fastest_threads(explorer.run, threads, worth=out is None or out.suffix in views.FILMS):
        drawn = views.draw_view(explorer, view, frames, out)
    tell(drawn)


def _project(
    explorer: Explorer, paths: list[Path], label: str | None, distance: str | None, seed: int, out: Path | None
) -> None:
    """Look for pictures, draw what was found, and say how near it is."""
    from saddlepoint.run.samples import views

    files = [(path.name, path.read_bytes()) for path in paths]
    path, found = views.draw_projection(explorer, files, label, seed=seed, out=out, distance=distance, say=say_aside)
    word = "mean squared error" if found.distance == "pixels" else f"{found.distance} distance"
    for (name, _), mean, last in zip(files, found.mean_losses.tolist(), found.losses[-1].tolist(), strict=True):
        tell(f"{name}: {word} {last:.4f}; the mean image has {mean:.4f}")
    tell(path)


def _learn(explorer: Explorer, attributes: list[str], seed: int) -> None:
    """Learn directions of labels, and say how surely they work."""
    from saddlepoint.run.samples.attributes import learn_direction

    for name in attributes:
        word, found = learn_direction(explorer, name, seed=seed, say=say_aside)
        shares = ", ".join(
            f"{share:.0%} at {by:+g}" for share, by in zip(found.about["share"], (-2, 0, 2), strict=True)
        )
        tell(
            f"{word}: right on {found.about['accuracy']:.1%} of held-out samples (chance 50%); share of samples that "
            f"have it: {shares} standard deviations"
        )


def _mix(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    seed, _, layer = text.partition(":")
    if not (seed.isdecimal() and layer.isdecimal()):
        raise ConfigError(f"mix is '{text}', but it must be SEED:LAYER such as 7:4")
    return int(seed), int(layer)


@with_runs("run")
def translate(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, or a picture.")],
    to: Annotated[
        list[str],
        typer.Option(
            help="Domain; classes of several groups separated by commas, not-NAME against an attribute. Given several "
            "times, each gets a subfolder."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into; for one picture also a file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    reference: Annotated[
        Path | None, typer.Option(help="Picture whose style the translations take, for families that can.")
    ] = None,
    seed: SeedOption = 0,
    raw: RawOption = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Translate a picture, or a folder of them, into another domain; names, sizes and transparency stay.

    What cannot be read is named, the rest is done, and the exit code is then 2. Nothing is written over without
    --overwrite.
    """
    from saddlepoint.run import api
    from saddlepoint.run.measure import caution
    from saddlepoint.run.samples.translate import translate_folder

    loaded = api.load(run, device=device, averaged=not raw)
    if said := caution(loaded):
        say_aside(f"note: {said}")
    with fastest_threads(loaded, threads, worth=folder.is_dir() and loaded.family.tags.input == "image"):
        found = translate_folder(
            loaded, folder, to, out, overwrite=overwrite, reference=reference, seed=seed, say=say_aside
        )
    alone = len(found.written) == 1 and found.written[0] == out.expanduser()
    tell(f"translated: {out}" if alone else f"translated: {len(found.written):,} files in {out}")
    if found.refused:
        tell(f"refused:    {len(found.refused):,} files")
        raise typer.Exit(2)


def studio(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.", envvar=VARIABLE)] = Path("runs"),
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = STUDIO_PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Open the studio: runs, generators, trainings and the lab in the browser, on this machine."""
    from saddlepoint.serve.studio import open_studio

    open_studio(runs, host=host, port=port, show=browser, say=tell)
