"""The networks of StyleGAN2: styles act on weights, images are sums over sizes, D is residual.

Source: Karras et al. 2020 (StyleGAN2), sections 2.2 and 4; the mapping network, styled layers and D's head are in
`nn/style.py`, since the first StyleGAN has some of them too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample
from saddlepoint.families.stylegan.config import StyleGANConfig
from saddlepoint.nn.equalised import GAIN, EqualisedConv2d, leaky
from saddlepoint.nn.resample import blur, downsample, upsample
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.style import Head, MappingNetwork, StyledLayer, Styles, ToImage, widths_of
from saddlepoint.objectives.losses import get_objective


class Generator(nn.Module):
    """z -> w (mapping); a learned constant -> blocks of two styled layers, each adding to the doubled image."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__()
        widths, size = widths_of(config.width, config.max_width, len(levels)), config.w_size
        # One map for the smallest side, two for every other.
        self.noise_sizes = [levels[0], *[size for size in levels[1:] for _ in range(2)]]
        self.mapping = MappingNetwork(config.latent_size, classes, size, config.mapping_depth)
        self.bounded = config.bounded
        self.constant = nn.Parameter(torch.empty(1, widths[0], *levels[0]))
        self.first = StyledLayer(widths[0], widths[0], size)
        self.ups = nn.ModuleList(StyledLayer(a, b, size, up=True) for a, b in pairwise(widths))
        self.layers = nn.ModuleList(StyledLayer(b, b, size) for b in widths[1:])
        self.images = nn.ModuleList(ToImage(width, channels, size) for width in widths)
        self.w_average: Tensor  # for truncation
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
        h = self.first(self.constant.expand(styles.shape[0], -1, -1, -1), styles[:, 0], noise[0])  # the smallest side
        image = self.images[0](h, styles[:, 1])
        for k, (up, layer, to_image) in enumerate(zip(self.ups, self.layers, self.images[1:], strict=True)):
            h = up(h, styles[:, 2 * k + 1], noise[2 * k + 1])  # (batch, width, 2 side, 2 side)
            h = layer(h, styles[:, 2 * k + 2], noise[2 * k + 2])
            # Output skips, section 4: every side adds what it can show, so that nothing has to be faded in.
            image = upsample(image) + to_image(h, styles[:, 2 * k + 3])
        return torch.tanh(image) if self.bounded else image


class Block(nn.Module):
    """Two convolutions, the second halving the side; with ``residual`` beside a filtered copy."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        shared = 0.5**0.5 if residual else 1.0  # a sum of two keeps its variance
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
        # Residual in D, section 4; plain for CIFAR-10, as the second paper has it.
        residual, size = config.discriminator == "residual", widths[-1]
        self.blocks = nn.Sequential(*(Block(a, b, residual=residual) for a, b in pairwise(widths)))
        label = MappingNetwork(0, classes, size, config.mapping_depth) if classes else None
        # A paired objective sees differences of logits only: an offset would never move.
        offset = not get_objective(config.objective).paired
        self.head = Head(size, levels[0], config.deviation_group, amplify=GAIN, label=label, vector=size, offset=offset)

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        return self.logits(x, labels)

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return what `forward` returns, never compiled: a gradient's gradient cannot be had from compiled code."""
        logits: PerSample = self.head(self.blocks(leaky(self.input(x))), labels)
        return logits
