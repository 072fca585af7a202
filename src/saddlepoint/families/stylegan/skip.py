"""A discriminator whose blocks each read the image, of their own size, beside what the block before made of it.

Source: Karras et al. 2020 (StyleGAN2), section 4.1: input skips.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample
from saddlepoint.families.stylegan.config import StyleGANConfig
from saddlepoint.families.stylegan.game import Discriminator, Game
from saddlepoint.nn.equalised import GAIN, EqualisedConv2d
from saddlepoint.nn.resample import downsample
from saddlepoint.nn.sizes import Sizes
from saddlepoint.nn.style import limited


class SkipDiscriminator(Discriminator):
    """Plain blocks; before each of them, and before the last layers, channels from the image of that size."""

    def __init__(self, config: StyleGANConfig, levels: Sizes, channels: int, classes: int) -> None:
        super().__init__(config, levels, channels, classes)
        widths, self.taps = config.channels(levels)[::-1], config.resample_filter
        self.inputs = nn.ModuleList(EqualisedConv2d(channels, b, 1, amplify=GAIN) for _, b in pairwise(widths))

    def logits(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        h = limited(self.input(x, 0.2), self.clamp)
        for number, (block, read) in enumerate(zip(self.blocks, self.inputs, strict=True), 1):
            x = downsample(x, self.taps)
            of_image = read(x, 0.2)
            # As released: the last of them, before the deviation, has no limit.
            h = block(h) + (limited(of_image, self.clamp) if number < len(self.inputs) else of_image)
        return self.head(h, labels)

    forward = logits


class Skip(Game):
    """The game with this discriminator."""

    def build_discriminator(self, levels: Sizes) -> nn.Module:
        return SkipDiscriminator(self.config, levels, self.data.shape[0], self.classes)
