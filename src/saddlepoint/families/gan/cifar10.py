"""CIFAR-10 as released: after global contrast normalisation, fully connected and convolutional.

Source: the two configurations released with Goodfellow et al. 2014 for CIFAR-10.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Samples
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.families.gan.game import Game, MaxoutDiscriminator, SigmoidTopGenerator
from saddlepoint.family import EXAMPLES, DataSpec, DataStats
from saddlepoint.nn.conv import MaxoutConv2d
from saddlepoint.nn.layers import ConvTranspose2d

_CHANNELS, _SIDE = 80, 10
"""Maps before the transposed convolution, which goes 5 x 5 with a stride of 3 to 32 x 32."""


def fully_connected(released: GANConfig) -> GANConfig:
    """Return the preset of the fully connected networks."""
    return replace(
        released, latent="normal", generator_widths=(8000, 8000), generator="relu-sigmoid", output_init="wide",
        contrast=55.0, discriminator_widths=(1600, 1600), lr=0.025,
    )  # fmt: skip


def convolutional(released: GANConfig) -> GANConfig:
    """Return the preset of the convolutional D and the "deconvolutional" G."""
    return replace(
        released, batch_size=128, latent="normal", generator_widths=(8000, 8000), generator="deconv",
        contrast=55.0, discriminator="maxout-conv", discriminator_widths=(500,), lr=0.004,
    )  # fmt: skip


class DeconvolutionalGenerator(SigmoidTopGenerator):
    """G with one transposed convolution after its sigmoid layer: 80 maps of 10 x 10 to 32 x 32."""

    def build_output(self, units: int) -> nn.ConvTranspose2d:
        """Return the transposed convolution, and keep biases beside it."""
        if self.shape[1:] != (32, 32) or units != _CHANNELS * _SIDE**2:
            raise ConfigError(
                f"a deconv generator goes from {_CHANNELS * _SIDE**2:,} units to images of 32 x 32, "
                f"but it has {units:,} units and images of shape {self.shape}"
            )
        # Untied: every pixel has a bias of its own, as released.
        self.bias = nn.Parameter(torch.zeros(self.shape))
        return ConvTranspose2d(_CHANNELS, self.shape[0], 5, stride=3, bias=False)  # (10 - 1) * 3 + 5 = 32

    def paint(self, h: Tensor) -> Samples:
        """Return (batch, channel, 32, 32)."""
        pixels: Samples = self.output(h.unflatten(1, (_CHANNELS, _SIDE, _SIDE))) + self.bias
        return pixels

    @property
    def pixel_bias(self) -> Tensor:
        """The untied biases."""
        return self.bias


class ConvolutionalMaxout(MaxoutDiscriminator):
    """D with three layers of maxout convolutions before its maxout layer."""

    def build_convolutions(self, shape: tuple[int, ...]) -> nn.ModuleList:
        """Return the layers of the released configuration."""
        if len(shape) != 3 or min(shape[1:]) < 16:
            raise ConfigError(f"a maxout-conv discriminator needs images of 16 pixels or more, not {shape}")
        return nn.ModuleList(
            [
                MaxoutConv2d(shape[0], 32, 2, kernel=8, padding=4, pool=4, stride=2),
                MaxoutConv2d(32, 32, 2, kernel=8, padding=3, pool=4, stride=2),
                MaxoutConv2d(32, 192, 2, kernel=5, padding=3, pool=2, stride=2),
            ]
        )


class Convolutional(Game):
    """The game with the convolutional D."""

    def build_discriminator(self) -> ConvolutionalMaxout:
        """Return D."""
        return ConvolutionalMaxout(self.config, self.data.shape, unit=self.generator.squashed)


class ContrastNormalised(Game):
    """The game on images without their mean, of one norm; samples get the data's mean brightness and contrast."""

    def __init__(self, config: GANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if data.modality != "image":
            raise ConfigError("contrast and given are for images; leave them out")
        # Mean brightness of the training images, and their mean norm without it. Named so in checkpoints.
        self.looks: Tensor
        self.register_buffer("looks", torch.tensor([0.0, 1.0]))

    def real(self, x: Samples) -> Samples:
        """Return c (x - mean x) / ||x - mean x||, image by image: global contrast normalisation."""
        flat = x.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)  # (batch, channel height width)
        return (flat * (self.config.contrast / flat.norm(dim=1, keepdim=True).clamp_min(1e-8))).view_as(x)

    def prepare(self, stats: DataStats) -> None:
        """Remember brightness and contrast; there is no mean image to paint, since all means are 0."""
        rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
        centred = rows.flatten(1) - rows.flatten(1).mean(1, keepdim=True)
        self.looks.copy_(torch.stack([rows.mean(), centred.norm(dim=1).mean()]))

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples with the training images' mean brightness and contrast, clipped to [-1, 1]."""
        brightness, norm = self.looks
        return (self.generated(inputs) * (norm / self.config.contrast) + brightness).clamp(-1, 1)
