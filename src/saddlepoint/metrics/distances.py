"""Euclidean distances between large sets of rows, in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError

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


def count_shared_features(samples: Rows, train: Rows) -> int:
    """Return the number of values in a row of samples and of training rows, which must be in the same units.

    Raises:
        DataError: if either is empty, if shapes differ, or if exactly one of them is uint8 (units differ).
    """
    if is_bytes(samples) != is_bytes(train):
        raise DataError(
            f"samples are {samples.dtype} and training rows {train.dtype}: only one of them is in [0, 255]; "
            "bring both to the same units, images with saddlepoint.figures.grids.to_uint8"
        )
    return count_features(samples, train, ("samples", "training rows"))


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

    Training rows stream through in blocks, so ``train`` may be a memory map. Matrix products in float32 only choose
    candidates; the distances are computed by plain subtraction in float64: exactly 0 for a copy.

    Args:
        samples: (n, *sample), in the units of ``train``.
        train: (m, *sample).
        budget: working memory in bytes beyond the arguments and the results.

    Returns:
        indices: (n,) int64; the lowest index among equal rows.
        distances: (n,) float64, in the units of the arguments.

    Raises:
        DataError: if either is empty, if shapes differ, if exactly one of them is uint8 (units differ), or if values
            are not finite or above 1e18.
    """
    features = count_shared_features(samples, train)
    size = block_rows(features, budget)
    indices, distances = np.zeros(len(samples), np.int64), np.zeros(len(samples))
    shift = as_float64(train[:size]).mean(0).float().double()
    for rows in blocks(len(samples), size):
        index = _nearest_rows(samples[rows], train, shift, size)
        indices[rows] = index
        # sorted for a memory map, where a jump backwards costs a page
        order = np.argsort(index, kind="stable")
        for part in blocks(len(order), max(1, size // 2)):
            chosen = order[part]
            gap = as_float64(samples[rows][chosen]) - as_float64(train[index[chosen]])
            distances[rows.start + chosen] = torch.linalg.vector_norm(gap, dim=1).numpy()
    return indices, distances


def _nearest_rows(samples: Rows, train: Rows, shift: Tensor, size: int) -> np.ndarray:
    """Indices of the nearest training rows of one block of samples.

    Products in float32, twice as fast, find which samples may be nearer to a row of this block than to any before,
    with a margin for their rounding. Where only one row can be the nearest, its distance is computed by subtraction;
    elsewhere float64 decides.
    """
    x = shifted32(samples, shift)
    xx = squared_norms(x).double()
    best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
    error = 8 * math.sqrt(x.shape[1]) * float(np.finfo(np.float32).eps)
    for part in blocks(len(train), size):
        g = shifted32(train[part], shift)
        gg = squared_norms(g)
        # Lower ends of |x - g|^2 - |x|^2 but for the share of the margin that is the same for a whole line.
        low = torch.addmm((1 - error) * gg, x, g.T, alpha=-2)
        lowest = low.amin(1).double() + (1 - error) * xx
        near = np.flatnonzero((lowest < torch.from_numpy(best)).numpy())
        if len(near):
            low = low[near]
            first = low.argmin(1)
            high = low.gather(1, first[:, None]).squeeze(1) + 2 * error * (gg[first] + xx[near])
            alone = ((low <= high.float()[:, None]).sum(1) == 1).numpy()
            winner = first.numpy()
            winner[~alone] = _nearest_in_float64(samples[near[~alone]], train[part], shift)
            for some in blocks(len(near), max(1, size // 2)):
                gap = as_float64(samples[near[some]]) - as_float64(train[part][winner[some]])
                value = squared_norms(gap).numpy()
                closer = value < best[near[some]]
                best[near[some][closer]] = value[closer]
                index[near[some][closer]] = winner[some][closer] + part.start
    return index


def _nearest_in_float64(samples: Rows, train: Rows, shift: Tensor) -> np.ndarray:
    if not len(samples):
        return np.zeros(0, np.int64)
    x, g = as_float64(samples) - shift, as_float64(train) - shift
    # numpy promises the first minimum, torch does not: equal pictures must give equal answers.
    return squared_distances(x, g, squared_norms(x), squared_norms(g)).numpy().argmin(1)


def shifted32(rows: Rows, shift: Tensor) -> Tensor:
    """Rows minus the shift, (n, d) float32 on the CPU; bytes, which float32 holds exactly, without a detour."""
    if not is_bytes(rows):
        table = (as_float64(rows) - shift).float()
        if not bool((table.abs() < 1e18).all()):
            raise DataError("rows hold values that are not finite, or above 1e18: leave these rows out")
        return table
    table = rows.detach().cpu() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
    return table.reshape(len(table), -1).float().sub_(shift.float())


def is_bytes(rows: Rows) -> bool:
    """Whether rows are uint8, in [0, 255]."""
    return rows.dtype in (torch.uint8, np.dtype(np.uint8))
