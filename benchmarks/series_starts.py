"""Windows that begin where windows of the data do, beside those whose beginnings are learned, and beside baselines.

    python benchmarks/series_starts.py run [ROW ...]   train and measure what is missing; can be stopped, and goes on
    python benchmarks/series_starts.py write           its section of docs/notebook/results-series.md

`timegan increments` with ``start`` learned and data, as many windows each, on the judges that a block bootstrap is hard
to beat on. Baselines and floors are rows of the same reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import (
    cell,
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

from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "series-starts"
PAGE = HERE.parent / "docs" / "notebook" / "results-series.md"
RUNS = Path("runs") / "series-starts"
THREADS, SEEDS, KSEQ = 1, 3, 1000
PROTOCOLS = (
    "discriminative-h32", "discriminative-convolutional", "context-fid", "increments", "acf", "forecast", "marginals",
    "memorisation",
)  # fmt: skip
SHOWN = (
    ("discriminative score, 32 units", "h32"),
    ("discriminative score, convolutions", "convolutional"),
    ("Context-FID", "Context-FID"),
    ("increments, Wasserstein", "increments"),
    ("autocorrelation distance", "ACF"),
    ("forecast error", "forecast"),
    ("marginals, Wasserstein", "marginals"),
    ("near copies", "near copies"),
)
BESIDE = ("block bootstrap", "vector autoregression", "halves of the training time", "training windows")


@dataclass(frozen=True)
class Row:
    """One training run."""

    data: str
    start: str
    seed: int
    window: int = 24

    @property
    def what(self) -> str:
        """Data and length of windows."""
        return self.data if self.window == 24 else f"{self.data}-{self.window}"

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.what}-{self.start}-seed{self.seed}"


ROWS = [
    Row(data, start, seed, window)
    for start, window in (("data", 24), ("learned", 24), ("data", 64))
    for seed in range(SEEDS)
    for data in ("stocks", "etth1")
]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, and keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        "timegan", row.data, preset="increments", options={"start": row.start}, seed=row.seed, threads=THREADS,
        out=RUNS / row.name, device="cpu", remedy="off", kimg=KSEQ, window=row.window,
    )  # fmt: skip
    made, outcome = train(plan)
    figures = figures_of(made.evaluate(PROTOCOLS, seed=0, say=print))
    keep(path, facts_of(made, outcome) | {"figures": figures}, THREADS)
    print(f"{row.name}: {outcome.seconds:.0f} s", flush=True)


def write() -> None:
    """Write a line for each run, and one for each baseline and floor, as the first run's report has them."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines = list[str]()
    for data, window in dict.fromkeys((row.data, row.window) for row, _ in found):
        of = [(row, kept) for row, kept in found if (row.data, row.window) == (data, window)]
        head = head_of(["windows", "seed", "seconds", *(word for _, word in SHOWN)])
        lines += ["", f"`{data}`, windows of {window} steps", "", *head]
        for row, kept in of:
            about = [f"`start` {row.start}", f"{row.seed}{kept['mark']}", f"{kept['seconds']:.0f}"]
            lines.append(line_of([*about, *cells(kept["figures"]["model"])]))
        for name in BESIDE:
            if name in (controls := of[0][1]["figures"]):
                lines.append(line_of([f"*{name}*", "", "", *cells(controls[name])]))
    lines += ["", f"{THREADS} thread, {KSEQ:,},000 windows each. {measured_on(kept for _, kept in found)}"]
    heading = "\n\n## Where windows begin\n\n"
    write_section(PAGE, "series-starts", lines, heading)


def cells(figures: Mapping[str, Any]) -> list[str]:
    """Return the shown figures with their intervals."""
    return [cell(figures.get(metric), 3) for metric, _ in SHOWN]


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
