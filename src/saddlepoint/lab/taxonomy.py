"""Four ways to a generator on the same two-dimensional data, seen equally often: flow, VAE, diffusion, GAN.

Source: Goodfellow 2016 (NIPS tutorial), section 2, for the taxonomy. The flow is RealNVP (Dinh et al. 2017), the VAE
that of Kingma and Welling 2014, the diffusion model that of Ho et al. 2020; all small.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.sources.synthetic import MIXTURES, Mixture
from saddlepoint.engine.settings import Observer, Settings
from saddlepoint.lab.checks import Check, Lab, axes
from saddlepoint.lab.collapse import made_trainer
from saddlepoint.lab.networks import Network, adam
from saddlepoint.metrics.modes import ModeCoverage, mode_coverage

MIXTURE = Mixture("ring8, wide", 2 * MIXTURES["ring8"].centres, 0.15)
KIMG = 768.0
"""Thousands of samples that each model sees."""

_ROWS = {"train": 50_000, "valid": 5_000, "test": 5_000}
_BATCH, _LR = 256, 4e-3
_SAMPLES = 2500

Sampler = Callable[[int, torch.Generator], Tensor]


class Flow(nn.Module):
    """RealNVP: affine couplings whose determinant is known, so that the likelihood is exact."""

    def __init__(self, generator: torch.Generator, layers: int = 8, width: int = 64) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Network((1, width, width, 2), generator) for _ in range(layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (n, 2) and log |det dz/dx| (n,)."""
        total = x.new_zeros(len(x))
        for coupling in self.couplings:
            kept, moved = x[:, :1], x[:, 1:]
            scale, shift = _affine(coupling, kept)
            x = torch.cat([moved * scale.exp() + shift, kept], 1)
            total = total + scale.squeeze(1)
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """Return x (n, 2)."""
        for coupling in reversed(self.couplings):
            moved, kept = z[:, :1], z[:, 1:]
            scale, shift = _affine(coupling, kept)
            z = torch.cat([kept, (moved - shift) * (-scale).exp()], 1)
        return z

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (n,)."""
        z, volume = self(x)
        return _standard(z) + volume

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return -log p(x)."""
        return -self.log_likelihood(x).mean()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return (n, 2)."""
        return self.inverse(torch.randn(n, 2, generator=generator))


def _affine(coupling: nn.Module, kept: Tensor) -> tuple[Tensor, Tensor]:
    raw, shift = coupling(kept).chunk(2, 1)
    return 2 * torch.tanh(raw / 2), shift


class VAE(nn.Module):
    """Gaussian encoder and decoder; the decoder's width is learned."""

    def __init__(self, generator: torch.Generator, width: int = 96) -> None:
        super().__init__()
        self.encoder, self.decoder = Network((2, width, width, 4), generator), Network((2, width, width, 2), generator)
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))

    def _log_weight(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return log p(x, z) - log q(z | x) for one drawn z a row, (n,)."""
        mean, spread = self.encoder(x).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        z = mean + spread.exp() * noise
        residual = (x - self.decoder(z)) / self.log_sigma.exp()
        return _standard(residual) - 2 * self.log_sigma + _standard(z) - _standard(noise) + spread.sum(1)

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return minus the evidence's lower bound."""
        return -self._log_weight(x, generator).mean()

    def log_likelihood(self, x: Tensor, draws: int = 200) -> Tensor:
        """Return a lower bound of log p(x) by importance sampling, (n,). Source: Burda et al. 2016."""
        generator = torch.Generator().manual_seed(0)
        terms = torch.stack([self._log_weight(x, generator) for _ in range(draws)])
        return torch.logsumexp(terms, 0) - math.log(draws)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return (n, 2)."""
        mean = self.decoder(torch.randn(n, 2, generator=generator))
        return mean + self.log_sigma.exp() * torch.randn(n, 2, generator=generator)


class Diffusion(nn.Module):
    """Noise predicted at 50 levels along a cosine, removed level by level."""

    LEVELS = 50

    def __init__(self, generator: torch.Generator, width: int = 128) -> None:
        super().__init__()
        self.network = Network((2 + 8, width, width, width, 2), generator)
        share = torch.cos((torch.arange(self.LEVELS + 1) / self.LEVELS + 0.008) / 1.008 * math.pi / 2) ** 2
        self.kept: Tensor
        self.register_buffer("kept", (share / share[0]).clamp_min(1e-4))

    def _noise(self, x: Tensor, level: Tensor) -> Tensor:
        angles = level[:, None] / self.LEVELS * torch.tensor([1.0, 3.0, 9.0, 27.0])
        predicted: Tensor = self.network(torch.cat([x, angles.sin(), angles.cos()], 1))
        return predicted

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error of the predicted noise."""
        level = torch.randint(1, self.LEVELS + 1, (len(x),), generator=generator)
        noise, kept = torch.randn(x.shape, generator=generator), self.kept[level][:, None]
        return F.mse_loss(self._noise(kept.sqrt() * x + (1 - kept).sqrt() * noise, level), noise)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return (n, 2), by ancestral sampling."""
        x = torch.randn(n, 2, generator=generator)
        for t in range(self.LEVELS, 0, -1):
            kept, before = self.kept[t], self.kept[t - 1]
            noise = self._noise(x, torch.full((n,), t))
            clean = ((x - (1 - kept).sqrt() * noise) / kept.sqrt()).clamp(-4, 4)
            beta = 1 - kept / before
            mean = (before.sqrt() * beta * clean + (kept / before).sqrt() * (1 - before) * x) / (1 - kept)
            spread = (beta * (1 - before) / (1 - kept)).sqrt()
            x = mean + spread * torch.randn(n, 2, generator=generator) if t > 1 else mean
        return x


MODELS: dict[str, Callable[[torch.Generator], nn.Module]] = {"flow": Flow, "VAE": VAE, "diffusion": Diffusion}
"""Those that have a loss of their own."""


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


def trained(model: nn.Module, data: Dataset, kimg: float, generator: torch.Generator) -> None:
    """Train to the end; see `steps`."""
    for _ in steps(model, data, kimg, generator):
        pass


def steps(model: nn.Module, data: Dataset, kimg: float, generator: torch.Generator) -> Iterator[int]:
    """Train by Adam, its rate falling to 0 along a cosine; yield the samples seen after every step."""
    rows, count = torch.from_numpy(data.splits["train"].x), round(1000 * kimg / _BATCH)
    optimizer, schedule = adam(model, _LR, count)
    for number in range(count):
        batch = rows[torch.randint(len(rows), (_BATCH,), generator=generator)]
        optimizer.zero_grad()
        model.loss(batch, generator).backward()  # type: ignore[operator]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        yield (number + 1) * _BATCH


def adversarial(data: Dataset, kimg: float, seed: int) -> Sampler:
    """Train `gan` with the preset `points`; return how to sample."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = made_trainer(data, {}, seed, Settings(seed, kimg=kimg), folder, Observer())
        trainer.train(data.stats)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        with trainer.state.averaged() as family:
            return family.generate(family.sample_inputs(n, generator), generator=generator)

    return sample


def experiment(lab: Lab, kimg: float = KIMG) -> list[Check]:
    """Train all four, and hold what they say against the density that the data have."""
    data = made_data(lab.seed)
    test = data.splits["test"].x
    truth = np.log(MIXTURE.density(test.astype(np.float64)))
    spread = np.cov(test.T)
    single = -math.log(2 * math.pi) - math.log(np.linalg.det(spread)) / 2 - 1
    rows, models = [], dict[str, nn.Module]()
    for name, kind in MODELS.items():
        generator = lab.stream("taxonomy", name)
        models[name] = model = kind(generator)
        started = time.monotonic()
        trained(model, data, kimg, generator)
        with torch.no_grad():
            found = None if name == "diffusion" else model.log_likelihood(torch.from_numpy(test)).double()  # type: ignore[operator]
            rows.append(_row(name, model.sample, found, time.monotonic() - started, lab))  # type: ignore[arg-type]
    started = time.monotonic()
    sample = adversarial(data, kimg, lab.seed)
    with torch.no_grad():
        rows.append(_row("GAN", sample, None, time.monotonic() - started, lab))
    checks = _check_flow(models["flow"])
    error = 3 * float(truth.std()) / math.sqrt(len(truth))
    for row in rows:
        lab.say(row.told(float(truth.mean())))
        checks.append(Check(f"{row.name}: modes, of 8", row.coverage.modes.value, low=8))
        checks.append(Check(f"{row.name}: share of high quality", row.coverage.quality.value, low=0.5))
        if row.likelihoods is not None:
            what = f"{row.name}: held-out log-likelihood between one Gaussian's and the true density's"
            checks.append(Check(what, float(row.likelihoods.mean()), single, float(truth.mean()) + error))
    if lab.out is not None:
        _draw(lab, rows, float(truth.mean()))
    return checks


def _row(name: str, sample: Sampler, found: Tensor | None, training: float, lab: Lab) -> Row:
    generator = lab.stream("taxonomy samples", name)
    started = time.perf_counter()
    samples = sample(_SAMPLES, generator)
    return Row(name, samples, found, time.perf_counter() - started, training)


def _check_flow(flow: nn.Module) -> list[Check]:
    """A density must integrate to 1, and the inverse must undo the flow."""
    flow = copy.deepcopy(flow).double()
    ticks = torch.linspace(-6, 6, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    with torch.no_grad():
        density = flow.log_likelihood(grid).exp()  # type: ignore[operator]
        z, _ = flow(grid[::97])
        back = flow.inverse(z)  # type: ignore[operator]
    step = float(ticks[1] - ticks[0])
    return [
        Check.near("flow: integral of its density", float(density.sum()) * step * step, 1.0, 0.02),
        Check(
            "flow: largest distance of inverse(forward(x)) from x", float((back - grid[::97]).abs().max()), high=1e-6
        ),
    ]


def _standard(x: Tensor) -> Tensor:
    """Return the log density of N(0, 1) in two dimensions, (n,)."""
    return -x.square().sum(1) / 2 - math.log(2 * math.pi)


def _draw(lab: Lab, rows: list[Row], truth: float) -> None:
    figure, places = axes(1, len(rows), 3.0, 3.8)
    for place, row in zip(places[0], rows, strict=True):
        place.scatter(*row.samples.T, s=1, color="tab:green")
        place.plot(*MIXTURE.centres.T, "k+", ms=5)
        place.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        place.set_title(row.told(truth).replace(", ", "\n", 3), fontsize=8)
    lab.save("taxonomy", figure)
