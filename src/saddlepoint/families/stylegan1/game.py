"""The game of the first StyleGAN: non-saturating with R1, side after side, each faded in and then stable.

    D:  -log D(x) - log(1 - D(G(z))) + gamma/2 ||grad D(x)||^2      (Mescheder et al. 2018, equation 9)
    G:  -log D(G(z))                                                (Goodfellow et al. 2014, section 3)
    while a side is new:  image = lerp(doubled image of the older side, image of the new one, blend)

Source: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", section 2 for
G and appendix C; Karras et al. 2018, "Progressive Growing of GANs", sections 2 and 3, for D and the growing.
Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check
from saddlepoint.core.types import Images, Latents, PerSample
from saddlepoint.families.stylegan1.config import StyleGAN1Config
from saddlepoint.family import Batch, Context, DataSpec, DiscriminatorLogits, Family, Progress, StyleSpace, Terms
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage
from saddlepoint.nn import style
from saddlepoint.nn.equalised import GAIN, Affine, EqualisedConv2d, ResizedConv2d, leaky
from saddlepoint.nn.instance import by_deviation
from saddlepoint.nn.resample import NARROW, blur
from saddlepoint.nn.sizes import Sizes, sides_of
from saddlepoint.nn.style import Styles, W
from saddlepoint.nn.styled import normalised, normalised_constant
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import squared_gradient_norm
from saddlepoint.objectives.theory import game_logs

EPSILON = 1e-5
"""Added to the variance of a map. At the start the learned constant has none, and the gradient grows by its root."""

SLOPE = 0.2
"""Of LeakyReLU on the negative side."""


def at_side(x: Images, size: tuple[int, int], blend: Tensor | None) -> Images:
    """Return data as a D of this side sees it: means of blocks; while a side is faded in, mixed with half of it.

    Args:
        x: of a size that is a multiple of ``size``.
        size: (height, width) to come out.
        blend: in [0, 1]: 0 is the picture of half the side with its pixels doubled; None: the same as 1.
    """
    x = F.avg_pool2d(x, x.shape[2] // size[0]) if x.shape[2] != size[0] else x
    return x if blend is None else torch.lerp(doubled(F.avg_pool2d(x, 2)), x, blend)


def doubled(x: Images) -> Images:
    """Return every pixel as four."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Epilogue(nn.Module):
    """Noise of a strength for each channel, bias, LeakyReLU, each map normalised; w gives it a mean and a scale."""

    def __init__(self, width: int, styles: int) -> None:
        super().__init__()
        self.strength, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.style = Affine(styles, 2 * width)  # "A" of figure 1

    def forward(self, x: Images, w: W, noise: Tensor) -> Images:  # (batch, width, side, side)
        styles = self.style(w)  # (batch, 2 width)
        return normalised(
            x, styles, self.strength, self.bias, noise, slope=SLOPE, eps=EPSILON,
            again=lambda *inputs: self._by_pytorch(noise, *inputs),
        )  # fmt: skip

    def of_constant(self, constant: Images, w: W, noise: Tensor) -> Images:
        """Return the same of the learned constant (1, width, side, side), in the form for files."""
        return normalised_constant(constant, self.style(w), self.strength, self.bias, noise, slope=SLOPE, eps=EPSILON)

    def _by_pytorch(self, noise: Tensor, x: Images, styles: Tensor, strength: Tensor, bias: Tensor) -> Images:
        h = leaky(x + strength[:, None, None] * noise + bias[:, None, None])
        # AdaIN, equation 1: y_s (x - mean(x)) / deviation(x) + y_b, with y_s = 1 + scale.
        h = by_deviation(h - h.mean((2, 3), keepdim=True), EPSILON)
        scale, shift = styles[:, :, None, None].chunk(2, 1)  # (batch, width, 1, 1)
        return h * (1 + scale) + shift


class Block(nn.Module):
    """The layers of one side of G: two convolutions, the first after doubling, with an epilogue each."""

    def __init__(self, inputs: int, outputs: int, styles: int, *, first: bool) -> None:
        super().__init__()
        self.up = None if first else ResizedConv2d(inputs, outputs, up=True, gain=GAIN, bias=False)
        self.conv = EqualisedConv2d(outputs, outputs, 3, gain=GAIN, bias=False)
        self.epilogues = nn.ModuleList(Epilogue(outputs, styles) for _ in range(2))

    def forward(self, x: Images, styles: Styles, noise: list[Tensor]) -> Images:
        """Return (batch, outputs, side, side)."""
        h = x if self.up is None else blur(self.up(x), NARROW)
        first: Any = self.epilogues[0]
        if self.up is None and torch.compiler.is_exporting():
            h = first.of_constant(h, styles[:, 0], noise[0])
        else:
            h = first(h, styles[:, 0], noise[0])
        return self.epilogues[1](self.conv(h), styles[:, 1], noise[1])


class Generator(nn.Module):
    """z -> w (mapping); a learned constant -> blocks up to the side that has been reached -> image."""

    def __init__(self, config: StyleGAN1Config, channels: int, widths: list[int], of: Sizes) -> None:
        super().__init__()
        size = config.w_size
        # Two maps of noise for each side.
        self.noise_sizes = [one for one in of for _ in range(2)]
        self.mapping = style.MappingNetwork(config.latent_size, 0, size, config.mapping_depth)
        self.constant = nn.Parameter(torch.empty(1, widths[0], *of[0]))
        pairs = [(widths[0], widths[0]), *pairwise(widths)]
        self.blocks = nn.ModuleList(Block(a, b, size, first=not k) for k, (a, b) in enumerate(pairs))
        # One for each side that is ever shown.
        self.images = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths[config.first_level :])
        self.first_level = config.first_level
        self.w_average: Tensor  # for truncation: appendix B
        self.register_buffer("w_average", torch.zeros(size))

    def forward(self, styles: Styles, noise: list[Tensor], level: int, blend: Tensor | None) -> Images:
        """Return images of the side of ``level``, mixed with doubled ones of the level below while it is faded in.

        Never in half precision.

        Args:
            styles: (batch, 2 levels, w).
            noise: two maps for each level.
            level: index of the side.
            blend: share of the new side, a scalar; None: there is no older one, or it is over.
        """
        # Dividing each map by its own deviation magnifies what half precision rounds.
        with torch.autocast(styles.device.type, enabled=False):
            # A file has the constant once, for what follows from it alone.
            rows = 1 if torch.compiler.is_exporting() else styles.shape[0]
            h = below = self.constant.expand(rows, -1, -1, -1)
            for k in range(level + 1):
                below = h  # what the older side is shown from
                h = self.blocks[k](h, styles[:, 2 * k : 2 * k + 2], noise[2 * k : 2 * k + 2])
            image: Images = self.images[level - self.first_level](h)
            if blend is None:
                return image
            older = self.images[level - 1 - self.first_level](below)
            return torch.lerp(doubled(older), image, blend)  # ProGAN, figure 2


class Down(nn.Module):
    """The layers of one side of D: a convolution, a blur, one that halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = EqualisedConv2d(inputs, inputs, 3, gain=GAIN)
        self.down = ResizedConv2d(inputs, outputs, up=False, gain=GAIN)

    def forward(self, x: Images) -> Images:  # (batch, outputs, side / 2, side / 2)
        return self.down(blur(self.conv(x, SLOPE), NARROW), SLOPE)


class Discriminator(nn.Module):
    """Channels from the image, at the side reached so far, blocks down to the smallest side -> one logit."""

    def __init__(self, config: StyleGAN1Config, channels: int, widths: list[int], of: Sizes) -> None:
        super().__init__()
        self.first_level = config.first_level
        self.inputs = nn.ModuleList(
            EqualisedConv2d(channels, width, 1, gain=GAIN) for width in widths[config.first_level :]
        )
        self.blocks = nn.ModuleList(Down(b, a) for a, b in pairwise(widths))
        # A paired objective sees differences of logits only: an offset would never move.
        offset = not get_objective(config.objective).paired
        self.head = style.Head(widths[0], of[0], config.deviation_group, gain=GAIN, offset=offset)

    def logits(self, x: Images, level: int, blend: Tensor | None) -> PerSample:
        """Return logits (batch,) of images of the side of ``level``."""
        h = self.inputs[level - self.first_level](x, SLOPE)
        for k in reversed(range(level)):
            h = self.blocks[k](h)
            if blend is not None and k == level - 1:  # the newest block, while it is faded in
                older = self.inputs[k - self.first_level](F.avg_pool2d(x, 2), SLOPE)
                h = torch.lerp(older, h, blend.to(h.dtype))
        return self.head(h, None)

    forward = logits  # which is compiled on demand; `logits` never is, so that it can be differentiated twice


FASTER = ((512, 3.0), (256, 2.0), (128, 1.5))
"""Sides from which on the learning rate is a multiple of the base rate."""


class Game(StyleSpace, DiscriminatorLogits, Family):
    """Two growing players. Its methods stand in the order in which a step needs them."""

    def __init__(self, config: StyleGAN1Config, data: DataSpec) -> None:
        super().__init__(config, data)
        self.sizes_of_layers = sides_of(data.shape, self.name)
        self.words = [f"{w}" if w == h else f"{w}x{h}" for h, w in self.sizes_of_layers]
        check(
            config.first_level < len(self.words), "first_level", config.first_level,
            f"below {len(self.words)}, the number of sides up to {self.words[-1]}",
        )  # fmt: skip
        widths = style.widths_of(config.width, config.max_width, len(self.words))
        self.generator = Generator(config, data.shape[0], widths, self.sizes_of_layers)
        self.discriminator = Discriminator(config, data.shape[0], widths, self.sizes_of_layers)
        if not config.equalised:
            style.as_used(self)
        self.objective = get_objective(config.objective)
        # Level that has been reached, and share of its side: what a checkpoint samples at.
        self.grown: Tensor
        self.register_buffer("grown", torch.tensor([float(config.first_level), 1.0]))

    def stages(self) -> tuple[Stage, ...]:
        """One side after the other: faded in, then stable; phases of each side have optimizers of their own."""
        c, stages = self.config, list[Stage]()
        for level, side in list(enumerate(self.words))[c.first_level :]:
            names = ("discriminator", "generator")
            cycle = tuple(Phase(f"{name} {side}", trains=(name,), optimizer=f"{name} {side}") for name in names)
            if level > c.first_level:
                stages.append(Stage(f"fade to {side}", cycle, c.steps(c.fade_kimg)))
            last = level == len(self.words) - 1
            stages.append(Stage(f"at {side}", cycle, None if last else c.steps(c.stable_kimg)))
        return tuple(stages)

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss at the side that has been reached."""
        level, blend = self._place(phase, ctx.progress)
        real = at_side(batch.x, self.sizes_of_layers[level], blend)  # (batch, channel, side, side)
        playing = phase.name.startswith("generator")
        styles = self._styles(len(batch), level, ctx, average=playing)
        fake = self.generator(styles, self._noise(len(batch), ctx.generator), level, blend)
        if not playing:
            return self._discriminator_loss(real, fake.detach(), level, blend)
        fake_logits = real_logits = self.discriminator(fake, level, blend)
        if self.objective.paired:
            with torch.no_grad():  # G does not move D's logits on data
                real_logits = self.discriminator(real, level, blend)
        return Terms(self.objective.generator(real_logits, fake_logits))

    def _discriminator_loss(self, real: Images, fake: Images, level: int, blend: Tensor | None) -> Terms:
        gamma = self.config.r1_gamma
        real = real.detach().requires_grad_(gamma is not None)
        # Apart: deviations within a minibatch must not mix data and samples.
        real_logits, fake_logits = (self.discriminator.logits(x, level, blend) for x in (real, fake))
        loss = self.objective.discriminator(real_logits, fake_logits)
        if gamma is not None:
            loss = loss + gamma / 2 * squared_gradient_norm(real_logits, real)  # R1
        return Terms(loss, {**game_logs(real_logits, fake_logits, self.objective), "side": self._shown(blend, level)})

    def _place(self, phase: Phase, at: Progress) -> tuple[int, Tensor | None]:
        # Level and blend of a phase, remembered for sampling.
        c, level = self.config, self.words.index(phase.name.split()[1])
        grown, blend = level - c.first_level, 1.0
        if grown:
            fade, stable = c.steps(c.fade_kimg), c.steps(c.stable_kimg)
            begun = at.step - (stable + (grown - 1) * (fade + stable))  # the first side is not faded in
            blend = min(1.0, max(1, begun + 1) / fade)
        for place, number in enumerate((level, blend)):  # one by one: a list would make an accelerator wait
            self.grown[place].fill_(number)
        return level, self.grown[1].clone() if blend < 1 else None

    def _shown(self, blend: Tensor | None, level: int) -> Tensor:
        side = torch.full_like(self.grown[0], min(self.sizes_of_layers[level]))
        return side if blend is None else side * (1 + blend.detach()) / 2

    def _styles(self, n: int, level: int, ctx: Context, *, average: bool) -> Styles:
        # w for the layers that have been reached, for some samples two: section 3.1.
        z = torch.cat([self.sample_inputs(n, ctx.generator) for _ in range(2)])
        w, other = self.generator.mapping(z, None).chunk(2)
        if average:
            style.follow(self.generator.w_average, w)
        return style.mixed(w, other, 2 * (level + 1), self.config.mixing, ctx.generator)  # (n, 2 levels, w)

    def _noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        # For all sides, reached or not, so that growing does not change what a seed draws.
        return style.noises(rows, self.generator.noise_sizes, generator)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player and side: its state starts afresh with every side, its rate rises with large ones."""
        c, found = self.config, dict[str, OptimizerSpec]()
        for side, size in list(zip(self.words, self.sizes_of_layers, strict=True))[c.first_level :]:
            lr = c.lr * next((times for least, times in FASTER if min(size) >= least), 1.0)
            for name, times in (("generator", 1.0), ("discriminator", c.discriminator_lr)):
                found[f"{name} {side}"] = OptimizerSpec("adam", lr=lr * times, betas=(c.beta1, c.beta2))
        return found

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 1) weights; the constant is 1, biases and the strengths of noise are 0."""
        for network in (self.generator, self.discriminator):
            style.draw_layers(network, generator)
        nn.init.ones_(self.generator.constant)
        for layer in self.generator.modules():
            if isinstance(layer, Epilogue):
                nn.init.zeros_(layer.strength)
                nn.init.zeros_(layer.bias)

    def _reached(self) -> tuple[int, Tensor | None]:
        level, blend = (self.grown[k].item() for k in range(2))
        return int(level), self.grown[1] if blend < 1 else None

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return D's logits (n,) of images, at the side that has been reached."""
        level, blend = self._reached()
        return self.discriminator.logits(at_side(x, self.sizes_of_layers[level], blend), level, blend)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z from N(0, 1): (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Images:
        """Return images of z (batch, latent_size), each with noise of its own; pixels doubled up to the full side."""
        styles = self.mapping(inputs)[:, None].expand(-1, self.w_layers, -1)
        return self._images(styles, self._noise(inputs.shape[0], generator))

    def _images(self, styles: Styles, noise: list[Tensor]) -> Images:
        images = style.clipped(self.generator(styles, noise, *self._reached()))
        return F.interpolate(images, size=self.sizes_of_layers[-1], mode="nearest")

    @property
    def w_layers(self) -> int:
        """Two layers for each side."""
        return 2 * len(self.words)

    @property
    def w_average(self) -> Tensor:
        return self.generator.w_average

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> W:
        return self.generator.mapping(inputs, None)

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Images:
        return self._images(styles, self._noise(1, generator))
