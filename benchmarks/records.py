"""What the scripts that make figures share: the commit they belong to, their section of a page, their command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from saddlepoint.evaluate import Report

HERE = Path(__file__).parent
Row = TypeVar("Row")


def commit() -> str:
    """Return the commit that figures measured now belong to."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def figures_of(report: Report) -> dict[str, dict[str, Any]]:
    """Return every figure of a report: those of the subject under ``model``, those of control rows by their names."""
    figures: dict[str, dict[str, Any]] = {}
    for result in report.results:
        for line in result.rows:
            kept = {"value": line.value, "interval": line.interval, "details": dict(line.details)}
            figures.setdefault(line.row if line.role == "control" else "model", {})[line.metric] = kept
    return figures


def cell(figure: Mapping[str, Any] | None, digits: int | None = None) -> str:
    """Return a figure with its interval; ``digits`` None: three below ten, else one."""
    if figure is None:
        return ""
    value, interval = figure["value"], figure["interval"]
    digits = digits or (3 if abs(value) < 10 else 1)
    return f"{value:.{digits}f}" + (f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else "")


def write_section(page: Path, name: str, lines: Sequence[str], heading: str = "") -> None:
    """Write lines between the marks ``<!-- name: begin -->`` and ``end`` of a page; without marks, add them at its end.

    Args:
        page: a Markdown file.
        name: of the section.
        lines: of the section.
        heading: what stands before the marks where they are not there yet.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text()
    if begin not in text:
        text += heading
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def run_or_write(
    known: Mapping[str, Row], run: Callable[[Row, bool], None], write: Callable[[], None], usage: str | None
) -> None:
    """Obey the command line: ``run [NAME ...]`` or ``write``.

    Args:
        known: what can be run, by name; all of it, in order, where no name is given.
        run: (row, whether it was named).
        write: writes the page.
        usage: shown for anything else.
    """
    command, *names = sys.argv[1:] or ["help"]
    if command == "run":
        for name in names or known:
            if name not in known:
                sys.exit(f"unknown name '{name}'; choose from: {', '.join(known)}")
            run(known[name], bool(names))
    elif command == "write":
        write()
    else:
        sys.exit(usage)
