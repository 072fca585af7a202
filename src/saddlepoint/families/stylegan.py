"""StyleGAN2 with adaptive augmentation: a generator that is steered by styles, layer by layer.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", and Karras et al. 2020, "Training
Generative Adversarial Networks with Limited Data". Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.family import (
    Batch,
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
    StyleSpace,
    SuitsData,
    Tags,
    Terms,
    register,
)
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import lazily
from saddlepoint.nn.augment import TRANSFORMS, Augment, adapt, why_augmented
from saddlepoint.nn.equalised import GAIN, EqualisedConv2d, leaky
from saddlepoint.nn.resample import blur, downsample, upsample
from saddlepoint.nn.sizes import SIZES, Sizes, sides_of, starts
from saddlepoint.nn.style import (
    Head,
    MappingNetwork,
    StridedDiscriminator,
    StyledLayer,
    Styles,
    ToImage,
    W,
    as_used,
    clipped,
    draw_layers,
    follow,
    mixed,
    noises,
    widths_of,
)
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import path_lengths, penalised, squared_gradient_norm
from saddlepoint.objectives.schedules import inverse_root, warm_up
from saddlepoint.objectives.theory import game_logs

FEW = 10_000
"""Training images below which they are augmented unless the options say otherwise."""

ADA_KIMG = 30.0
"""Thousands of samples in which the probability of augmentation can rise by 1 where nothing is said."""

PATH_DECAY = 0.01
"""Share of a minibatch's mean in the running mean of path lengths."""


@dataclass(frozen=True)
class StyleGANConfig(FamilyConfig):
    """Networks, game, regularisation, augmentation and optimizer of StyleGAN2."""

    batch_size: int = option(32, "samples per minibatch")
    conditional: bool = option(False, "ask for samples by label: beside z in the mapping, a projection in D")
    latent_size: int = option(512, "dimensions of z")
    w_size: int = option(512, "dimensions of w, and hidden units of the mapping")
    mapping_depth: int = option(8, "layers of the mapping from z to w")
    width: int = option(32, "channels at the side of the images; they double with every halving")
    max_width: int = option(512, "channels beyond which they do not double")
    bounded: bool = option(False, "tanh of G's images, which are not bounded otherwise")
    discriminator: str = option(
        "residual",
        "D's blocks: residual, plain, or one strided convolution each",
        choices=("residual", "plain", "strided"),
    )
    deviation_group: int = option(4, "samples whose deviation D sees in its last layers; 0: none")
    equalised: bool = option(
        True, "weights of variance 1, scaled when they are used; false: as they act, so that wide layers learn faster"
    )
    mixing: float = option(0.9, "share of the samples made with the styles of two w, in training")
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    r1_gamma: float | None = option(10.0, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on generated samples; none: off")
    penalty_every: int = option(16, "steps between two penalties of D, which then weigh so much more; 1: every step")
    path_weight: float = option(2.0, "weight of the path length regulariser; 0: off")
    path_every: int = option(4, "steps between two path length regularisations, which then weigh so much more")
    augment: tuple[str, ...] = option((), f"augmentation of what D sees, of {', '.join(TRANSFORMS)}; none: off")
    augment_p: float | None = option(None, "probability of each transform; none: 1, and with ada-kimg 0 at the start")
    ada_kimg: float | None = option(
        None, "adaptive augmentation: thousands of samples in which the probability can rise by 1; none: it stays"
    )
    lr: float = option(2e-3, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    warm_up_kimg: float | None = option(None, "thousands of samples in which the rate rises to lr; none: at once")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "w_size", "mapping_depth", "width", "max_width", "penalty_every", "path_every"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("lr", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("r1_gamma", "r2_gamma", "warm_up_kimg", "lr_decay_kimg", "ada_kimg"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        for name in ("mixing", "augment_p"):
            check(0 <= (getattr(self, name) or 0.0) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("path_weight", "deviation_group"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        Augment(self.augment)
        for name, needed in (("deviation_group", 0), ("penalty_every", 1)):
            value = getattr(self, name)
            check(self.discriminator != "strided" or value == needed, name, value, f"{needed} for a strided D")

    @property
    def penalised(self) -> bool:
        """Whether D's slope is penalised."""
        return self.r1_gamma is not None or self.r2_gamma is not None

    @property
    def first_p(self) -> float:
        """Probability of augmentation at the start; 0 without any, so that a remedy that adds it begins there."""
        return float(bool(self.augment) and self.ada_kimg is None) if self.augment_p is None else self.augment_p

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg), at first the share of the warm-up that the step completes."""
        rise = warm_up(at.nimg + self.batch_size, self.warm_up_kimg)
        return self.lr * rise * inverse_root(at.nimg, self.lr_decay_kimg)


class Generator(nn.Module):
    """z -> w (mapping); a learned constant -> blocks of two styled layers, each adding to the doubled image."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths, size = widths_of(config.width, config.max_width, len(levels)), config.w_size
        self.noise_sizes = [levels[0], *[size for size in levels[1:] for _ in range(2)]]
        self.mapping = MappingNetwork(config.latent_size, classes, size, config.mapping_depth)
        self.bounded = config.bounded
        self.constant = nn.Parameter(torch.empty(1, widths[0], *levels[0]))
        self.first = StyledLayer(widths[0], widths[0], size)
        self.ups = nn.ModuleList(StyledLayer(a, b, size, up=True) for a, b in pairwise(widths))
        self.layers = nn.ModuleList(StyledLayer(b, b, size) for b in widths[1:])
        self.images = nn.ModuleList(ToImage(width, channels, size) for width in widths)
        self.w_average: Tensor
        self.register_buffer("w_average", torch.zeros(size))

    @property
    def style_layers(self) -> int:
        """Two for each side; the layers that only write the image share those of the next block's first."""
        return 2 * len(self.images)

    def forward(self, styles: Styles, noise: list[Tensor]) -> Images:
        """Return images (batch, channel, side, side), not clipped."""
        return self.synthesis(styles, noise)

    def synthesis(self, styles: Styles, noise: list[Tensor]) -> Images:
        """Return what `forward` returns, never compiled: a gradient's gradient cannot be had from compiled code."""
        h = self.first(self.constant.expand(styles.shape[0], -1, -1, -1), styles[:, 0], noise[0])
        image = self.images[0](h, styles[:, 1])
        for k, (up, layer, to_image) in enumerate(zip(self.ups, self.layers, self.images[1:], strict=True)):
            h = up(h, styles[:, 2 * k + 1], noise[2 * k + 1])
            h = layer(h, styles[:, 2 * k + 2], noise[2 * k + 2])
            image = upsample(image) + to_image(h, styles[:, 2 * k + 3])
        return torch.tanh(image) if self.bounded else image


class Block(nn.Module):
    """Two convolutions, the second halving the side; with ``residual`` beside a filtered copy."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        shared = 0.5**0.5 if residual else 1.0
        self.conv = EqualisedConv2d(inputs, inputs, 3, amplify=GAIN)
        self.down = EqualisedConv2d(inputs, outputs, 3, stride=2, padding=0, amplify=GAIN * shared)
        self.skip = EqualisedConv2d(inputs, outputs, 1, amplify=shared, bias=False) if residual else None

    def forward(self, x: Images) -> Images:
        """Return (batch, outputs, side / 2, side / 2)."""
        h = leaky(self.down(blur(leaky(self.conv(x)), padding=2)))
        found: Images = h if self.skip is None else h + self.skip(downsample(x))
        return found


class Discriminator(nn.Module):
    """Channels from the image, blocks down to the smallest side, minibatch deviation -> one logit."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths = widths_of(config.width, config.max_width, len(levels))[::-1]
        self.input = EqualisedConv2d(channels, widths[0], 1, amplify=GAIN)
        self.blocks = nn.Sequential(
            *(Block(a, b, residual=config.discriminator == "residual") for a, b in pairwise(widths))
        )
        label = MappingNetwork(0, classes, widths[-1], config.mapping_depth) if classes else None
        size, offset = widths[-1], not get_objective(config.objective).paired
        self.head = Head(size, levels[0], config.deviation_group, amplify=GAIN, label=label, vector=size, offset=offset)

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        return self.logits(x, labels)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return what `forward` returns, never compiled: a gradient's gradient cannot be had from compiled code."""
        logits: PerSample = self.head(self.blocks(leaky(self.input(x))), labels)
        return logits


# Minutes on a CPU: R3GAN's game (pairs, R1 and R2) on a D whose penalties cost one more pass, both players at once,
# small minibatches (more steps an image), tanh (pictures with much black are learned in a tenth of the time), weights
# as they act (wide layers learn ten times as fast; without the warm-up photographs drive G into the ends of tanh, where
# it stays), no path lengths (they hold G back for longer than there is time), averages over a tenth of the training.
_TINY = StyleGANConfig(
    batch_size=16, latent_size=64, w_size=128, mapping_depth=4, width=16, max_width=128, bounded=True,
    discriminator="strided", deviation_group=0, equalised=False, mixing=0.1, objective="relativistic",
    simultaneous=True, r1_gamma=0.2, r2_gamma=0.2, penalty_every=1, path_weight=0.0, path_every=16, lr=2e-3,
    warm_up_kimg=10.0, lr_decay_kimg=300.0, ema_ramp=0.1,
)  # fmt: skip


@register
class StyleGAN(
    Simultaneous, StyleSpace, DiscriminatorLogits, Conditional, SuitsData[StyleGANConfig], Sized, Remediable, Family
):
    """Style-based generator and residual discriminator."""

    name = "stylegan"
    summary = "StyleGAN2 with adaptive augmentation (Karras et al. 2020)"
    tags = Tags(modalities=("image",), budget="25m")
    Config = StyleGANConfig
    paper_presets = ("cifar10", "paper-ffhq-256", "paper-ffhq-1024")
    sizes = SIZES
    remedies = (
        remedy.PENALTIES,
        remedy.WEAKER_PENALTIES,
        replace(remedy.AUGMENTATION, change=lambda c: _augmented(c)),
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
    )
    PRESETS: ClassVar[Mapping[str, StyleGANConfig]] = {
        "tiny-32": _TINY,
        "tiny-64": replace(_TINY, bounded=False, r1_gamma=0.5, r2_gamma=0.5, lr=5e-4),
        # The second paper's settings for CIFAR-10: as many channels at every side, plain D, neither mixing nor paths.
        "cifar10": StyleGANConfig(
            batch_size=64, mapping_depth=2, width=512, discriminator="plain", deviation_group=32, mixing=0.0,
            r1_gamma=0.01, path_weight=0.0, augment=("flip", "translation", "affine", "colour"), ada_kimg=500.0,
            lr=2.5e-3, ema_half_life_kimg=500.0, ema_ramp=0.05,
        ),
        # Configuration F of the first paper; at 256 x 256 with half the channels and gamma 1, as in the second.
        "paper-ffhq-256": StyleGANConfig(
            batch_size=64, width=64, deviation_group=8, r1_gamma=1.0, lr=2.5e-3, ema_half_life_kimg=20.0,
            augment=("flip", "translation", "affine", "colour"), ada_kimg=500.0,
        ),
        "paper-ffhq-1024": StyleGANConfig(ema_half_life_kimg=10.0),
    }  # fmt: skip

    def __init__(self, config: StyleGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional stylegan needs labels, and this data has none; leave --conditional out")
        levels = sides_of(data.shape, self.name)
        self.generator = Generator(config, levels, data.shape[0], self.classes)
        self.discriminator: Discriminator | StridedDiscriminator
        if config.discriminator == "strided":
            widths = widths_of(2 * config.width, config.max_width, len(levels))
            offset = not get_objective(config.objective).paired
            self.discriminator = StridedDiscriminator(
                data.shape[0], levels, widths, self.classes, config.mapping_depth, offset=offset
            )
        else:
            self.discriminator = Discriminator(config, levels, data.shape[0], self.classes)
        if not config.equalised:
            as_used(self)
        self.objective, self.augment = get_objective(config.objective), Augment(config.augment)
        self.augment_p: Tensor
        self.path_length: Tensor
        self.register_buffer("augment_p", torch.tensor(config.first_p))
        self.register_buffer("path_length", torch.zeros(()))

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side, doubled."""
        return starts(height, width) is not None

    @classmethod
    def suited(
        cls, config: StyleGANConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[StyleGANConfig, tuple[str, ...]]:
        """Augment where there are few images, as much as D's grip on the training rows asks for."""
        named = {"augment", "augment_p", "ada_kimg"} & set(chosen)
        if config.augment or "augment" in named or (data.rows >= FEW and not named):
            return config, ()
        kinds = ("translation", "affine", *(("colour",) if data.shape[0] >= 3 else ()))
        suited = replace(config, augment=kinds, ada_kimg=config.ada_kimg if named else ADA_KIMG)
        return suited, (why_augmented(kinds, data.rows, named, suited.ada_kimg is not None),)

    @property
    def classes(self) -> int:
        """How many classes samples can be asked for."""
        return len(self.data.classes) if self.config.conditional else 0

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 1) weights and constant; biases and the strength of noise are 0, those of styles 1."""
        for network in (self.generator, self.discriminator):
            draw_layers(network, generator)
        nn.init.normal_(self.generator.constant, generator=generator)
        for layer in self.generator.modules():
            if isinstance(layer, StyledLayer):
                nn.init.zeros_(layer.strength)
            if isinstance(layer, StyledLayer | ToImage):
                nn.init.zeros_(layer.bias)

    def stages(self) -> tuple[Stage, ...]:
        """G and its path lengths, D and its penalties: each regulariser in steps of its own, every few steps."""
        c = self.config
        cycle = [Phase("generator", ("generator",), "generator")]
        if c.path_weight:
            cycle.append(Phase("path length", ("generator",), "generator", every=c.path_every))
        cycle.append(Phase("discriminator", ("discriminator",), "discriminator"))
        if c.penalised and c.penalty_every > 1:
            cycle.append(Phase("penalty", ("discriminator",), "discriminator", every=c.penalty_every))
        return (Stage("game", tuple(cycle), simultaneous=c.simultaneous),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player, corrected for the steps that its regulariser adds."""
        c = self.config
        spec = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))
        faster = replace(spec, lr=lambda at: c.discriminator_lr * c.learning_rate(at))
        return {
            "generator": lazily(spec, c.path_every if c.path_weight else None),
            "discriminator": lazily(faster, c.penalty_every if c.penalised and c.penalty_every > 1 else None),
        }

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses from one forward pass of both networks; a strided D has them.

        D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D.
        """
        if self.config.discriminator != "strided":
            return {}
        labels = batch.labels if self.classes else None
        fake = self._fake(batch, labels, ctx, average=True)
        real, fake = self._seen(batch.x, ctx), self._seen(fake, ctx)
        twice = None if labels is None else torch.cat([labels, labels])
        network = cast("StridedDiscriminator", self.discriminator)
        # G's gradient does not go through D's graph: it follows from the input gradients that penalties need anyway.
        logits, norms, gradients = network.with_gradients(torch.cat([real, fake.detach()]), twice)
        real_logits, fake_logits = logits.chunk(2)
        loss = self.objective.discriminator(real_logits, fake_logits)
        loss = penalised(loss, norms, self.config.r1_gamma, self.config.r2_gamma)
        along = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
        return {"discriminator": self._told(loss, real_logits, fake_logits), "generator": Terms(along)}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; generated samples have the labels of the real rows."""
        labels = batch.labels if self.classes else None
        if phase.name == "path length":
            return self._path_loss(batch, labels, ctx)
        if phase.name == "penalty":
            return self._penalty(batch, labels, ctx)
        if together := self.losses((phase,), batch, ctx):
            return together[phase.name]
        fake = self._fake(batch, labels, ctx, average=phase.name == "generator")
        if phase.name == "discriminator":
            return self._discriminator_loss(batch.x, fake.detach(), labels, ctx)
        fake_logits = self.discriminator(self._seen(fake, ctx), labels)
        real_logits = fake_logits
        if self.objective.paired:
            with torch.no_grad():
                real_logits = self.discriminator(self._seen(batch.x, ctx), labels)
        return Terms(self.objective.generator(real_logits, fake_logits))

    def _fake(self, batch: Batch, labels: Tensor | None, ctx: Context, *, average: bool) -> Images:
        styles = self._styles(len(batch), labels, ctx, average=average)
        fake: Images = self.generator(styles, self._noise(len(batch), ctx.generator))
        return fake

    def _styles(self, n: int, labels: Tensor | None, ctx: Context, *, average: bool = False) -> Styles:
        """Draw w, for some of the samples two, and let the running mean follow."""
        draws = 2 if self.config.mixing else 1
        z = torch.cat([self.sample_inputs(n, ctx.generator) for _ in range(draws)])
        first, *other = self.generator.mapping(z, None if labels is None else labels.repeat(draws)).chunk(draws)
        if average:
            follow(self.generator.w_average, first)
        if not other:
            return first[:, None].expand(-1, self.w_layers, -1)
        return mixed(first, other[0], self.w_layers, self.config.mixing, ctx.generator)

    def _noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        return noises(rows, self.generator.noise_sizes, generator)

    def _seen(self, x: Images, ctx: Context) -> Images:
        """Return what D sees of the images."""
        return self.augment(x, ctx.generator, self.augment_p) if self.config.augment else x

    def _path_loss(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        """(||J' y|| - a)^2 on half a minibatch, where a is the running mean of ||J' y||."""
        n = max(1, len(batch) // 2)
        styles = self._styles(n, None if labels is None else labels[:n], ctx)
        images = self.generator.synthesis(styles, self._noise(n, ctx.generator))
        lengths = path_lengths(images, styles, ctx.generator)
        with torch.no_grad():
            self.path_length.lerp_(lengths.detach().mean().to(self.path_length.dtype), PATH_DECAY)
        off = (lengths - self.path_length).square().mean()
        return Terms(off * self.config.path_weight * self.config.path_every, {"path length": lengths.detach()})

    def _penalty(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        """R1 and R2 alone, weighted for the steps without them."""
        fake: Images | None = None
        if self.config.r2_gamma is not None:
            with torch.no_grad():
                styles = self._styles(len(batch), labels, ctx)
                fake = self._seen(self.generator.synthesis(styles, self._noise(len(batch), ctx.generator)), ctx)
        real = self._seen(batch.x, ctx)
        total = sum(self._judged(real, fake, labels)[1], at_least_float32(real).new_zeros(len(real)))
        return Terms(total * self.config.penalty_every, {"penalty": total.detach()})

    def _judged(
        self, real: Images, fake: Images | None, labels: Tensor | None
    ) -> tuple[list[PerSample], list[PerSample]]:
        """Return logits of what D saw, and gamma/2 ||grad D||^2 where there is a gamma."""
        logits, penalties = [], []
        for x, gamma in ((real, self.config.r1_gamma), (fake, self.config.r2_gamma)):
            if x is None:
                continue
            x = x.detach().requires_grad_(gamma is not None)
            logits.append(self.discriminator.logits(x, labels))
            if gamma is not None:
                penalties.append(gamma / 2 * squared_gradient_norm(logits[-1], x))
        return logits, penalties

    def _discriminator_loss(self, real: Images, fake: Images, labels: Tensor | None, ctx: Context) -> Terms:
        """Real and generated samples go through D apart: deviations within a minibatch must not mix them."""
        real, fake, penalties = self._seen(real, ctx), self._seen(fake, ctx), list[PerSample]()
        if self.config.penalised and self.config.penalty_every == 1:
            logits, penalties = self._judged(real, fake, labels)
        else:
            logits = [self.discriminator(x, labels) for x in (real, fake)]
        return self._told(sum(penalties, self.objective.discriminator(*logits)), logits[0], logits[1])

    def _told(self, loss: PerSample, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        """Return D's terms with what is logged, and move the probability of adaptive augmentation."""
        logs = game_logs(real_logits, fake_logits, self.objective)
        if self.config.ada_kimg is not None:
            grip = real_logits - fake_logits if self.objective.paired else real_logits
            self.augment_p.copy_(adapt(self.augment_p, grip, self.config.batch_size, self.config.ada_kimg))
            logs |= {"augment p": self.augment_p.clone(), "augment r": grip.detach().sign()}
        return Terms(loss, logs)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,); a paired objective determines them up to a common offset."""
        return self.discriminator.logits(x, labels if self.classes else None)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z from N(0, 1): (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), each with noise of its own."""
        styles = self.mapping(inputs, labels)[:, None].expand(-1, self.w_layers, -1)
        return clipped(self.generator(styles, self._noise(inputs.shape[0], generator)))

    @property
    def w_layers(self) -> int:
        """Two layers for each side."""
        return int(self.generator.style_layers)

    @property
    def w_average(self) -> Tensor:
        """Running mean of w, (w_size,)."""
        found: Tensor = self.generator.w_average
        return found

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> W:
        """Return w (n, w_size) of z, of the classes asked for where the GAN is conditional."""
        w: W = self.generator.mapping(inputs, labels)
        return w

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Images:
        """Return images of styles (n, w_layers, w_size); one draw of the noise serves all rows."""
        return clipped(self.generator.synthesis(styles, self._noise(1, generator)))


def _augmented(config: StyleGANConfig) -> StyleGANConfig | None:
    """Return options that augment adaptively."""
    if config.augment:
        return None
    return replace(config, augment=("translation", "affine"), augment_p=0.0, ada_kimg=ADA_KIMG)
