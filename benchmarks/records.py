"""What the scripts that make figures share: rows that are trained and kept, tables, their section of a page."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, TypeVar

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import Observer, Outcome
from saddlepoint.evaluation import Report
from saddlepoint.run import api

HERE = Path(__file__).parent
Row = TypeVar("Row")


def commit() -> str:
    """Return the commit that figures measured now belong to."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def train(plan: api.Plan) -> tuple[api.Run, Outcome]:
    """Train as planned, or go on with it; an interruption ends the script."""
    run, outcome = api.start(plan, Observer(say=print, warn=print))
    if outcome.reason == "interrupted":
        sys.exit("interrupted; run the same command again")
    return run, outcome


def facts_of(run: api.Run, outcome: Outcome) -> dict[str, Any]:
    """Return how much a run saw in which time, what the doctor says and said of it, and where its game stands."""
    alarms = {line["verdict"] for line in run.log if line.get("verdict") in ALARMS}
    facts = {"nimg": outcome.progress.nimg, "seconds": round(outcome.seconds, 1), "verdict": run.diagnosis.verdict}
    return facts | {"alarms": sorted(alarms)} | {"game": game_of(run)}


def game_of(run: api.Run) -> dict[str, float]:
    """Return V and D's means on data and samples over the last tenth of a training: -log 4 and 1/2 at equilibrium."""
    return game_between(run.log, 0.9 * run.log[-1].get("nimg", 0), math.inf)


def game_between(log: Iterable[Mapping[str, Any]], first: float, last: float) -> dict[str, float]:
    """Return V and D's means over the lines of a log between two counts of images; nothing where no game is played."""
    within = [line for line in log if first <= line.get("nimg", 0) <= last]
    values = {name: [line[name] for line in within if name in line] for name in ("V", "D(x)", "D(G(z))")}
    return {name: statistics.fmean(found) for name, found in values.items() if found}


def keep(path: Path, found: Mapping[str, Any], threads: int) -> None:
    """Write what was found as JSON, with threads, machine and commit."""
    about = {"threads": threads, "machine": runtime.machine(), "commit": commit()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({**found, **about}, indent=1, default=list) + "\n")


def kept_rows(rows: Iterable[tuple[Row, Path]]) -> list[tuple[Row, dict[str, Any]]]:
    """Return what was kept of those rows whose files are there, with the mark of its machine."""
    found = [(row, json.loads(path.read_text())) for row, path in rows if path.exists()]
    marks = _marks(kept for _, kept in found)
    return [(row, kept | {"mark": marks[_machine(kept)]}) for row, kept in found]


def _machine(found: Mapping[str, Any]) -> str:
    return f"{found['machine']['processor']}, torch {found['machine']['torch']}"


def _marks(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a letter for each machine, to stand beside what was measured on it; nothing where all is of one."""
    machines = sorted({_machine(one) for one in found})
    return {name: f" {ascii_lowercase[n]}" if len(machines) > 1 else "" for n, name in enumerate(machines)}


def line_of(cells: Iterable[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def head_of(words: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line_of(words), "|---" * len(words) + "|"]


def doctor_of(found: Mapping[str, Any]) -> str:
    """Return the doctor's last word on a run, and its alarms before."""
    return found["verdict"] + (f" (before: {', '.join(found['alarms'])})" if found["alarms"] else "")


def measured_on(found: Iterable[Mapping[str, Any]], between: str = " ") -> str:
    """Return the sentences on machines and commits."""
    found = list(found)
    machines = (f"{mark} {name}".strip() for name, mark in _marks(found).items())
    commits = sorted({one["commit"] for one in found})
    return f"Measured on: {'; '.join(machines)}.{between}Commits: {', '.join(commits)}."


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


def over(numbers: Sequence[float]) -> str:
    """Return the mean over seeds, and the range; of one seed the figure alone."""
    mean = statistics.mean(numbers)
    digits = 1 if abs(mean) >= 10 else 3
    shown = f"{mean:.{digits}f}"
    return shown if len(numbers) == 1 else f"{shown} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


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
