"""Asks what precision, recall, density and coverage say of pictures that show nothing, by every extractor.

    python benchmarks/neighbourhoods.py run [ROW ...]    measure what is missing (one to four minutes a row, one thread)
    python benchmarks/neighbourhoods.py write            write the table of docs/notebook/extractors.md

2,000 training rows of cifar10-jpeg are the data; test rows, what becomes of them when blurred, plain pictures of their
mean colours, and uniform noise are held against it. "length 1": features are compared by their directions. Figures are
kept in benchmarks/figures/neighbourhoods/ROW.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extractors import STEPS, changed
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, write_section

from saddlepoint.data import load_dataset
from saddlepoint.evaluation.features import extractor_for
from saddlepoint.metrics.extractors import comparable
from saddlepoint.metrics.manifold import manifold

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "neighbourhoods"
PAGE = HERE.parent / "docs" / "notebook" / "extractors.md"
DATA, COUNT = "cifar10-jpeg", 2_000
SHOWN = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Row:
    """Features, as they are or at length 1."""

    features: str
    directions: bool = False

    @property
    def name(self) -> str:
        return self.features + ("-length-1" if self.directions else "")


ROWS = {
    row.name: row
    for row in (Row("pixels"), Row("cifar10-jpeg-lenet"), Row("imagenet-lite"), Row("imagenet-lite", directions=True))
}


def sets() -> Mapping[str, np.ndarray]:
    """Return pictures (2000, 3, 32, 32) by name, the data first."""
    data = load_dataset(DATA, say=print).in_bytes()
    train, test = (np.asarray(data.splits[name].x[:COUNT]) for name in ("train", "test"))
    means = test.mean((2, 3), keepdims=True).round().astype(np.uint8)
    blur, *_ = STEPS["blur"]
    noise = np.random.default_rng(0).integers(0, 256, test.shape, dtype=np.uint8)
    return {
        "training images": train, "held-out images": test, "blurred by 1.5 pixels": changed(test, blur, 1.5),
        "blurred by 4 pixels": changed(test, blur, 4.0),
        "their mean colours": np.broadcast_to(means, test.shape).copy(), "uniform noise": noise,
    }  # fmt: skip


def run(row: Row, named: bool) -> None:
    """Measure a row that is missing, or was named."""
    path = FIGURES / f"{row.name}.json"
    if path.exists() and not named:
        return
    torch.set_num_threads(1)
    extractor = extractor_for(load_dataset(DATA), row.features, print)
    found: dict[str, np.ndarray] = {name: extractor.extract(x).x for name, x in sets().items()}
    lengths = {name: float(np.linalg.norm(x, axis=1).mean()) for name, x in found.items()}
    if row.directions:
        found = {name: comparable(x, extractor) for name, x in found.items()}
    real, *others = found
    figures: dict[str, Any] = {}
    for name in others:
        estimates = manifold(found[real], found[name])
        figures[name] = {metric: estimates[metric].value for metric in SHOWN} | {"length": lengths[name]}
        print(row.name, name, {metric: round(value, 3) for metric, value in figures[name].items()}, flush=True)
    keep(path, {"figures": figures}, 1)


def write() -> None:
    """Write the table into the page."""
    kept = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS.values())
    lines = head_of([", ".join(SHOWN), *(row.name.replace("-length", ", length") for row, _ in kept)])
    for name in kept[0][1]["figures"]:
        cells = (", ".join(f"{found['figures'][name][metric]:.2f}" for metric in SHOWN) for _, found in kept)
        lines.append(line_of([name, *cells]))
    write_section(PAGE, "neighbourhoods", [*lines, "", measured_on(found for _, found in kept)])


if __name__ == "__main__":
    run_or_write(ROWS, run, write, __doc__)
