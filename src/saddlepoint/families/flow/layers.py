"""Layers of a normalising flow: each has an inverse, and says the log of the size of its determinant.

``forward`` returns maps and log-determinants (batch,), ``inverse`` the maps that they were. Sources: Dinh et al. 2017
(Real NVP); Kingma and Dhariwal 2018 (Glow).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, at_least_float32, widest
from saddlepoint.families.flow.config import FlowConfig
from saddlepoint.nn.layers import Conv2d

Maps = Float[Tensor, "batch channel height width"]
"""What layers take and give; a vector is maps of one pixel."""


class ActNorm(nn.Module):
    """y = (x + offset) * exp(log_scale), channel by channel; at first of mean 0 and deviation 1. Glow, section 3.1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset, self.log_scale = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))

    def forward(self, x: Maps) -> tuple[Maps, PerSample]:
        y = (x + self.offset[:, None, None]) * self.log_scale.exp()[:, None, None]
        return y, (self.log_scale.sum() * x[0, 0].numel()).expand(len(x))

    def inverse(self, y: Maps) -> Maps:
        return y * (-self.log_scale).exp()[:, None, None] - self.offset[:, None, None]

    @torch.no_grad()
    def begin(self, x: Maps) -> None:
        """Let what these maps become have mean 0 and deviation 1."""
        self.offset.copy_(-x.mean((0, 2, 3)))
        self.log_scale.copy_(-x.std((0, 2, 3), correction=0).clamp_min(1e-3).log())


class Reverse(nn.Module):
    """Turns the order of channels round: its determinant is 1 or -1."""

    def forward(self, x: Maps) -> tuple[Maps, PerSample]:
        return x.flip(1), x.new_zeros(len(x))

    def inverse(self, y: Maps) -> Maps:
        return y.flip(1)


class Mixing(nn.Module):
    """y = P L (U + diag(s)) x at each pixel, a 1x1 convolution. Glow, equations 9 to 11.

    Attributes:
        order: the permutation P, fixed: row i of P L U is row order[i] of L U.
        sign: of s, fixed.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lower, self.upper = (nn.Parameter(torch.empty(channels, channels)) for _ in range(2))
        self.log_scale = nn.Parameter(torch.empty(channels))
        self.register_buffer("order", torch.arange(channels))
        self.register_buffer("sign", torch.ones(channels))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return L, with ones on its diagonal, and U + diag(s)."""
        scale = torch.diag(self.sign * self.log_scale.exp())
        return self.lower.tril(-1) + torch.eye(len(scale), device=scale.device), self.upper.triu(1) + scale

    def forward(self, x: Maps) -> tuple[Maps, PerSample]:
        lower, upper = self.factors()
        weight = (lower @ upper).index_select(0, self.order)
        y = F.conv2d(x, weight[:, :, None, None])
        return y, (self.log_scale.sum() * x[0, 0].numel()).expand(len(x))

    def inverse(self, y: Maps) -> Maps:
        # In double: the factors of a long training may be ill-conditioned, and samples shall come back as they were.
        wide = widest(y.device)
        scale = (self.sign * self.log_scale.exp()).to(wide)
        one = torch.eye(scale.shape[0], device=y.device, dtype=wide)
        lower = inverse_of_unit(self.lower.to(wide).tril(-1), one)
        upper = inverse_of_unit(self.upper.to(wide).triu(1) / scale[:, None], one) / scale  # U + s = s (U / s + 1)
        inverse = upper @ lower @ one.index_select(0, self.order).t()
        return F.conv2d(y, inverse.to(y.dtype)[:, :, None, None])

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Begin with a rotation: its determinant is 1 in size."""
        drawn = torch.randn(self.lower.shape, generator=generator, dtype=torch.float64)  # on the CPU
        rotation = torch.linalg.qr(drawn).Q
        p, lower, upper = torch.linalg.lu(rotation)
        self.order.copy_(p.argmax(1))
        self.lower.copy_(lower.tril(-1))
        self.upper.copy_(upper.triu(1))
        self.sign.copy_(upper.diagonal().sign())
        self.log_scale.copy_(upper.diagonal().abs().log())


def inverse_of_unit(strict: Tensor, one: Tensor) -> Tensor:
    """Return (1 + N)^-1 = (1 - N) (1 + N^2) (1 + N^4) ... of a strictly triangular N: products, which graphs know."""
    found, power = one - strict, strict @ strict
    for _ in range(math.ceil(math.log2(max(2, one.shape[0]))) - 1):
        found, power = found @ (one + power), power @ power
    return found


class Coupling(nn.Module):
    """One half of the channels stays; the other is scaled and shifted by what a network makes of the first.

    Source: Dinh et al. 2017, equations 7 and 8; the network of Kingma and Dhariwal 2018. The log of a scale is
    limited: l tanh(h / l).
    """

    def __init__(self, channels: int, kernel: int, config: FlowConfig) -> None:
        super().__init__()
        self.kept, self.moved = channels - channels // 2, channels // 2
        self.limit, affine = config.scale_limit, config.coupling == "affine"
        self.first = Conv2d(self.kept, config.width, kernel, padding=kernel // 2)
        self.middle = Conv2d(config.width, config.width, 1)
        self.last = Conv2d(config.width, (2 if affine else 1) * self.moved, kernel, padding=kernel // 2)

    def forward(self, x: Maps) -> tuple[Maps, PerSample]:
        kept, moved = x.split((self.kept, self.moved), 1)
        log_scale, shift = self.of(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], 1), log_scale.flatten(1).sum(1)

    def inverse(self, y: Maps) -> Maps:
        kept, moved = y.split((self.kept, self.moved), 1)
        log_scale, shift = self.of(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)

    def of(self, kept: Maps) -> tuple[Maps, Maps]:
        """Return the logs of scales, and shifts, for the other half."""
        # The network alone is computed in the precision of the training; what passes the flow stays in full.
        h = at_least_float32(network_of(self.first, self.middle, self.last, kept))
        if self.last.out_channels == self.moved:
            return torch.zeros_like(h), h
        log_scale, shift = h.chunk(2, 1)
        return self.limit * torch.tanh(log_scale / self.limit), shift


def network_of(first: Conv2d, middle: Conv2d, last: Conv2d, x: Maps) -> Maps:
    """Return three convolutions of ``x`` with ReLU between."""
    found: Maps = last(middle(first(x.contiguous(memory_format=torch.channels_last), 0.0), 0.0))
    return found


class Split(nn.Module):
    """Half of the channels is done: it is noise, of mean and deviation that the other half tells. Glow, section 3.6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.told = Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Maps) -> tuple[Maps, Maps, PerSample]:
        """Return what goes on, the other half as standard noise, and the log-determinant."""
        x, done = x.chunk(2, 1)
        mean, log_deviation = self.of(x)
        return x, (done - mean) * (-log_deviation).exp(), -log_deviation.flatten(1).sum(1)

    def inverse(self, x: Maps, noise: Maps) -> Maps:
        mean, log_deviation = self.of(x)
        return torch.cat([x, noise * log_deviation.exp() + mean], 1)

    def of(self, x: Maps) -> tuple[Maps, Maps]:
        mean, log_deviation = at_least_float32(self.told(x)).chunk(2, 1)
        return mean, torch.tanh(log_deviation / 4) * 4
