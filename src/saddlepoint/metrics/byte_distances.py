"""Squared distances between rows of bytes, exact, by products of 8-bit integers.

Processors with VNNI units multiply bytes four times as fast as float32 and eight times as fast as float64, and their
sums of integers are exact: no margin, no second look. Elsewhere the callers keep their products of floats.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.metrics.distances import Rows, is_bytes

_MOST = (2**31 - 1) // 255**2
"""Values in a row up to which a squared distance is a 32-bit integer."""


def takes(*tables: Rows) -> bool:
    """Whether distances between such rows, (n, *sample) each, are computed here: bytes, on a processor for them.

    Rows of one value are not: their products come out wrong in PyTorch 2.13, which mistakes a column for a row.
    """
    return all(is_bytes(rows) for rows in tables) and 1 < math.prod(tables[0].shape[1:]) <= _MOST and _fast()


@dataclass(frozen=True)
class Bytes:
    """Rows of bytes as the products take them.

    Attributes:
        x: (n, d) int8, the bytes less 128, which moves no distance.
        squares: (n,) int32 squared lengths.
    """

    x: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rows: Rows) -> Bytes:
        """Prepare uint8 rows (n, *sample)."""
        table = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        x = torch.from_numpy((np.ascontiguousarray(table).reshape(len(table), -1) ^ 0x80).view(np.int8))
        wide = x.float()
        # Sums of squares may be above 2^24, up to which float32 has every integer: partial sums are below it.
        squares = sum(part.square().sum(1).int() for part in wide.split(512, 1))
        assert isinstance(squares, Tensor)
        return cls(x, squares)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Bytes:
        return Bytes(self.x[rows], self.squares[rows])

    @functools.cached_property
    def columns(self) -> Tensor:
        """The rows laid out as columns, (d, n): the products read them a third faster."""
        return self.x.T.contiguous()


def byte_distances(a: Bytes, b: Bytes, *, ranks_only: bool = False) -> Tensor:
    """Return all squared distances, (n, m) int32, exact.

    Args:
        a: n rows.
        b: m rows of the same length.
        ranks_only: leave out the squared length of each row of ``a``, which moves no rank in its line.
    """
    table = torch._int_mm(a.x, b.columns)
    torch.sub(b.squares, table, alpha=2, out=table)
    return table if ranks_only else table.add_(a.squares[:, None])


@functools.cache
def _fast() -> bool:
    """Whether there are units for products of bytes, and these come out exact."""
    try:
        if not torch.cpu._is_vnni_supported():
            return False
        # The largest sums there are: what saturates shows here.
        x = torch.tensor([[-128], [127]], dtype=torch.int8).expand(2, 64).contiguous()
        found = torch._int_mm(x, x.T.contiguous())
    except (AttributeError, RuntimeError):
        return False
    return found.tolist() == [[128 * 128 * 64, -128 * 127 * 64], [-128 * 127 * 64, 127 * 127 * 64]]
