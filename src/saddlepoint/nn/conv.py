"""Convolutional discriminators: maxout ones, and LeakyReLU ones with input gradients and penalties in four passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import working_dtype
from saddlepoint.nn import products
from saddlepoint.nn.layers import Conv2d, largest
from saddlepoint.nn.products import Products


@dataclass(frozen=True)
class LinearConv:
    """A convolution that no LeakyReLU follows."""

    layer: nn.Conv2d


@dataclass(frozen=True)
class Residual:
    """Two convolutions with LeakyReLU between, beside which their input goes on: x + last(LeakyReLU(first(x)))."""

    first: nn.Conv2d
    last: nn.Conv2d


def leaky_convnet(
    x: Float[Tensor, "batch channel height width"],
    layers: Iterable[nn.Module | LinearConv | Residual],
    head: Float[Tensor, "rows features"],
    slope: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, "batch channel height width"]]:
    """Evaluate convolutions with LeakyReLU after each and a linear head, and its gradient in the input.

    It takes four convolutions a layer; differentiating twice with autograd takes six. The gradient serves three times:
    in R1, in R2, and as the way of G's gradient through D. How it works stands at `nn/mlp.py`'s `_LeakyMLP`.

    Args:
        x: inputs.
        layers: `nn.Conv2d` without dilation or groups, which LeakyReLU follows (modules of other kinds are left out);
            or parts that say otherwise: `LinearConv`, `Residual`.
        head: weights of the linear output on the flattened last layer: one row for all samples, or one for each.
        slope: of LeakyReLU on the negative side.

    Returns:
        outputs; squared norms of their gradients in the input, both differentiable in the parameters and the head, the
        outputs in ``x`` too (the norms are piecewise constant in it); the gradients themselves, detached.
    """
    steps = [step for layer in layers for step in _steps(layer)]
    found = products.of(x, [step.layer.stride for step in steps])
    x = found.laid(x)
    parameters = [p for step in steps for p in found.weight_and_bias(step.layer)]
    geometry = [found.geometry(step.layer) for step in steps]
    outputs, norms, gradients = _LeakyConvNet.apply(x, head, slope, found, steps, geometry, *parameters)
    # Its own derivative in the weights is not computed: whoever differentiates it would get 0 without a word.
    return outputs, norms, gradients.detach()


@dataclass(frozen=True)
class _Step:
    """A convolution, whether LeakyReLU follows, whether a residual block begins before it or ends with it."""

    layer: nn.Conv2d
    activated: bool = False
    opens: bool = False
    closes: bool = False


def _steps(part: nn.Module | LinearConv | Residual) -> list[_Step]:
    if isinstance(part, Residual):
        return [_Step(part.first, activated=True, opens=True), _Step(part.last, closes=True)]
    if isinstance(part, LinearConv):
        return [_Step(part.layer)]
    return [_Step(part, activated=True)] if isinstance(part, nn.Conv2d) else []


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
        ctx: Any, x: Tensor, head: Tensor, slope: float, products: Products, steps: Sequence[_Step], geometry: Any,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        kind = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            return _LeakyConvNet._forward(ctx, kind, x, head, slope, products, steps, geometry, *parameters)

    @staticmethod
    def _forward(
        ctx: Any, kind: torch.dtype, x: Tensor, head: Tensor, slope: float, products: Products, steps: Sequence[_Step],
        geometry: Any, *parameters: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        # Convolutions are computed in ``kind``; logits and norms in the parameters' own precision, see `in_full`.
        weights = [products.ready(p, kind) for p in parameters[::2]]
        biases = [None if p is None else products.ready(p, kind) for p in parameters[1::2]]
        h = beside = products.ready(x, kind)
        inputs = [h]  # inputs[k] is what the k-th convolution reads, inputs[k + 1] what comes of it
        for step, weight, bias, layer in zip(steps, weights, biases, geometry, strict=True):
            beside = h if step.opens else beside
            h = products.convolved(h, weight, bias, layer, slope if step.activated else None)
            h = beside + h if step.closes else h
            inputs.append(h)
        outputs = products.outputs(h, head)  # head: one row for all, or (batch, features)
        # back[k] is the gradient of the output in the k-th convolution's result.
        v = head.to(kind).view(-1, *h.shape[1:])
        if steps[-1].activated:
            v = products.times_slope(v, h, slope)
        else:
            v = v.expand_as(h).contiguous(memory_format=torch.channels_last)
        back: list[Tensor] = []
        for k in reversed(range(len(steps))):
            back.insert(0, v)
            beside = v if steps[k].closes else beside
            # inputs[k] is the shape to come back to, and the slopes, where LeakyReLU made it.
            made = slope if k and steps[k - 1].activated else None
            v = products.input_gradient(v, inputs[k], weights[k], geometry[k], None if steps[k].opens else made)
            if steps[k].opens:  # both ways meet before the slopes
                v = beside + v if made is None else products.times_slope(beside + v, inputs[k], made)
        ctx.save_for_backward(v, *weights, *inputs, *back)
        ctx.steps, ctx.slope, ctx.geometry, ctx.rows, ctx.kind = steps, slope, geometry, len(head), kind
        ctx.products, ctx.biased = products, [bias is not None for bias in biases]
        ctx.set_materialize_grads(False)
        gradient = v.to(head.dtype)
        return outputs, products.norms(gradient), gradient

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # dL/dD and dL/d||grad_x D||^2, each (batch,), None where the loss does not depend on it; the third result is
        # detached by the caller.
        products, depth, along_norm = ctx.products, len(ctx.steps), along[1]
        e = products.ready(along_norm.new_zeros(len(along_norm)) if along[0] is None else along[0], ctx.kind)
        gradient, *saved = ctx.saved_tensors
        along_x = gradient * e[:, None, None, None] if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # G's turn: D's weights are frozen
            return along_x, *[None] * (5 + 2 * depth)
        weights, inputs, back = saved[:depth], saved[depth : 2 * depth + 1], saved[2 * depth + 1 :]
        # The derivative of the norms goes forward, along the linear map that D is around x; without one there is none.
        t: Tensor | None = None
        if along_norm is not None:
            t = gradient * (2 * products.ready(along_norm, ctx.kind))[:, None, None, None]
        beside, found = t, list[Tensor | None]()
        for k, step in enumerate(ctx.steps):
            combined = products.combined(t, inputs[k], e)  # of norm and output: one weight gradient for both
            found.append(products.weight_gradient(back[k], combined, weights[k], ctx.geometry[k]))
            # A bias moves the output only, never grad_x D.
            found.append(products.sums(back[k], e) if ctx.biased[k] else None)
            if t is None:
                continue
            beside = t if step.opens else beside
            activated = inputs[k + 1] if step.activated else None
            t = products.convolved(t, weights[k], None, ctx.geometry[k], None, activated=activated, other=ctx.slope)
            t = beside + t if step.closes and beside is not None else t
        shared = ctx.rows == 1
        along_head = products.of_head(t, inputs[-1], e) if shared else products.combined(t, inputs[-1], e).flatten(1)
        return along_x, along_head, None, None, None, None, *found
