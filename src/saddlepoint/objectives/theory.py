"""The theory of the 2014 paper as functions: the value of the game, the best discriminator, the divergences.

Densities are given by their values on a grid with cells of width (or area) ``dx``. All values are in nats.
Source: Goodfellow et al. 2014, sections 3 and 4.
"""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saddlepoint.core.types import PerSample, at_least_float32

LOG4 = math.log(4.0)
Array = Float[np.ndarray, " points"]
N = TypeVar("N", float, Tensor)


def value(real_logits: PerSample, fake_logits: PerSample) -> Tensor:
    """Return V(D, G) = E log D(x) + E log(1 - D(G(z))) from samples (equation 1).

    Args:
        real_logits: D's logits on data, any shape.
        fake_logits: D's logits on generated samples, any shape.

    Returns:
        Scalar in nats; -log 4 for a discriminator that says 1/2 everywhere, at most 0.

    Example:
        >>> abs(value(torch.zeros(4), torch.zeros(4)).item() + LOG4) < 1e-6
        True
    """
    return F.logsigmoid(at_least_float32(real_logits)).mean() + F.logsigmoid(-at_least_float32(fake_logits)).mean()


class Calibration(Protocol):
    """What must be known of an objective to read its logits; `losses.Objective` has it."""

    @property
    def paired(self) -> bool:
        """Whether the logits are determined up to a common offset only."""

    @property
    def calibrated(self) -> bool:
        """Whether the best D's logit is log p_data - log p_g (up to that offset)."""


def game_logs(real_logits: PerSample, fake_logits: PerSample, objective: Calibration) -> dict[str, Tensor]:
    """Return what every family logs of the game, detached.

    V, mean D(x) and mean D(G(z)) where logits mean probabilities; of a paired objective after their common offset is
    removed. Else the logits themselves, as "real logit" and "fake logit".
    """
    real, fake = real_logits.detach(), fake_logits.detach()
    if not objective.calibrated:
        return {"real logit": real, "fake logit": fake}
    if objective.paired:
        middle = (real.mean() + fake.mean()) / 2
        real, fake = real - middle, fake - middle
    return {"V": value(real, fake), "D(x)": torch.sigmoid(real), "D(G(z))": torch.sigmoid(fake)}


def jsd_lower_bound(v: N) -> N:
    """Return (V + log 4) / 2, which is at most JSD(p_data, p_g) for any discriminator (from theorem 1)."""
    return (v + LOG4) / 2


def optimal_discriminator(p_data: Array, p_g: Array) -> Array:
    """Return D*(x) = p_data / (p_data + p_g) (proposition 1); 1/2 where both densities vanish."""
    total = p_data + p_g
    return np.divide(p_data, total, out=np.full_like(total, 0.5), where=total > 0)


def kl(p: Array, q: Array, dx: float) -> float:
    """Return KL(p || q) by quadrature; infinite where p has mass and q has none."""
    support = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[support] * np.log(p[support] / q[support])) * dx)


def jsd(p: Array, q: Array, dx: float) -> float:
    """Return the Jensen-Shannon divergence, between 0 and log 2, by quadrature."""
    middle = (p + q) / 2
    return (kl(p, middle, dx) + kl(q, middle, dx)) / 2


def criterion(p_data: Array, p_g: Array, dx: float) -> float:
    """Return C(G) = max_D V(D, G) = -log 4 + 2 JSD(p_data, p_g) (theorem 1) by quadrature."""
    return -LOG4 + 2 * jsd(p_data, p_g, dx)
