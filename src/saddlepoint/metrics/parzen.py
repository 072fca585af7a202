"""The Parzen window estimate of a generator's log-likelihood, the figure of Goodfellow et al. 2014, Table 1.

Centres are samples of the generator; the density is the mean of Gaussians of width sigma around them. The
figure rewards smoothness and the number of samples more than truth: k-means centroids of MNIST reach 334
nats, real training images 243. Never show it without these rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics.byte_distances import takes
from saddlepoint.metrics.distances import (
    BLOCK_BYTES,
    EPS,
    Rows,
    as_float64,
    block_rows,
    blocks,
    count_features,
    is_bytes,
    squared_distances,
    squared_norms,
)
from saddlepoint.metrics.parzen_bytes import byte_likelihoods, near_likelihood
from saddlepoint.metrics.sums import NEGLIGIBLE, sum_of_exp

SIGMAS: tuple[float, ...] = tuple(float(sigma) for sigma in np.logspace(-1, 0, 10))
"""Widths tried by the released protocol, for data in [0, 1]."""

_TOLERANCE = 1e-8
"""Largest error in nats that the matrix product may cause before single distances are computed directly."""


@dataclass(frozen=True)
class CrossValidation:
    """The choice of sigma.

    Attributes:
        sigma: the width with the highest mean log-likelihood; the smallest one among equals.
        sigmas: widths tried.
        means: mean log-likelihood in nats for each of them.
    """

    sigma: float
    sigmas: tuple[float, ...]
    means: tuple[float, ...]


@dataclass(frozen=True)
class ParzenResult:
    """A Parzen figure and what it rests on.

    Attributes:
        value: mean log-likelihood of the test points, in nats.
        standard_error: population standard deviation over test points / sqrt(n_test), in nats.
        validation: how sigma was chosen.
        n_centres: number of samples.
        n_valid: number of validation points.
        n_test: number of test points.
    """

    value: float
    standard_error: float
    validation: CrossValidation
    n_centres: int
    n_valid: int
    n_test: int

    @property
    def sigma(self) -> float:
        """The chosen width."""
        return self.validation.sigma


def log_likelihood(points: Rows, centres: Rows, sigma: float, *, budget: int = BLOCK_BYTES) -> np.ndarray:
    """Log-density of points under the mean of Gaussians N(g_j, sigma^2 I) around the centres.

    LL(x) = log mean_j exp(-|x - g_j|^2 / (2 sigma^2)) - d log(sigma sqrt(2 pi)).

    Distances come from float64 matrix products (torch's threads) over blocks. Where their rounding could
    move the result by more than 1e-8 nats (tiny sigma, far outliers), the pairs that count are subtracted
    directly.

    Args:
        points: (n, *sample), any real type, same units as the centres.
        centres: (m, *sample).
        sigma: width of the kernel, > 0, in the units of the data.
        budget: bound on working memory in bytes beyond arguments and result: three blocks of rows and three
            tables of distances, float64. Blocks are as large as it allows (1,693 rows of MNIST for 96 MiB).

    Returns:
        (n,) float64, in nats.

    Raises:
        ConfigError: if sigma is not positive and finite.
        DataError: if points or centres are empty, not finite, or their rows differ in shape.

    Source: Goodfellow et al. 2014, section 5; released code, parzen_ll.py.

    >>> float(round(log_likelihood(np.zeros((1, 2)), np.zeros((1, 2)), 1.0)[0], 4))  # -log(2 pi)
    -1.8379
    """
    return _log_likelihoods(points, centres, (sigma,), budget)[0]


def cross_validate(
    valid: Rows, centres: Rows, sigmas: Sequence[float] = SIGMAS, *, budget: int = BLOCK_BYTES
) -> CrossValidation:
    """Choose sigma by the mean log-likelihood of held-out points; distances are computed once for all widths.

    Args:
        valid: (n, *sample) held-out points.
        centres: (m, *sample).
        sigmas: widths to try, each > 0.
        budget: bound on working memory in bytes, as in `log_likelihood`.

    Raises:
        ConfigError: if there is no sigma, or one is not positive and finite.
        DataError: as in `log_likelihood`.

    Source: released code, parzen_ll.py, ``cross_validate_sigma``.
    """
    return _chosen(sigmas, _log_likelihoods(valid, centres, tuple(sigmas), budget).mean(1))


def _chosen(sigmas: Sequence[float], means: np.ndarray) -> CrossValidation:
    return CrossValidation(
        sigma=float(sigmas[int(means.argmax())]),
        sigmas=tuple(float(sigma) for sigma in sigmas),
        means=tuple(float(mean) for mean in means),
    )


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error, the population standard deviation / sqrt(n).

    >>> mean_and_error(np.array([1.0, 3.0, 1.0, 3.0]))
    (2.0, 0.5)
    """
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def parzen10k(samples: Rows, valid: Rows, test: Rows) -> ParzenResult:
    """The released protocol: sigma from `SIGMAS` by the validation points, then the mean over test points.

    Exactly as released when given 10,000 samples, the first 1,000 validation images (MNIST: training rows
    50,000 to 50,999) and the 10,000 test images. No dequantisation noise is added.

    Args:
        samples: (m, *sample) in [0, 1], the centres; uint8 images, here and below, are divided by 255.
        valid: (n, *sample) in [0, 1].
        test: (k, *sample) in [0, 1].

    Raises:
        DataError: as in `log_likelihood`.

    Source: Goodfellow et al. 2014, section 5 and Table 1; released code, parzen_ll.py.
    """
    count_features(valid, samples, ("valid rows", "samples"))
    count_features(test, samples, ("test rows", "samples"))
    if takes(samples, valid, test):
        validation = _chosen(SIGMAS, byte_likelihoods(valid, samples, SIGMAS).mean(1))
        likelihoods = byte_likelihoods(test, samples, (validation.sigma,))[0]
    else:
        validation = cross_validate(_unit(valid), _unit(samples))
        near = near_likelihood(test, samples, validation.sigma) if takes(test) and not is_bytes(samples) else None
        likelihoods = log_likelihood(_unit(test), _unit(samples), validation.sigma) if near is None else near
    value, error = mean_and_error(likelihoods)
    return ParzenResult(value, error, validation, len(samples), len(valid), len(test))


def _unit(rows: Rows) -> Rows:
    """Rows in [0, 1]."""
    if not is_bytes(rows):
        return rows
    return rows.float() / 255 if isinstance(rows, Tensor) else np.asarray(rows, np.float32) / 255


def _log_likelihoods(points: Rows, centres: Rows, sigmas: Sequence[float], budget: int) -> np.ndarray:
    """Log-likelihoods for several widths: (len(sigmas), n) float64."""
    features = count_features(points, centres, ("points", "centres"))
    if not sigmas or not all(0 < sigma < math.inf for sigma in sigmas):
        raise ConfigError(f"sigma is {list(sigmas)}, but every width must be a positive number")
    size = block_rows(features, budget)
    # Distances do not change under a shift, and near 0 the matrix product loses the fewest digits.
    shift = as_float64(centres[:size]).mean(0)
    result = torch.empty(len(sigmas), len(points), dtype=torch.float64)
    for rows in blocks(len(points), size):
        result[:, rows] = _block(as_float64(points[rows]) - shift, centres, shift, sigmas, size)
    norms = [features * (math.log(sigma) + 0.5 * math.log(2 * math.pi)) for sigma in sigmas]
    result -= torch.tensor(norms, dtype=torch.float64)[:, None] + math.log(len(centres))
    if not bool(torch.isfinite(result).all()):
        broken = f"{_not_finite(points)} points and {_not_finite(centres)} centres"
        raise DataError(f"{broken} hold values that are not finite: leave these rows out, or find their cause")
    return result.numpy()


def _block(x: Tensor, centres: Rows, shift: Tensor, sigmas: Sequence[float], size: int) -> Tensor:
    """log sum_j exp(-|x - g_j|^2 / (2 sigma^2)) for one block of shifted points: (len(sigmas), len(x))."""
    xx = squared_norms(x)
    lowest = x.new_full((len(x), 1), math.inf)
    sums = x.new_zeros(len(sigmas), len(x))
    table, terms = x.new_empty(2, len(x), min(size, len(centres))).unbind()
    for part in blocks(len(centres), size):
        g = as_float64(centres[part]) - shift
        gg = squared_norms(g)
        d2 = squared_distances(x, g, xx, gg, out=table if len(g) == table.shape[1] else None)
        error = 4 * math.sqrt(x.shape[1]) * EPS * float(xx.amax() + gg.amax())
        if error / (2 * min(sigmas) ** 2) > _TOLERANCE:
            # The widest kernel that still needs repair decides how many pairs count.
            widest = min(max(sigmas) ** 2, error / (2 * _TOLERANCE))
            _repair(d2, x, g, 2 * error + 2 * NEGLIGIBLE * widest)
        previous, lowest = lowest, torch.minimum(lowest, d2.amin(1, keepdim=True))
        d2.sub_(lowest)
        for k, sigma in enumerate(sigmas):
            scale = -0.5 / sigma**2
            # The first rescaling multiplies a sum of 0 by exp(-inf) = 0.
            sums[k] *= ((previous - lowest) * scale).squeeze(1).exp_()
            sums[k] += sum_of_exp(d2, sigma, terms[:, : len(g)])
    return sums.log_() + torch.stack([lowest.squeeze(1) * (-0.5 / sigma**2) for sigma in sigmas])


def _repair(d2: Tensor, x: Tensor, g: Tensor, margin: float) -> None:
    """Compute directly, in place, the squared distances within ``margin`` of the smallest one of each row.

    A rounding error e of a squared distance moves the result by at most e / (2 sigma^2) nats, and only
    through pairs close to the nearest one. Images in [0, 1] at the released widths never come here.
    """
    counts = d2 <= d2.amin(1, keepdim=True) + margin
    size = max(1, d2.numel() // (4 * x.shape[1]))
    for row in range(len(x)):
        columns = counts[row].nonzero().squeeze(1)
        for part in blocks(len(columns), size):
            chosen = columns[part]
            d2[row, chosen] = (g[chosen] - x[row]).square().sum(1)


def _not_finite(rows: Rows) -> int:
    return int((~torch.isfinite(as_float64(rows)).all(1)).sum())
