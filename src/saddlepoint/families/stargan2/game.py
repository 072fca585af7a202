"""StarGAN v2 of 2020: translation into a domain in many styles, drawn from noise or taken from a reference image.

    L_adv = E log D_y(x) + E log(1 - D_y~(G(x, s~))),  s~ = F_y~(z) or E_y~(reference)      (equation 1)
    L_sty = E ||s~ - E_y~(G(x, s~))||_1                the style can be read off            (equation 2)
    L_ds  = E ||G(x, s~1) - G(x, s~2)||_1              styles differ                        (equation 3)
    L_cyc = E ||x - G(G(x, s~), E_y(x))||_1            what is no style stays               (equation 4)
    min over G, F, E, max over D: L_adv + lambda_sty L_sty - lambda_ds L_ds + lambda_cyc L_cyc

Source: Choi et al. 2020, "StarGAN v2: Diverse Image Synthesis for Multiple Domains", section 2, and the code released
with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.families.stargan2.config import StarGAN2Config
from saddlepoint.family import Batch, Conditional, Context, DataSpec, DataStats, DiscriminatorLogits, Guided, Prepared
from saddlepoint.family.contract import Family, OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.translation import Examples, LabelSets
from saddlepoint.nn.augment import flip
from saddlepoint.nn.layers import Conv2d, Linear
from saddlepoint.nn.normalise import StyledNorm
from saddlepoint.nn.resized import Resample, activated, resized, resized_convolution, summed
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import squared_gradient_norm
from saddlepoint.objectives.schedules import linear_fall
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""

_HALF = 0.5**0.5
_SHARED = 4
_OWN = 3
"""Layers of the mapping network that all domains share, and hidden ones of each domain's own."""


class Block(nn.Module):
    """A residual block with its activations first, divided by sqrt(2): plain, half the size, or twice the size.

    Args:
        inputs, outputs: channels.
        norm: whether each map is normalised.
        style: numbers that the normalisation depends on; 0: none.
        resample: what happens to the size.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: bool, style: int = 0, resample: Resample = "") -> None:
        super().__init__()
        middle = outputs if style else inputs
        # What is normalised next needs no offset.
        self.first = Conv2d(inputs, middle, 3, 1, 1, bias=not norm)
        self.second = Conv2d(middle, outputs, 3, 1, 1, bias=not norm)
        self.norms = nn.ModuleList(StyledNorm(width, style) for width in (inputs, middle)) if norm else None
        self.shortcut = Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.resample = resample

    def forward(self, x: Images, style: Tensor | None = None) -> Images:
        """Return (shortcut(x) + residual(x, style)) / sqrt(2)."""
        if self.norms is None:
            h = resized_convolution(activated(x, SLOPE), self.first, self.resample, SLOPE)
        else:
            h = resized_convolution(self.norms[0](x, style, slope=SLOPE), self.first, self.resample)
            h = self.norms[1](h, style, slope=SLOPE)
        h = self.second(h)
        return summed(resized(x, self.resample, self.shortcut), h, _HALF)  # a sum of two keeps its variance


class Generator(nn.Module):
    """Image -> blocks that halve -> blocks without, then with a style -> blocks with a style that double -> image."""

    def __init__(self, config: StarGAN2Config, channels: int) -> None:
        super().__init__()
        c, lowest = config, config.channels(config.halvings)
        self.input = Conv2d(channels, c.channels(0), 3, 1, 1, bias=False)
        down = [Block(c.channels(i), c.channels(i + 1), norm=True, resample="down") for i in range(c.halvings)]
        self.encode = nn.ModuleList([*down, *(Block(lowest, lowest, norm=True) for _ in range(c.blocks))])
        same = (Block(lowest, lowest, norm=True, style=c.style_size) for _ in range(c.blocks))
        up = (
            Block(c.channels(i + 1), c.channels(i), norm=True, style=c.style_size, resample="up")
            for i in reversed(range(c.halvings))
        )
        self.decode = nn.ModuleList([*same, *up])
        # Where they are normalised, the last convolution knows no mean of its maps.
        self.norm = StyledNorm(c.channels(0)) if c.output_norm else nn.Identity()
        self.output = Conv2d(c.channels(0), channels, 1)
        self.bounded = c.bounded

    def forward(self, x: Images, style: Tensor) -> Images:
        """Return translated images, limited to [-1, 1] if ``bounded``; ``style`` is (batch, style_size)."""
        h = self.input(x)
        for block in self.encode:  # the input's own style goes: instance normalisation
            h = block(h)
        for block in self.decode:
            h = block(h, style)  # adaptive instance normalisation
        found = at_least_float32(self.output(activated(self.norm(h), SLOPE)))
        return torch.tanh(found) if self.bounded else found


class MappingNetwork(nn.Module):
    """z -> layers that all domains share -> layers of each domain -> a style."""

    def __init__(self, config: StarGAN2Config, domains: int) -> None:
        super().__init__()
        c, width = config, config.style_width
        self.shared = nn.Sequential(*_relu_layers(c.latent_size, width, _SHARED))
        self.own = nn.ModuleList(
            nn.Sequential(*_relu_layers(width, width, _OWN), Linear(width, c.style_size)) for _ in range(domains)
        )

    def forward(self, z: Latents, labels: Tensor) -> Tensor:
        """Return the styles of z in the domains asked for, (batch, style_size)."""
        h = _through(self.shared, z)  # (batch, style_width)
        return of_domains(torch.stack([_through(own, h) for own in self.own], 1), labels)


class Encoder(nn.Module):
    """Image -> blocks without normalisation that halve it -> one convolution -> numbers for each domain.

    It is the style encoder, and with one number a domain the discriminator.
    """

    def __init__(self, config: StarGAN2Config, shape: tuple[int, ...], domains: int, outputs: int) -> None:
        super().__init__()
        (high, wide), level = shape[1:], 0
        blocks: list[nn.Module] = []
        while min(high, wide) > 7:  # to 4 pixels, or what a size that is 4 times no power of two leaves
            blocks.append(Block(config.channels(level), config.channels(level + 1), norm=False, resample="down"))
            high, wide, level = high // 2, wide // 2, level + 1
        width = config.channels(level)
        self.input = Conv2d(shape[0], config.channels(0), 3, 1, 1)
        self.blocks = nn.ModuleList(blocks)
        self.whole = Conv2d(width, width, (high, wide))
        self.heads = Linear(width, domains * outputs)  # as multi-task learning has it: one output a domain
        self.domains = domains

    def read(self, x: Images, labels: Tensor) -> Tensor:
        """Return the numbers of the domains asked for, (batch, outputs)."""
        h = self.input(x)
        for block in self.blocks:
            h = block(h)
        h = self.whole(activated(h, SLOPE), SLOPE).flatten(1)
        return at_least_float32(of_domains(self.heads(h).unflatten(1, (self.domains, -1)), labels))

    forward = read  # which is compiled on demand; `read` never is, so that it can be differentiated twice


def _relu_layers(inputs: int, width: int, count: int) -> list[nn.Module]:
    sizes = [inputs, *[width] * (count - 1)]
    return [layer for size in sizes for layer in (Linear(size, width), nn.ReLU())]


def _through(layers: nn.Module, h: Tensor) -> Tensor:
    """Return what affine maps make of rows, each with the ReLU that may follow it."""
    inner = list(layers.children())
    for layer, following in zip(inner, [*inner[1:], None], strict=True):
        if isinstance(layer, nn.Linear):
            h = layer(h, 0.0 if isinstance(following, nn.ReLU) else 1.0)
    return h


def of_domains(numbers: Tensor, labels: Tensor) -> Tensor:
    """Return what each sample's domain says: (batch, domains, numbers) and (batch,) to (batch, numbers)."""
    return numbers[torch.arange(labels.shape[0], device=labels.device), labels]


@dataclass(frozen=True)
class Round:
    """What belongs to a minibatch, so that D and G see the same."""

    real: Images  # x
    own: Tensor  # y, (batch,)
    target: Tensor  # y~, (batch,)
    z: tuple[Latents, Latents]  # two sources of style for each target: of noise,
    references: tuple[Images, Images]  # and of images


class Game(Guided, DiscriminatorLogits, Conditional, Prepared, Family):
    """Four networks, two players. Its methods stand in the order in which a step needs them."""

    averaged = ("generator", "mapping_network", "style_encoder")

    def __init__(self, config: StarGAN2Config, data: DataSpec) -> None:
        super().__init__(config, data)
        channels, height, width = data.shape
        self.stride = step = 1 << config.halvings
        if height % step or width % step or min(height, width) < 2 * step:
            raise ConfigError(
                f"family 'stargan2' with {config.halvings} halvings takes images whose sides are multiples of {step}, "
                f"at least {2 * step}, but these are {width}x{height}; choose another --size or --halvings"
            )
        LabelSets(data)  # refuses data without domains
        domains = len(data.classes)
        self.generator = Generator(config, channels)  # G
        self.mapping_network = MappingNetwork(config, domains)  # F
        self.style_encoder = Encoder(config, data.shape, domains, config.style_size)  # E
        self.discriminator: Any = self.build_discriminator(domains)
        self.examples, self.objective = Examples(data), get_objective(config.objective)

    def build_discriminator(self, domains: int) -> nn.Module:
        """Return D, which has the layers of the encoder."""
        return Encoder(self.config, self.data.shape, domains, 1)

    def stages(self) -> tuple[Stage, ...]:
        """D, then G, with styles of noise and with styles of references; references move G alone."""
        cycle = []
        for player, helpers in {"discriminator": (), "generator": ("mapping_network", "style_encoder")}.items():
            cycle.append(Phase(f"{player}-latent", (player, *helpers), player))
            if self.config.references:
                cycle.append(Phase(f"{player}-reference", (player,), player))
        return (Stage("game", tuple(cycle), simultaneous=self.config.simultaneous),)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; targets, noise and references belong to the minibatch."""
        player, source = phase.name.split("-")
        given = self._round(batch, ctx.batch_generator)
        if player == "discriminator":
            return self._discriminator_loss(given, source)
        style = self.style(given, source, 0)
        fake = self.generator(given.real, style)  # G(x, s~)
        logits = self.discriminator(fake, given.target).squeeze(1)
        return self.generator_terms(self.objective.generator(logits, logits), fake, style, given, source, ctx)

    def _discriminator_loss(self, given: Round, source: str) -> Terms:
        # Tell real from translated in each domain: equation 1, with R1 on real images.
        c, d = self.config, self.discriminator
        with torch.no_grad():
            fake = self.generator(given.real, self.style(given, source, 0))
        found, penalties = [], []
        for x, labels, gamma in ((given.real, given.own, c.r1_gamma), (fake, given.target, c.r2_gamma)):
            x = x.detach().requires_grad_(gamma > 0)
            # A gradient's gradient cannot be had from compiled code.
            found.append((d.read if gamma else d)(x, labels).squeeze(1))
            if gamma:
                penalties.append(gamma / 2 * squared_gradient_norm(found[-1], x))
        loss = sum(penalties, self.objective.discriminator(*found))
        return Terms(loss, game_logs(found[0], found[1], self.objective) if source == "latent" else {})

    def generator_terms(
        self, loss: PerSample, fake: Images, style: Tensor, given: Round, source: str, ctx: Context
    ) -> Terms:
        """Return G's terms: beside passing for real, show the style, differ between styles, come back."""
        c, real = self.config, given.real
        misread = (self.style_encoder(fake, given.target) - style).abs().mean(1)  # equation 2
        with torch.no_grad():
            other = self.generator(real, self.style(given, source, 1))
        apart = _l1(fake, other)  # equation 3
        back = self.generator(fake, self.style_encoder(real, given.own))
        error, fall = _l1(back, real), c.diversity_fall_kimg  # equation 4
        # As published: that loss has no optimum, so its weight falls to 0.
        fading = 1.0 if fall is None else linear_fall(ctx.progress.nimg, 0.0, fall)
        loss = loss + c.style * misread + c.cycle * error
        logs = {"style error": misread, "diversity": apart, "cycle error": error}
        told = {f"{name} ({source})": value.detach() for name, value in logs.items()}
        return Terms(loss - c.diversity * fading * apart, told)

    def _round(self, batch: Batch, generator: torch.Generator) -> Round:
        assert batch.labels is not None
        n, own = len(batch), batch.labels
        real = flip(batch.x, generator) if self.config.flip else batch.x
        # Targets are the domains of the minibatch's images in another order, which are the references.
        order = torch.randperm(n, generator=generator, device=generator.device).to(own.device)
        target = own[order]
        # A second reference of the same domain; the first one again where the minibatch has no other.
        keys = torch.rand(n, n, generator=generator, device=generator.device).to(own.device)
        keys[torch.arange(n, device=own.device), order] -= 1
        second = keys.masked_fill(own[None] != target[:, None], -2.0).argmax(1)
        z = torch.randn(2, n, self.config.latent_size, generator=generator, device=generator.device)
        return Round(real, own, target, (z[0], z[1]), (real[order], real[second]))

    def style(self, given: Round, source: str, number: int) -> Tensor:
        """Return the first or second style of each target, (batch, style_size)."""
        found: Tensor = (
            self.mapping_network(given.z[number], given.target)
            if source == "latent"
            else self.style_encoder(given.references[number], given.target)
        )
        return found

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player; the mapping network learns more slowly."""
        c = self.config
        slowly, betas = {"mapping_network": c.mapping_lr}, (c.beta1, c.beta2)
        spec = OptimizerSpec("adam", lr=c.lr, betas=betas, weight_decay=c.weight_decay, multipliers=slowly)
        return two_players(spec, c.discriminator_lr)

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

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return the logits (n,) of the heads of the given domains."""
        assert labels is not None
        return self.discriminator(x, labels).squeeze(1)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Images:
        """Draw images among training examples: (n, channel, height, width)."""
        return self.examples.draw(n, generator)

    def generate(self, inputs: Images, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Translate images into domains in styles of z drawn from ``generator``, clipped to [-1, 1]."""
        assert labels is not None
        z = torch.randn(inputs.shape[0], self.config.latent_size, generator=generator, device=generator.device)
        return self.generator(inputs, self.mapping_network(z, labels)).clamp(-1, 1)

    def guided(self, inputs: Images, references: Images, labels: Tensor) -> Images:
        """Translate images into domains (n,) in the styles of reference images, clipped to [-1, 1]."""
        return self.generator(inputs, self.style_encoder(references, labels)).clamp(-1, 1)


def _l1(x: Images, y: Images) -> PerSample:
    return (x - y).abs().flatten(1).mean(1)
