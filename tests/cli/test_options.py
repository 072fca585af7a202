"""Every option of every command and family, as a committed list: none appears, changes or goes by accident.

``python -m tests.cli.test_options`` writes the list anew; what changes in it belongs in the changelog.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.cli.main import app
from saddlepoint.core.config import describe
from saddlepoint.family import families

KEPT = Path(__file__).parents[1] / "golden" / "options.txt"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Return every command that can be called, with its words; Typer brings a Click of its own, so none is imported."""
    for word, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


def listed() -> str:
    """Return one line for each command and each option, with its names and its default."""
    lines = []
    for name, command in commands(typer.main.get_command(app), "saddle"):
        lines.append(name)
        for parameter in command.params:
            words = " ".join((*parameter.opts, *parameter.secondary_opts))
            kind = "argument" if parameter.param_type_name == "argument" else "flag" if parameter.is_flag else "option"
            lines.append(f"    {kind}  {words}  {parameter.default!r}")
    for family, kind in families().items():
        if kind.__module__.startswith("saddlepoint."):
            for preset, config in kind.PRESETS.items():
                lines.append(f"saddle train {family} --preset {preset}")
                lines += [f"    {option}  {value}" for option, value, _ in describe(kind.Config, config)]
    return "\n".join(lines) + "\n"


def test_options_are_those_of_the_list() -> None:
    kept, found = KEPT.read_text().splitlines(), listed().splitlines()
    assert found == kept, "\n".join(difflib.unified_diff(kept, found, "the list", "now", lineterm="", n=1))


if __name__ == "__main__":
    KEPT.write_text(listed())
