"""The game of the small presets: pairs, R1 and R2 before a D without normalisation, which gives its input gradients.

What it has beyond the paper: relativistic pairing, R1 and R2 (Huang et al. 2024, R3GAN), channels divided by their root
mean square in G, both players at once on small batches, an average of G.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from saddlepoint.core.types import Images, PerSample
from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.families.dcgan.game import SLOPE, Discriminator, Game
from saddlepoint.family import Batch, Context, Phase, Simultaneous, Terms
from saddlepoint.family.options import penalty_due
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.objectives.losses import generator_loss_along
from saddlepoint.objectives.penalties import penalised, slopes

# Minutes on a CPU: few channels, small batches (more steps an image), relativistic pairing with R1 and R2 on a D
# without normalisation (whose input gradients then cost nothing more), simultaneous steps, an average of G that needs
# no statistics.
SMALL = DCGANConfig(
    batch_size=16, latent_size=64, latent="normal", width=32, generator_norm="channel", objective="relativistic",
    r1_gamma=0.2, r2_gamma=0.2, simultaneous=True, lr=2e-3, lr_decay_kimg=300.0, beta1=0.0, beta2=0.99, ema_ramp=0.1,
)  # fmt: skip

# Labels keep the classes balanced, so the penalties may fade: as the game nears its end they would blind D.
SMALL_CONDITIONAL = replace(SMALL, conditional=True, gamma_decay_kimg=15.0, lr=2.5e-3, lr_decay_kimg=50.0)


class PlainDiscriminator(Discriminator):
    """D without normalisation: piecewise linear, so that its gradient is known in closed form (`nn/conv.py`)."""

    batch = False

    def with_gradients(self, x: Images, labels: Tensor | None) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached."""
        logits, norms, gradients = leaky_convnet(x, self.layers, self.head(labels), SLOPE)
        return self.shifted(logits), norms, gradients


class Unnormalised(Simultaneous, Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on samples (R2)."""

    def build_discriminator(self) -> PlainDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        return PlainDiscriminator(self.config, self.data, self.classes)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, labels = self.config, batch.labels if self.classes else None
        fake = self._fake(batch, ctx)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)  # (batch, channel, height, width)
        twice = None if labels is None else torch.cat([labels, labels])
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (2 batch, channel, height, width)
        pairs, (weight, step) = torch.cat([real, fake.detach()]), penalty_due(c, ctx.progress)
        logits, norms, gradients = slopes(self.discriminator.with_gradients, pairs, twice, step, ctx.generator)
        real_logits, fake_logits = logits.chunk(2)
        d = self.objective.discriminator(real_logits, fake_logits)
        if weight:  # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): R3GAN, equations 3 and 4; gamma may fade
            d = penalised(d, norms * (weight * self._fading(ctx)), c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": self._told(d, real_logits, fake_logits), "generator": Terms(g)}
