"""How likely the presets of Boltzmann machines make held-out digits after so many images, and what they look like.

    python benchmarks/boltzmann.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/boltzmann.py write            print a line for each kept row

MNIST, 0/1 pixels, one thread, no doctor. Rows count images, since what a step takes depends on what else the machine
does. A row that is stopped goes on in its run folder; a finished one keeps its figures in
benchmarks/figures/boltzmann/ROW.json, and its pictures in docs/images. Log Z is estimated with 5,000 distributions and
100 runs; the seconds are those of training on a machine with other work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import facts_of, keep, kept_rows, run_or_write, train

from saddlepoint.core.types import from_bytes
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family.boltzmann import Boltzmann
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "boltzmann"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "boltzmann"
THREADS = 1
LENGTHS: Mapping[str, tuple[int, ...]] = {"rbm": (2_400,), "dbm": (600, 1_600)}
"""Thousands of images, by family."""


@dataclass(frozen=True)
class Row:
    """One training run: a family, thousands of images, a seed."""

    family: str
    kimg: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.family}-{self.kimg}kimg-seed{self.seed}"


ROWS = [Row(family, kimg, seed) for seed in range(3) for family, lengths in LENGTHS.items() for kimg in lengths]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists() or (row.seed and not named):
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        row.family, "mnist", preset="small", seed=row.seed, threads=THREADS, out=RUNS / row.name, device="cpu",
        remedy="off", kimg=float(row.kimg),
    )  # fmt: skip
    made, outcome = train(plan)
    found = figures(made)
    if row.seed == 0:
        pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"boltzmann-{row.name}.png")
    keep(path, facts_of(made, outcome) | {"figures": found}, THREADS)
    print(f"{row.name}: {found}", flush=True)


@torch.no_grad()
def figures(made: api.Run) -> dict[str, Any]:
    """Return mean log-likelihoods of the test rows and of as many training rows, and the error of log Z."""
    family, splits = made.family, made.dataset().splits
    assert isinstance(family, Boltzmann)
    test, known = (from_bytes(torch.from_numpy(np.array(splits[name].x[:10_000]))) for name in ("test", "train"))
    found = family.log_likelihood(torch.cat([test, known]), generator=stream("cpu", "boltzmann"))
    own, heart = found.values.double().split([len(test), len(known)])
    return {
        "test": float(own.mean()), "training": float(heart.mean()), "error of log Z": found.error,
        "error over rows": float(own.std()) / len(own) ** 0.5, "estimator": family.estimator, "rows": len(own),
    }  # fmt: skip


def write() -> None:
    """Print what is kept."""
    for row, kept in kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS):
        found = kept["figures"]
        print(f"{row.name}: {found['test']:.2f} nats (log Z: {found['error of log Z']:.2f}), {kept['seconds']:.0f} s")


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
