"""Samples in few passes of a network or in many: a diffusion model, and the same one trained further by a game.

    python benchmarks/one_step_or_many.py run [ROW ...]    train and measure what is missing; can be stopped
    python benchmarks/one_step_or_many.py write            the table of docs/taxonomy.md from the kept figures

MNIST, one thread, no doctor. `diffusion small` sees 40,000 images and is measured at several numbers of evaluations of
its network; `diffusion game` begins with it, sees 20,000 more by the game alone, and is measured at the two evaluations
that it was trained for. "regression" sees as many more by the regression, for comparison. A row that is stopped goes on
in its run folder; a finished one keeps its figures in benchmarks/figures/one_step_or_many/ROW.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import (
    facts_of,
    figures_of,
    head_of,
    keep,
    kept_rows,
    line_of,
    measured_on,
    run_or_write,
    train,
    write_section,
)

from saddlepoint.family.explicit import set_evaluations
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "one_step_or_many"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "one_step_or_many"
DATA, THREADS, SEEDS = "mnist", 1, 3
BEFORE, MORE = 40.0, 20.0
"""Thousands of images: of the regression, and of what follows it."""

EVALUATIONS = {"diffusion": (1, 2, 4, 20), "regression": (2, 20), "game": (2,)}
WORDS = {
    "diffusion": f"`diffusion small`, {BEFORE:.0f},000 images",
    "regression": f"the same, {MORE:.0f},000 more",
    "game": f"`diffusion game` from the first, {MORE:.0f},000 more",
}


@dataclass(frozen=True)
class Row:
    """One training run: which, and a seed."""

    which: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.which}-seed{self.seed}"

    def plan(self) -> api.Plan:
        """Return its training."""
        game = self.which == "game"
        more: dict[str, Any] = {"start_from": RUNS / f"diffusion-seed{self.seed}"} if game else {}
        kimg = {"diffusion": BEFORE, "regression": BEFORE + MORE, "game": MORE}[self.which]
        return api.plan(
            "diffusion", DATA, preset="game" if game else "small", seed=self.seed, threads=THREADS,
            out=RUNS / self.name, device="cpu", remedy="off", kimg=kimg, **more,
        )  # fmt: skip


ROWS = [Row(which, seed) for seed in range(SEEDS) for which in EVALUATIONS]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, and keep its figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists() or (row.seed and not named):
        return
    torch.set_num_threads(THREADS)
    if row.which == "game":
        train(Row("diffusion", row.seed).plan())
    made, outcome = train(row.plan())
    reports = dict[str, Any]()
    for evaluations in EVALUATIONS[row.which]:
        set_evaluations(made.family, evaluations)
        reports[str(evaluations)] = figures_of(made.evaluate(("fd", "prdc"), seed=0))
        if row.seed == 0 and evaluations == 2:
            pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"few-passes-{row.name}.png")
    keep(path, facts_of(made, outcome) | {"figures": reports}, THREADS)
    print(f"{row.name}: {outcome.progress.nimg:,} images", flush=True)


def write() -> None:
    """Write the table: a line for each row and number of evaluations."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines = head_of(["training", "seed", "evaluations", "FD", "precision", "recall"])
    for row, kept in found:
        for evaluations, figures in kept["figures"].items():
            model = figures["model"]
            distance = f"{model['Fréchet distance, bias removed']['value']:.4g}"
            shares = [f"{model[name]['value']:.3f}" for name in ("precision", "recall")]
            lines.append(line_of([WORDS[row.which], str(row.seed), evaluations, distance, *shares]))
    lines += ["", f"{THREADS} thread. {measured_on(kept for _, kept in found)}"]
    write_section(DOCS / "taxonomy.md", "few-passes", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
