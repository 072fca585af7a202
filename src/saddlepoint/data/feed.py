"""The feed: minibatch number t as a function of (seed, t), so that resuming needs no iterator state."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.types import from_bytes, from_uint16
from saddlepoint.data.dataset import Split
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.spec import Batch

RESIDENT_LIMIT = 2 * 1024**3
"""Bytes up to which a split is held in memory on the training device; larger ones stay memory-mapped. Of GPUs with
CUDA it is their free memory that decides."""

MEMORY_SHARE = 4
"""It may take one part in this many of the memory there is: training and evaluation need theirs."""


class Feed:
    """Minibatches of one split, reshuffled every epoch.

    Args:
        split: rows to serve; images of 8 or 16 bits become floats in [-1, 1], vectors stay in their own units.
        batch_size: samples per minibatch.
        seed: decides the order of the rows.
        device: where batches are delivered.
        shares: equal parts of each minibatch that are asked for one by one, by one process or by several.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, device: torch.device | str = "cpu", shares: int = 1
    ) -> None:
        self.rows = len(split.x)
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.shares = shares
        self._seed = seed
        self._mapped: np.ndarray | None = None
        self._resident: Tensor | None = None
        if split.x.nbytes <= _most_resident(self.device):
            self._resident = torch.from_numpy(_indexable(np.array(split.x))).to(self.device)
        else:
            self._mapped = split.x
        self._uint16 = split.x.dtype == np.uint16
        # Where rows are chosen: on the device, but for rows that stay on disk.
        self._place = self.device if self._resident is not None else torch.device("cpu")
        labels = None if split.labels is None else torch.from_numpy(np.array(split.labels, dtype=np.int64))
        self._labels = None if labels is None else labels.to(self._place)
        self._orders: dict[int, Tensor] = {}

    def batch(self, draw: int, share: int = 0) -> Batch:
        """Return a share of minibatch number ``draw`` (from 0); an epoch's last one is filled from the next epoch."""
        index = self.indices(draw, share)
        if self._resident is not None:
            x = self._inside(self._resident.index_select(0, index))
        else:
            assert self._mapped is not None
            x = self._inside(self._sent(torch.from_numpy(_indexable(self._mapped[index.numpy()]))))
        labels = None if self._labels is None else self._sent(self._labels.index_select(0, index))
        return Batch(x=x, labels=labels)

    def _sent(self, rows: Tensor) -> Tensor:
        """Return rows on the device."""
        if self.device.type == "cuda" and rows.device.type == "cpu":
            # From pinned memory the copy is queued as a kernel is: the CPU goes on with the next minibatch.
            return rows.pin_memory().to(self.device, non_blocking=True)
        return rows.to(self.device)

    def _inside(self, rows: Tensor) -> Tensor:
        return from_uint16(rows) if self._uint16 else from_bytes(rows)

    def indices(self, draw: int, share: int = 0) -> Tensor:
        """Return the row numbers of a share of minibatch ``draw``, (batch_size / shares,), where rows are chosen."""
        remaining = self.batch_size // self.shares
        first = draw * self.batch_size + share * remaining
        parts = []
        while remaining:
            epoch, position = divmod(first, self.rows)
            part = self._order(epoch)[position : position + remaining]
            parts.append(part)
            first += len(part)
            remaining -= len(part)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            digest = hashlib.blake2b(f"order/{self._seed}/{epoch}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
            # Drawn on the CPU: the same on every device. It is sent once an epoch, not in every step.
            self._orders[epoch] = torch.randperm(self.rows, generator=generator).to(self._place)
        return self._orders[epoch]


def _most_resident(device: torch.device) -> int:
    """Return how many bytes of rows may be held in the device's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // MEMORY_SHARE
    return min(RESIDENT_LIMIT, usable_memory() // MEMORY_SHARE) if device.type == "cpu" else RESIDENT_LIMIT


def _indexable(x: np.ndarray) -> np.ndarray:
    """Return rows as PyTorch can choose among them: it cannot yet index uint16, but the same bits as int16."""
    return x.view(np.int16) if x.dtype == np.uint16 else x
