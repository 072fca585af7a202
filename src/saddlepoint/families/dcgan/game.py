"""The game of DCGAN: that of 2014 on convolutions, normalised so that it can be played with Adam.

    min_G max_D V(D, G) = E_x log D(x) + E_z log(1 - D(G(z)))               (Goodfellow et al. 2014, equation 1)

Source: Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", sections 3 and 4, and the configuration released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample
from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.families.dcgan.networks import GENERATORS, Discriminator, SpectralDiscriminator
from saddlepoint.family import Batch, BatchNormalised, Conditional, Context, DataSpec, DiscriminatorLogits, Family
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.augment import Augment, adapt
from saddlepoint.nn.normalise import SpectralConv2d, recalibrate
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import squared_gradient_norm
from saddlepoint.objectives.schedules import inverse
from saddlepoint.objectives.theory import game_logs

_SETTLED = 512
"""Samples from which statistics of batch normalisation are recomputed for the averaged generator."""


class Game(DiscriminatorLogits, Conditional, BatchNormalised, Family):
    """Two convolutional players. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: DCGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional dcgan needs labels, and this data has none; leave --conditional out")
        self.generator = GENERATORS[config.generator_norm](config, data, self.classes)
        self.discriminator: Any = self.build_discriminator()
        self.objective, self.augment = get_objective(config.objective), Augment(config.augment)
        self.augment_p: Tensor  # which adaptive augmentation moves
        self.register_buffer("augment_p", torch.tensor(config.augment_p))

    def build_discriminator(self) -> Discriminator:
        """Return D."""
        kind = SpectralDiscriminator if self.config.discriminator_norm == "spectral" else Discriminator
        return kind(self.config, self.data, self.classes)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of G, in turn or at once."""
        players = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "generator"))
        return (Stage("game", players, simultaneous=self.config.simultaneous),)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss; samples have the labels of the real rows."""
        fake = self._fake(batch, ctx)  # G(z): (batch, channel, height, width)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)
        if phase.name == "discriminator":
            return self._discriminator_loss(real, fake.detach(), batch.labels, ctx)
        fake_logits = self.discriminator(fake, batch.labels)
        real_logits = self.discriminator(real, batch.labels) if self.objective.paired else fake_logits
        # -log D(G(z)) in place of log(1 - D(G(z))), which saturates early: Goodfellow et al. 2014, section 3.
        return Terms(self.objective.generator(real_logits, fake_logits))

    def _discriminator_loss(self, real: Images, fake: Images, labels: Tensor | None, ctx: Context) -> Terms:
        # Real and generated samples go through D apart: batch normalisation must not mix them.
        logits, penalties = [], []
        for x, gamma in ((real, self.config.r1_gamma), (fake, self.config.r2_gamma)):
            x = x.detach().requires_grad_(gamma is not None)
            logits.append(self.discriminator(x, labels))
            if gamma is not None:  # gamma/2 ||grad D||^2; gamma may fade
                penalties.append(self._fading(ctx) * gamma / 2 * squared_gradient_norm(logits[-1], x))
        return self._told(sum(penalties, self.objective.discriminator(*logits)), *logits)

    def _told(self, loss: PerSample, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        # D's terms with what is logged. D's grip on the training rows moves p: Karras et al. 2020 (ADA), section 3.
        logs = game_logs(real_logits, fake_logits, self.objective)
        if self.config.ada_kimg is not None:
            self.augment_p.copy_(adapt(self.augment_p, real_logits, self.config.batch_size, self.config.ada_kimg))
            logs["augment p"] = self.augment_p.clone()
        return Terms(loss, logs)

    def _fake(self, batch: Batch, ctx: Context) -> Images:
        labels = batch.labels if self.classes else None
        fake: Images = self.generator(self.sample_inputs(len(batch), ctx.generator), labels)
        return fake

    def _seen(self, x: Images, ctx: Context) -> Images:
        # What D sees: of data and samples alike, in both players' steps, or G would learn to augment.
        p = self.config.augment_p if self.config.ada_kimg is None else self.augment_p
        return self.augment(x, ctx.generator, p)

    def _fading(self, ctx: Context) -> float:
        return inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player, with the same settings but for the learning rate."""
        c = self.config
        spec = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2), weight_decay=c.weight_decay)
        return two_players(spec, c.discriminator_lr)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 0.02) weights and N(1, 0.02) gains as published, or He-normal ones with a small output of D."""
        paper, d = self.config.init == "paper", self.discriminator
        for network in (self.generator, d):
            for layer in network.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                    nn.init.normal_(layer.weight, 0.0, 0.02 if paper else _he(layer), generator=generator)
                    if isinstance(bias := getattr(layer, "bias", None), Tensor):
                        nn.init.zeros_(bias)
                elif isinstance(layer, nn.BatchNorm2d):
                    nn.init.normal_(layer.weight, 1.0, 0.02 if paper else 0.0, generator=generator)
                    nn.init.zeros_(layer.bias)
                if isinstance(layer, SpectralConv2d):
                    layer.draw(generator)
        if not paper:
            nn.init.normal_(d.output.weight, 0.0, d.output.in_features**-0.5, generator=generator)
        if d.embedding is not None:
            nn.init.zeros_(d.embedding.weight)  # D begins as if it saw no label

    @property
    def classes(self) -> int:
        """How many classes samples can be asked for."""
        return len(self.data.classes) if self.config.conditional else 0

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,); a paired objective determines them up to a common offset."""
        logits: PerSample = self.discriminator(x, labels)
        return logits

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z: (n, latent_size), on the generator's device."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return torch.rand(shape, generator=generator, device=device) * 2 - 1

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), of the classes asked for where the GAN is conditional."""
        images: Images = self.generator(inputs, labels)
        return images

    def recalibrate_batch_norm(self, generator: torch.Generator) -> None:
        """Gather the statistics of G's batch normalisation from samples of the averaged weights."""
        z, labels = self.sample_inputs(_SETTLED, generator), self.sample_labels(_SETTLED, generator)
        recalibrate(self.generator, lambda: self.generator(z, labels))


def _he(layer: nn.Module) -> float:
    # The deviation of He et al. 2015 for a layer whose input went through ReLU or LeakyReLU.
    if isinstance(layer, nn.ConvTranspose2d):
        # An output of stride 2 sees a quarter of the kernel.
        return (2.0 / (layer.in_channels * layer.kernel_size[0] ** 2 / 4)) ** 0.5
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)  # type: ignore[arg-type]
    return (2.0 / fan_in) ** 0.5
