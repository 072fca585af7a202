"""How much the presets learn from an image, and in ten minutes of one core, judged by features that are not ours.

    python benchmarks/learning.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/learning.py write            write the table of docs/results.md from the kept figures

Colour pictures of cifar10-jpeg, one thread, no doctor. Rows of images see 39,000; rows of minutes as many as the
pace of the ladder says (`python benchmarks/ladder.py pace`, on an idle machine), so that other work moves no figure. A
row that is stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/learning/ROW.json,
and its pictures in docs/images. "adam" is `r3gan tiny-32` with Adam for all weights, which asks for another learning
rate.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ladder_pace import pace_of
from records import (
    facts_of,
    figures_of,
    head_of,
    keep,
    kept_rows,
    line_of,
    measured_on,
    over,
    run_or_write,
    train,
    write_section,
)

from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "learning"
PACES = HERE / "figures" / "ladder"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "learning"
DATA, THREADS, SEEDS = "cifar10-jpeg", 1, 3
KIMG, MINUTES = 39.0, 10
IMAGES = f"{KIMG:.0f}kimg"
JUDGES = ("imagenet-lite", "cifar10-jpeg-lenet")
PROTOCOLS = ("fd", "kd", "prdc")
SHOWN = (
    ("kernel distance", "KID", 1000.0),
    ("Fréchet distance", "FD", 1.0),  # of 10,000 rows and 1,280 features the bias cannot be removed
    ("recall", "recall", 1.0),
)
"""Metric, word, factor."""

SYSTEMS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "r3gan": ("r3gan", "tiny-32", {}),
    "dcgan": ("dcgan", "small", {}),
    "stylegan": ("stylegan", "tiny-32", {}),
    "r3gan-adam": ("r3gan", "tiny-32", {"optimizer": "adam"}),
}


@dataclass(frozen=True)
class Row:
    """One training run: a system, how long it trains, a seed."""

    system: str
    length: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.system}-{self.length}-seed{self.seed}"

    @property
    def kimg(self) -> float:
        """Thousands of images that it sees."""
        if self.length == IMAGES:
            return KIMG
        return pace_of(f"{self.system}-{DATA}-t{THREADS}", PACES).images(60 * MINUTES) / 1000


ROWS = [
    Row(system, length, seed)
    for seed in range(SEEDS)
    for length in (f"{MINUTES}m", IMAGES)
    for system in SYSTEMS
    # Adam takes as long a step, nearly: its row of images says what there is to say.
    if system != "r3gan-adam" or length == IMAGES
]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it by each judge, keep its figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    family, preset, options = SYSTEMS[row.system]
    plan = api.plan(
        family, DATA, preset=preset, options=options, seed=row.seed, threads=THREADS, out=RUNS / row.name,
        device="cpu", remedy="off", kimg=row.kimg,
    )  # fmt: skip
    made, outcome = train(plan)
    reports = {judge: figures_of(made.evaluate(PROTOCOLS, seed=0, features=judge)) for judge in JUDGES}
    if row.seed == 0:
        pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"learning-{row.name}.png")
    keep(path, facts_of(made, outcome) | {"figures": reports}, THREADS)
    print(f"{row.name}: {outcome.seconds:.0f} s, {outcome.progress.nimg:,} images", flush=True)


def write() -> None:
    """Write the table: a line for each system and length, means over seeds with the least and the largest."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    shown = [(judge, *one) for judge in JUDGES for one in SHOWN if one[1] != "KID" or judge == JUDGES[0]]
    words = [f"{word}, {judge}" for judge, _, word, _ in shown]
    lines = head_of(["preset", "trained", "images seen", "seeds", *words])
    for length, system in dict.fromkeys((row.length, row.system) for row, _ in found):
        own = [kept for row, kept in found if (row.length, row.system) == (length, system)]
        images = statistics.mean(kept["nimg"] for kept in own)
        cells = [
            over([factor * row["value"] for row in rows]) if all(by_directions(judge, row) for row in rows) else ""
            for judge, metric, _, factor in shown
            for rows in [[kept["figures"][judge]["model"][metric] for kept in own]]
        ]
        family, preset, options = SYSTEMS[system]
        name = f"`{family} {preset}`" + "".join(f", `--{key} {value}`" for key, value in options.items())
        trained = f"{MINUTES} min" if length != IMAGES else f"{KIMG:.0f},000 images"
        lines.append(line_of([name, trained, f"{images:,.0f}", str(len(own)), *cells]))
    held = [found[-1][1]["figures"][judge]["held-out images"][metric] for judge, metric, _, _ in shown]
    floors = ", ".join(
        f"{row['value'] * factor:.3g}" if by_directions(judge, row) else "not measured"
        for row, (judge, _, _, factor) in zip(held, shown, strict=True)
    )
    about = f"KID x 1,000. Held-out images in the same order: {floors}. {THREADS} thread."
    lines += ["", f"{about} {measured_on(one for _, one in found)}"]
    write_section(DOCS / "results.md", "learning", lines)


def by_directions(judge: str, row: Mapping[str, Any]) -> bool:
    """Whether a figure is as reports have it: recall by ImageNet's features was of features as they are, once."""
    return judge != JUDGES[0] or "k" not in row["details"] or "distances" in row["details"]


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
