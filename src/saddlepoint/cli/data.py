"""Commands about data: `data list` and `data inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saddlepoint.cli.options import JsonOption, say_aside, tell, tell_json, with_fields
from saddlepoint.data.options import Preparation

data_app = typer.Typer(name="data", help="List data sets and look into your own.", no_args_is_help=True)


@data_app.command("list", epilog="Example:  saddle data list")
def data_list() -> None:
    """List the data sets known by name, and where each would come from now."""
    from rich.table import Table

    from saddlepoint.core.console import LiteralConsole
    from saddlepoint.data import list_datasets

    table = Table("name", "rows", "shape", "from", "licence", "what", box=None)
    for info in list_datasets():
        rows, shape = f"{sum(info.rows):,}", "x".join(map(str, info.shape))
        table.add_row(info.name, rows, shape, info.origin, info.licence, info.description)
    LiteralConsole(soft_wrap=True).print(table)


@data_app.command(
    "inspect",
    epilog="Examples:  saddle data inspect mnist  |  saddle data inspect ./photos --size 64  |  "
    "saddle data inspect prices.csv --window 48  |  saddle data inspect ./photos --family stylegan",
)
@with_fields
def data_inspect(
    source: Annotated[str, typer.Argument(help="Data set name, path or hf:owner/name.")],
    family: Annotated[
        str | None, typer.Option("--family", "-f", help="Say what this family would do with it, too.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Preset of that family.")] = None,
    duplicates: Annotated[
        Path | None, typer.Option(help="Write all pairs of images that look the same into this CSV.")
    ] = None,
    as_json: JsonOption = False,
    *,
    preparation: Preparation,
) -> None:
    """Say how data is read, why, and how else it could be; count images, sizes, classes, duplicates and windows."""
    from saddlepoint.family import registry

    if family is not None:
        registry.refuse_unknown(family)
    from saddlepoint.cli import tables
    from saddlepoint.data.images.duplicates import write_pairs
    from saddlepoint.data.inspect import find_copies
    from saddlepoint.run import api

    if duplicates is not None:
        copies = find_copies(source, say=say_aside, **preparation)
        say_aside(f"duplicates: {write_pairs(duplicates, copies.pairs(), copies.origins)}")
    found = api.inspect(source, family, preset=preset, say=say_aside, **preparation)
    if as_json:
        tell_json(found.to_json())
    else:
        tell(*tables.describe_inspection(found))
