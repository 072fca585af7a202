"""D's loss pair by pair: what a family must say for its D to learn with differential privacy."""

from __future__ import annotations

import abc

from saddlepoint.core.types import PerSample, Samples
from saddlepoint.data.spec import Batch
from saddlepoint.family.contract import Context, Phase


class PairLosses(abc.ABC):
    """Has a D whose loss is a mean over pairs, each of one row and one sample of G, and a G that sees rows by D alone.

    Then the gradient of a pair can be clipped: what one row can do to an update of D is bounded, and what G learns is
    computed from D. `saddle train --private` asks for it.
    """

    @abc.abstractmethod
    def mixing(self) -> str:
        """Return why the options of this family forbid it, in words; "" where they do not.

        They do where a loss depends on other rows (statistics of the minibatch), where G's loss reads rows, or where
        rows stay in buffers.
        """

    @abc.abstractmethod
    def pairs(self, phase: Phase, batch: Batch, ctx: Context) -> tuple[Samples, Samples]:
        """Return what D sees of rows and of as many samples, (n, *sample) each; the i-th of both make a pair.

        They need no gradient, and one row must not change what is made of another.
        """

    @abc.abstractmethod
    def pair_losses(self, phase: Phase, real: Samples, fake: Samples) -> PerSample:
        """Return D's loss on pairs, (n,), by operations that `torch.func` can map over rows, without randomness."""
