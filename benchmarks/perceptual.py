"""The perceptual distance on pairs of which the nearer one is known, beside squared errors and features.

    python benchmarks/perceptual.py run [DATA ...]    measure what is missing
    python benchmarks/perceptual.py write             write the table of docs/evaluation.md from the kept figures

Each of 100 test rows is changed in two ways, of which one changes what a person sees less. Counted is how often a
distance says so. Steps of one kind (blur, noise, JPEG, shifts) and other pictures have an order by construction. Three
pairs set changes that people hardly notice beside ones that they do, at the same squared error or a larger one. A
finished data set keeps its figures in benchmarks/figures/perceptual/DATA.json.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, write_section
from scipy.ndimage import gaussian_filter
from torch import Tensor

from saddlepoint.core.types import from_bytes
from saddlepoint.data import load_dataset
from saddlepoint.data.dataset import evenly
from saddlepoint.metrics.imagenet import imagenet_lite
from saddlepoint.metrics.perceptual import perceptual

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "perceptual"
DOCS = HERE.parent / "docs"
ROWS, THREADS = 100, 1
DATA = ("cifar10-jpeg", "att-faces")

Change = Callable[[np.ndarray], np.ndarray]


def blurred(sigma: float) -> Change:
    """Blur each channel."""
    return lambda x: gaussian_filter(x.astype(np.float32), (0, 0, sigma, sigma), mode="nearest")


def noisy(levels: float) -> Change:
    """Add normal noise."""
    return lambda x: x + np.random.default_rng(0).normal(0, levels, x.shape)


def shifted(pixels: int) -> Change:
    """Move to the right; the left column is repeated."""
    return lambda x: np.concatenate([np.repeat(x[..., :1], pixels, 3), x[..., :-pixels]], 3)


def brighter(levels: float) -> Change:
    """Add to all values."""
    return lambda x: x + np.float32(levels)


def compressed(quality: int) -> Change:
    """Write and read as JPEG."""

    def change(x: np.ndarray) -> np.ndarray:
        found = []
        for image in x:
            content = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(content, "JPEG", quality=quality)
            read = np.asarray(Image.open(content))
            found.append(read.reshape(*read.shape[:2], -1).transpose(2, 0, 1))
        return np.stack(found)

    return change


def mirrored(x: np.ndarray) -> np.ndarray:
    """Mirror."""
    return x[..., ::-1]


def others(x: np.ndarray) -> np.ndarray:
    """Take the next picture."""
    return np.roll(x, 1, 0)


PAIRS: Mapping[str, tuple[Change, Change]] = {
    "blur .5 < 1": (blurred(0.5), blurred(1)),
    "blur 1 < 2": (blurred(1), blurred(2)),
    "noise 8 < 16": (noisy(8), noisy(16)),
    "noise 16 < 32": (noisy(16), noisy(32)),
    "JPEG 75 < 35": (compressed(75), compressed(35)),
    "JPEG 35 < 10": (compressed(35), compressed(10)),
    "shift 1 < 2": (shifted(1), shifted(2)),
    "shift 2 < 4": (shifted(2), shifted(4)),
    "blur 2 < other picture": (blurred(2), others),
    "noise 32 < other picture": (noisy(32), others),
    "shift 4 < other picture": (shifted(4), others),
    "mirrored < other picture": (mirrored, others),
    "shift 1 < blur 2": (shifted(1), blurred(2)),
    "20 brighter < noise 20": (brighter(20), noisy(20)),
    "30 brighter < blur 2": (brighter(30), blurred(2)),
}


def run(name: str, named: bool) -> None:
    """Measure all pairs on a data set."""
    path = FIGURES / f"{name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    test = load_dataset(name).in_bytes().splits["test"]
    x = np.ascontiguousarray(test.x[evenly(len(test), min(ROWS, len(test)))])
    lite = imagenet_lite()
    seen = perceptual()

    def features(images: Tensor) -> Tensor:
        found = lite.embed(images)
        return found / found.norm(dim=1, keepdim=True)

    distances = {"perceptual": seen.embed, "features at length 1": features, "pixels": lambda images: images.flatten(1)}
    made: dict[int, Tensor] = {}
    found: dict[str, dict[str, float]] = {}
    begun = time.process_time()
    with torch.inference_mode():
        for word, embed in distances.items():
            original = embed(_read(x))
            for pair, changes in PAIRS.items():
                gaps = []
                for change in changes:
                    made.setdefault(id(change), _read(change(x)))
                    gaps.append((embed(made[id(change)]) - original).square().sum(1))
                found.setdefault(word, {})[pair] = float((gaps[0] < gaps[1]).double().mean())
    keep(path, {"pairs": found, "rows": len(x), "seconds": round(time.process_time() - begun, 1)}, THREADS)
    print(f"{name}: {found}", flush=True)


def _read(x: np.ndarray) -> Tensor:
    return from_bytes(
        torch.from_numpy(np.ascontiguousarray(np.rint(x.astype(np.float32)).clip(0, 255)).astype(np.uint8))
    )


def write() -> None:
    """Write the table: a line for each pair."""
    found = kept_rows((name, FIGURES / f"{name}.json") for name in DATA)
    words = [f"{word}, {name}" for name, kept in found for word in kept["pairs"]]
    lines = head_of(["nearer < farther", *words])
    for pair in PAIRS:
        lines.append(line_of([pair, *(f"{pairs[pair]:.2f}" for _, kept in found for pairs in kept["pairs"].values())]))
    means = [np.mean(list(pairs.values())) for _, kept in found for pairs in kept["pairs"].values()]
    lines.append(line_of(["**mean**", *(f"**{mean:.2f}**" for mean in means)]))
    rows = ", ".join(str(kept["rows"]) for _, kept in found)
    lines += ["", f"Share of {rows} test rows on which a distance says so. {measured_on(one for _, one in found)}"]
    write_section(DOCS / "evaluation.md", "perceptual", lines)


if __name__ == "__main__":
    run_or_write({name: name for name in DATA}, run, write, __doc__)
