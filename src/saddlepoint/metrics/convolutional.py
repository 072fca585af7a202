"""Ensembles of small convolutional networks over windows, trained side by side as those of `recurrent` are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 5
"""Steps that a filter sees."""

DILATIONS = (1, 2, 4)
"""Of the layers: together they see 29 steps."""

_SLOPE = 0.2


class Convolutional(nn.Module):
    """Independent networks of three dilated convolutions and a linear layer on means and maxima over the steps.

    Where a GRU must carry what it saw to the last step, filters see every place of a window alike: short patterns that
    stand anywhere (a repeated value, a jump, a seam) are what they tell best.

    Args:
        count: of networks.
        inputs, units, outputs: features of a step, channels of every layer, and logits, of each.
        generator: of the initial weights: He-normal filters, zero biases.
    """

    def __init__(self, count: int, inputs: int, units: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(count, rows, columns, generator=generator) * math.sqrt(2 / columns))

        sizes = [inputs, *[units] * len(DILATIONS)]
        self.filters = nn.ParameterList(drawn(units, WIDTH * size) for size in sizes[:-1])
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(count, units, 1)) for _ in DILATIONS)
        self.exit = drawn(outputs, 2 * units)
        self.bias = nn.Parameter(torch.zeros(count, outputs, 1))

    def last(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return logits (count, outputs, n) of windows.

        Args:
            x: (time, count, inputs, n), 0 past the end.
            ends: (count, n) number of each row's last step; later ones do not count.
        """
        h = x.permute(1, 2, 0, 3)  # (count, inputs, time, n)
        steps = h.shape[2]
        there = (torch.arange(steps)[None, :, None] <= ends[:, None, :])[:, None].to(h.dtype)
        for filters, offset, dilation in zip(self.filters, self.offsets, DILATIONS, strict=True):
            reach = dilation * (WIDTH // 2)
            padded = F.pad(h * there, (0, 0, reach, reach))
            # Shifted copies beside one another: a convolution as one matrix product for all networks.
            seen = torch.cat([padded[:, :, k * dilation : k * dilation + steps] for k in range(WIDTH)], 1)
            flat = torch.baddbmm(offset, filters, seen.flatten(2))
            h = F.leaky_relu(flat, _SLOPE).view(len(flat), -1, steps, h.shape[3])
        mean = (h * there).sum(2) / there.sum(2)
        most = h.masked_fill(there == 0, -torch.inf).amax(2)
        return torch.baddbmm(self.bias, self.exit, torch.cat([mean, most], 1))
