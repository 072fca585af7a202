"""The tree of generative models on points of the plane, seen equally often: the library's own families side by side.

Source: Goodfellow 2016 (NIPS tutorial), section 2, for the taxonomy. Flow and VAE say how likely given points are, and
here the truth is known: no likelihood may exceed it. The others make samples only.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.sources.synthetic import MIXTURES, Mixture
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import Observer, Settings
from saddlepoint.families.flow import Flow
from saddlepoint.family import Family, Likelihood
from saddlepoint.lab.checks import Check, Lab, axes
from saddlepoint.lab.collapse import made_trainer
from saddlepoint.metrics.modes import ModeCoverage, mode_coverage

MIXTURE = Mixture("ring8, wide", 2 * MIXTURES["ring8"].centres, 0.15)
KIMG = 512.0
"""Thousands of samples that each model sees."""

_ROWS = {"train": 50_000, "valid": 5_000, "test": 5_000}
_SAMPLES = 2500


@dataclass(frozen=True)
class Model:
    """A family with a preset, and what fits it to points of the plane, on which every step is short."""

    preset: tuple[str, str]
    recipe: Mapping[str, Any]


_STEPS = {"batch_size": 256, "lr": 4e-3, "lr_decay_kimg": 50.0, "ema_ramp": 0.1}
MODELS: Mapping[str, Model] = {
    "flow": Model(("flow", "small"), {**_STEPS, "flow_steps": 6, "warm_up_kimg": None}),
    "VAE": Model(
        ("vae", "small"), {**_STEPS, "latent_size": 2, "encoder_widths": (96, 96), "decoder_widths": (96, 96),
                           "draw": True},
    ),
    "diffusion": Model(("diffusion", "small"), {**_STEPS, "optimizer": "adam"}),
    "drifting": Model(("drifting", "small"), {**_STEPS, "optimizer": "adam"}),
    "GAN": Model(("gan", "points"), {}),
}  # fmt: skip
"""Explicit densities first."""


@dataclass(frozen=True)
class Row:
    """What was measured of one model.

    Attributes:
        name: of the model.
        samples: (n, 2).
        likelihoods: of held-out rows in nats, (m,); None: not defined.
        seconds: to draw the samples.
        training: seconds, over the likelihood of the held-out rows too.
    """

    name: str
    samples: Tensor
    likelihoods: Tensor | None
    seconds: float
    training: float

    @cached_property
    def coverage(self) -> ModeCoverage:
        """Modes hit, and share of samples within 3 sigma of a centre."""
        return mode_coverage(self.samples, MIXTURE.centres, MIXTURE.sigma)

    def told(self, truth: float) -> str:
        """Return it in words, beside the log-likelihood of the true density."""
        likelihood = "no likelihood"
        if self.likelihoods is not None:
            likelihood = f"log-likelihood {float(self.likelihoods.mean()):.3f} (true density {truth:.3f})"
        modes, quality = self.coverage.modes.value, self.coverage.quality.value
        return (
            f"{self.name}: {modes:.0f} modes, {quality:.1%} near them, {likelihood}, "
            f"{self.seconds * 1e3:.1f} ms for {len(self.samples):,} samples, {self.training:.0f} s of training"
        )


def made_data(seed: int) -> Dataset:
    """Draw the rows."""
    splits = {}
    for number, split in enumerate(SPLITS):
        splits[split] = Split(*MIXTURE.sample(_ROWS[split], np.random.default_rng((seed, number))))
    return Dataset(MIXTURE.name, "vector", splits, tuple(map(str, range(8))), "0")


def trained(model: Model, data: Dataset, kimg: float, seed: int) -> Trainer:
    """Train a model to the end."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(seed, kimg=kimg)
        trainer = made_trainer(data, model.recipe, seed, settings, folder, Observer(), model.preset)
        trainer.train(data.stats)
    return trainer


def likelihoods(family: Family, x: Tensor, generator: torch.Generator) -> Tensor | None:
    """Return log p(x) of rows in nats, or its bound, (n,) in double precision; None: the family has none."""
    if not isinstance(family, Likelihood):
        return None
    return family.log_likelihood(x, generator=generator).values.double()


def experiment(lab: Lab, kimg: float = KIMG) -> list[Check]:
    """Train all models, and hold what they say against the density that the data have."""
    data = made_data(lab.seed)
    test = data.splits["test"].x
    truth = np.log(MIXTURE.density(test.astype(np.float64)))
    spread = np.cov(test.T)
    single = -math.log(2 * math.pi) - math.log(np.linalg.det(spread)) / 2 - 1
    error = 3 * float(truth.std()) / math.sqrt(len(truth))
    rows, checks = list[Row](), list[Check]()
    for name, model in MODELS.items():
        started = time.monotonic()
        trainer = trained(model, data, kimg, lab.seed)
        with trainer.state.averaged() as family, torch.no_grad():
            found = likelihoods(family, torch.from_numpy(test), lab.stream("taxonomy likelihood", name))
            row = _row(name, family, found, time.monotonic() - started, lab)
            if isinstance(family, Flow):
                checks += check_flow(family)
        lab.say(row.told(float(truth.mean())))
        checks.append(Check(f"{name}: modes, of 8", row.coverage.modes.value, low=8))
        checks.append(Check(f"{name}: share of high quality", row.coverage.quality.value, low=0.5))
        if found is not None:
            what = f"{name}: held-out log-likelihood between one Gaussian's and the true density's"
            checks.append(Check(what, float(found.mean()), single, float(truth.mean()) + error))
        rows.append(row)
    if lab.out is not None:
        _draw(lab, rows, float(truth.mean()))
    return checks


def _row(name: str, family: Family, found: Tensor | None, training: float, lab: Lab) -> Row:
    generator = lab.stream("taxonomy samples", name)
    started = time.perf_counter()
    samples = family.generate(family.sample_inputs(_SAMPLES, generator), generator=generator)
    return Row(name, samples, found, time.perf_counter() - started, training)


@torch.no_grad()
def check_flow(flow: Flow) -> list[Check]:
    """A density must integrate to 1, and the inverse must undo the flow."""
    flow = copy.deepcopy(flow).double()
    ticks = torch.linspace(-6, 6, 401, dtype=torch.float64)
    grid, generator = torch.cartesian_prod(ticks, ticks), torch.Generator().manual_seed(0)
    density = flow.log_likelihood(grid, generator=generator).values.exp()
    back = flow.generate(flow.encode(grid[::97]), generator=generator)
    step = float(ticks[1] - ticks[0])
    return [
        Check.near("flow: integral of its density", float(density.sum()) * step * step, 1.0, 0.02),
        Check(
            "flow: largest distance of inverse(forward(x)) from x", float((back - grid[::97]).abs().max()), high=1e-6
        ),
    ]


def _draw(lab: Lab, rows: list[Row], truth: float) -> None:
    figure, places = axes(1, len(rows), 3.0, 3.8)
    for place, row in zip(places[0], rows, strict=True):
        place.scatter(*row.samples.T, s=1, color="tab:green")
        place.plot(*MIXTURE.centres.T, "k+", ms=5)
        place.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        place.set_title(row.told(truth).replace(", ", "\n", 3), fontsize=8)
    lab.save("taxonomy", figure)
