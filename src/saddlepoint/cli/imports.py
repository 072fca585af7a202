"""`saddle import`: a run of weights that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saddlepoint.cli.options import OutOption, QuietOption, RunsOption, say_aside, tell


def add_importing(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        "import",
        epilog="Examples:  saddle import ffhq.pkl  |  saddle import ffhq.pkl --out runs/ffhq  |  saddle import cats.pt",
    )(import_file)


def import_file(
    file: Annotated[
        Path, typer.Argument(help="Network pickle (.pkl) of StyleGAN2-ADA, or .pt of a port of StyleGAN2 to PyTorch.")
    ],
    out: OutOption = None,
    where: RunsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make a run of weights of a StyleGAN2 that others trained; no code in the file is executed.

    What is made is a folder that sample, explore, export and `saddle train stylegan --from` take like a run. Without
    --out it lies in the folder of runs and is called like the file.
    """
    from saddlepoint.run.imports.importing import import_weights

    tell(import_weights(file, out, runs=where, say=(lambda line: None) if quiet else say_aside).path)
