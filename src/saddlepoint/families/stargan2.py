"""StarGAN v2 of 2020: translation into a domain in many styles, drawn from noise or taken from a reference image.

Source: Choi et al. 2020, "StarGAN v2: Diverse Image Synthesis for Multiple Domains", and the code released with it.
Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.family import (
    Batch,
    Conditional,
    Context,
    DataSpec,
    DataStats,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    Guided,
    OptimizerSpec,
    Phase,
    Prepared,
    Remediable,
    Simultaneous,
    Sized,
    Stage,
    Tags,
    Terms,
    register,
)
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.translation import Examples, LabelSets
from saddlepoint.nn.augment import flip
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.normalise import StyledNorm
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised, squared_gradient_norm
from saddlepoint.objectives.schedules import linear_fall
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

_HALF = 0.5**0.5
_SHARED = 4
_OWN = 3
"""Layers of the mapping network that all domains share, and hidden ones of each domain's own."""


@dataclass(frozen=True)
class StarGAN2Config(FamilyConfig):
    """Networks, losses and optimizer of StarGAN v2."""

    batch_size: int = option(8, "samples per minibatch")
    latent_size: int = option(16, "dimensions of z")
    style_size: int = option(64, "dimensions of a style")
    width: int = option(64, "channels at full resolution; they double with every halving")
    max_width: int = option(512, "channels beyond which they do not double")
    halvings: int = option(4, "halvings in G")
    blocks: int = option(2, "residual blocks of G at its lowest resolution without a style; as many follow with one")
    style_width: int = option(512, "hidden units of the mapping network")
    output_norm: bool = option(True, "normalise each map before G's last convolution, which then knows no mean of them")
    bounded: bool = option(False, "tanh of G's images, which are not bounded otherwise")
    discriminator: str = option(
        "residual", "D's blocks: residual, or one strided convolution each", choices=("residual", "strided")
    )
    discriminator_width: int = option(32, "channels after the first of the strided convolutions; they double, too")
    objective: str = option(
        "non-saturating",
        "the game; of pairs with a strided D: a translation and a reference image of its domain",
        choices=tuple(OBJECTIVES),
    )
    simultaneous: bool = option(False, "update both players at once, from the same minibatch and noise")
    r1_gamma: float = option(1.0, "weight of gamma/2 ||grad D||^2 on real images; 0: off")
    r2_gamma: float = option(0.0, "weight of gamma/2 ||grad D||^2 on translated images; 0: off")
    style: float = option(1.0, "weight of the error of the style that the encoder reads from a translation")
    diversity: float = option(
        1.0, "weight of the mean absolute difference of two styles' images, which G shall make large"
    )
    diversity_fall_kimg: float | None = option(
        800.0, "thousands of samples in which that weight falls to 0 along a line; none: it stays"
    )
    cycle: float = option(1.0, "weight of the mean absolute error of an image translated there and back")
    references: bool = option(True, "train with styles of reference images in turn with those of noise")
    flip: bool = option(False, "mirror half of the images")
    lr: float = option(1e-4, "adam's learning rate")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    mapping_lr: float = option(0.01, "learning rate of the mapping network as a multiple of the others'")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")
    weight_decay: float = option(1e-4, "L2 penalty on all weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("latent_size", "style_size", "width", "max_width", "halvings", "blocks", "style_width")
        for name in (*sizes, "discriminator_width"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("lr", "discriminator_lr", "mapping_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        fall = self.diversity_fall_kimg
        check(fall is None or fall > 0, "diversity_fall_kimg", fall, "positive, or none")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("r1_gamma", "r2_gamma", "style", "diversity", "cycle", "weight_decay"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        if self.discriminator != "strided":
            plain = not get_objective(self.objective).paired
            check(plain, "objective", self.objective, "one without pairs, or the discriminator strided")
            check(not self.simultaneous, "simultaneous", True, "false, or the discriminator strided")

    def channels(self, halvings: int) -> int:
        """Return the channels after some halvings."""
        return min(self.max_width, self.width << halvings)


class Block(nn.Module):
    """A residual block with its activations first, divided by sqrt(2): plain, half the size, or twice the size.

    Args:
        inputs, outputs: channels.
        norm: whether each map is normalised.
        style: numbers that the normalisation depends on; 0: none.
        resample: what happens to the size.
    """

    def __init__(
        self, inputs: int, outputs: int, *, norm: bool, style: int = 0, resample: Literal["", "down", "up"] = ""
    ) -> None:
        super().__init__()
        middle = outputs if style else inputs
        # What is normalised next needs no offset.
        self.first = nn.Conv2d(inputs, middle, 3, 1, 1, bias=not norm)
        self.second = nn.Conv2d(middle, outputs, 3, 1, 1, bias=not norm)
        self.norms = nn.ModuleList(StyledNorm(width, style) for width in (inputs, middle)) if norm else None
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.resample = resample

    def forward(self, x: Images, style: Tensor | None = None) -> Images:
        """Return (shortcut(x) + residual(x, style)) / sqrt(2)."""
        h = F.leaky_relu(x if self.norms is None else self.norms[0](x, style), SLOPE)
        up, down = self.resample == "up", self.resample == "down"
        h = self.first(F.interpolate(h, scale_factor=2.0, mode="nearest") if up else h)
        h = F.avg_pool2d(h, 2) if down else h
        h = self.second(F.leaky_relu(h if self.norms is None else self.norms[1](h, style), SLOPE))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if up else x
        x = x if self.shortcut is None else self.shortcut(x)
        return ((F.avg_pool2d(x, 2) if down else x) + h) * _HALF


class Generator(nn.Module):
    """Image -> blocks that halve -> blocks without, then with a style -> blocks with a style that double -> image."""

    def __init__(self, config: StarGAN2Config, channels: int) -> None:
        super().__init__()
        c, lowest = config, config.channels(config.halvings)
        self.input = nn.Conv2d(channels, c.width, 3, 1, 1, bias=False)
        down = [Block(c.channels(i), c.channels(i + 1), norm=True, resample="down") for i in range(c.halvings)]
        self.encode = nn.ModuleList([*down, *(Block(lowest, lowest, norm=True) for _ in range(c.blocks))])
        same = (Block(lowest, lowest, norm=True, style=c.style_size) for _ in range(c.blocks))
        up = (
            Block(c.channels(i + 1), c.channels(i), norm=True, style=c.style_size, resample="up")
            for i in reversed(range(c.halvings))
        )
        self.decode = nn.ModuleList([*same, *up])
        self.norm = StyledNorm(c.width) if c.output_norm else nn.Identity()
        self.output = nn.Conv2d(c.width, channels, 1)
        self.bounded = c.bounded

    def forward(self, x: Images, style: Tensor) -> Images:
        """Return translated images, limited to [-1, 1] if ``bounded``; ``style`` is (batch, style_size)."""
        h = self.input(x)
        for block in self.encode:
            h = block(h)
        for block in self.decode:
            h = block(h, style)
        found = at_least_float32(self.output(F.leaky_relu(self.norm(h), SLOPE)))
        return torch.tanh(found) if self.bounded else found


class MappingNetwork(nn.Module):
    """z -> layers that all domains share -> layers of each domain -> a style."""

    def __init__(self, config: StarGAN2Config, domains: int) -> None:
        super().__init__()
        c, width = config, config.style_width
        self.shared = nn.Sequential(*_relu_layers(c.latent_size, width, _SHARED))
        self.own = nn.ModuleList(
            nn.Sequential(*_relu_layers(width, width, _OWN), nn.Linear(width, c.style_size)) for _ in range(domains)
        )

    def forward(self, z: Latents, labels: Tensor) -> Tensor:
        """Return the styles of z in the domains asked for, (batch, style_size)."""
        h = self.shared(z)
        return _chosen(torch.stack([own(h) for own in self.own], 1), labels)


class Encoder(nn.Module):
    """Image -> blocks without normalisation that halve it -> one convolution -> numbers for each domain.

    It is the style encoder, and with one number a domain the discriminator.
    """

    def __init__(self, config: StarGAN2Config, shape: tuple[int, ...], domains: int, outputs: int) -> None:
        super().__init__()
        (high, wide), level = shape[1:], 0
        blocks: list[nn.Module] = []
        while min(high, wide) > 7:
            blocks.append(Block(config.channels(level), config.channels(level + 1), norm=False, resample="down"))
            high, wide, level = high // 2, wide // 2, level + 1
        width = config.channels(level)
        self.input = nn.Conv2d(shape[0], config.width, 3, 1, 1)
        self.blocks = nn.ModuleList(blocks)
        self.whole = nn.Conv2d(width, width, (high, wide))
        self.heads = nn.Linear(width, domains * outputs)
        self.domains = domains

    def forward(self, x: Images, labels: Tensor) -> Tensor:
        """Return the numbers of the domains asked for, (batch, outputs)."""
        return self.read(x, labels)

    def read(self, x: Images, labels: Tensor) -> Tensor:
        """As `forward`; it can be differentiated twice where `forward` is compiled."""
        h = self.input(x)
        for block in self.blocks:
            h = block(h)
        h = F.leaky_relu(self.whole(F.leaky_relu(h, SLOPE)), SLOPE).flatten(1)
        return at_least_float32(_chosen(self.heads(h).unflatten(1, (self.domains, -1)), labels))


class StridedDiscriminator(nn.Module):
    """One convolution of stride 2 with LeakyReLU after another, down to 4 pixels -> a logit for each domain.

    Piecewise linear, so that R1, R2 and G's gradient cost one more pass through it (`nn/conv.py`).
    """

    def __init__(self, config: StarGAN2Config, shape: tuple[int, ...], domains: int) -> None:
        super().__init__()
        (high, wide), widths, layers = shape[1:], [shape[0]], list[nn.Module]()
        while min(high, wide) > 4:
            widths.append(min(config.max_width, config.discriminator_width << len(layers)))
            layers.append(nn.Conv2d(widths[-2], widths[-1], (4 - high % 2, 4 - wide % 2), 2, 1))
            high, wide = (high + 1) // 2, (wide + 1) // 2
        self.layers = nn.ModuleList(layers)
        # A translation meets a real image of the same domain, so that offsets of the logits would cancel.
        self.heads = nn.Linear(widths[-1] * high * wide, domains, bias=not get_objective(config.objective).paired)

    def forward(self, x: Images, labels: Tensor) -> Tensor:
        """Return the logits of the domains asked for, (batch, 1)."""
        h = x
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
        return _chosen(at_least_float32(self.heads(h.flatten(1)))[..., None], labels)

    def with_gradients(self, x: Images, labels: Tensor) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached."""
        logits, norms, gradients = leaky_convnet(x, self.layers, self.heads.weight[labels], SLOPE)
        return logits if self.heads.bias is None else logits + self.heads.bias[labels], norms, gradients


def _relu_layers(inputs: int, width: int, count: int) -> list[nn.Module]:
    sizes = [inputs, *[width] * (count - 1)]
    return [layer for size in sizes for layer in (nn.Linear(size, width), nn.ReLU())]


def _chosen(numbers: Tensor, labels: Tensor) -> Tensor:
    return numbers[torch.arange(labels.shape[0], device=labels.device), labels]


@dataclass(frozen=True)
class Round:
    """What belongs to a minibatch: images, their domains, target domains, and two sources of style for each target."""

    real: Images
    own: Tensor
    target: Tensor
    z: tuple[Latents, Latents]
    references: tuple[Images, Images]


@register
class StarGAN2(Simultaneous, Guided, DiscriminatorLogits, Conditional, Prepared, Sized, Remediable, Family):
    """One generator whose styles come from noise or from reference images; a discriminator with a head a domain."""

    name = "stargan2"
    summary = "translation between domains in many styles (Choi et al. 2020)"
    tags = Tags(modalities=("image",), input="image", budget="20m")
    Config = StarGAN2Config
    averaged = ("generator", "mapping_network", "style_encoder")
    paper_presets = ("paper-celeba-hq-256", "paper-afhq-256")
    sizes = (16, 28, 32, 64, 128, 256)
    PRESETS: ClassVar[Mapping[str, StarGAN2Config]] = {
        # Minutes on a CPU: few channels, faster steps, styles of noise only (the encoder learns from their images),
        # translations paired with images of their domain before a D whose penalties cost one more pass.
        "tiny-32": StarGAN2Config(
            batch_size=16, style_size=32, width=16, halvings=2, blocks=1, style_width=64, output_norm=False,
            bounded=True, discriminator="strided", objective="relativistic", simultaneous=True, r1_gamma=0.2,
            r2_gamma=0.2, diversity=6.0, diversity_fall_kimg=None, references=False, cycle=10.0, lr=1e-3,
            mapping_lr=0.1, weight_decay=0.0, ema_ramp=0.1,
        ),
        # 100,000 steps on batches of 8; the average's half-life is that of .999 a step.
        "paper-celeba-hq-256": StarGAN2Config(flip=True, ema_half_life_kimg=5.54),
        "paper-afhq-256": StarGAN2Config(flip=True, diversity=2.0, ema_half_life_kimg=5.54),
    }  # fmt: skip

    def __init__(self, config: StarGAN2Config, data: DataSpec) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        self.stride = step = 1 << config.halvings
        if height % step or width % step or min(height, width) < 2 * step:
            raise ConfigError(
                f"family 'stargan2' with {config.halvings} halvings takes images whose sides are multiples of {step}, "
                f"at least {2 * step}, but these are {width}x{height}; choose another --size or --halvings"
            )
        LabelSets(data)
        domains = len(data.classes)
        self.generator = Generator(config, channels)
        self.mapping_network = MappingNetwork(config, domains)
        self.style_encoder = Encoder(config, data.shape, domains, config.style_size)
        self.discriminator: Encoder | StridedDiscriminator
        if config.discriminator == "strided":
            self.discriminator = StridedDiscriminator(config, data.shape, domains)
        else:
            self.discriminator = Encoder(config, data.shape, domains, 1)
        self.examples, self.objective = Examples(data), get_objective(config.objective)

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4, for the halvings of the default preset."""
        return width % 4 == height % 4 == 0 and min(width, height) >= 8

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw He-normal weights, zero offsets; gains of normalisation are 1, or 1 plus a map of the style."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, StyledNorm) and layer.gain is not None and layer.offset is not None:
                nn.init.ones_(layer.gain)
                nn.init.zeros_(layer.offset)

    def prepare(self, stats: DataStats) -> None:
        """Keep training images that inputs are drawn from."""
        self.examples.keep(stats)

    def stages(self) -> tuple[Stage, ...]:
        """D, then G, with styles of noise and with styles of references; references move G alone."""
        players = {
            "discriminator": ("discriminator",),
            "generator": ("generator", "mapping_network", "style_encoder"),
        }
        cycle = []
        for player, trains in players.items():
            cycle.append(Phase(f"{player}-latent", trains, player))
            if self.config.references:
                cycle.append(Phase(f"{player}-reference", trains[:1], player))
        return (Stage("game", tuple(cycle), simultaneous=self.config.simultaneous),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player; the mapping network learns more slowly."""
        c = self.config
        multipliers = {"mapping_network": c.mapping_lr}
        spec = OptimizerSpec(
            "adam", lr=c.lr, betas=(c.beta1, c.beta2), weight_decay=c.weight_decay, multipliers=multipliers
        )
        return two_players(spec, c.discriminator_lr)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return the losses of both players, for each source of styles from one forward pass; a strided D has them.

        D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D.
        """
        if self.config.discriminator != "strided":
            return {}
        given, found = self._round(batch, ctx.batch_generator), dict[str, Terms]()
        network = cast("StridedDiscriminator", self.discriminator)
        for source in dict.fromkeys(phase.name.split("-")[1] for phase in phases):
            style = self._style(given, source, 0)
            fake = self.generator(given.real, style)
            pairs = torch.cat([given.references[0], fake.detach()])
            logits, norms, gradients = network.with_gradients(pairs, given.target.repeat(2))
            real_logits, fake_logits = logits.chunk(2)
            loss = self.objective.discriminator(real_logits, fake_logits)
            loss = penalised(loss, norms, self.config.r1_gamma or None, self.config.r2_gamma or None)
            logs = game_logs(real_logits, fake_logits, self.objective) if source == "latent" else {}
            found[f"discriminator-{source}"] = Terms(loss, logs)
            along = generator_loss_along(self.objective, real_logits, fake_logits, gradients.chunk(2)[1], fake)
            found[f"generator-{source}"] = self._generator_terms(along, fake, style, given, source, ctx)
        return {phase.name: found[phase.name] for phase in phases}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; targets, noise and references belong to the minibatch."""
        if together := self.losses((phase,), batch, ctx):
            return together[phase.name]
        player, source = phase.name.split("-")
        given = self._round(batch, ctx.batch_generator)
        if player == "discriminator":
            return self._discriminator_loss(given, source)
        style = self._style(given, source, 0)
        fake = self.generator(given.real, style)
        logits = self.discriminator(fake, given.target).squeeze(1)
        return self._generator_terms(self.objective.generator(logits, logits), fake, style, given, source, ctx)

    def _round(self, batch: Batch, generator: torch.Generator) -> Round:
        """Draw targets: the domains of the minibatch's images in another order, which are the references."""
        assert batch.labels is not None
        n, own = len(batch), batch.labels
        real = flip(batch.x, generator) if self.config.flip else batch.x
        order = torch.randperm(n, generator=generator, device=generator.device).to(own.device)
        target = own[order]
        # A second reference of the same domain; the first one again where the minibatch has no other.
        keys = torch.rand(n, n, generator=generator, device=generator.device).to(own.device)
        keys[torch.arange(n, device=own.device), order] -= 1
        second = keys.masked_fill(own[None] != target[:, None], -2.0).argmax(1)
        z = torch.randn(2, n, self.config.latent_size, generator=generator, device=generator.device)
        return Round(real, own, target, (z[0], z[1]), (real[order], real[second]))

    def _style(self, given: Round, source: str, number: int) -> Tensor:
        network, inputs = (
            (self.mapping_network, given.z) if source == "latent" else (self.style_encoder, given.references)
        )
        style: Tensor = network(inputs[number], given.target)
        return style

    def _discriminator_loss(self, given: Round, source: str) -> Terms:
        """Tell real from translated in each domain. Choi et al. 2020, equation 1, with R1 on real images."""
        with torch.no_grad():
            fake = self.generator(given.real, self._style(given, source, 0))
        found, penalties = [], []
        for x, labels, gamma in (
            (given.real, given.own, self.config.r1_gamma),
            (fake, given.target, self.config.r2_gamma),
        ):
            x = x.detach().requires_grad_(gamma > 0)
            network = cast("Encoder", self.discriminator).read if gamma else self.discriminator
            found.append(network(x, labels).squeeze(1))
            if gamma:
                penalties.append(gamma / 2 * squared_gradient_norm(found[-1], x))
        loss = sum(penalties, self.objective.discriminator(*found))
        return Terms(loss, game_logs(found[0], found[1], self.objective) if source == "latent" else {})

    def _generator_terms(
        self, loss: PerSample, fake: Images, style: Tensor, given: Round, source: str, ctx: Context
    ) -> Terms:
        """Beside passing for real: show the style, differ between styles, come back. Equations 2 to 4."""
        c, real = self.config, given.real
        misread = (self.style_encoder(fake, given.target) - style).abs().mean(1)
        with torch.no_grad():
            other = self.generator(real, self._style(given, source, 1))
        apart = _l1(fake, other)
        back = self.generator(fake, self.style_encoder(real, given.own))
        error, fall = _l1(back, real), c.diversity_fall_kimg
        fading = 1.0 if fall is None else linear_fall(ctx.progress.nimg, 0.0, fall)
        loss = loss + c.style * misread + c.cycle * error
        logs = {"style error": misread, "diversity": apart, "cycle error": error}
        told = {f"{name} ({source})": value.detach() for name, value in logs.items()}
        return Terms(loss - c.diversity * fading * apart, told)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return the logits (n,) of the heads of the given domains."""
        assert labels is not None
        logits: PerSample = self.discriminator(x, labels).squeeze(1)
        return logits

    def sample_inputs(self, n: int, generator: torch.Generator) -> Images:
        """Draw images among training examples: (n, channel, height, width)."""
        return self.examples.draw(n, generator)

    def generate(self, inputs: Images, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Translate images into domains in styles of z drawn from ``generator``, clipped to [-1, 1]."""
        assert labels is not None
        z = torch.randn(inputs.shape[0], self.config.latent_size, generator=generator, device=generator.device)
        images: Images = self.generator(inputs, self.mapping_network(z, labels)).clamp(-1, 1)
        return images

    def guided(self, inputs: Images, references: Images, labels: Tensor) -> Images:
        """Translate images into domains (n,) in the styles of reference images, clipped to [-1, 1]."""
        images: Images = self.generator(inputs, self.style_encoder(references, labels)).clamp(-1, 1)
        return images


def _l1(x: Images, y: Images) -> PerSample:
    return (x - y).abs().flatten(1).mean(1)
