"""`saddle sample`: samples of a run as a picture, as files or as arrays."""

from __future__ import annotations

import typer

from saddlepoint.cli.options import (
    DeviceOption,
    MovedDataOption,
    RawOption,
    RunArgument,
    ThreadsOption,
    fastest_threads,
    say_aside,
    tell,
    with_fields,
    with_runs,
)
from saddlepoint.data.plan import gaps_of
from saddlepoint.run.request import SampleRequest

_MANY = 1000
"""Samples from which the number of threads is measured."""


def add_sampling(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        epilog="Examples:  saddle sample runs/my-run -n 64 --seed 1  |  saddle sample runs/my-run --picture filmstrip"
        "  |  saddle sample runs/my-run --label 3 -n 64  |  saddle sample runs/my-run -n 10000 --out samples.npz  |  "
        "saddle sample runs/prices -n 1000 --format csv  |  saddle sample runs/my-run -n 1000 --out made/  |  "
        "saddle sample runs/prices --given history.csv --length 12  |  saddle sample runs/prices --fill holes.csv  |  "
        "saddle sample runs/prices --length 5000  |  "
        "saddle sample runs/my-run --seeds 0-63,100 --truncation 0.7 --out made/"
    )(sample)


@with_runs("run")
@with_fields
def sample(
    *,
    run: RunArgument,
    request: SampleRequest,
    raw: RawOption = False,
    data: MovedDataOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Draw samples of a run: a PNG picture, with --out FOLDER one file each, with --out FILE.npz the arrays; of series
    a CSV. --given goes on from the rows of a table, --fill fills its empty cells, --length makes longer series.

    --seeds names the samples: --out FOLDER has seed0000.png and so on, --out FILE.png a sheet of them.
    grid: samples, or inputs beside their translations. filmstrip: the same z over training. neighbours: samples
    beside their nearest training images, framed in yellow. interpolation: straight lines between points of z space.
    styles: coarse styles of the first column, fine ones of the first row; of stargan2 inputs in the style of one seed
    a column. references: inputs in the styles of the first row. truncation: each row pulled towards the mean and
    beyond it.
    """
    from saddlepoint.data.series.positions import times_text
    from saddlepoint.family.explicit import set_evaluations
    from saddlepoint.run import api, conditional
    from saddlepoint.run.samples import pictures, seeds

    loaded = api.load(run, device=device, averaged=not raw, data=data)
    set_evaluations(loaded.family, request.evaluations)
    carry_out = pictures.carry_out if request.seeds is None else seeds.carry_out
    with fastest_threads(loaded, threads, worth=request.seeds is not None or (request.n or 1) >= _MANY):
        drawn = carry_out(loaded, request)
    tell(drawn)
    if drawn.suffix.lower() in (".csv", ".parquet"):
        more = request.given is not None or request.fill is not None or request.length is not None
        n = request.n or conditional.WINDOWS
        said = "" if more else times_text(loaded.layout, n, loaded.family.data.shape[0], request.start)
        for line in filter(None, (said, *gaps_of(loaded.config["data"]))):
            say_aside(line)
