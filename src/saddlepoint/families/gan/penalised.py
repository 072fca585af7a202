"""The game of three minutes: a small D with LeakyReLU, R1 and R2 penalties, and a G with normalised layers.

What it has beyond the paper: relativistic pairing, R1 and R2 (Huang et al. 2024, R3GAN) on a small LeakyReLU D, few
latent dimensions, simultaneous steps on small batches, a long average of G.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, Samples
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.families.gan.game import Game, Generator, by_player
from saddlepoint.family import Batch, Context, DataStats, Phase, Terms
from saddlepoint.nn.discriminators import LeakyDiscriminator
from saddlepoint.nn.normalise import rms_norm_leaky
from saddlepoint.objectives.losses import generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.schedules import inverse
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

MNIST = GANConfig(
    batch_size=64, latent_size=16, latent="normal", generator_widths=(512, 768), generator="leaky-rms",
    discriminator="leaky-relu", discriminator_widths=(256, 128), init="he", objective="relativistic", r1_gamma=1.2,
    r2_gamma=1.2, simultaneous=True, optimizer="adam", lr=1e-3, lr_decay_kimg=300.0, ema_ramp=0.3,
)  # fmt: skip
"""Three minutes on two CPU cores."""

MNIST_PRIVATE = replace(
    MNIST, batch_size=256, discriminator_widths=(128,), objective="non-saturating", r1_gamma=None, r2_gamma=None,
    simultaneous=False, k=5, lr=2e-3,
)  # fmt: skip
"""What `--private` can train: no pairing, no penalties; a small D, for the noise grows with its parameters; five steps
of D for one of G, so that D keeps up in spite of it (Bie et al. 2023, Private GANs, revisited)."""

POINTS = replace(
    MNIST, batch_size=128, latent_size=2, generator="relu", generator_widths=(128,) * 3, lr=8e-3,
    discriminator_lr=0.25, discriminator_widths=(128,) * 3, r1_gamma=0.1, r2_gamma=0.1, gamma_decay_kimg=1000.0,
    lr_decay_kimg=30.0, ema_ramp=0.1,
)  # fmt: skip
"""Points of the plane: a G with long steps learns steep passages between modes; D is slow, penalties fade."""


class NormalisedGenerator(Generator):
    """G whose hidden units are LeakyReLU, then divided by their root mean square."""

    def unit(self, layer: nn.Module, z: Tensor, last: bool) -> Tensor:
        """Return h / sqrt(mean h^2) with h = max(a, .2 a)."""
        return rms_norm_leaky(layer(z), before=SLOPE)  # (batch, units)


class Penalised(Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on samples (R2)."""

    def build_discriminator(self) -> LeakyDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        # A paired objective sees differences of logits only: an offset would never move.
        bias = not get_objective(self.config.objective).paired
        return LeakyDiscriminator(self.data.shape, self.config.discriminator_widths, SLOPE, bias=bias)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses from one forward pass of both networks."""
        c, (real, fake) = self.config, self.seen(batch.x, ctx)
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (2 batch, *sample)
        logits, norms, gradients = self.discriminator_of(phases[0])(torch.cat([real, fake.detach()]))
        real_logits, fake_logits = logits.chunk(2)
        d = c.discriminator_weight * self.objective.discriminator(real_logits, fake_logits)
        # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): R3GAN, equations 3 and 4; gamma may fade.
        d = penalised(d, norms * inverse(ctx.progress.nimg, c.gamma_decay_kimg), c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return by_player(phases, Terms(d, game_logs(real_logits, fake_logits, self.objective)), Terms(g))

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss."""
        return self.losses((phase,), batch, ctx)[phase.name]

    def pair_losses(self, phase: Phase, real: Samples, fake: Samples) -> PerSample:
        """Return D's loss on pairs, (n,), without penalties."""
        discriminator = cast("LeakyDiscriminator", self.discriminator_of(phase))
        logits = discriminator.logits(torch.cat([real, fake])).chunk(2)
        return self.config.discriminator_weight * self.objective.discriminator(*logits)

    def prepare(self, stats: DataStats) -> None:
        """Let each D see deviations from the mean of the data."""
        super().prepare(stats)
        for network in self.children():
            if isinstance(network, LeakyDiscriminator):
                network.mean.copy_(stats.mean.flatten())

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,), without the price of gradients."""
        discriminator = cast("LeakyDiscriminator", self.discriminator_of_now())
        return discriminator.logits(self.real(x))
