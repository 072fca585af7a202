"""Own pictures edited: how near projection and pivotal tuning come, and what dragging leaves as it is.

    python benchmarks/editing.py run [ROW ...]    train, edit and measure what is missing; can be stopped at any moment
    python benchmarks/editing.py write            write the table of docs/own-pictures.md from the kept figures

Each row is one short training and 4 pictures that it never saw, evenly spaced over the test rows. A row that is
stopped goes on in its run folder; a finished one keeps its figures in benchmarks/figures/editing/ROW.json, and its
pictures in docs/images. Errors are the perceptual distance (`saddlepoint.metrics.perceptual`) and the mean squared
error of values in [-1, 1]. "Others" are 64 samples of other seeds, before and after
tuning; "direction 1" is the cosine of what that direction changes before and after. A drag moves a point 5
pixels to the side, and only the region around it may change: what changes inside and outside of it is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import facts_of, head_of, keep, kept_rows, line_of, measured_on, run_or_write, train, write_section
from torch import Tensor

from saddlepoint.core.types import from_bytes
from saddlepoint.data.dataset import evenly
from saddlepoint.figures import grids
from saddlepoint.run import api
from saddlepoint.run.run import Run
from saddlepoint.run.samples.drag_pictures import draw_drag
from saddlepoint.run.samples.dragging import Drag, drag
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.likeness import Likeness, likeness_for, squared_errors
from saddlepoint.run.samples.pictures import save
from saddlepoint.run.samples.points import Point
from saddlepoint.run.samples.tuning import Tuned, Tuning, tune

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "editing"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "editing"
THREADS, PICTURES = 1, 4
DRAGS = 8
STEPS = (200, 200)
"""Of projection, and of tuning."""


@dataclass(frozen=True)
class Row:
    """One training: data, size of its pictures, thousands of them that it sees, seed."""

    data: str
    size: int
    kimg: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.data}-{self.size}-seed{self.seed}"


ROWS = [Row("att-faces", 32, 41.92, 0), Row("att-faces", 64, 6.0, 0)]


def run(row: Row, named: bool) -> None:
    """Train a row unless it is finished, edit held-out pictures, keep figures and pictures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    plan = api.plan(
        "stylegan", row.data, preset="tiny-64", size=row.size, seed=row.seed, threads=THREADS, out=RUNS / row.name,
        device="cpu", remedy="off", kimg=row.kimg,
    )  # fmt: skip
    made, outcome = train(plan)
    test = made.dataset().in_bytes().splits["test"]
    images = from_bytes(torch.from_numpy(test.x[evenly(len(test), PICTURES)]))
    figures = edited(made, images, row.name) | dragged(made, row.name)
    film(made, row.name)
    keep(path, facts_of(made, outcome) | {"figures": figures}, THREADS)
    print(f"{row.name}: {figures}", flush=True)


def edited(run: Run, images: Tensor, name: str) -> dict[str, Any]:
    """Project and tune, each picture by itself as its owner would; return errors before, between and after."""
    explorer, likeness = Explorer(run), likeness_for(run)
    found, rows = [], []
    mean = run.sample(1000).mean(0, keepdim=True)
    for number, image in enumerate(images.split(1)):
        part = run.path / f"editing-{number}.pt"
        if not part.exists():
            torch.save(_edited(explorer, image, mean, likeness), part)
        facts, shown = torch.load(part, weights_only=True)
        found.append(facts)
        rows.append(shown)
        print(f"{name}, picture {number}: {facts}", flush=True)
    tiles = torch.stack(rows, 1).flatten(0, 1)
    captions = ["given", "in w", "in w+", "tuned"]
    sheet = grids.grid(tiles, len(rows), captions=captions, scale=max(1, 96 // images.shape[2]))
    save(sheet, DOCS / "images" / f"editing-{name}.png")
    return {"pictures": found}


def _edited(explorer: Explorer, image: Tensor, mean: Tensor, likeness: Likeness) -> tuple[dict[str, Any], Tensor]:
    begun = time.process_time()
    place = explorer.project(image, steps=STEPS[0], space="w")
    between = time.process_time()
    wide = explorer.project(image, steps=STEPS[0], space="w+")
    after_wide = time.process_time()
    tuned = tune(explorer, image, place.codes, None, likeness, Tuning(STEPS[1]))
    end = time.process_time()
    facts = {
        "mean": [float(place.mean_losses), float(squared_errors(mean, image))],
        "w": _errors(place.samples, image, likeness),
        "w+": _errors(wide.samples, image, likeness),
        "tuned": _errors(tuned.samples, image, likeness),
        "others": tuned.beside,
        "seconds": [between - begun, after_wide - between, end - after_wide],
        **moved(explorer, tuned, place.codes),
    }
    return facts, torch.cat([image, place.samples, wide.samples, tuned.samples])


def _errors(samples: Tensor, image: Tensor, likeness: Likeness) -> list[float]:
    with torch.no_grad():
        return [float(likeness.to(image)(samples)), float(squared_errors(samples, image))]


def moved(explorer: Explorer, tuned: Tuned, codes: Tensor) -> dict[str, Any]:
    """Whether a direction does to the tuned picture what it did before: cosine of the changes by direction 1."""
    step = 1.5 * explorer.spread * explorer.directions[0]
    changes = [
        (one.samples(codes + step, None, 0) - one.samples(codes, None, 0)).flatten()
        for one in (explorer, Explorer(tuned.run))
    ]
    return {"direction kept": float(torch.cosine_similarity(*changes, dim=0))}


def dragged(run: Run, name: str) -> dict[str, Any]:
    """Drag the middle of samples 5 pixels to the side, with a region and without; return what became of it."""
    explorer, side = Explorer(run), run.family.data.shape[2]
    middle, reach = side // 2, side // 4
    box = (middle - reach, middle - reach, middle + reach, middle + reach)
    found: dict[str, Any] = {}
    for word, region in (("with region", box), ("without", None)):
        asked = Drag(((middle, middle),), ((middle + 5 * side // 64, middle),), region)
        rows = []
        for seed in range(DRAGS):
            code = explorer.codes(run.inputs(1, seed=seed), None)[0]
            begun = time.process_time()
            _, seen = drag(explorer, code, asked, steps=100)
            seconds = time.process_time() - begun
            change = (seen[-1].sample - seen[0].sample).square().mean(1)[0]
            inside = torch.zeros_like(change, dtype=torch.bool)
            inside[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
            rows.append(
                {
                    "arrived": seen[-1].arrived,
                    "off": seen[-1].distance,
                    "steps": len(seen),
                    "milliseconds a step": 1000 * seconds / len(seen),
                    "inside": float(change[inside].mean()),
                    "outside": float(change[~inside].mean()),
                }
            )
        found[word] = rows
    return {"drags": found}


def film(run: Run, name: str) -> None:
    """Show the way of a point that is dragged a quarter of the picture, and what its region leaves as it is."""
    explorer, side = Explorer(run), run.family.data.shape[2]
    middle, reach = side // 2, side // 4
    box = (middle - reach, middle - reach, side - 1, middle + reach)
    asked = Drag(((middle, middle),), ((middle + reach, middle),), box)
    draw_drag(explorer, Point(0), asked, steps=100, out=DOCS / "images" / f"editing-drag-{name}.gif")


def write() -> None:
    """Write the tables: means over pictures."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    words = [
        "`stylegan tiny-64` on",
        "mean image",
        "projected, w",
        "projected, w+",
        "tuned",
        "others changed",
        "direction 1",
        "seconds",
    ]
    lines = head_of(words)
    for row, kept in found:
        each = kept["figures"]["pictures"]
        cells = [" / ".join(f"{_mean(each, key, k):.3f}" for k in (0, 1)) for key in ("mean", "w", "w+", "tuned")]
        seconds = " + ".join(f"{_mean(each, 'seconds', k):.0f}" for k in (0, 2))
        others = f"{statistics.mean(one['others'] for one in each):.4f}"
        kept_way = f"{statistics.mean(one['direction kept'] for one in each):.2f}"
        lines.append(line_of([_trained(row), *cells, others, kept_way, seconds]))
    lines += [
        "",
        *head_of([f"{DRAGS} drags of 5 pixels of 64", "region", "arrived", "steps", "ms a step", "inside", "outside"]),
    ]
    for row, kept in found:
        for word, drags in kept["figures"]["drags"].items():
            cells = [f"{statistics.mean(one[key] for one in drags):.{d}f}" for key, d in (
                ("steps", 0), ("milliseconds a step", 0), ("inside", 4), ("outside", 4))]  # fmt: skip
            lines.append(line_of([_trained(row), word, f"{sum(one['arrived'] for one in drags)} of {DRAGS}", *cells]))
    lines += ["", measured_on(one for _, one in found)]
    write_section(DOCS / "own-pictures.md", "editing", lines)


def _trained(row: Row) -> str:
    return f"{row.data} at {row.size}x{row.size}, {row.kimg:,.0f},000 images"


def _mean(rows: list[Mapping[str, Any]], key: str, place: int) -> float:
    return statistics.mean(row[key][place] for row in rows)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
