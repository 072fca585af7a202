"""Samples of a mixture of isotropic Gaussians with known centres: modes hit, quality, balance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammainc
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.bootstrap import Estimate, as_features, proportion
from saddlepoint.metrics.classes import class_kl, count_modes
from saddlepoint.metrics.distances import Rows, blocks

RADIUS = 3.0
"""A sample is of high quality within this many sigma of a centre."""

_ROWS = 4096


@dataclass(frozen=True)
class ModeCoverage:
    """Samples against a mixture; see `mode_coverage`.

    Attributes:
        modes: number of modes that samples of high quality hit.
        quality: share of samples of high quality.
        kl: KL(samples || mixture) of the histogram of modes, in nats.
    """

    modes: Estimate
    quality: Estimate
    kl: Estimate


def mode_coverage(
    samples: Rows,
    centres: Float[np.ndarray, "modes feature"] | Float[Tensor, "modes feature"],
    sigma: float,
    *,
    weights: Float[np.ndarray, " modes"] | None = None,
) -> ModeCoverage:
    """Measure samples against the mixture they should come from.

    Args:
        samples: (n, feature) generated samples; the protocol of rings and grids takes 2,500.
        centres: (modes, feature) means of the Gaussians, in the same units.
        sigma: standard deviation of each Gaussian in every direction, > 0.
        weights: (modes,) probabilities of the modes; None: equal ones.

    Returns:
        ``quality``: share of samples closer than 3 sigma to the nearest centre, with Wilson's interval for the
        probability of that. Its details tell ``ceiling``, the share of true data: 0.9889 in two dimensions.
        ``modes``: number of modes that are nearest to at least one sample of high quality. No interval (see
        `count_modes`).
        ``kl``: KL of the histogram of nearest modes of all samples to the weights, in nats; `class_histogram` tells
        what its interval covers.

    Raises:
        ConfigError: if sigma is not positive and finite.
        DataError: if samples or centres are not finite tables of equal width, or weights no distribution.

    Source: Srivastava et al. 2017, section 4 (modes, quality); Lin et al. 2018, section 4.1 (the KL).

    >>> figures = mode_coverage(np.zeros((4, 2)), np.array([[0.0, 0.0], [1.0, 0.0]]), 0.1)
    >>> figures.modes.value, figures.quality.value, round(figures.kl.value, 4)
    (1.0, 1.0, 0.6931)
    """
    if not 0 < sigma < math.inf:
        raise ConfigError(f"sigma is {sigma}, but must be a positive number: the width of each Gaussian")
    x = as_features(samples, "samples", least=1).numpy()
    points = as_features(centres, "centres", least=1).numpy()
    if x.shape[1] != points.shape[1]:
        raise DataError(f"samples have {x.shape[1]} columns and centres {points.shape[1]}; they must be equal")
    modes, d = points.shape
    shares = np.full(modes, 1 / modes) if weights is None else np.asarray(weights, np.float64)
    if len(shares) != modes:
        raise DataError(f"there are {len(shares)} weights for {modes} centres; each needs one")
    nearest, squares = np.empty(len(x), np.int64), np.empty(len(x))
    for rows in blocks(len(x), max(1, _ROWS * 64 // (modes * d))):
        table = ((x[rows, None] - points) ** 2).sum(2)
        nearest[rows] = table.argmin(1)
        squares[rows] = table.min(1)
    good = squares < (RADIUS * sigma) ** 2
    return ModeCoverage(
        modes=count_modes(np.bincount(nearest[good], minlength=modes)),
        quality=proportion(good, {"ceiling": float(gammainc(d / 2, RADIUS**2 / 2)), "sigma": sigma}),
        kl=class_kl(nearest, shares),
    )
