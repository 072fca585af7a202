"""Commands that edit pictures: `edit` makes one a place of a generator's, `drag` moves points of a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saddlepoint.cli.options import (
    DeviceOption,
    OutOption,
    RunArgument,
    SeedOption,
    ThreadsOption,
    fastest_threads,
    say_aside,
    tell,
    with_runs,
)
from saddlepoint.core.errors import ConfigError

DistanceOption = Annotated[
    str | None,
    typer.Option(
        help="perceptual (by a network's maps) or pixels; default: perceptual for pictures from 32 pixels on."
    ),
]


def add_editing(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(
        epilog="Examples:  saddle edit runs/faces me.png  |  saddle explore runs/faces-edit-me --point pivot1,1=2 "
        "--out me-older.png  |  saddle edit runs/faces me.png you.png --tuning-steps 600 --out runs/us"
    )(edit)
    app.command(
        epilog="Examples:  saddle drag runs/faces-edit-me --point pivot1 --from 20,40 --to 26,36  |  "
        "saddle drag runs/faces --point 3 --from 20,40 --to 26,36 --region 8,30,55,60 --out film.gif"
    )(drag)


@with_runs("run")
def edit(
    run: RunArgument,
    picture: Annotated[list[Path], typer.Argument(help="Your picture; several are edited in one run.")],
    label: Annotated[str | None, typer.Option(help="Class of the pictures, for a conditional generator.")] = None,
    distance: DistanceOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps in which the picture's place is looked for.")] = 300,
    tuning_steps: Annotated[int, typer.Option(min=0, help="Steps in which the generator is tuned; 0: it stays.")] = 300,
    lr: Annotated[float, typer.Option(help="Learning rate of the tuning.")] = 1e-3,
    locality: Annotated[float, typer.Option(help="Weight of what keeps other samples as they are; 0: none.")] = 0.1,
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Make your own picture a place in a generator's latent space, to be moved, dragged and blended from there.

    The nearest sample is looked for (projection), then the generator is tuned around it until it makes the picture
    (pivotal tuning, Roich et al. 2021). The result is a run beside RUN, which stays as it is: sample, explore, drag,
    export and the studio take it, and the picture's place is its pivot1.
    """
    from saddlepoint.run import api
    from saddlepoint.run.samples.editing import edit_pictures
    from saddlepoint.run.samples.latent import Explorer
    from saddlepoint.run.samples.projecting import Search
    from saddlepoint.run.samples.tuning import Tuning

    explorer = Explorer(api.load(run, device=device))
    files = [(path.name, path.read_bytes()) for path in picture]
    search, tuning = Search(steps, seed=seed, space="w"), Tuning(tuning_steps, lr, locality, seed)
    with fastest_threads(explorer.run, threads):
        found = edit_pictures(
            explorer, files, label, distance=distance, search=search, tuning=tuning, out=out, say=say_aside
        )
    for (name, _), pivot, errors, square in zip(
        files, found.pivots, found.errors, found.tuned.squares.tolist(), strict=True
    ):
        told = (
            f"{errors['before']:.4f} the mean image, {errors['projected']:.4f} projected, {errors['tuned']:.4f} tuned"
        )
        tell(f"{name}: pivot{pivot}; {found.found.distance} distance {told}; mean squared error {square:.5f}")
    tell(f"other samples changed by {found.tuned.beside:.5f} (mean squared); {found.seconds:.0f} s")
    tell(found.path)


@with_runs("run")
def drag(
    run: RunArgument,
    start: Annotated[list[str], typer.Option("--from", help="X,Y in pixels from the upper left; several times.")],
    to: Annotated[list[str], typer.Option(help="X,Y where that point shall go; as many.")],
    point: Annotated[str, typer.Option(help="Where it begins: SEED or pivotN, each moved by ,DIRECTION=AMOUNT.")] = "0",
    region: Annotated[
        str | None, typer.Option(help="LEFT,TOP,RIGHT,BOTTOM in pixels: what may change; default: everything.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name or index of a class; default: that of the seed.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps at most; it ends when the points have arrived.")] = 200,
    keep: Annotated[
        Path | None, typer.Option(help="Folder of a run of its own that keeps the place as its next pivot.")
    ] = None,
    out: OutOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Drag points of a sample, or of your own picture, to where they shall be (DragGAN, Pan et al. 2023).

    Written are the sample before and after as a PNG (two of them, side by side), or with --out FILE.gif or .mp4 the way
    there as a film.
    """
    from saddlepoint.run import api
    from saddlepoint.run.samples.drag_pictures import draw_drag
    from saddlepoint.run.samples.dragging import Drag
    from saddlepoint.run.samples.latent import Explorer, Point

    explorer = Explorer(api.load(run, device=device))
    box = None if region is None else _numbers(region, 4, "region", "LEFT,TOP,RIGHT,BOTTOM")
    asked = Drag(_places(start, "from"), _places(to, "to"), None if box is None else (box[0], box[1], box[2], box[3]))
    with fastest_threads(explorer.run, threads, worth=steps > 50):
        path, seen, kept = draw_drag(explorer, Point.parse(point), asked, label, steps=steps, out=out, keep=keep)
    last = seen[-1]
    where = "; ".join(f"{x:g},{y:g}" for x, y in last.handles)
    word = "arrived" if last.arrived else "not there yet"
    tell(f"{word} after {len(seen)} steps: {where} ({last.distance:.1f} pixels off)")
    tell(path)
    if kept is not None:
        tell(kept)


def _places(texts: list[str], name: str) -> tuple[tuple[float, float], ...]:
    found = [_numbers(text, 2, name, "X,Y") for text in texts]
    return tuple((x, y) for x, y in found)


def _numbers(text: str, count: int, name: str, form: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(abs(value) < 1e6 for value in found):
        raise ConfigError(f"{name} is '{text}', but it must be {form} in pixels, such as {','.join('12345'[:count])}")
    return found
