"""Normalisers: batch statistics and their recomputation for averaged weights, spectral norm, minibatch deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import at_least_float32
from saddlepoint.nn.gradients import by_pytorch
from saddlepoint.nn.instance import Normalised, normalised
from saddlepoint.nn.layers import Linear, leaky
from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native.dispatch import kernels

EPSILON = 1e-6
"""What the mean square of a row is at least."""

Images = Float[Tensor, "batch channel height width"]


def recalibrate(network: nn.Module, passes: Callable[[], object]) -> None:
    """Replace the running statistics of batch normalisation by those of ``passes``.

    Args:
        network: its `nn.BatchNorm1d` and `nn.BatchNorm2d` layers are recalibrated; nothing happens if it has none.
        passes: runs the network, in training mode, on what it will see; each minibatch counts equally.
    """
    # An average of weights never ran: statistics gathered by any of the steps are not its own, and averaging them does
    # not make them so (Izmailov et al. 2018, algorithm 1). One pass over a few hundred samples does.
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not layers:
        return
    with _training(network), _cumulative(layers), torch.no_grad():
        passes()


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}  # each its own: a part may be frozen in eval
    network.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _cumulative(layers: list[nn.BatchNorm1d | nn.BatchNorm2d]) -> Iterator[None]:
    """Let running statistics start afresh and be the plain mean over minibatches."""
    # PyTorch's meaning of momentum None: a cumulative mean instead of an exponential one.
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight, as a matrix (outputs, rest), has spectral norm 1.

    One power iteration in each forward pass of training mode; none in evaluation mode. The first vector is drawn by
    `draw`, not from global random numbers. Source: Miyato et al. 2018, algorithm 1.
    """

    u: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        # Kept from step to step: weights move little between them, so one iteration is enough.
        self.register_buffer("u", F.normalize(torch.ones(outputs), dim=0))

    def forward(self, x: Images) -> Images:
        """Return the convolution with weight / sigma."""
        return self._conv_forward(x, self.weight / self.sigma(), self.bias)  # Miyato et al. 2018, eq. 8

    def sigma(self) -> Tensor:
        """Return the estimate u' W v of the spectral norm, differentiable in W, with u and v held constant."""
        matrix = self.weight.flatten(1)  # (outputs, inputs * kernel^2)
        with torch.autocast(matrix.device.type, enabled=False):
            with torch.no_grad():
                # No gradient through u and v: d sigma / dW = u v' holds where they are the singular vectors.
                v = F.normalize(matrix.t() @ self.u, dim=0)
                u = F.normalize(matrix @ v, dim=0)
                if self.training:  # in evaluation mode a logit must not depend on how often D was asked before
                    self.u.copy_(u)
            return torch.dot(u, matrix @ v)

    def draw(self, generator: torch.Generator) -> None:
        """Draw the start of the power iteration, and bring it near its end."""
        self.u.copy_(F.normalize(torch.randn(len(self.u), generator=generator), dim=0))
        training = self.training
        self.train()
        for _ in range(15):  # of weights just drawn one iteration would underestimate sigma, and D begin too steep
            self.sigma()
        self.train(training)


def minibatch_deviation(x: Images, group: int | None = None, features: int = 1) -> Images:
    """Append maps that hold how much the samples of a group differ: D sees a lack of diversity.

    Standard deviation over the group at every place and channel, averaged over places and over the channels of each of
    ``features`` equal parts.

    Args:
        x: (batch, channel, height, width).
        group: samples in a group; None: the whole minibatch. Must divide the batch.
        features: maps to append; must divide the channels.

    Raises:
        ConfigError: if they do not divide.

    Source: Karras et al. 2018 (ProGAN), section 3, in the grouped form of Karras et al. 2020.
    """
    batch, channels, height, width = x.shape
    group = group or batch
    if batch % group or channels % features:
        raise ConfigError(f"groups of {group} and {features} maps must divide {batch} samples and {channels} channels")
    # (group, groups, features, channels / features, height, width): samples i, i + n, i + 2n ... of n groups belong
    # together. Neighbours would not do where a minibatch comes sorted.
    parts = x.reshape(group, -1, features, channels // features, height, width)
    # Several times as fast as var over the first axis. 1e-8: a root has no slope at 0.
    deviation = ((parts - parts.mean(0)).square().mean(0) + 1e-8).sqrt().mean((2, 3, 4))
    maps = (
        deviation[None, :, :, None, None].expand(group, -1, -1, height, width).reshape(batch, features, height, width)
    )
    return torch.cat([x, maps], 1)


def rms_norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Divide by the root mean square over the second axis: features of a row, or channels of each place of an image.

    Args:
        x: (batch, features) or (batch, channel, height, width).
        epsilon: added to the mean square.

    Source: Zhang and Sennrich 2019, without the learned gain; for images Karras et al. 2018, section 4.2.
    """
    # The mean of squares in fp32: added up in bf16, terms below a 256th of the sum so far would be lost.
    return x * torch.rsqrt(at_least_float32(x).square().mean(1, keepdim=True) + epsilon).to(x.dtype)


def rms_norm_leaky(x: Tensor, before: float = 1.0, after: float = 1.0) -> Tensor:
    """Return LeakyReLU of `rms_norm` of LeakyReLU of ``x``, with the slopes ``before`` and ``after``; 1: none.

    Args:
        x: (batch, features) or (batch, channel, height, width).
        before, after: slopes on the negative side.
    """
    if kernels(x) is not None and x.ndim in (2, 4):
        found: Tensor = _RmsNormLeaky.apply(x, before, after)
        return found
    return leaky(rms_norm(leaky(x, before)), after)


class _RmsNormLeaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, before: float, after: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slopes = before, after
        return elementwise.rms_rows(x, before, after, EPSILON)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (before, after) = ctx.saved_tensors, ctx.slopes
        if torch.is_grad_enabled():  # to be differentiated again, which the kernels leave to PyTorch
            return *by_pytorch(lambda x: leaky(rms_norm(leaky(x, before)), after), (x,), along[0]), None, None
        return elementwise.rms_rows_backward(x, along[0], before, after, EPSILON), None, None


class StyledNorm(nn.Module):
    """Normalisation of each map of each image, then a gain and an offset: learned numbers, or linear maps of a style.

    Source with a style: Huang and Belongie 2017 (adaptive instance normalisation).

    Args:
        channels: of the images.
        style: numbers that gain and offset depend on; 0: they are learned numbers of their own.
    """

    def __init__(self, channels: int, style: int = 0) -> None:
        super().__init__()
        # No running statistics: each map is divided by its own deviation, in training and after it alike.
        self.affine = Linear(style, 2 * channels) if style else None
        self.gain = None if style else nn.Parameter(torch.ones(channels))
        self.offset = None if style else nn.Parameter(torch.zeros(channels))

    def forward(
        self, x: Images, style: Tensor | None = None, *, slope: float = 1.0, beside: Images | None = None
    ) -> Images:
        """Return LeakyReLU(gain * (x - mean) / deviation + offset) + beside; with a style the gain is 1 + its map.

        Args:
            x: (batch, channel, height, width).
            style: (batch, numbers).
            slope: of LeakyReLU on the negative side; 1: there is none, 0: max(0, .).
            beside: like ``x``, added at the end.
        """
        if self.affine is None:
            gain, offset = self.gain, self.offset
        else:
            assert style is not None
            gain, offset = self.affine(style), None
        assert gain is not None
        if kernels(x) is None:
            return normalised(x, gain, offset, slope, beside)
        found: Tensor = Normalised.apply(x, gain, offset, slope, beside)
        return found
