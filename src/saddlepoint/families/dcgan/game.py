"""The game of DCGAN: that of 2014 on convolutions, normalised so that it can be played with Adam.

    min_G max_D V(D, G) = E_x log D(x) + E_z log(1 - D(G(z)))               (Goodfellow et al. 2014, equation 1)

Source: Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", sections 3 and 4, and the configuration released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample
from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.family import (
    Batch,
    BatchNormalised,
    Conditional,
    Context,
    DataSpec,
    DiscriminatorLogits,
    Family,
    PairLosses,
)
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.options import penalty_due, specification
from saddlepoint.nn.augment import Augment, adapt
from saddlepoint.nn.layers import Conv2d, ConvTranspose2d, Linear, tanh
from saddlepoint.nn.normalise import SpectralConv2d, recalibrate, rms_norm_leaky
from saddlepoint.nn.sizes import Sizes, proposed, starts
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import squared_slopes
from saddlepoint.objectives.schedules import inverse
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""


def resolutions(shape: tuple[int, ...]) -> Sizes:
    """Return (height, width) of the layers up to the image: by doubling, of squares of 28 also 4, 7, 14, 28.

    Raises:
        ConfigError: if the short side is not 4, 5, 6 or 7 times a power of two, from 16 to 128, or the long one cannot
            be halved as often.

    >>> resolutions((3, 32, 32)), resolutions((1, 28, 28))
    ([(4, 4), (8, 8), (16, 16), (32, 32)], [(4, 4), (7, 7), (14, 14), (28, 28)])
    >>> resolutions((3, 64, 96))
    [(4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]
    """
    _, height, width = shape
    found = starts(height, width)
    if found is None or not can_make(width, height):
        raise ConfigError(
            "family 'dcgan' makes images whose short side is 4, 5, 6 or 7 times a power of two, from 16 to 128, "
            f"and whose long side is a multiple of that power, but these are {width}x{height}; choose "
            f"--size {proposed(width, height, can_make)} or another of them"
        )
    return [(4, 4), *found] if height == width == 28 else found


def can_make(width: int, height: int) -> bool:
    """Whether there is such a list."""
    return 16 <= min(width, height) <= 128 and starts(height, width) is not None


def _widths(config: DCGANConfig, levels: int) -> list[int]:
    # Channels of the hidden layers, from the smallest up to half the side of the image.
    return [min(config.max_width, config.width << i) for i in reversed(range(levels - 1))]


class Generator(nn.Module):
    """z (with a one-hot label) -> small maps (4 x 4) -> transposed convolutions of stride 2, ReLU -> tanh."""

    batch: ClassVar[bool] = True

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)
        widths = _widths(config, len(sides))
        self.classes, self.start = classes, (widths[0], *sides[0])
        bias = not self.batch  # which batch normalisation would subtract
        self.input = Linear(config.latent_size + classes, widths[0] * sides[0][0] * sides[0][1], bias=bias)
        self.layers = nn.ModuleList(
            _upsampling(a, b, config.kernel, low, high, bias=bias)
            for (a, b), (low, high) in zip(pairwise(widths), pairwise(sides), strict=False)
        )
        self.output = _upsampling(widths[-1], data.shape[0], config.kernel, *sides[-2:], bias=True)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths) if self.batch else None

    def forward(self, z: Latents, labels: Tensor | None) -> Images:
        """Return images (batch, channel, height, width) in (-1, 1)."""
        if self.classes:
            assert labels is not None
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        h = self.input(z).unflatten(1, self.start)  # (batch, width, 4, 4)
        for number, layer in enumerate([*self.layers, self.output]):
            # All layers but the output: normalised there, samples oscillated (section 3).
            h = layer(self.unit(h, number))
        return tanh(h)

    def unit(self, h: Images, number: int) -> Images:
        """Return max(0, h) of h with mean 0 and variance 1 over the minibatch, but for a gain and an offset."""
        assert self.norms is not None
        return F.relu(self.norms[number](h))


class ChannelNormalisedGenerator(Generator):
    """G that divides by the root mean square over channels at each place: a sample depends on itself alone."""

    batch = False

    def unit(self, h: Images, number: int) -> Images:
        """Return max(0, h) of h with mean square 1 over channels."""
        return rms_norm_leaky(h, after=0.0)


GENERATORS = {"batch": Generator, "channel": ChannelNormalisedGenerator}


def _upsampling(
    inputs: int, outputs: int, kernel: int, low: tuple[int, int], high: tuple[int, int], *, bias: bool
) -> nn.ConvTranspose2d:
    # The transposed convolution of stride 2 from size `low` to `high` (2 low, or 2 low - 1).
    kernel, stride, padding = _downsampling(kernel, high)
    extra = high[0] - ((low[0] - 1) * stride - 2 * padding + kernel)
    return ConvTranspose2d(inputs, outputs, kernel, stride, padding, output_padding=extra, bias=bias)


def _downsampling(kernel: int, size: tuple[int, int]) -> tuple[int, int, int]:
    # Kernel, stride and padding of the convolution from a size to half of it, rounded up.
    kernel = 3 if kernel == 4 and size[0] % 2 else kernel
    return kernel, 2, kernel // 2 if kernel % 2 else kernel // 2 - 1


class Discriminator(nn.Module):
    """Convolutions of stride 2 with LeakyReLU down to small maps -> one logit, plus a product with the label's vector.

    The projection of the label is that of Miyato and Koyama 2018.
    """

    batch: ClassVar[bool] = True
    convolution: ClassVar[type[nn.Conv2d]] = Conv2d

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)[::-1]
        widths = [data.shape[0], *_widths(config, len(sides))[::-1]]
        self.layers = nn.ModuleList(
            self.convolution(a, b, *_downsampling(config.kernel, high))
            for (a, b), high in zip(pairwise(widths), sides[:-1], strict=True)
        )
        # The first layer has no batch normalisation, as published.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[2:]) if self.batch else None
        features = widths[-1] * sides[-1][0] * sides[-1][1]
        # A paired objective sees differences of logits only: an offset would never move.
        self.output = nn.Linear(features, 1, bias=not get_objective(config.objective).paired)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:  # logits (batch,)
        h = x
        for number, layer in enumerate(self.layers):
            h = layer(h)
            if self.norms is not None and number:
                h = self.norms[number - 1](h)
            h = F.leaky_relu(h, SLOPE)
        return self.shifted((h.flatten(1) * self.head(labels)).sum(1))

    def weight(self) -> Tensor:
        """Return the weights of the output, (1, features)."""
        return self.output.weight

    def head(self, labels: Tensor | None) -> Tensor:
        """Return them as they act: one row for all, or with labels one row for each sample."""
        if self.embedding is None:
            return self.weight()
        assert labels is not None
        return self.weight() + self.embedding(labels)  # (batch, features)

    def shifted(self, logits: PerSample) -> PerSample:
        """Return logits with the output's offset."""
        return logits if self.output.bias is None else logits + self.output.bias


class SpectralDiscriminator(Discriminator):
    """D whose every layer has spectral norm 1 (Miyato et al. 2018)."""

    batch = False
    convolution = SpectralConv2d

    def weight(self) -> Tensor:
        """Return the output's weights at norm 1."""
        return F.normalize(self.output.weight, dim=1)


_SETTLED = 512
"""Samples from which statistics of batch normalisation are recomputed for the averaged generator."""


class Game(DiscriminatorLogits, PairLosses, Conditional, BatchNormalised, Family):
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
        c, logits, penalties = self.config, list[PerSample](), list[PerSample]()
        due, step = penalty_due(c, ctx.progress)
        weight = due * self._fading(ctx)
        for x, gamma in ((real, c.r1_gamma), (fake, c.r2_gamma)):
            if gamma is None or not weight:
                logits.append(self.discriminator(x.detach(), labels))
                continue
            found, norms = squared_slopes(self.discriminator, x, labels, step, ctx.generator)
            logits.append(found)
            penalties.append(weight * gamma / 2 * norms)  # gamma/2 ||grad D||^2; gamma may fade
        return self._told(sum(penalties, self.objective.discriminator(*logits)), *logits)

    def _told(self, loss: PerSample, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        # D's terms with what is logged. D's grip on the training rows moves p: Karras et al. 2020 (ADA), section 3.
        logs = game_logs(real_logits, fake_logits, self.objective)
        if self.config.ada_kimg is not None:
            self.augment_p.copy_(adapt(self.augment_p, real_logits, self.config.batch_size, self.config.ada_kimg))
            logs["augment p"] = self.augment_p.clone()
        return Terms(loss, logs)

    def mixing(self) -> str:
        """Return why pairs cannot be told apart by these options."""
        c = self.config
        reasons = {
            f"the game is '{c.objective}', in which G reads D's logits of rows (--objective non-saturating)": (
                self.objective.paired
            ),
            "G is told labels of rows (no --conditional)": c.conditional,
            f"D is normalised by '{c.discriminator_norm}': over the minibatch, or with a state that moves as it is "
            "asked (--discriminator-norm none)": c.discriminator_norm != "none",
            "samples of one minibatch depend on one another (--generator-norm channel)": c.generator_norm == "batch",
            "R1 and R2 take gradients in the input (--r1-gamma none --r2-gamma none)": not (
                c.r1_gamma is None and c.r2_gamma is None
            ),
            "adaptive augmentation looks at D's logits of rows (--ada-kimg none)": c.ada_kimg is not None,
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)

    def pairs(self, phase: Phase, batch: Batch, ctx: Context) -> tuple[Images, Images]:
        """Return what D sees of rows and of as many samples."""
        fake = self._fake(batch, ctx)
        return self._seen(batch.x, ctx), self._seen(fake, ctx)

    def pair_losses(self, phase: Phase, real: Images, fake: Images) -> PerSample:
        """Return D's loss on pairs, (n,)."""
        logits = self.discriminator(torch.cat([real, fake]), None).chunk(2)
        return self.objective.discriminator(*logits)

    def _fake(self, batch: Batch, ctx: Context) -> Images:
        labels = batch.labels if self.classes else None
        return self.generator(self.sample_inputs(len(batch), ctx.generator), labels)

    def _seen(self, x: Images, ctx: Context) -> Images:
        # What D sees: of data and samples alike, in both players' steps, or G would learn to augment.
        p = self.config.augment_p if self.config.ada_kimg is None else self.augment_p
        return self.augment(x, ctx.generator, p)

    def _fading(self, ctx: Context) -> float:
        return inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        spec = specification(self.config, weight_decay=self.config.weight_decay)
        return two_players(spec, self.config.discriminator_lr)

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
        return len(self.data.classes) if self.config.conditional else 0

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,); a paired objective determines them up to a common offset."""
        return self.discriminator(x, labels)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z: (n, latent_size), on the generator's device."""
        shape, device = (n, self.config.latent_size), generator.device
        if self.config.latent == "normal":
            return torch.randn(shape, generator=generator, device=device)
        return torch.rand(shape, generator=generator, device=device) * 2 - 1

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), of the classes asked for where the GAN is conditional."""
        return self.generator(inputs, labels)

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
