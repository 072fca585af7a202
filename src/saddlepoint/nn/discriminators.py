"""Discriminators that come with their input gradients: of layers that are fully connected, and of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import Images, PerSample, Samples
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.layers import Conv2d, Linear
from saddlepoint.nn.mlp import draw_he, in_full, leaky_mlp


class LeakyDiscriminator(nn.Module):
    """x - mean (and a label, as an offset of the first layer) -> LeakyReLU layers -> one logit.

    It comes with the gradient in x that R1 and R2 need.

    Args:
        shape: of a sample.
        widths: hidden units, layer by layer.
        slope: of LeakyReLU on the negative side.
        bias: whether the output has an offset.
        classes: of the labels; 0: it sees none.
    """

    def __init__(
        self, shape: tuple[int, ...], widths: Sequence[int], slope: float, *, bias: bool, classes: int = 0
    ) -> None:
        super().__init__()
        sizes = (torch.Size(shape).numel(), *widths)
        self.hidden = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        self.label = nn.Embedding(classes, sizes[1]) if classes else None
        self.output = nn.Linear(sizes[-1], 1, bias=bias)
        self.slope = slope
        # The data's mean, set by the family's prepare: inputs around 0 learn faster, and a constant leaves grad_x be.
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(sizes[0]))

    def forward(self, x: Samples, labels: Tensor | None = None) -> tuple[PerSample, PerSample, Samples]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached, in the shape of x."""
        layers = [*self.hidden, self.output]
        logits, norms, gradients = leaky_mlp(x.flatten(1) - self.mean, layers, self.slope, self._offset(labels))
        return logits, norms, gradients.view_as(x)

    def logits(self, x: Samples, labels: Tensor | None = None) -> PerSample:
        """Return logits (batch,) alone, at half the price."""
        h, offset = x.flatten(1) - self.mean, self._offset(labels)  # (batch, features), (batch, units) or None
        for layer in self.hidden:
            if offset is not None and layer is self.hidden[0]:
                h = F.leaky_relu(layer(h) + offset, self.slope)
            else:
                h = layer(h, self.slope)
        return in_full(self.output, h).squeeze(1)

    def _offset(self, labels: Tensor | None) -> Tensor | None:
        # An offset behind the first map, not an input beside x: R1 must not make D flat in the label.
        return None if self.label is None else self.label(labels)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw weights that keep the variance through LeakyReLU (He et al. 2015); D begins as if it saw no label."""
        draw_leaky(self.hidden, self.output, self.label, self.slope, generator)


class ConvDiscriminator(nn.Module):
    """3x3 convolutions of stride 2 with LeakyReLU down to a side of 4 -> one logit, or a product with the label.

    The product is the projection of Miyato and Koyama 2018. Like `LeakyDiscriminator` it comes with the gradient in x.

    Args:
        shape: (channel, height, width) of a sample.
        width: channels at half the side; they double with every halving.
        slope: of LeakyReLU on the negative side.
        classes: of the labels; 0: it sees none.
    """

    def __init__(self, shape: tuple[int, ...], width: int, slope: float, classes: int = 0) -> None:
        super().__init__()
        channels, *side = shape
        widths = [channels]
        self.slope = slope
        while min(side) > _SMALLEST:
            side, widths = [(n + 1) // 2 for n in side], [*widths, width << (len(widths) - 1)]
        self.layers = nn.ModuleList(Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        features = widths[-1] * side[0] * side[1]
        self.output = nn.Linear(features, 1, bias=False)
        self.label = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Images, labels: Tensor | None = None) -> tuple[PerSample, PerSample, Images]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached, in the shape of x."""
        return leaky_convnet(x, self.layers, self._head(labels), self.slope)

    def logits(self, x: Images, labels: Tensor | None = None) -> PerSample:
        """Return logits (batch,) alone, at half the price."""
        for layer in self.layers:
            x = F.leaky_relu(layer(x), self.slope)
        return (x.flatten(1) * self._head(labels)).sum(1)

    def _head(self, labels: Tensor | None) -> Tensor:
        return self.output.weight if self.label is None else self.output.weight + self.label(labels)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw weights that keep the variance through LeakyReLU (He et al. 2015); D begins as if it saw no label."""
        draw_leaky(self.layers, self.output, self.label, self.slope, generator)


_SMALLEST = 4
"""Side of the last maps at most."""


def draw_leaky(
    hidden: Iterable[nn.Module], output: nn.Linear, label: nn.Embedding | None, slope: float, generator: torch.Generator
) -> None:
    """Draw the weights of a discriminator: hidden ones keep the variance, the output's is 1, offsets are 0."""
    for layer in hidden:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        draw_he(layer, (2 / (1 + slope**2)) ** 0.5, generator)
    draw_he(output, 1.0, generator)
    if label is not None:
        nn.init.zeros_(label.weight)
