"""The game of the default presets: R3GAN's, between dense networks whose penalties cost one pass more.

What differs from the paper: two dense 3x3 convolutions in a block, where a CPU is slow at groups; both players at once,
from the same minibatch and noise; small minibatches, hidden convolutions trained by Muon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample
from saddlepoint.families.r3gan.config import R3GANConfig
from saddlepoint.families.r3gan.game import SLOPE, Discriminator, Game, Generator
from saddlepoint.family import Batch, Context, Phase, Simultaneous, Terms
from saddlepoint.nn.conv import LinearConv, Residual, leaky_convnet
from saddlepoint.nn.layers import Conv2d
from saddlepoint.nn.resized import DoubledConv2d, HalvedConv2d
from saddlepoint.nn.sizes import Sizes
from saddlepoint.objectives.losses import generator_loss_along
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.theory import game_logs

# Minutes on a CPU: few channels, small batches (more steps an image), an average over a tenth of the training. Muon
# learns from an image what Adam learns from two; its steps have one size whatever the gradient's, so the rate falls.
TINY = R3GANConfig(
    batch_size=16, widths=(64, 64, 32, 16), blocks=1, block="dense", expansion=1, simultaneous=True, r1_gamma=0.2,
    r2_gamma=0.2, optimizer="muon", lr=5e-4, lr_decay_kimg=20.0, ema_ramp=0.1,
)  # fmt: skip


class DenseBlock(nn.Module):
    """x + two 3x3 convolutions with LeakyReLU between."""

    def __init__(self, width: int, config: R3GANConfig) -> None:
        super().__init__()
        inside = width * config.expansion
        self.first = Conv2d(width, inside, 3, padding=1)
        self.last = Conv2d(inside, width, 3, padding=1, bias=False)

    def forward(self, x: Images) -> Images:
        return x + self.last(self.first(x, SLOPE))


class DenseGenerator(Generator):
    """G of dense blocks; each doubling is one transposed convolution."""

    block, doubled = DenseBlock, DoubledConv2d


class DenseDiscriminator(Discriminator):
    """D of dense blocks; each halving is one convolution. Piecewise linear, so that its gradient is known."""

    block, halved = DenseBlock, HalvedConv2d

    def with_gradients(self, x: Images, labels: Tensor | None) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached."""
        return leaky_convnet(x, self.parts(), self.head(labels), SLOPE)

    def parts(self) -> Sequence[LinearConv | Residual]:
        """Return convolutions and blocks in their order."""
        found: list[LinearConv | Residual] = [LinearConv(self.input)]
        sides: Iterable[tuple[Any, Any]] = zip_longest(self.stages, self.downs)
        for stage, down in sides:
            found += [Residual(block.first, block.last) for block in stage]
            found += [] if down is None else [LinearConv(down)]
        return found


class Dense(Simultaneous, Game):
    """The game with gamma/2 ||grad D||^2 on data (R1) and on samples (R2), in one pass of both networks."""

    def build_generator(self, levels: Sizes) -> DenseGenerator:
        return DenseGenerator(self.config, levels, self.data.shape[0], self.classes)

    def build_discriminator(self, levels: Sizes) -> DenseDiscriminator:
        return DenseDiscriminator(self.config, levels, self.data.shape[0], self.classes)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, labels = self.config, batch.labels if self.classes else None
        fake = self.generator(self.sample_inputs(len(batch), ctx.generator), labels)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)  # (batch, channel, height, width)
        twice = None if labels is None else torch.cat([labels, labels])
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (2 batch, channel, height, width)
        logits, norms, gradients = self.discriminator.with_gradients(torch.cat([real, fake.detach()]), twice)
        real_logits, fake_logits = logits.chunk(2)
        # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): equations 3 and 4.
        norms = norms * c.gamma_share(ctx.progress)
        d = penalised(self.objective.discriminator(real_logits, fake_logits), norms, c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": Terms(d, game_logs(real_logits, fake_logits, self.objective)), "generator": Terms(g)}
