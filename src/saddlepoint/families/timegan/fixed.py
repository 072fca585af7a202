"""TimeGAN without an autoencoder, for minutes: the game is played on levels and increments along fixed axes.

A level says little about the step to the next one. In principal axes of unit variance, of levels and of increments, a
critic sees small steps as well as large ones, and G makes both; there is nothing to embed, so one stage is enough.
Relativistic pairing, R1 and R2: Huang et al. 2024 (R3GAN).

With starts of the data G learns p(window | where it begins, how large its increments are): both come from training
windows, as a block bootstrap's and an autoregression's starts do, and a sample is paired with the real window that they
are of. Increments are then brought to exactly that size, along each axis: a calm week and a crisis differ a hundredfold
in it, which no network learns to the last tenth, and the critic sees increments in units of the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import PerSample, Samples
from saddlepoint.families.timegan.config import TimeGANConfig
from saddlepoint.families.timegan.game import Game, Windows
from saddlepoint.family import EXAMPLES, Batch, Context, DataStats, OptimizerSpec, Phase, Simultaneous, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.options import penalty_due
from saddlepoint.nn.categories import on_circle
from saddlepoint.nn.recurrent import Steps, affine
from saddlepoint.nn.windows import Coordinates, Critic, Part, beside, repeated
from saddlepoint.objectives.losses import generator_loss_along
from saddlepoint.objectives.penalties import penalised, slopes
from saddlepoint.objectives.schedules import inverse
from saddlepoint.objectives.theory import game_logs

LEAST_SIZE = 1e-2
"""Beside increments of unit variance: added to a size that is told, for its logarithm, and to be divided by."""

STILL = 1e-3
"""Added to the size of what G made before it is brought to another: bits of rounding are not to become a path."""

SLOPE = 0.2
"""Slope of the critic's LeakyReLU on the negative side."""

INCREMENTS = TimeGANConfig(
    batch_size=64, space="fixed", width=64, layers=2, cell="gru", latent="normal", latent_size=32, latent_shared=16,
    objective="relativistic", r1_gamma=0.1, r2_gamma=0.1, beta1=0.0, beta2=0.99, ema_ramp=0.1, start="auto",
)  # fmt: skip
"""The default preset: penalties at no cost, averages of G, starts of the data."""


class Fixed(Simultaneous, Game):
    """A recurrent G and a convolutional critic, both players at once."""

    averaged = ("generator",)

    def build(self) -> None:
        """Make coordinates, G and the critic.

        Raises:
            ConfigError: if windows that cannot are to begin as those of the data.
        """
        if self.config.start == "data" and (reason := self._why_learned()):
            raise ConfigError(f"start is data, but {reason}: take start learned, or auto")
        c, k, n, g, told = self.config, self.static, self.numbers, self.groups.features, 2 * self.known
        self.coordinates = Coordinates(n)
        placed = n if self.anchored else 0
        if self.anchored:
            self.start_examples: Tensor  # the first two steps of training windows
            self.size_examples: Tensor  # how large their increments are
            self.register_buffer("start_examples", torch.zeros(EXAMPLES, 2, n))
            self.register_buffer("size_examples", torch.zeros(EXAMPLES, n))
        self.generator = Part(
            c.width, c.cell, (self.latents + told + 2 * placed, 2 * n + g), (k, k), layers=c.layers,
            classes=self.classes, squashed=False, own=True,
        )  # fmt: skip
        # The critic sees levels and increments, how large they should be, categories, static features, the calendar,
        # and where a window ends.
        self.discriminator = Critic(
            2 * n + placed + g + k + told + 1, self.data.shape[0], c.critic_width, self.classes, SLOPE,
            # A paired objective sees differences of logits only: an offset would never move.
            bias=not self.objective.paired,
        )  # fmt: skip

    def stages(self) -> tuple[Stage, ...]:
        """One: both players at once."""
        players = tuple(Phase(name, (name,), name) for name in ("discriminator", "generator"))
        return (Stage("game", players, simultaneous=True),)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        c, data = self.config, self.read(batch.x, batch.labels)
        # A sample is of the time of the real window that it is paired with, as long, and begins where it does.
        z, noise = self.told(self._latents(len(batch), ctx.generator), data.calendar)
        place = self._place(data)
        real, fake = (self._seen(x, data, place) for x in (data.x, self._made(z, noise, data, place)))
        # The samples are detached: G's gradient takes the way of D's input gradients, which the penalties need anyway.
        # logits and norms (2 batch,), gradients (time, channel, 2 batch)
        pairs, labels = beside(real, fake.detach()), repeated(2, data.labels)[0]
        weight, step = penalty_due(c, ctx.progress)
        judge = self.discriminator.with_gradients
        logits, norms, gradients = slopes(judge, pairs, labels, step, ctx.generator, axis=2)
        real_logits, fake_logits = logits.chunk(2)
        d = self.objective.discriminator(real_logits, fake_logits)
        if weight:  # + gamma/2 (||grad D(x)||^2 + ||grad D(G(z))||^2): R3GAN, equations 3 and 4; gamma may fade
            norms = norms * (weight * inverse(ctx.progress.nimg, c.gamma_decay_kimg))
            d = penalised(d, norms, c.r1_gamma, c.r2_gamma)
        # (time, channel, batch) to (batch, time, channel)
        along = (part.permute(2, 0, 1) for part in (gradients.chunk(2, 2)[1], fake))
        g = generator_loss_along(self.objective, real_logits, fake_logits, *along)
        return {"discriminator": Terms(d, game_logs(real_logits, fake_logits, self.objective)), "generator": Terms(g)}

    def windows(self, z: Steps, noise: Steps, given: Windows) -> Steps:
        """Return G's windows, clipped to [0, 1]: no sigmoid keeps them there."""
        place = given.x[:1, given.x.shape[1] - 2 * self.numbers :] if self.anchored else None
        return self._made(z, noise, given, place).clamp(0, 1)

    def _made(self, z: Steps, noise: Steps, given: Windows, place: Steps | None) -> Steps:
        # In the data's units, with categories drawn: (time, feature, batch) without calendar.
        if place is not None:
            start, size = place.split(self.numbers, 1)
            told = torch.cat([affine(start - self.coordinates.mean, self.coordinates.level), logarithm(size)], 1)
            moving, static = z.split((z.shape[1] - self.static, self.static), 1)
            z = torch.cat([moving, told.expand(len(z), -1, -1), static], 1)
        found = self.generator(z, given.labels)
        levels, logits, static = found.split((2 * self.numbers, self.groups.features, self.static), 1)
        numbers = self.coordinates.back(levels)
        if place is not None:
            increments = self.coordinates(numbers)[:, self.numbers :]
            increments = increments * (size / (self._sizes(increments, given.mask) + STILL))
            path = self.coordinates.back(torch.cat([torch.zeros_like(increments), increments], 1))
            numbers = path - path[:1] + start
        return self.groups.drawn(numbers, logits, static, noise)

    def _place(self, data: Windows) -> Steps | None:
        # (1, 2 numbers, batch): the first step, and how large increments are along each axis
        if not self.anchored:
            return None
        numbers = data.x[:, : self.numbers]
        return torch.cat([numbers[:1], self._sizes(self.coordinates(numbers)[:, self.numbers :], data.mask)], 1)

    @staticmethod
    def _sizes(increments: Steps, mask: Tensor) -> Steps:
        # (1, number, batch): means over a window; its first step has no increment
        within = mask[1:]
        return (increments[1:].abs() * within).sum(0, keepdim=True) / within.sum(0, keepdim=True).clamp_min(1)

    def _seen(self, x: Steps, data: Windows, place: Steps | None) -> Steps:
        # What the critic sees of windows: nothing after their ends but that they have ended.
        numbers, others = x.split((self.numbers, x.shape[1] - self.numbers), 1)
        levels, increments = self.coordinates(numbers).split(self.numbers, 1)
        told = []
        if place is not None:
            size = place[:, self.numbers :]
            increments, told = increments / (size + LEAST_SIZE), [logarithm(size).expand(len(x), -1, -1)]
        parts = torch.cat([levels, increments, *told, others, on_circle(data.calendar)], 1)
        return torch.cat([parts * data.mask, data.mask.to(x.dtype)], 1)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        c = self.config
        return two_players(OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2)), c.discriminator_lr)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw G as PyTorch's recurrent layers are, and a He-normal critic."""
        self.generator.draw(generator, glorot=False)
        self.discriminator.draw(generator)

    @property
    def anchored(self) -> bool:
        """Whether windows begin, and move, as windows of the data do."""
        # Whole recordings begin in a way of their own, which G learns; a place between their first two rows is not one.
        asked = self.config.start == "data" or (self.config.start == "auto" and self.data.cut)
        return asked and not self._why_learned()

    def _why_learned(self) -> str:
        # Why windows cannot begin as those of the data, or "".
        if not self.numbers:
            return "all that changes is categories"
        if self.classes:
            return "windows have classes, and would begin as those of any class"
        if self.groups.spikes:
            # Half of what moves is the way to a frequent value and back, which G decides apart from the number.
            return "columns have frequent values, and the way to one is no increment"
        return ""

    @property
    def remembers(self) -> bool:
        """Whether inputs carry more of training windows than how long they are."""
        return self.anchored or super().remembers

    def remembered(self, chosen: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return a start between the first two steps of a training window, the size of its increments, its calendar."""
        if not self.anchored:
            return super().remembered(chosen, generator)
        first, second = self.start_examples.to(chosen.device)[chosen].unbind(1)
        # Not len(chosen): a constant to the tracer of exports.
        share = torch.rand(chosen.shape[0], 1, generator=generator, device=chosen.device)
        place = torch.cat([torch.lerp(first, second, share), self.size_examples.to(chosen.device)[chosen]], 1)
        return [place[:, None].expand(-1, self.data.shape[0], -1), *super().remembered(chosen, generator)]

    def prepare(self, stats: DataStats) -> None:
        super().prepare(stats)
        self.coordinates.fit(stats.examples[:, :, : self.numbers].permute(1, 2, 0))
        if self.anchored:
            rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
            first, place = rows[:, :2, : self.numbers], self._place(self.read(rows, None))
            assert place is not None
            self.start_examples.copy_(torch.where(first.isfinite(), first, first[:, :1]))
            self.size_examples.copy_(place[0, self.numbers :].t())

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logit of each window (n,)."""
        data = self.read(x, labels)
        return self.discriminator(self._seen(data.x, data, self._place(data)), data.labels)


def logarithm(size: Tensor) -> Tensor:
    """Return the logarithm of a size of increments, and not less than that of `LEAST_SIZE`."""
    return (size + LEAST_SIZE).log()
