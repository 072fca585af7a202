"""The game of the default presets: pairs, with R1 and R2 in every step, before a D that gives its input gradients.

What it has beyond the paper: R3GAN's game (Huang et al. 2024) on a D of strided convolutions. It is piecewise linear,
so that its penalties and G's gradient cost one more pass through it (`nn/conv.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from saddlepoint.families.stylegan.config import StyleGANConfig
from saddlepoint.families.stylegan.game import Game
from saddlepoint.family import Batch, Context, Phase, Simultaneous, Terms
from saddlepoint.family.options import penalty_due
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.style import StridedDiscriminator, widths_of
from saddlepoint.objectives.losses import generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised, slopes

# Minutes on a CPU: R3GAN's game (pairs, R1 and R2) on a D whose penalties cost one more pass, both players at once,
# small minibatches (more steps an image), tanh (pictures with much black are learned in a tenth of the time), weights
# as they act (wide layers learn ten times as fast; without the warm-up photographs drive G into the ends of tanh, where
# it stays), no path lengths (they hold G back for longer than there is time), averages over a tenth of the training.
TINY = StyleGANConfig(
    batch_size=16, latent_size=64, w_size=128, mapping_depth=4, width=16, max_width=128, bounded=True,
    discriminator="strided", deviation_group=0, equalised=False, mixing=0.1, objective="relativistic",
    simultaneous=True, r1_gamma=0.2, r2_gamma=0.2, penalty_every=1, path_weight=0.0, path_every=16, lr=2e-3,
    warm_up_kimg=10.0, lr_decay_kimg=300.0, ema_ramp=0.1,
)  # fmt: skip


class Strided(Simultaneous, Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on samples (R2) in every step."""

    def build_discriminator(self, levels: Sizes) -> StridedDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        c = self.config
        widths = widths_of(2 * c.width, c.max_width, len(levels))
        # A paired objective sees differences of logits only: an offset would never move.
        offset = not get_objective(c.objective).paired
        return StridedDiscriminator(
            self.data.shape[0], levels, widths, self.classes, c.mapping_depth, offset=offset
        )  # fmt: skip

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, labels = self.config, self._labels(batch)
        fake = self._fake(len(batch), labels, ctx, average=True)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)  # (batch, channel, side, side)
        twice = None if labels is None else torch.cat([labels, labels])
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (2 batch, channel, side, side)
        pairs, (weight, step) = torch.cat([real, fake.detach()]), penalty_due(c, ctx.progress)
        logits, norms, gradients = slopes(self.discriminator.with_gradients, pairs, twice, step, ctx.generator)
        real_logits, fake_logits = logits.chunk(2)
        d = self.objective.discriminator(real_logits, fake_logits)
        if weight:  # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): R3GAN, equations 3 and 4
            d = penalised(d, norms * weight, c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": self._told(d, real_logits, fake_logits), "generator": Terms(g)}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss, or the path lengths'."""
        if phase.name == "path length":
            return super().loss(phase, batch, ctx)
        return self.losses((phase,), batch, ctx)[phase.name]
