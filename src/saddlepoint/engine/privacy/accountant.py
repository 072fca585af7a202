"""What updates with noise cost: epsilon at delta, by Opacus' accountant of privacy loss random variables (PRV).

A row more or less changes what is seen (add-or-remove adjacency); in each update every row takes part with the same
probability, whatever the others do (Poisson sampling), and Gaussian noise is added to the sum of clipped gradients.
Source: Gopi et al. 2021 (Numerical composition of differential privacy).
"""

from __future__ import annotations

import warnings
from functools import lru_cache

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.packages import needed

NAME = "PRV"
"""The accountant, as it is told beside every epsilon: others say other numbers of the same training."""

_EXACT = 0.01
"""What the epsilon said may be too large by."""

_NEAR = 0.01
"""Relative precision of the noise that is chosen for an epsilon."""

_MOST_NOISE = 1e4


@lru_cache(maxsize=256)
def epsilon(noise_multiplier: float, sample_rate: float, updates: int, delta: float) -> float:
    """Return an upper end of epsilon at ``delta``, no more than 0.01 above what the accountant finds.

    Args:
        noise_multiplier: standard deviation of the noise over the clipping norm, > 0; 0 has no epsilon: infinity.
        sample_rate: probability with which a row takes part in an update, in (0, 1].
        updates: their number; 0 costs nothing.
        delta: in (0, 1).

    Raises:
        ConfigError: if Opacus is not installed, or finds none.
    """
    if updates == 0:
        return 0.0
    if noise_multiplier == 0:
        return float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of 0 where every row takes part
        prv = needed("opacus.accountants", "privacy", "telling what --private costs").PRVAccountant()
        prv.history = [(noise_multiplier, sample_rate, updates)]
        try:
            return float(prv.get_epsilon(delta, eps_error=_EXACT))
        except (ValueError, ArithmeticError, RuntimeError) as error:
            raise ConfigError(
                f"the accountant finds no epsilon for noise {noise_multiplier:g}, {updates:,} updates, rate "
                f"{sample_rate:g} and delta {delta:g} ({error}); choose a larger --noise-multiplier"
            ) from error


def noise_for(target: float, delta: float, sample_rate: float, updates: int) -> float:
    """Return the least noise multiplier from 1/4 on, up to 1%, whose epsilon is at most ``target``.

    Raises:
        ConfigError: if none up to 10,000 is enough, or as `epsilon`.
    """
    low, high = 0.0, 1.0
    while epsilon(high, sample_rate, updates, delta) > target:
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise ConfigError(
                f"epsilon is {target:g}, but no noise keeps {updates:,} updates within it; take fewer --steps"
            )
    # Below half the noise that is enough the accountant takes long, and says large numbers that nobody needs.
    low = max(low, high / 4)
    while high - low > _NEAR * high:
        middle = (low + high) / 2
        low, high = (low, middle) if epsilon(middle, sample_rate, updates, delta) <= target else (middle, high)
    return round(high, 6) if epsilon(round(high, 6), sample_rate, updates, delta) <= target else high
