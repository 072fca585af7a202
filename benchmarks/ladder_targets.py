"""The targets of the ladder, and how samples are measured against them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.evaluation import Subject
from saddlepoint.evaluation.protocol import get_protocol
from saddlepoint.evaluation.sets import Bench

RATIO = 1.25
"""Of one time of measuring to the one before."""

SEED = 0
"""Of the samples that are measured."""


@dataclass(frozen=True)
class Target:
    """What must hold.

    Attributes:
        name: in kept files.
        words: in tables.
        metric: the figure that it is about, by its name in reports.
        level: that the figure must reach.
        factor: of the level in tables.
        cheap_level: that a figure of few samples must reach before all are measured; None: the same.
        also: other figures of the same protocol, and what they must be at least.
    """

    name: str
    words: str
    metric: str
    level: float
    factor: float = 1.0
    cheap_level: float | None = None
    also: Mapping[str, float] = field(default_factory=dict, hash=False)

    def holds(self, figures: Mapping[str, float], higher: bool, cheap: bool = False) -> bool:
        """Whether it holds by these figures, of few samples (``cheap``) or of all."""
        level = self.cheap_level if cheap and self.cheap_level is not None else self.level
        value = figures[self.metric]
        reached = value >= level if higher else value <= level
        return reached and all(figures[name] >= least for name, least in self.also.items())


@dataclass(frozen=True)
class Measure:
    """One figure, measured again and again while something trains.

    Attributes:
        name: in kept files.
        data: name of the data set.
        kind: of the protocol.
        count: samples that the protocol takes.
        cheap: samples that are measured first; the same number: nothing is measured first.
        higher: whether more is better.
        cap: seconds of training after which nothing is measured any more.
        targets: easiest first.
        features: of the protocol; None: the best for the data, or none.
        first: seconds of training after which it is measured first.
    """

    name: str
    data: str
    kind: str
    count: int
    cheap: int
    higher: bool
    cap: float
    targets: tuple[Target, ...]
    features: str | None = None
    first: float = 10.0

    def figures(self, bench: Bench, reached: Collection[str]) -> dict[str, Any]:
        """Measure samples: first few of them, then, if a target that is not yet reached holds by these, all.

        Args:
            bench: with the samples.
            reached: targets that need no figure any more.

        Returns:
            ``protocol``: full name; ``cheap`` and ``full``: figures by metric, as reports have them, where they were
            measured, and ``samples``: of the cheap one; ``error``: why a figure is missing.
        """
        protocol = get_protocol(self.kind)
        task = protocol.task(bench, self.count, self.features)
        found: dict[str, Any] = {"protocol": protocol.full_name(task)}

        def measured(n: int) -> dict[str, float]:
            return {row.metric: row.value for row in protocol.measure(protocol.model(bench, n), task)}

        left = [target for target in self.targets if target.name not in reached]
        try:
            if self.cheap < task.n:
                found |= {"samples": self.cheap, "cheap": measured(self.cheap)}
                if not any(target.holds(found["cheap"], self.higher, cheap=True) for target in left):
                    return found
            found["full"] = measured(task.n)
        except DataError as error:
            found["error"] = str(error)
        return found


def bench_of(subject: Subject, dataset: Dataset) -> Bench:
    """Return what measures samples, drawn once for all figures."""
    return Bench(subject, dataset, SEED, cache_dir=cache_dir() / "controls")


FD, KID, LIKELIHOOD = "Fréchet distance, bias removed", "kernel distance", "log-likelihood"
H32, MODES, QUALITY = "discriminative score, 32 units", "modes", "high-quality share"

MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "parzen", "mnist", "parzen", 10_000, 10_000, True, 900,
            (Target("mnist-parzen-225", "MNIST: Parzen log-likelihood 225 nats", LIKELIHOOD, 225),),
        ),
        Measure(
            "fd", "mnist", "fd", 10_000, 2_500, False, 900,
            (Target("mnist-fd-10", "MNIST: FD 10", FD, 10),),
            "mnist-lenet",
        ),
        Measure(
            "fd-3", "mnist", "fd", 10_000, 2_500, False, 2_400,
            (Target("mnist-fd-3", "MNIST: FD 3", FD, 3),),
            "mnist-lenet", first=100.0,
        ),
        Measure(
            "kid", "cifar10-jpeg", "kd", 10_000, 2_000, False, 2_400,
            tuple(
                Target(f"cifar10-kid-{level}", f"cifar10-jpeg: KID {level}", KID, level / 1000, 1000)
                for level in (500, 350, 250)
            ),
            "imagenet-lite",
        ),
        Measure(
            "stacked", "stacked-mnist", "stacked", 26_000, 5_000, True, 1_200,
            # Of 1,000 modes that are equally likely 5,000 samples show 993.
            (Target("stacked-modes-1000", "stacked MNIST: 1,000 modes", MODES, 1000, cheap_level=950),),
        ),
        Measure(
            "ring8", "ring8", "modes", 2_500, 2_500, True, 300,
            (
                Target("ring8-modes-8", "ring8: 8 modes", MODES, 8),
                # Below .9 the verdict of a report is "different".
                Target("ring8-quality", "ring8: 8 modes, 90% of high quality", QUALITY, 0.9, also={MODES: 8}),
            ),
            first=1.0,
        ),
        Measure(
            "h32", "etth1", "discriminative-h32", 10_000, 3_000, False, 2_400,
            (Target("etth1-h32", "etth1: h32 score .1", H32, 0.1),),
        ),
        Measure(
            "fashion-fd", "fashion-mnist", "fd", 10_000, 2_500, False, 1_200,
            (Target("fashion-fd-15", "Fashion-MNIST: FD 15", FD, 15),),
            "fashion-mnist-lenet",
        ),
    )
}  # fmt: skip


def times(measures: Collection[Measure]) -> Iterator[float]:
    """Return the seconds of training at which to measure: powers of `RATIO` from the first on, the caps among them."""
    first, last = min(m.first for m in measures), max(m.cap for m in measures)
    steps = [round(RATIO**n, 2) for n in range(100)]
    yield from sorted({t for t in steps if first <= t <= last} | {m.cap for m in measures})


def reached(measure: Measure, curve: Collection[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds of training after which each target held by the full figure, of those that did."""
    found: dict[str, float] = {}
    for point in curve:
        full = point["figures"].get(measure.name, {}).get("full")
        for target in measure.targets if full else ():
            if target.name not in found and target.holds(full, measure.higher):
                found[target.name] = point["seconds"]
    return found


def best(measure: Measure, target: Target, curve: Collection[Mapping[str, Any]]) -> float | None:
    """Return the best figure of a curve, of all samples where they were measured; None: there is none."""
    figures = [point["figures"].get(measure.name, {}) for point in curve]
    values = [found[target.metric] for one in figures if (found := one.get("full") or one.get("cheap"))]
    return (max if measure.higher else min)(values, default=None)
