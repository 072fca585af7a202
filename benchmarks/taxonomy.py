"""Every model of the tree on the same rows, for the same seconds of one core, with as many weights.

    python benchmarks/taxonomy.py pace              on an idle machine: images a second of each row's training
    python benchmarks/taxonomy.py run [ROW ...]     train and measure what is missing; can be stopped at any moment
    python benchmarks/taxonomy.py cost              on an idle machine: seconds of a sample of each trained row
    python benchmarks/taxonomy.py write             the tables of docs/taxonomy.md

A ROW may be a pattern: 'diffusion-*'. Three minutes of one thread, counted by images and the pace (`ladder_pace.py`),
so that other work moves no figure; no doctor. One option of each preset is set such that all networks that are trained
hold `WEIGHTS` in all, within a tenth; whatever else the preset says is left. A finished row keeps its figures in
benchmarks/figures/taxonomy/ROW.json, and its samples in docs/images.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ladder_pace import measure_pace, pace_of
from records import cell, facts_of, figures_of, head_of, keep, kept_rows, line_of, measured_on, train, write_section

from saddlepoint.data import load_dataset
from saddlepoint.data.spec import DataSpec
from saddlepoint.engine.settings import Observer
from saddlepoint.family import Encoding, Likelihood, build_family
from saddlepoint.family.capabilities import suited
from saddlepoint.family.registry import get_family, get_preset
from saddlepoint.run import api
from saddlepoint.run.run import load
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "taxonomy"
DOCS = HERE.parent / "docs"
RUNS = Path("runs") / "taxonomy"
THREADS, SECONDS, SEEDS = 1, 180.0, 3
WEIGHTS = 700_000
TIMED = 500
"""Samples whose cost is measured, drawn at once."""

DATA = ("mnist", "fashion-mnist", "cifar10-jpeg")
ALIKE = {"fashion-mnist": "mnist"}
"""Data on which a step is the same as on others."""


def multiples(n: int) -> tuple[int, ...]:
    """Return the widths that are tried: multiples of n."""
    return tuple(range(n, 1501 if n < 16 else 3001, n))


def both_kinds(n: int) -> dict[str, Any]:
    """Return options of VAE and autoencoder: channels of convolutions, and hidden units where there are none."""
    return {"width": n, "encoder_widths": (14 * n, 14 * n), "decoder_widths": (14 * n, 14 * n)}


def maxout(n: int) -> dict[str, Any]:
    """Return options of the game of 2014, in the preset's proportion."""
    return {"generator_widths": (n, n), "discriminator_widths": (n // 5, n // 5)}


def tapered(n: int) -> dict[str, Any]:
    """Return options of r3gan: channels in the preset's proportions, in eights, as other numbers are slow."""
    return {"widths": tuple(8 * max(1, round(n * width / 64 / 8)) for width in (64, 64, 32, 16))}


@dataclass(frozen=True)
class System:
    """A preset, and which of its options makes it larger."""

    family: str
    preset: str
    widths: tuple[int, ...]
    sized: Callable[[int], Mapping[str, Any]]
    word: str


SYSTEMS = {
    system.family: system
    for system in (
        System("rbm", "small", multiples(4), lambda n: {"hidden": n}, "explicit, a sum over states left out"),
        System("dbm", "small", multiples(4), lambda n: {"hidden_widths": (n, n)}, "explicit, a bound"),
        System("flow", "small", multiples(4), lambda n: {"width": n}, "explicit, exact"),
        System("vae", "small", multiples(1), both_kinds, "explicit, a bound"),
        System("diffusion", "small", multiples(4), lambda n: {"widths": (n, 2 * n)}, "explicit, a bound"),
        System("autoencoder", "small", multiples(1), both_kinds, "none: codes, and a Gaussian of them"),
        System("gan", "mnist", multiples(20), maxout, "implicit, a game"),
        System("dcgan", "small", multiples(4), lambda n: {"width": n}, "implicit, a game"),
        System("stylegan", "tiny-32", multiples(2), lambda n: {"width": n}, "implicit, a game"),
        System("r3gan", "tiny-32", multiples(1), tapered, "implicit, a game"),
        System("drifting", "small", multiples(4), lambda n: {"widths": (n, 2 * n)}, "implicit, no game"),
    )
}
"""In the order of Goodfellow's tree: explicit densities, then implicit ones."""


@cache
def spec_of(data: str) -> DataSpec:
    """Return shape and classes of a data set."""
    return load_dataset(data).spec


def weights_of(system: System, width: int, data: str) -> int:
    """Return how many weights are trained, in all networks."""
    family = get_family(system.family)
    _, config = get_preset(family, system.preset)
    changed, _ = suited(family, replace(config, **system.sized(width)), spec_of(data), ())
    built = build_family(system.family, changed, spec_of(data))
    return sum(weight.numel() for weight in built.parameters())


@cache
def size_of(name: str, data: str) -> tuple[Mapping[str, Any], int]:
    """Return the options with which a system has as many weights as asked for, nearly, and how many."""
    system = SYSTEMS[name]
    below, above = 0, len(system.widths) - 1  # the count grows with the width: halve the interval
    while above - below > 1:
        middle = (below + above) // 2
        if weights_of(system, system.widths[middle], data) > WEIGHTS:
            above = middle
        else:
            below = middle
    counts = {width: weights_of(system, width, data) for width in (system.widths[below], system.widths[above])}
    width = min(counts, key=lambda width: abs(counts[width] - WEIGHTS))
    if abs(counts[width] - WEIGHTS) > WEIGHTS / 10:
        sys.exit(f"{name} on {data}: no width comes within a tenth of {WEIGHTS:,} weights: {counts}")
    return system.sized(width), counts[width]


@dataclass(frozen=True)
class Row:
    """One training run: a system, data, a seed."""

    system: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.system}-{self.data}-seed{self.seed}"

    @property
    def paced(self) -> str:
        """Name of its pace."""
        return f"{self.system}-{ALIKE.get(self.data, self.data)}"

    @property
    def path(self) -> Path:
        """Where its figures are kept."""
        return FIGURES / f"{self.name}.json"

    def plan(self, out: Path, **limit: float) -> api.Plan:
        """Return its training, until a limit."""
        system, (options, _) = SYSTEMS[self.system], size_of(self.system, ALIKE.get(self.data, self.data))
        return api.plan(
            system.family, self.data, preset=system.preset, options=options, seed=self.seed, threads=THREADS, out=out,
            device="cpu", remedy="off", **limit,
        )  # fmt: skip


ROWS = [
    Row(system, data, seed)
    for seed in range(SEEDS)
    for data in DATA
    for system in SYSTEMS
    if system != "r3gan" or data == "cifar10-jpeg"  # which it is for
]


def pace() -> None:
    """Measure the pace of each system on each data set."""
    for row in {row.paced: row for row in reversed(ROWS)}.values():
        place = RUNS / f"pace-{row.paced}"
        shutil.rmtree(place, ignore_errors=True)

        def timed(until: float, row: Row = row, place: Path = place) -> tuple[float, int]:
            _, outcome = api.start(row.plan(place, budget=until), Observer(warn=print))
            return outcome.seconds, outcome.progress.nimg

        measure_pace(row.paced, FIGURES, THREADS, timed, times=1, stretch=6.0)


def run(row: Row) -> None:
    """Train a row unless it is finished, measure it, and keep its figures and pictures."""
    if row.path.exists():
        return
    torch.set_num_threads(THREADS)
    made, outcome = train(row.plan(RUNS / row.name, kimg=pace_of(row.paced, FIGURES).images(SECONDS) / 1000))
    explicit = [
        kind for kind, has in (("likelihood", Likelihood), ("replication", Encoding)) if isinstance(made.family, has)
    ]
    protocols = ["fd", "prdc", "jsd", *explicit, *(["parzen"] if row.data != "cifar10-jpeg" else [])]
    report = made.evaluate(tuple(protocols), seed=0)
    found = {"figures": figures_of(report), "protocols": [result.protocol for result in report.results]}
    if row.data == "cifar10-jpeg":
        found["imagenet-lite"] = figures_of(made.evaluate(("kd",), seed=0, features="imagenet-lite"))
    if row.seed == 0:
        pictures.draw(made, "grid", seed=0, out=DOCS / "images" / f"taxonomy-{row.system}-{row.data}.png")
    options, _ = size_of(row.system, ALIKE.get(row.data, row.data))
    weights = sum(weight.numel() for weight in made.family.parameters())
    facts = facts_of(made, outcome) | {"options": dict(options), "weights": weights, "budget": SECONDS}
    keep(row.path, facts | found, THREADS)
    print(f"{row.name}: {outcome.progress.nimg:,} images, {outcome.seconds:.0f} s", flush=True)


def cost() -> None:
    """Measure the seconds of a sample of each row of the first seed, drawn `TIMED` at once: the median of three."""
    torch.set_num_threads(THREADS)
    for row in ROWS:
        if row.seed == 0 and row.path.exists():
            made = load(RUNS / row.name)
            made.sample(TIMED, seed=0)  # caches fill
            taken = []
            for _ in range(3):
                begun = time.perf_counter()
                made.sample(TIMED, seed=0)
                taken.append(time.perf_counter() - begun)
            keep(FIGURES / f"cost-{row.name}.json", {"seconds": statistics.median(taken) / TIMED}, THREADS)


SHOWN = (
    ("Fréchet distance, bias removed", "FD"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("Jensen-Shannon divergence, at least", "JSD, at least"),
    ("log-likelihood", "Parzen"),
)
"""Metric, word."""


def write() -> None:
    """Write a table for each data set: a line for each model, means over seeds."""
    found = kept_rows((row, row.path) for row in ROWS)
    lines = list[str]()
    for data in dict.fromkeys(row.data for row, _ in found):
        of = [(row, kept) for row, kept in found if row.data == data]
        shown = [one for one in SHOWN if any(one[0] in kept["figures"]["model"] for _, kept in of)]
        words = ["model", "density", "weights", "images seen", "seeds", *(word for _, word in shown)]
        lines += ["", f"**{data}**", "", *head_of([*words, "log p, held-out", "replication", "ms a sample", "V"])]
        for system in dict.fromkeys(row.system for row, _ in of):
            own = [kept for row, kept in of if row.system == system]
            lines.append(line_of(cells_of(system, data, own, [metric for metric, _ in shown])))
        held = of[-1][1]["figures"].get("held-out images", {})
        lines.append(
            line_of(["real rows, held out", "", "", "", "", *(cell(held.get(m)) for m, _ in shown), *[""] * 4])
        )
    lines += ["", f"{THREADS} thread, {SECONDS:.0f} s of training. {measured_on(kept for _, kept in found)}"]
    write_section(DOCS / "taxonomy.md", "taxonomy", lines)


def cells_of(system: str, data: str, own: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[str]:
    """Return the line of a model."""
    figures = [kept["figures"]["model"] for kept in own]

    def mean(metric: str) -> str:
        values = [found[metric]["value"] for found in figures if metric in found]
        return cell({"value": statistics.mean(values), "interval": None}) if values else ""

    bits, nats = mean("bits per dimension, held-out rows"), mean("log p(x), held-out rows")
    likelihood = f"{bits} bits" if bits else f"{nats} nats" if nats else ""
    path = FIGURES / f"cost-{system}-{data}-seed0.json"
    seconds = f"{1000 * json.loads(path.read_text())['seconds']:.3g}" if path.exists() else ""
    games = [kept["game"]["V"] for kept in own if "V" in kept["game"]]
    images = statistics.mean(kept["nimg"] for kept in own)
    return [
        f"`{system}`", SYSTEMS[system].word, f"{own[0]['weights']:,}", f"{images:,.0f}", str(len(own)),
        *(mean(metric) for metric in metrics), likelihood, mean("squared error, held-out rows"), seconds,
        f"{statistics.mean(games):.2f}" if games else "",
    ]  # fmt: skip


if __name__ == "__main__":
    command, *patterns = sys.argv[1:] or ["help"]
    if command == "run":
        for one in ROWS:
            if not patterns or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns):
                run(one)
    elif command in ("pace", "cost", "write"):
        {"pace": pace, "cost": cost, "write": write}[command]()
    else:
        sys.exit(__doc__)
