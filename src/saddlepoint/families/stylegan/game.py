"""The game of StyleGAN2: non-saturating, with two regularisers that come in steps of their own.

    G:  -log D(G(z))                             every step       (Goodfellow et al. 2014, section 3)
      + gamma_pl (||J_w' y|| - a)^2              every 4th        (path lengths: Karras et al. 2020, equation 4)
    D:  -log D(x) - log(1 - D(G(z)))             every step
      + gamma/2 ||grad D(x)||^2                  every 16th       (R1: Mescheder et al. 2018, equation 9)

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", and Karras et al. 2020, "Training
Generative Adversarial Networks with Limited Data" for the adaptive augmentation of all that D sees. The mapping
network, styled layers and D's head are in `nn/style.py`. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.families.stylegan.config import StyleGANConfig
from saddlepoint.family import Batch, Conditional, Context, DataSpec, DiscriminatorLogits, Family, StyleSpace, Terms
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.family.optimizers import lazily
from saddlepoint.family.options import difference, specification
from saddlepoint.nn import style
from saddlepoint.nn.augment import Augment, adapt
from saddlepoint.nn.equalised import GAIN, EqualisedConv2d
from saddlepoint.nn.resample import blur, downsample
from saddlepoint.nn.sizes import Sizes, sides_of
from saddlepoint.nn.style import Styles, W
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import path_lengths, squared_slopes
from saddlepoint.objectives.theory import game_logs


class Generator(nn.Module):
    """z -> w (mapping); a learned constant -> blocks of two styled layers, each adding to the doubled image."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths, size = config.channels(levels), config.w_size
        filtered: dict[str, Any] = {"taps": config.resample_filter, "clamp": config.clamp}
        # One map for the smallest side, two for every other.
        self.noise_sizes = [levels[0], *[size for size in levels[1:] for _ in range(2)]]
        self.mapping = style.MappingNetwork(
            config.latent_size, classes, size, config.mapping_depth, config.norm_epsilon
        )
        self.bounded = config.bounded
        self.constant = nn.Parameter(torch.empty(1, widths[0], *levels[0]))
        self.first = style.StyledLayer(widths[0], widths[0], size, **filtered)
        self.ups = nn.ModuleList(style.StyledLayer(a, b, size, up=True, **filtered) for a, b in pairwise(widths))
        self.layers = nn.ModuleList(style.StyledLayer(b, b, size, **filtered) for b in widths[1:])
        self.images = nn.ModuleList(style.ToImage(width, channels, size, **filtered) for width in widths)
        self.w_average: Tensor  # for truncation
        self.register_buffer("w_average", torch.zeros(size))
        for k, of in enumerate(self.noise_sizes if config.fixed_noise else ()):
            self.register_buffer(f"noise{k}", torch.zeros(1, 1, *of))

    @property
    def fixed_noise(self) -> list[Tensor]:
        """The noise maps (1, 1, height, width) that samples have where it is drawn once; else empty."""
        return [buffer for name, buffer in self.named_buffers(recurse=False) if name.startswith("noise")]

    @property
    def style_layers(self) -> int:
        """Two for each side; the layers that only write the image share those of the next block's first."""
        return 2 * len(self.images)

    def synthesis(self, styles: Styles, noise: list[Tensor]) -> Images:
        """Return images (batch, channel, side, side), not clipped."""
        w = styles.unbind(1)  # (batch, w) for each layer
        h = self.first(self.constant.expand(styles.shape[0], -1, -1, -1), w[0], noise[0])  # the smallest side
        image = self.images[0](h, w[1])
        for k, (up, layer, to_image) in enumerate(zip(self.ups, self.layers, self.images[1:], strict=True)):
            h = up(h, w[2 * k + 1], noise[2 * k + 1])  # (batch, width, 2 side, 2 side)
            h = layer(h, w[2 * k + 2], noise[2 * k + 2])
            image = to_image(h, w[2 * k + 3], image)  # added to the doubled image
        return torch.tanh(image) if self.bounded else image

    forward = synthesis  # which is compiled on demand; `synthesis` never is, so that it can be differentiated twice


class Block(nn.Module):
    """Two convolutions, the second halving the side; with ``residual`` beside a filtered copy."""

    def __init__(self, config: StyleGANConfig, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        self.taps, self.clamp = config.resample_filter, config.clamp
        shared = 0.5**0.5 if residual else 1.0  # a sum of two keeps its variance
        self.conv = EqualisedConv2d(inputs, inputs, 3, amplify=GAIN)
        self.down = EqualisedConv2d(inputs, outputs, 3, stride=2, padding=0, amplify=GAIN * shared)
        self.skip = EqualisedConv2d(inputs, outputs, 1, amplify=shared, bias=False) if residual else None

    def forward(self, x: Images) -> Images:  # (batch, outputs, side / 2, side / 2)
        h = style.limited(self.conv(x, 0.2), self.clamp)
        h = self.down(blur(h, self.taps, len(self.taps) // 2), 0.2)
        if self.skip is None:
            return style.limited(h, self.clamp)
        most = None if self.clamp is None else self.clamp * 0.5**0.5  # of what the sum has a share of
        return style.limited(h, most) + self.skip(downsample(x, self.taps))


class Discriminator(nn.Module):
    """Channels from the image, blocks down to the smallest side, minibatch deviation -> one logit."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths, self.clamp = config.channels(levels)[::-1], config.clamp
        self.input = EqualisedConv2d(channels, widths[0], 1, amplify=GAIN)
        # Residual in D, section 4; plain for CIFAR-10, as the second paper has it.
        residual, size = config.discriminator == "residual", widths[-1]
        self.blocks = nn.Sequential(*(Block(config, a, b, residual=residual) for a, b in pairwise(widths)))
        depth = config.label_depth or config.mapping_depth
        label = style.MappingNetwork(0, classes, size, depth, config.norm_epsilon) if classes else None
        # A paired objective sees differences of logits only: an offset would never move.
        offset = not get_objective(config.objective).paired
        self.head = style.Head(
            size, levels[0], config.deviation_group, amplify=GAIN, label=label, vector=size, offset=offset,
            unit=config.unit_labels, clamp=config.clamp,
        )  # fmt: skip

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:  # logits (batch,)
        return self.head(self.blocks(style.limited(self.input(x, 0.2), self.clamp)), labels)

    forward = logits  # which is compiled on demand; `logits` never is, so that it can be differentiated twice


PATH_DECAY = 0.01
"""Share of a minibatch's mean in the running mean of path lengths."""


class Game(StyleSpace, DiscriminatorLogits, Conditional, Family):
    """Two players and two regularisers. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: StyleGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if config.conditional and not data.classes:
            raise ConfigError("a conditional stylegan needs labels, and this data has none; leave --conditional out")
        levels = sides_of(data.shape, self.name)
        self.generator = Generator(config, levels, data.shape[0], self.classes)
        self.discriminator: Any = self.build_discriminator(levels)
        if not config.equalised:
            style.as_used(self)
        self.objective, self.augment = get_objective(config.objective), Augment(config.augment)
        self.augment_p: Tensor  # p, which adaptive augmentation moves
        self.path_length: Tensor  # a, the running mean of path lengths
        self.register_buffer("augment_p", torch.tensor(config.first_p))
        self.register_buffer("path_length", torch.zeros(()))

    def build_discriminator(self, levels: Sizes) -> nn.Module:
        return Discriminator(self.config, levels, self.data.shape[0], self.classes)

    def stages(self) -> tuple[Stage, ...]:
        """G and its path lengths, D and its penalties: each regulariser in steps of its own, every few steps."""
        c = self.config
        cycle = [Phase("generator", ("generator",), "generator")]
        if c.path_weight:
            cycle.append(Phase("path length", ("generator",), "generator", every=c.path_every))
        cycle.append(Phase("discriminator", ("discriminator",), "discriminator"))
        if c.lazy:  # lazy regularisation: section 3.1
            cycle.append(Phase("penalty", ("discriminator",), "discriminator", every=c.penalty_every))
        return (Stage("game", tuple(cycle), simultaneous=c.simultaneous),)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss; generated samples have the labels of the real rows."""
        play = {
            "generator": self._generator_loss, "path length": self._path_loss,
            "discriminator": self._discriminator_loss, "penalty": self._penalty,
        }[phase.name]  # fmt: skip
        return play(batch, self._labels(batch), ctx)

    def _generator_loss(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        fake = self._fake(len(batch), labels, ctx, average=True)  # (batch, channel, side, side)
        fake_logits = real_logits = self.discriminator(self._seen(fake, ctx), labels)
        if self.objective.paired:
            with torch.no_grad():  # G does not move D's logits on data
                real_logits = self.discriminator(self._seen(batch.x, ctx), labels)
        return Terms(self.objective.generator(real_logits, fake_logits))

    def _path_loss(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        n = max(1, len(batch) // 2)  # half a minibatch, as released
        styles = self._styles(n, None if labels is None else labels[:n], ctx)
        images = self.generator.synthesis(styles, self._noise(n, ctx.generator))
        lengths = path_lengths(images, styles, ctx.generator)  # ||J_w' y||, (n,)
        with torch.no_grad():
            # a follows the mean and is held constant: G cannot move what it is held against.
            self.path_length.lerp_(lengths.detach().mean().to(self.path_length.dtype), PATH_DECAY)
        off = (lengths - self.path_length).square().mean()  # equation 4
        # Weighted for the steps without it.
        return Terms(off * self.config.path_weight * self.config.path_every, {"path length": lengths.detach()})

    def _discriminator_loss(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        fake = self._fake(len(batch), labels, ctx).detach()
        # Data and samples go through D apart: deviations within a minibatch must not mix them.
        real, fake, penalties = self._seen(batch.x, ctx), self._seen(fake, ctx), list[PerSample]()
        if self.config.penalised and not self.config.lazy:
            logits, penalties = self._judged(real, fake, labels, ctx)
        else:
            logits = [self.discriminator(x, labels) for x in (real, fake)]
        return self._told(sum(penalties, self.objective.discriminator(*logits)), *logits)

    def _penalty(self, batch: Batch, labels: Tensor | None, ctx: Context) -> Terms:
        fake: Images | None = None
        if self.config.r2_gamma is not None:
            with torch.no_grad():
                styles = self._styles(len(batch), labels, ctx)
                fake = self._seen(self.generator.synthesis(styles, self._noise(len(batch), ctx.generator)), ctx)
        real = self._seen(batch.x, ctx)
        total = sum(self._judged(real, fake, labels, ctx)[1], at_least_float32(real).new_zeros(len(real)))
        # Weighted for the steps without it.
        return Terms(total * self.config.penalty_every, {"penalty": total.detach()})

    def _judged(
        self, real: Images, fake: Images | None, labels: Tensor | None, ctx: Context
    ) -> tuple[list[PerSample], list[PerSample]]:
        # Logits of what D saw, and gamma/2 ||grad D||^2 where there is a gamma: R1 on data, R2 on samples.
        c, judge, logits, penalties = self.config, self.discriminator.logits, list[PerSample](), list[PerSample]()
        for x, gamma in ((real, c.r1_gamma), (fake, c.r2_gamma)):
            if x is None:
                continue
            if gamma is None:
                logits.append(judge(x.detach(), labels))
                continue
            apart = c.deviation_group > 0  # deviations within a minibatch must not mix points and their neighbours
            found, norms = squared_slopes(judge, x, labels, difference(c), ctx.generator, apart=apart)
            logits.append(found)
            penalties.append(gamma / 2 * norms)
        return logits, penalties

    def _told(self, loss: PerSample, real_logits: PerSample, fake_logits: PerSample) -> Terms:
        # D's terms with what is logged. D's grip on the training rows moves p: the second paper, section 3.
        logs = game_logs(real_logits, fake_logits, self.objective)
        if self.config.ada_kimg is not None:
            # Logits of pairs have no zero: there the share of pairs counts that D has in the right order.
            grip = real_logits - fake_logits if self.objective.paired else real_logits
            self.augment_p.copy_(adapt(self.augment_p, grip, self.config.batch_size, self.config.ada_kimg))
            logs |= {"augment p": self.augment_p.clone(), "augment r": grip.detach().sign()}
        return Terms(loss, logs)

    def _seen(self, x: Images, ctx: Context) -> Images:
        # Of data and samples alike, in both players' steps, or G would learn to augment.
        return self.augment(x, ctx.generator, self.augment_p) if self.config.augment else x

    def _fake(self, n: int, labels: Tensor | None, ctx: Context, *, average: bool = False) -> Images:
        styles = self._styles(n, labels, ctx, average=average)
        return self.generator(styles, self._noise(n, ctx.generator))

    def _styles(self, n: int, labels: Tensor | None, ctx: Context, *, average: bool = False) -> Styles:
        # Two w where styles are mixed (the first StyleGAN, section 3.1), else one.
        draws = 2 if self.config.mixing else 1
        z = torch.cat([self.sample_inputs(n, ctx.generator) for _ in range(draws)])
        first, *other = self.generator.mapping(z, None if labels is None else labels.repeat(draws)).chunk(draws)
        if average:
            style.follow(self.generator.w_average, first)
        if not other:
            return first[:, None].expand(-1, self.w_layers, -1)  # (n, layers, w)
        return style.mixed(first, other[0], self.w_layers, self.config.mixing, ctx.generator)

    def _noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        return style.noises(rows, self.generator.noise_sizes, generator)

    def _sampling_noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        return self.generator.fixed_noise or self._noise(rows, generator)

    def _labels(self, batch: Batch) -> Tensor | None:
        return batch.labels if self.classes else None

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """One for each player, corrected for the steps that its regulariser adds: appendix B."""
        c = self.config
        spec = specification(c)
        faster = replace(spec, lr=lambda at: c.discriminator_lr * c.learning_rate(at))
        return {
            "generator": lazily(spec, c.path_every if c.path_weight else None),
            "discriminator": lazily(faster, c.penalty_every if c.lazy else None),
        }

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 1) weights and constant; biases and the strength of noise are 0, those of styles 1."""
        for network in (self.generator, self.discriminator):
            style.draw_layers(network, generator)
        nn.init.normal_(self.generator.constant, generator=generator)
        for noise in self.generator.fixed_noise:
            noise.normal_(generator=generator)
        for layer in self.generator.modules():
            if isinstance(layer, style.StyledLayer):
                nn.init.zeros_(layer.strength)
            if isinstance(layer, style.StyledLayer | style.ToImage):
                nn.init.zeros_(layer.bias)

    @property
    def classes(self) -> int:
        return len(self.data.classes) if self.config.conditional else 0

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,); a paired objective determines them up to a common offset."""
        return self.discriminator.logits(x, labels if self.classes else None)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z from N(0, 1): (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), each with noise of its own."""
        styles = self.mapping(inputs, labels)[:, None].expand(-1, self.w_layers, -1)
        return style.clipped(self.generator(styles, self._sampling_noise(inputs.shape[0], generator)))

    @property
    def w_layers(self) -> int:
        """Two layers for each side."""
        return int(self.generator.style_layers)

    @property
    def w_average(self) -> Tensor:
        return self.generator.w_average

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> W:
        return self.generator.mapping(inputs, labels)

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Images:
        return style.clipped(self.generator.synthesis(styles, self._sampling_noise(1, generator)))
