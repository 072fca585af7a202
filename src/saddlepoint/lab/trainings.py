"""The experiments that train in the plane, live: mode collapse beside the doctor, and the tree of generative models."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.sources.synthetic import Mixture, mixture
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.plan import locate
from saddlepoint.engine.settings import Observer, Settings
from saddlepoint.family import Likelihood
from saddlepoint.lab.collapse import BASELINE, KIMG, made_trainer, shot
from saddlepoint.lab.live import BLUE, GREEN, GREY, ORANGE, Control, Curve, Live, Panel, View
from saddlepoint.lab.taxonomy import KIMG as TAXONOMY_KIMG
from saddlepoint.lab.taxonomy import MIXTURE, MODELS, made_data

_FRAME_SECONDS = 0.02
_SHOWN = 600
_OF_RECIPE = "of the recipe"
_LIKELIHOOD_EVERY = 20
_HELD_OUT = 500


class Watched:
    """A training on a mixture that goes on in small pieces.

    Args:
        dataset: points.
        recipe: options that differ from the preset.
        seed: of everything random.
        kimg: thousands of samples until its end.
        preset: family and preset.
    """

    def __init__(
        self, dataset: Dataset, recipe: Mapping[str, Any], seed: int, kimg: float,
        preset: tuple[str, str] = ("gan", "points"),
    ) -> None:  # fmt: skip
        self.said: list[Diagnosis] = []
        folder = tempfile.mkdtemp(prefix="saddlepoint-lab-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        observer = Observer(diagnosis=self.said.append)
        settings = Settings(seed, kimg=kimg)
        self.trainer: Trainer = made_trainer(dataset, recipe, seed, settings, folder, observer, preset)
        self.trainer.begin(dataset.stats)

    def go_on(self, seconds: float) -> bool:
        """Train for some time; False at the end."""
        trainer, until = self.trainer, time.perf_counter() + seconds
        while time.perf_counter() < until:
            position = locate(trainer.stages, trainer.state.step)
            if position is None or trainer.settings.spent(trainer.state.progress, 0.0):
                return False
            trainer.step(position)
            if trainer.is_due(trainer.state.step):
                trainer.report(position)
        return True

    def samples(self, n: int) -> Tensor:
        """Return samples of the averaged generator, from the same inputs every time, (n, 2)."""
        return self.trainer.state.snapshot(n, 0)

    @property
    def verdict(self) -> str:
        """What the doctor says now."""
        return self.said[-1].verdict if self.said else "nothing yet"


def _plane(samples: Tensor, truth: Mixture, title: str) -> Panel:
    span = 1.5 * float(abs(truth.centres).max())
    curves = (
        Curve("samples", samples[:, 0].numpy(), samples[:, 1].numpy(), GREEN, "points"),
        Curve("centres of the data", truth.centres[:, 0], truth.centres[:, 1], GREY, "crosses"),
    )
    return Panel(title, curves, (-span, span), (-span, span), square=True)


class Collapse(Live):
    """The plain game or today's recipe on a ring or a grid, with the doctor's verdict."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (
            Control("data", "data", "ring8", choices=("ring8", "grid25")),
            Control("recipe", "recipe", "plain", choices=("plain", "remedies")),
            Control(
                "objective", "objective", _OF_RECIPE,
                choices=(_OF_RECIPE, "minimax", "non-saturating", "relativistic", "wasserstein", "hinge"),
            ),
            Control("penalty", "weight of R1 and R2", _OF_RECIPE, choices=(_OF_RECIPE, "off", "0.1", "1", "10")),
            Control("k", "steps of D for one of G (k)", 1.0, low=1, high=5, step=1),
            Control("lr", "learning rate, times the recipe's", 1.0, low=0.1, high=5, step=0.1),
        )  # fmt: skip

    def restart(self) -> None:
        """Begin a fresh training."""
        v = self.values
        self.truth = mixture(v["data"])
        recipe: dict[str, Any] = dict(BASELINE) if v["recipe"] == "plain" else {}
        if v["objective"] != _OF_RECIPE:
            recipe["objective"] = v["objective"]
        if v["penalty"] != _OF_RECIPE:
            weight = None if v["penalty"] == "off" else float(v["penalty"])
            recipe |= {"r1_gamma": weight, "r2_gamma": weight}
        if v["k"] > 1:
            recipe |= {"k": int(v["k"]), "simultaneous": False}
        dataset = load_dataset(v["data"])
        probe = Watched(dataset, recipe, self.seed, KIMG[v["data"]])
        if v["lr"] != 1.0:
            recipe["lr"] = probe.trainer.state.family.config.lr * v["lr"]
            probe = Watched(dataset, recipe, self.seed, KIMG[v["data"]])
        self.training, self.told = probe, list[tuple[float, float, float]]()

    def advance(self) -> bool:
        """Train for the time of a frame."""
        return self.training.go_on(_FRAME_SECONDS)

    def view(self) -> View:
        """Return samples, modes and quality, and what the doctor says."""
        nimg = self.training.trainer.state.progress.nimg
        seen = shot(nimg, self.training.samples(_SHOWN), self.truth)
        modes = len(self.truth.centres)
        if not self.told or self.told[-1][0] < nimg / 1000:
            self.told.append((nimg / 1000, seen.modes / modes, seen.quality))
        kimg, hit, quality = zip(*self.told, strict=True)
        over = (Curve("share of modes", kimg, hit, BLUE), Curve("samples of high quality", kimg, quality, ORANGE))
        return View(
            (
                _plane(seen.samples, self.truth, f"{nimg:,} samples seen"),
                Panel("Modes and quality", over, None, (0.0, 1.05), "thousands of samples seen"),
            ),
            (
                f"{seen.modes:.0f} of {modes} modes; {seen.quality:.0%} of the samples within 3 sigma of a centre.",
                f"The doctor says: {self.training.verdict}.",
            ),
        )


class Taxonomy(Live):
    """A model of the tree that learns a ring of eight Gaussians."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (Control("model", "model", "flow", choices=tuple(MODELS)),)

    def restart(self) -> None:
        """Begin a fresh training."""
        data, model = made_data(self.seed), MODELS[self.values["model"]]
        self.training = Watched(data, model.recipe, self.seed, TAXONOMY_KIMG, model.preset)
        test = data.splits["test"].x[:_HELD_OUT]
        self.held_out = torch.from_numpy(test)
        self.truth = float(np.log(MIXTURE.density(test.astype(np.float64))).mean())
        self.likelihood, self.frames = "", 0

    def advance(self) -> bool:
        """Train for the time of a frame."""
        return self.training.go_on(_FRAME_SECONDS)

    def view(self) -> View:
        """Return samples, and what can be said of their likelihood."""
        name, nimg = self.values["model"], self.training.trainer.state.progress.nimg
        started = time.perf_counter()
        samples = self.training.samples(_SHOWN)
        took = 1000 * (time.perf_counter() - started)
        if self.frames % _LIKELIHOOD_EVERY == 0:
            self.likelihood = self._likelihood()
        self.frames += 1
        seen = shot(nimg, samples, MIXTURE)
        return View(
            (_plane(samples, MIXTURE, f"{name}: {nimg:,} samples seen"),),
            (
                f"{seen.modes:.0f} of 8 modes; {seen.quality:.0%} of the samples within 3 sigma of a centre.",
                self.likelihood,
                f"{took:.1f} ms for {_SHOWN} samples.",
            ),
        )

    @torch.no_grad()
    def _likelihood(self) -> str:
        with self.training.trainer.state.averaged() as family:
            if not isinstance(family, Likelihood):
                return f"No likelihood: {family.name} makes samples, and does not say how likely given ones are."
            found = family.log_likelihood(self.held_out, generator=self.random)
            kind = "at least " if family.likelihood == "lower bound" else ""
            return (
                f"Held-out log-likelihood {kind}{float(found.values.mean()):.3f} nats; that of the true density is "
                f"{self.truth:.3f}."
            )
