"""The networks of the first StyleGAN: styles are the mean and the deviation of every map, and both networks grow.

Source: Karras et al. 2019, section 2, for G; Karras et al. 2018 (ProGAN), sections 2 and 3, for D and the growing.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample
from saddlepoint.families.stylegan1.config import StyleGAN1Config
from saddlepoint.nn.equalised import GAIN, Affine, EqualisedConv2d, ResizedConv2d, leaky
from saddlepoint.nn.resample import NARROW, blur
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.style import Head, MappingNetwork, Styles, W
from saddlepoint.objectives.losses import get_objective

EPSILON = 1e-5
"""Added to the variance of a map. At the start the learned constant has none, and the gradient grows by its root."""


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

    def forward(self, x: Images, w: W, noise: Tensor) -> Images:
        """Return (batch, width, side, side)."""
        h = leaky(x + self.strength[:, None, None] * noise + self.bias[:, None, None])
        # AdaIN, equation 1: y_s (x - mean(x)) / deviation(x) + y_b, with y_s = 1 + scale.
        h = h - h.mean((2, 3), keepdim=True)
        h = h * torch.rsqrt(h.square().mean((2, 3), keepdim=True) + EPSILON)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)  # (batch, width, 1, 1)
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
        # Two maps of noise for each side.
        self.noise_sizes = [one for one in of for _ in range(2)]
        self.mapping = MappingNetwork(config.latent_size, 0, size, config.mapping_depth)
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
            h = below = self.constant.expand(styles.shape[0], -1, -1, -1)
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
        # A paired objective sees differences of logits only: an offset would never move.
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
            if blend is not None and k == level - 1:  # the newest block, while it is faded in
                older = leaky(self.inputs[k - self.first_level](F.avg_pool2d(x, 2)))
                h = torch.lerp(older, h, blend.to(h.dtype))
        logits: PerSample = self.head(h, None)
        return logits
