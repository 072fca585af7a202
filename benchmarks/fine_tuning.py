"""What it brings to begin with another run's weights: few photographs, for the same number of images, three ways.

    python benchmarks/fine_tuning.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/fine_tuning.py write            the table of docs/own-pictures.md from the kept figures

`dcgan small`, 32x32, one thread, no doctor. "horses": 200 and 1,000 horses of cifar10-jpeg, beginning with a run on
the nine other classes; held out are the 1,000 horses of its test rows. "faces": 200 of AT&T's faces, beginning with a
run on grey cifar10-jpeg; held out are other people. From scratch, fine-tuned, and fine-tuned with the first two layers
of D frozen (FreezeD, Mo et al. 2020), each for as many images; and from scratch for five times as many. A row that is
stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/fine_tuning/ROW.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
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

from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.dataset import Split
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "fine_tuning"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "fine_tuning"
THREADS, SEEDS = 1, 3
BASE_KIMG, KIMG, LONG = 300.0, 40.0, 5
FROZEN = 2
HORSE = 7
PROTOCOLS = ("fd", "prdc", "memorisation")
WAYS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "scratch": ("from scratch", {}),
    "from": ("`--from`", {}),
    "frozen": (f"`--from`, `--freeze-discriminator {FROZEN}`", {"freeze_discriminator": FROZEN}),
    "long": (f"from scratch, {LONG} times as long", {}),
}
SHOWN = (
    ("Fréchet distance, bias removed", "FD"), ("recall", "recall"), ("near copies", "near copies"),
    ("memorisation p-value", "p of memorisation"),
)  # fmt: skip
"""Metric, word."""


@dataclass(frozen=True)
class Row:
    """One training run: pictures, how many, the way, a seed."""

    pictures: str
    rows: int
    way: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.pictures}-{self.rows}-{self.way}-seed{self.seed}"


ROWS = [
    Row(kind, rows, way, seed)
    for seed in range(SEEDS)
    for kind, rows in (("horses", 200), ("horses", 1000), ("faces", 200))
    for way in WAYS
]


def grey(x: np.ndarray) -> np.ndarray:
    """Return colour images as grey ones, (rows, 1, height, width): ITU-R BT.601."""
    levels = np.tensordot(np.array([0.299, 0.587, 0.114]), x, axes=(0, 1))
    return np.round(levels).astype(np.uint8)[:, None]


def others(kind: str) -> Dataset:
    """Return the photographs of the run that is begun with."""
    whole = load_dataset("cifar10-jpeg")
    found = {}
    for name, split in whole.splits.items():
        assert split.labels is not None
        x = np.asarray(split.x)
        found[name] = Split(x[split.labels != HORSE] if kind == "horses" else grey(x))
    return dataclasses.replace(whole, name=f"photographs before {kind}", splits=found, classes=())


def few(kind: str, rows: int) -> Dataset:
    """Return the photographs that are learned, the same for every seed; valid and test rows are none of them."""
    if kind == "faces":
        whole = load_dataset("att-faces", size=32)
        keep_of = {name: np.arange(len(split)) for name, split in whole.splits.items()}
    else:
        whole = load_dataset("cifar10-jpeg")
        keep_of = {name: np.flatnonzero(split.labels == HORSE) for name, split in whole.splits.items()}
    keep_of["train"] = np.random.default_rng(0).permutation(keep_of["train"])[:rows]
    found = {name: Split(np.asarray(whole.splits[name].x)[chosen]) for name, chosen in keep_of.items()}
    return dataclasses.replace(whole, name=f"{rows} {kind}", splits=found, classes=())


def base_of(kind: str, seed: int) -> Path:
    """Return the run that is begun with, trained if it is not there."""
    place = RUNS / f"base-{kind}-seed{seed}"
    train(planned(others(kind), place, seed, BASE_KIMG))
    return place


def planned(data: Dataset, place: Path, seed: int, kimg: float, **more: Any) -> api.Plan:
    """Return a training of `dcgan small`."""
    return api.plan(
        "dcgan", data, preset="small", seed=seed, threads=THREADS, out=place, device="cpu", remedy="off", kimg=kimg,
        **more,
    )  # fmt: skip


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    more = dict(WAYS[row.way][1])
    if row.way in ("from", "frozen"):
        more["start_from"] = base_of(row.pictures, row.seed)
    kimg = KIMG * (LONG if row.way == "long" else 1)
    made, outcome = train(planned(few(row.pictures, row.rows), RUNS / row.name, row.seed, kimg, **more))
    found = figures_of(made.evaluate(PROTOCOLS, seed=0))
    if row.seed == 0:
        pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"fine-tuning-{row.name}.png")
    keep(path, facts_of(made, outcome) | {"figures": found}, THREADS)
    print(f"{row.name}: {outcome.seconds:.0f} s, {outcome.progress.nimg:,} images", flush=True)


def write() -> None:
    """Write the table: a line for each way, means over seeds with the least and the largest."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines = head_of(["pictures", "way", "images seen", "seeds", *(word for _, word in SHOWN)])
    for kind, rows, way in dict.fromkeys((row.pictures, row.rows, row.way) for row, _ in found):
        own = [kept for row, kept in found if (row.pictures, row.rows, row.way) == (kind, rows, way)]
        cells = [over([kept["figures"]["model"][metric]["value"] for kept in own]) for metric, _ in SHOWN]
        lines.append(line_of([f"{rows:,} {kind}", WAYS[way][0], f"{own[0]['nimg']:,}", str(len(own)), *cells]))
    lines += ["", f"{THREADS} thread. {measured_on(one for _, one in found)}"]
    write_section(DOCS / "own-pictures.md", "fine-tuning", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
