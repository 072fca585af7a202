"""The deep convolutional GAN of 2015, as published and with what has been learned since.

Source: Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", and the configuration released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.family import (
    Batch,
    BatchNormalised,
    Conditional,
    Context,
    DataSpec,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Progress,
    Remediable,
    Simultaneous,
    Sized,
    Stage,
    SuitsData,
    Tags,
    Terms,
    register,
)
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.augment import TRANSFORMS, Augment, adapt, why_augmented
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.normalise import SpectralConv2d, recalibrate, rms_norm
from saddlepoint.nn.sizes import Sizes, proposed, starts
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised, squared_gradient_norm
from saddlepoint.objectives.schedules import inverse, inverse_root
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

FEW = 10_000
"""Training images below which they are augmented unless the options say otherwise."""

_SETTLED = 512
"""Samples from which statistics of batch normalisation are recomputed for the averaged generator."""


@dataclass(frozen=True)
class DCGANConfig(FamilyConfig):
    """Networks, game, augmentation and optimizer of the convolutional GAN."""

    batch_size: int = option(64, "samples per minibatch")
    conditional: bool = option(False, "ask for samples by label: z with a one-hot label into G, a projection in D")
    latent_size: int = option(100, "dimensions of z")
    latent: str = option("uniform", "distribution of z: uniform on (-1, 1), or normal", choices=("uniform", "normal"))
    width: int = option(64, "channels at half the side of the images; they double with every halving")
    max_width: int = option(1024, "channels beyond which they do not double")
    kernel: int = option(4, "side of the kernels of strided convolutions: 4, or 5 as published")
    generator_norm: str = option(
        "batch", "normalisation in G: over the minibatch, or at each place over channels", choices=("batch", "channel")
    )
    discriminator_norm: str = option(
        "none",
        "normalisation in D: of activations (batch), of weights (spectral), or none",
        choices=("none", "batch", "spectral"),
    )
    init: str = option("he", "initial weights: N(0, 0.02) as published, or he", choices=("paper", "he"))
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    augment: tuple[str, ...] = option(
        (), f"augmentation of all that D sees: some of {', '.join(TRANSFORMS)}; none: off"
    )
    augment_p: float = option(1.0, "probability of each transform; with ada-kimg the one at the start")
    ada_kimg: float | None = option(
        None, "adaptive augmentation: thousands of samples in which the probability can rise by 1; none: it stays"
    )
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    lr: float = option(2e-4, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.5, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")
    weight_decay: float = option(0.0, "L2 penalty on all weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "width", "max_width"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.kernel in (4, 5), "kernel", self.kernel, "4 or 5")
        for name in ("lr", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg", "ada_kimg"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        check(0 <= self.augment_p <= 1, "augment_p", self.augment_p, "in [0, 1]")
        check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        Augment(self.augment)
        check(
            self.ada_kimg is None or not get_objective(self.objective).paired,
            "objective",
            self.objective,
            "one whose logits have a meaningful sign (not relativistic) for adaptive augmentation",
        )
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        check(
            not penalised or self.discriminator_norm != "batch",
            "discriminator_norm",
            self.discriminator_norm,
            "none or spectral for R1 or R2: with batch normalisation a sample's gradient depends on the others",
        )

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)


# Minutes on a CPU: few channels, small batches (more steps an image), relativistic pairing with R1 and R2 on a D
# without normalisation (whose input gradients then cost nothing more), simultaneous steps, an average of G that needs
# no statistics.
_SMALL = DCGANConfig(
    batch_size=16, latent_size=64, latent="normal", width=32, generator_norm="channel", objective="relativistic",
    r1_gamma=0.2, r2_gamma=0.2, simultaneous=True, lr=2e-3, lr_decay_kimg=300.0, beta1=0.0, beta2=0.99, ema_ramp=0.1,
)  # fmt: skip


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
    if not _can_make(width, height):
        raise ConfigError(
            "family 'dcgan' makes images whose short side is 4, 5, 6 or 7 times a power of two, from 16 to 128, "
            f"and whose long side is a multiple of that power, but these are {width}x{height}; choose "
            f"--size {proposed(width, height, _can_make)} or another of them"
        )
    found = starts(height, width)
    assert found is not None
    return [(4, 4), *found] if height == width == 28 else found


def _can_make(width: int, height: int) -> bool:
    return 16 <= min(width, height) <= 128 and starts(height, width) is not None


def _widths(config: DCGANConfig, levels: int) -> list[int]:
    """Channels of the hidden layers, from the smallest up to half the side of the image."""
    return [min(config.max_width, config.width << i) for i in reversed(range(levels - 1))]


class Generator(nn.Module):
    """z (with a one-hot label) -> small maps (4 x 4) -> transposed convolutions of stride 2, ReLU -> tanh."""

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)
        widths = _widths(config, len(sides))
        self.classes, self.start = classes, (widths[0], *sides[0])
        batch = config.generator_norm == "batch"
        self.input = nn.Linear(config.latent_size + classes, widths[0] * sides[0][0] * sides[0][1], bias=not batch)
        self.layers = nn.ModuleList(
            _upsampling(a, b, config.kernel, low, high, bias=not batch)
            for (a, b), (low, high) in zip(pairwise(widths), pairwise(sides), strict=False)
        )
        self.output = _upsampling(widths[-1], data.shape[0], config.kernel, *sides[-2:], bias=True)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths) if batch else None

    def forward(self, z: Latents, labels: Tensor | None) -> Images:
        """Return images (batch, channel, height, width) in (-1, 1)."""
        if self.classes:
            assert labels is not None
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        h = self.input(z).unflatten(1, self.start)
        for number, layer in enumerate([*self.layers, self.output]):
            h = layer(F.relu(rms_norm(h) if self.norms is None else self.norms[number](h)))
        return torch.tanh(at_least_float32(h))


def _upsampling(
    inputs: int, outputs: int, kernel: int, low: tuple[int, int], high: tuple[int, int], *, bias: bool
) -> nn.ConvTranspose2d:
    """Return the transposed convolution of stride 2 from size ``low`` to ``high`` (2 low, or 2 low - 1)."""
    kernel = 3 if kernel == 4 and high[0] % 2 else kernel
    padding = kernel // 2 if kernel % 2 else kernel // 2 - 1
    extra = high[0] - ((low[0] - 1) * 2 - 2 * padding + kernel)
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding, output_padding=extra, bias=bias)


class Discriminator(nn.Module):
    """Convolutions of stride 2 with LeakyReLU down to small maps -> one logit, plus a product with the label's vector.

    The projection of the label is that of Miyato and Koyama 2018.
    """

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)[::-1]
        widths = [data.shape[0], *_widths(config, len(sides))[::-1]]
        self.spectral = config.discriminator_norm == "spectral"
        kind = SpectralConv2d if self.spectral else nn.Conv2d
        self.layers = nn.ModuleList(
            kind(a, b, *_downsampling(config.kernel, high))
            for (a, b), high in zip(pairwise(widths), sides[:-1], strict=True)
        )
        # The first layer has no batch normalisation, as published.
        batch = config.discriminator_norm == "batch"
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[2:]) if batch else None
        features = widths[-1] * sides[-1][0] * sides[-1][1]
        # A paired objective sees differences of logits only: an offset would never move.
        self.output = nn.Linear(features, 1, bias=not get_objective(config.objective).paired)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        h = x
        for number, layer in enumerate(self.layers):
            h = layer(h)
            if self.norms is not None and number:
                h = self.norms[number - 1](h)
            h = F.leaky_relu(h, SLOPE)
        return self._shifted((h.flatten(1) * self._head(labels)).sum(1))

    def with_gradients(self, x: Images, labels: Tensor | None) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached; for a D without norms."""
        logits, norms, gradients = leaky_convnet(x, self.layers, self._head(labels), SLOPE)
        return self._shifted(logits), norms, gradients

    def _head(self, labels: Tensor | None) -> Tensor:
        """Return the weights of the output: one row for all, or with labels one row for each sample."""
        weight = self.output.weight
        if self.spectral:
            weight = F.normalize(weight, dim=1)
        if self.embedding is None:
            return weight
        assert labels is not None
        return weight + self.embedding(labels)

    def _shifted(self, logits: PerSample) -> PerSample:
        return logits if self.output.bias is None else logits + self.output.bias


def _downsampling(kernel: int, size: tuple[int, int]) -> tuple[int, int, int]:
    """Return kernel, stride and padding of the convolution from a size to half of it, rounded up."""
    kernel = 3 if kernel == 4 and size[0] % 2 else kernel
    return kernel, 2, kernel // 2 if kernel % 2 else kernel // 2 - 1


@register
class DCGAN(
    Simultaneous, DiscriminatorLogits, Conditional, BatchNormalised, SuitsData[DCGANConfig], Sized, Remediable, Family
):
    """Convolutional generator and discriminator."""

    name = "dcgan"
    summary = "deep convolutional GAN (Radford et al. 2015)"
    tags = Tags(modalities=("image",), budget="10m")
    Config = DCGANConfig
    paper_presets = ("paper",)
    sizes = (16, 28, 32, 64, 128)
    remedies = (
        remedy.NON_SATURATING,
        replace(
            remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.discriminator_norm != "batch" else None
        ),
        remedy.WEAKER_PENALTIES,
        remedy.AUGMENTATION,
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
    )
    PRESETS: ClassVar[Mapping[str, DCGANConfig]] = {
        "small": _SMALL,
        # Labels keep the classes balanced, so the penalties may fade: as the game nears its end they would blind D.
        "small-conditional": replace(_SMALL, conditional=True, gamma_decay_kimg=15.0, lr=2.5e-3, lr_decay_kimg=50.0),
        # The paper: batch normalisation in both networks, weights from N(0, 0.02), Adam at 2e-4 with beta1 .5, batches
        # of 128; the released code: kernels of 5, 128 channels, L2 of 1e-5, z uniform.
        "paper": DCGANConfig(
            batch_size=128,
            width=128,
            kernel=5,
            discriminator_norm="batch",
            init="paper",
            weight_decay=1e-5,
        ),
    }

    def __init__(self, config: DCGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional dcgan needs labels, and this data has none; leave --conditional out")
        self.generator = Generator(config, data, self.classes)
        self.discriminator = Discriminator(config, data, self.classes)
        self.objective, self.augment = get_objective(config.objective), Augment(config.augment)
        self.augment_p: Tensor
        self.register_buffer("augment_p", torch.tensor(config.augment_p))

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side that is doubled, up to 128 pixels."""
        return _can_make(width, height)

    @classmethod
    def suited(
        cls, config: DCGANConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[DCGANConfig, tuple[str, ...]]:
        """Augment where there are few images: D would learn them by heart, and G with it."""
        named = {"augment", "augment_p", "ada_kimg"} & set(chosen)
        if "augment" in named or (data.rows >= FEW and not named):
            return config, ()
        kinds = ("translation", "cutout", *(("colour",) if data.shape[0] >= 3 else ()))
        return replace(config, augment=kinds), (why_augmented(kinds, data.rows, named),)

    @property
    def classes(self) -> int:
        """How many classes samples can be asked for."""
        return len(self.data.classes) if self.config.conditional else 0

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 0.02) weights and N(1, 0.02) gains as published, or He-normal ones with a small output of D."""
        paper = self.config.init == "paper"
        for network in (self.generator, self.discriminator):
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
            nn.init.normal_(
                self.discriminator.output.weight, 0.0, self.discriminator.output.in_features**-0.5, generator=generator
            )
        if self.discriminator.embedding is not None:
            nn.init.zeros_(self.discriminator.embedding.weight)

    def stages(self) -> tuple[Stage, ...]:
        """One step of D and one of G, in turn or at once."""
        phases = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "generator"))
        return (Stage("game", phases, simultaneous=self.config.simultaneous),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player, with the same settings but for the learning rate."""
        c = self.config
        spec = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2), weight_decay=c.weight_decay)
        return two_players(spec, c.discriminator_lr)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses from one forward pass of both networks.

        D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D.
        """
        if self.config.discriminator_norm != "none":
            return {}
        labels = batch.labels if self.classes else None
        fake = self._fake(batch, ctx)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)
        twice = None if labels is None else torch.cat([labels, labels])
        # G's gradient does not go through D's graph: it follows from the input gradients that penalties need anyway.
        logits, norms, gradients = self.discriminator.with_gradients(torch.cat([real, fake.detach()]), twice)
        real_logits, fake_logits = logits.chunk(2)
        loss = self.objective.discriminator(real_logits, fake_logits)
        loss = penalised(loss, norms * self._fading(ctx), self.config.r1_gamma, self.config.r2_gamma)
        along = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": self._told(loss, real_logits, fake_logits), "generator": Terms(along)}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss."""
        if together := self.losses((phase,), batch, ctx):
            return together[phase.name]
        fake = self._fake(batch, ctx)
        real, seen = self._seen(batch.x, ctx), self._seen(fake, ctx)
        if phase.name == "discriminator":
            return self._discriminator_loss(real, seen.detach(), batch.labels, ctx)
        fake_logits = self.discriminator(seen, batch.labels)
        real_logits = self.discriminator(real, batch.labels) if self.objective.paired else fake_logits
        return Terms(self.objective.generator(real_logits, fake_logits))

    def _fake(self, batch: Batch, ctx: Context) -> Images:
        labels = batch.labels if self.classes else None
        fake: Images = self.generator(self.sample_inputs(len(batch), ctx.generator), labels)
        return fake

    def _seen(self, x: Images, ctx: Context) -> Images:
        """Return what D sees of the images."""
        p = self.config.augment_p if self.config.ada_kimg is None else self.augment_p
        return self.augment(x, ctx.generator, p)

    def _discriminator_loss(self, real: Images, fake: Images, labels: Tensor | None, ctx: Context) -> Terms:
        """Real and generated samples go through D apart: batch normalisation must not mix them."""
        logits, penalties = [], []
        for x, gamma in ((real, self.config.r1_gamma), (fake, self.config.r2_gamma)):
            x = x.detach().requires_grad_(gamma is not None)
            logits.append(self.discriminator(x, labels))
            if gamma is not None:
                penalties.append(self._fading(ctx) * gamma / 2 * squared_gradient_norm(logits[-1], x))
        return self._told(sum(penalties, self.objective.discriminator(*logits)), *logits)

    def _fading(self, ctx: Context) -> float:
        return inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)

    def _told(self, loss: PerSample, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        """Return D's terms with what is logged, and move the probability of adaptive augmentation."""
        logs = game_logs(real_logits, fake_logits, self.objective)
        if self.config.ada_kimg is not None:
            self.augment_p.copy_(adapt(self.augment_p, real_logits, self.config.batch_size, self.config.ada_kimg))
            logs["augment p"] = self.augment_p.clone()
        return Terms(loss, logs)

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
    """Return the deviation of He et al. 2015 for a layer whose input went through ReLU or LeakyReLU."""
    if isinstance(layer, nn.ConvTranspose2d):
        # An output of stride 2 sees a quarter of the kernel.
        return (2.0 / (layer.in_channels * layer.kernel_size[0] ** 2 / 4)) ** 0.5
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)  # type: ignore[arg-type]
    return (2.0 / fan_in) ** 0.5
