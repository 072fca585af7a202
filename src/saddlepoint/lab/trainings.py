"""The experiments that train in the plane, live: mode collapse beside the doctor, and four kinds of generators."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
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
from saddlepoint.lab.collapse import BASELINE, KIMG, made_trainer, shot
from saddlepoint.lab.live import BLUE, GREEN, GREY, ORANGE, Control, Curve, Live, Panel, View
from saddlepoint.lab.taxonomy import KIMG as TAXONOMY_KIMG
from saddlepoint.lab.taxonomy import MIXTURE, MODELS, made_data, steps

_FRAME_SECONDS = 0.02
_SHOWN = 600
_OF_RECIPE = "of the recipe"
_LIKELIHOOD_EVERY = 20
_HELD_OUT = 500


class Watched:
    """A training of the family `gan` on a mixture that goes on in small pieces.

    Args:
        dataset: points.
        recipe: options that differ from the preset `points`.
        seed: of everything random.
        kimg: thousands of samples until its end.
    """

    def __init__(self, dataset: Dataset, recipe: dict[str, Any], seed: int, kimg: float) -> None:
        self.said: list[Diagnosis] = []
        folder = tempfile.mkdtemp(prefix="saddlepoint-lab-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        observer = Observer(diagnosis=self.said.append)
        settings = Settings(seed, kimg=kimg)
        self.trainer: Trainer = made_trainer(dataset, recipe, seed, settings, folder, observer)
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
    """A flow, a VAE, a diffusion model or a GAN that learns the same ring."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (Control("model", "model", "flow", choices=(*MODELS, "GAN")),)

    def restart(self) -> None:
        """Begin a fresh training."""
        self.data, self.nimg, self.likelihood, self.frames = made_data(self.seed), 0, "", 0
        self.adversarial: Watched | None = None
        self.progress: Iterator[int] = iter(())
        if self.values["model"] == "GAN":
            self.adversarial = Watched(self.data, {}, self.seed, TAXONOMY_KIMG)
        else:
            self.model = MODELS[self.values["model"]](self.random)
            self.progress = steps(self.model, self.data, TAXONOMY_KIMG, self.random)
        test = self.data.splits["test"].x[:_HELD_OUT]
        self.held_out = torch.from_numpy(test)
        self.truth = float(np.log(MIXTURE.density(test.astype(np.float64))).mean())

    def advance(self) -> bool:
        """Train for the time of a frame."""
        if self.adversarial is not None:
            going = self.adversarial.go_on(_FRAME_SECONDS)
            self.nimg = self.adversarial.trainer.state.progress.nimg
            return going
        until = time.perf_counter() + _FRAME_SECONDS
        while time.perf_counter() < until:
            seen = next(self.progress, None)
            if seen is None:
                return False
            self.nimg = seen
        return True

    @torch.no_grad()
    def view(self) -> View:
        """Return samples, and what can be said of their likelihood."""
        name, started = self.values["model"], time.perf_counter()
        if self.adversarial is not None:
            samples = self.adversarial.samples(_SHOWN)
        else:
            samples = self.model.sample(_SHOWN, self.random)  # type: ignore[operator]
        took = 1000 * (time.perf_counter() - started)
        if self.frames % _LIKELIHOOD_EVERY == 0:
            self.likelihood = self._likelihood()
        self.frames += 1
        seen = shot(self.nimg, samples, MIXTURE)
        return View(
            (_plane(samples, MIXTURE, f"{name}: {self.nimg:,} samples seen"),),
            (
                f"{seen.modes:.0f} of 8 modes; {seen.quality:.0%} of the samples within 3 sigma of a centre.",
                self.likelihood,
                f"{took:.1f} ms for {_SHOWN} samples.",
            ),
        )

    def _likelihood(self) -> str:
        name, true = self.values["model"], f"that of the true density is {self.truth:.3f}"
        if name == "flow":
            return f"Held-out log-likelihood {float(self.model.log_likelihood(self.held_out).mean()):.3f} nats; {true}."  # type: ignore[operator]
        if name == "VAE":
            bound = float(self.model.log_likelihood(self.held_out, 20).mean())  # type: ignore[operator]
            return f"Held-out log-likelihood at least {bound:.3f} nats (20 importance samples); {true}."
        return "No likelihood: a GAN has none, and a bound of diffusion's is not computed here."
