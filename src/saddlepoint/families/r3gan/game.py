"""The game of R3GAN: pairs, with R1 and R2 in every step, between residual networks and nothing else.

    D:  softplus(D(G(z)) - D(x)) + gamma/2 ||grad D(x)||^2 + gamma/2 ||grad D(G(z))||^2        (equations 2 to 4)
    G:  softplus(D(x) - D(G(z)))

Source: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", sections 2 and 3, and the
configuration released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.families.r3gan.config import R3GANConfig
from saddlepoint.family import Batch, Conditional, Context, DataSpec, DiscriminatorLogits, Family, Terms
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.augment import Augment
from saddlepoint.nn.layers import Conv2d
from saddlepoint.nn.resample import downsample, upsample
from saddlepoint.nn.sizes import Sizes, sides_of
from saddlepoint.nn.style import clipped
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import squared_gradient_norm
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""What keeps the variance through LeakyReLU (He et al. 2015)."""


class Block(nn.Module):
    """x + an inverted bottleneck: a 1x1 convolution, a 3x3 one in groups, a 1x1 one, LeakyReLU between."""

    def __init__(self, width: int, config: R3GANConfig) -> None:
        super().__init__()
        inside = width * config.expansion
        groups = inside // min(inside, config.group_size)
        self.first = Conv2d(width, inside, 1)
        self.middle = Conv2d(inside, inside, 3, padding=1, groups=groups)
        self.last = Conv2d(inside, width, 1, bias=False)

    def forward(self, x: Images) -> Images:
        return x + self.last(self.middle(self.first(x, SLOPE), SLOPE))


class Doubled(nn.Module):
    """A 1x1 convolution where the channels change, then twice the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.change = nn.Identity() if inputs == outputs else Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Images) -> Images:
        return upsample(self.change(x))  # first the convolution, on a quarter of the places


class Halved(nn.Module):
    """Half the side, then a 1x1 convolution where the channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.change = nn.Identity() if inputs == outputs else Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Images) -> Images:
        found: Images = self.change(downsample(x))
        return found


def widths_of(config: R3GANConfig, levels: int) -> list[int]:
    """Return the channels at each side, from the smallest."""
    given = config.widths[:levels]
    return [*given, *[given[-1]] * (levels - len(given))]


class Generator(nn.Module):
    """z (beside the label's vector) -> strengths of learned maps -> residual blocks at each side -> the image."""

    block: ClassVar[Any] = Block
    doubled: ClassVar[Any] = Doubled

    def __init__(self, config: R3GANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths, size = widths_of(config, len(levels)), config.latent_size
        self.label = nn.Linear(classes, size, bias=False) if classes else None
        self.input = nn.Linear(2 * size if classes else size, widths[0], bias=False)
        self.basis = nn.Parameter(torch.empty(widths[0], *levels[0]))
        self.stages = nn.ModuleList(
            nn.Sequential(*(self.block(width, config) for _ in range(config.blocks))) for width in widths
        )
        self.ups = nn.ModuleList(self.doubled(a, b) for a, b in pairwise(widths))
        self.output = Conv2d(widths[-1], channels, 1, bias=False)

    def forward(self, z: Latents, labels: Tensor | None) -> Images:
        """Return images (batch, channel, height, width), not bounded: a tanh is no part of this G."""
        if self.label is not None:
            z = torch.cat([z, self.label(one_hot(labels, self.label, z))], 1)
        h = self.basis * self.input(z)[:, :, None, None]  # (batch, width, 4, 4)
        h = self.stages[0](h.contiguous(memory_format=torch.channels_last))
        for up, stage in zip(self.ups, self.stages[1:], strict=True):
            h = stage(up(h))  # (batch, width, 2 side, 2 side)
        return at_least_float32(self.output(h))


class Discriminator(nn.Module):
    """G's mirror image: residual blocks at each side -> strengths of learned maps -> a logit, or one of the label."""

    block: ClassVar[Any] = Block
    halved: ClassVar[Any] = Halved

    def __init__(self, config: R3GANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths = widths_of(config, len(levels))[::-1]
        vector = widths[-1] if classes else 1
        self.input = Conv2d(channels, widths[0], 1, bias=False)
        self.stages = nn.ModuleList(
            nn.Sequential(*(self.block(width, config) for _ in range(config.blocks))) for width in widths
        )
        self.downs = nn.ModuleList(self.halved(a, b) for a, b in pairwise(widths))
        self.basis = nn.Parameter(torch.empty(widths[-1], *levels[0]))
        # A paired objective sees differences of logits only: an offset would never move.
        self.output = nn.Linear(widths[-1], vector, bias=False)
        self.label = nn.Linear(classes, vector, bias=False) if classes else None

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:  # logits (batch,)
        h = self.input(x)
        for stage, down in zip(self.stages, self.downs, strict=False):
            h = down(stage(h))  # (batch, width, side / 2, side / 2)
        h = at_least_float32(self.stages[-1](h))
        return (h.flatten(1) * self.head(labels)).sum(1)

    def head(self, labels: Tensor | None) -> Tensor:
        """Return the weights of the last maps as they act: one row for all, or with labels one row for each sample."""
        weight = self.output.weight  # (vector, width)
        if self.label is not None:
            weight = self.label(one_hot(labels, self.label, weight)) @ weight  # (batch, width)
        return (weight[:, :, None, None] * self.basis).flatten(1)


def one_hot(labels: Tensor | None, layer: nn.Linear, like: Tensor) -> Tensor:
    """Return labels as ``layer`` takes them."""
    assert labels is not None
    return F.one_hot(labels, layer.in_features).to(like.dtype)


class Game(DiscriminatorLogits, Conditional, Family):
    """Two residual players. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: R3GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional r3gan needs labels, and this data has none; leave --conditional out")
        levels = sides_of(data.shape, self.name)
        self.generator: Any = self.build_generator(levels)
        self.discriminator: Any = self.build_discriminator(levels)
        self.objective, self.augment = get_objective("relativistic"), Augment(config.augment)

    def build_generator(self, levels: Sizes) -> nn.Module:
        return Generator(self.config, levels, self.data.shape[0], self.classes)

    def build_discriminator(self, levels: Sizes) -> nn.Module:
        return Discriminator(self.config, levels, self.data.shape[0], self.classes)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of G, in turn or at once."""
        players = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "generator"))
        return (Stage("game", players, simultaneous=self.config.simultaneous),)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss; samples have the labels of the real rows."""
        labels = batch.labels if self.classes else None
        fake = self.generator(self.sample_inputs(len(batch), ctx.generator), labels)  # (batch, channel, height, width)
        if phase.name == "discriminator":
            return self._discriminator_loss(batch.x, fake.detach(), labels, ctx)
        real_logits = self.discriminator(self._seen(batch.x, ctx), labels)
        fake_logits = self.discriminator(self._seen(fake, ctx), labels)
        return Terms(self.objective.generator(real_logits, fake_logits))  # equation 2

    def _discriminator_loss(self, real: Images, fake: Images, labels: Tensor | None, ctx: Context) -> Terms:
        c, logits, penalties = self.config, list[PerSample](), list[PerSample]()
        for x, gamma in ((real, c.r1_gamma), (fake, c.r2_gamma)):
            x = x.detach().requires_grad_(gamma is not None)
            # The penalty's gradient is that in the image before it is augmented, as released.
            logits.append(self.discriminator(self._seen(x, ctx), labels))
            if gamma is not None:  # equations 3 and 4
                penalties.append(c.gamma_share(ctx.progress) * gamma / 2 * squared_gradient_norm(logits[-1], x))
        loss = sum(penalties, self.objective.discriminator(*logits))
        return Terms(loss, game_logs(logits[0], logits[1], self.objective))

    def _seen(self, x: Images, ctx: Context) -> Images:
        # What D sees: of data and samples alike, in both players' steps, or G would learn to augment.
        return self.augment(x, ctx.generator, self.config.probability(ctx.progress)) if self.config.augment else x

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return two_players(self.config.specification(), self.config.discriminator_lr)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw as Fixup does (Zhang et al. 2019): blocks begin as the identity, inner layers small."""
        for network in (self.generator, self.discriminator):
            blocks = [module for module in network.modules() if isinstance(module, network.block)]
            inner = [list(block.children()) for block in blocks]
            # L^(-1 / (2 m - 2)) for L blocks of m layers: Zhang et al. 2019, section 3; here section 3.3.
            scale = {layer: GAIN * len(blocks) ** (-1 / (2 * len(own) - 2)) for own in inner for layer in own[:-1]}
            scale |= {own[-1]: 0.0 for own in inner}
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    self._draw(layer, scale.get(layer, 1.0), generator)
            nn.init.normal_(network.basis, generator=generator)
        # A product with a whole map: its fan-in is the map's.
        self.discriminator.basis.data *= self.discriminator.basis[0].numel() ** -0.5
        if self.discriminator.label is not None:
            self._draw(self.discriminator.label, self.discriminator.label.out_features**-0.5, generator)

    def _draw(self, layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, gain: float, generator: torch.Generator) -> None:
        nn.init.normal_(layer.weight, 0.0, gain * fan_in(layer) ** -0.5, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    @property
    def classes(self) -> int:
        return len(self.data.classes) if self.config.conditional else 0

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,), which the objective determines up to a common offset."""
        return self.discriminator(x, labels if self.classes else None)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z from N(0, 1): (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), of the classes asked for where the GAN is conditional."""
        return clipped(self.generator(inputs, labels))


def fan_in(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> int:
    """Return how many numbers each output is a sum of."""
    return layer.weight[0].numel()
