"""Mixtures of Gaussians with known densities, and handwritten digits that need no network.

Source of ring and grid: Lin et al. 2018 (PacGAN), synthetic experiments: eight modes on the unit circle with
standard deviation 0.01, twenty-five on {-4, -2, 0, 2, 4}^2 with 0.05, 100,000 training rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.dataset import SPLITS, Dataset, Split
from saddlepoint.data.identity import fingerprint_of_drawn
from saddlepoint.data.plan import as_findings
from saddlepoint.data.sources.folder import Item, Source

ROWS = {"train": 100_000, "valid": 10_000, "test": 10_000}
_SEED = 2014


@dataclass(frozen=True)
class Mixture:
    """A balanced mixture of isotropic Gaussians.

    Attributes:
        name: the word for it.
        centres: (modes, feature) float64.
        sigma: standard deviation of every mode in every direction.
    """

    name: str
    centres: np.ndarray
    sigma: float

    def density(self, x: np.ndarray) -> np.ndarray:
        """Return the density at points ``x`` of shape (rows, feature), as (rows,) float64."""
        squares = ((x[:, None, :] - self.centres[None]) ** 2).sum(axis=2)
        norm = (2 * math.pi * self.sigma**2) ** (self.centres.shape[1] / 2)
        result: np.ndarray = np.exp(-squares / (2 * self.sigma**2)).mean(axis=1) / norm
        return result

    def sample(self, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``n`` rows: float32 (n, feature), and the int64 (n,) index of the mode of each."""
        modes = generator.integers(0, len(self.centres), size=n)
        noise = generator.standard_normal((n, self.centres.shape[1]))
        return (self.centres[modes] + self.sigma * noise).astype(np.float32), modes.astype(np.int64)


def _ring() -> np.ndarray:
    angles = 2 * math.pi * np.arange(8) / 8
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid() -> np.ndarray:
    ticks = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    return np.stack([g.ravel() for g in np.meshgrid(ticks, ticks, indexing="ij")], axis=1)


MIXTURES = {
    "ring8": Mixture("ring8", _ring(), 0.01),
    "grid25": Mixture("grid25", _grid(), 0.05),
    "gaussian1d": Mixture("gaussian1d", np.array([[4.0]]), 1.25),
}
"""By name. ``gaussian1d`` is N(4, 1.25^2): off centre and not of unit width, so that a generator fed with N(0, 1)
has both a shift and a scale to learn."""


def mixture(name: str) -> Mixture:
    """Return the centres, sigma and density of a synthetic data set.

    Raises:
        DataError: if there is none of this name.

    Example:
        >>> mixture("ring8").centres.shape
        (8, 2)
    """
    if name not in MIXTURES:
        raise DataError(f"no synthetic data set is called '{name}'; {suggest(name, MIXTURES)}")
    return MIXTURES[name]


def load_mixture(name: str) -> Dataset:
    """Draw the rows of a synthetic data set: always the same ones. Labels are the indices of the modes.

    Raises:
        DataError: if there is none of this name.
    """
    model = mixture(name)
    labelled = len(model.centres) > 1
    splits = dict[str, Split]()
    for index, split in enumerate(SPLITS):
        x, modes = model.sample(ROWS[split], np.random.default_rng((_SEED, index)))
        splits[split] = Split(x, modes if labelled else None)
    shape = f"{len(model.centres)} Gaussians" if labelled else "one Gaussian of mean 4"
    note = f"drawn from {shape} of standard deviation {model.sigma:g}, seed {_SEED}"
    classes = tuple(f"mode {i}" for i in range(len(model.centres))) if labelled else ()
    return Dataset(name, "vector", splits, classes, fingerprint_of_drawn(name, splits), as_findings([note]))


def digits_source() -> Source:
    """Return the 1,797 handwritten digits that come with scikit-learn: 8x8, 0..16 scaled to 0..255.

    Of the rows of each class, in their order, every tenth is a test row and the one before it a valid row:
    stratified, and spread over the writers, who follow one another in the file.
    """

    def items() -> Iterator[Item]:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        seen = [0] * 10
        for row, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
            place = seen[label] % 10
            seen[label] += 1
            pixels = np.rint(image * (255 / 16)).astype(np.uint8)
            yield Item(pixels, int(label), f"row {row}", {8: "valid", 9: "test"}.get(place, "train"))

    return Source(
        "digits",
        "digits of scikit-learn 1",
        items,
        classes=tuple("0123456789"),
        notes=(
            "handwritten digits that come with scikit-learn (UCI optical recognition, test part); 0..16 "
            "scaled to 0..255",
            "split by class: in every ten rows of a class eight train, one valid, one test",
        ),
    )
