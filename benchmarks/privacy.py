"""What differential privacy costs in quality: MNIST at epsilon 1, 10 and without, at equal images.

    python benchmarks/privacy.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/privacy.py write            write the table of docs/privacy.md from the kept figures

`gan mnist-private`, one thread, one seed. Rows see as many images (D five times as many: it steps five times), so that
only clipping and noise differ; "default" is
`gan mnist`, which cannot be trained privately, at as many images. A row that is stopped goes on in its run folder; a
finished one keeps its figures in benchmarks/figures/privacy/ROW.json. Private runs draw their noise from a secret of
their own: run again, they give other figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import cell, figures_of, head_of, keep, kept_rows, line_of, measured_on, run_or_write, train, write_section

from saddlepoint.run import api

HERE = Path(__file__).parent
FIGURES, PAGE = HERE / "figures" / "privacy", HERE.parent / "docs" / "privacy.md"
RUNS = Path("runs") / "privacy"
KIMG, DELTA, SEED = 80.0, 1e-5, 0
PROTOCOLS = ("fd", "parzen", "membership-inference")
SHOWN = {
    "Fréchet distance": "FD ↓",
    "log-likelihood": "Parzen ↑ (nats)",
    "membership TPR at 1% FPR": "TPR at 1% FPR, samples",
    "membership TPR at 1% FPR, D's logit": "the same, D's logit",
    "membership AUC, D's logit": "AUC, D's logit",
}


@dataclass(frozen=True)
class Row:
    """One training: its preset, and what it may spend; None: not private."""

    name: str
    preset: str
    epsilon: float | None

    @property
    def path(self) -> Path:
        """Where its figures are kept."""
        return FIGURES / f"{self.name}.json"


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row("epsilon-1", "mnist-private", 1.0),
        Row("epsilon-10", "mnist-private", 10.0),
        Row("not-private", "mnist-private", None),
        Row("default", "mnist", None),
    )
}


def run(row: Row, named: bool) -> None:
    """Train and measure one row."""
    if row.path.exists() and not named:
        return
    private = {} if row.epsilon is None else {"private": True, "epsilon": row.epsilon, "delta": DELTA}
    plan = api.plan(
        "gan", "mnist", preset=row.preset, kimg=KIMG, seed=SEED, out=RUNS / row.name, threads=1, remedy="off",
        averages="off", **private,
    )  # fmt: skip
    made, outcome = train(plan)
    report = made.evaluate(list(PROTOCOLS), threads=1)
    found: dict[str, Any] = {"seconds": round(outcome.seconds, 1), "nimg": outcome.progress.nimg}
    if made.privacy is not None:
        found |= {
            "epsilon": made.privacy.epsilon, "delta": made.privacy.delta, "updates": made.privacy.updates,
            "noise": made.privacy.privacy.noise_multiplier, "clip": made.privacy.privacy.clip,
        }  # fmt: skip
    keep(row.path, {**found, "figures": figures_of(report)}, torch.get_num_threads())


def write() -> None:
    """Write the table."""
    kept = kept_rows((row, row.path) for row in ROWS.values())
    lines = head_of(["training", "ε", "noise", "updates of D", *SHOWN.values()])
    for row, found in kept:
        own = found["figures"]["model"]
        facts = [f"{found[key]:.3g}" if key in found else "" for key in ("epsilon", "noise")]
        updates = f"{found['updates']:,}" if "updates" in found else ""
        word = f"`gan {row.preset}`" + (" `--private`" if row.epsilon else "")
        lines.append(line_of([word, *facts, updates, *(cell(own.get(name)) for name in SHOWN)]))
    for name in ("held-out images", "training images"):
        controls = kept[0][1]["figures"].get(name, {})
        lines.append(line_of([name, *[""] * 3, *(cell(controls.get(metric)) for metric in SHOWN)]))
    images = f"{kept[0][1]['nimg']:,} images each, one seed, δ = {DELTA:g}. "
    write_section(PAGE, "price", [*lines, "", images + measured_on(found for _, found in kept)])


if __name__ == "__main__":
    run_or_write(ROWS, run, write, __doc__)
