"""Minibatches of which each row is part by itself with the same probability: what accountants of privacy assume."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed


def sample_rate(batch_size: int, rows: int) -> float:
    """Return the probability with which a row is part of a minibatch of ``batch_size`` rows in the mean.

    Raises:
        ConfigError: if there are fewer rows than that.
    """
    if batch_size > rows:
        raise ConfigError(f"batch_size is {batch_size:,}, but there are {rows:,} training rows; choose at most as many")
    return batch_size / rows


class PoissonFeed(Feed):
    """Draws each minibatch anew: every row with probability batch size / rows, whatever the others do.

    A minibatch may hold any number of rows, none included; its size is ``batch_size`` in the mean.

    Args:
        split: of the training rows.
        batch_size: mean number of rows, at most as many as there are.
        secret: which rows are drawn depends on it and on the number of the draw alone.
        device: where batches are delivered.

    Raises:
        ConfigError: if there are fewer rows than a minibatch has in the mean.
    """

    def __init__(self, split: Split, batch_size: int, secret: str, device: torch.device | str = "cpu") -> None:
        super().__init__(split, batch_size, 0, device)
        self.sample_rate, self._secret = sample_rate(batch_size, self.rows), secret

    def indices(self, draw: int, share: int = 0) -> Tensor:
        """Return the row numbers of minibatch ``draw``, (n,), sorted."""
        digest = hashlib.blake2b(f"rows/{self._secret}/{draw}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        chosen = torch.rand(self.rows, dtype=torch.float64, generator=generator) < self.sample_rate
        return chosen.nonzero().squeeze(1).to(self._place)
