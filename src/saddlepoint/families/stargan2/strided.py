"""StarGAN v2 in minutes: each translation is paired with an image of its domain, before a D of strided convolutions.

What it has beyond the paper: R3GAN's game (Huang et al. 2024) on a D that is piecewise linear, so that its penalties
and G's gradient cost one more pass through it (`nn/conv.py`). How it was found: docs/notebook/recipes.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample, at_least_float32
from saddlepoint.families.stargan2.config import StarGAN2Config
from saddlepoint.families.stargan2.game import SLOPE, Game, of_domains
from saddlepoint.family import Batch, Context, Phase, Simultaneous, Terms
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.objectives.losses import generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.theory import game_logs

# Minutes on a CPU: few channels, faster steps, styles of noise only (the encoder learns from their images),
# translations paired with images of their domain before a D whose penalties cost one more pass.
TINY = StarGAN2Config(
    batch_size=16, style_size=32, width=16, halvings=2, blocks=1, style_width=64, output_norm=False, bounded=True,
    discriminator="strided", objective="relativistic", simultaneous=True, r1_gamma=0.2, r2_gamma=0.2, diversity=6.0,
    diversity_fall_kimg=None, references=False, cycle=10.0, lr=1e-3, mapping_lr=0.1, weight_decay=0.0, ema_ramp=0.1,
)  # fmt: skip


class StridedDiscriminator(nn.Module):
    """One convolution of stride 2 with LeakyReLU after another, down to 4 pixels -> a logit for each domain."""

    def __init__(self, config: StarGAN2Config, shape: tuple[int, ...], domains: int) -> None:
        super().__init__()
        (high, wide), widths, layers = shape[1:], [shape[0]], list[nn.Module]()
        while min(high, wide) > 4:
            widths.append(min(config.max_width, config.discriminator_width << len(layers)))
            layers.append(nn.Conv2d(widths[-2], widths[-1], (4 - high % 2, 4 - wide % 2), 2, 1))
            high, wide = (high + 1) // 2, (wide + 1) // 2
        self.layers = nn.ModuleList(layers)
        # A translation meets a real image of the same domain, so that offsets of the logits would cancel.
        self.heads = nn.Linear(widths[-1] * high * wide, domains, bias=not get_objective(config.objective).paired)

    def forward(self, x: Images, labels: Tensor) -> Tensor:
        """Return the logits of the domains asked for, (batch, 1)."""
        h = x
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
        return of_domains(at_least_float32(self.heads(h.flatten(1)))[..., None], labels)

    def with_gradients(self, x: Images, labels: Tensor) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached."""
        # Not weight[labels]: what several samples give one row would be added up in the order in which threads come.
        heads = F.embedding(labels, self.heads.weight)
        logits, norms, gradients = leaky_convnet(x, self.layers, heads, SLOPE)
        return logits if self.heads.bias is None else logits + self.heads.bias.index_select(0, labels), norms, gradients


class Strided(Simultaneous, Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on translations (R2)."""

    def build_discriminator(self, domains: int) -> StridedDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        return StridedDiscriminator(self.config, self.data.shape, domains)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, given, found = self.config, self._round(batch, ctx.batch_generator), dict[str, Terms]()
        for source in dict.fromkeys(phase.name.split("-")[1] for phase in phases):
            style = self.style(given, source, 0)
            fake = self.generator(given.real, style)  # (batch, channel, height, width)
            # The translations are detached: G's gradient takes the way of D's input gradients, which the penalties need
            # anyway. logits and norms (2 batch,), gradients (2 batch, channel, height, width)
            pairs = torch.cat([given.references[0], fake.detach()])
            logits, norms, gradients = self.discriminator.with_gradients(pairs, given.target.repeat(2))
            real_logits, fake_logits = logits.chunk(2)
            # + gamma/2 (||grad D(x)||^2 + ||grad D(G(x))||^2): R3GAN, equations 3 and 4.
            d = self.objective.discriminator(real_logits, fake_logits)
            d = penalised(d, norms, c.r1_gamma or None, c.r2_gamma or None)
            logs = game_logs(real_logits, fake_logits, self.objective) if source == "latent" else {}
            found[f"discriminator-{source}"] = Terms(d, logs)
            g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
            found[f"generator-{source}"] = self.generator_terms(g, fake, style, given, source, ctx)
        return {phase.name: found[phase.name] for phase in phases}
