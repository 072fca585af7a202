"""Differences between two small sets of samples, held against the same samples shuffled: permutation tests.

Figures of a few rows have no error of their own (`docs/reliability.md` says why). If two generators were the same, it
would not matter which of them drew a sample: how far the figures lie apart is compared with how far they lie apart
when the samples of both are dealt out anew.

Inner products of all rows are computed once; a deal only chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from saddlepoint.core.progress import counted
from saddlepoint.engine.machine.threads import measured_threads
from saddlepoint.evaluation.duration import timed
from saddlepoint.metrics.distances import EPS
from saddlepoint.metrics.manifold import DENSITY_K, PRECISION_K

MOST_ROWS = 400
"""Rows of each set that are shuffled; of larger ones evenly spaced rows are taken."""

DEALS = 199
"""Permutations: the smallest p-value is 1 / 200."""

VERSION = 1
"""Of the test: p-values of another one are not used again."""

_NEAREST = 32
"""Nearest samples among which those of the own part are looked for first: a quarter of them nearly always is."""

Figures = dict[str, Tensor]
"""A figure of each part, (parts,), by its name."""


def p_values(
    kind: str, real: np.ndarray, one: np.ndarray, two: np.ndarray, *, seed: int = 0, what: str = "shuffling samples"
) -> dict[str, float]:
    """Return two-sided p-values of no difference between two generators, by the name of the figure.

    Args:
        kind: of the protocol, one of `KINDS`.
        real: (n, d) features of the rows that both are compared with.
        one, two: (m, d) features of their samples.
        seed: of the permutations.
        what: is done, for whoever looks on.

    Returns:
        (1 + permutations with at least this difference) / (1 + permutations); exact where samples are exchangeable,
        which they are if both generators make the same distribution.
    """
    figures, first, count = _prepared(kind, real, one, two)
    rng, pooled = np.random.default_rng(seed), np.arange(count)
    with _one_thread():
        found = _gaps(figures, pooled, first)
        beyond = dict.fromkeys(found, 1)
        for _ in counted(range(DEALS), what, DEALS):
            for name, gap in _gaps(figures, rng.permutation(pooled), first).items():
                # Equal but for rounding counts as equal.
                beyond[name] += gap >= found[name] * (1 - 1e-9)
    return {name: seen / (DEALS + 1) for name, seen in beyond.items()}


def expected_seconds(kind: str, real: np.ndarray, one: np.ndarray, two: np.ndarray) -> float:
    """Return about how many seconds of processor time `p_values` takes, by timing one deal."""
    figures, first, count = _prepared(kind, real, one, two)
    with _one_thread():
        return timed(lambda: _gaps(figures, np.arange(count), first), DEALS)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute what is inside with one thread, that of numpy too: tables are small, and beside other programs several
    threads wait for one another in every one of thousands of steps."""
    with measured_threads(1, lambda: None), threadpool_limits(1):
        yield


def _prepared(
    kind: str, real: np.ndarray, one: np.ndarray, two: np.ndarray
) -> tuple[Callable[[Tensor], Figures], int, int]:
    """Return what computes the figures of parts, the samples of the first generator, and those of both."""
    rows = [_some(table.reshape(len(table), -1)) for table in (real, one, two)]
    return KINDS[kind](_Tables.of(rows[0], torch.cat(rows[1:]))), len(rows[1]), len(rows[1]) + len(rows[2])


def _gaps(figures: Callable[[Tensor], Figures], order: np.ndarray, first: int) -> dict[str, float]:
    """Return how far the figures of the first samples in this order and of the others lie apart."""
    one = torch.zeros(len(order), dtype=torch.bool)
    one[torch.from_numpy(order[:first])] = True
    return {name: abs(float(values[0] - values[1])) for name, values in figures(torch.stack([one, ~one])).items()}


def _some(rows: np.ndarray) -> Tensor:
    chosen = rows if len(rows) <= MOST_ROWS else rows[np.arange(MOST_ROWS) * len(rows) // MOST_ROWS]
    return torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.float64))


@dataclass(frozen=True)
class _Tables:
    """Inner products of all rows, from which every figure of a part of the samples follows.

    Attributes:
        rr: (n, n) of real rows with one another, about the mean of the real rows.
        rs: (n, m) of real rows with samples.
        ss: (m, m) of samples.
        dimensions: of the features.
        raw: the last two, about 0.
    """

    rr: Tensor
    rs: Tensor
    ss: Tensor
    dimensions: int
    raw: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, real: Tensor, samples: Tensor) -> _Tables:
        x, y = real - real.mean(0), samples - real.mean(0)
        return cls(x @ x.T, x @ y.T, y @ y.T, real.shape[1], (real @ samples.T, samples @ samples.T))

    def squared_distances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return those of real rows to one another (n, n), to samples (n, m), and of samples to one another (m, m)."""
        r, s = self.rr.diagonal(), self.ss.diagonal()
        return r[:, None] + r - 2 * self.rr, r[:, None] + s - 2 * self.rs, s[:, None] + s - 2 * self.ss


def _frechet(tables: _Tables) -> Callable[[Tensor], Figures]:
    """The Fréchet distance: the trace of the root of both covariances is a sum of singular values of inner products.

    The real rows are rotated into the directions that they share with samples, which are fewer where features are few.
    """
    n = len(tables.rr)
    real_trace = tables.rr.trace() / (n - 1)
    values, vectors = torch.linalg.eigh(tables.rs @ tables.rs.T)
    # numpy finds eigenvalues in 60% of the time of torch, and takes half a product with the same table.
    turned = (vectors[:, values > len(values) * EPS * values[-1]].T @ tables.rs).numpy()

    def roots(part: Tensor) -> float:
        rows = turned[:, part.numpy()]
        rows -= rows.mean(1, keepdims=True)
        m, rank = rows.shape[1], min(len(rows), rows.shape[1] - 1)
        squares = np.linalg.eigvalsh(rows @ rows.T if len(rows) <= m else rows.T @ rows)
        # Beyond the rank are rounding errors, whose roots are large.
        kept = np.maximum(squares[len(squares) - rank :], 0.0)
        return float(np.sqrt(kept).sum() / math.sqrt((n - 1) * (m - 1)))

    def figures(parts: Tensor) -> Figures:
        weights = parts.double()
        m = weights.sum(1)
        gap = ((weights @ tables.ss) * weights).sum(1) / m**2  # the mean of the real rows is 0
        trace = (weights @ tables.ss.diagonal() - m * gap) / (m - 1)
        return {
            "Fréchet distance": gap
            + real_trace
            + trace
            - 2 * torch.tensor([roots(part) for part in parts], dtype=torch.float64)
        }

    return figures


def _kernel(tables: _Tables) -> Callable[[Tensor], Figures]:
    """The kernel distance, but for the term of the real rows, which is the same for both."""
    across, within = ((table / tables.dimensions + 1) ** 3 for table in tables.raw)
    near = across.mean(0)
    within.fill_diagonal_(0.0)

    def figures(parts: Tensor) -> Figures:
        weights = parts.double()
        m = weights.sum(1)
        inner = ((weights @ within) * weights).sum(1) / (m * (m - 1))
        return {"kernel distance": inner - 2 * weights @ near / m}

    return figures


def _manifold(tables: _Tables) -> Callable[[Tensor], Figures]:
    real, across, within = tables.squared_distances()
    real.fill_diagonal_(math.inf)
    within.fill_diagonal_(math.inf)
    order = real.sort(1).values
    in_wide = across <= order[:, DENSITY_K - 1, None]
    # Whether a sample lies in a ball of the data, and in how many, no deal changes.
    inside = (across <= order[:, PRECISION_K - 1, None]).any(0).double()
    held, wide = in_wide.sum(0).double(), in_wide.float()
    distances, neighbours = within.sort(1)

    def figures(parts: Tensor) -> Figures:
        m, weights = parts.sum(1).double(), parts.double()
        recall = [(across[:, part] <= _radii(part, distances, neighbours)).any(1).double().mean() for part in parts]
        return {
            "precision": weights @ inside / m,
            "recall": torch.stack(recall),
            "density": weights @ held / m / DENSITY_K,
            "coverage": (wide @ parts.float().T > 0).double().mean(0),
        }

    return figures


def _radii(part: Tensor, distances: Tensor, neighbours: Tensor) -> Tensor:
    """Return the squared distance of each sample of a part to its k-th nearest in it, (rows of the part,).

    Args:
        part: (m,) of booleans.
        distances: (m, m) of all samples to one another, rising in each row.
        neighbours: (m, m), the samples that these are.
    """
    own = part.nonzero().squeeze(1)
    for width in (min(_NEAREST, len(part)), len(part)):
        seen = part[neighbours[own, :width]].cumsum(1)
        if width == len(part) or bool((seen[:, -1] >= PRECISION_K).all()):
            break
    place = (seen < PRECISION_K).sum(1, keepdim=True)
    return distances[own].gather(1, place).squeeze(1)


KINDS: dict[str, Callable[[_Tables], Callable[[Tensor], Figures]]] = {
    "fd": _frechet, "kd": _kernel, "prdc": _manifold,
}  # fmt: skip
"""Protocols whose figures are compared so."""
