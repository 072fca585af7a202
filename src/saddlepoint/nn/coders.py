"""Encoders to a few numbers and decoders from them: fully connected, or convolutions that halve and double the size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from saddlepoint.core.types import Samples
from saddlepoint.nn.layers import Conv2d, Linear, tanh
from saddlepoint.nn.mlp import draw_he, in_full
from saddlepoint.nn.normalise import rms_norm_leaky
from saddlepoint.nn.resized import resized_convolution
from saddlepoint.nn.sizes import sides_of, starts

SLOPE = 0.2
"""Slope of LeakyReLU on the negative side."""


class Hidden(nn.Module):
    """Affine maps, each followed by an activation.

    Args:
        sizes: features, from the input on.
        activation: ``leaky``: LeakyReLU, then division by the root mean square; ``tanh``.
    """

    def __init__(self, sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers, self.activation = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes)), activation

    def forward(self, h: Tensor) -> Tensor:
        """Return (batch, last size)."""
        for layer in self.layers:
            h = tanh(layer(h)) if self.activation == "tanh" else rms_norm_leaky(layer(h), before=SLOPE)
        return h


class Encoder(nn.Module):
    """A sample -> hidden layers -> ``outputs`` numbers.

    Args:
        shape: of a sample.
        widths: hidden units.
        outputs: numbers.
        activation: of `Hidden`.
    """

    def __init__(self, shape: tuple[int, ...], widths: Sequence[int], outputs: int, activation: str = "leaky") -> None:
        super().__init__()
        self.hidden = Hidden((torch.Size(shape).numel(), *widths), activation)
        self.output = nn.Linear(widths[-1], outputs)

    def forward(self, x: Samples) -> Tensor:
        """Return (batch, outputs), in fp32 whatever the precision around."""
        return in_full(self.output, self.hidden(x.flatten(1)))


class Decoder(nn.Module):
    """Numbers -> hidden layers -> a sample, linear at the end.

    Args:
        inputs: numbers.
        widths: hidden units.
        shape: of a sample.
        activation: of `Hidden`.
    """

    def __init__(self, inputs: int, widths: Sequence[int], shape: tuple[int, ...], activation: str = "leaky") -> None:
        super().__init__()
        self.hidden = Hidden((inputs, *widths), activation)
        self.output, self.shape = Linear(widths[-1], torch.Size(shape).numel()), shape

    def forward(self, z: Tensor) -> Samples:
        """Return (batch, *sample)."""
        found: Tensor = self.output(self.hidden(z))
        return found.unflatten(1, self.shape)

    @property
    def offset(self) -> Tensor:
        """The bias of the output, a number for each of a sample."""
        return self.output.bias


class ConvEncoder(nn.Module):
    """An image -> a convolution -> convolutions, each halving the size -> ``outputs`` numbers.

    Args:
        shape: of an image.
        width: channels at full size; they double with every halving, up to eight times.
        outputs: numbers.
        family: for messages.
    """

    def __init__(self, shape: tuple[int, ...], width: int, outputs: int, family: str) -> None:
        super().__init__()
        sides, widths = _levels(shape, width, family)
        self.input = Conv2d(shape[0], widths[-1], 3, 1, 1)
        self.layers = nn.ModuleList(Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths[::-1]))
        self.output = nn.Linear(widths[0] * sides[0][0] * sides[0][1], outputs)

    def forward(self, x: Samples) -> Tensor:
        """Return (batch, outputs), in fp32 whatever the precision around."""
        h = rms_norm_leaky(self.input(x), before=SLOPE)
        for layer in self.layers:
            assert isinstance(layer, Conv2d)
            h = rms_norm_leaky(resized_convolution(h, layer, "down"), before=SLOPE)
        return in_full(self.output, h.flatten(1))


class ConvDecoder(nn.Module):
    """Numbers -> a small map -> convolutions, each after a doubling of the size -> an image, linear at the end.

    Args:
        inputs: numbers.
        width: as in `ConvEncoder`.
        shape: of an image.
        family: for messages.
    """

    def __init__(self, inputs: int, width: int, shape: tuple[int, ...], family: str) -> None:
        super().__init__()
        sides, widths = _levels(shape, width, family)
        self.start = (widths[0], *sides[0])
        self.input = Linear(inputs, torch.Size(self.start).numel())
        self.layers = nn.ModuleList(Conv2d(a, b, 3, 1, 1) for a, b in pairwise(widths))
        self.output = Conv2d(widths[-1], shape[0], 3, 1, 1)
        self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Samples:
        """Return (batch, *sample)."""
        h = rms_norm_leaky(self.input(z).unflatten(1, self.start), before=SLOPE)
        for layer in self.layers:
            assert isinstance(layer, Conv2d)
            h = rms_norm_leaky(resized_convolution(h, layer, "up"), before=SLOPE)
        return self.output(h) + self.offset


def _levels(shape: tuple[int, ...], width: int, family: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Return (height, width) and channels of the levels, from the smallest."""
    sides = sides_of(shape, family)
    return sides, [min(width << i, 8 * width) for i in reversed(range(len(sides)))]


def fitting_networks(shape: tuple[int, ...]) -> tuple[str, str]:
    """Return "mlp" or "convolutional" for samples of a shape, and why.

    >>> fitting_networks((3, 32, 32)), fitting_networks((1, 28, 28))[0], fitting_networks((3, 30, 30))[0]
    (('convolutional', 'networks convolutional: the samples are 3x32x32'), 'mlp', 'mlp')
    """
    # Of small grey images a fully connected network learns more in a second, of colour it does not.
    small = len(shape) != 3 or (shape[0] == 1 and max(shape[1:]) <= 32)
    kind = "mlp" if small or starts(*shape[1:]) is None else "convolutional"
    return kind, f"networks {kind}: the samples are {'x'.join(map(str, shape))}"


def draw_coders(*networks: nn.Module, generator: torch.Generator) -> None:
    """Draw He-normal weights for hidden layers, small ones for outputs; biases are 0."""
    for network in networks:
        for layer in network.modules():
            gain = 1.0 if layer is getattr(network, "output", None) else 2**0.5
            if isinstance(layer, nn.Linear):
                draw_he(layer, gain, generator)
            elif isinstance(layer, nn.Conv2d):
                fan_in = layer.weight[0].numel()
                nn.init.normal_(layer.weight, 0.0, gain / fan_in**0.5, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
