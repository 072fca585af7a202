"""p(x|z): what the decoder's output says of a sample, as a probability of 0 and 1, a density, or a mass of levels."""

from __future__ import annotations

import abc
import math
from typing import Literal

import torch
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, Samples, at_least_float32
from saddlepoint.family import DataSpec
from saddlepoint.objectives import likelihoods


class Observed(nn.Module, abc.ABC):
    """How samples are distributed around what the decoder gives.

    Attributes:
        kind: what it is a likelihood of; see `family.Likelihood`.
    """

    kind: Literal["binary", "levels", "values"]

    @abc.abstractmethod
    def drawn(self, x: Samples, generator: torch.Generator) -> Samples:
        """Return a minibatch as it is observed, in the inside range: binarised, on levels, or between them."""

    @abc.abstractmethod
    def log_prob(self, out: Samples, x: Samples) -> PerSample:
        """Return log p(x|z) in nats, (batch,), of observed samples given the decoder's output."""

    @abc.abstractmethod
    def mean(self, out: Samples) -> Samples:
        """Return the mean of p(x|z) in the inside range."""

    @abc.abstractmethod
    def sample(self, out: Samples, generator: torch.Generator) -> Samples:
        """Draw from p(x|z), in the inside range."""

    def paint(self, offset: Tensor, mean: Tensor) -> None:
        """Set the bias of the decoder's output so that its mean is that of the data."""
        offset.copy_(mean.view_as(offset))


class Bernoulli(Observed):
    """Pixels are 1 with probability sigmoid(output): Kingma and Welling 2014, appendix C.1."""

    kind = "binary"

    def drawn(self, x: Samples, generator: torch.Generator) -> Samples:
        """Return -1 or 1, the latter with the probability that is the grey: Salakhutdinov and Murray 2008."""
        u = torch.rand(x.shape, generator=generator, device=x.device)
        return torch.where(u < (x + 1) / 2, 1.0, -1.0)

    def log_prob(self, out: Samples, x: Samples) -> PerSample:
        """Return the sum of log probabilities."""
        return likelihoods.bernoulli(out, (x + 1) / 2)

    def mean(self, out: Samples) -> Samples:
        """Return 2 p - 1 = tanh(output / 2)."""
        return torch.tanh(at_least_float32(out) / 2)

    def sample(self, out: Samples, generator: torch.Generator) -> Samples:
        """Return -1 or 1."""
        return self.drawn(self.mean(out), generator)

    def paint(self, offset: Tensor, mean: Tensor) -> None:
        """Set the bias to the logit of the mean pixel, of one that is always black or white to that of 1e-4."""
        p = ((mean + 1) / 2).cpu().double().clamp(1e-4, 1 - 1e-4)
        offset.copy_(torch.logit(p).to(offset.dtype).view_as(offset))


class Gaussian(Observed):
    """N(output, deviation^2) of images between levels, in units of a level, or of vectors: appendix C.2.

    Args:
        data: images, or vectors.
        deviation: in units of [-1, 1] (vectors: of their own deviations); None: learned, for each channel or feature.
    """

    def __init__(self, data: DataSpec, deviation: float | None) -> None:
        super().__init__()
        self.image = data.modality == "image"
        self.kind = "levels" if self.image else "values"
        shape = (data.shape[0], 1, 1) if self.image else data.shape
        start = torch.full(shape, math.log(_DEVIATION if deviation is None else deviation))
        self.log_deviation: Tensor
        if deviation is None:
            self.log_deviation = nn.Parameter(start)
        else:
            self.register_buffer("log_deviation", start)

    def drawn(self, x: Samples, generator: torch.Generator) -> Samples:
        """Return images with noise uniform on one level; vectors as they are."""
        return likelihoods.between_levels(x, generator) if self.image else x

    def log_prob(self, out: Samples, x: Samples) -> PerSample:
        """Return the log density; of images in units of 256 levels."""
        found = likelihoods.normal(out, self.log_deviation, x)
        unit = math.log(likelihoods.LEVEL) * torch.Size(x.shape[1:]).numel() if self.image else 0.0
        return found + unit

    def mean(self, out: Samples) -> Samples:
        """Return the output, of images clipped to their range."""
        return at_least_float32(out).clamp(-1, 1) if self.image else at_least_float32(out)

    def sample(self, out: Samples, generator: torch.Generator) -> Samples:
        """Return the output with noise."""
        noise = torch.randn(out.shape, generator=generator, device=out.device)
        return self.mean(at_least_float32(out) + noise * self.log_deviation.exp())


class Logistic(Observed):
    """The mass of a logistic density within each of 256 levels: Kingma et al. 2016, appendix C.

    Args:
        data: images.
    """

    kind = "levels"

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((data.shape[0], 1, 1), math.log(_DEVIATION / 2)))

    def drawn(self, x: Samples, generator: torch.Generator) -> Samples:
        """Return images on levels."""
        return likelihoods.on_levels(x)

    def log_prob(self, out: Samples, x: Samples) -> PerSample:
        """Return the log of the mass."""
        return likelihoods.discretised_logistic(out, self.log_scale, x)

    def mean(self, out: Samples) -> Samples:
        """Return the centre of the density, clipped to the range of images."""
        return at_least_float32(out).clamp(-1, 1)

    def sample(self, out: Samples, generator: torch.Generator) -> Samples:
        """Draw by the inverse of the distribution function, on levels."""
        u = torch.rand(out.shape, generator=generator, device=out.device).clamp(1e-6, 1 - 1e-6)
        return likelihoods.on_levels(self.mean(at_least_float32(out) + torch.logit(u) * self.log_scale.exp()))


_DEVIATION = 0.2
"""Where a learned deviation starts."""


def observed(kind: str, data: DataSpec, deviation: float | None) -> Observed:
    """Return the distribution of a name: bernoulli, gaussian, logistic."""
    if kind == "bernoulli":
        return Bernoulli()
    return Gaussian(data, deviation) if kind == "gaussian" else Logistic(data)
