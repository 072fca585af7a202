"""The conditional game of three minutes: LeakyReLU networks, R1 and R2, the label beside z and as an offset in D.

What it has beyond the paper is what `gan mnist` has: relativistic pairing, R1 and R2 (Huang et al. 2024, R3GAN), few
latent dimensions, simultaneous steps on small batches, a long average of G.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Latents, PerSample, Samples
from saddlepoint.families.cgan.config import CGANConfig
from saddlepoint.families.cgan.game import Game, picture
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Phase, Terms
from saddlepoint.nn.discriminators import LeakyDiscriminator
from saddlepoint.nn.layers import Linear
from saddlepoint.nn.mlp import draw_he
from saddlepoint.nn.normalise import rms_norm_leaky
from saddlepoint.objectives.losses import generator_loss_along
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.schedules import inverse
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

MNIST = CGANConfig(
    batch_size=64, latent_size=16, latent="normal", networks="leaky", generator_widths=(512, 768),
    discriminator_widths=(256, 128), objective="relativistic", r1_gamma=1.2, r2_gamma=1.2, simultaneous=True,
    optimizer="adam", lr=1e-3, lr_decay_kimg=300.0, ema_ramp=0.3,
)  # fmt: skip
"""Three minutes on two CPU cores."""


class LeakyGenerator(nn.Module):
    """z with the one-hot label -> LeakyReLU layers, normalised -> sigmoid (linear on vectors)."""

    def __init__(self, config: CGANConfig, data: DataSpec) -> None:
        super().__init__()
        sizes = (config.latent_size + len(data.classes), *config.generator_widths)
        self.hidden = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        self.output = Linear(sizes[-1], torch.Size(data.shape).numel())
        self.classes, self.shape, self.is_image = len(data.classes), data.shape, data.modality == "image"

    def forward(self, z: Latents, labels: Tensor, generator: torch.Generator | None) -> Samples:
        """Return samples (batch, *sample); there is no dropout."""
        h = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)  # (batch, latent + classes)
        for layer in self.hidden:
            h = rms_norm_leaky(layer(h), before=SLOPE)
        return picture(self.output(h), self.shape, self.is_image)


class Leaky(Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on samples (R2)."""

    def build_generator(self) -> LeakyGenerator:
        """Return a G without dropout."""
        return LeakyGenerator(self.config, self.data)

    def build_discriminator(self) -> LeakyDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        # A paired objective sees differences of logits only: an offset would never move.
        bias, widths = not self.objective.paired, self.config.discriminator_widths
        return LeakyDiscriminator(self.data.shape, widths, SLOPE, bias=bias, classes=len(self.data.classes))

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, labels = self.config, batch.labels
        assert labels is not None
        fake = self.generator(self.sample_inputs(len(batch), ctx.generator), labels, ctx.generator)
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (2 batch, *sample)
        pairs, twice = torch.cat([batch.x, fake.detach()]), torch.cat([labels, labels])
        logits, norms, gradients = self.discriminator(pairs, twice)
        real_logits, fake_logits = logits.chunk(2)
        # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): R3GAN, equations 3 and 4; gamma may fade.
        norms = norms * inverse(ctx.progress.nimg, c.gamma_decay_kimg)
        d = penalised(self.objective.discriminator(real_logits, fake_logits), norms, c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": Terms(d, game_logs(real_logits, fake_logits, self.objective)), "generator": Terms(g)}

    def draw(self, layer: nn.Linear, network: Any, limit: float, generator: torch.Generator) -> None:
        """Draw He-normal weights, a small output layer."""
        draw_he(layer, 1.0 if layer is network.output else 2**0.5, generator)

    def prepare(self, stats: DataStats) -> None:
        super().prepare(stats)
        self.discriminator.mean.copy_(stats.mean.flatten())

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,), without the price of gradients."""
        return self.discriminator.logits(x, labels)
