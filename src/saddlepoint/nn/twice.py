"""Products by the kernels of `nn/native` that can be differentiated any number of times.

Convolution, transposed convolution and weight gradient are bilinear, and each one's derivatives are the other two. A
LeakyReLU's slopes are piecewise constant, so that its derivative is a product with them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.products import Layer


def gradients(
    wanted: tuple[bool, bool, bool], x: Tensor, weight: Tensor, bias: Tensor | None, dy: Tensor, y: Tensor | None,
    layer: Layer, slope: float, *, is_transposed: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Return the gradients of y = LeakyReLU(conv(x, W) + b) in x, W and b that are wanted, to be differentiated.

    Args:
        wanted: of x, W, b.
        x, weight, bias: as they went in.
        dy: gradient of the result.
        y: the result; None: there is no LeakyReLU.
        layer: geometry.
        slope: of LeakyReLU.
        is_transposed: whether the convolution is a transposed one.
    """
    v = dy if y is None else _Sloped.apply(dy, y.detach(), slope, bias)
    dx, dw = _of_convolution(wanted[:2], x, v, weight, layer, is_transposed)
    return dx, dw, v.float().sum((0, *range(2, v.ndim))) if wanted[2] else None


def _of_convolution(
    wanted: tuple[bool, ...], x: Tensor, v: Tensor, weight: Tensor, layer: Layer, is_transposed: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients in input and weight, where ``v`` is that of the result: `gradients.of_convolution`."""
    dx = dw = None
    if wanted[0]:
        dx = _Convolved.apply(v, weight, layer, native.is_full(x), None if is_transposed else x.shape)
    if wanted[1]:
        read, given = (v, x) if is_transposed else (x, v)
        dw = _Correlated.apply(read, given, weight.detach(), layer)
    return dx, dw


class _Convolved(torch.autograd.Function):
    """The convolution of ``x``, or where ``shape`` tells that of the result the transposed one; fp32 if ``full``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: Layer, full: bool, shape: tuple[int, ...] | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layer, ctx.is_transposed = layer, shape is not None
        if shape is None:
            return native.convolved(x, weight, layer, full=full)
        return native.input_gradient(x, tuple(shape), weight, layer, full=full)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        found = _of_convolution(ctx.needs_input_grad[:2], x, along[0], weight, ctx.layer, ctx.is_transposed)
        return *found, None, None, None


class _Correlated(torch.autograd.Function):
    """The gradient in the weights, fp32, for the gradient v of the result at input x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, like: Tensor, layer: Layer) -> Tensor:
        ctx.save_for_backward(x, v)
        ctx.layer = layer
        return native.weight_gradient(x, v, like, layer)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (x, v), layer, found = ctx.saved_tensors, ctx.layer, list[Tensor | None]([None, None])
        if ctx.needs_input_grad[0]:
            found[0] = _Convolved.apply(v, along[0], layer, native.is_full(x), x.shape)
        if ctx.needs_input_grad[1]:
            found[1] = _Convolved.apply(x, along[0], layer, native.is_full(v), None)
        return *found, None, None


class _Sloped(torch.autograd.Function):
    """``v`` times the slopes of the LeakyReLU that made ``activated``, which do not depend on the bias before it."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, activated: Tensor, slope: float, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(activated, bias)
        ctx.slope = slope
        return elementwise.times_slope(v, activated, slope)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        activated, bias = ctx.saved_tensors
        # 0 and not None, as PyTorch's LeakyReLU has it: an optimizer's moments go on where a gradient is 0.
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        return _Sloped.apply(along[0], activated, ctx.slope, bias), None, None, of_bias
