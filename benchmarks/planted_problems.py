"""The problems of `planted.py`: data, family, options that should train well, plants, and how well a run went.

What is right is said by figures that the doctor does not see: of 2,000 samples of the averaged generator against rows
that the doctor did not look at.

- mnist: classes and Frechet distance in the features of the shipped classifier (the doctor sees 256 other samples
  through the same classifier, and an energy distance).
- ring8: modes that are hit, and the share of samples near one.
- own pictures (400 faces of att-faces; 1,000 birds of cifar10; 1,000 shoes of fashion-mnist): Frechet distance in the
  features of random convolutions, as a share of the data's own spread there, beside the median of the healthy runs.
- series (stocks, etth1, sines, five public tables): distances of autocorrelations, increments and marginals to
  training windows, beside the medians of the healthy runs on the same table.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import override
from saddlepoint.core.types import to_bytes
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed
from saddlepoint.data.sources.synthetic import mixture
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.monitor import Monitor
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.settings import SILENT, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.training import TrainingState
from saddlepoint.evaluation.features import shipped_classifier
from saddlepoint.family import Family, FamilyConfig, get_family, get_preset
from saddlepoint.family.capabilities import suited
from saddlepoint.metrics.frechet import frechet_gaussians
from saddlepoint.metrics.series import acf_distance, increment_distance, marginal_distance

SAMPLES = 2000

STRONG, WEAK, PARTIAL, FULL, DIVERGED = (
    next(name for name in ALARMS if name.endswith(end))
    for end in ("too strong", "too weak", "partial collapse", "full collapse", "diverged")
)
PLANTS: dict[str, tuple[str, ...]] = {
    "both learning rates too high": (DIVERGED, FULL, PARTIAL, STRONG),
    "D's learning rate too high": (STRONG, DIVERGED, FULL, PARTIAL),
    "G's learning rate too high": (FULL, PARTIAL, DIVERGED, STRONG),
    "D's learning rate near 0": (WEAK, FULL, PARTIAL, DIVERGED),
    "G's learning rate near 0": (STRONG, FULL, PARTIAL),
    "saturating loss, strong D": (STRONG, FULL, PARTIAL, DIVERGED),
    "tiny D": (WEAK, FULL, PARTIAL, DIVERGED),
    "penalty too strong": (WEAK, FULL, PARTIAL),
    "no penalty, fast": (STRONG, FULL, PARTIAL, DIVERGED),
    "constant noise": (FULL,),
    "shrunken noise": (FULL, PARTIAL),
    "duplicated data": (STRONG, PARTIAL, FULL),
}
"""What is done to a run, and the alarms that name it."""

BY_CONSTRUCTION = ("constant noise", "duplicated data")
"""Plants whose runs fail whatever figures say."""

Options = dict[str, Any]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Data, a family, and how runs on it are drawn and judged.

    Attributes:
        name: of the problem.
        data: loads it.
        family: that is trained.
        preset: its options, before those that are drawn.
        kimg: thousands of samples of a run.
        report_kimg: thousands of samples between reports.
        healthy: number of runs without a plant.
        planted: number of runs of each plant.
        options: draws options that should train well; what is drawn should not matter much.
        tiny: options that make D tiny; one is drawn.
        fast: options beside a high learning rate that make D large.
        rows: of duplicated data; one is drawn.
        truth: measures a run's final state.
        word: says well, failed or between of a run's figures, beside those of the healthy runs.
        plants: that are tried here.
    """

    name: str
    data: Callable[[], Dataset]
    family: str
    preset: str
    kimg: float
    report_kimg: float
    healthy: int
    planted: int
    options: Callable[[np.random.Generator], Options]
    tiny: tuple[Options, ...]
    truth: Callable[[TrainingState, Dataset], Figures]
    word: Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], str]
    fast: Options
    rows: tuple[int, ...] = (16, 64)
    plants: tuple[str, ...] = tuple(PLANTS)

    def draw(self, plant: str, number: int, rng: np.random.Generator) -> tuple[FamilyConfig, float, int]:
        """Return options, factor on z, and number of training rows (0: all) of one run.

        The first three healthy runs of own pictures and series have the preset's own options, as a user's default has.
        """
        base = self.default()
        drawn = self.options(rng)
        if not plant:
            return base if number < 3 and self.report_kimg == 10 else override(base, drawn), 1.0, 0
        noise, rows, config = 1.0, 0, override(base, drawn)
        plain = {"r1_gamma": None, "r2_gamma": None, "objective": one(rng, "non-saturating", "relativistic")}
        lr = config.lr  # type: ignore[attr-defined]
        match plant:
            case "both learning rates too high":
                changes: Options = {"lr": lr * one(rng, 30, 100, 300)}
            case "D's learning rate too high":
                changes = plain | {"discriminator_lr": float(one(rng, 30, 100, 300))}
            case "G's learning rate too high":
                factor = one(rng, 50, 200)
                changes = {"lr": lr * factor, "discriminator_lr": 1 / factor}
            case "D's learning rate near 0":
                changes = {"discriminator_lr": one(rng, 1e-5, 1e-4, 1e-3)}
            case "G's learning rate near 0":
                factor = one(rng, 1e-5, 1e-4, 1e-3)
                changes = {"lr": lr * factor, "discriminator_lr": 1 / factor}
            case "saturating loss, strong D":
                changes = plain | {"objective": "minimax", "discriminator_lr": float(one(rng, 5, 10, 20))}
            case "tiny D":
                changes = one(rng, *self.tiny)
            case "penalty too strong":
                factor = one(rng, 300, 1000, 3000)
                gamma = config.r1_gamma or 1.0  # type: ignore[attr-defined]
                changes = {"r1_gamma": gamma * factor, "r2_gamma": gamma * factor}
            case "no penalty, fast":
                changes = plain | {"lr": lr * one(rng, 5, 10), **self.fast}
            case "constant noise":
                changes, noise = {}, 0.0
            case "shrunken noise":
                changes, noise = {}, one(rng, 1e-4, 1e-3)
            case _:
                changes, rows = {}, one(rng, *self.rows)
        return override(config, changes), noise, rows

    def default(self) -> FamilyConfig:
        """Return the options that training would choose for this data, as a user's default has them."""
        kind = get_family(self.family)
        return suited(kind, get_preset(kind, self.preset)[1], self.data().spec, ())[0]


def attended(family: Family, dataset: Dataset, chosen: Settings, folder: RunFolder) -> Trainer:
    """Return what trains a family in a folder with the doctor watching, on the CPU, in silence."""
    evaluator = Evaluator(dataset, chosen.seed, "cpu", shipped_classifier(dataset, "cpu"))
    feed = Feed(dataset.splits["train"], family.config.batch_size, chosen.seed)
    return Trainer(family, feed, chosen, folder, monitor=Monitor(evaluator, chosen, folder, SILENT))


def one(rng: np.random.Generator, *choices: Any) -> Any:
    """Draw one of the choices."""
    return choices[int(rng.integers(len(choices)))]


@torch.no_grad()
def samples_of(state: TrainingState) -> torch.Tensor:
    """Return samples of the averaged generator, in the inside range."""
    with state.averaged() as family:
        labels = family.sample_labels(SAMPLES, runtime.stream("cpu", "truth-labels"))
        noise = runtime.stream("cpu", "truth-noise")
        inputs = family.sample_inputs(SAMPLES, runtime.stream("cpu", "truth"))
        found = [
            family.generate(inputs[part], None if labels is None else labels[part], generator=noise)
            for part in runtime.pieces(0, SAMPLES, family.data.shape)
        ]
    return torch.cat(found)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance of Gaussians with the features' moments."""
    pair = ((x.mean(0, dtype=np.float64), np.cov(x.astype(np.float64), rowvar=False)) for x in (a, b))
    return frechet_gaussians(*next(pair), *next(pair))


# -- digits and mixtures: the mnist preset of gan -------------------------------------------------------------------


def _digits_options(rng: np.random.Generator) -> Options:
    gamma = one(rng, 0.5, 1.2, 2.0)
    return _common(rng) | {
        "objective": one(rng, "relativistic", "relativistic", "non-saturating"),
        "batch_size": one(rng, 80, 100),
        "latent_size": one(rng, 16, 32, 64),
        "generator_widths": one(rng, (128, 256), (128, 128)),
        "discriminator_widths": one(rng, (128, 64), (96, 64)),
        "lr": one(rng, 1e-3, 1.5e-3, 2e-3),
        "r1_gamma": gamma,
        "r2_gamma": gamma,
    }


def _mixture_options(rng: np.random.Generator) -> Options:
    gamma = one(rng, 0.005, 0.01, 0.02)
    return _common(rng) | {
        "batch_size": 64,
        "latent_size": one(rng, 2, 4),
        "generator_widths": (128, 128),
        "discriminator_widths": one(rng, (128, 128), (128, 64)),
        "lr": one(rng, 2e-3, 3e-3),
        "lr_decay_kimg": None,
        "r1_gamma": gamma,
        "r2_gamma": gamma,
    }


def _common(rng: np.random.Generator) -> Options:
    return {
        "simultaneous": one(rng, True, False),
        "latent": one(rng, "normal", "uniform"),
        "ema_ramp": one(rng, 0.3, 0.1, None),
    }


@functools.cache
def _digits_seen() -> tuple[Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], np.ndarray, float]:
    """Return the shipped classifier, its features of test images, and the distance of the mean image to them."""
    from saddlepoint.metrics.extractors import mnist_lenet

    lenet = mnist_lenet()

    def extract(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = lenet.extract(images)
        assert found.probabilities is not None
        return found.x, found.probabilities

    dataset = load_dataset("mnist")
    test = extract(np.array(dataset.splits["test"].x[:SAMPLES]))[0]
    mean = np.asarray(dataset.splits["train"].x[:10_000]).mean(0).round().astype(np.uint8)
    flat = extract(np.repeat(mean[None], 64, axis=0))[0]
    return extract, test, frechet(flat, test)


def _digits_truth(state: TrainingState, dataset: Dataset) -> Figures:
    """Return the classes with at least 3% of the samples, and the distance as a share of the mean image's."""
    extract, test, scale = _digits_seen()
    images = to_bytes(samples_of(state)).numpy()
    features, probabilities = extract(images)
    classes = int((np.bincount(probabilities.argmax(1), minlength=10) >= 0.03 * len(images)).sum())
    return {"classes": classes, "frechet": round(frechet(features, test) / scale, 4)}


def _digits_word(figure: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """Well with nine classes and a distance below 0.5; failed with fewer than eight classes, or above 0.6."""
    if "error" in figure:
        return "failed"
    classes, distance = figure["classes"], figure["frechet"]
    return "well" if classes >= 9 and distance < 0.5 else "failed" if classes < 8 or distance > 0.6 else "between"


def _mixture_truth(name: str) -> Callable[[TrainingState, Dataset], Figures]:
    def truth(state: TrainingState, dataset: Dataset) -> Figures:
        """Return the share of the modes that are hit, and of the samples near one.

        Near is within a quarter of the distance between neighbouring modes; a mode is hit if it has a quarter of its
        fair share of near samples.
        """
        centres, samples = mixture(name).centres, samples_of(state).double().numpy()
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.diag(np.full(len(centres), np.inf))
        distance = np.linalg.norm(samples[:, None] - centres[None], axis=2)
        near = distance.min(1) < gaps.min() / 4
        counts = np.bincount(distance.argmin(1)[near], minlength=len(centres))
        hit = float((counts >= len(samples) / len(centres) / 4).mean())
        return {"modes": round(hit, 3), "near": round(float(near.mean()), 3)}

    return truth


def _mixture_word(figure: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """Well with 7/8 of the modes and half of the samples near one; failed below 3/4 of the modes, or a quarter."""
    if "error" in figure:
        return "failed"
    hit, near = figure["modes"], figure["near"]
    return "well" if hit >= 7 / 8 and near >= 0.5 else "failed" if hit < 3 / 4 or near < 0.25 else "between"


def _mixture(name: str, healthy: int, planted: int) -> Problem:
    return Problem(
        name, functools.cache(lambda: load_dataset(name)), "gan", "mnist", 96, 4, healthy, planted, _mixture_options,
        tuple({"discriminator_widths": widths} for widths in ((1,), (1, 1), (2,))), _mixture_truth(name), _mixture_word,
        {"discriminator_widths": (256, 128)}, (3,),
    )  # fmt: skip


# -- own pictures: dcgan as it is chosen for a folder ---------------------------------------------------------------


def _pictures(name: str, rows: int, label: int | None = None) -> Callable[[], Dataset]:
    """Return what loads some pictures of a data set, of one class, as a folder of a user's own would be."""

    @functools.cache
    def load() -> Dataset:
        whole = load_dataset(name)
        x, labels = np.asarray(whole.splits["train"].x), whole.splits["train"].labels
        if label is not None and labels is not None:
            x = x[labels == label]
        x = _in_32(x[np.random.default_rng(0).permutation(len(x))[:rows]])
        tenth = max(1, len(x) // 10)
        parts = {"train": x[2 * tenth :], "valid": x[:tenth], "test": x[tenth : 2 * tenth]}
        return Dataset(name, "image", {part: Split(rows) for part, rows in parts.items()}, (), f"{name}-{rows}-{label}")

    return load


def _in_32(x: np.ndarray) -> np.ndarray:
    """Return pictures in 32x32, as training on a processor takes them."""
    found = F.interpolate(torch.from_numpy(x).float(), (32, 32), mode="bilinear", antialias=True, align_corners=False)
    return found.round().clamp(0, 255).to(torch.uint8).numpy()


def _pictures_options(rng: np.random.Generator) -> Options:
    base: Any = get_preset(get_family("dcgan"), "small")[1]
    return {
        "lr": base.lr * one(rng, 0.7, 1.0, 1.4),
        "latent_size": one(rng, 32, 64, 100),
        "latent": one(rng, "normal", "uniform"),
        "ema_ramp": one(rng, 0.1, 0.2),
    }


@functools.cache
def _random_convolutions(channels: int) -> list[torch.Tensor]:
    """Return fixed random kernels: eyes that were not trained on anything, and that the doctor does not have."""
    draw = runtime.stream("cpu", "random convolutions")
    sizes = ((32, channels), (64, 32), (96, 64))
    return [torch.randn(o, i, 4, 4, generator=draw) / (i * 16) ** 0.5 for o, i in sizes]


def _convolved(images: torch.Tensor) -> np.ndarray:
    """Return means and deviations over places of the last layer: (n, 192)."""
    x = images
    for kernel in _random_convolutions(images.shape[1]):
        x = F.leaky_relu(F.conv2d(x, kernel, stride=2, padding=1), 0.2) * 1.4
    return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1).numpy()


@torch.no_grad()
def _pictures_truth(state: TrainingState, dataset: Dataset) -> Figures:
    """Return the distance in random features, and their variance, as shares of the data's own variance."""
    rows = torch.from_numpy(np.asarray(dataset.splits["train"].x)) / 127.5 - 1
    data, found = _convolved(rows), _convolved(samples_of(state).clamp(-1, 1))
    spread = float(data.var(0).sum())
    distance, variance = frechet(found, data) / spread, float(found.var(0).sum()) / spread
    return {"frechet": round(distance, 4), "variance": round(variance, 3)}


def _pictures_word(figure: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """Well within 1.5 times the healthy median; failed beyond 2.5 times, or with a quarter of the variance."""
    if "error" in figure:
        return "failed"
    ratio = figure["frechet"] / statistics.median(one["frechet"] for one in usual)
    if ratio > 2.5 or figure["variance"] < 0.25:
        return "failed"
    return "well" if ratio < 1.5 else "between"


def _own_pictures(name: str, data: Callable[[], Dataset], part: int) -> Problem:
    plants = [plant for plant in PLANTS if plant != "tiny D"]
    return Problem(
        name, data, "dcgan", "small", 48, 10, 5, 1, _pictures_options, (), _pictures_truth, _pictures_word,
        {"augment": ()}, plants=tuple(plants[part::2]),
    )  # fmt: skip


# -- series: timegan as it is chosen for a table --------------------------------------------------------------------


def _table(name: str) -> Callable[[], Dataset]:
    """Return what loads a data set, or a public table as `public_tables.py` fetches it."""

    @functools.cache
    def load() -> Dataset:
        if "/" not in name:
            return load_dataset(name)
        from tests.e2e.public_tables import expectations, fetch, right_options

        folder = Path(os.environ.get("PUBLIC_TABLES") or cache_dir() / "public_tables")
        fetch(folder)
        expected = {one.name: one for one in expectations()}[name]
        return load_dataset(str(expected.path(folder)), **right_options(folder, expected))

    return load


def _series_options(rng: np.random.Generator) -> Options:
    base: Any = get_preset(get_family("timegan"), "increments")[1]
    return {
        "lr": base.lr * one(rng, 0.7, 1.0, 1.4),
        "width": one(rng, 48, 64),
        "latent_size": one(rng, 24, 32),
        "ema_ramp": one(rng, 0.1, 0.2),
    }


def _series_truth(state: TrainingState, dataset: Dataset) -> Figures:
    """Return distances of autocorrelations, increments and marginals to training windows; lower is better."""
    train, told = np.asarray(dataset.splits["train"].x), dataset.spec.known
    rows = np.sort(np.random.default_rng(1).permutation(len(train))[:SAMPLES])
    features = train.shape[2] - told
    real, fake = train[rows][..., :features], samples_of(state).numpy()[..., :features]
    figures = {
        "acf": acf_distance(real, fake).value,
        "increments": increment_distance(real, fake)[0].value,
        "marginals": marginal_distance(real, fake)[0].value,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _series_word(figure: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """Well where no figure is above 2 times the median of the healthy runs; failed where one is above 4 times."""
    if "error" in figure:
        return "failed"
    floors = {"acf": 0.02, "increments": 0.05, "marginals": 0.05}
    worst = max(
        figure[name] / max(floor, statistics.median(one[name] for one in usual)) for name, floor in floors.items()
    )
    return "well" if worst < 2 else "failed" if worst > 4 else "between"


def _series(name: str, source: str, part: int) -> Problem:
    plants = [plant for plant in PLANTS if plant != "duplicated data"]
    return Problem(
        name, _table(source), "timegan", "increments", 80, 10, 5, 1, _series_options, ({"critic_width": 1},),
        _series_truth, _series_word, {}, plants=tuple(plants[part::2]),
    )  # fmt: skip


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        _series("stocks", "stocks", 0),
        _series("etth1", "etth1", 1),
        _series("sines", "sines", 0),
        _series("seattle-weather", "vega/seattle-weather", 1),
        _series("co2", "statsmodels/co2", 0),
        _series("sunspots", "statsmodels/sunspots", 1),
        _series("macrodata", "statsmodels/macrodata", 0),
        _series("us-employment", "vega/us-employment", 1),
        _own_pictures("faces", _pictures("att-faces", 400), 0),
        _own_pictures("birds", _pictures("cifar10-jpeg", 1000, 2), 1),
        _own_pictures("shoes", _pictures("fashion-mnist", 1000, 7), 0),
        _mixture("ring8", 14, 1),
        Problem(
            "mnist", functools.cache(lambda: load_dataset("mnist")), "gan", "mnist", 48, 4, 30, 2, _digits_options,
            tuple({"discriminator_widths": widths} for widths in ((1,), (1, 1), (2,))), _digits_truth, _digits_word,
            {"discriminator_widths": (256, 128)},
        ),
    )
}  # fmt: skip
