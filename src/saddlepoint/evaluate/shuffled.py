"""Differences between two small sets of samples, held against the same samples shuffled: permutation tests.

Figures of a few rows have no error of their own (`docs/reliability.md` says why). If two generators were the same, it
would not matter which of them drew a sample: how far the figures lie apart is compared with how far they lie apart
when the samples of both are dealt out anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saddlepoint.metrics.manifold import DENSITY_K, PRECISION_K

MOST_ROWS = 400
"""Rows of each set that are shuffled; of larger ones evenly spaced rows are taken."""

DEALS = 199
"""Permutations: the smallest p-value is 1 / 200."""

Figures = dict[str, float]


def p_values(kind: str, real: np.ndarray, one: np.ndarray, two: np.ndarray, *, seed: int = 0) -> Figures:
    """Return two-sided p-values of no difference between two generators, by the name of the figure.

    Args:
        kind: of the protocol, one of `KINDS`.
        real: (n, d) features of the rows that both are compared with.
        one, two: (m, d) features of their samples.
        seed: of the permutations.

    Returns:
        (1 + permutations with at least this difference) / (1 + permutations); exact where samples are exchangeable,
        which they are if both generators make the same distribution.
    """
    real, one, two = (_some(rows.reshape(len(rows), -1).astype(np.float64)) for rows in (real, one, two))
    figures = KINDS[kind](_Tables.of(real, np.concatenate([one, two])))
    rng, pooled = np.random.default_rng(seed), np.arange(len(one) + len(two))
    found = _gap(figures, pooled, len(one))
    beyond = dict.fromkeys(found, 1)
    for _ in range(DEALS):
        dealt = _gap(figures, rng.permutation(pooled), len(one))
        for name, gap in dealt.items():
            # Equal but for rounding counts as equal.
            beyond[name] += gap >= found[name] * (1 - 1e-9)
    return {name: count / (DEALS + 1) for name, count in beyond.items()}


def _gap(figures: Callable[[np.ndarray], Figures], order: np.ndarray, first: int) -> Figures:
    one, two = figures(np.sort(order[:first])), figures(np.sort(order[first:]))
    return {name: abs(value - two[name]) for name, value in one.items()}


def _some(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= MOST_ROWS else rows[np.arange(MOST_ROWS) * len(rows) // MOST_ROWS]


@dataclass(frozen=True)
class _Tables:
    """Inner products of all rows, from which every figure of a part of the samples follows.

    Attributes:
        rr: (n, n) of real rows with one another, about the mean of the real rows.
        rs: (n, m) of real rows with samples.
        ss: (m, m) of samples.
        dimensions: of the features.
        raw: the same three, about 0.
    """

    rr: np.ndarray
    rs: np.ndarray
    ss: np.ndarray
    dimensions: int
    raw: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, real: np.ndarray, samples: np.ndarray) -> _Tables:
        x, y = real - real.mean(0), samples - real.mean(0)
        raw = (real @ real.T, real @ samples.T, samples @ samples.T)
        return cls(x @ x.T, x @ y.T, y @ y.T, real.shape[1], raw)

    def squared_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Return those of real rows to samples (n, m), and of samples to one another (m, m)."""
        r, s = np.diag(self.rr), np.diag(self.ss)
        across, within = r[:, None] + s - 2 * self.rs, s[:, None] + s - 2 * self.ss
        return across, within


def _frechet(tables: _Tables) -> Callable[[np.ndarray], Figures]:
    """The Fréchet distance: the trace of the root of both covariances is a sum of singular values of inner products."""
    n, real_trace = len(tables.rr), np.trace(tables.rr) / (len(tables.rr) - 1)

    def figures(part: np.ndarray) -> Figures:
        across, within = tables.rs[:, part], tables.ss[np.ix_(part, part)]
        m, gap = len(part), within.mean()  # the mean of the real rows is 0
        centred = across - across.mean(1, keepdims=True)
        roots = np.linalg.svd(centred, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
        trace = (np.trace(within) - m * gap) / (m - 1)
        return {"Fréchet distance": float(gap + real_trace + trace - 2 * roots)}

    return figures


def _kernel(tables: _Tables) -> Callable[[np.ndarray], Figures]:
    """The kernel distance, but for the term of the real rows, which is the same for both."""
    across, within = ((table / tables.dimensions + 1) ** 3 for table in tables.raw[1:])

    def figures(part: np.ndarray) -> Figures:
        own, m = within[np.ix_(part, part)], len(part)
        inner = (own.sum() - np.trace(own)) / (m * (m - 1))
        return {"kernel distance": float(inner - 2 * across[:, part].mean())}

    return figures


def _manifold(tables: _Tables) -> Callable[[np.ndarray], Figures]:
    across, within = tables.squared_distances()
    r = np.diag(tables.rr)
    real = r[:, None] + r - 2 * tables.rr
    np.fill_diagonal(real, np.inf)
    np.fill_diagonal(within, np.inf)
    order = np.sort(real, axis=1)
    near, wide = order[:, PRECISION_K - 1], order[:, DENSITY_K - 1]
    in_near, in_wide = across <= near[:, None], across <= wide[:, None]

    def figures(part: np.ndarray) -> Figures:
        ball = np.partition(within[np.ix_(part, part)], PRECISION_K - 1, axis=1)[:, PRECISION_K - 1]
        held = in_wide[:, part]
        return {
            "precision": float(in_near[:, part].any(0).mean()),
            "recall": float((across[:, part] <= ball).any(1).mean()),
            "density": float(held.sum(0).mean() / DENSITY_K),
            "coverage": float(held.any(1).mean()),
        }

    return figures


KINDS: dict[str, Callable[[_Tables], Callable[[np.ndarray], Figures]]] = {
    "fd": _frechet, "kd": _kernel, "prdc": _manifold,
}  # fmt: skip
"""Protocols whose figures are compared so."""
