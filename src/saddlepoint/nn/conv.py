"""Convolutional discriminators: maxout ones, and LeakyReLU ones with input gradients and penalties in four passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import working_dtype
from saddlepoint.nn.equalised import EqualisedConv2d


def leaky_convnet(
    x: Float[Tensor, "batch channel height width"],
    layers: Iterable[nn.Module],
    head: Float[Tensor, "rows features"],
    slope: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, "batch channel height width"]]:
    """Evaluate convolutions with LeakyReLU after each and a linear head, and its gradient in the input.

    It takes four convolutions a layer; differentiating twice with autograd takes six. The gradient serves three times:
    in R1, in R2, and as the way of G's gradient through D. How it works stands at `nn/mlp.py`'s `_LeakyMLP`.

    Args:
        x: inputs.
        layers: `nn.Conv2d` with a bias, without dilation or groups.
        head: weights of the linear output on the flattened last layer: one row for all samples, or one for each.
        slope: of LeakyReLU on the negative side.

    Returns:
        outputs; squared norms of their gradients in the input, both differentiable in the parameters and the head, the
        outputs in ``x`` too (the norms are piecewise constant in it); the gradients themselves, detached.
    """
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    geometry = [(layer.stride, layer.padding) for layer in convolutions]
    parameters = [
        p
        for layer in convolutions
        for p in (layer.acting() if isinstance(layer, EqualisedConv2d) else (layer.weight, layer.bias))
    ]
    outputs, norms, gradients = _LeakyConvNet.apply(x, head, slope, geometry, *parameters)
    # Its own derivative in the weights is not computed: whoever differentiates it would get 0 without a word.
    return outputs, norms, gradients.detach()


class MaxoutConv2d(nn.Module):
    """The largest of ``pieces`` convolutions, then the largest value of overlapping windows.

    Windows of ``pool`` pixels with a stride of ``stride``; the last ones may hang over the edge.
    Source: Goodfellow et al. 2013 (Maxout networks), section 2, as the released code of 2014 uses it.

    Args:
        inputs: channels in.
        outputs: channels out.
        pieces: convolutions per channel.
        kernel, padding: of the convolutions, of stride 1.
        pool, stride: of the windows.
    """

    def __init__(
        self, inputs: int, outputs: int, pieces: int, *, kernel: int, padding: int, pool: int, stride: int
    ) -> None:
        super().__init__()
        self.outputs, self.pieces, self.pool, self.stride = outputs, pieces, pool, stride
        self.affine = nn.Conv2d(inputs, outputs * pieces, kernel, padding=padding)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs lower narrower"]:
        """Return the pooled maxima."""
        h = self.affine(x).unflatten(1, (self.pieces, self.outputs)).amax(1)  # (batch, outputs, height, width)
        return F.max_pool2d(h, self.pool, self.stride, ceil_mode=True)


class _LeakyConvNet(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, head: Tensor, slope: float, geometry: Any, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            return _LeakyConvNet._forward(ctx, kind, x, head, slope, geometry, *parameters)

    @staticmethod
    def _forward(
        ctx: Any, kind: torch.dtype, x: Tensor, head: Tensor, slope: float, geometry: Any, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Convolutions are computed in ``kind``; logits and norms in the parameters' own precision, see `in_full`.
        weights, biases = ([p.to(kind) for p in parameters[start::2]] for start in (0, 1))
        inputs = [x.to(kind)]
        for weight, bias, (stride, padding) in zip(weights, biases, geometry, strict=True):
            inputs.append(F.leaky_relu_(F.conv2d(inputs[-1], weight, bias, stride, padding), slope))
        last = inputs[-1]
        outputs = (last.flatten(1) * head).sum(1)  # head: one row for all, or (batch, features)
        # back[k] is the gradient of the output in the k-th convolution's result.
        v = _times_slope(head.to(kind).view(-1, *last.shape[1:]).expand_as(last), last, slope)
        back = [v]
        for k in range(len(weights) - 1, 0, -1):
            # inputs[k] is the result of layer k - 1: the shape to come back to, and the slopes.
            v = _times_slope(_input_gradient(v, inputs[k], weights[k], geometry[k]), inputs[k], slope)
            back.insert(0, v)
        gradient = _input_gradient(v, inputs[0], weights[0], geometry[0])
        ctx.save_for_backward(gradient, *weights, *inputs, *back)
        ctx.depth, ctx.slope, ctx.geometry, ctx.rows, ctx.kind = len(weights), slope, geometry, len(head), kind
        gradient = gradient.to(head.dtype)
        return outputs, gradient.square().flatten(1).sum(1), gradient

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # dL/dD and dL/d||grad_x D||^2, each (batch, 1, 1, 1); the third result is detached by the caller.
        e, along_norm = (direction.to(ctx.kind)[:, None, None, None] for direction in along[:2])
        depth = ctx.depth
        gradient, *saved = ctx.saved_tensors
        along_x = gradient * e if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # G's turn: D's weights are frozen
            return along_x, *[None] * (3 + 2 * depth)
        weights, inputs, back = saved[:depth], saved[depth : 2 * depth + 1], saved[2 * depth + 1 :]
        t = gradient * (2 * along_norm)
        found: list[Tensor | None] = []
        for k in range(depth):
            combined = torch.addcmul(t, inputs[k], e)  # of norm and output: one weight gradient for both
            found.append(_weight_gradient(back[k], combined, weights[k], ctx.geometry[k]))
            found.append((back[k] * e).sum((0, 2, 3)))  # a bias moves the output only, never grad_x D
            t = _times_slope(F.conv2d(t, weights[k], None, *ctx.geometry[k]), inputs[k + 1], ctx.slope)
        along_head = torch.addcmul(t, inputs[-1], e).flatten(1)
        return along_x, along_head if ctx.rows > 1 else along_head.sum(0, keepdim=True), None, None, *found


def _times_slope(v: Tensor, activated: Tensor, slope: float) -> Tensor:
    """Multiply by the slope of LeakyReLU where its result is ``activated``."""
    # True: the slope is read off the result, which has the sign of the argument as long as the slope is positive.
    found: Tensor = torch.ops.aten.leaky_relu_backward(v, activated, slope, True)
    return found


def _input_gradient(v: Tensor, x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    return _convolution_gradients(v, x, weight, geometry, (True, False))[0]


def _weight_gradient(v: Tensor, x: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    return _convolution_gradients(v, x, weight, geometry, (False, True))[1]


def _convolution_gradients(
    v: Tensor, x: Tensor, weight: Tensor, geometry: Any, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    # After the padding: dilation, transposed, output padding, groups, and which gradients are wanted (x, weight, bias).
    stride, padding = geometry
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        v, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, (*wanted, False)
    )
    return found[0], found[1]
