"""The kernel distance (KID): squared maximum mean discrepancy of features under a polynomial kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saddlepoint.metrics.bootstrap import Estimate, as_features, as_pair, squared_interval
from saddlepoint.metrics.distances import Rows, blocks

LEAST_ROWS = 50
"""Rows of each sample below which no interval is given."""

_BLOCK = 1024
"""Rows and columns of one table of kernel values: 8 MiB."""


@dataclass(frozen=True)
class KernelSums:
    """Sums of kernel values over columns (n,), over rows (m,), of all squares; without the diagonal if symmetric."""

    rows: Tensor
    columns: Tensor
    squares: float


def kernel_distance(real: Rows, fake: Rows, *, within: KernelSums | None = None) -> Estimate:
    """Kernel distance: the unbiased estimate of MMD^2 over all pairs, k(x, y) = (x y / d + 1)^3.

    sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_{ij} k(x_i, y_j) / (n m).

    The published protocol averages this figure over random subsets of 1,000 rows. The expectation is the same for
    any n, so all rows are used at once: no draw, and a smaller variance. Many packages multiply by 1,000.

    Args:
        real: (n, d) features of data, any real type, n >= 2.
        fake: (m, d) features of generated samples, m >= 2.
        within: `sums_within` of the real features, if they are known.

    Returns:
        The figure, in the kernel's units; below 0 in about half of all cases if the truth is 0. The interval covers
        the true MMD^2 of the two distributions, equal ones included (`squared_interval`); None below 50 rows. Working
        memory: a few tables of 8 MiB. Details: ``n_real``, ``n_fake``, ``dimensions``.

    Raises:
        DataError: on features that are not two finite tables of equal width.

    Source: Bińkowski et al. 2018, section 4; Gretton et al. 2012, lemma 6. Variance: Gretton's linear and
    second-order terms, the second from squares of the centred kernel (Székely & Rizzo 2014, definition 2).

    >>> import numpy as np
    >>> rows = np.array([[0.0], [2.0]])
    >>> kernel_distance(rows, rows).value  # 1 + 1 - 2 (1 + 1 + 1 + 125) / 4
    -62.0
    """
    x, y = as_pair(real, fake)
    n, m = len(x), len(y)
    xx, yy, xy = within or _within(x), _within(y), _across(x, y)
    value = float(xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1)) - 2 * xy.rows.sum() / (n * m))
    details: dict[str, int | float | str] = {"n_real": n, "n_fake": m, "dimensions": x.shape[1]}
    if min(n, m) < LEAST_ROWS:
        details["limitation"] = f"{min(n, m)} rows are too few for an interval; {LEAST_ROWS} are needed"
        return Estimate(value, None, None, details)
    # Estimated influences, up to their mean.
    a, b = xx.rows / (n - 1) - xy.rows / m, yy.rows / (m - 1) - xy.columns / n
    linear = 4 * float(a.var()) / n + 4 * float(b.var()) / m
    second = 2 * _square_within(xx) / n**2 + 2 * _square_within(yy) / m**2 + 4 * _square_across(xy) / (n * m)
    interval, error = squared_interval(value, bias=_excess(x, xx) + _excess(y, yy), linear=linear, second=second)
    return Estimate(value, interval, error, details)


def sums_within(rows: Rows) -> KernelSums:
    """Return what `kernel_distance` needs of the real features (n, d) alone, whatever they are compared with.

    Raises:
        DataError: on features that are no finite table.
    """
    return _within(as_features(rows, "real features"))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Kernel values, (rows of x, rows of y)."""
    table = torch.addmm(x.new_ones(1), x, y.T, alpha=1 / x.shape[1])
    return table.square().mul_(table)


def _within(x: Tensor) -> KernelSums:
    """Sums over all pairs of different rows; blocks below the diagonal are not computed."""
    rows, squares = x.new_zeros(len(x)), 0.0
    for i in blocks(len(x), _BLOCK):
        for j in blocks(len(x), _BLOCK):
            if j.start < i.start:
                continue
            table = _kernel(x[i], x[j])
            if i == j:
                table.fill_diagonal_(0.0)
            else:
                rows[j] += table.sum(0)
            rows[i] += table.sum(1)
            flat = table.view(-1)
            squares += float(flat @ flat) * (1 if i == j else 2)
    return KernelSums(rows, rows, squares)


def _across(x: Tensor, y: Tensor) -> KernelSums:
    rows, columns, squares = x.new_zeros(len(x)), y.new_zeros(len(y)), 0.0
    for i in blocks(len(x), _BLOCK):
        for j in blocks(len(y), _BLOCK):
            table = _kernel(x[i], y[j])
            rows[i] += table.sum(1)
            columns[j] += table.sum(0)
            flat = table.view(-1)
            squares += float(flat @ flat)
    return KernelSums(rows, columns, squares)


def _square_within(sums: KernelSums) -> float:
    """Unbiased mean square of the doubly centred kernel over pairs of different rows."""
    n = len(sums.rows)
    total = sums.rows.sum()
    squares = sums.squares - float(2 * sums.rows.square().sum() / (n - 2) - total**2 / ((n - 1) * (n - 2)))
    return max(0.0, squares / (n * (n - 3)))


def _square_across(sums: KernelSums) -> float:
    """The same over pairs of a row of one sample and a row of the other: two-way analysis of variance."""
    n, m = len(sums.rows), len(sums.columns)
    fitted = sums.rows.square().sum() / m + sums.columns.square().sum() / n - sums.rows.sum() ** 2 / (n * m)
    return max(0.0, (sums.squares - float(fitted)) / ((n - 1) * (m - 1)))


def _excess(x: Tensor, sums: KernelSums) -> float:
    """What the squared distance between the sample means in feature space is too large by, for one sample."""
    n = len(x)
    own = (x.square().sum(1) / x.shape[1] + 1).pow(3).mean()
    return float(own - sums.rows.sum() / (n * (n - 1))) / n
