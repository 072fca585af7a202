"""An ensemble smoother over z, which was tried for `saddle sample --given`; `series_uses.py` measures it with the rest.

Inputs are drawn, their windows made, and all inputs moved along the ensemble's own regression of inputs on the given
values, in several steps with a share of the information each. Source: Emerick & Reynolds 2013 (ES-MDA).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from saddlepoint.run import api

MEMBERS, STEPS, NOISE = 500, 4, 0.3
"""Size of the ensemble, updates, and the deviation of the given values that is allowed, in the ensemble's own."""


def smoothed(
    make: Callable[[np.ndarray], np.ndarray], z: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return inputs (n, d) whose outputs, ``make(z)`` (n, m), are near ``wanted`` (m,)."""
    noise = np.zeros(0)
    for step in range(STEPS):
        made = make(z)
        apart, parts = made - made.mean(0), z - z.mean(0)
        if step == 0:
            spread = apart.std(0)
            noise = NOISE * np.maximum(spread, 1e-3 * spread.max())
        share = STEPS**0.5 * noise
        scaled = apart / share
        lack = (wanted + share * rng.standard_normal(made.shape) - made) / share
        system = scaled.T @ scaled / (len(z) - 1) + np.eye(made.shape[1])
        z = z + np.linalg.solve(system, lack.T).T @ (scaled.T @ parts) / (len(z) - 1)
    return z


def smoother_samples(made: api.Run, past: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return what follows given rows (rows, feature) by the smoother, (members, count, feature), without a calendar."""
    inputs, rows = made.inputs(MEMBERS, seed=seed), len(past)

    def windows(z: np.ndarray) -> np.ndarray:
        return made.generate(torch.from_numpy(z).float().view(inputs.shape), seed=0).numpy().astype(np.float64)

    z = inputs.reshape(MEMBERS, -1).numpy().astype(np.float64)
    moved = smoothed(lambda x: windows(x)[:, :rows].reshape(len(x), -1), z, past.ravel(), np.random.default_rng(seed))
    return windows(moved)[:, rows : rows + count]
