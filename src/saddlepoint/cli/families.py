"""`saddle families`, and the options of a family beside the help of `saddle train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer


def add_families(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("families", epilog="Examples:  saddle families  |  saddle families gan")(families)


def families(
    family: Annotated[str | None, typer.Argument(help="Show the presets and options of one.")] = None,
) -> None:
    """List the families, or the presets and options of one."""
    from saddlepoint.family import registry

    if family is not None:
        registry.refuse_unknown(family)
    from saddlepoint.cli import tables
    from saddlepoint.family import get_family
    from saddlepoint.run import api

    found = list(api.list_families().values()) if family is None else [get_family(family)]
    tables.print_families(found) if family is None else tables.print_family(found[0])


def family_options(arguments: Sequence[str]) -> None:
    """After the help of ``saddle train FAMILY`` or ``saddle sweep FAMILY``: print the options of that family."""
    if arguments[:1] not in (["train"], ["sweep"]) or not {"--help", "-h"} & set(arguments):
        return
    from saddlepoint.cli import tables
    from saddlepoint.run import api

    known = api.list_families()
    for word in arguments[1:]:
        if word in known:
            tables.print_family(known[word])
            return
