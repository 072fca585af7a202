"""Log-likelihoods of explicit models as formulas: of pixels given a decoder's output, of codes, of importance samples.

All sums are in float32 at least, and over all numbers of a sample: (batch, *sample) -> (batch,).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.types import PerSample, Samples, at_least_float32

LEVEL = 2 / 255
"""Distance of two grey levels in images of [-1, 1]."""


def bernoulli(logits: Samples, x: Samples) -> PerSample:
    """Return sum log p(x) of pixels that are 0 or 1, p(1) = sigmoid(logit): Kingma and Welling 2014, appendix C.1."""
    losses = F.binary_cross_entropy_with_logits(at_least_float32(logits), at_least_float32(x), reduction="none")
    return -losses.flatten(1).sum(1)


def normal(mean: Samples, log_deviation: Tensor, x: Samples) -> PerSample:
    """Return sum log N(x; mean, deviation^2): Kingma and Welling 2014, appendix C.2.

    Args:
        mean: (batch, *sample).
        log_deviation: anything that broadcasts against it.
        x: like ``mean``.
    """
    log_deviation = at_least_float32(log_deviation)
    scaled = (at_least_float32(x) - at_least_float32(mean)) * torch.exp(-log_deviation)
    return (-0.5 * scaled.square() - log_deviation - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def discretised_logistic(mean: Samples, log_scale: Tensor, x: Samples) -> PerSample:
    """Return sum log P(level) of images of 256 levels, the mass that a logistic density has within half a level.

    P(level) = sigmoid((x + 1/255 - mean) / scale) - sigmoid((x - 1/255 - mean) / scale); the first and last level have
    the tails too, so that 256 levels sum to 1. Source: Kingma et al. 2016 (inverse autoregressive flow), appendix C.

    Args:
        mean: (batch, channel, height, width), in units of [-1, 1].
        log_scale: anything that broadcasts against it.
        x: like ``mean``, on levels: multiples of 2/255 from -1 on.
    """
    log_scale = at_least_float32(log_scale)
    offset, rate = at_least_float32(x) - at_least_float32(mean), torch.exp(-log_scale)
    above, below = (offset + LEVEL / 2) * rate, (offset - LEVEL / 2) * rate
    # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): no difference of nearly equal numbers.
    upper, lower = F.logsigmoid(above), F.logsigmoid(-below)
    inner = torch.log(-torch.expm1(-LEVEL * rate))
    first, last = x < -1 + LEVEL / 2, x > 1 - LEVEL / 2
    tail = torch.where(first, upper, lower)
    return torch.where(first | last, tail, upper + lower + inner).flatten(1).sum(1)


def on_levels(x: Samples) -> Samples:
    """Return images of [-1, 1] at the nearest of 256 levels."""
    return ((x + 1) / LEVEL).round() * LEVEL - 1


def between_levels(x: Samples, generator: torch.Generator) -> Samples:
    """Return images of 256 levels with noise that is uniform on one level. Source: Uria et al. 2013 (RNADE)."""
    noise = torch.rand(x.shape, generator=generator, device=x.device)
    return on_levels(x) + (noise - 0.5) * LEVEL


def kl_from_standard_normal(mean: Tensor, log_variance: Tensor) -> PerSample:
    """Return KL(N(mean, variance) || N(0, 1)), summed over dimensions: Kingma and Welling 2014, appendix B."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Return log mean exp over the first axis: Burda et al. 2016, equation 8."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
