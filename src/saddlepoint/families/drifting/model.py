"""A generator of one step without a discriminator: its samples drift towards data and away from each other.

    V(x) = E_p[k(x, y+) (y+ - x)] / Z_p - E_q[k(x, y-) (y- - x)] / Z_q,  k(x, y) = exp(-|x - y| / tau)
    min_G E |G(z) - stopgrad(G(z) + V(G(z)))|^2

y+ are data, y- are samples of G. Where both have one distribution V is 0, so G stays. Source: Deng et al. 2026,
"Generative modeling via drifting" (arXiv 2602.04770), its field with double softmax and its normalisation. Deviations,
above all pixels instead of a learned network's features, are listed in docs/deviations.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples, at_least_float32
from saddlepoint.families.drifting.config import DriftingConfig
from saddlepoint.family import Batch, Conditional, Context, DataSpec, DataStats, Family, Prepared, Terms
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.nn.style import clipped
from saddlepoint.nn.unet import UNet, VectorNet, check_sides

Points = Float[Tensor, "batch number"]

LEAST = 1e-12
"""Added under roots, which have no slope at 0."""


def distances(x: Points, y: Points) -> Tensor:
    """Return Euclidean distances, (x, y)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.t()
    return squares.clamp_min(LEAST).sqrt()


def drift(
    x: Points, positives: Points, negatives: Points, temperatures: Sequence[float], same: Tensor | None = None
) -> tuple[Points, list[Tensor]]:
    """Return the field V at ``x``, of mean square 1 for each temperature, and each one's size before.

    It is antisymmetric: with positives and negatives exchanged, -V; where both are the same set, 0.

    Args:
        x: (batch, number), in units in which distances are about 1.
        positives, negatives: what attracts and what repels, (points, number).
        temperatures: tau of the kernel; the fields are added.
        same: which of the positives, then the negatives, act on which ``x``: bool (batch, points); None: all.
    """
    among = -distances(x, torch.cat([positives, negatives]))
    among = among if same is None else among.masked_fill(~same, -torch.inf)
    whole, sizes = torch.zeros_like(x), list[Tensor]()
    for temperature in temperatures:
        logits = among / temperature
        # A softmax over the points, and one over x: their geometric mean. A row or column without any is 0 throughout.
        kernel = (logits.softmax(1).nan_to_num() * logits.softmax(0).nan_to_num()).sqrt()
        attracts, repels = kernel.split((len(positives), len(negatives)), 1)
        # k+ Z- y+ - k- Z+ y-: (y+ - x) and (y- - x) have the same weight in all, so that x itself falls out.
        towards = (attracts * repels.sum(1, keepdim=True)) @ positives
        away = (repels * attracts.sum(1, keepdim=True)) @ negatives
        field = towards - away
        sizes.append(field.square().mean().sqrt())
        whole = whole + field / sizes[-1].clamp_min(LEAST)
    return whole, sizes


class Drifting(Conditional, Prepared, Family):
    """One generator and its own drifted samples. Its methods stand in the order in which a step needs them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: DriftingConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional drifting needs labels, and this data has none; leave --conditional out")
        self.generator: Any = self.build_generator()
        # Vectors come in units of their own; images are in [-1, 1] already.
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("deviation", torch.ones(data.shape))

    def build_generator(self) -> UNet | VectorNet:
        c, shape = self.config, self.data.shape
        if self.data.modality == "vector":
            return VectorNet(shape[0], c.vector_width, max(2, c.blocks), c.condition_width, self.classes)
        multiple = math.lcm(c.patch * 2 ** (len(c.widths) - 1), *c.pooling)
        check_sides(shape, multiple, self.name, "these widths, this patch and this pooling")
        return UNet(shape[0], c.widths, c.blocks, c.condition_width, self.classes, patch=c.patch)

    def prepare(self, stats: DataStats) -> None:
        if self.data.modality == "vector":
            self.mean.copy_(stats.mean)
            self.deviation.copy_(stats.std.clamp_min(1e-6))

    def reset_parameters(self, generator: torch.Generator) -> None:
        self.generator.reset_parameters(generator)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("drift", (Phase("generator", trains=("generator",), optimizer="generator"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {"generator": self.config.specification()}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the squared distance of samples to where they drift: (batch,); samples have the rows' labels."""
        labels = batch.labels if self.classes else None
        made = self.made(self.sample_inputs(len(batch), ctx.generator), labels)
        real = (batch.x - self.mean) / self.deviation
        losses, sizes = list[PerSample](), list[Tensor]()
        for seen in self.config.pooling if self.data.modality == "image" else (1,):
            # Distances are differences of large numbers: not in bf16.
            with torch.autocast(made.device.type, enabled=False):
                loss, size = self.drifted(features(made, seen), features(real, seen), labels)
            losses.append(loss)
            sizes += size
        return Terms(torch.stack(losses).mean(0), {"drift": torch.stack(sizes).mean()})

    def drifted(self, x: Points, real: Points, labels: Tensor | None) -> tuple[PerSample, list[Tensor]]:
        """Return |x - stopgrad(x + V(x))|^2, the mean over a sample's numbers, and sizes of the field."""
        fixed, n = x.detach(), len(x)
        # The unit is the mean distance, so that temperatures mean the same for any data.
        unit = distances(fixed, torch.cat([real, fixed])).mean().clamp_min(1e-6)
        others = ~torch.eye(n, dtype=torch.bool, device=x.device)  # nothing repels itself
        acting = torch.cat([torch.ones_like(others), others], 1)
        if labels is not None:
            of_class = labels[:, None] == labels
            acting = acting & of_class.repeat(1, 2)
        field, sizes = drift(fixed / unit, real / unit, fixed / unit, self.config.temperatures, acting)
        # In units in which the mean distance is the root of the dimensions, as published.
        scale = x.shape[1] ** 0.5 / unit
        return (scale * (x - fixed) - field).square().mean(1), sizes

    @property
    def classes(self) -> int:
        return len(self.data.classes) if self.config.conditional else 0

    def made(self, inputs: Latents, labels: Tensor | None) -> Samples:
        """Return what the generator makes of noise; of vectors in deviations from their mean."""
        noise = inputs.unflatten(1, self.data.shape)
        found: Samples = self.generator(noise, noise.new_zeros(noise.shape[0]), labels if self.classes else None)
        return found

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw noise from N(0, 1): (n, numbers of a sample), on the generator's device."""
        return torch.randn(n, math.prod(self.data.shape), generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return the samples of noise (batch, numbers of a sample), of the classes asked for, in one pass."""
        x = self.made(inputs, labels) * self.deviation + self.mean
        return clipped(x) if self.data.modality == "image" else x


def features(x: Samples, side: int) -> Points:
    """Return what is compared of samples: their numbers, or means of squares of ``side`` pixels; (batch, number)."""
    return at_least_float32(x if side == 1 else F.avg_pool2d(x, side)).flatten(1)
