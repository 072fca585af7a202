"""Categories among the steps of a sequence: one-hot groups that are chosen, differentiable, and held against data.

Tensors are (time, feature, batch), as in `nn/recurrent.py`; features are those of all groups, one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import at_least_float32
from saddlepoint.nn.constants import constant
from saddlepoint.nn.recurrent import Steps


class Groups:
    """Groups of features of which exactly one is 1.

    Args:
        sizes: features of each group.
        spikes: the first groups have two features and belong to the first numbers beside them, in this order: where
            the first feature is 1 the number has this value, which a large part of the rows has.
    """

    def __init__(self, sizes: Sequence[int], spikes: Sequence[float]) -> None:
        self.sizes, self.spikes = tuple(sizes), tuple(spikes)
        self.features = sum(self.sizes)

    def check(self, numbers: int) -> None:
        """Refuse spikes that have no number or no group of two.

        Raises:
            ConfigError: if they do not fit.
        """
        count = len(self.spikes)
        if numbers < count or self.sizes[:count] != (2,) * count:
            raise ConfigError(
                f"{count} frequent values do not fit {numbers} numbers and groups of {self.sizes}; prepare the data "
                "again"
            )

    def drawn(self, numbers: Steps, logits: Steps, static: Steps, noise: Steps) -> Steps:
        """Return the features of steps: numbers with their frequent values, choices, what is static."""
        # In the order of the data's columns: numbers, one-hot groups, what is static: (time, feature, batch).
        chosen = self.chosen(logits, noise)
        return torch.cat([self.gated(numbers, chosen), chosen, static], 1)

    def shares(self, logits: Steps) -> Steps:
        """Return the softmax within every group."""
        if not self.sizes:
            return logits
        parts = at_least_float32(logits).split(self.sizes, 1)  # bf16's shares would not add up to 1
        return torch.cat([part.softmax(1) for part in parts], 1)

    def chosen(self, logits: Steps, noise: Steps) -> Steps:
        """Draw one feature of every group in the shares of the softmax, by Gumbel noise; gradients are the softmax's.

        Source: Jang et al. 2017; Maddison et al. 2017.
        """
        if not self.sizes:
            return logits
        soft = self.shares(at_least_float32(logits) + noise)  # Jang et al. 2017, eq. 2 at temperature 1
        hard = torch.cat([_highest(part) for part in soft.split(self.sizes, 1)], 1)
        # Straight-through (their section 2.2): forward exactly one feature is 1, as in data; backward it is as if the
        # softmax stood there. Added only where it is wanted: 1 + s - s is not exactly 1.
        return hard + (soft - soft.detach()) if soft.requires_grad else hard

    def gated(self, numbers: Steps, chosen: Steps) -> Steps:
        """Return numbers with their frequent value where their group says so; the others as they are."""
        if not self.spikes:
            return numbers
        there = chosen[:, : 2 * len(self.spikes) : 2]  # the first feature of each pair, (time, spikes, batch)
        value = constant(self.spikes, numbers)[:, None]
        first, rest = numbers.split((len(self.spikes), numbers.shape[1] - len(self.spikes)), 1)
        # A mixture, not torch.where: the choice gets a gradient through both of its sides.
        return torch.cat([there * value + (1 - there) * first, rest], 1)

    def cross_entropy(self, logits: Steps, wanted: Steps, mask: Tensor) -> Tensor:
        """Return the mean over the steps within windows and over groups of -log of the wanted features' shares."""
        parts = zip(at_least_float32(logits).split(self.sizes, 1), wanted.split(self.sizes, 1), strict=True)
        total = sum(-(one.log_softmax(1) * other * mask).sum() for one, other in parts)
        return torch.as_tensor(total) / (mask.sum() * len(self.sizes))


def _highest(shares: Steps) -> Steps:
    index = shares.argmax(1)  # (time, batch); one_hot puts the feature last
    return F.one_hot(index, shares.shape[1]).permute(0, 2, 1).to(shares.dtype)


def gumbel(uniform: Tensor) -> Tensor:
    """Return Gumbel noise from numbers uniform on [0, 1): where it is largest, after adding logits, is the draw."""
    return -(-uniform.clamp(1e-7, 1 - 1e-7).log()).log()  # 0 would give -inf, and 1, which rounding makes, inf


def on_circle(phases: Steps) -> Steps:
    """Return cosines, then sines, of phases in turns: (time, 2 feature, batch); 0.99 and 0 are neighbours there."""
    angle = 2 * math.pi * phases
    return torch.cat([angle.cos(), angle.sin()], 1)
