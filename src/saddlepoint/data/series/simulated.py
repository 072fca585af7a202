"""Windows of processes whose law is known: fresh draws are the truth that a generator is to reach.

Every window is independent of the others and begins in the stationary law (Heston's price begins at 100).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.identity import fingerprint_of_drawn
from saddlepoint.data.options import MAX_WINDOW, MIN_WINDOW
from saddlepoint.data.plan import as_findings
from saddlepoint.data.series.layout import Column, Layout

WINDOW = 24
MOST_ROWS, MOST_STEPS = 10_000, 480_000
"""Windows of a split, and steps of all of them together, at most."""

_SEED = 2026
_BURN = 600
"""Steps before a window where the stationary law has no closed form: what is left of the start is below 1e-9."""

AR2_PERIODS, AR2_RADIUS = (8.0, 20.0), 0.95
"""Period (steps) of each series of `ar2`, and modulus of its complex roots."""

GARCH_OMEGA, GARCH_ALPHA, GARCH_BETA, GARCH_CORRELATION = 0.05, 0.1, 0.85, 0.5

HESTON_KAPPA, HESTON_THETA, HESTON_XI, HESTON_RHO = 5.0, 0.04, 0.4, -0.7
"""Per year: speed, mean and volatility of the variance; correlation of its noise with the price's. No drift."""
DAY, HESTON_SUBSTEPS = 1 / 252, 4

LORENZ_STEP, LORENZ_SUBSTEPS, LORENZ_BURN = 0.02, 5, 500
"""Time of a step of integration, steps of it between two rows, and before a window."""

FACTORS, FACTOR_COLUMNS = 4, 28
_FACTOR_DECAY = np.array([0.98, 0.95, 0.9, 0.7])


@dataclass(frozen=True)
class Process:
    """A process that can be drawn from.

    Attributes:
        summary: one line.
        columns: names of its features.
        draw: (n, steps, rng) -> windows (n, steps, feature), float64, in the process's own units.
    """

    summary: str
    columns: tuple[str, ...]
    draw: Callable[[int, int, np.random.Generator], np.ndarray]


def ar2_coefficients(period: float, radius: float = AR2_RADIUS) -> tuple[float, float]:
    """Return phi_1 = 2 r cos(2 pi / period) and phi_2 = -r^2: complex roots of modulus 1 / r."""
    return 2 * radius * math.cos(2 * math.pi / period), -(radius**2)


def _ar2(n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """x_t = phi_1 x_(t-1) + phi_2 x_(t-2) + e_t, e ~ N(0, 1), for each period; from the stationary law."""
    made = np.empty((n, steps, len(AR2_PERIODS)))
    for place, period in enumerate(AR2_PERIODS):
        first, second = ar2_coefficients(period)
        # Of the pair (x_1, x_2): Box & Jenkins 1970, section 3.2.4.
        rho = first / (1 - second)
        deviation = math.sqrt((1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2)))
        made[:, 0, place] = deviation * rng.standard_normal(n)
        made[:, 1, place] = rho * made[:, 0, place] + deviation * math.sqrt(1 - rho**2) * rng.standard_normal(n)
        for t in range(2, steps):
            made[:, t, place] = first * made[:, t - 1, place] + second * made[:, t - 2, place] + rng.standard_normal(n)
    return made


def _garch(n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """r_t = s_t e_t, s_t^2 = omega + alpha r_(t-1)^2 + beta s_(t-1)^2, two series whose e are correlated.

    Source: Bollerslev 1986, equations 1 and 2; Bollerslev 1990 for the constant correlation.
    """
    lower = np.linalg.cholesky([[1, GARCH_CORRELATION], [GARCH_CORRELATION, 1]])
    variance = np.full((n, 2), GARCH_OMEGA / (1 - GARCH_ALPHA - GARCH_BETA))
    made = np.empty((n, steps, 2))
    for t in range(-_BURN, steps):
        returns = np.sqrt(variance) * (rng.standard_normal((n, 2)) @ lower.T)
        if t >= 0:
            made[:, t] = returns
        variance = GARCH_OMEGA + GARCH_ALPHA * returns**2 + GARCH_BETA * variance
    return made


def _heston(n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Price, from 100 on, and variance of the model of Heston, a row a day, 252 a year.

    The variance has its exact transitions (Cox, Ingersoll & Ross 1985: noncentral chi-square); its integral over a day,
    from which the price follows exactly (Broadie & Kaya 2006, equation 10), is that of straight lines between four.

    Source: Heston 1993, equations 1 and 4.
    """
    kappa, theta, xi, rho = HESTON_KAPPA, HESTON_THETA, HESTON_XI, HESTON_RHO
    step = DAY / HESTON_SUBSTEPS
    degrees, scale = 4 * kappa * theta / xi**2, xi**2 * (1 - math.exp(-kappa * step)) / (4 * kappa)
    variance = rng.gamma(2 * kappa * theta / xi**2, xi**2 / (2 * kappa), n)
    growth = np.zeros(n)
    made = np.empty((n, steps, 2))
    for t in range(steps):
        made[:, t] = np.stack([100 * np.exp(growth), variance], 1)
        before, area = variance, np.zeros(n)
        for _ in range(HESTON_SUBSTEPS):
            after = scale * rng.noncentral_chisquare(degrees, variance * math.exp(-kappa * step) / scale)
            area, variance = area + step * (variance + after) / 2, after
        driven = (variance - before - kappa * theta * DAY + kappa * area) * rho / xi
        growth = growth - area / 2 + driven + np.sqrt((1 - rho**2) * area) * rng.standard_normal(n)
    return made


def lorenz_flow(state: np.ndarray, substeps: int) -> np.ndarray:
    """Move states (3, n) of the Lorenz system on by steps of Runge and Kutta of order 4 of `LORENZ_STEP` each.

    Source: Lorenz 1963, equations 25 to 27, with sigma 10, rho 28, beta 8/3.
    """

    def slope(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    h = LORENZ_STEP
    for _ in range(substeps):
        a = slope(state)
        b = slope(state + h / 2 * a)
        c = slope(state + h / 2 * b)
        state = state + h / 6 * (a + 2 * b + 2 * c + slope(state + h * c))
    return state


def _lorenz(n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """x, y and z of the Lorenz system, chaotic and without noise, from points of the attractor."""
    state = lorenz_flow(np.array([[0.0], [0.0], [25.0]]) + 5 * rng.standard_normal((3, n)), LORENZ_BURN)
    made = np.empty((n, steps, 3))
    for t in range(steps):
        made[:, t] = state.T
        state = lorenz_flow(state, LORENZ_SUBSTEPS)
    return made


@cache
def factor_loadings() -> np.ndarray:
    """Return the loadings of `factors`, (28, 4): always the same."""
    return np.random.default_rng((_SEED, FACTORS)).normal(0, 1, (FACTOR_COLUMNS, FACTORS))


def _factors(n: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """28 columns that four slow factors of variance 1 drive, f_t = a f_(t-1) + e_t, beside noise of deviation .3."""
    factor = rng.standard_normal((n, FACTORS))
    made = np.empty((n, steps, FACTOR_COLUMNS))
    for t in range(steps):
        made[:, t] = factor @ factor_loadings().T + 0.3 * rng.standard_normal((n, FACTOR_COLUMNS))
        factor = _FACTOR_DECAY * factor + np.sqrt(1 - _FACTOR_DECAY**2) * rng.standard_normal((n, FACTORS))
    return made


PROCESSES: Mapping[str, Process] = {
    "ar2": Process("two autoregressions of order 2, of periods 8 and 20", ("fast", "slow"), _ar2),
    "garch": Process("returns of two shares whose volatility clusters, GARCH(1, 1)", ("first", "second"), _garch),
    "heston": Process("price and variance of a share after Heston (1993)", ("price", "variance"), _heston),
    "lorenz": Process("the chaotic system of Lorenz (1963), no noise", ("x", "y", "z"), _lorenz),
    "factors": Process(
        "28 columns that four slow factors drive, as of the energy of a house",
        tuple(f"c{i}" for i in range(1, FACTOR_COLUMNS + 1)), _factors,
    ),
}  # fmt: skip
"""By name."""


def rows_of(window: int) -> int:
    """Return how many windows each split has."""
    return min(MOST_ROWS, MOST_STEPS // window)


def load_process(name: str, window: int | None = None) -> Dataset:
    """Draw the windows of a simulated data set: always the same ones; scaled to [0, 1] by the training windows.

    Args:
        name: one of `PROCESSES`.
        window: steps; None: 24.

    Raises:
        DataError: on another length than 3 to 4,096.
    """
    steps, process = WINDOW if window is None else window, PROCESSES[name]
    if not MIN_WINDOW <= steps <= MAX_WINDOW:
        raise DataError(f"--window is {steps}, but a window has {MIN_WINDOW} to {MAX_WINDOW} steps")
    rows = rows_of(steps)
    drawn = [process.draw(rows, steps, np.random.default_rng((_SEED, index))) for index in range(len(SPLITS))]
    low, high = drawn[0].min((0, 1)), drawn[0].max((0, 1))
    columns = [Column(c, float(a), float(b)) for c, a, b in zip(process.columns, low, high, strict=True)]
    layout = Layout(tuple(columns), process.columns, whole=True)
    splits = {split: Split(layout.scale(x).astype(np.float32)) for split, x in zip(SPLITS, drawn, strict=True)}
    note = (
        f"drawn from {process.summary}, seed {_SEED}: {rows:,} windows of {steps} steps in each part, independent of "
        "one another, so that held-out windows are what a perfect generator would give"
    )
    fingerprint = fingerprint_of_drawn(f"{name} {steps}", splits)
    return Dataset(name, "sequence", splits, (), fingerprint, as_findings([note]), layout=layout)
