"""The products of a layer and of its two gradients, by PyTorch's operations or by the kernels of `nn/native`.

Functions whose ways back are written by hand are written against these. No autograd: none of them is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.nn.equalised import EqualisedConv2d
from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.dispatch import kernels
from saddlepoint.nn.resized import HalvedConv2d

Parametric = nn.Conv2d | nn.Linear


class Products(Protocol):
    """What a network by hand is made of: of images (batch, channel, height, width), or of rows (batch, feature)."""

    def weight_and_bias(self, layer: Parametric) -> tuple[Tensor, Tensor | None]:
        """Return a layer's parameters as the others take them, differentiable in the layer's own."""

    def geometry(self, layer: Parametric) -> Any:
        """Return stride, padding, and what else the others have to know."""

    def laid(self, x: Tensor) -> Tensor:
        """Return images in the order in memory in which they are read several times."""

    def ready(self, x: Tensor, kind: torch.dtype) -> Tensor:
        """Return ``x`` in the type of numbers that products take."""

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Any, slope: float | None,
        *, shift: Tensor | None = None, activated: Tensor | None = None, other: float = 1.0,
    ) -> Tensor:  # fmt: skip
        """Return LeakyReLU(conv(x) + bias + shift), or without a slope conv(x) times the slopes of ``activated``.

        A shift is one of rows.
        """

    def input_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: Any, slope: float | None) -> Tensor:
        """Return the gradient in ``x``, times the slopes of the LeakyReLU that made it; None: nothing did."""

    def weight_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: Any) -> Tensor:
        """Return the gradient in the weight."""

    def times_slope(self, v: Tensor, activated: Tensor, slope: float) -> Tensor:
        """Return ``v``, one row for all or one for each, times the slopes of the LeakyReLU that made ``activated``."""

    def combined(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        """Return t + e h, with a number of e for each sample; None: 0."""

    def sums(self, v: Tensor, e: Tensor) -> Tensor:
        """Return the sums of e v over samples and places."""

    def outputs(self, last: Tensor, head: Tensor) -> Tensor:
        """Return the products of each sample's features with a row of the head, one for all or one for each: (batch,).

        Features of images come channel by channel.
        """

    def norms(self, gradient: Tensor) -> Tensor:
        """Return the squared norm of each sample: (batch,)."""

    def of_head(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        """Return the sum of t + e h over samples, (1, features); None: 0."""


class OfPyTorch:
    """By PyTorch's operations, on any device and in any precision."""

    def weight_and_bias(self, layer: Parametric) -> tuple[Tensor, Tensor | None]:
        return layer.acting() if isinstance(layer, EqualisedConv2d | HalvedConv2d) else (layer.weight, layer.bias)

    def geometry(self, layer: Parametric) -> Any:
        return (layer.stride, layer.padding) if isinstance(layer, nn.Conv2d) else None

    def laid(self, x: Tensor) -> Tensor:
        return x

    def ready(self, x: Tensor, kind: torch.dtype) -> Tensor:
        return x.to(kind)

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Any, slope: float | None,
        *, shift: Tensor | None = None, activated: Tensor | None = None, other: float = 1.0,
    ) -> Tensor:  # fmt: skip
        y = F.linear(x, weight, bias) if layer is None else F.conv2d(x, weight, bias, *layer)
        if shift is not None:
            y += shift
        if slope is not None:
            return F.leaky_relu_(y, slope)
        return y if activated is None else self.times_slope(y, activated, other)

    def input_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: Any, slope: float | None) -> Tensor:
        found = v @ weight if layer is None else _convolution_gradients(v, x, weight, layer, (True, False))[0]
        return found if slope is None else self.times_slope(found, x, slope)

    def weight_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: Any) -> Tensor:
        return v.t() @ x if layer is None else _convolution_gradients(v, x, weight, layer, (False, True))[1]

    def times_slope(self, v: Tensor, activated: Tensor, slope: float) -> Tensor:
        # True: the slope is read off the result, which has the sign of the argument as long as the slope is positive.
        v = v.expand_as(activated)
        found: Tensor = torch.ops.aten.leaky_relu_backward(v, activated, slope, True)
        return found

    def combined(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        e = e.view(-1, *[1] * (h.ndim - 1))
        return h * e if t is None else torch.addcmul(t, h, e)

    def sums(self, v: Tensor, e: Tensor) -> Tensor:
        return (v * e.view(-1, *[1] * (v.ndim - 1))).sum((0, *range(2, v.ndim)))

    def outputs(self, last: Tensor, head: Tensor) -> Tensor:
        return (last.flatten(1) * head).sum(1)

    def norms(self, gradient: Tensor) -> Tensor:
        return gradient.square().flatten(1).sum(1)

    def of_head(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        return self.combined(t, h, e).flatten(1).sum(0, keepdim=True)


def _convolution_gradients(
    v: Tensor, x: Tensor, weight: Tensor, layer: Any, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    # After the padding: dilation, transposed, output padding, groups, and which gradients are wanted (x, weight, bias).
    stride, padding = layer
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        v, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, (*wanted, False)
    )
    return found[0], found[1]


class OfKernels:
    """By the kernels: what follows a product comes with it, and weights are rounded when they are packed."""

    def weight_and_bias(self, layer: Parametric) -> tuple[Tensor, Tensor | None]:
        if isinstance(layer, HalvedConv2d):
            return layer.acting()
        if not isinstance(layer, EqualisedConv2d) or layer.bias is None or layer.bias_scale == 1:
            return layer.weight, layer.bias
        return layer.weight, layer.bias * layer.bias_scale

    def geometry(self, layer: Parametric) -> native.Layer:
        if not isinstance(layer, nn.Conv2d):
            return native.POINTWISE
        scale, padding = layer.scale if isinstance(layer, EqualisedConv2d) else 1.0, layer.padding
        assert not isinstance(padding, str)
        return native.Layer(layer.stride[0], (padding[0], padding[1]), scale)

    def laid(self, x: Tensor) -> Tensor:
        return native.laid(x)

    def ready(self, x: Tensor, kind: torch.dtype) -> Tensor:
        return x  # the kernels round what they read

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, layer: native.Layer, slope: float | None,
        *, shift: Tensor | None = None, activated: Tensor | None = None, other: float = 1.0,
    ) -> Tensor:  # fmt: skip
        slope = 1.0 if slope is None else slope
        after = native.After(bias=bias, shift=shift, slope=slope, activated=activated, other_slope=other)
        return native.convolved(x, weight, layer, after)

    def input_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: native.Layer, slope: float | None) -> Tensor:
        if slope is None:
            return native.input_gradient(v, x.shape, weight, layer, full=x.dtype == torch.float32)
        return native.input_gradient(v, x.shape, weight, layer, native.After(activated=x, other_slope=slope))

    def weight_gradient(self, v: Tensor, x: Tensor, weight: Tensor, layer: native.Layer) -> Tensor:
        return native.weight_gradient(x, v, weight, layer)

    def times_slope(self, v: Tensor, activated: Tensor, slope: float) -> Tensor:
        return elementwise.times_slope(v, activated, slope)

    def combined(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        return elementwise.combined(torch.zeros_like(h) if t is None else t, h, e)

    def sums(self, v: Tensor, e: Tensor) -> Tensor:
        return elementwise.channel_sums(v, e)

    def outputs(self, last: Tensor, head: Tensor) -> Tensor:
        return elementwise.row_dots(last, head.view(-1, *last.shape[1:]))

    def norms(self, gradient: Tensor) -> Tensor:
        return elementwise.row_dots(gradient, gradient)

    def of_head(self, t: Tensor | None, h: Tensor, e: Tensor) -> Tensor:
        of_h = elementwise.feature_sums(h, e)
        return (of_h if t is None else elementwise.feature_sums(t) + of_h).flatten(1)


PYTORCH, KERNELS = OfPyTorch(), OfKernels()


def of(x: Tensor, strides: Sequence[tuple[int, ...]] = ()) -> Products:
    """Return who computes with ``x``: the kernels where they are applied and know the strides, else PyTorch."""
    known = all(stride[0] == stride[1] or x.shape[3] == 1 for stride in strides)
    return KERNELS if known and kernels(x) is not None else PYTORCH
