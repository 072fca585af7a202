"""Precision, recall, density and coverage: how two samples fill each other's neighbourhoods.

A ball around each row reaches to its k-th nearest neighbour within its own sample. Precision is the share of
generated rows that lie in some ball of the data, recall the share of real rows in some ball of the generated
sample. Density counts the balls around a generated row, over k; coverage is the share of the data's balls that
hold a generated row.

Some packages swap precision and recall, or the order of their arguments. Here real comes first, always, and a
sample that collapsed to good images has high precision and low recall.

All four depend on n, m and k: compare figures of equal counts only. Their intervals cover the expected figure of
samples of the same n and m. The bootstrap cannot give them, since a row drawn twice is its own nearest neighbour,
and the jackknife overstates the variance, because rows act through their neighbours. The variance comes from
disjoint groups of a quarter of the rows: these figures are averages of local events, whose variance falls as 1/n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.bootstrap import LEVEL, Estimate, Z, as_pair, hashed_order, wilson_interval
from saddlepoint.metrics.distances import Rows
from saddlepoint.metrics.neighbours import Pairs, Table, nearest_within, pairs_within

PRECISION_K = 3
"""Neighbours for precision and recall: Kynkäänniemi et al. 2019, section 3.1."""

DENSITY_K = 5
"""Neighbours for density and coverage: Naeem et al. 2020, section 4."""

LEAST_ROWS = 500
"""Rows of each sample below which no interval is given."""

_GROUPS = 4
"""Groups that rows are divided into."""

_PARTITIONS = (3, 12)
"""Fewest and most divisions into groups; between them, as many as their distances stay below 12 million."""

Names = Sequence[str]

Known = dict[str, tuple[Tensor, Tensor]]
"""Distances of real rows to their nearest ones, and these, for all rows and for groups of them."""


@dataclass(frozen=True)
class _Count:
    """Rows of y in the ball of each row of x, (n,); balls around each row of y, (m,)."""

    held: np.ndarray
    around: np.ndarray


@dataclass(frozen=True)
class _Groups:
    """A figure in groups.

    Attributes:
        mean: over groups.
        variance: between groups, over their number: that of the figure of all rows.
        half_width: half width of an interval in standard errors.
        excess: by how much the jackknife overstates the variance; known for density only.
    """

    mean: float
    variance: float
    half_width: float
    excess: float = 0.0


def precision(real: Rows, fake: Rows, k: int = PRECISION_K) -> Estimate:
    """Improved precision: share of generated rows that lie in a ball of the data (closed balls).

    Args:
        real: (n, d) features of data, any real type, n >= k + 1.
        fake: (m, d) features of generated samples, m >= k + 1.
        k: neighbours that a ball reaches to, the centre not counted, >= 1.

    Returns:
        The share, 0 to 1. The interval (None below 500 rows) covers the expected share of samples of the same n, m.
        Working memory: a few tables of 16 MiB. Details: ``n_real``, ``n_fake``, ``dimensions``, ``k``.

    Raises:
        ConfigError: if k is below 1.
        DataError: on features that are not two finite tables of equal width, or too few rows for k.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2. Interval: Wilson's, with the variance between groups.

    >>> line = np.arange(6.0)[:, None]
    >>> precision(line, line / 10).value, recall(line, line / 10).value
    (1.0, 0.16666666666666666)
    """
    return _measure(real, fake, ("precision",), k, k)["precision"]


def recall(real: Rows, fake: Rows, k: int = PRECISION_K) -> Estimate:
    """Improved recall: share of real rows that lie in a ball of the generated sample; see `precision`.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2.
    """
    return _measure(real, fake, ("recall",), k, k)["recall"]


def density(real: Rows, fake: Rows, k: int = DENSITY_K) -> Estimate:
    """Density: mean number of the data's balls around a generated row, over k.

    Args:
        real: (n, d) features of data, n >= k + 1.
        fake: (m, d) features of generated samples, m >= k + 1.
        k: neighbours that a ball reaches to, >= 1.

    Returns:
        The figure, >= 0; about 1 for equal distributions, more for samples that keep to dense places. The interval
        covers the expected figure of samples of the same n and m. Details and errors as for `precision`.

    Source: Naeem et al. 2020, equation 4.
    """
    return _measure(real, fake, ("density",), k, k)["density"]


def coverage(real: Rows, fake: Rows, k: int = DENSITY_K) -> Estimate:
    """Coverage: share of the data's balls that hold a generated row.

    For equal distributions and n = m it is about 1 - 2^-k (exactly, in expectation, 1 - product over i = 0 .. k - 1
    of (n - 1 - i) / (n + m - 1 - i)): 0.97 for k = 5.

    Args:
        real: (n, d) features of data, n >= k + 1.
        fake: (m, d) features of generated samples, m >= k + 1.
        k: neighbours that a ball reaches to, >= 1.

    Returns:
        The share, 0 to 1. The interval covers the expected share of samples of the same n and m. Details and
        errors as for `precision`.

    Source: Naeem et al. 2020, equation 5.
    """
    return _measure(real, fake, ("coverage",), k, k)["coverage"]


def manifold(
    real: Rows,
    fake: Rows,
    *,
    precision_k: int = PRECISION_K,
    density_k: int = DENSITY_K,
    known: Known | None = None,
) -> dict[str, Estimate]:
    """Return ``precision``, ``recall``, ``density`` and ``coverage`` for the distances of two of them.

    Args:
        real, fake, precision_k, density_k: as above.
        known: distances within these very real rows from an earlier call, or {}; what was computed anew is put there.

    Raises:
        ConfigError, DataError: as in `precision`.
    """
    return _measure(real, fake, ("precision", "recall", "density", "coverage"), precision_k, density_k, known)


def _measure(
    real: Rows, fake: Rows, names: Names, precision_k: int, density_k: int, known: Known | None = None
) -> dict[str, Estimate]:
    known = {} if known is None else known
    for k in (precision_k, density_k):
        if k < 1:
            raise ConfigError(f"k is {k}, but must be at least 1: the neighbours that a ball reaches to")
    x, y = as_pair(real, fake)
    ks = {name: density_k if name in ("density", "coverage") else precision_k for name in names}
    largest = max(ks.values())
    if min(len(x), len(y)) <= largest:
        raise DataError(
            f"there are {len(x)} real and {len(y)} generated rows, but k = {largest} needs at least {largest + 1} of "
            "each: draw more, or take a smaller k"
        )
    # Distances have any unit: float32 must hold their squares.
    scale = 2.0 ** -math.frexp(max(float(x.abs().max()), float(y.abs().max()), 1e-300))[1]
    a, b = (Table.of(rows * scale, x.mean(0) * scale) for rows in (x, y))
    counts, near = _counts(a, b, scale, ks, known, "all")
    grouped = _grouped(x, y, scale, ks, known) if min(len(x), len(y)) >= LEAST_ROWS else None
    result = {}
    for name, k in ks.items():
        details: dict[str, int | float | str] = {"n_real": len(x), "n_fake": len(y), "dimensions": x.shape[1], "k": k}
        count = counts[name]
        hits = count.held > 0 if name == "coverage" else count.around > 0
        value = float(count.around.mean()) / k if name == "density" else float(hits.mean())
        interval, error = None, None
        if grouped is None:
            details["limitation"] = f"{min(len(x), len(y))} rows are too few for an interval; {LEAST_ROWS} are needed"
        elif name == "density":
            jackknife = float(_jackknife(torch.from_numpy(count.held), torch.from_numpy(count.around), near, k))
            interval, error = _count_interval(value, grouped[name], jackknife, len(y) * k)
        else:
            interval, error = _share_interval(value, grouped[name], len(hits), len(x) + len(y) - len(hits))
        result[name] = Estimate(value, interval, error, details)
    return result


def _counts(
    x: Table, y: Table, scale: float, ks: dict[str, int], known: Known, place: str
) -> tuple[dict[str, _Count], Tensor]:
    """Counts by name, those of recall with the samples swapped, and the neighbours within x (n, k).

    Rows are as given times ``scale``, a power of 2; what is known is in the units of the rows as given.
    """
    forward = sorted({k for name, k in ks.items() if name != "recall"})
    # A sphere that holds nothing, where nobody asks.
    radii, near, own = torch.full((len(x), 1), -1.0), torch.empty(0, dtype=torch.int64), torch.full((len(y), 1), -1.0)
    if forward:
        key = f"{place}/{max(forward)}"
        if key not in known or not _fits(*known[key], len(x), max(forward)):
            squares, near = nearest_within(x, max(forward))
            known[key] = squares.double() / scale**2, near
        squares, near = known[key]
        radii = (squares * scale**2).to(x.rows.dtype)
    if "recall" in ks:
        own, _ = nearest_within(y, ks["recall"])
    spheres = radii[:, [k - 1 for k in forward]] if forward else radii
    inside, swapped = pairs_within(x, y, spheres, own[:, -1:])
    result: dict[str, _Count] = {}
    for column, k in enumerate(forward):
        found = _count(inside, spheres[:, column], len(x), len(y))
        result |= {name: found for name, own_k in ks.items() if own_k == k and name != "recall"}
    if "recall" in ks:
        around = Pairs(swapped.second, swapped.first, swapped.squares)
        result["recall"] = _count(around, own[:, -1], len(y), len(x))
    return {name: result[name] for name in ks}, near


def _fits(squares: Tensor, near: Tensor, n: int, k: int) -> bool:
    """Whether what is known can be of n rows and k neighbours: it may come from a damaged file."""
    return squares.shape == near.shape == (n, k) and 0 <= int(near.min()) <= int(near.max()) < n


def _count(pairs: Pairs, radii: Tensor, n: int, m: int) -> _Count:
    """Count pairs of a ball and a row within it."""
    inside = (pairs.squares <= radii[pairs.first].double()).numpy()
    held, around = (
        np.bincount(rows.numpy()[inside], minlength=size) for rows, size in ((pairs.first, n), (pairs.second, m))
    )
    return _Count(held, around)


def _grouped(x: Tensor, y: Tensor, scale: float, ks: dict[str, int], known: Known) -> dict[str, _Groups]:
    """The figures in disjoint groups of both samples, by name."""
    shift = x.mean(0)
    # A pair more or less does not matter here, and float32 takes half the time.
    a, b = (Table.of(((hashed_order(rows) - shift) * scale).float(), torch.zeros(())) for rows in (x, y))
    cost = len(x) * len(y) // _GROUPS
    partitions = min(max(12_000_000 // cost, _PARTITIONS[0]), _PARTITIONS[1])
    generator = torch.Generator().manual_seed(0)
    values: dict[str, list[list[float]]] = {name: [] for name in ks}
    jackknives: list[float] = []
    for number in range(partitions):
        order = [torch.randperm(len(rows), generator=generator).chunk(_GROUPS) for rows in (x, y)]
        for name in ks:
            values[name].append([])
        for group, (i, j) in enumerate(zip(*order, strict=True)):
            counts, near = _counts(a[i], b[j], scale, ks, known, f"{len(y)}/{number}/{group}")
            for name, count in counts.items():
                if name == "density":
                    figure = float(count.around.mean()) / ks[name]
                    held, around = torch.from_numpy(count.held), torch.from_numpy(count.around)
                    jackknives.append(float(_jackknife(held, around, near, ks[name])))
                else:
                    figure = float(np.mean((count.held if name == "coverage" else count.around) > 0))
                values[name][-1].append(figure)
    result = {}
    for name, table in values.items():
        variance = float(np.var(table, axis=1, ddof=1).mean()) / _GROUPS
        excess = float(np.mean(jackknives)) / _GROUPS - variance if name == "density" else 0.0
        # The edge of a manifold sharpens slowly with n, so that the variance of precision and recall falls a
        # little less than 1/n: the quantile for the fewest divisions allows for it.
        freedom = (_GROUPS - 1) * (_PARTITIONS[0] if name in ("precision", "recall") else partitions)
        half_width = float(stdtrit(freedom, 0.5 + LEVEL / 2))
        result[name] = _Groups(float(np.mean(table)), variance, half_width, excess)
    return result


def _jackknife(held: Tensor, around: Tensor, near: Tensor, k: int) -> Tensor:
    """Variance of density, from what changes without one row of either sample.

    Without a generated row, its own count goes. Without a real row, its ball goes, and the balls of which it is a
    neighbour grow by 1/k of what they hold, in expectation.
    """
    n, m = len(held), len(around)
    grown = torch.zeros(n, dtype=torch.float64)
    grown.index_add_(0, near[:, :k].reshape(-1), (held.double() / k).repeat_interleave(k))
    return around.double().var() / (m * k**2) + ((grown - held) * (n / (m * k))).var() / n


def _share_interval(value: float, groups: _Groups, n: int, other: int) -> tuple[tuple[float, float], float]:
    """Wilson's interval for as many independent trials as would have the variance, and the standard error.

    Args:
        value: share of the n rows of one sample.
        groups: the same in groups.
        n: rows that the share is of.
        other: rows of the other sample.
    """
    spread = groups.mean * (1 - groups.mean)
    # Where nearly all rows of all groups are in, or out, they say nothing: then a row of either sample counts alike.
    effect = max(groups.variance * n / spread, 0.1) if spread * n > 10 else 1 + n / other
    error = math.sqrt(value * (1 - value) * effect / n)
    return wilson_interval(value, n / effect * (Z / groups.half_width) ** 2), error


def _count_interval(value: float, groups: _Groups, jackknife: float, pairs: int) -> tuple[tuple[float, float], float]:
    """Interval for a mean count with a variance in proportion to it, and the standard error.

    The variance is the jackknife's, less the excess that it has in groups: local, and the same per row for any n.
    """
    variance = max(jackknife - groups.excess, groups.variance / 2)
    slope = max(variance / value if value > 0 else 0.0, 1 / pairs)
    bend = groups.half_width**2 * slope / 2
    reach = math.sqrt(bend**2 + groups.half_width**2 * slope * value)
    return (max(0.0, value + bend - reach), value + bend + reach), math.sqrt(slope * value)
