"""What a person sees of a sweep on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from saddlepoint.cli.options import tell
from saddlepoint.core.console import LiteralConsole, strong
from saddlepoint.evaluation import ARROWS
from saddlepoint.run.sweeps.space import shown

if TYPE_CHECKING:
    from saddlepoint.run.sweeps.store import Trial
    from saddlepoint.run.sweeps.sweep import Sweep
    from saddlepoint.run.sweeps.winner import Winner

_SHOWN = 10


def print_sweep(found: Sweep) -> None:
    """Print the best trials, how many others there were, and the winner's figures on held-out rows."""
    names = [text.partition("=")[0].replace("-", "_") for text in found.over]
    complete = sorted(
        (trial for trial in found.trials if trial.figure is not None), key=lambda trial: trial.figure or 0
    )
    tell(f"figure:   {found.measure}; lower is better")
    table = Table("trial", *names, "figure", "standard error", box=None)
    for trial in complete[:_SHOWN]:
        cells = [shown(trial.values.get(name)) for name in names]
        error = trial.about.get("standard_error")
        table.add_row(
            str(trial.number), *cells, strong(shown(trial.figure)) if trial is complete[0] else shown(trial.figure),
            "" if error is None else f"{error:.2g}",
        )  # fmt: skip
    console = LiteralConsole(soft_wrap=False)
    console.print(table)
    tell(_counts(found.trials))
    if found.winner is not None:
        _print_winner(found.winner)


def _counts(trials: tuple[Trial, ...]) -> str:
    states = [trial.state for trial in trials]
    words = (
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "running") if state in states
    )
    return f"trials:   {', '.join(words)}"


def _print_winner(winner: Winner) -> None:
    """Print the figures of the winner on held-out rows."""
    seeds = "another seed" if len(winner.runs) == 1 else f"{len(winner.runs)} other seeds"
    tell(f"winner:   trial {winner.trial}, trained again with {seeds}, on held-out rows:")
    table = Table("protocol", "figure", "mean", "95% interval over seeds", "held-out rows", box=None)
    for figure in winner.figures:
        alike = "all alike" if len(figure.values) > 1 else ""
        interval = alike if figure.interval is None else f"[{figure.interval[0]:.4g}, {figure.interval[1]:.4g}]"
        name = f"{figure.metric} {ARROWS.get(figure.better, '')}".strip()
        table.add_row(figure.protocol, name, f"{figure.value:.4g}", interval, shown(figure.floor))
    LiteralConsole(soft_wrap=False).print(table)
    for run in winner.runs:
        tell(f"run:      {Path(run)}")
    for why in winner.diverged:
        tell(f"diverged: {why}")
