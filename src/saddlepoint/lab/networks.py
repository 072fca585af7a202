"""Small fully connected networks for one and two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Independent networks of the same shape, evaluated at once: (count, n, inputs) -> (count, n, outputs).

    Args:
        count: of networks.
        sizes: inputs, hidden units layer by layer, outputs; SiLU between them.
        generator: of the initial weights: N(0, 2 / inputs), biases 0.
    """

    def __init__(self, count: int, sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            torch.randn(count, a, b, generator=generator) * (2 / a) ** 0.5 for a, b in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(count, 1, b) for b in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of every network for its own rows."""
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x if number == last else F.silu(x)
        return x


class Network(Ensemble):
    """One such network: (n, inputs) -> (n, outputs)."""

    def __init__(self, sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__(1, sizes, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        return super().forward(x[None])[0]


class Monotone(nn.Module):
    """A rising function on the line: (n, 1) -> (n, 1), x = b + a z + sum_j w_j tanh(u_j z + c_j) with a, w, u > 0.

    On a line every distribution is reached so, without folds; a free network folds z early and stays folded.
    """

    def __init__(self, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.height, self.steepness = nn.Parameter(torch.full((units,), -4.0)), nn.Parameter(torch.zeros(units))
        self.place = nn.Parameter(torch.randn(units, generator=generator))

    def forward(self, z: Tensor) -> Tensor:
        """Return x; at first nearly .7 z."""
        bends = torch.tanh(F.softplus(self.steepness) * z + self.place)
        return self.offset + F.softplus(self.slope) * z + (F.softplus(self.height) * bends).sum(1, keepdim=True)


def adam(network: nn.Module, lr: float, steps: int, betas: tuple[float, float] = (0.9, 0.99)) -> tuple[
    torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler
]:  # fmt: skip
    """Return Adam and the schedule that lets its rate fall to 0 along a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), lr, betas, fused=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
