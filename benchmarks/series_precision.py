"""Makes the figures of what bf16 costs `timegan`: the default preset in fp32 and in bf16, at equal windows seen.

    python benchmarks/series_precision.py run [ROW ...]    train and measure what is missing; can be stopped
    python benchmarks/series_precision.py write            print the table from the kept figures

A row that is stopped goes on in its run folder; a finished one keeps its figures in
benchmarks/figures/series_precision/ROW.json. In bf16 D's convolutions are; recurrences, states and losses are fp32.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from records import facts_of, figures_of, head_of, keep, kept_rows, line_of, measured_on, run_or_write, train

from saddlepoint.run import api

FIGURES = Path(__file__).parent / "figures" / "series_precision"
RUNS = Path("runs") / "series_precision"
KIMG = 192
THREADS = 1
PROTOCOLS = ("discriminative-h32", "acf", "cross-correlation", "increments", "marginals", "forecast")
SHOWN = (
    ("discriminative score, 32 units", "disc. h32"),
    ("autocorrelation distance", "ACF"),
    ("cross-correlation distance", "cross-corr."),
    ("increments, Wasserstein", "increments"),
    ("marginals, Wasserstein", "marginals"),
    ("forecast error", "forecast"),
)


@dataclass(frozen=True)
class Row:
    """One training run."""

    data: str
    precision: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.data}-{self.precision}-seed{self.seed}"


# One of each before the second seed: what is there after half of the time can be compared.
ROWS = [Row(data, kind, seed) for seed in range(3) for data in ("stocks", "etth1") for kind in ("fp32", "bf16")]
# Seeds of `stocks` differ most: one more.
ROWS += [Row("stocks", kind, 3) for kind in ("fp32", "bf16")]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        "timegan", row.data, preset="increments", kimg=KIMG, seed=row.seed, threads=THREADS, out=RUNS / row.name,
        device="cpu", precision=row.precision, remedy="off",
    )  # fmt: skip
    made, outcome = train(plan)
    report = made.evaluate(PROTOCOLS, seed=0, say=print)
    keep(path, facts_of(made, outcome) | {"figures": figures_of(report)}, THREADS)
    print(f"{row.name}: {outcome.seconds:.0f} s", flush=True)


def write() -> None:
    """Print the table: means over seeds, with the smallest and the largest."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    print("\n".join(head_of(["data", "precision", "seeds", "seconds", *(word for _, word in SHOWN)])))
    for data, kind in dict.fromkeys((row.data, row.precision) for row, _ in found):
        own = [kept for row, kept in found if (row.data, row.precision) == (data, kind)]
        cells = [over(kept["figures"]["model"][metric]["value"] for kept in own) for metric, _ in SHOWN]
        seconds = statistics.median(kept["seconds"] for kept in own)
        print(line_of([data, kind, str(len(own)), f"{seconds:.0f}", *cells]))
    print(f"\n{KIMG},000 windows, {THREADS} thread a run. {measured_on(one for _, one in found)}")


def over(values: Iterable[float]) -> str:
    """Return the mean over seeds, and the range."""
    numbers = list(values)
    return f"{statistics.mean(numbers):.3f} ({min(numbers):.3f} to {max(numbers):.3f})"


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
