"""Samples in one pass of a network, in a few, or in fifty: diffusion, drifting and a normalising flow at equal minutes.

    python benchmarks/one_step_or_many.py run [ROW ...]    train and measure what is missing; can be stopped
    python benchmarks/one_step_or_many.py show             print the kept figures

MNIST, one thread, no doctor, three minutes each. A row that is stopped goes on in its run folder; a finished one keeps
its figures in benchmarks/figures/one_step_or_many/ROW.json. Diffusion is measured at several numbers of evaluations of
its network; of the flow also bits for each number of held-out images, with one draw of the noise on levels.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import facts_of, figures_of, head_of, keep, kept_rows, line_of, train

from saddlepoint.core.types import from_bytes
from saddlepoint.family import Likelihood
from saddlepoint.family.capabilities import Iterative, set_evaluations
from saddlepoint.run import api

FIGURES = Path(__file__).parent / "figures" / "one_step_or_many"
RUNS = Path("runs") / "one_step_or_many"
DATA, THREADS, SECONDS, HELD_OUT = "mnist", 1, 180.0, 2_000
EVALUATIONS = (1, 4, 20, 50)


@dataclass(frozen=True)
class Row:
    """One training run: a family with its default preset, and a seed."""

    family: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.family}-seed{self.seed}"


ROWS = [Row(family, seed) for seed in range(3) for family in ("diffusion", "drifting", "flow")]


@torch.no_grad()
def bits(run: api.Run) -> float | None:
    """Return the mean of -log2 p(x) of held-out images for each number of theirs; None: the family has no p."""
    family = run.family
    if not isinstance(family, Likelihood):
        return None
    x = from_bytes(torch.from_numpy(run.dataset().splits["test"].x[:HELD_OUT].copy()))
    found = family.log_likelihood(x, generator=torch.Generator().manual_seed(0)).values
    return float(-found.mean()) / x[0].numel() / math.log(2)


def run(row: Row) -> None:
    """Train a row unless it is finished, measure it, and keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        row.family, DATA, seed=row.seed, threads=THREADS, out=RUNS / row.name, device="cpu", remedy="off",
        budget=SECONDS,
    )  # fmt: skip
    made, outcome = train(plan)
    reports = dict[str, Any]()
    for evaluations in EVALUATIONS if isinstance(made.family, Iterative) else (1,):
        set_evaluations(made.family, evaluations if isinstance(made.family, Iterative) else None)
        reports[str(evaluations)] = figures_of(made.evaluate(("fd",), seed=0))
    keep(path, facts_of(made, outcome) | {"figures": reports, "bits": bits(made)}, THREADS)


def show() -> None:
    """Print a line for each kept row and number of evaluations."""
    print("\n".join(head_of(["family", "seed", "images seen", "evaluations", "FD", "bits"])))
    for row, kept in kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS):
        for evaluations, found in kept["figures"].items():
            distance = found["model"]["Fréchet distance"]["value"]
            bpd = "" if kept["bits"] is None else f"{kept['bits']:.3f}"
            print(line_of([row.family, str(row.seed), f"{kept['nimg']:,}", evaluations, f"{distance:.4g}", bpd]))


if __name__ == "__main__":
    command, *names = sys.argv[1:] or ["show"]
    if command == "show":
        show()
    else:
        for one in ROWS:
            if not names or one.name in names:
                run(one)
