"""Parzen likelihoods of pictures of bytes: their distances are whole numbers, found by products of 8-bit integers.

Centres that are no bytes, as a generator gives them, are rounded to bytes first. By the triangle inequality a rounded
centre is as far from a picture as the centre itself, up to what rounding moved it; so few centres are left that can
count for a picture, and only these distances are computed, by subtraction in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saddlepoint.metrics.byte_distances import Bytes, byte_distances, takes
from saddlepoint.metrics.distances import Rows, as_float64, blocks
from saddlepoint.metrics.sums import NEGLIGIBLE, sum_of_exp

_TABLE = 2**22
"""Distances in one table: 16 MiB."""

_PAIRS = 2**13
"""Pairs of rows that are subtracted at once."""

_DENSE = 50
"""Centres are looked at one by one where at most one in so many can count."""


def byte_likelihoods(points: Rows, centres: Rows, sigmas: Sequence[float]) -> np.ndarray:
    """Return log-likelihoods in nats of pictures in [0, 1], (len(sigmas), n), as `parzen.log_likelihood` has them.

    Args:
        points: (n, *sample) uint8, in [0, 255].
        centres: (m, *sample) uint8.
        sigmas: widths in units of 1.
    """
    x, g = Bytes.of(points), Bytes.of(centres)
    found = np.empty((len(sigmas), len(x)))
    for rows in blocks(len(x), max(1, _TABLE // len(g))):
        table = byte_distances(x[rows], g)
        lowest = table.amin(1)
        table -= lowest[:, None]
        for k, sigma in enumerate(sigmas):
            sums = sum_of_exp(table, 255 * sigma)
            found[k, rows] = (sums.log() - lowest.double() / (2 * (255 * sigma) ** 2)).numpy()
    return found - _norms(x.x.shape[1], sigmas)[:, None] - math.log(len(g))


def near_likelihood(points: Rows, centres: Rows, sigma: float) -> np.ndarray | None:
    """Return log-likelihoods (n,) of pictures of bytes under centres between bytes; None where many centres count.

    Args:
        points: (n, *sample) uint8.
        centres: (m, *sample) of floats, in [0, 1].
        sigma: width in units of 1.
    """
    rounded, moved = _rounded(centres)
    if not math.isfinite(moved) or not takes(points, rounded):
        return None
    x, g = Bytes.of(points), Bytes.of(rounded)
    margin, found = 2 * NEGLIGIBLE * (255 * sigma) ** 2, np.empty(len(x))
    for rows in blocks(len(x), max(1, _TABLE // len(g))):
        table = byte_distances(x[rows], g)
        # No nearest centre is further than this, and none that counts than the second.
        nearest = table.amin(1).double().sqrt() + moved
        limit = (nearest.square() + margin).sqrt() + moved
        near = np.flatnonzero((table <= limit.square().ceil().int()[:, None]).numpy())
        if len(near) * _DENSE > table.numel():
            return None
        squares = _squares(points[rows], centres, near // len(g), near % len(g))
        found[rows] = _log_sums(squares, near // len(g), sigma)
    return np.asarray(found - _norms(x.x.shape[1], (sigma,)) - math.log(len(g)))


def _rounded(centres: Rows) -> tuple[Tensor, float]:
    """Return centres as bytes, and the largest distance by which rounding moved one, in grey levels."""
    parts, moved = [], 0.0
    for part in blocks(len(centres), 512):
        exact = as_float64(centres[part]) * 255
        near = exact.round().clamp_(0, 255)
        moved = float(torch.linalg.vector_norm(exact.sub_(near), dim=1).max().clamp_min(moved))
        parts.append(near.to(torch.uint8))
    return torch.cat(parts).reshape(tuple(centres.shape)), moved


def _squares(points: Rows, centres: Rows, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Squared distances of pairs in units of 1, by subtraction: (pairs,)."""
    found = np.empty(len(row))
    x = as_float64(points).div(255)
    for part in blocks(len(row), max(1, _PAIRS * 784 // x.shape[1])):
        gap = as_float64(centres[column[part]]).sub_(x[row[part]])
        found[part] = torch.linalg.vecdot(gap, gap).numpy()
    return found


def _log_sums(squares: np.ndarray, row: np.ndarray, sigma: float) -> np.ndarray:
    """log sum exp(-squares / (2 sigma^2)) of the pairs of each row; pairs are in the order of rows, each has one."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    lowest = np.minimum.reduceat(squares, starts)
    scale = -0.5 / sigma**2
    return np.asarray(
        np.log(np.add.reduceat(np.exp((squares - np.repeat(lowest, np.diff(starts, append=len(row)))) * scale), starts))
        + lowest * scale
    )


def _norms(features: int, sigmas: Sequence[float]) -> np.ndarray:
    return np.array([features * (math.log(sigma) + 0.5 * math.log(2 * math.pi)) for sigma in sigmas])
