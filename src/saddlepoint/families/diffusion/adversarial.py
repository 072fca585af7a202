"""A diffusion model that is trained further by a game: its samples of few evaluations against a discriminator.

    D:  softplus(D(x_1') - D(x_1)) + gamma/2 ||grad D(x_1)||^2 + gamma/2 ||grad D(x_1')||^2
    v:  softplus(D(x_1) - D(x_1')),  x_1' the end of the path of dx = v(x, t) dt from noise

The regression is gone: what teaches the network is D alone, through all evaluations that a sample takes. Begun from a
trained model (``--from``), two evaluations are enough for samples that took many. One is none to begin with: at t = 0
noise tells nothing of the data, v is E x_1 - x_0, and every sample the same mean image. Sources: Huang et al. 2024
(R3GAN), equations 2 to 4, for the game; Lin et al. 2025, "Diffusion adversarial post-training for one-step video
generation", for the idea. Deviations: no distillation before it, and a D of its own that begins at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from saddlepoint.core.types import PerSample, Samples
from saddlepoint.families.diffusion.config import DiffusionConfig
from saddlepoint.families.diffusion.model import Diffusion
from saddlepoint.family import Batch, Context, DataSpec, DiscriminatorLogits, Phase, Simultaneous, Stage, Terms
from saddlepoint.family.contract import OptimizerSpec
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.discriminators import ConvDiscriminator, LeakyDiscriminator
from saddlepoint.objectives.losses import generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side, in D."""

# Minutes on a CPU after `diffusion small`, whose network it has: `saddle train diffusion --preset game --from RUN`. D,
# which begins at random, learns ten times as fast: at its own rate v forgets what it knows before D knows anything.
GAME = DiffusionConfig(
    batch_size=16, game=True, evaluations=2, r1_gamma=0.2, r2_gamma=0.2, lr=1e-4, discriminator_lr=10.0, beta1=0.0,
    lr_decay_kimg=100.0, ema_ramp=0.1,
)  # fmt: skip


class Adversarial(Simultaneous, DiscriminatorLogits, Diffusion):
    """The regression's place is taken by a game."""

    def __init__(self, config: DiffusionConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.objective = get_objective("relativistic")
        self.discriminator = self.build_discriminator()

    def build_discriminator(self) -> ConvDiscriminator | LeakyDiscriminator:
        """Return a D that gives its input gradients with its logits."""
        c, shape = self.config, self.data.shape
        # A paired objective sees differences of logits only: an offset would never move.
        if self.data.modality == "vector":
            widths = (c.vector_width, c.vector_width)
            return LeakyDiscriminator(shape, widths, SLOPE, bias=False, classes=self.classes)
        return ConvDiscriminator(shape, c.discriminator_width, SLOPE, self.classes)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of v, at once."""
        players = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "network"))
        return (Stage("game", players, simultaneous=True),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        two = two_players(self.config.specification(), self.config.discriminator_lr)
        return {"discriminator": two["discriminator"], "network": two["generator"]}

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, labels = self.config, batch.labels if self.classes else None
        real = (batch.x - self.mean) / self.deviation
        fake = self.ends(len(batch), labels, ctx.generator)  # (batch, *sample)
        twice = None if labels is None else torch.cat([labels, labels])
        # The samples are detached: v's gradient takes the way of D's input gradients, which the penalties need anyway.
        logits, norms, gradients = self.discriminator(torch.cat([real, fake.detach()]), twice)
        real_logits, fake_logits = logits.chunk(2)
        d = penalised(self.objective.discriminator(real_logits, fake_logits), norms, c.r1_gamma, c.r2_gamma)
        g = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {
            "discriminator": Terms(d, game_logs(real_logits, fake_logits, self.objective)), "network": Terms(g),
        }  # fmt: skip

    def ends(self, n: int, labels: torch.Tensor | None, generator: torch.Generator) -> Samples:
        """Return samples as D sees them, (n, *sample), differentiable through every evaluation."""
        noise = self.sample_inputs(n, generator).unflatten(1, self.data.shape)
        return self.process.sample(self.field(labels), noise, self.config.evaluations, generator)

    def reset_parameters(self, generator: torch.Generator) -> None:
        super().reset_parameters(generator)
        self.discriminator.reset_parameters(generator)

    def logits(self, x: Samples, labels: torch.Tensor | None) -> PerSample:
        """Return D's logits (n,), which the objective determines up to a common offset."""
        return self.discriminator.logits((x - self.mean) / self.deviation, labels if self.classes else None)
