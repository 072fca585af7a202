"""Discriminators of the fully connected systems."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import PerSample, Samples
from saddlepoint.nn.conv import MaxoutConv2d
from saddlepoint.nn.mlp import Maxout, dropout, in_full, leaky_mlp


class MaxoutDiscriminator(nn.Module):
    """The discriminator of 2014: (convolutional) maxout layers with dropout on every layer's input -> one logit.

    Args:
        shape: of a sample.
        widths: hidden units, layer by layer.
        pieces: affine maps per unit.
        keep_input, keep_hidden: shares of inputs and of hidden units that dropout keeps.
        convolutional: three layers of maxout convolutions come first, those of the CIFAR-10 configuration.
        unit: inputs in [-1, 1] are mapped to [0, 1].

    Raises:
        ConfigError: if it is convolutional and the samples are no images of at least 16 pixels.
    """

    def __init__(
        self, shape: tuple[int, ...], widths: Sequence[int], pieces: int, keep_input: float, keep_hidden: float,
        *, convolutional: bool, unit: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.convolutions = nn.ModuleList()
        features = torch.Size(shape).numel()
        if convolutional:
            if len(shape) != 3 or min(shape[1:]) < 16:
                raise ConfigError(f"a maxout-conv discriminator needs images of 16 pixels or more, not {shape}")
            self.convolutions += [
                MaxoutConv2d(shape[0], 32, 2, kernel=8, padding=4, pool=4, stride=2),
                MaxoutConv2d(32, 32, 2, kernel=8, padding=3, pool=4, stride=2),
                MaxoutConv2d(32, 192, 2, kernel=5, padding=3, pool=2, stride=2),
            ]
            with torch.no_grad():  # windows that hang over the edge make the size hard to write down: it is asked for
                features = nn.Sequential(*self.convolutions)(torch.zeros(1, *shape)).numel()
        sizes = (features, *widths)
        self.hidden = nn.ModuleList(Maxout(a, b, pieces) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)
        self.keep_input, self.keep_hidden, self.unit = keep_input, keep_hidden, unit

    def forward(self, x: Samples, generator: torch.Generator | None) -> PerSample:
        """Return logits (batch,); dropout masks come from ``generator``, None switches dropout off."""
        # A dropped pixel is black in the paper's range [0, 1]; in [-1, 1] it would be grey.
        h = (x + 1) / 2 if self.unit else x
        h = dropout(h if self.convolutions else h.flatten(1), self.keep_input, generator)
        for layer in self.convolutions:
            h = dropout(layer(h), self.keep_hidden, generator)
        h = h.flatten(1)
        for layer in self.hidden:
            h = dropout(layer(h), self.keep_hidden, generator)
        return in_full(self.output, h).squeeze(1)


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
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
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
            h = layer(h)
            if offset is not None and layer is self.hidden[0]:
                h = h + offset
            h = F.leaky_relu(h, self.slope)
        return in_full(self.output, h).squeeze(1)

    def _offset(self, labels: Tensor | None) -> Tensor | None:
        # An offset behind the first map, not an input beside x: R1 must not make D flat in the label.
        return None if self.label is None else self.label(labels)
