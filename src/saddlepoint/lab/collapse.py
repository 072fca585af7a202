"""Mode collapse, which the paper calls the Helvetica scenario: the plain game on rings and grids, and today's remedies.

Source: Goodfellow et al. 2014, section 6; data of Lin et al. 2018 (PacGAN).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import override
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.feed import Feed
from saddlepoint.data.sources.synthetic import Mixture, mixture
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.monitor import Monitor
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import Observer, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family, get_family, get_preset
from saddlepoint.family.capabilities import suited
from saddlepoint.lab.checks import Check, Lab, axes
from saddlepoint.metrics.modes import mode_coverage

KIMG = {"ring8": 300.0, "grid25": 900.0}
"""Thousands of samples each recipe sees."""

SAMPLES = 2500
BASELINE: Mapping[str, Any] = {
    "generator_widths": (128, 128), "discriminator_widths": (128, 128), "latent_size": 2, "latent": "normal",
    "generator": "relu", "discriminator": "leaky-relu", "init": "he", "objective": "non-saturating", "r1_gamma": None,
    "r2_gamma": None, "simultaneous": False, "ema_ramp": None, "lr_decay_kimg": None, "lr": 1e-3,
    "discriminator_lr": 1.0, "gamma_decay_kimg": None,
}  # fmt: skip
"""The plain game of 2014 on points: alternating non-saturating updates by Adam, without penalty and average."""


@dataclass(frozen=True)
class Shot:
    """Samples at one moment of a training: how many modes they hit, and how many lie within 3 sigma of one."""

    nimg: int
    samples: Tensor
    modes: float
    quality: float


@dataclass(frozen=True)
class Story:
    """A training: its moments, the doctor's last word, the alarms before it."""

    shots: tuple[Shot, ...]
    verdict: str
    alarms: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What the doctor said."""
        return self.verdict + (f" (before: {', '.join(self.alarms)})" if self.alarms else "")


def story(data: str, recipe: Mapping[str, Any], seed: int, kimg: float | None = None) -> Story:
    """Train the family `gan` on a mixture, and keep what there was to see.

    Args:
        data: name of a mixture.
        recipe: options that differ from the preset `points`.
        seed: of everything random.
        kimg: thousands of samples seen; None: `KIMG`.
    """
    dataset, truth = load_dataset(data), mixture(data)
    shots: list[Shot] = []
    said: list[Diagnosis] = []
    batch = 1

    def see(step: int, samples: Tensor) -> None:
        shots.append(shot(step * batch, samples, truth))

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(seed, kimg=kimg or KIMG[data], snapshot_samples=SAMPLES)
        trainer = made_trainer(dataset, recipe, seed, settings, folder, Observer(snapshot=see, diagnosis=said.append))
        batch = trainer.feed.batch_size
        trainer.train(dataset.stats)
    alarms = tuple(dict.fromkeys(diagnosis.verdict for diagnosis in said if diagnosis.alarming))
    return Story(tuple(shots), said[-1].verdict, alarms)


def made_trainer(
    dataset: Dataset,
    recipe: Mapping[str, Any],
    seed: int,
    settings: Settings,
    folder: str,
    observer: Observer,
    preset: tuple[str, str] = ("gan", "points"),
) -> Trainer:
    """Return a trainer of a family's preset, changed by a recipe, with the doctor beside it."""
    name, of = preset
    kind, device = get_family(name), torch.device("cpu")
    options, _ = suited(kind, override(get_preset(kind, of)[1], recipe), dataset.spec, recipe)
    kept = RunFolder(Path(folder))
    monitor = Monitor(Evaluator(dataset, seed, device), settings, kept, observer)
    family, feed = build_family(name, options, dataset.spec), Feed(dataset.splits["train"], options.batch_size, seed)
    return Trainer(family, feed, settings, kept, observer, monitor)


def shot(nimg: int, samples: Tensor, truth: Mixture) -> Shot:
    """Measure samples against the mixture."""
    found = mode_coverage(samples, truth.centres, truth.sigma)
    return Shot(nimg, samples, found.modes.value, found.quality.value)


def experiment(lab: Lab) -> list[Check]:
    """Train both recipes on both mixtures."""
    stories: dict[tuple[str, str], Story] = {}
    checks = []
    for data in ("ring8", "grid25"):
        modes = len(mixture(data).centres)
        for name, recipe in (("plain", BASELINE), ("remedies", {})):
            stories[data, name] = told = story(data, recipe, lab.seed)
            end = told.shots[-1]
            lab.say(
                f"{data}, {name}: {end.modes:.0f} modes, {end.quality:.1%} of high quality; doctor: {told.sentence}"
            )
        plain, remedied = stories[data, "plain"].shots[-1], stories[data, "remedies"].shots[-1]
        checks += [
            Check(f"{data}: modes that the remedies find, of {modes}", remedied.modes, low=modes),
            Check(f"{data}: share of high quality, remedies over plain", remedied.quality - plain.quality, low=0.05),
        ]
    if lab.out is not None:
        _draw(lab, stories)
    return checks


def _draw(lab: Lab, stories: Mapping[tuple[str, str], Story]) -> None:
    figure, places = axes(len(stories), 5, 2.6, 2.5)
    for row, ((data, name), told) in zip(places, stories.items(), strict=True):
        centres = mixture(data).centres
        span = 1.4 * float(abs(centres).max())
        last = len(told.shots) - 1
        for place, number in zip(row, (last // 4, last // 2, 3 * last // 4, last), strict=False):
            seen = told.shots[number]
            place.scatter(*seen.samples.T, s=1, color="tab:green")
            place.plot(*centres.T, "k+", ms=4)
            place.set(xlim=(-span, span), ylim=(-span, span), aspect="equal")
            place.set_title(f"{seen.nimg:,} samples\n{seen.modes:.0f} modes, {seen.quality:.0%}", fontsize=8)
        row[0].set_ylabel(f"{data}, {name}")
        kimg = [seen.nimg / 1000 for seen in told.shots]
        row[-1].plot(kimg, [seen.quality for seen in told.shots], label="quality")
        row[-1].plot(kimg, [seen.modes / len(centres) for seen in told.shots], label="modes")
        row[-1].set(xlabel="kimg", ylim=(0, 1.03))
        row[-1].set_title(f"doctor: {told.verdict}", fontsize=8)
        row[-1].legend(fontsize=7)
    lab.save("collapse", figure)
