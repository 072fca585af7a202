"""The Toronto faces in two steps, as released: a generator first, then a network that learns what to feed it.

Source: the configuration released with Goodfellow et al. 2014 for the Toronto Face Database. First G learns from
Gaussian z; then a *prior*, a network from z to z, is put before it, and both play against a fresh D.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Latents, Samples
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.families.gan.game import Game
from saddlepoint.family import Batch, Context, DataSpec, OptimizerSpec, Phase, Stage, Terms


def faces(released: GANConfig) -> GANConfig:
    """Return the preset for faces, 48 x 48: 50 epochs of G, 22 with the prior; incoming weights within 1.9365."""
    return replace(
        released, latent="normal", generator_widths=(8000, 8000), generator="relu-sigmoid", output_init="sparse",
        sigmoid_bias=-2.0, discriminator_widths=(1200, 1200), column_norm=1.9365, prior_widths=(8000,),
        train_epochs=22, lr=0.05,
    )  # fmt: skip


class Prior(nn.Module):
    """z -> ReLU layers -> sigmoid: what replaces the z of a trained generator in the second step."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        sizes = (config.latent_size, *config.prior_widths)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], config.latent_size)

    def forward(self, z: Latents) -> Latents:
        """Return (batch, latent) in (0, 1)."""
        for layer in self.hidden:
            z = F.relu(layer(z))
        return torch.sigmoid(self.output(z))  # what G is fed in place of Gaussian z


class TwoSteps(Game):
    """The game twice: for G, then for prior and G together with a fresh D."""

    averaged = ("generator", "prior")

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.prior, self.first_discriminator = Prior(config), self.build_discriminator()
        # Which step a checkpoint lies in: what G is fed depends on it.
        self.second_step: Tensor
        self.register_buffer("second_step", torch.tensor(False))
        self._of_phase: bool | None = None  # the same, in a loss

    def stages(self) -> tuple[Stage, ...]:
        """Return both steps, each with D first."""
        c = self.config
        first = Stage("first step", self.cycle("first_"), self.iterations(c.pretrain_epochs), c.simultaneous)
        game = self.cycle(trained=("prior", "generator"))  # G goes on learning, behind the prior
        return (first, Stage("game", game, self.iterations(c.train_epochs), c.simultaneous))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return those of both steps: the second begins with no momentum."""
        return self.players("first_") | self.players()

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return the losses of the step that the phases belong to."""
        with self._entered(phases[0]):
            return super().losses(phases, batch, ctx)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the loss of the step that the phase belongs to."""
        with self._entered(phase):
            return super().loss(phase, batch, ctx)

    @contextmanager
    def _entered(self, phase: Phase) -> Iterator[None]:
        # A loss goes by its phase: to look at the buffer would make an accelerator wait.
        before, self._of_phase = self._of_phase, not phase.name.startswith("first_")
        if self._of_phase:
            self.second_step.fill_(True)
        try:
            yield
        finally:
            self._of_phase = before

    @property
    def is_second(self) -> bool:
        """Whether this is the second step."""
        return bool(self.second_step) if self._of_phase is None else self._of_phase

    def generated(self, inputs: Tensor) -> Samples:
        """Return samples, in the second step of what the prior makes of z."""
        return super().generated(self.prior(inputs) if self.is_second else inputs)

    def discriminator_of(self, phase: Phase) -> nn.Module:
        """Return the first step's D, or the second's."""
        return self.first_discriminator if phase.name.startswith("first_") else super().discriminator_of(phase)

    def discriminator_of_now(self) -> nn.Module:
        """Return the D that plays now."""
        return super().discriminator_of_now() if self.is_second else self.first_discriminator

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all networks alike; the prior's output begins low, as sigmoid layers of G do."""
        super().reset_parameters(generator)
        nn.init.constant_(self.prior.output.bias, self.config.sigmoid_bias)
