"""Convolutions between two sizes, and sums of residual blocks there: by PyTorch, or in bf16 by the kernels.

A convolution before a mean of squares of four pixels is one of stride 2 with a kernel a pixel wider, and one of doubled
pixels is a transposed one: 16 products for each pixel of the smaller size instead of 36, for kernels of 3.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.nn.constants import constant
from saddlepoint.nn.gradients import before_slope, by_pytorch, in_bf16, of_convolution, seen
from saddlepoint.nn.layers import Conv2d, convolution, leaky, transposed_convolution
from saddlepoint.nn.native import elementwise, maps
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.dispatch import kernels
from saddlepoint.nn.native.library import use
from saddlepoint.nn.resample import SMOOTH

Images = Float[Tensor, "batch channel height width"]
Resample = Literal["", "down", "up"]


class HalvedConv2d(nn.Conv2d):
    """The filter of `nn/resample.py` at every second pixel, then a 1x1 convolution: one convolution of stride 2.

    It has the weights of the 1x1 convolution alone, and takes 16 products where those take one: for kernels that reach
    many times the speed of a filter on each channel.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1))

    def acting(self) -> tuple[Tensor, None]:
        """Return weight (outputs, inputs, 4, 4) and bias as the convolution has them."""
        return self.weight * _filter(self.weight), None

    def forward(self, x: Images) -> Images:
        """Return (batch, outputs, height / 2, width / 2)."""
        return convolution(x, self.acting()[0], None, self)


class DoubledConv2d(nn.ConvTranspose2d):
    """A 1x1 convolution, then zeros between the pixels and the filter: one transposed convolution of stride 2.

    It has the weights of the 1x1 convolution alone, see `HalvedConv2d`.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 1, 1))

    def forward(self, x: Images) -> Images:  # type: ignore[override]
        """Return (batch, outputs, 2 height, 2 width)."""
        # 4: of four pixels three are 0. A transposed convolution wants (inputs, outputs, ...).
        return transposed_convolution(x, self.weight.transpose(0, 1) * (4 * _filter(self.weight)), None, self)


def _filter(like: Tensor) -> Tensor:
    """Return the filter (4, 4), of sum 1."""
    line = constant(SMOOTH, like)
    return torch.outer(line, line) / line.sum() ** 2


def resized_convolution(x: Images, conv: Conv2d, resample: Resample, slope: float = 1.0) -> Images:
    """Return LeakyReLU of a convolution of stride 1 and kernel 3, whose result is halved or whose input is doubled.

    Args:
        x: (batch, channel, height, width).
        conv: with padding 1, so that it keeps the size.
        resample: down: means of squares of four; up: nearest pixels; else nothing.
        slope: on the negative side; 1: no LeakyReLU.
    """
    if not resample:
        return conv(x, slope)
    if kernels(x) is None or (resample == "down" and (x.shape[2] % 2 or x.shape[3] % 2)):
        return leaky(_by_pytorch(x, conv.weight, conv.bias, resample), slope)
    found: Tensor = _Resized.apply(x, seen(conv.weight), conv.bias, resample, slope)
    return found


def resized(x: Images, resample: Resample, shortcut: Conv2d | None = None) -> Images:
    """Return the way around a residual block: ``x`` at the block's size after the shortcut, or what `summed` enlarges.

    With the kernels the shortcut, of single pixels, is taken at the smaller size, and doubling is left to `summed`.
    """
    if kernels(x) is None or (resample == "down" and (x.shape[2] % 2 or x.shape[3] % 2)):
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x
        x = x if shortcut is None else shortcut(x)
        return F.avg_pool2d(x, 2) if resample == "down" else x
    if resample == "down":
        x = _Halved.apply(x)
    return x if shortcut is None else shortcut(x)


def summed(x: Images, h: Images, scale: float) -> Images:
    """Return (x + h) * scale, with ``x`` doubled where it has half the size."""
    if kernels(h) is None:
        return (x + h) * scale
    found: Tensor = _Summed.apply(x, h, scale)
    return found


def activated(x: Tensor, slope: float) -> Tensor:
    """Return LeakyReLU of ``x``."""
    if kernels(x) is None or x.ndim not in (2, 4):
        return leaky(x, slope)
    found: Tensor = _Leaky.apply(x, slope)
    return found


def _by_pytorch(x: Tensor, weight: Tensor, bias: Tensor | None, resample: str) -> Tensor:
    x = F.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x
    y = F.conv2d(x, weight, bias, 1, 1)
    return F.avg_pool2d(y, 2) if resample == "down" else y


_WIDE = native.Layer(2, (1, 1))
_MEANS = native.Layer(2, (1, 1), 0.25)


def _widened(weight: Tensor, resample: str) -> Tensor:
    """Return weights of kernel 4: sums over squares of four taps, for `up` those of the transposed convolution.

    Made once for each state of the weights, and shared by all passes of a step.
    """
    kept = native.kept_with(weight if weight._base is None else weight._base)
    key = ("widened", resample, weight.shape, weight.stride(), weight.storage_offset())
    state = (use(), weight._version, weight.data_ptr())
    found = kept.get(key)
    if found is not None and found[0] == state:
        return found[1]
    w = weight.detach()
    w = w.permute(1, 0, 2, 3).flip(2, 3) if resample == "up" else w
    wide = torch.zeros((*w.shape[:2], 4, 4)).contiguous(memory_format=native.LAST)
    for i in (0, 1):
        for j in (0, 1):
            wide[:, :, i : i + 3, j : j + 3] += w
    kept[key] = state, wide
    return wide


def _narrowed(wide: Tensor, resample: str) -> Tensor:
    """Return the gradient in weights by that in the widened ones."""
    rows = wide[:, :, :3] + wide[:, :, 1:]
    found = rows[..., :3] + rows[..., 1:]
    return found.flip(2, 3).permute(1, 0, 2, 3) if resample == "up" else found


class _Resized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, resample: str, slope: float) -> Tensor:
        after, wide = native.After(bias=bias, slope=slope), _widened(weight, resample)
        if resample == "down":
            y = native.convolved(x, wide, _MEANS, after)
        else:
            shape = (len(x), len(weight), 2 * x.shape[2], 2 * x.shape[3])
            y = native.input_gradient(x, shape, wide, _WIDE, after)
        ctx.save_for_backward(x, weight, bias, None if slope == 1 else y)
        ctx.resample, ctx.slope = resample, slope
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x, weight, bias, y), resample = along, ctx.saved_tensors, ctx.resample
        if torch.is_grad_enabled():  # to be differentiated again, which the kernels leave to PyTorch

            def again(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
                return leaky(_by_pytorch(x, w, b, resample), ctx.slope)

            return *by_pytorch(in_bf16(again), (x, weight, bias), dy), None, None
        v, sums = before_slope(dy, y, ctx.slope, ctx.needs_input_grad[2])
        wide, is_up = _widened(weight, resample), resample == "up"
        dx, dw = of_convolution(ctx, x, v, wide, _WIDE if is_up else _MEANS, is_transposed=is_up)
        return dx, None if dw is None else _narrowed(dw, resample), sums, None, None


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.full = native.is_full(x)
        return maps.halved(x, full=ctx.full)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> Tensor:
        (dy,) = along
        if torch.is_grad_enabled():
            return F.interpolate(dy, scale_factor=2.0, mode="nearest") / 4
        return maps.enlarged(dy, 2, scale=0.25, full=ctx.full)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, scale: float) -> Tensor:
        ctx.factor, ctx.scale, ctx.full = h.shape[3] // x.shape[3], scale, native.is_full(x)
        return maps.enlarged(x, ctx.factor, h, scale, full=ctx.full)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), scale = along, ctx.scale
        if torch.is_grad_enabled():
            dh = dy * scale
            return (dh if ctx.factor == 1 else F.avg_pool2d(dh, 2) * 4), dh, None
        dh = maps.enlarged(dy, 1, scale=scale, full=False)
        if ctx.factor == 2:
            return maps.halved(dy, 4 * scale, full=ctx.full), dh, None
        return (maps.enlarged(dy, 1, scale=scale, full=True) if ctx.full else dh), dh, None


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = maps.leaky_rows(x, slope)
        ctx.save_for_backward(x, y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x, y) = along, ctx.saved_tensors
        if torch.is_grad_enabled():
            return dy * torch.where(x.detach() > 0, 1.0, ctx.slope), None
        return elementwise.times_slope(dy, y, ctx.slope), None
