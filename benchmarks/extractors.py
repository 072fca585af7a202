"""Asks what extractors see of colour pictures: speed, neighbours, and the order of what is worse and worse.

    python benchmarks/extractors.py run [ROW ...]    measure what is missing (one to eight minutes a row, one thread)
    python benchmarks/extractors.py time             time what was measured; the machine should do nothing else
    python benchmarks/extractors.py write            write the tables of docs/notebook/extractors.md

Rows are ``imagenet-lite`` at several resolutions, the classifier of the data, and pixels, on test rows of cifar10-jpeg:

- seconds of processor time of 10,000 rows, from 500 of them, best of three;
- share of 2,000 rows whose class most of their 10 nearest others have (Euclidean, each row left out in turn);
- share of 500 of them, changed as no person minds (shifted, brighter, ...), whose nearest row is the unchanged one;
- distances of 1,000 rows that are changed more and more to 2,000 others: Fréchet's in units of what their mean would
  get, and the kernel distance.

Figures are kept in benchmarks/figures/extractors/ROW.json.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, write_section

from saddlepoint.core.files import write_atomically
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.evaluation.features import extractor_for
from saddlepoint.metrics import bootstrap
from saddlepoint.metrics.extractors import Extractor
from saddlepoint.metrics.frechet import frechet_both
from saddlepoint.metrics.imagenet import SIDE, ImagenetLite, imagenet_lite
from saddlepoint.metrics.kernel import kernel_distance, sums_within

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "extractors"
PAGE = HERE.parent / "docs" / "notebook" / "extractors.md"
DATA = "cifar10-jpeg"
REAL, CHANGED, NEIGHBOURS = 2_000, 1_000, 10


@dataclass(frozen=True)
class Row:
    """One extractor; of `imagenet-lite` the resolution too."""

    features: str
    side: int = 0

    @property
    def name(self) -> str:
        return f"{self.features}-{self.side}" if self.side else self.features

    def extractor(self, data: Dataset) -> Extractor:
        """Return the extractor."""
        if self.side:
            return ImagenetLite(imagenet_lite(say=print).network, side=self.side)
        return extractor_for(data, self.features, print)


ROWS = {
    row.name: row
    for row in (
        Row("pixels"), Row("cifar10-jpeg-lenet"),
        *(Row("imagenet-lite", side) for side in (64, 96, 128, 160, 224)),
    )
}  # fmt: skip

SAME_ROWS = 500
WIDE = 2_000  # features: of more, no Fréchet distance, which would take an hour
FIGURE_NAMES = ("kd", "fd", "unbiased")

Change = Callable[[Image.Image, float], Image.Image]


def _blurred(picture: Image.Image, sigma: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(sigma))


def _noised(picture: Image.Image, deviation: float) -> Image.Image:
    x = np.asarray(picture, np.float64)
    # The same picture gets the same noise, whatever else is measured.
    noise = np.random.default_rng(int(x.sum())).normal(0, deviation, x.shape)
    return Image.fromarray(np.clip(np.rint(x + noise), 0, 255).astype(np.uint8))


def _packed(picture: Image.Image, quality: float) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(quality))
    return Image.open(buffer).convert("RGB")


def _cropped(picture: Image.Image, pixels: float) -> Image.Image:
    width, height = picture.size
    box = (int(pixels), int(pixels), width - int(pixels), height - int(pixels))
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def _shifted(picture: Image.Image, pixels: float) -> Image.Image:
    x, by = np.asarray(picture), int(pixels)
    return Image.fromarray(np.pad(x, ((0, 0), (by, 0), (0, 0)), mode="edge")[:, : x.shape[1]])


def _brighter(picture: Image.Image, levels: float) -> Image.Image:
    return picture.point(lambda value: min(255, int(value + levels)))


def _mirrored(picture: Image.Image, _: float) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


STEPS: dict[str, tuple[Change, tuple[float, ...], str]] = {
    "blur": (_blurred, (0.5, 0.7, 1.0, 1.5, 2.5), "Gaussian, sigma in pixels"),
    "noise": (_noised, (4, 8, 16, 32, 64), "Gaussian, grey levels"),
    "JPEG": (_packed, (60, 40, 20, 10, 5), "quality"),
    "crop": (_cropped, (1, 2, 4, 6, 9), "pixels at every edge, enlarged again"),
}
"""What is worse and worse."""

KEPT_DIFFERENT = (500, 150, 50, 15, 1)
"""Collapse: so many different rows, repeated."""

SAME: dict[str, tuple[Change, float]] = {
    "1 pixel aside": (_shifted, 1), "3 pixels aside": (_shifted, 3), "20 levels brighter": (_brighter, 20),
    "noise of 8 levels": (_noised, 8), "JPEG 20": (_packed, 20), "mirrored": (_mirrored, 0),
}  # fmt: skip
"""Pictures that a person calls the same."""


def changed(images: np.ndarray, change: Change, amount: float) -> np.ndarray:
    """Return uint8 images (n, 3, height, width), each changed."""
    pictures = (change(Image.fromarray(x.transpose(1, 2, 0)), amount) for x in images)
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


@cache
def rows() -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """Return the data, 2,000 test rows with their labels, and 1,000 others."""
    data = load_dataset(DATA, say=print).in_bytes()
    test = data.splits["test"]
    assert test.labels is not None
    real, other = np.asarray(test.x[:REAL]), np.asarray(test.x[REAL : REAL + CHANGED])
    return data, real, np.asarray(test.labels[:REAL]), other


def measure_time() -> None:
    """Add seconds of processor time of 10,000 rows to what is kept, by the best of three passes over 500."""
    torch.set_num_threads(1)
    data, real, _, _ = rows()
    for row in ROWS.values():
        path, passes = FIGURES / f"{row.name}.json", []
        if not path.exists():
            continue
        extractor = row.extractor(data)
        for _ in range(3):
            start = time.thread_time()
            extractor.extract(real[:500])
            passes.append(time.thread_time() - start)
        found = json.loads(path.read_text()) | {"seconds_10k": round(20 * min(passes), 1)}
        write_atomically(path, json.dumps(found, indent=1) + "\n")
        print(row.name, found["seconds_10k"], flush=True)


def neighbours_agree(x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the share of rows whose class most of their nearest others have; among equals nearer ones decide."""
    f = torch.from_numpy(x).double()
    nearest = torch.cdist(f, f).fill_diagonal_(torch.inf).topk(NEIGHBOURS, largest=False).indices
    votes = torch.zeros(len(f), int(labels.max()) + 1, dtype=torch.double)
    weights = (1 - 1e-3 * torch.arange(NEIGHBOURS)).double().expand(len(f), -1)
    votes.scatter_add_(1, torch.from_numpy(labels)[nearest].long(), weights)
    found = bootstrap.proportion(votes.argmax(1).numpy() == labels)
    return {"value": found.value, "interval": found.interval}


def found_again(extractor: Extractor, real: np.ndarray, x: np.ndarray) -> dict[str, float]:
    """Return the share of changed rows whose nearest row is the unchanged one."""
    shares = {}
    for name, (change, amount) in SAME.items():
        own = torch.from_numpy(extractor.extract(changed(real[:SAME_ROWS], change, amount)).x)
        nearest = torch.cdist(own, torch.from_numpy(x), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        shares[name] = float((nearest == torch.arange(len(own))).double().mean())
    return shares


def distances(extractor: Extractor, x: np.ndarray, other: np.ndarray) -> dict[str, list[dict[str, float]]]:
    """Return distances of rows that are worse and worse, unchanged ones first; Fréchet's over the variance."""
    spread = float(x.astype(np.float64).var(0, ddof=1).sum())
    untouched, within = extractor.extract(other).x, sums_within(x)

    def distance(rows: np.ndarray) -> dict[str, float]:
        kernel = kernel_distance(x, rows, within=within)
        figures = {"kd": kernel.value, "error": kernel.standard_error or 0.0}
        if x.shape[1] > WIDE:
            return figures
        raw, unbiased = frechet_both(x, rows)
        figures["fd"] = raw.value / spread
        return figures | ({} if unbiased is None else {"unbiased": unbiased.value / spread})

    none, found = distance(untouched), {}
    for name, (change, amounts, _) in STEPS.items():
        found[name] = [none, *(distance(extractor.extract(changed(other, change, a)).x) for a in amounts)]
        print(f"  {name}: {[round(one['kd'], 4) for one in found[name]]}", flush=True)
    found["collapse"] = [none, *(distance(untouched[np.arange(CHANGED) % kept]) for kept in KEPT_DIFFERENT)]
    return found


def run(row: Row, named: bool) -> None:
    """Measure a row that is missing, or was named."""
    path = FIGURES / f"{row.name}.json"
    if path.exists() and not named:
        return
    torch.set_num_threads(1)
    print(row.name, flush=True)
    data, real, labels, other = rows()
    extractor = row.extractor(data)
    found: dict[str, Any] = {"name": row.name, "data": DATA, "features": extractor.features}
    x = extractor.extract(real).x
    found["neighbours"] = neighbours_agree(x, labels)
    found["found_again"] = found_again(extractor, real, x)
    print(json.dumps(found), flush=True)
    found["distances"] = distances(extractor, x, other)
    keep(path, found, 1)


def ordered(found: list[dict[str, float]], figure: str) -> str:
    """Return how many steps are farther than the one before, of how many."""
    steps = [
        after[figure] > before[figure] for before, after in pairwise(found) if figure in after and figure in before
    ]
    return f"{sum(steps)}/{len(steps)}" if steps else "-"


def told_apart(found: list[dict[str, float]]) -> int:
    """Return how many steps lie farther than unchanged rows, by twice the errors of both."""
    none = found[0]
    return sum(one["kd"] - none["kd"] > 2 * (one["error"] + none["error"]) for one in found[1:])


def write() -> None:
    """Write both tables into the page."""
    kept = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS.values())
    names = [row.name + (" (used)" if row.side == SIDE else "") for row, _ in kept]
    lines = head_of(["", *names])
    lines.append(
        line_of(
            [
                "seconds of 10,000 rows (processor time, one thread)",
                *(f"{f['seconds_10k']:.1f}{f['mark']}" if "seconds_10k" in f else "" for _, f in kept),
            ]
        )
    )
    shares = [f["neighbours"] for _, f in kept]
    told = (f"{s['value']:.1%} [{s['interval'][0]:.1%}, {s['interval'][1]:.1%}]" for s in shares)
    lines.append(line_of([f"class by {NEIGHBOURS} neighbours (chance: 10%)", *told]))
    for name in SAME:
        lines.append(line_of([f"found again: {name}", *(f"{f['found_again'][name]:.1%}" for _, f in kept)]))
    for name in (*STEPS, "collapse"):
        told = (f"{told_apart(f['distances'][name])}/5" for _, f in kept)
        lines.append(line_of([f"steps told from unchanged rows by kd, beyond two errors: {name}", *told]))
    for name in (*STEPS, "collapse"):
        cells = (", ".join(ordered(f["distances"][name], figure) for figure in FIGURE_NAMES) for _, f in kept)
        lines.append(line_of([f"steps farther than the one before: {name} ({', '.join(FIGURE_NAMES)})", *cells]))
    write_section(PAGE, "extractors", [*lines, "", measured_on(f for _, f in kept)])
    amounts = {name: (f"{name} ({unit})", steps) for name, (_, steps, unit) in STEPS.items()}
    amounts["collapse"] = ("collapse (different rows of 1,000)", KEPT_DIFFERENT)
    table = head_of(["", "", "none", "1", "2", "3", "4", "5"])
    for name, (told_as, steps) in amounts.items():
        table.append(line_of([told_as, "amount", "", *(f"{step:g}" for step in steps)]))
        for row, f in kept:
            for figure in FIGURE_NAMES:
                if not any(figure in one for one in f["distances"][name]):
                    continue
                values = (f"{one[figure]:.3f}" if figure in one else "" for one in f["distances"][name])
                table.append(line_of(["", f"{row.name}, {figure}", *values]))
    write_section(PAGE, "distances", table)


if __name__ == "__main__":
    if sys.argv[1:] == ["time"]:
        measure_time()
    else:
        run_or_write(ROWS, run, write, __doc__)
