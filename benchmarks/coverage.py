"""Checks the 95% intervals by simulation; makes the tables of docs/notebook/reliability-coverage.md.

    python benchmarks/coverage.py run [CASE ...]     simulate what is missing; can be stopped at any moment
    python benchmarks/coverage.py write              write the tables from the kept figures

Each case draws fresh samples of known distributions, several hundred times, and counts how often an interval holds
what it is said to cover. Its figures are kept in benchmarks/figures/coverage/CASE.json; a later call goes on with the
cases that have none. One thread; the seed of a repetition is (case, number).
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import commit, run_or_write, write_section
from torch import Tensor

from saddlepoint.core.files import write_atomically
from saddlepoint.data.sources.synthetic import mixture
from saddlepoint.engine.machine import runtime
from saddlepoint.metrics.bootstrap import Estimate, wilson_interval
from saddlepoint.metrics.classes import (
    asked_accuracy,
    class_histogram,
    class_kl,
    classifier_accuracy_score,
    inception_score,
)
from saddlepoint.metrics.frechet import frechet_both, frechet_distance, frechet_gaussians
from saddlepoint.metrics.kernel import kernel_distance
from saddlepoint.metrics.manifold import manifold
from saddlepoint.metrics.modes import mode_coverage
from saddlepoint.metrics.path_length import path_length

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "coverage"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-coverage.md"

Truths = dict[str, float]
Draw = Callable[[np.random.Generator], tuple[dict[str, Estimate], Truths]]
"""One repetition: estimates by name, and what they should cover where that is known. What is missing is the expected
figure, and stands for the mean over all repetitions."""


@dataclass(frozen=True)
class Case:
    """One distribution, one size.

    Attributes:
        name: of the file.
        about: for the table.
        rows: numbers of samples, for the table.
        repetitions: how many times it is drawn.
        draw: one repetition.
    """

    name: str
    about: str
    rows: str
    repetitions: int
    draw: Draw


@dataclass(frozen=True)
class Pair:
    """Two mixtures of Gaussians in d dimensions: real, and one that is equal, shifted, wider, or lacks modes."""

    d: int
    kind: str
    modes: int = 5

    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return centres (modes, d), standard deviations (d,), shift of the generated rows (d,), and their scale."""
        rng = np.random.default_rng(7)
        centres = 1.5 * rng.normal(size=(self.modes, self.d))
        shift = np.full(self.d, 0.25 if self.kind == "shifted" else 0.0)
        return centres, np.sqrt(np.linspace(0.2, 2.0, self.d)), shift, 1.2 if self.kind == "wider" else 1.0

    def draw(self, rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
        """Return real rows (n, d) and generated rows (m, d)."""
        centres, widths, shift, scale = self.parameters()
        real = centres[rng.integers(0, self.modes, n)] + widths * rng.normal(size=(n, self.d))
        kept = self.modes - 2 if self.kind == "modes dropped" else self.modes
        fake = centres[rng.integers(0, kept, m)] + scale * widths * rng.normal(size=(m, self.d)) + shift
        return real, fake

    def frechet(self) -> float:
        """Return the true Fréchet distance."""
        centres, widths, shift, scale = self.parameters()
        kept = centres[: self.modes - 2] if self.kind == "modes dropped" else centres
        one, two = (np.cov(part.T, ddof=0) for part in (centres, kept))
        noise = np.diag(widths**2)
        return frechet_gaussians(centres.mean(0), one + noise, kept.mean(0) + shift, two + scale**2 * noise)


KINDS = ("equal", "shifted", "wider", "modes dropped")


def distances(d: int, n: int, m: int, kind: str, repetitions: int) -> Case:
    """Fréchet and kernel distance."""
    pair = Pair(d, kind)
    truths = {"Fréchet distance, extrapolated": pair.frechet()} | ({"kernel distance": 0.0} if kind == "equal" else {})

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        real, fake = pair.draw(rng, n, m)
        raw, extrapolated = frechet_both(real, fake)
        assert extrapolated is not None
        found = {"Fréchet distance, raw": raw, "Fréchet distance, extrapolated": extrapolated}
        return found | {"kernel distance": kernel_distance(real, fake)}, truths

    slug = kind.replace(" ", "-")
    return Case(f"distances-{d}d-{n}-{slug}", f"{kind}, {d} dimensions", f"{n:,} / {m:,}", repetitions, draw)


def neighbours(d: int, n: int, m: int, kind: str, repetitions: int) -> Case:
    """Precision, recall, density, coverage."""
    pair = Pair(d, kind)

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        return dict(manifold(*pair.draw(rng, n, m))), {}

    slug = kind.replace(" ", "-")
    return Case(f"manifold-{d}d-{n}-{slug}", f"{kind}, {d} dimensions", f"{n:,} / {m:,}", repetitions, draw)


def scores(n: int, sharpness: float) -> Case:
    """Inception score of softmax(sharpness x normal logits) over ten classes."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        logits = torch.from_numpy(sharpness * rng.normal(size=(n, 10)))
        return {"Inception score": inception_score(logits.softmax(1))}, {}

    about = f"ten classes, logits of sd {sharpness:g}"
    return Case(f"score-{n}-{sharpness:g}", about, f"{n:,}", 1000, draw)


def histograms(classes: int, n: int, m: int | None, tilt: float) -> Case:
    """Class histograms: shares of generated classes rise linearly by ``tilt`` around equal ones."""
    p = 1 + tilt * np.linspace(-1, 1, classes)
    p /= p.sum()
    q = np.full(classes, 1 / classes)

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        reference = q if m is None else rng.integers(0, classes, m)
        found = class_histogram(rng.choice(classes, n, p=p), reference, classes=classes)
        return {"class KL": found.kl, "class total variation": found.total_variation}, {}

    about = f"{classes:,} classes, shares {1 - tilt:.1f} to {1 + tilt:.1f} of equal ones"
    rows = f"{n:,} / {'known' if m is None else format(m, ',')}"
    return Case(f"classes-{classes}-{n}-{tilt:g}", about, rows, 400 if classes > 100 else 1000, draw)


def accuracies(n: int, p: float) -> Case:
    """Accuracy of labels that are right with probability p."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        asked = rng.integers(0, 10, n)
        seen = np.where(rng.random(n) < p, asked, (asked + 1) % 10)
        return {"accuracy of asked labels": asked_accuracy(seen, asked)}, {"accuracy of asked labels": p}

    return Case(f"accuracy-{n}-{p:g}", f"true accuracy {p:g}", f"{n:,}", 1000, draw)


def usefulness() -> Case:
    """Classifier accuracy score; the truth of each repetition is the accuracy of its classifier on 20,000 more rows."""
    centres = 1.2 * np.random.default_rng(1).normal(size=(4, 6))

    def rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 4, n)
        return centres[labels] + rng.normal(size=(n, 6)), labels

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        fake, real, more = rows(rng, 300), rows(rng, 400), rows(rng, 20_000)
        name = "classifier accuracy score"
        return {name: classifier_accuracy_score(*fake, *real)}, {name: classifier_accuracy_score(*fake, *more).value}

    return Case("cas", "four Gaussians, logistic regression", "400 (300 to train)", 400, draw)


def rings(dropped: int) -> Case:
    """Mode coverage on the ring of eight."""
    truth = mixture("ring8")

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        labels = rng.integers(0, 8 - dropped, 2500)
        x = truth.centres[labels] + truth.sigma * rng.normal(size=(2500, 2))
        found = mode_coverage(x, truth.centres, truth.sigma)
        return {"high-quality share": found.quality, "mode KL": found.kl}, {"high-quality share": 1 - math.exp(-4.5)}

    return Case(f"ring8-{dropped}", f"ring of eight, {dropped} modes missing", "2,500", 1000, draw)


def stacked(n: int, present: int) -> Case:
    """KL of stacked MNIST's thousand modes, of which ``present`` are generated equally often."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        return {"stacked-MNIST KL": class_kl(rng.integers(0, present, n), np.full(1000, 1e-3))}, {}

    return Case(f"stacked-{n}-{present}", f"{present:,} of 1,000 modes", f"{n:,}", 400, draw)


def paths(n: int, trim: float, steepness: float) -> Case:
    """Path length of exp(steepness z): the steeper, the heavier the tail."""

    def generate(z: Tensor) -> Tensor:
        return torch.exp(steepness * z)

    def latents(count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 8, generator=generator, dtype=torch.float64)

    def measure(rng: np.random.Generator, count: int) -> Estimate:
        return path_length(generate, latents, lambda x: x, rng, n=count, trim=trim, batch=100_000)

    kept: dict[str, float] = {}

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        if not kept:
            parts = [measure_many(generate, latents, trim, seed) for seed in range(4)]
            kept["path length"] = float(np.mean(parts))
        return {"path length": measure(rng, n)}, kept

    return Case(f"paths-{n}-{trim:g}-{steepness:g}", f"exp({steepness:g} z), trimmed by {trim:g}", f"{n:,}", 400, draw)


def measure_many(
    generate: Callable[[Tensor], Tensor],
    latents: Callable[[int, torch.Generator], Tensor],
    trim: float,
    seed: int,
    count: int = 400_000,
) -> float:
    """Path length over very many paths, without an interval; by the formula as it stands."""
    generator = torch.Generator().manual_seed(10**6 + seed)
    a, b = latents(count, generator), latents(count, generator)
    t = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    norms = a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True)
    angle = torch.arccos((a * b).sum(1, keepdim=True) / norms)
    ends = [
        generate((torch.sin((1 - s) * angle) * a + torch.sin(s * angle) * b) / torch.sin(angle)) for s in (t, t + 1e-4)
    ]
    steps = ((ends[1] - ends[0]).square().sum(1) * 1e8).sort().values
    cut = int(trim * count)
    return float(steps[cut : count - cut].mean())


def fits(d: int, n: int, kind: str, repetitions: int) -> Case:
    """The extrapolation against the line of Chong & Forsyth: fifteen subsets of n/10 to n rows, fitted in 1/N."""
    pair = Pair(d, kind)

    def draw(rng: np.random.Generator) -> tuple[dict[str, Estimate], Truths]:
        real, fake = pair.draw(rng, n, n)
        raw, extrapolated = frechet_both(real, fake)
        assert extrapolated is not None
        sizes = np.linspace(n / 10, n, 15).astype(int)
        seen = [
            frechet_distance(real[rng.permutation(n)[:size]], fake[rng.permutation(n)[:size]]).value for size in sizes
        ]
        line = float(np.polyfit(1 / sizes, seen, 1)[1])
        return {"raw": raw, "fitted line": Estimate(line), "expansion": extrapolated}, dict.fromkeys(
            ("raw", "fitted line", "expansion"), pair.frechet()
        )

    slug = kind.replace(" ", "-")
    return Case(f"fits-{d}d-{n}-{slug}", f"{kind}, {d} dimensions", f"{n:,} / {n:,}", repetitions, draw)


CASES = [
    *(distances(2, 200, 200, kind, 1000) for kind in KINDS),
    *(distances(16, 200, 400, kind, 1000) for kind in KINDS),
    *(distances(64, 1000, 1000, kind, 400) for kind in KINDS),
    *(neighbours(2, 500, 500, kind, 400) for kind in KINDS),
    *(neighbours(16, 500, 800, kind, 400) for kind in KINDS),
    *(neighbours(64, 1000, 1000, kind, 400) for kind in ("equal", "modes dropped")),
    *(scores(n, sharpness) for n in (100, 1000) for sharpness in (0.3, 2, 1e6)),
    *(histograms(10, 200, 300, tilt) for tilt in (0.0, 0.2, 0.8)),
    *(histograms(10, 5000, None, tilt) for tilt in (0.0, 0.2, 0.8)),
    *(histograms(100, 1000, 2000, tilt) for tilt in (0.0, 0.5)),
    *(accuracies(n, p) for n in (100, 1000) for p in (0.5, 0.9, 0.99)),
    usefulness(),
    *(rings(dropped) for dropped in (0, 3)),
    *(stacked(26_000, present) for present in (1000, 900, 100)),
    *(paths(n, trim, steepness) for n, trim, steepness in ((200, 0.01, 0.3), (1000, 0.01, 0.6), (1000, 0.0, 0.3))),
    *(fits(16, 1000, kind, 200) for kind in ("equal", "modes dropped")),
    fits(64, 1000, "equal", 100),
]


def run(case: Case) -> None:
    """Draw a case and keep its figures."""
    start = time.perf_counter()
    found: dict[str, list[Estimate]] = {}
    truths: dict[str, list[float | None]] = {}
    for k in range(case.repetitions):
        rng = np.random.default_rng((zlib.crc32(case.name.encode()), k))
        estimates, known = case.draw(rng)
        for name, estimate in estimates.items():
            found.setdefault(name, []).append(estimate)
            truths.setdefault(name, []).append(known.get(name))
    figures = {name: summary(parts, truths[name]) for name, parts in found.items()}
    kept = {
        "about": case.about,
        "rows": case.rows,
        "repetitions": case.repetitions,
        "seconds": round(time.perf_counter() - start, 1),
        "machine": runtime.machine(),
        "commit": commit(),
        "figures": figures,
    }
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_atomically(FIGURES / f"{case.name}.json", json.dumps(kept, indent=1) + "\n")
    coverages = ", ".join(
        f"{name} {part['covered']:.3f}" for name, part in figures.items() if part["covered"] is not None
    )
    print(f"{case.name}: {coverages} ({kept['seconds']:.0f} s)", flush=True)


def summary(parts: list[Estimate], truths: list[float | None]) -> dict[str, Any]:
    """Return how often intervals hold the truth, and how values and standard errors spread."""
    values = np.array([part.value for part in parts])
    truth = np.array([values.mean() if known is None else known for known in truths])
    ends = np.array([part.interval or (math.nan, math.nan) for part in parts])
    errors = [part.standard_error for part in parts if part.standard_error is not None]
    given = bool(np.isfinite(ends).all())
    return {
        "target": "the expected figure" if truths[0] is None else "the truth",
        "truth": float(truth.mean()),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)),
        "rmse": float(np.sqrt(np.mean((values - truth) ** 2))),
        "mean_standard_error": float(np.mean(errors)) if errors else None,
        "covered": float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))) if given else None,
        "too_high": float(np.mean(ends[:, 0] > truth)) if given else None,
        "too_low": float(np.mean(ends[:, 1] < truth)) if given else None,
        "without_interval": int((~np.isfinite(ends)).any(1).sum()),
    }


def write() -> None:
    """Write the tables of the page between their marks."""
    paths_ = [(case, FIGURES / f"{case.name}.json") for case in CASES]
    found = [(case, json.loads(path.read_text())) for case, path in paths_ if path.exists()]
    simulated = [(case, kept) for case, kept in found if not case.name.startswith("fits")]
    names = list(dict.fromkeys(name for _, kept in simulated for name in kept["figures"]))
    lines = [
        "| figure | samples | rows (real / generated) | covers | coverage | interval too high | too low | s.e. / sd |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        for _, kept in simulated:
            if name in kept["figures"]:
                lines.append(line(name, kept, kept["figures"][name]))
    lines += ["", "Extrapolated Fréchet distance: mean error (bias) and root mean square error.", ""]
    lines += ["| samples | rows | truth | raw | fitted line | expansion (this library) |", "|---|---|---|---|---|---|"]
    for case, kept in found:
        if case.name.startswith("fits"):
            parts = kept["figures"]
            cells = [
                f"{parts[name]['mean'] - parts[name]['truth']:+.3f}, {parts[name]['rmse']:.3f}"
                for name in ("raw", "fitted line", "expansion")
            ]
            lines.append(f"| {kept['about']} | {kept['rows']} | {parts['raw']['truth']:.3f} | {' | '.join(cells)} |")
    machines = sorted({kept["machine"]["processor"] + ", torch " + kept["machine"]["torch"] for _, kept in found})
    commits = sorted({kept["commit"] for _, kept in found})
    seconds = sum(kept["seconds"] for _, kept in found)
    missing = len(CASES) - len(found)
    lines += ["", f"{len(found)} cases, {seconds / 60:.0f} minutes on one thread of: {'; '.join(machines)}."]
    lines[-1] += f" Commits: {', '.join(commits)}." + (f" Not run yet: {missing} cases." if missing else "")
    write_section(PAGE, "coverage", lines)


def line(name: str, kept: dict[str, Any], part: dict[str, Any]) -> str:
    """Return a table line; coverage outside of 90% to 99% is set in bold."""
    covered = part["covered"]
    if covered is None:
        shown = f"{part['without_interval']} without interval"
        return f"| {name} | {kept['about']} | {kept['rows']} | {part['target']} | {shown} | | | |"
    low, high = wilson_interval(covered, kept["repetitions"])
    text = f"{100 * covered:.1f}%" if 0.9 <= covered <= 0.99 else f"**{100 * covered:.1f}%**"
    ratio = part["mean_standard_error"] / part["sd"] if part["sd"] > 0 else math.nan
    return (
        f"| {name} | {kept['about']} | {kept['rows']} | {part['target']} | {text} ({100 * low:.0f}-{100 * high:.0f}) | "
        f"{100 * part['too_high']:.1f}% | {100 * part['too_low']:.1f}% | {ratio:.2f} |"
    )


def main() -> None:
    """Run or write, as asked; a case that has its figures is run again only if it is named."""
    torch.set_num_threads(1)

    def missing(case: Case, named: bool) -> None:
        if named or not (FIGURES / f"{case.name}.json").exists():
            run(case)

    run_or_write({case.name: case for case in CASES}, missing, write, __doc__)


if __name__ == "__main__":
    main()
