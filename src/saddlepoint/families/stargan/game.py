"""StarGAN of 2018: one generator translates images between all domains; D tells real ones, and names domains.

    L_adv = E D(x) - E D(G(x, c)) - lambda_gp E (||grad D(x^)|| - 1)^2                      (equation 8)
    L_cls = E -log D_cls(c'|x) on real images; E -log D_cls(c|G(x, c)) on translations      (equations 2, 3)
    L_rec = E ||x - G(G(x, c), c')||_1: there and back                                      (equation 4)
    D descends -L_adv + lambda_cls L_cls, real                                              (equation 5)
    G descends  L_adv + lambda_cls L_cls, translated + lambda_rec L_rec                     (equation 6)

Source: Choi et al. 2018, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation", sections 3 and 4, and the code released with it. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, PerSample, at_least_float32
from saddlepoint.families.stargan.config import StarGANConfig
from saddlepoint.family import Batch, Context, DataSpec, DataStats
from saddlepoint.family.capabilities import Conditional, DiscriminatorLogits, Prepared, Simultaneous, Translator
from saddlepoint.family.contract import Family, OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.family.translation import Examples, LabelSets
from saddlepoint.nn.augment import flip
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.layers import Conv2d, ConvTranspose2d
from saddlepoint.nn.normalise import StyledNorm
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import from_one, interpolated
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.01
"""Slope of LeakyReLU on the negative side, as in the released code."""


class Generator(nn.Module):
    """Image and target -> convolution -> two halvings -> residual blocks -> two doublings -> convolution -> tanh.

    Zero padding matters: maps that are constant over the image survive instance normalisation at the edges only.
    """

    masks: ClassVar[int] = 0
    """Maps that the last convolution makes beside those of the image."""
    joins: ClassVar[bool] = False
    """Whether maps on the way up get those of the same side on the way down added."""

    def __init__(self, config: StarGANConfig, channels: int, told: int) -> None:
        super().__init__()
        c, style = config, told if config.condition == "norm" else 0
        wide, around = 4 * c.width, c.kernel // 2
        # No biases: instance normalisation would subtract them.
        down = [Conv2d(channels + told, c.width, c.kernel, 1, around, bias=False)]
        down += [Conv2d(c.width << i, c.width << (i + 1), 4, 2, 1, bias=False) for i in range(2)]
        self.down = nn.ModuleList(down)
        self.blocks = nn.ModuleList(Conv2d(wide, wide, 3, 1, 1, bias=False) for _ in range(2 * c.blocks))
        self.up = nn.ModuleList(ConvTranspose2d(wide >> i, wide >> (i + 1), 4, 2, 1, bias=False) for i in range(2))
        self.refining = nn.ModuleList(Conv2d(c.width, c.width, 3, 1, 1, bias=False) for _ in range(c.refining))
        widths = [c.width, 2 * c.width, wide, *[wide] * (2 * c.blocks), 2 * c.width, c.width, *[c.width] * c.refining]
        self.norms = nn.ModuleList(StyledNorm(width, style) for width in widths)
        self.output = Conv2d(c.width, channels + self.masks, c.kernel, 1, around, bias=False)

    def forward(self, x: Images, told: Tensor) -> Images:
        """Return translated images.

        Args:
            x: (batch, channel, height, width).
            told: (batch, numbers), of `LabelSets.encode` or `LabelSets.encode_pairs`.
        """
        return torch.tanh(at_least_float32(self.convolved(x, told.to(x.dtype))))

    def convolved(self, x: Images, told: Tensor) -> Images:
        """Return what the layers make of the images."""
        norms = iter(self.norms)
        # Labels as constant maps beside the image: section 3.1.
        h = torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        fine = []
        for layer in self.down:
            h = next(norms)(layer(h), told, slope=0.0)
            fine.append(h)
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            inner = next(norms)(first(h), told, slope=0.0)
            h = next(norms)(second(inner), told, beside=h)  # (batch, 4 width, height / 4, width / 4)
        for layer, seen in zip(self.up, fine[-2::-1], strict=True):
            h = next(norms)(layer(h), told, slope=0.0, beside=seen if self.joins else None)
        for layer in self.refining:
            h = next(norms)(layer(h), told, slope=0.0, beside=h)
        return self.output(h)

    def drawn(self) -> None:
        """Change weights after they were drawn; nothing here."""


class Discriminator(nn.Module):
    """Convolutions of stride 2 with LeakyReLU -> a logit for each patch, whose mean judges; logits of the classes."""

    def __init__(self, config: StarGANConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        widths = [shape[0], *(config.discriminator_width << i for i in range(config.layers))]
        self.layers = nn.ModuleList(Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.source = Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        high, wide = (side >> config.layers for side in shape[1:])
        self.domain = Conv2d(widths[-1], classes, (high, wide), bias=False)
        self.patches = high * wide

    def forward(self, x: Images) -> tuple[PerSample, Tensor]:
        """Return the mean logit of the patches (batch,) and logits of the classes (batch, classes).

        Of larger images than those it was built for, which translation takes, these are means over the parts of that
        size.
        """
        h = x
        for layer in self.layers:
            h = layer(h, SLOPE)
        return self.source(h).mean((1, 2, 3)), self.domain(h).mean((2, 3))

    def squared_gradient_norms(self, x: Images, labels: Tensor | None = None) -> PerSample:
        """Return ||grad_x D||^2 (batch,), differentiable in the weights.

        Args:
            x: (batch, channel, height, width).
            labels: of `LabelSets.several`; None: the gradient of the mean logit, else that of its sum with the logits
                of the classes that hold.
        """
        high, wide = (side >> len(self.layers) for side in x.shape[2:])
        even = x.new_full((1, 1, high, wide), 1 / self.patches)
        head = F.conv_transpose2d(even, self.source.weight, padding=1).flatten(1)  # the mean of patches as one layer
        if labels is not None:
            head = head + labels.clamp_min(0).to(head.dtype) @ self.domain.weight.flatten(1)
        # Piecewise linear, so it takes four passes a layer instead of the six of double backward.
        return leaky_convnet(x, self.layers, head, SLOPE)[1]


class Game(Simultaneous, Translator, DiscriminatorLogits, Conditional, Prepared, Family):
    """Two players that talk of domains. Its methods stand in the order in which a step needs them."""

    GENERATORS: ClassVar[Mapping[str, type[Generator]]] = {"none": Generator}
    stride = 4

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
        self.generator = self.GENERATORS[config.skip](config, channels, self.told_width())
        self.discriminator = Discriminator(config, data.shape, self.labels.classes)
        self.examples, self.objective = Examples(data), get_objective(config.objective)

    def stages(self) -> tuple[Stage, ...]:
        """A step of D on each minibatch, and one of G on each ``n_critic``-th, with the same targets."""
        n = self.config.n_critic
        d = Phase("discriminator", trains=("discriminator",), optimizer="discriminator")
        g = Phase("generator", trains=("generator",), optimizer="generator", every=n, offset=n - 1)
        return (Stage("game", (d, g), simultaneous=self.config.simultaneous),)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return the losses of the players that are due, from one translation of the minibatch."""
        assert batch.labels is not None
        own = self.labels.several(batch.labels)  # c', (batch, classes)
        # Images, their mirroring and their targets belong to the minibatch: D and G see the same.
        real = flip(batch.x, ctx.batch_generator) if self.config.flip else batch.x
        target = self.labels.shuffled(own, ctx.batch_generator)  # c
        found, real_logits = dict[str, Terms](), None
        with torch.set_grad_enabled(any(phase.optimizer != "discriminator" for phase in phases)):
            fake = self.translated(phases[0], real, self.told(own, target))  # G(x, c)
        for phase in phases:
            if phase.optimizer == "discriminator":
                found[phase.name], real_logits = self._discriminator_loss(real, fake.detach(), own, ctx)
                continue
            if real_logits is None and self.objective.paired:
                with torch.no_grad():  # G does not move D's logits on data
                    real_logits = self.discriminator(real)[0]
            loss, logs = self.passing(fake, real_logits, target)
            found[phase.name] = self.generator_terms(phase, loss, logs, (real, fake), (own, target))
        return found

    def _discriminator_loss(self, real: Images, fake: Images, own: Tensor, ctx: Context) -> tuple[Terms, PerSample]:
        # D's terms, and its logits of the real images, which a paired objective of G needs.
        c, d = self.config, self.discriminator
        logits, domains = d(torch.cat([real, fake]))
        real_logits, fake_logits = logits.chunk(2)
        named = self.labels.loss(domains[: len(real)], own)  # equation 2
        loss = self.objective.discriminator(real_logits, fake_logits) + c.classification * named  # equation 5
        logs = {**game_logs(real_logits, fake_logits, self.objective), "classification D": named.detach()}
        if c.penalty:  # equation 8; as released, of the sum over patches
            far = from_one(d.patches**2 * d.squared_gradient_norms(interpolated(real, fake, ctx.generator)))
            loss, logs["gradient penalty"] = loss + c.penalty * far, far.detach()
        if c.r1_gamma is not None:  # gamma/2 ||grad D(x)||^2: Mescheder et al. 2018, equation 9
            loss = loss + c.r1_gamma / 2 * d.squared_gradient_norms(real, own if c.r1_classes else None)
        return Terms(loss, logs), real_logits.detach()

    def passing(
        self, fake: Images, real_logits: PerSample | None, target: Tensor
    ) -> tuple[PerSample, dict[str, PerSample]]:
        """Return G's loss for passing for real and showing the target, and for the log what of it names domains."""
        logits, domains = self.discriminator(fake)
        named = self.labels.loss(domains, target)  # equation 3
        logs = {"classification G": named.detach(), "class accuracy": self.labels.shown(domains.detach(), target)}
        adversarial = self.objective.generator(logits if real_logits is None else real_logits, logits)
        return adversarial + self.config.classification * named, logs

    def generator_terms(
        self, phase: Phase, loss: PerSample, logs: dict[str, PerSample],
        images: tuple[Images, Images], labels: tuple[Tensor, Tensor],
    ) -> Terms:  # fmt: skip
        """Return G's terms: beside passing, it has to come back from where it went."""
        c, (real, fake), (own, target) = self.config, images, labels
        error = (real - self.generator(fake, self.told(target, own))).abs().flatten(1).mean(1)  # equation 4
        loss = loss + c.cycle * error  # equation 6
        if c.identity:
            stays = (target == own).all(1)  # sent to their own domain by chance
            loss = loss + c.identity * stays * (real - fake).abs().flatten(1).mean(1)
        return Terms(loss, {**logs, "cycle error": error.detach()})

    def translated(self, phase: Phase, real: Images, told: Tensor) -> Images:
        return self.generator(real, told)

    def told_width(self) -> int:
        """Return how many numbers G is told."""
        return self.labels.width

    def told(self, own: Tensor, target: Tensor) -> Tensor:
        """Return what G is told of images that are ``own`` and shall be ``target``: equation 7."""
        return self.labels.encode(target)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        c = self.config
        return two_players(OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2)), c.discriminator_lr)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw uniform weights within 1 / sqrt(fan in), as the released code leaves them, or He-normal ones."""
        he, heads = self.config.init == "he", (self.discriminator.source, self.discriminator.domain)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
                if he:
                    last = layer in (*heads, self.generator.output) or isinstance(layer, nn.Linear)
                    nn.init.normal_(layer.weight, 0.0, ((1.0 if last else 2.0) / fan_in) ** 0.5, generator=generator)
                else:
                    nn.init.uniform_(layer.weight, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
                if layer.bias is not None and he:
                    nn.init.zeros_(layer.bias)
                elif layer.bias is not None:
                    nn.init.uniform_(layer.bias, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
            elif isinstance(layer, StyledNorm) and layer.gain is not None and layer.offset is not None:
                nn.init.ones_(layer.gain)
                nn.init.zeros_(layer.offset)
        self.generator.drawn()

    def prepare(self, stats: DataStats) -> None:
        """Keep training images that inputs are drawn from."""
        self.examples.keep(stats)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's mean logit of the patches (n,); it does not read labels."""
        return self.discriminator(x)[0]

    def sample_inputs(self, n: int, generator: torch.Generator) -> Images:
        """Draw images among training examples: (n, channel, height, width)."""
        return self.examples.draw(n, generator)

    def generate(self, inputs: Images, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Translate images into the domains asked for; what is left open, and the input's own, are as D sees them."""
        assert labels is not None
        return self.generator(inputs, self.told(*self.asked(inputs, labels)))

    def asked(self, inputs: Images, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels that images have, as far as G is told them, and those that they shall have."""
        if not self.data.labelling:
            return labels, self.labels.several(labels)
        return labels, self.labels.complete(labels, self.discriminator(inputs)[1])
