"""Rectified flow, and the diffusion model that came before it: one network, asked several times for each sample.

    flow:  x_t = t x_1 + (1 - t) x_0,  x_0 ~ N(0, I),  x_1 ~ data
           min_v E ||(x_1 - x_0) - v(x_t, t)||^2              (Liu et al. 2023, eq. 1; Lipman et al. 2023, eq. 23)
           a sample is dx = v(x, t) dt from noise at t = 0 to t = 1
    ddpm:  x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,  x_0 ~ data,  t = 1 ... T
           min_eps E ||eps - eps(x_t, t)||^2                                              (Ho et al. 2020, eq. 14)
           a sample is Algorithm 2, from x_T ~ N(0, I) to x_0

A sample costs ``evaluations`` passes of the network, twice as many with guidance. Sources: Liu et al. 2023, "Flow
straight and fast"; Lipman et al. 2023, "Flow matching for generative modeling"; Ho et al. 2020, "Denoising diffusion
probabilistic models". Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples
from saddlepoint.families.diffusion.config import DiffusionConfig
from saddlepoint.family import (
    Batch,
    Conditional,
    Context,
    DataSpec,
    DataStats,
    Encoding,
    Family,
    Iterative,
    Prepared,
    Terms,
)
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.nn.style import clipped
from saddlepoint.nn.unet import UNet, VectorNet, check_sides

NEAREST = 0.05
"""Least 1 - t by which data become a velocity (Li and He 2025, "Back to basics", section 4)."""

Field = Callable[[Samples, PerSample], Samples]
"""What the network says of samples (batch, *sample) at times (batch,): a velocity, or the noise in them."""


def integrated(velocity: Field, x: Samples, evaluations: int, solver: str, *, backward: bool = False) -> Samples:
    """Return x(1) of dx = v(x, t) dt from x(0); ``backward``: x(0) from x(1).

    Args:
        velocity: v.
        x: (batch, *sample).
        evaluations: of v, in steps of equal length. Heun and midpoint take two a step; of an odd number the first step
            is Euler's.
        solver: euler, of first order; heun or midpoint, of second.
        backward: from t = 1 down to 0.
    """
    steps = evaluations if solver == "euler" else (evaluations + 1) // 2
    start, dt = (1.0, -1.0 / steps) if backward else (0.0, 1.0 / steps)
    for number in range(steps):
        t = x.new_full((x.shape[0],), start + number * dt)
        v = velocity(x, t)
        if solver == "euler" or (number == 0 and evaluations % 2):
            x = x + dt * v
        elif solver == "midpoint":
            x = x + dt * velocity(x + dt / 2 * v, t + dt / 2)
        else:
            x = x + dt / 2 * (v + velocity(x + dt * v, t + dt))
    return x


class Flow:
    """Straight paths between noise and data, with equal speed."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config

    def pair(self, x: Samples, generator: torch.Generator) -> tuple[Samples, PerSample, Samples]:
        """Return points of paths to data ``x``, their times (batch,), and what the network shall say there."""
        t = spread(len(x), x.device, generator)
        if self.config.times == "logit-normal":  # Esser et al. 2024, section 3.1
            t = torch.special.ndtri(t.clamp(1e-6, 1 - 1e-6)).sigmoid()
        noise = torch.randn(x.shape, generator=generator, device=x.device).to(x.dtype)
        noisy = torch.lerp(noise, x, like(t, x))
        return noisy, t, x - noise if self.config.prediction == "velocity" else self.read(x, noisy, t)

    def read(self, said: Samples, noisy: Samples, t: PerSample) -> Samples:
        """Return the velocity at ``noisy`` that follows from what the network says there."""
        if self.config.prediction == "velocity":
            return said
        # v = (x_1 - x_t) / (1 - t); near t = 1 it would be the network's error many times over.
        return (said - noisy) / like((1 - t).clamp_min(NEAREST), noisy)

    def sample(self, velocity: Field, noise: Samples, evaluations: int, generator: torch.Generator) -> Samples:
        """Return the ends of the paths that begin at ``noise``."""
        return integrated(velocity, noise, evaluations, self.config.way)

    def encode(self, velocity: Field, x: Samples, evaluations: int) -> Samples:
        """Return the beginnings of the paths that end at ``x``."""
        return integrated(velocity, x, evaluations, self.config.way, backward=True)


class DDPM:
    """A chain of T steps that turns data into noise; its times are t / T.

    Attributes:
        abar: share of the data's variance that is left after t steps, (T + 1,), in double precision on the CPU:
            prod_s (1 - beta_s).
        reach: largest number in data.
    """

    def __init__(self, config: DiffusionConfig, *, bounded: bool) -> None:
        self.config, self.reach = config, 1.0 if bounded else math.inf
        if config.schedule == "linear":
            # Section 4: from 10^-4 to .02 in 1,000 steps; of another number the same noise in all.
            ends = 1000 / config.chain_steps * torch.tensor([1e-4, 0.02], dtype=torch.float64)  # on the CPU
            first, last = ends.tolist()
            betas = torch.linspace(first, last, config.chain_steps, dtype=torch.float64)  # on the CPU
        else:  # Nichol and Dhariwal 2021, equation 17, s = .008
            s = torch.arange(config.chain_steps + 1, dtype=torch.float64) / config.chain_steps  # on the CPU
            f = ((s + 0.008) / 1.008 * math.pi / 2).cos().square()
            betas = 1 - f[1:] / f[:-1]
        kept = (1 - betas.clamp_max(0.999)).cumprod(0)
        self.abar = torch.cat([torch.ones_like(kept[:1]), kept])
        self._near = self.abar

    def abar_near(self, x: Samples) -> Tensor:
        """Return all shares in the type of ``x``, on its device."""
        if (self._near.dtype, self._near.device) != (x.dtype, x.device):  # once: an accelerator waits for it
            self._near = self.abar.to(x.dtype).to(x.device)
        return self._near

    def pair(self, x: Samples, generator: torch.Generator) -> tuple[Samples, PerSample, Samples]:
        """Return noisy data, times (batch,), and the noise."""
        steps = (spread(len(x), x.device, generator) * self.config.chain_steps).long().clamp_max(
            self.config.chain_steps - 1
        ) + 1
        abar = self.abar_near(x)[steps]
        noise = torch.randn(x.shape, generator=generator, device=x.device).to(x.dtype)
        noisy = like(abar.sqrt(), x) * x + like((1 - abar).sqrt(), x) * noise  # equation 4
        return noisy, (steps / self.config.chain_steps).to(x.dtype), noise

    def read(self, said: Samples, noisy: Samples, t: PerSample) -> Samples:
        """Return the noise in ``noisy``, which is what the network says."""
        return said

    def chosen(self, evaluations: int) -> list[int]:
        """Return the steps at which a sample asks the network, from T down to 1, as evenly as whole numbers can."""
        last, evaluations = self.config.chain_steps, min(evaluations, self.config.chain_steps)
        return [round(last - number * (last - 1) / max(1, evaluations - 1)) for number in range(evaluations)]

    def posterior(self, t: int, s: int) -> tuple[float, float, float]:
        """Return the weights of x_0 and x_t in the mean of q(x_s | x_t, x_0), and its variance; s < t. Equation 7."""
        a, b = float(self.abar[t]), float(self.abar[s])
        kept, gone = a / b, 1 - a / b  # alpha and beta of all steps from s to t as one
        return math.sqrt(b) * gone / (1 - a), math.sqrt(kept) * (1 - b) / (1 - a), gone * (1 - b) / (1 - a)

    def sample(self, noise_in: Field, x: Samples, evaluations: int, generator: torch.Generator) -> Samples:
        """Return x_0 of x_T: Algorithm 2 on a part of the steps, or without new noise (Song et al. 2021, DDIM)."""
        steps = self.chosen(evaluations)
        for t, s in zip(steps, [*steps[1:], 0], strict=True):
            a, b = float(self.abar[t]), float(self.abar[s])
            noise = noise_in(x, x.new_full((x.shape[0],), t / self.config.chain_steps))
            # Clipped to where data lie, as released with the paper: images are in [-1, 1].
            data = ((x - math.sqrt(1 - a) * noise) / math.sqrt(a)).clamp(-self.reach, self.reach)
            if self.config.way == "ddim":  # equation 12 with sigma = 0
                noise = (x - math.sqrt(a) * data) / math.sqrt(1 - a)
                x = math.sqrt(b) * data + math.sqrt(1 - b) * noise
            else:
                of_data, of_x, variance = self.posterior(t, s)
                drawn = torch.randn(x.shape, generator=generator, device=x.device) if s else torch.zeros_like(x)
                x = of_data * data + of_x * x + math.sqrt(variance) * drawn
        return x

    def encode(self, noise_in: Field, x: Samples, evaluations: int) -> Samples:
        """Return x_T of x_0 by DDIM's steps in the other direction."""
        steps = [0, *self.chosen(evaluations)[::-1]]
        for s, t in pairwise(steps):
            b, a = float(self.abar[s]), float(self.abar[t])
            # The noise is asked for at the step that it leads to: at step 0 there is none to be seen.
            noise = noise_in(x, x.new_full((x.shape[0],), t / self.config.chain_steps))
            data = (x - math.sqrt(1 - b) * noise) / math.sqrt(b)
            x = math.sqrt(a) * data + math.sqrt(1 - a) * noise
        return x


class Diffusion(Conditional, Encoding, Iterative, Prepared, Family):
    """One network and one regression. Its methods stand in the order in which a step needs them."""

    mean: Tensor
    deviation: Tensor
    averaged = ("network",)

    def __init__(self, config: DiffusionConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional diffusion needs labels, and this data has none; leave --conditional out")
        self.process = Flow(config) if config.process == "flow" else DDPM(config, bounded=data.modality == "image")
        self.evaluations = config.evaluations
        self.network: Any = self.build_network()
        # Vectors come in units of their own; images are in [-1, 1] already.
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("deviation", torch.ones(data.shape))

    def build_network(self) -> UNet | VectorNet:
        c, shape = self.config, self.data.shape
        if self.data.modality == "vector":
            return VectorNet(shape[0], c.vector_width, max(2, c.blocks), c.condition_width, self.classes)
        check_sides(shape, c.patch * 2 ** (len(c.widths) - 1), self.name, "these widths and this patch")
        return UNet(
            shape[0], c.widths, c.blocks, c.condition_width, self.classes, patch=c.patch, plain=c.block == "plain",
            keep=c.keep_probability, attention=c.attention,
        )  # fmt: skip

    def prepare(self, stats: DataStats) -> None:
        if self.data.modality == "vector":
            self.mean.copy_(stats.mean)
            self.deviation.copy_(stats.std.clamp_min(1e-6))

    def reset_parameters(self, generator: torch.Generator) -> None:
        self.network.reset_parameters(generator)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("regression", (Phase("network", trains=("network",), optimizer="network"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {"network": self.config.specification()}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the squared error of what the network says, its mean over the numbers of a sample: (batch,)."""
        x = (batch.x - self.mean) / self.deviation
        noisy, t, wanted = self.process.pair(x, ctx.generator)
        said = self.network(noisy, t, self._hidden(batch.labels, ctx.generator), ctx.generator)
        said = self.process.read(said, noisy, t)
        return Terms((said - wanted).square().flatten(1).mean(1))

    def _hidden(self, labels: Tensor | None, generator: torch.Generator) -> Tensor | None:
        """Return labels, some of them replaced by the class that tells nothing (Ho and Salimans 2022)."""
        if not self.classes:
            return None
        assert labels is not None
        hide = torch.rand(labels.shape, generator=generator, device=labels.device) < self.config.label_dropout
        return labels.masked_fill(hide, self.classes)

    @property
    def classes(self) -> int:
        return len(self.data.classes) if self.config.conditional else 0

    def field(self, labels: Tensor | None) -> Field:
        """Return what the network says of samples of these classes (batch,), with guidance where it is asked for."""
        w = self.config.guidance

        def said(x: Samples, t: PerSample) -> Samples:
            if not self.classes or w == 1:
                return self.process.read(self.network(x, t, labels if self.classes else None), x, t)
            assert labels is not None
            blind = torch.full_like(labels, self.classes)
            told, untold = self.network(
                x.repeat(2, *[1] * (x.ndim - 1)), t.repeat(2), torch.cat([labels, blind])
            ).chunk(2)
            # w = 1 + the paper's (Ho and Salimans 2022, eq. 6)
            return self.process.read(untold + w * (told - untold), x, t)

        return said

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw noise from N(0, 1): (n, numbers of a sample), on the generator's device."""
        return torch.randn(n, math.prod(self.data.shape), generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return the samples that noise (batch, numbers of a sample) becomes, of the classes asked for."""
        noise = inputs.unflatten(1, self.data.shape)
        x = self.process.sample(self.field(labels), noise, self.evaluations, generator)
        x = x * self.deviation + self.mean
        return clipped(x) if self.data.modality == "image" else x

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Latents:
        """Return the noise (n, numbers of a sample) of samples: the same path, taken backwards.

        It costs what a sample does, and is as exact as the solver's steps are small.
        """
        x = (x - self.mean) / self.deviation
        found: Samples = self.process.encode(self.field(labels), x, self.evaluations)
        return found.flatten(1)


def spread(n: int, device: torch.device, generator: torch.Generator) -> PerSample:
    """Draw n numbers, each uniform on [0, 1), one in each n-th part: losses of a minibatch then vary less.

    Source: Kingma et al. 2021 (VDM), appendix I.1.
    """
    parts = torch.arange(n, device=device) / n
    return (parts + torch.rand(1, generator=generator, device=device)) % 1


def like(numbers: PerSample, x: Samples) -> Tensor:
    """Return one number a sample in a shape that multiplies samples."""
    return numbers.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
