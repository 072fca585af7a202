"""Euclidean distances between large sets of rows, in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from saddlepoint._errors import DataError

Rows = np.ndarray | Tensor
"""Rows of any numeric type, shape (n, *sample): numpy (memory-mapped or not) or torch on any device."""

BLOCK_BYTES = 96 * 2**20
"""Default budget of working memory for one call, in bytes."""

EPS = float(np.finfo(np.float64).eps)


def block_rows(features: int, budget: int) -> int:
    """Return the largest b such that three blocks of b rows and three b x b tables fit into ``budget`` bytes.

    Solves 24 b (features + b) <= budget for float64; at least 1, so 24 (features + 1) bytes are always used.

    >>> block_rows(784, 96 * 2**20)
    1693
    """
    return max(1, int((math.sqrt(features**2 + budget / 6) - features) / 2))


def blocks(n: int, size: int) -> Iterator[slice]:
    """Cut the range [0, n) into slices of at most ``size``."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def count_features(a: Rows, b: Rows, names: tuple[str, str]) -> int:
    """Return the number of values in one row of ``a`` and ``b``.

    Raises:
        DataError: if either is empty, or their rows differ in shape.
    """
    for rows, name in zip((a, b), names, strict=True):
        if rows.ndim < 2 or 0 in rows.shape:
            raise DataError(f"{name} have shape {tuple(rows.shape)}, but at least one row is needed: (n, *sample)")
    if tuple(a.shape[1:]) != tuple(b.shape[1:]):
        raise DataError(
            f"{names[0]} have rows of shape {tuple(a.shape[1:])}, {names[1]} rows of shape "
            f"{tuple(b.shape[1:])}; they must be equal: resize or crop one of them"
        )
    return math.prod(a.shape[1:])


def as_float64(rows: Rows) -> Tensor:
    """Return ``rows`` flattened to (n, d), float64, on the CPU; a copy only where the type requires it."""
    if isinstance(rows, Tensor):
        return rows.detach().reshape(len(rows), -1).to("cpu", torch.float64)
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64).reshape(len(rows), -1))


def squared_norms(rows: Tensor) -> Tensor:
    """Squared length of each row, (n,), without a temporary of the size of ``rows``."""
    return torch.linalg.vecdot(rows, rows)


def squared_distances(x: Tensor, g: Tensor, xx: Tensor, gg: Tensor, out: Tensor | None = None) -> Tensor:
    """Squared distances |x_i|^2 + |g_j|^2 - 2 x_i g_j by one matrix product, clamped at 0.

    The absolute error is of the order of EPS (|x_i|^2 + |g_j|^2): shift both towards 0 beforehand.

    Args:
        x: (n, d) float64.
        g: (m, d) float64.
        xx: (n,) squared norms of x.
        gg: (m,) squared norms of g.
        out: (n, m) float64 to write into.
    """
    table = torch.mm(x, g.T, out=out)
    return table.mul_(-2).add_(xx[:, None]).add_(gg).clamp_(min=0)


def nearest(samples: Rows, train: Rows, *, budget: int = BLOCK_BYTES) -> tuple[np.ndarray, np.ndarray]:
    """Find for each sample its nearest training row in Euclidean distance.

    Training rows stream through in blocks, so ``train`` may be a memory map. The winner's distance is
    computed again by plain subtraction: it is exactly 0 for a copy.

    Args:
        samples: (n, *sample), in the units of ``train``.
        train: (m, *sample).
        budget: working memory in bytes beyond the arguments and the results.

    Returns:
        indices: (n,) int64; the lowest index among equals.
        distances: (n,) float64, in the units of the arguments.

    Raises:
        DataError: if either is empty, if shapes differ, or if exactly one of them is uint8 (units differ).
    """
    features = count_features(samples, train, ("samples", "training rows"))
    if _is_bytes(samples) != _is_bytes(train):
        raise DataError(
            f"samples are {samples.dtype} and training rows {train.dtype}: only one of them is in [0, 255]; "
            "convert the other with explore.to_uint8"
        )
    size = block_rows(features, budget)
    indices, distances = np.zeros(len(samples), np.int64), np.zeros(len(samples))
    shift = as_float64(train[:size]).mean(0)
    for rows in blocks(len(samples), size):
        x = as_float64(samples[rows]) - shift
        xx = squared_norms(x)
        best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
        for centres in blocks(len(train), size):
            g = as_float64(train[centres]) - shift
            table = squared_distances(x, g, xx, squared_norms(g)).numpy()
            # numpy promises the first minimum, torch does not: equal pictures must give equal answers.
            winner = table.argmin(1)
            value = table[np.arange(len(x)), winner]
            closer = value < best
            best[closer], index[closer] = value[closer], winner[closer] + centres.start
        indices[rows] = index
        # sorted for a memory map, where a jump backwards costs a page
        order = np.argsort(index, kind="stable")
        for part in blocks(len(x), max(1, size // 2)):
            chosen = order[part]
            gap = as_float64(samples[rows][chosen]) - as_float64(train[index[chosen]])
            distances[rows.start + chosen] = torch.linalg.vector_norm(gap, dim=1).numpy()
    return indices, distances


def _is_bytes(rows: Rows) -> bool:
    return rows.dtype in (torch.uint8, np.dtype(np.uint8))
