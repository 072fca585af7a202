"""Residual networks of convolutions without normalisation, with their input gradients and penalties in four passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saddlepoint.core.types import working_dtype
from saddlepoint.nn import products
from saddlepoint.nn.products import Products


@dataclass(frozen=True)
class Residual:
    """Two convolutions beside which their input goes on: x + last(LeakyReLU(first(x)))."""

    first: nn.Conv2d
    last: nn.Conv2d


Part = nn.Conv2d | Residual


def residual_convnet(
    x: Float[Tensor, "batch channel height width"],
    parts: Sequence[Part],
    head: Float[Tensor, "rows features"],
    slope: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Float[Tensor, "batch channel height width"]]:
    """Evaluate convolutions and residual blocks and a linear head, and the gradient in the input.

    It takes four convolutions a layer; differentiating twice with autograd takes six, as for `conv.leaky_convnet`,
    which this is in all but the blocks: there the slopes stand inside, and what is outside is linear.

    Args:
        x: inputs.
        parts: convolutions, which no LeakyReLU follows, and residual blocks.
        head: weights of the linear output on the flattened last maps: one row for all samples, or one for each.
        slope: of LeakyReLU on the negative side.

    Returns:
        outputs; squared norms of their gradients in the input, both differentiable in the parameters and the head, the
        outputs in ``x`` too (the norms are piecewise constant in it); the gradients themselves, detached.
    """
    layers = [layer for part in parts for layer in ((part.first, part.last) if isinstance(part, Residual) else (part,))]
    found = products.of(x, [layer.stride for layer in layers])
    x = found.laid(x)
    pairs = [found.weight_and_bias(layer) for layer in layers]
    plan = _Plan(tuple(isinstance(part, Residual) for part in parts), [found.geometry(one) for one in layers], slope)
    flat = [p for pair in pairs for p in pair]
    outputs, norms, gradients = _ResidualConvNet.apply(x, head, found, plan, *flat)
    # Its own derivative in the weights is not computed: whoever differentiates it would get 0 without a word.
    return outputs, norms, gradients.detach()


@dataclass(frozen=True)
class _Plan:
    """Which parts are blocks, the geometry of every convolution in its order, the slope."""

    blocks: tuple[bool, ...]
    geometry: Sequence[Any]
    slope: float


class _ResidualConvNet(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, head: Tensor, products: Products, plan: _Plan, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            return _ResidualConvNet._forward(ctx, kind, x, head, products, plan, *parameters)

    @staticmethod
    def _forward(
        ctx: Any, kind: torch.dtype, x: Tensor, head: Tensor, products: Products, plan: _Plan, *parameters: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = [products.ready(p, kind) for p in parameters[::2]]
        biases = [None if p is None else products.ready(p, kind) for p in parameters[1::2]]
        h, k, inputs = products.ready(x, kind), 0, []  # inputs[k]: of the k-th convolution
        for block in plan.blocks:
            y = products.convolved(h, weights[k], biases[k], plan.geometry[k], plan.slope if block else None)
            inputs.append(h)
            if block:
                inputs.append(y)
                y = h + products.convolved(y, weights[k + 1], biases[k + 1], plan.geometry[k + 1], None)
            h, k = y, k + 1 + block
        outputs = products.outputs(h, head)  # head: one row for all, or (batch, features)
        # back[k] is the gradient of the output in the k-th convolution's result.
        v = head.to(h.dtype).view(-1, *h.shape[1:]).expand_as(h).contiguous(memory_format=torch.channels_last)
        back: list[Tensor] = []
        for block in reversed(plan.blocks):
            k -= 1
            back.insert(0, v)
            if block:
                u = products.input_gradient(v, inputs[k], weights[k], plan.geometry[k], plan.slope)
                k -= 1
                back.insert(0, u)
                v = v + products.input_gradient(u, inputs[k], weights[k], plan.geometry[k], None)
            else:
                v = products.input_gradient(v, inputs[k], weights[k], plan.geometry[k], None)
        ctx.save_for_backward(v, h, *weights, *inputs, *back)
        ctx.plan, ctx.rows, ctx.kind, ctx.products = plan, len(head), kind, products
        ctx.biased = [bias is not None for bias in biases]
        gradient = v.to(head.dtype)
        return outputs, products.norms(gradient), gradient

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        # dL/dD and dL/d||grad_x D||^2, each (batch,); the third result is detached by the caller.
        products, plan, depth = ctx.products, ctx.plan, len(ctx.biased)
        e, along_norm = (products.ready(direction, ctx.kind) for direction in along[:2])
        gradient, last, *saved = ctx.saved_tensors
        along_x = gradient * e[:, None, None, None] if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):  # G's turn: D's weights are frozen
            return along_x, *[None] * (3 + 2 * depth)
        weights, inputs, back = saved[:depth], saved[depth : 2 * depth], saved[2 * depth :]
        # The derivative of the norms goes forward, along the linear map that D is around x.
        t = gradient * (2 * along_norm)[:, None, None, None]
        found: list[Tensor | None] = []

        def take(k: int, t: Tensor) -> None:
            combined = products.combined(t, inputs[k], e)  # of norm and output: one weight gradient for both
            found.append(products.weight_gradient(back[k], combined, weights[k], plan.geometry[k]))
            # A bias moves the output only, never grad_x D.
            found.append(products.sums(back[k], e) if ctx.biased[k] else None)

        k = 0
        for block in plan.blocks:
            take(k, t)
            if block:
                geometry, activated = plan.geometry[k], inputs[k + 1]
                s = products.convolved(t, weights[k], None, geometry, None, activated=activated, other=plan.slope)
                take(k + 1, s)
                t = t + products.convolved(s, weights[k + 1], None, plan.geometry[k + 1], None)
            else:
                t = products.convolved(t, weights[k], None, plan.geometry[k], None)
            k += 1 + block
        shared = ctx.rows == 1
        along_head = products.of_head(t, last, e) if shared else products.combined(t, last, e).flatten(1)
        return along_x, along_head, None, None, *found
