"""`saddle completion`: the lines by which a shell completes commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script

from saddlepoint.cli.options import tell


class Shell(StrEnum):
    """Shells that can complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def add_completion(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command(
        epilog='Examples:  eval "$(saddle completion bash)"  |  saddle completion fish > '
        "~/.config/fish/completions/saddle.fish"
    )(completion)


def completion(
    shell: Annotated[Shell, typer.Argument(help="Which shell.")] = Shell.bash,
) -> None:
    """Print what makes a shell complete commands and options; `saddle --install-completion` writes it where it goes."""
    script = get_completion_script(prog_name="saddle", complete_var="_SADDLE_COMPLETE", shell=shell.value)
    tell(*script.splitlines())
