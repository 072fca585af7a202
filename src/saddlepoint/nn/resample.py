"""Resampling of images by factors of two with the binomial filters of StyleGAN, differentiable any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saddlepoint.nn.constants import constant
from saddlepoint.nn.native import style_maps
from saddlepoint.nn.native.dispatch import exact_kernels

Images = Float[Tensor, "batch channel height width"]

SMOOTH = (1.0, 3.0, 3.0, 1.0)  # the filter of StyleGAN2, in each direction
NARROW = (1.0, 2.0, 1.0)  # the filter of StyleGAN, in each direction
# Up to these, doubling is two products with matrices: half to a fifth of the time of a convolution by channels.
FEW_CHANNELS, SMALL_SIDE = 4, 32


def upsample(x: Images, taps: Sequence[float] = SMOOTH) -> Images:
    """Double height and width: zeros between the pixels, then the filter; constants keep their value inside.

    Source: Karras et al. 2020 (StyleGAN2), appendix B.

    Args:
        x: zero outside.
        taps: of the filter, an even number of them.
    """
    height, width = x.shape[2:]
    if x.shape[1] <= FEW_CHANNELS and max(height, width) <= SMALL_SIDE:
        across = _doubling(width, taps, x)  # the filter is an outer product: rows and columns one after the other
        down = across if height == width else _doubling(height, taps, x)
        return down.t() @ x @ across
    found: Images = _Filter.apply(
        4 * x, tuple(taps), 2, len(taps) // 2 - 1, True, False
    )  # 4: of four pixels three are 0
    return found


def _doubling(side: int, taps: Sequence[float], like: Tensor) -> Float[Tensor, "side twice"]:
    """Return the matrix that doubles a line."""
    line = constant(tuple(taps), like)
    pixels = torch.eye(side, dtype=like.dtype, device=like.device)[:, None]  # (side, 1, side): each pixel's response
    return F.conv_transpose1d(pixels, 2 * line[None, None] / line.sum(), None, 2, len(taps) // 2 - 1)[:, 0]


def downsample(x: Images, taps: Sequence[float] = SMOOTH) -> Images:
    """Halve height and width, which must be even: the filter, then every second pixel; a quarter of the adjoint above.

    Args:
        x: zero outside.
        taps: of the filter, an even number of them.
    """
    found: Images = _Filter.apply(x, tuple(taps), 2, len(taps) // 2 - 1, False, False)
    return found


def blur(x: Images, taps: Sequence[float] = SMOOTH, padding: int = 1) -> Images:
    """Filter without a change of resolution; the side becomes side + 2 padding + 1 - number of taps."""
    # Kept for all derivatives, which are computed outside of the place where kernels are applied.
    fast = len(taps) <= style_maps.TAPS and exact_kernels(x) is not None
    found: Images = _Filter.apply(x, tuple(taps), 1, padding, False, fast)
    return found


class _Filter(torch.autograd.Function):
    """A filter of sum 1 on each channel, or its adjoint; each is the derivative of the other."""

    # Path length and R1 differentiate twice, and PyTorch's second derivative of a convolution in groups walks through
    # the channels one by one. A linear map's derivative is its adjoint: this way each derivative is one fast call.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, taps: tuple[float, ...], stride: int, padding: int, adjoint: bool, fast: bool
    ) -> Tensor:  # fmt: skip
        ctx.settings = (taps, stride, padding, not adjoint, fast)
        if fast:
            around = len(taps) - 1 - padding if adjoint else padding
            return style_maps.filtered(x, taps, around, full=x.dtype == torch.float32)
        line = constant(taps, x)
        kernel = torch.outer(line, line) / line.sum() ** 2
        channels = x.shape[1]
        weight = kernel.expand(channels, 1, -1, -1).contiguous()  # a kernel for each channel: groups of one
        if adjoint and stride == 2:
            return F.conv_transpose2d(x, weight, None, stride, padding, groups=channels)
        # The taps are symmetric, so at stride 1 the adjoint is the filter with what is left of the padding.
        padding = len(taps) - 1 - padding if adjoint else padding
        return F.conv2d(x, weight, None, stride, padding, groups=channels)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # apply, not forward: the result can be differentiated again.
        return _Filter.apply(along[0], *ctx.settings), *[None] * 5
