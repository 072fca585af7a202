"""Windows of independent sines: the synthetic data of TimeGAN (Yoon et al. 2019), by its paper and by its code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.identity import fingerprint_of_drawn
from saddlepoint.data.options import MAX_WINDOW, MIN_WINDOW
from saddlepoint.data.plan import as_findings

ROWS = (10_000, 10_000, 10_000)
"""Windows in train, valid and test; the released code draws 10,000 and trains on all of them."""

TIME, FEATURES = 24, 5
_SEED, _MOST_STEPS = 2019, 480_000


@dataclass(frozen=True)
class Sines:
    """Independent features (sin(frequency * t + phase) + 1) / 2 for t = 0, 1, ..., drawn anew for each window.

    Attributes:
        name: the word for it.
        frequency: ends of the uniform distribution of the frequency, in radians a step.
        phase: ends of the uniform distribution of the phase, in radians.
    """

    name: str
    frequency: tuple[float, float]
    phase: tuple[float, float]

    def sample(self, n: int, generator: np.random.Generator, time: int = TIME) -> np.ndarray:
        """Draw ``n`` windows: float32 (n, time, 5) in [0, 1]."""
        frequency = generator.uniform(*self.frequency, size=(n, 1, FEATURES))
        phase = generator.uniform(*self.phase, size=(n, 1, FEATURES))
        angles = frequency * np.arange(time)[None, :, None] + phase
        return ((np.sin(angles) + 1) / 2).astype(np.float32)


SINES = {"sines": Sines("sines", (0, 0.1), (0, 0.1)), "sines-paper": Sines("sines-paper", (0, 1), (-math.pi, math.pi))}
"""By name. The figures of the literature are of the code's definition, in which no window turns more than 2.4 radians:
frequency and phase in [0, 0.1]. The paper's text says [0, 1] and [-pi, pi]."""


def load_sines(name: str, window: int | None = None) -> Dataset:
    """Draw the windows of a data set of sines: always the same ones.

    Args:
        name: one of `SINES`.
        window: steps; None: 24. Of other lengths there are at most 480,000 steps in a split.

    Raises:
        DataError: if there is none of this name, or on another length than 3 to 4,096.
    """
    if name not in SINES:
        raise DataError(f"no data set of sines is called '{name}'; {suggest(name, SINES)}")
    model, time = SINES[name], TIME if window is None else window
    if not MIN_WINDOW <= time <= MAX_WINDOW:
        raise DataError(f"--window is {time}, but a window has {MIN_WINDOW} to {MAX_WINDOW} steps")
    splits = dict[str, Split]()
    for index, (split, rows) in enumerate(zip(SPLITS, ROWS, strict=True)):
        x = model.sample(min(rows, _MOST_STEPS // time), np.random.default_rng((_SEED, index)), time)
        splits[split] = Split(x)
    (low, high), (first, last) = model.frequency, model.phase
    note = (
        f"drawn with frequencies in [{low:.3g}, {high:.3g}] and phases in [{first:.3g}, {last:.3g}], seed {_SEED}; "
        "every window is independent of the others"
    )
    return Dataset(name, "sequence", splits, (), fingerprint_of_drawn(name, splits), as_findings([note]))
