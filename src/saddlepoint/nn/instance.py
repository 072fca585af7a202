"""Instance normalisation with what stands around it, in one pass by the kernels of `nn/native`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.types import at_least_float32
from saddlepoint.nn.gradients import by_pytorch
from saddlepoint.nn.layers import leaky
from saddlepoint.nn.native import maps

EPSILON = 1e-5
"""Added to variances: PyTorch's."""


_LARGER = 8.0
"""Factor before squares in files: those of maps that hardly vary are below the smallest number of 16 bits otherwise.

A power of two, which rounds nothing; from numbers of 32 on, squares would be beyond the largest.
"""


def by_deviation(h: Tensor, eps: float) -> Tensor:
    """Return maps of mean 0, each divided by the root of its variance and ``eps``."""
    if torch.compiler.is_exporting():
        h, eps = _LARGER * h, _LARGER**2 * eps
    return h * torch.rsqrt(h.square().mean((2, 3), keepdim=True) + eps)


def normalised(x: Tensor, gain: Tensor, offset: Tensor | None, slope: float, beside: Tensor | None) -> Tensor:
    """Return LeakyReLU(gain * (x - mean) / deviation + offset) + beside, by PyTorch's operations.

    Args:
        x: (batch, channel, height, width).
        gain: (channel,), as ``offset``; or without one (batch, 2 channel) numbers: gains less 1, then offsets.
        offset: (channel,), or none.
        slope: of the LeakyReLU; 1: none.
        beside: like ``x``, or none.
    """
    x = at_least_float32(x)  # statistics, and sums of residual blocks, are not computed in half precision
    if offset is not None:
        y = F.instance_norm(x, weight=gain, bias=offset)
    else:
        # (batch, channels, 1, 1) each. Huang and Belongie 2017, eq. 8; 1 + gain: a style near 0 changes nothing.
        scale, shift = gain[:, :, None, None].chunk(2, 1)
        y = torch.addcmul(shift, 1 + scale, F.instance_norm(x))
    y = leaky(y, slope)
    return y if beside is None else beside + y


class Normalised(torch.autograd.Function):
    """`normalised` by the kernels: bf16, or fp32 where something stands beside."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, offset: Tensor | None, slope: float, beside: Tensor | None
    ) -> Tensor:
        y, stats = maps.instance_norm(x, gain, offset, beside, slope, EPSILON)
        ctx.save_for_backward(x, gain, offset, stats)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x, gain, offset, stats) = along, ctx.saved_tensors
        beside = dy if ctx.needs_input_grad[4] else None
        if torch.is_grad_enabled():  # to be differentiated again, which the kernels leave to PyTorch

            def again(x: Tensor, gain: Tensor, offset: Tensor | None) -> Tensor:
                return normalised(x, gain, offset, ctx.slope, None)

            return *by_pytorch(again, (x, gain, offset), dy), None, beside
        dx, sums = maps.instance_norm_backward(x, dy, gain, offset, stats, ctx.slope)
        if offset is None:
            return dx, sums.flatten(1), None, None, beside
        return dx, *sums.sum(0), None, beside
