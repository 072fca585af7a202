"""Nearest rows and rows within balls, by float32 products that are looked at again wherever rounding could decide.

Products of float32 take half the time of float64 and half the memory. Each distance is known within a margin; what lies
in it is computed by subtraction in float64, so that answers are those of exact distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.metrics.distances import blocks, squared_norms

_TABLE = 2**20
"""Distances in one block: 4 MiB."""

_SPARE = 4
"""Candidates beyond those that are asked for."""

_MARGIN = 8 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Table:
    """Rows for products in float32.

    Attributes:
        rows: (n, d) as they are, float32 or float64.
        x: (n, d) float32, less a shift.
        squares: (n,) float32 squared lengths of these.
    """

    rows: Tensor
    x: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rows: Tensor, shift: Tensor) -> Table:
        """Prepare rows (n, d); distances do not change under a shift, and near 0 products lose the fewest digits."""
        x = (rows - shift).float()
        return cls(rows, x, squared_norms(x))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, chosen: Tensor) -> Table:
        return Table(self.rows[chosen], self.x[chosen], self.squares[chosen])

    @property
    def margin(self) -> float:
        """Share of |x|^2 + |y|^2 by which a squared distance may be wrong."""
        return _MARGIN * math.sqrt(self.x.shape[1])


def _lower(a: Table, b: Table, rows: slice) -> Tensor:
    """Squared distances of some rows of ``a`` to all of ``b``, less their margin: (rows, m) float32."""
    kept = 1 - a.margin
    return torch.addmm(kept * b.squares, a.x[rows], b.x.T, alpha=-2).add_(kept * a.squares[rows, None])


def _subtracted(a: Tensor, b: Tensor) -> Tensor:
    gap = a - b
    return torch.linalg.vecdot(gap, gap)


def nearest_within(table: Table, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest other rows of each row: squared distances, rising, in the rows' own type, and indices.

    Distances come from subtraction, so that they are exactly 0 for copies.

    Returns:
        (n, k) each.
    """
    x, n = table.rows, len(table)
    squares, indices = x.new_empty(n, k), torch.empty(n, k, dtype=torch.int64)
    kept = min(k + _SPARE, n)
    for rows in blocks(n, max(1, min(_TABLE // n, _TABLE // (kept * x.shape[1])))):
        low = _lower(table, table, rows)
        low.diagonal(rows.start).fill_(math.inf)
        bounds, found = low.topk(kept, 1, largest=False)
        exact, order = _subtracted(x[rows, None], x[found]).masked_fill_(bounds.isinf(), math.inf).sort(1)
        squares[rows], indices[rows] = exact[:, :k], found.gather(1, order)[:, :k]
        # No other row is nearer than the last bound says.
        if kept < n:
            for i in (exact[:, k - 1] > bounds[:, -1]).nonzero().squeeze(1).tolist():
                own = rows.start + i
                gaps = _subtracted(x, x[own])
                gaps[own] = math.inf
                nearest = gaps.argsort(stable=True)[:k]
                squares[own], indices[own] = gaps[nearest], nearest
    return squares, indices


@dataclass(frozen=True)
class Pairs:
    """Pairs of a row of x and a row of y that lie near each other, and their squared distances."""

    first: Tensor
    second: Tensor
    squares: Tensor


def pairs_within(a: Table, b: Table, radii: Tensor, others: Tensor) -> tuple[Pairs, Pairs]:
    """Return the pairs in balls around rows of ``a``, and those in balls around rows of ``b``, in one pass.

    Args:
        a: n rows.
        b: m rows.
        radii: (n, k) squared, rising: pairs up to the last are found, and are on the right side of each.
        others: (m, k) the same for rows of ``b``.
    """
    found: tuple[list[Pairs], list[Pairs]] = ([], [])
    own_last, other_last = radii[:, -1:].float() * (1 + _MARGIN), others[:, -1].float() * (1 + _MARGIN)
    for rows in blocks(len(a), max(1, _TABLE // len(b))):
        low = _lower(a, b, rows)
        for parts, inside, spheres in (
            (found[0], low <= own_last[rows], radii),
            (found[1], low <= other_last, others),
        ):
            flat = torch.from_numpy(np.flatnonzero(inside.numpy()))
            first, second = flat // len(b) + rows.start, flat % len(b)
            slack = a.margin * (a.squares[first] + b.squares[second]).double()
            squares = low.view(-1)[flat].double() + slack
            around = spheres[first if spheres is radii else second].double()
            doubtful = ((squares[:, None] - around).abs() <= 2 * slack[:, None]).any(1).nonzero().squeeze(1)
            for part in blocks(len(doubtful), max(1, _TABLE // a.rows.shape[1])):
                chosen = doubtful[part]
                squares[chosen] = _subtracted(a.rows[first[chosen]], b.rows[second[chosen]]).double()
            parts.append(Pairs(first, second, squares))
    return _joined(found[0]), _joined(found[1])


def _joined(parts: list[Pairs]) -> Pairs:
    columns = zip(*((part.first, part.second, part.squares) for part in parts), strict=True)
    return Pairs(*(torch.cat(column) for column in columns))
