"""What an hour makes of some hundred pictures: three public sets, each at the sizes that it has pixels for.

    python benchmarks/few_pictures.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/few_pictures.py write            the table of docs/own-pictures.md from the kept figures

"faces": AT&T's 400 (held out are other people). "emoji": those of @lobehub/fluent-emoji-3d that are one code point, on
white, from npm. "horses": 2,000 of cifar10-jpeg. `stylegan`, each preset as it comes, augmented since rows are few; 60
minutes of two threads. A row that is stopped goes on in its run folder; a finished one keeps its figures in
benchmarks/figures/few_pictures/ROW.json. Rows of "pilot" are the choices that `small-128` was made by: as many images
as 10 minutes of one core allow, one seed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fine_tuning import few
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
from saddlepoint.lab.step_worker import peak
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "few_pictures"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "few_pictures"
SEEDS, THREADS, BUDGET, PILOT_SECONDS = 3, 2, 3600.0, 600
EMOJI = "@lobehub/fluent-emoji-3d@1.1.0"
HORSES = 2000
PROTOCOLS = ("fd", "kd", "prdc", "memorisation")
SHOWN = (
    ("Fréchet distance", "FD, raw"), ("kernel distance", "KD"), ("precision", "precision"),
    ("recall", "recall"), ("near copies", "near copies"), ("memorisation p-value", "p of memorisation"),
)  # fmt: skip
"""Metric, word."""

PILOTS: Mapping[str, tuple[float, Mapping[str, Any]]] = {
    "w8": (92, {"width": 8, "max_width": 128}),
    "w8-256": (84, {"width": 8, "max_width": 256}),
    "w16": (43, {"width": 16, "max_width": 128}),
    "w8-256-gamma2": (84, {"width": 8, "max_width": 256, "r1_gamma": 2.0, "r2_gamma": 2.0}),
    "w8-256-lr1e-3": (84, {"width": 8, "max_width": 256, "lr": 1e-3}),
}
"""Images a second of one core, options of `small-128`."""


@dataclass(frozen=True)
class Row:
    """One training run: pictures, a preset, a seed; of a pilot its name, else ""."""

    pictures: str
    preset: str
    seed: int
    pilot: str = ""

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.pictures}-{f'pilot-{self.pilot}' if self.pilot else self.preset}-seed{self.seed}"


ROWS = [
    Row(kind, preset, seed)
    for seed in range(SEEDS)
    for kind, preset in (
        ("faces", "small-128"), ("emoji", "small-128"), ("faces", "tiny-64"), ("emoji", "tiny-64"),
        ("horses", "tiny-32"),
    )
]  # fmt: skip
TRIALS = [Row(kind, "small-128", 0, pilot) for pilot in PILOTS for kind in ("emoji", "faces")]


def data_of(row: Row) -> Dataset:
    """Return the pictures of a row, at the size of its preset."""
    side = int(row.preset.rpartition("-")[2])
    if row.pictures == "faces":
        return load_dataset("att-faces", size="96x112" if side > 64 else side)
    if row.pictures == "emoji":
        return load_dataset(str(emoji()), size=side, background="white")
    return few("horses", HORSES)


def emoji() -> Path:
    """Return the folder of the emoji, fetched by npm if it is not there."""
    place = RUNS / "emoji"
    if not place.exists():
        beside = RUNS / "fetched"
        beside.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", EMOJI, "--silent"], cwd=beside, check=True)
        with tarfile.open(next(beside.glob("*.tgz"))) as archive:
            archive.extractall(beside, filter="data")
        chosen = beside / "chosen"
        chosen.mkdir(exist_ok=True)
        for path in (beside / "package" / "assets").iterdir():
            if re.fullmatch(r"[0-9a-f]+\.webp", path.name):
                shutil.move(path, chosen / path.name)
        chosen.rename(place)
        shutil.rmtree(beside)
    return place


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, measure it, keep its figures and pictures."""
    path, place = FIGURES / f"{row.name}.json", RUNS / row.name
    if path.exists():
        return
    if row.pilot:
        pace, options = PILOTS[row.pilot]
        limits: dict[str, Any] = {"kimg": pace * PILOT_SECONDS / 1000, "threads": 1}
    else:
        options, limits = {}, {"budget": BUDGET, "threads": THREADS}
    torch.set_num_threads(limits["threads"])
    plan = api.plan(
        "stylegan", data_of(row), preset=row.preset, seed=row.seed, out=place, device="cpu", remedy="off",
        **limits, **options,
    )  # fmt: skip
    begun = time.time()
    made, outcome = train(plan)
    found = figures_of(made.evaluate(PROTOCOLS, seed=0))
    if row.seed == 0:
        pictures.draw(made, "grid", 24, seed=0, out=DOCS / "images" / f"few-pictures-{row.name}.png")
    # Not of a run that was stopped and went on.
    shown = [one.stat().st_mtime - begun for one in (place / "samples").glob("*.png")]
    more = {"first picture": round(min(shown), 1)} if min(shown) > 0 else {}
    more["mib"] = round(peak())
    keep(path, facts_of(made, outcome) | more | {"figures": found}, limits["threads"])
    print(f"{row.name}: {outcome.seconds:.0f} s, {outcome.progress.nimg:,} images", flush=True)


def write() -> None:
    """Write the table: a line for each set and preset, means over seeds with the least and the largest."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines = head_of(["pictures", "preset", "images seen", "seeds", *(word for _, word in SHOWN)])
    for kind, preset in dict.fromkeys((row.pictures, row.preset) for row, _ in found):
        own = [kept for row, kept in found if (row.pictures, row.preset) == (kind, preset)]
        cells = [over([kept["figures"]["model"][metric]["value"] for kept in own]) for metric, _ in SHOWN]
        lines.append(line_of([kind, f"`{preset}`", f"{own[0]['nimg']:,}", str(len(own)), *cells]))
    lines += ["", f"{THREADS} threads. {measured_on(one for _, one in found)}"]
    write_section(DOCS / "own-pictures.md", "few-pictures", lines, "\n## What an hour makes\n\n")


if __name__ == "__main__":
    run_or_write({row.name: row for row in (*ROWS, *TRIALS)}, run, write, __doc__)
