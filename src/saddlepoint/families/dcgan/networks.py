"""The networks of DCGAN: strided convolutions in place of pooling, nothing fully connected between them.

Source: Radford et al. 2015, section 3, and the configuration released with it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, Latents, PerSample, at_least_float32
from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.family import DataSpec
from saddlepoint.nn.normalise import SpectralConv2d, rms_norm
from saddlepoint.nn.sizes import Sizes, proposed, starts
from saddlepoint.objectives.losses import get_objective

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""


def resolutions(shape: tuple[int, ...]) -> Sizes:
    """Return (height, width) of the layers up to the image: by doubling, of squares of 28 also 4, 7, 14, 28.

    Raises:
        ConfigError: if the short side is not 4, 5, 6 or 7 times a power of two, from 16 to 128, or the long one cannot
            be halved as often.

    >>> resolutions((3, 32, 32)), resolutions((1, 28, 28))
    ([(4, 4), (8, 8), (16, 16), (32, 32)], [(4, 4), (7, 7), (14, 14), (28, 28)])
    >>> resolutions((3, 64, 96))
    [(4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]
    """
    _, height, width = shape
    found = starts(height, width)
    if found is None or not can_make(width, height):
        raise ConfigError(
            "family 'dcgan' makes images whose short side is 4, 5, 6 or 7 times a power of two, from 16 to 128, "
            f"and whose long side is a multiple of that power, but these are {width}x{height}; choose "
            f"--size {proposed(width, height, can_make)} or another of them"
        )
    return [(4, 4), *found] if height == width == 28 else found


def can_make(width: int, height: int) -> bool:
    """Whether there is such a list."""
    return 16 <= min(width, height) <= 128 and starts(height, width) is not None


def _widths(config: DCGANConfig, levels: int) -> list[int]:
    # Channels of the hidden layers, from the smallest up to half the side of the image.
    return [min(config.max_width, config.width << i) for i in reversed(range(levels - 1))]


class Generator(nn.Module):
    """z (with a one-hot label) -> small maps (4 x 4) -> transposed convolutions of stride 2, ReLU -> tanh."""

    batch: ClassVar[bool] = True

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)
        widths = _widths(config, len(sides))
        self.classes, self.start = classes, (widths[0], *sides[0])
        bias = not self.batch  # which batch normalisation would subtract
        self.input = nn.Linear(config.latent_size + classes, widths[0] * sides[0][0] * sides[0][1], bias=bias)
        self.layers = nn.ModuleList(
            _upsampling(a, b, config.kernel, low, high, bias=bias)
            for (a, b), (low, high) in zip(pairwise(widths), pairwise(sides), strict=False)
        )
        self.output = _upsampling(widths[-1], data.shape[0], config.kernel, *sides[-2:], bias=True)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths) if self.batch else None

    def forward(self, z: Latents, labels: Tensor | None) -> Images:
        """Return images (batch, channel, height, width) in (-1, 1)."""
        if self.classes:
            assert labels is not None
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        h = self.input(z).unflatten(1, self.start)  # (batch, width, 4, 4)
        for number, layer in enumerate([*self.layers, self.output]):
            # All layers but the output: normalised there, samples oscillated (section 3).
            h = layer(F.relu(self.normalised(h, number)))
        return torch.tanh(at_least_float32(h))

    def normalised(self, h: Images, number: int) -> Images:
        """Return what a layer reads, of mean 0 and variance 1 over the minibatch but for a gain and an offset."""
        assert self.norms is not None
        found: Images = self.norms[number](h)
        return found


class ChannelNormalisedGenerator(Generator):
    """G that divides by the root mean square over channels at each place: a sample depends on itself alone."""

    batch = False

    def normalised(self, h: Images, number: int) -> Images:
        """Return what a layer reads, of mean square 1 over channels."""
        return rms_norm(h)


GENERATORS = {"batch": Generator, "channel": ChannelNormalisedGenerator}


def _upsampling(
    inputs: int, outputs: int, kernel: int, low: tuple[int, int], high: tuple[int, int], *, bias: bool
) -> nn.ConvTranspose2d:
    # The transposed convolution of stride 2 from size `low` to `high` (2 low, or 2 low - 1).
    kernel, stride, padding = _downsampling(kernel, high)
    extra = high[0] - ((low[0] - 1) * stride - 2 * padding + kernel)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, output_padding=extra, bias=bias)


def _downsampling(kernel: int, size: tuple[int, int]) -> tuple[int, int, int]:
    # Kernel, stride and padding of the convolution from a size to half of it, rounded up.
    kernel = 3 if kernel == 4 and size[0] % 2 else kernel
    return kernel, 2, kernel // 2 if kernel % 2 else kernel // 2 - 1


class Discriminator(nn.Module):
    """Convolutions of stride 2 with LeakyReLU down to small maps -> one logit, plus a product with the label's vector.

    The projection of the label is that of Miyato and Koyama 2018.
    """

    batch: ClassVar[bool] = True
    convolution: ClassVar[type[nn.Conv2d]] = nn.Conv2d

    def __init__(self, config: DCGANConfig, data: DataSpec, classes: int) -> None:
        super().__init__()
        sides = resolutions(data.shape)[::-1]
        widths = [data.shape[0], *_widths(config, len(sides))[::-1]]
        self.layers = nn.ModuleList(
            self.convolution(a, b, *_downsampling(config.kernel, high))
            for (a, b), high in zip(pairwise(widths), sides[:-1], strict=True)
        )
        # The first layer has no batch normalisation, as published.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[2:]) if self.batch else None
        features = widths[-1] * sides[-1][0] * sides[-1][1]
        # A paired objective sees differences of logits only: an offset would never move.
        self.output = nn.Linear(features, 1, bias=not get_objective(config.objective).paired)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Images, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        h = x
        for number, layer in enumerate(self.layers):
            h = layer(h)
            if self.norms is not None and number:
                h = self.norms[number - 1](h)
            h = F.leaky_relu(h, SLOPE)
        return self.shifted((h.flatten(1) * self.head(labels)).sum(1))

    def weight(self) -> Tensor:
        """Return the weights of the output, (1, features)."""
        return self.output.weight

    def head(self, labels: Tensor | None) -> Tensor:
        """Return them as they act: one row for all, or with labels one row for each sample."""
        if self.embedding is None:
            return self.weight()
        assert labels is not None
        return self.weight() + self.embedding(labels)  # (batch, features)

    def shifted(self, logits: PerSample) -> PerSample:
        """Return logits with the output's offset."""
        return logits if self.output.bias is None else logits + self.output.bias


class SpectralDiscriminator(Discriminator):
    """D whose every layer has spectral norm 1 (Miyato et al. 2018)."""

    batch = False
    convolution = SpectralConv2d

    def weight(self) -> Tensor:
        """Return the output's weights at norm 1."""
        return F.normalize(self.output.weight, dim=1)
