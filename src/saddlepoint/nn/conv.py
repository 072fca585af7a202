"""Convolutional discriminators: maxout ones, and LeakyReLU ones with input gradients and penalties in four passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import working_dtype
from saddlepoint.nn import products
from saddlepoint.nn.layers import Conv2d, largest
from saddlepoint.nn.products import Products


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
    found = products.of(x, [layer.stride for layer in convolutions])
    x = found.laid(x)
    parameters = [p for layer in convolutions for p in found.weight_and_bias(layer)]
    geometry = [found.geometry(layer) for layer in convolutions]
    outputs, norms, gradients = _LeakyConvNet.apply(x, head, slope, found, geometry, *parameters)
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
        self.affine = Conv2d(inputs, outputs * pieces, kernel, padding=padding)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs lower narrower"]:
        """Return the pooled maxima."""
        h = largest(self.affine(x), self.pieces)  # (batch, outputs, height, width)
        return F.max_pool2d(h, self.pool, self.stride, ceil_mode=True)


class _LeakyConvNet(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, head: Tensor, slope: float, products: Products, geometry: Any, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            return _LeakyConvNet._forward(ctx, kind, x, head, slope, products, geometry, *parameters)

    @staticmethod
    def _forward(
        ctx: Any, kind: torch.dtype, x: Tensor, head: Tensor, slope: float, products: Products, geometry: Any,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        # Convolutions are computed in ``kind``; logits and norms in the parameters' own precision, see `in_full`.
        weights, biases = ([products.ready(p, kind) for p in parameters[start::2]] for start in (0, 1))
        inputs = [products.ready(x, kind)]
        for weight, bias, layer in zip(weights, biases, geometry, strict=True):
            inputs.append(products.convolved(inputs[-1], weight, bias, layer, slope))
        last = inputs[-1]
        outputs = products.outputs(last, head)  # head: one row for all, or (batch, features)
        # back[k] is the gradient of the output in the k-th convolution's result.
        v = products.times_slope(head.to(kind).view(-1, *last.shape[1:]), last, slope)
        back = [v]
        for k in range(len(weights) - 1, 0, -1):
            # inputs[k] is the result of layer k - 1: the shape to come back to, and the slopes.
            v = products.input_gradient(v, inputs[k], weights[k], geometry[k], slope)
            back.insert(0, v)
        gradient = products.input_gradient(v, inputs[0], weights[0], geometry[0], None)
        ctx.save_for_backward(gradient, *weights, *inputs, *back)
        ctx.depth, ctx.slope, ctx.geometry, ctx.rows, ctx.kind = len(weights), slope, geometry, len(head), kind
        ctx.products = products
        gradient = gradient.to(head.dtype)
        return outputs, products.norms(gradient), gradient

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # dL/dD and dL/d||grad_x D||^2, each (batch,); the third result is detached by the caller.
        products, depth = ctx.products, ctx.depth
        e, along_norm = (products.ready(direction, ctx.kind) for direction in along[:2])
        gradient, *saved = ctx.saved_tensors
        along_x = gradient * e[:, None, None, None] if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # G's turn: D's weights are frozen
            return along_x, *[None] * (4 + 2 * depth)
        weights, inputs, back = saved[:depth], saved[depth : 2 * depth + 1], saved[2 * depth + 1 :]
        t = gradient * (2 * along_norm)[:, None, None, None]
        found: list[Tensor | None] = []
        for k in range(depth):
            combined = products.combined(t, inputs[k], e)  # of norm and output: one weight gradient for both
            found.append(products.weight_gradient(back[k], combined, weights[k], ctx.geometry[k]))
            found.append(products.sums(back[k], e))  # a bias moves the output only, never grad_x D
            t = products.convolved(t, weights[k], None, ctx.geometry[k], None, activated=inputs[k + 1], other=ctx.slope)
        if ctx.rows == 1:
            along_head = products.of_head(t, inputs[-1], e)
        else:
            along_head = products.combined(t, inputs[-1], e).flatten(1)
        return along_x, along_head, None, None, None, *found
