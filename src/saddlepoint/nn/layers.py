"""Affine maps and convolutions that a LeakyReLU may follow: by PyTorch, or in bf16 by the kernels of `nn/native`.

They are `nn.Linear`, `nn.Conv2d` and `nn.ConvTranspose2d` in all but the time that they take.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import at_least_float32
from saddlepoint.nn import twice
from saddlepoint.nn.gradients import before_slope, by_pytorch, is_wanted, of_convolution, seen
from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.dispatch import kernels


class Linear(nn.Linear):
    """An affine map of rows, then LeakyReLU where a slope is given."""

    def forward(self, x: Float[Tensor, "batch inputs"], slope: float = 1.0) -> Tensor:
        """Return LeakyReLU(x W' + b) of ``slope``; 1: no LeakyReLU, 0: max(0, .)."""
        return affine(x, self.weight, self.bias, slope=slope)


class Conv2d(nn.Conv2d):
    """A convolution, then LeakyReLU where a slope is given."""

    def forward(self, x: Float[Tensor, "batch inputs height width"], slope: float = 1.0) -> Tensor:
        """Return LeakyReLU(conv(x)) of ``slope``; 1: no LeakyReLU, 0: max(0, .)."""
        return convolution(x, self.weight, self.bias, self, slope=slope)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution, then LeakyReLU where a slope is given."""

    def forward(self, x: Float[Tensor, "batch inputs height width"], slope: float = 1.0) -> Tensor:  # type: ignore[override]
        """Return LeakyReLU(conv'(x)) of ``slope``; 1: no LeakyReLU, 0: max(0, .)."""
        return transposed_convolution(x, self.weight, self.bias, self, slope=slope)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, *, slope: float = 1.0, scale: float = 1.0) -> Tensor:
    """Return LeakyReLU(scale x W' + b) for rows ``x``; weights (outputs, inputs)."""
    if x.ndim != 2 or not _fits(x, weight, 1, slope):
        return leaky(F.linear(x, scaled(weight, scale), bias), slope)
    return plain_convolution(x, weight, bias, native.Layer(scale=scale), slope)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d, *, slope: float = 1.0, scale: float = 1.0
) -> Tensor:
    """Return LeakyReLU(conv(x, scale W) + b), with the geometry of ``layer``."""
    geometry = _geometry(layer, scale) if x.ndim == 4 and _fits(x, weight, 1, slope) else None
    if geometry is None:
        return leaky(layer._conv_forward(x, scaled(weight, scale), bias), slope)
    return plain_convolution(x, weight, bias, geometry, slope)


def plain_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, layer: native.Layer, slope: float) -> Tensor:
    """Return LeakyReLU(conv(x, scale W) + b) by the kernels, which must be applied."""
    found: Tensor = _Convolution.apply(x, seen(weight), bias, layer, slope, None)
    return found


def transposed_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.ConvTranspose2d, *, slope: float = 1.0, scale: float = 1.0
) -> Tensor:
    """Return LeakyReLU(conv'(x, scale W) + b), with the geometry of ``layer``; weights (inputs, outputs, ...)."""
    geometry = _geometry(layer, scale) if x.ndim == 4 and _fits(x, weight, 0, slope) else None
    extra = layer.output_padding
    if geometry is None:
        around = layer.padding
        assert not isinstance(around, str)  # PyTorch knows padding by name for convolutions only
        return leaky(F.conv_transpose2d(x, scaled(weight, scale), bias, layer.stride, around, extra), slope)
    size = tuple(
        (side - 1) * geometry.stride - 2 * around + kernel + more
        for side, around, kernel, more in zip(x.shape[2:], geometry.padding, weight.shape[2:], extra, strict=True)
    )
    found: Tensor = _Convolution.apply(x, seen(weight), bias, geometry, slope, size)
    return found


def scaled(weight: Tensor, scale: float) -> Tensor:
    """Return a weight as it is used; by 1 without a pass over it."""
    return weight if scale == 1 else weight * scale


def leaky(x: Tensor, slope: float) -> Tensor:
    """Return LeakyReLU of a slope; 1: ``x`` itself."""
    if slope == 1:
        return x
    return F.relu(x) if slope == 0 else F.leaky_relu(x, slope)


def largest(x: Tensor, pieces: int) -> Tensor:
    """Return the largest of ``pieces`` units, or channels: (batch, pieces * units, ...) -> (batch, units, ...).

    Equal pieces share the gradient.
    """
    if x.dtype == torch.bfloat16 and kernels(x) is not None:
        found: Tensor = _Largest.apply(x, pieces)
        return found
    return _largest(x, pieces)


def _largest(x: Tensor, pieces: int) -> Tensor:
    return x.unflatten(1, (pieces, -1)).amax(1)  # max would give the gradient to one of equal pieces


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pieces: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.pieces = pieces
        return elementwise.maxout(x, pieces)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again, which the kernels leave to PyTorch
            return *by_pytorch(lambda x: _largest(x, ctx.pieces), (x,), along[0]), None
        return elementwise.maxout_backward(x, along[0], ctx.pieces), None


def tanh(x: Tensor, a: float = 1.0) -> Tensor:
    """Return tanh(a x), in fp32 at least."""
    if kernels(x) is not None and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
        found: Tensor = _Tanh.apply(x, a)
        return found
    x = at_least_float32(x)
    return torch.tanh(x if a == 1 else x * a)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float) -> Tensor:
        y = elementwise.tanh(x, a)
        ctx.save_for_backward(y)
        ctx.a, ctx.full = a, x.dtype == torch.float32
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # y is the graph's: what is made of it can be differentiated again
            dx = along[0] * (1 - y * y) * ctx.a
            return dx if ctx.full else dx.bfloat16(), None
        return elementwise.tanh_backward(y, along[0], ctx.a, ctx.full), None


def _fits(x: Tensor, weight: Tensor, axis: int, slope: float) -> bool:
    """Whether the kernels compute this: PyTorch has errors for what does not fit, and slopes of every size."""
    # The way back takes the slope from the sign of the result, which a negative slope would change.
    return x.shape[1] == weight.shape[axis] and 0 <= slope <= 1 and kernels(x, weight) is not None


def _geometry(layer: nn.Conv2d | nn.ConvTranspose2d, scale: float) -> native.Layer | None:
    """Return what the kernels must know of a layer; None: they do not know its kind."""
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    stride = layer.stride[0]
    if not plain or isinstance(layer.padding, str) or set(layer.stride) != {stride} or stride > native.MOST_STRIDE:
        return None
    return native.Layer(stride, (layer.padding[0], layer.padding[1]), scale)


class _Convolution(torch.autograd.Function):
    """A convolution, or where ``size`` tells the sides of the result a transposed one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: native.Layer, slope: float,
        size: tuple[int, int] | None,
    ) -> Tensor:  # fmt: skip
        after = native.After(bias=bias, slope=slope)
        if size is None:
            y = native.convolved(x, weight, layer, after)
        else:
            y = native.input_gradient(x, (len(x), weight.shape[1], *size), weight, layer, after)
        ctx.save_for_backward(x, weight, bias, None if slope == 1 else y)
        ctx.layer, ctx.slope, ctx.is_transposed = layer, slope, size is not None
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x, weight, bias, y), layer = along, ctx.saved_tensors, ctx.layer
        if torch.is_grad_enabled():  # to be differentiated again
            wanted = (is_wanted(ctx, 0), is_wanted(ctx, 1), ctx.needs_input_grad[2])
            found = twice.gradients(wanted, x, weight, bias, dy, y, layer, ctx.slope, is_transposed=ctx.is_transposed)
            return *found, None, None, None
        v, sums = before_slope(dy, y, ctx.slope, ctx.needs_input_grad[2])
        return *of_convolution(ctx, x, v, weight, layer, is_transposed=ctx.is_transposed), sums, None, None, None
