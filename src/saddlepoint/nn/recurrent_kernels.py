"""Recurrent layers, affine maps and coordinates of steps by the kernels of `nn/native`, with the ways back, in fp32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.native import steps as native


def once(backward: Callable[[Any, Tensor], tuple[Tensor | None, ...]]) -> Any:
    """Refuse to be differentiated again."""
    # backward is written with operations in place on saved numbers: autograd would differentiate a part of them, and
    # terms of the second derivative would be missing without a word.

    @functools.wraps(backward)
    def checked(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise ConfigError(
                "the gradient of a recurrent layer is asked for as a function to differentiate (create_graph), but it "
                "can be taken once only; leave R1, R2 and gradient penalties out, or use a convolutional critic"
            )
        return backward(ctx, along)

    return checked


class GRU(torch.autograd.Function):
    """r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c)); h' = n + z (h - n).

    Without c the reset gate comes before the product: n = tanh(W_n x + b_n + U_n (r h)).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, hidden: Tensor, bias: Tensor, inner: Tensor | None = None
    ) -> Tensor:
        x = x.contiguous()
        kept = native.gru(x, weight, hidden, bias, inner)
        ctx.save_for_backward(x, weight, hidden, *kept)
        ctx.before = inner is None
        return kept[0]

    @staticmethod
    @once
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, hidden, *kept = ctx.saved_tensors
        wanted, width = ctx.needs_input_grad, hidden.shape[1]
        slopes, to_x = native.gru_backward(along, x, weight, hidden, tuple(kept), before=ctx.before, to_x=wanted[0])
        gates, inner, (states, _, inside) = slopes[:, : 3 * width], slopes[:, -width:], kept
        to_hidden = None
        if wanted[2]:  # h_0 = 0: the first step sends nothing to U
            read = inside[1:] if ctx.before else states[:-1]  # what U_n is multiplied by: r h, or h
            parts = ((slopes[1:, : 2 * width], states[:-1]), (inner[1:], read))
            to_hidden = torch.cat([native.weight_gradient(part, inputs) for part, inputs in parts])
        found = (
            to_x,
            native.weight_gradient(gates, x) if wanted[1] else None,
            to_hidden,
            native.sums(gates) if wanted[3] else None,
            native.sums(inner) if wanted[4:] == (True,) else None,
        )
        return found[: len(wanted)]


class Affine(torch.autograd.Function):
    """weight @ x + bias for every step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return native.affine(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted, dy = ctx.needs_input_grad, along[0].contiguous()
        if torch.is_grad_enabled():  # to be differentiated again
            to_x = torch.einsum("of,tob->tfb", weight, dy) if wanted[0] else None
            to_weight = torch.einsum("tob,tfb->of", dy, x) if wanted[1] else None
            return to_x, to_weight, dy.sum((0, 2)) if wanted[2] else None
        to_x = native.affine(dy, weight.t()) if wanted[0] else None
        to_weight = native.weight_gradient(dy, x) if wanted[1] else None
        return to_x, to_weight, native.sums(dy) if wanted[2] else None


class AlongAxes(torch.autograd.Function):
    """Levels and increments along axes: `native.along_axes`. The axes are constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, level: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(mean, level, step)
        return native.along_axes(x, (mean, level, step))

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (mean, level, step) = along, ctx.saved_tensors
        if not torch.is_grad_enabled():
            return native.along_axes_backward(dy, (mean, level, step)), None, None, None
        of_level, of_step = dy.chunk(2, 1)  # to be differentiated again
        back = step.t() @ of_step
        return (
            level.t() @ of_level + F.pad(back[1:], (0, 0, 0, 0, 1, 0)) - F.pad(back[1:], (0, 0, 0, 0, 0, 1)),
            None,
            None,
            None,
        )


class FromAxes(torch.autograd.Function):
    """Levels plus sums of increments: `native.from_axes`. The axes are constant."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, mean: Tensor, level: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(mean, level, step)
        return native.from_axes(y, (mean, level, step))

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (dx,), (mean, level, step) = along, ctx.saved_tensors
        if not torch.is_grad_enabled():
            return native.from_axes_backward(dx, (mean, level, step)), None, None, None
        later = dx.flip(0).cumsum(0).flip(0)
        return torch.cat([level.t() @ dx, step.t() @ later], 1), None, None, None
