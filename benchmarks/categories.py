"""Makes the figures of docs/notebook/categories.md: shares, seasons and scores of `timegan` on a table with categories.

    python benchmarks/categories.py TABLE [KIMG] [SEED ...]

TABLE is seattle-weather.csv of vega_datasets. Trains for KIMG thousand windows (500: about five CPU minutes of one
thread) with each seed, without remedies, and keeps a line of JSON for each in benchmarks/figures/categories.jsonl;
what is there is not made again, and a run that was stopped goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.run import api

FIGURES = Path(__file__).parent / "figures" / "categories.jsonl"
PROTOCOLS = ("discriminative-h32", "acf", "increments", "marginals")
SAMPLES = 2_000


def measured(table: str, kimg: float, seed: int) -> dict[str, Any]:
    """Train, and return shares of every category and of zeros, means by season, and scores: (data, samples)."""
    out = Path("runs") / "categories" / f"{Path(table).stem}-{kimg:g}-seed{seed}"
    run = api.train("timegan", table, kimg=kimg, seed=seed, threads=1, remedy="off", out=out)
    dataset, layout = run.dataset(), run.layout
    windows = np.asarray(dataset.splits["train"].x), run.sample(SAMPLES, seed=1).numpy()
    found: dict[str, Any] = {"table": Path(table).name, "kimg": kimg, "seed": seed}
    values = [layout.restore(x) for x in windows]
    for place, column in enumerate(layout.columns):
        both = [x[..., place].ravel() for x in values]
        if column.values:
            found[column.name] = {str(v): [float((x == k).mean()) for x in both] for k, v in enumerate(column.values)}
        elif column.spike is not None:
            found[column.name] = {f"{column.spike:g}": [float((x == column.spike).mean()) for x in both]}
        elif "season" in layout.calendar:
            quarters = [np.floor(4 * x[..., -1].ravel()) for x in windows]
            found[column.name] = [
                [float(x[q == k].mean()) for x, q in zip(both, quarters, strict=True)] for k in range(4)
            ]
    report = run.evaluate(PROTOCOLS)
    for kind in PROTOCOLS:
        row = report.find(kind)
        assert row is not None
        found[kind] = [row.value, *(row.interval or ())]
    return found


def main() -> None:
    """Make what is missing, and print all."""
    table, kimg, seeds = sys.argv[1], float([*sys.argv, 500][2]), [int(seed) for seed in sys.argv[3:]] or [0]
    kept = FIGURES.read_text(encoding="utf-8").splitlines() if FIGURES.exists() else []
    there = {(line["table"], line["kimg"], line["seed"]) for line in map(json.loads, kept)}
    for seed in seeds:
        if (Path(table).name, kimg, seed) not in there:
            kept.append(json.dumps(measured(table, kimg, seed)))
            FIGURES.parent.mkdir(exist_ok=True)
            FIGURES.write_text("\n".join(kept) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(kept) + "\n")


if __name__ == "__main__":
    main()
