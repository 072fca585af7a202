"""`saddle sweep`: options of a family searched over many trainings, and the winner trained again and measured."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saddlepoint.cli.arguments import check_cheaply, read_options
from saddlepoint.cli.options import (
    INTERRUPTED,
    PLACE,
    DataOption,
    JsonOption,
    QuietOption,
    say_aside,
    tell,
    tell_json,
    with_fields,
)
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.options import Preparation
from saddlepoint.run.request import SweepRequest, TrainRequest

if TYPE_CHECKING:
    from saddlepoint.cli.display import Measuring
    from saddlepoint.engine.settings import Means
    from saddlepoint.family import Progress
    from saddlepoint.run.sweeps.sweep import Sweep

_EVERY_SECONDS = 0.5


def add_sweeping(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        epilog="Examples:  saddle sweep dcgan --data ./photos --over lr=1e-4..1e-2 --over r1_gamma=0.1,1,10 --kimg 50  "
        "|  saddle sweep gan --over lr=0.01..1 --steps 2000 --trials 40 --storage sqlite:///sweep.db"
    )(sweep)


@with_fields
def sweep(
    ctx: typer.Context,
    *,
    family: Annotated[str, typer.Argument(help="Family of models; `saddle families` lists them.")],
    data: DataOption = "mnist",
    search: SweepRequest,
    request: TrainRequest,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set a field of the family.", rich_help_panel=PLACE)
    ] = None,
    preparation: Preparation,
) -> None:
    """Search options of a family; train the best again with other seeds, and measure it once on held-out rows.

    Each trial is a training with the limits given here, judged on validation rows. The same command goes on where it
    stopped; given again in another terminal, or on another machine with the same folder, it works on the same trials.
    --out is the folder of the sweep.
    """
    check_cheaply(family, request)
    if request.name is not None:
        raise ConfigError("a sweep has a folder of many runs and no name; say where with --out")
    own = read_options(option or [], ctx.command, family)

    from saddlepoint.cli.display import Measuring
    from saddlepoint.engine.settings import Observer
    from saddlepoint.run.sweeps.sweep import sweep as swept

    asked = {name: value for name, value in vars(request).items() if name not in ("out", "name")}
    with Measuring(quiet=quiet) as shown:
        found = swept(
            family, data, out=request.out, options=own, say=shown.say,
            observer=Observer(tick=Ticks(shown).tick, warn=lambda line: say_aside(f"warning: {line}")),
            **{**vars(search), "over": search.over or []}, **asked, **preparation,
        )  # fmt: skip
    _tell(found, as_json)


class Ticks:
    """Shows how far the present training is, where a line can be changed."""

    def __init__(self, shown: Measuring) -> None:
        self.shown, self._next = shown, 0.0

    def tick(self, at: Progress, seconds: float, means: Means) -> None:
        """Refresh the line if it is time to."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY_SECONDS
            self.shown.detail(f"{at.nimg / 1000:,.1f} kimg, {seconds:,.0f} s")


def _tell(found: Sweep, as_json: bool) -> None:
    """Print what came of a sweep, and leave with 130 where it was interrupted."""
    from saddlepoint.run.sweeps.summary import PICTURE, SUMMARY

    folder = Path(found.path)
    if as_json:
        tell_json(json.dumps(found.to_json(), indent=1))
    else:
        from saddlepoint.cli import sweep_tables

        sweep_tables.print_sweep(found)
        tell(f"sweep:    {folder / SUMMARY}", f"picture:  {folder / PICTURE}")
    if found.interrupted:
        say_aside("interrupted; saved. The same command goes on")
        raise typer.Exit(INTERRUPTED)
    if found.at_work:
        trials = "1 trial is" if found.at_work == 1 else f"{found.at_work} trials are"
        say_aside(f"{trials} at work elsewhere; who ends the last one trains the winner")
