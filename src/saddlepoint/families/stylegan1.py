"""The first StyleGAN: a learned constant, styles as mean and deviation of every map, networks that grow.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", and Karras et
al. 2018, "Progressive Growing of GANs" for D and the growing. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check, option
from saddlepoint.core.types import Images, Latents, PerSample
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Progress,
    Remediable,
    Sized,
    Stage,
    StyleSpace,
    Tags,
    Terms,
    register,
)
from saddlepoint.family import remedies as remedy
from saddlepoint.nn.equalised import GAIN, Affine, EqualisedConv2d, ResizedConv2d, leaky
from saddlepoint.nn.resample import NARROW, blur
from saddlepoint.nn.sizes import SIZES, Sizes, sides_of, starts
from saddlepoint.nn.style import (
    Head,
    MappingNetwork,
    Styles,
    W,
    as_used,
    clipped,
    draw_layers,
    follow,
    mixed,
    noises,
    widths_of,
)
from saddlepoint.objectives.losses import OBJECTIVES, get_objective
from saddlepoint.objectives.penalties import squared_gradient_norm
from saddlepoint.objectives.theory import game_logs

EPSILON = 1e-5
"""Added to the variance of a map. At the start the learned constant has none, and the gradient grows by its root."""

FASTER = ((512, 3.0), (256, 2.0), (128, 1.5))
"""Sides from which on the learning rate is a multiple of the base rate."""


@dataclass(frozen=True)
class StyleGAN1Config(FamilyConfig):
    """Networks, growth, game and optimizer of the first StyleGAN."""

    batch_size: int = option(32, "samples per minibatch")
    latent_size: int = option(512, "dimensions of z")
    w_size: int = option(512, "dimensions of w, and hidden units of the mapping")
    mapping_depth: int = option(8, "layers of the mapping from z to w")
    width: int = option(16, "channels at the side of the images; they double with every halving")
    max_width: int = option(512, "channels beyond which they do not double")
    deviation_group: int = option(4, "samples whose deviation D sees in its last layers; 0: none")
    equalised: bool = option(
        True, "weights of variance 1, scaled when they are used; false: as they act, so that wide layers learn faster"
    )
    mixing: float = option(0.9, "share of the samples made with the styles of two w, in training")
    first_level: int = option(1, "side that training begins with: 0 the smallest, 1 twice that, and so on")
    fade_kimg: float = option(600.0, "thousands of samples in which the layers of a new side are faded in")
    stable_kimg: float = option(600.0, "thousands of samples before the next side")
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(10.0, "weight of gamma/2 ||grad D||^2 on real samples; none: off")
    lr: float = option(1e-3, "adam's learning rate; 1.5, 2 and 3 times that from 128, 256 and 512 pixels on")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "w_size", "mapping_depth", "width", "max_width"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("lr", "discriminator_lr", "fade_kimg", "stable_kimg"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        check(self.r1_gamma is None or self.r1_gamma > 0, "r1_gamma", self.r1_gamma, "positive, or none")
        check(0 <= self.mixing <= 1, "mixing", self.mixing, "in [0, 1]")
        for name in ("deviation_group", "first_level"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")

    def steps(self, kimg: float) -> int:
        """Return the steps that see so many thousands of samples, at least 1."""
        return max(1, round(kimg * 1000 / self.batch_size))


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
        self.style = Affine(styles, 2 * width)

    def forward(self, x: Images, w: W, noise: Tensor) -> Images:
        """Return (batch, width, side, side)."""
        h = leaky(x + self.strength[:, None, None] * noise + self.bias[:, None, None])
        h = h - h.mean((2, 3), keepdim=True)
        h = h * torch.rsqrt(h.square().mean((2, 3), keepdim=True) + EPSILON)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        found: Images = h * (1 + scale) + shift
        return found


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
        h = self.epilogues[0](h, styles[:, 0], noise[0])
        found: Images = self.epilogues[1](self.conv(h), styles[:, 1], noise[1])
        return found


class Generator(nn.Module):
    """z -> w (mapping); a learned constant -> blocks up to the side that has been reached -> image."""

    def __init__(self, config: StyleGAN1Config, channels: int, widths: list[int], of: Sizes) -> None:
        super().__init__()
        size = config.w_size
        self.noise_sizes = [one for one in of for _ in range(2)]
        self.mapping = MappingNetwork(config.latent_size, 0, size, config.mapping_depth)
        self.constant = nn.Parameter(torch.empty(1, widths[0], *of[0]))
        pairs = [(widths[0], widths[0]), *pairwise(widths)]
        self.blocks = nn.ModuleList(Block(a, b, size, first=not k) for k, (a, b) in enumerate(pairs))
        self.images = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths[config.first_level :])
        self.first_level = config.first_level
        self.w_average: Tensor
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
            h = below = self.constant.expand(styles.shape[0], -1, -1, -1)
            for k in range(level + 1):
                below = h
                h = self.blocks[k](h, styles[:, 2 * k : 2 * k + 2], noise[2 * k : 2 * k + 2])
            image: Images = self.images[level - self.first_level](h)
            if blend is None:
                return image
            older = self.images[level - 1 - self.first_level](below)
            return torch.lerp(doubled(older), image, blend)


class Down(nn.Module):
    """The layers of one side of D: a convolution, a blur, one that halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = EqualisedConv2d(inputs, inputs, 3, gain=GAIN)
        self.down = ResizedConv2d(inputs, outputs, up=False, gain=GAIN)

    def forward(self, x: Images) -> Images:
        """Return (batch, outputs, side / 2, side / 2)."""
        return leaky(self.down(blur(leaky(self.conv(x)), NARROW)))


class Discriminator(nn.Module):
    """Channels from the image, at the side reached so far, blocks down to the smallest side -> one logit."""

    def __init__(self, config: StyleGAN1Config, channels: int, widths: list[int], of: Sizes) -> None:
        super().__init__()
        self.first_level = config.first_level
        self.inputs = nn.ModuleList(
            EqualisedConv2d(channels, width, 1, gain=GAIN) for width in widths[config.first_level :]
        )
        self.blocks = nn.ModuleList(Down(b, a) for a, b in pairwise(widths))
        offset = not get_objective(config.objective).paired
        self.head = Head(widths[0], of[0], config.deviation_group, gain=GAIN, offset=offset)

    def forward(self, x: Images, level: int, blend: Tensor | None) -> PerSample:
        """Return logits (batch,) of images of the side of ``level``."""
        return self.logits(x, level, blend)

    def logits(self, x: Images, level: int, blend: Tensor | None) -> PerSample:
        """Return what `forward` returns, never compiled: a gradient's gradient cannot be had from compiled code."""
        h = leaky(self.inputs[level - self.first_level](x))
        for k in reversed(range(level)):
            h = self.blocks[k](h)
            if blend is not None and k == level - 1:
                older = leaky(self.inputs[k - self.first_level](F.avg_pool2d(x, 2)))
                h = torch.lerp(older, h, blend.to(h.dtype))
        logits: PerSample = self.head(h, None)
        return logits


@register
class StyleGAN1(StyleSpace, DiscriminatorLogits, Sized, Remediable, Family):
    """Style-based generator of 2019 and the discriminator of ProGAN, both growing."""

    name = "stylegan1"
    summary = "StyleGAN (Karras et al. 2019), growing side by side"
    tags = Tags(modalities=("image",), budget="25m")
    Config = StyleGAN1Config
    paper_presets = ("paper-ffhq-1024",)
    sizes = SIZES
    remedies = (remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR)
    PRESETS: ClassVar[Mapping[str, StyleGAN1Config]] = {
        "tiny-32": StyleGAN1Config(
            latent_size=64, w_size=128, mapping_depth=4, width=16, max_width=128, first_level=0, fade_kimg=8.0,
            stable_kimg=8.0, equalised=False, ema_ramp=0.1,
        ),
        # The paper's, with one size of minibatch for all sides: that of 64 pixels and more.
        "paper-ffhq-1024": StyleGAN1Config(ema_half_life_kimg=10.0),
    }  # fmt: skip

    def __init__(self, config: StyleGAN1Config, data: DataSpec) -> None:
        super().__init__(config, data)
        self.sizes_of_layers = sides_of(data.shape, self.name)
        self.words = [f"{w}" if w == h else f"{w}x{h}" for h, w in self.sizes_of_layers]
        check(
            config.first_level < len(self.words), "first_level", config.first_level,
            f"below {len(self.words)}, the number of sides up to {self.words[-1]}",
        )  # fmt: skip
        widths = widths_of(config.width, config.max_width, len(self.words))
        self.generator = Generator(config, data.shape[0], widths, self.sizes_of_layers)
        self.discriminator = Discriminator(config, data.shape[0], widths, self.sizes_of_layers)
        if not config.equalised:
            as_used(self)
        self.objective = get_objective(config.objective)
        self.grown: Tensor
        self.register_buffer("grown", torch.tensor([float(config.first_level), 1.0]))

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side that is doubled."""
        return starts(height, width) is not None

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw N(0, 1) weights; the constant is 1, biases and the strengths of noise are 0."""
        for network in (self.generator, self.discriminator):
            draw_layers(network, generator)
        nn.init.ones_(self.generator.constant)
        for layer in self.generator.modules():
            if isinstance(layer, Epilogue):
                nn.init.zeros_(layer.strength)
                nn.init.zeros_(layer.bias)

    def stages(self) -> tuple[Stage, ...]:
        """One side after the other: faded in, then stable; phases of each side have optimizers of their own."""
        c, stages = self.config, list[Stage]()
        for level, side in enumerate(self.words):
            if level < c.first_level:
                continue
            names = ("discriminator", "generator")
            cycle = tuple(Phase(f"{name} {side}", trains=(name,), optimizer=f"{name} {side}") for name in names)
            if level > c.first_level:
                stages.append(Stage(f"fade to {side}", cycle, c.steps(c.fade_kimg)))
            last = level == len(self.words) - 1
            stages.append(Stage(f"at {side}", cycle, None if last else c.steps(c.stable_kimg)))
        return tuple(stages)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player and side: its state starts afresh with every side, its rate rises with large ones."""
        c, found = self.config, dict[str, OptimizerSpec]()
        for side, size in list(zip(self.words, self.sizes_of_layers, strict=True))[c.first_level :]:
            lr = c.lr * next((times for least, times in FASTER if min(size) >= least), 1.0)
            for name, times in (("generator", 1.0), ("discriminator", c.discriminator_lr)):
                found[f"{name} {side}"] = OptimizerSpec("adam", lr=lr * times, betas=(c.beta1, c.beta2))
        return found

    def _place(self, phase: Phase, at: Progress) -> tuple[int, Tensor | None]:
        """Return level and blend of a phase, and remember them for sampling."""
        c = self.config
        level = self.words.index(phase.name.split()[1])
        grown = level - c.first_level
        blend = 1.0
        if grown:
            fade, stable = c.steps(c.fade_kimg), c.steps(c.stable_kimg)
            begun = at.step - (stable + (grown - 1) * (fade + stable))
            blend = min(1.0, max(1, begun + 1) / fade)
        self.grown.copy_(self.grown.new_tensor([float(level), blend]))
        return level, self.grown[1].clone() if blend < 1 else None

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return the phase's loss at the side that has been reached."""
        level, blend = self._place(phase, ctx.progress)
        real = at_side(batch.x, self.sizes_of_layers[level], blend)
        playing = phase.name.startswith("generator")
        styles = self._styles(len(batch), level, ctx, average=playing)
        fake = self.generator(styles, self._noise(len(batch), ctx.generator), level, blend)
        if playing:
            fake_logits = real_logits = self.discriminator(fake, level, blend)
            if self.objective.paired:
                with torch.no_grad():
                    real_logits = self.discriminator(real, level, blend)
            return Terms(self.objective.generator(real_logits, fake_logits))
        real = real.detach().requires_grad_(self.config.r1_gamma is not None)
        real_logits, fake_logits = (self.discriminator.logits(x, level, blend) for x in (real, fake.detach()))
        loss = self.objective.discriminator(real_logits, fake_logits)
        if self.config.r1_gamma is not None:
            loss = loss + self.config.r1_gamma / 2 * squared_gradient_norm(real_logits, real)
        return Terms(loss, {**game_logs(real_logits, fake_logits, self.objective), "side": self._shown(blend, level)})

    def _shown(self, blend: Tensor | None, level: int) -> Tensor:
        side = torch.tensor(float(min(self.sizes_of_layers[level])), device=self.grown.device)
        return side if blend is None else side * (1 + blend.detach()) / 2

    def _styles(self, n: int, level: int, ctx: Context, *, average: bool) -> Styles:
        """Draw w for the layers that have been reached, for some samples two, and let the running mean follow."""
        z = torch.cat([self.sample_inputs(n, ctx.generator) for _ in range(2)])
        w, other = self.generator.mapping(z, None).chunk(2)
        if average:
            follow(self.generator.w_average, w)
        return mixed(w, other, 2 * (level + 1), self.config.mixing, ctx.generator)

    def _noise(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        return noises(rows, self.generator.noise_sizes, generator)

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
        images = clipped(self.generator(styles, noise, *self._reached()))
        return F.interpolate(images, size=self.sizes_of_layers[-1], mode="nearest")

    @property
    def w_layers(self) -> int:
        """Two layers for each side."""
        return 2 * len(self.words)

    @property
    def w_average(self) -> Tensor:
        """Running mean of w, (w_size,)."""
        found: Tensor = self.generator.w_average
        return found

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> W:
        """Return w (n, w_size) of z."""
        w: W = self.generator.mapping(inputs, None)
        return w

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Images:
        """Return images of styles (n, w_layers, w_size); one draw of the noise serves all rows."""
        return self._images(styles, self._noise(1, generator))
