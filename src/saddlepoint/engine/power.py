"""Averages of weights by a power of time, after training: their lengths, and how one is made of those that were kept.

A power-function average of weights w(1), w(2), ... at time t gives w(n) a weight that grows with n to the power gamma.
Its length is the standard deviation of that profile as a share of t: whatever t is, the same share of the training
enters. Two averages of different lengths, kept now and then, span many others: the combination nearest to a wanted
profile is a small linear system. Source: Karras et al. 2024 (EDM2), section 3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saddlepoint.core.errors import ConfigError

LENGTHS = (0.05, 0.10)
"""Of the averages that a run keeps."""

LONGEST = 12**-0.5
"""Length of the plain mean over all of the training: gamma is 0."""

SHORTEST = 0.01
"""Below this the two averages that are kept hardly span what is wanted."""

_RANK = 1e-13
"""Share of the largest singular value below which a direction of the system is rounding."""


@dataclass(frozen=True)
class Profile:
    """Which average of the weights is meant.

    Attributes:
        gamma: exponent, at least 0.
        time: at which it ends, positive, in whatever unit all have.
    """

    gamma: float
    time: float


def length_of(gamma: float) -> float:
    """Return the length of a profile, its standard deviation as a share of the time at which it ends.

    >>> round(length_of(0.0), 4)
    0.2887
    """
    return float((gamma + 1) ** 0.5 / ((gamma + 2) * (gamma + 3) ** 0.5))


def gamma_of(length: float) -> float:
    """Return the exponent of a length.

    Raises:
        ConfigError: if no profile has it.

    >>> round(gamma_of(0.10), 2), round(gamma_of(0.05), 2)
    (6.94, 16.97)
    """
    if not 0 < length <= LONGEST:
        raise ConfigError(f"length is {length:g}, but it must be above 0 and at most {LONGEST:.4f}")
    # (gamma + 2)^2 (gamma + 3) = (gamma + 1) / length^2; the largest root is the one that is not negative.
    square = length**-2
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - square, 12.0 - square]).real.max()))


def kept_share(count: int, gamma: float) -> float:
    """Return the weight (1 - 1/n)^(gamma + 1) of the old average when the n-th weights join it.

    After n of them w(i) has the weight (i^(gamma + 1) - (i - 1)^(gamma + 1)) / n^(gamma + 1), exactly: the integral of
    the power over (i - 1, i].
    """
    return float((1.0 - 1.0 / count) ** (gamma + 1.0))


def inner_products(one: Sequence[Profile], other: Sequence[Profile]) -> np.ndarray:
    """Return the integrals over time of products of profiles, (one, other): appendix C, in closed form."""
    a, b = (np.array([(p.gamma, p.time) for p in profiles], np.float64).reshape(-1, 2) for profiles in (one, other))
    (gamma_a, time_a), (gamma_b, time_b) = a.T[:, :, None], b.T[:, None, :]
    # Both are powers up to the earlier end, and beyond it one of them is 0.
    first = time_a <= time_b
    gamma = np.where(first, gamma_b, gamma_a)  # of the one that ends later
    early, late = np.minimum(time_a, time_b), np.maximum(time_a, time_b)
    found: np.ndarray = (gamma_a + 1) * (gamma_b + 1) * (early / late) ** gamma / ((gamma_a + gamma_b + 1) * late)
    return found


def combination(kept: Sequence[Profile], wanted: Profile) -> tuple[np.ndarray, float]:
    """Return the weights with which kept averages make the one nearest to what is wanted, and how far off it is.

    Args:
        kept: at least one.
        wanted: gamma and end point.

    Returns:
        Weights (kept,), which add up to 1; and the distance between the two profiles as a share of the wanted one's
        norm, 0 where it is among those kept.
    """
    if wanted in kept:
        return np.eye(len(kept))[list(kept).index(wanted)], 0.0
    table, to_wanted = inner_products(kept, kept), inner_products(kept, [wanted])[:, 0]
    n, own = len(kept), float(inner_products([wanted], [wanted])[0, 0])
    # Least squares under the rule that weights add up to 1, by a multiplier: what stands still is reproduced as it is.
    system = np.ones((n + 1, n + 1))
    system[:n, :n], system[n, n] = table, 0.0
    scale = np.append(1 / np.sqrt(np.diag(table)), 1.0)  # profiles of equal norm: the rank is told by shape alone
    right = np.append(to_wanted, 1.0) * scale
    found = np.linalg.lstsq(system * scale[:, None] * scale, right, rcond=_RANK)[0] * scale
    weights: np.ndarray = found[:n] / found[:n].sum()
    square = float(weights @ table @ weights - 2 * weights @ to_wanted + own) / own
    return weights, max(0.0, square) ** 0.5
