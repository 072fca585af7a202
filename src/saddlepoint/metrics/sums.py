"""Sums of exponentials over tables, of which few terms count."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NEGLIGIBLE = 45.0
"""exp(-45) < 1e-19: terms this far below the largest one do not change a float64 sum of fewer than 10^5."""

_FEW = 4
"""Terms are picked one by one where at most one in so many counts."""


def sum_of_exp(d2: Tensor, sigma: float, out: Tensor | None = None) -> Tensor:
    """Return sum_j exp(-d2_ij / (2 sigma^2)), (rows,) float64.

    Where most terms of all rows are below exp(-45), such terms are left out.

    Args:
        d2: (rows, columns) of squared distances less the smallest one of the row, of any real type.
        sigma: width in the units of the distances.
        out: room for as many terms, float64.
    """
    scale = -0.5 / sigma**2
    near = np.flatnonzero((d2 <= -NEGLIGIBLE / scale).numpy())
    if len(near) * _FEW < d2.numel():
        terms = np.exp(d2.numpy().ravel()[near] * scale)
        return torch.from_numpy(np.bincount(near // d2.shape[1], terms, len(d2)))
    # exp is several times slower where it underflows; exp(-700) counts for nothing just the same.
    dense = torch.mul(d2.double(), scale) if out is None else torch.mul(d2, scale, out=out)
    return dense.clamp_(min=-700).exp_().sum(1)
