"""StarGAN of 2018: one generator translates images between all domains; a discriminator tells real ones and domains.

Source: Choi et al. 2018, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation", and the code released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, PerSample, at_least_float32
from saddlepoint.family import (
    Batch,
    Conditional,
    Context,
    DataSpec,
    DataStats,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Prepared,
    Progress,
    Remediable,
    Simultaneous,
    Sized,
    Stage,
    Tags,
    Terms,
    Translator,
    register,
)
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.translation import Examples, LabelSets
from saddlepoint.nn.augment import flip
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.normalise import StyledNorm
from saddlepoint.objectives.losses import OBJECTIVES, get_objective
from saddlepoint.objectives.penalties import from_one, interpolated
from saddlepoint.objectives.schedules import linear_fall
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.01
"""Slope of LeakyReLU on the negative side, as in the released code."""

_CONDITIONS = ("input", "norm")
_TOLD = ("target", "pairs")
_SKIPS = ("none", "input", "colours")


@dataclass(frozen=True)
class StarGANConfig(FamilyConfig):
    """Networks, losses and optimizer of StarGAN."""

    batch_size: int = option(16, "samples per minibatch")
    width: int = option(64, "channels of G at full resolution; they double with each of two halvings")
    blocks: int = option(6, "residual blocks of G")
    refining: int = option(0, "residual convolutions of G at full resolution, before the last one")
    kernel: int = option(7, "side of the kernels of G's first and last convolution, odd")
    condition: str = option(
        "input", "how G is told: in maps beside the image, or in all normalisations too", choices=_CONDITIONS
    )
    told: str = option(
        "target",
        "what G is told: its target, or for each group of labels the pair of its input's class and the target's",
        choices=_TOLD,
    )
    skip: str = option(
        "none",
        "what G keeps where a mask of its own says so: nothing, its input, or its input with the colours of all pixels "
        "mapped alike, by what G is told",
        choices=_SKIPS,
    )
    colours_steps: int = option(
        0, "steps at the start in which G is nothing but the map of colours, and need not come back"
    )
    colours_lr: float = option(0.01, "adam's learning rate in these steps, for G")
    discriminator_width: int = option(
        64, "channels of D at half the side of the images; they double with every halving"
    )
    layers: int = option(6, "halvings in D, after which it judges patches and the domain")
    objective: str = option("wasserstein", "the game", choices=tuple(OBJECTIVES))
    penalty: float = option(10.0, "weight of (||grad D|| - 1)^2 between real and generated images; 0: off")
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real images; none: off")
    r1_classes: bool = option(False, "that penalty for the logits of an image's classes, too")
    classification: float = option(1.0, "weight of the cross-entropy of domains, in both players' losses")
    cycle: float = option(10.0, "weight of the mean absolute error of an image translated there and back")
    identity: float = option(
        0.0, "weight of the mean absolute change of images that happen to be sent to their own domain"
    )
    n_critic: int = option(5, "steps of D per step of G")
    simultaneous: bool = option(False, "update both players at once, from the same translations")
    init: str = option("paper", "initial weights: within 1 / sqrt(fan in), as released, or he", choices=("paper", "he"))
    flip: bool = option(False, "mirror half of the images")
    lr: float = option(1e-4, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_constant_kimg: float | None = option(
        None, "thousands of samples after which the learning rate falls to 0 along a line; none: it stays"
    )
    lr_fall_kimg: float = option(1600.0, "thousands of samples in which it falls")
    beta1: float = option(0.5, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "discriminator_width", "layers", "n_critic"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.kernel >= 1 and self.kernel % 2 == 1, "kernel", self.kernel, "odd")
        check(
            self.skip == "colours" or not self.colours_steps, "colours_steps", self.colours_steps,
            "0 unless skip is 'colours'",
        )  # fmt: skip
        for name in ("lr", "discriminator_lr", "lr_fall_kimg", "colours_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("blocks", "refining", "penalty", "classification", "cycle", "identity", "colours_steps"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("r1_gamma", "lr_constant_kimg"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")

    def learning_rate(self, at: Progress) -> float:
        """Return lr, or after ``lr_constant_kimg`` what is left of it."""
        return self.lr * linear_fall(at.nimg, self.lr_constant_kimg, self.lr_fall_kimg)


_NEARLY = 0.98
"""Share of the range that the map of colours works on: at the ends of the range atanh is infinite."""
_SMALL = 0.05
"""The map of colours starts this much smaller."""
_KEPT = 2.0
"""Logit of the share of its input that G keeps at the start."""


class Generator(nn.Module):
    """Image and target -> convolution -> two halvings -> residual blocks -> two doublings -> convolution -> tanh.

    With ``skip`` maps on the way up have those of the same side on the way down added, and the last convolution makes a
    mask, too, where G keeps its input, or its input in other colours.
    Zero padding matters: maps that are constant over the image survive instance normalisation at the edges only.
    """

    def __init__(self, config: StarGANConfig, channels: int, told: int) -> None:
        super().__init__()
        c, style = config, told if config.condition == "norm" else 0
        wide, around = 4 * c.width, c.kernel // 2
        down = [nn.Conv2d(channels + told, c.width, c.kernel, 1, around, bias=False)]
        down += [nn.Conv2d(c.width << i, c.width << (i + 1), 4, 2, 1, bias=False) for i in range(2)]
        self.down = nn.ModuleList(down)
        self.blocks = nn.ModuleList(nn.Conv2d(wide, wide, 3, 1, 1, bias=False) for _ in range(2 * c.blocks))
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide >> i, wide >> (i + 1), 4, 2, 1, bias=False) for i in range(2))
        self.refining = nn.ModuleList(nn.Conv2d(c.width, c.width, 3, 1, 1, bias=False) for _ in range(c.refining))
        widths = [c.width, 2 * c.width, wide, *[wide] * (2 * c.blocks), 2 * c.width, c.width, *[c.width] * c.refining]
        self.norms = nn.ModuleList(StyledNorm(width, style) for width in widths)
        self.output = nn.Conv2d(c.width, channels + (c.skip != "none"), c.kernel, 1, around, bias=False)
        self.skip = c.skip
        self.colours = nn.Linear(told, channels * (channels + 1)) if c.skip == "colours" else None

    def forward(self, x: Images, told: Tensor, *, bare: bool = False) -> Images:
        """Return translated images.

        Args:
            x: (batch, channel, height, width).
            told: (batch, numbers), of `LabelSets.encode` or `LabelSets.encode_pairs`.
            bare: map colours, and nothing else.
        """
        told = told.to(x.dtype)
        if bare:
            return self.recoloured(x, told)
        found = at_least_float32(self.convolved(x, told))
        if self.skip == "none":
            return torch.tanh(found)
        kept = torch.sigmoid(found[:, -1:] + _KEPT)
        return torch.lerp(torch.tanh(found[:, :-1]), self.recoloured(x, told), kept)

    def recoloured(self, x: Images, told: Tensor) -> Images:
        """Return the input, or tanh of an affine map of atanh of its colours."""
        if self.colours is None:
            return at_least_float32(x)
        maps = at_least_float32(self.colours(told)).unflatten(1, (x.shape[1], -1))
        straight = torch.atanh(at_least_float32(x) * _NEARLY).flatten(2)
        return torch.tanh(maps[:, :, :-1] @ straight + maps[:, :, -1:]).view_as(x)

    def convolved(self, x: Images, told: Tensor) -> Images:
        """Return what the layers make of the images."""
        norms = iter(self.norms)
        h = torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        fine = []
        for layer in self.down:
            h = F.relu(next(norms)(layer(h), told))
            fine.append(h)
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            inner = F.relu(next(norms)(first(h), told))
            h = h + next(norms)(second(inner), told)
        for layer, seen in zip(self.up, fine[-2::-1], strict=True):
            h = F.relu(next(norms)(layer(h), told))
            h = h if self.skip == "none" else h + seen
        for layer in self.refining:
            h = h + F.relu(next(norms)(layer(h), told))
        found: Images = self.output(h)
        return found


class Discriminator(nn.Module):
    """Convolutions of stride 2 with LeakyReLU -> a logit for each patch, whose mean judges; logits of the classes."""

    def __init__(self, config: StarGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        widths = [shape[0], *(config.discriminator_width << i for i in range(config.layers))]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.source = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        high, wide = (side >> config.layers for side in shape[1:])
        self.domain = nn.Conv2d(widths[-1], classes, (high, wide), bias=False)
        self.patches = high * wide

    def forward(self, x: Images) -> tuple[PerSample, Tensor]:
        """Return the mean logit of the patches (batch,) and logits of the classes (batch, classes).

        Of larger images than those it was built for, which translation takes, these are means over the parts of that
        size.
        """
        h = x
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
        return self.source(h).mean((1, 2, 3)), self.domain(h).mean((2, 3))

    def squared_gradient_norms(self, x: Images, labels: Tensor | None = None) -> PerSample:
        """Return ||grad_x D||^2 (batch,), differentiable in the weights.

        The network is piecewise linear, so it takes four passes a layer instead of the six of double backward.

        Args:
            x: (batch, channel, height, width).
            labels: of `LabelSets.several`; None: the gradient of the mean logit, else that of its sum with the logits
                of the classes that hold.
        """
        high, wide = (side >> len(self.layers) for side in x.shape[2:])
        even = x.new_full((1, 1, high, wide), 1 / self.patches)
        head = F.conv_transpose2d(even, self.source.weight, padding=1).flatten(1)
        if labels is not None:
            head = head + labels.clamp_min(0).to(head.dtype) @ self.domain.weight.flatten(1)
        return leaky_convnet(x, self.layers, head, SLOPE)[1]


# Minutes on a CPU: few channels, labels in every normalisation, colours first and masks that keep what need not change,
# each image paired with its translation before a D that learns twice as fast and needs no more steps, an average.
_TINY = StarGANConfig(
    width=16, blocks=3, refining=1, kernel=5, condition="norm", told="pairs", skip="colours", colours_steps=600,
    identity=10.0, discriminator_width=48, layers=3, objective="relativistic", penalty=0.0, r1_gamma=0.2, n_critic=1,
    simultaneous=True, init="he", lr=1e-3, discriminator_lr=2.0, beta1=0.0, beta2=0.99, ema_ramp=0.1,
)  # fmt: skip


@register
class StarGAN(Simultaneous, Translator, DiscriminatorLogits, Conditional, Prepared, Sized, Remediable, Family):
    """One generator for all domains, told its target; a patch discriminator with a classifier of domains."""

    name = "stargan"
    summary = "translation between domains by one generator (Choi et al. 2018)"
    tags = Tags(modalities=("image",), input="image", attributes=True, budget="20m")
    Config = StarGANConfig
    paper_presets = ("paper-celeba-128",)
    sizes = (16, 28, 32, 64, 128, 256)
    stride = 4
    PRESETS: ClassVar[Mapping[str, StarGANConfig]] = {
        "tiny-32": _TINY,
        # 200,000 steps of D on batches of 16; the learning rate falls in the second half.
        "paper-celeba-128": StarGANConfig(flip=True, lr_constant_kimg=1600.0),
    }

    def __init__(self, config: StarGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        least = max(4, 1 << config.layers)
        if height % 4 or width % 4 or min(height, width) < least:
            raise ConfigError(
                f"family 'stargan' takes images whose sides are multiples of 4 and at least {least} (for "
                f"{config.layers} layers of D), but these are {width}x{height}; choose another --size or --layers"
            )
        self.labels = LabelSets(data)
        told = self.labels.pair_width if config.told == "pairs" else self.labels.width
        self.generator = Generator(config, channels, told)
        self.discriminator = Discriminator(config, data.shape, self.labels.classes)
        self.examples, self.objective = Examples(data), get_objective(config.objective)

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4."""
        return width % 4 == height % 4 == 0 and min(width, height) >= 8

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights within 1 / sqrt(fan in), as the released code leaves them, or He-normal ones."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
                if self.config.init == "he":
                    heads = (self.discriminator.source, self.discriminator.domain, self.generator.output)
                    gain = 1.0 if layer in heads or isinstance(layer, nn.Linear) else 2.0
                    nn.init.normal_(layer.weight, 0.0, (gain / fan_in) ** 0.5, generator=generator)
                else:
                    nn.init.uniform_(layer.weight, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
                if layer.bias is not None and self.config.init == "he":
                    nn.init.zeros_(layer.bias)
                elif layer.bias is not None:
                    nn.init.uniform_(layer.bias, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
                if layer is self.generator.colours:
                    with torch.no_grad():
                        layer.weight.mul_(_SMALL)
            elif isinstance(layer, StyledNorm) and layer.gain is not None and layer.offset is not None:
                nn.init.ones_(layer.gain)
                nn.init.zeros_(layer.offset)

    def prepare(self, stats: DataStats) -> None:
        """Keep training images that inputs are drawn from."""
        self.examples.keep(stats)

    def stages(self) -> tuple[Stage, ...]:
        """A step of D on each minibatch, and one of G on each ``n_critic``-th, with the same targets.

        Before, with ``colours_steps``, D plays against the map of colours alone.
        """
        n = self.config.n_critic
        d = Phase("discriminator", trains=("discriminator",), optimizer="discriminator")
        g = Phase("generator", trains=("generator",), optimizer="generator", every=n, offset=n - 1)
        game = Stage("game", (d, g), simultaneous=self.config.simultaneous)
        if not self.config.colours_steps:
            return (game,)
        pair = (
            Phase("colours_discriminator", trains=("discriminator",), optimizer="discriminator"),
            Phase("colours_generator", trains=("generator.colours",), optimizer="colours"),
        )
        return (Stage("colours", pair, self.config.colours_steps), game)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player, with the same settings but for the learning rate."""
        c = self.config
        adam = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))
        colours = {"colours": replace(adam, lr=c.colours_lr)} if c.colours_steps else {}
        return {**two_players(adam, c.discriminator_lr), **colours}

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return the losses of the players that are due, from one translation of the minibatch.

        Images, their mirroring and their targets belong to the minibatch.
        """
        assert batch.labels is not None
        own = self.labels.several(batch.labels)
        real = flip(batch.x, ctx.batch_generator) if self.config.flip else batch.x
        target = self.labels.shuffled(own, ctx.batch_generator)
        bare, found, real_logits = phases[0].name.startswith("colours"), dict[str, Terms](), None
        with torch.set_grad_enabled(any(phase.optimizer != "discriminator" for phase in phases)):
            fake = self.generator(real, self._told(own, target), bare=bare)
        for phase in phases:
            if phase.optimizer == "discriminator":
                found[phase.name], real_logits = self._discriminator_loss(real, fake.detach(), own, ctx)
                continue
            if real_logits is None and self.objective.paired:
                with torch.no_grad():
                    real_logits = self.discriminator(real)[0]
            loss, logs = self._passing(fake, real_logits, target)
            found[phase.name] = Terms(loss, logs) if bare else self._returning(loss, logs, real, fake, own, target)
        return found

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return one player's loss."""
        return self.losses((phase,), batch, ctx)[phase.name]

    def _told(self, own: Tensor, target: Tensor) -> Tensor:
        """Return what G is told of images that are ``own`` and shall be ``target``."""
        return self.labels.encode_pairs(own, target) if self.config.told == "pairs" else self.labels.encode(target)

    def _discriminator_loss(self, real: Images, fake: Images, own: Tensor, ctx: Context) -> tuple[Terms, PerSample]:
        """Tell real from translated, name the domain of real ones. Choi et al. 2018, equations 2, 5 and 8.

        Returns:
            the terms; D's logits of the real images, which a paired objective of G needs.
        """
        c = self.config
        logits, domains = self.discriminator(torch.cat([real, fake]))
        real_logits, fake_logits = logits.chunk(2)
        named = self.labels.loss(domains[: len(real)], own)
        loss = self.objective.discriminator(real_logits, fake_logits) + c.classification * named
        logs = {**game_logs(real_logits, fake_logits, self.objective), "classification D": named.detach()}
        if c.penalty:
            between = interpolated(real, fake, ctx.generator)
            # As released, that of the sum over patches.
            far = from_one(self.discriminator.patches**2 * self.discriminator.squared_gradient_norms(between))
            loss, logs["gradient penalty"] = loss + c.penalty * far, far.detach()
        if c.r1_gamma is not None:
            loss = loss + c.r1_gamma / 2 * self.discriminator.squared_gradient_norms(
                real, own if c.r1_classes else None
            )
        return Terms(loss, logs), real_logits.detach()

    def _passing(
        self, fake: Images, real_logits: PerSample | None, target: Tensor
    ) -> tuple[PerSample, dict[str, PerSample]]:
        """Pass for real and show the target; for the log what of it names domains. Equations 3 and 4.

        With colours alone there is no more to it: light on dark becomes dark on light through a picture that shows
        nothing, and who must come back from everywhere does not take that way.
        """
        logits, domains = self.discriminator(fake)
        named = self.labels.loss(domains, target)
        logs = {"classification G": named.detach(), "class accuracy": self.labels.shown(domains.detach(), target)}
        adversarial = self.objective.generator(logits if real_logits is None else real_logits, logits)
        return adversarial + self.config.classification * named, logs

    def _returning(
        self, loss: PerSample, logs: dict[str, PerSample], real: Images, fake: Images, own: Tensor, target: Tensor
    ) -> Terms:
        """Beside passing, come back unchanged: the cycle. Equation 6."""
        c = self.config
        error = (real - self.generator(fake, self._told(target, own))).abs().flatten(1).mean(1)
        loss = loss + c.cycle * error
        if c.identity:
            stays = (target == own).all(1)
            loss = loss + c.identity * stays * (real - fake).abs().flatten(1).mean(1)
        return Terms(loss, {**logs, "cycle error": error.detach()})

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's mean logit of the patches (n,); it does not read labels."""
        logits: PerSample = self.discriminator(x)[0]
        return logits

    def sample_inputs(self, n: int, generator: torch.Generator) -> Images:
        """Draw images among training examples: (n, channel, height, width)."""
        return self.examples.draw(n, generator)

    def generate(self, inputs: Images, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Translate images into the domains asked for; what is left open, and the input's own, are as D sees them."""
        assert labels is not None
        own = target = self.labels.several(labels)
        if self.data.labelling or self.config.told == "pairs":
            seen = self.discriminator(inputs)[1]
            target = self.labels.complete(labels, seen) if self.data.labelling else target
            own = self.labels.view(self.labels.known(target), seen)
        images: Images = self.generator(inputs, self._told(own, target))
        return images
