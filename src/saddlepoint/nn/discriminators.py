"""The discriminator of the fully connected systems that comes with its input gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, Samples
from saddlepoint.nn.layers import Linear
from saddlepoint.nn.mlp import in_full, leaky_mlp


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
