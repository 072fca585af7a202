"""What the ways back of layers by the kernels share: which gradients are asked for, and those to be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native import elementwise
from saddlepoint.nn.native import products as native


def seen(weight: Tensor) -> Tensor:
    """Return the weight as a result of the graph: autograd does not tell whether a leaf's gradient is asked for."""
    return weight.view_as(weight) if weight.requires_grad and torch.is_grad_enabled() else weight


def is_wanted(ctx: Any, number: int) -> bool:
    """Whether the gradient in an input is asked for: of two players with one graph, each asks for its own alone."""
    if not ctx.needs_input_grad[number]:
        return False
    node = ctx.next_functions[number][0]
    # PyTorch's own operations ask the same; ctx.needs_input_grad says what held when the graph was made.
    return type(node).__name__ == "AccumulateGrad" or torch._C._will_engine_execute_node(node)


def before_slope(dy: Tensor, y: Tensor | None, slope: float, biased: bool) -> tuple[Tensor, Tensor | None]:
    """Return the gradient before the LeakyReLU that made ``y`` (None: there is none), and the bias's."""
    v = native.laid(dy) if y is None else elementwise.times_slope(dy, y, slope)
    return v, elementwise.channel_sums(v) if biased else None


def of_convolution(
    ctx: Any, x: Tensor, v: Tensor, weight: Tensor, layer: native.Layer, *, is_transposed: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a convolution in its input, and in its weight, where they are asked for.

    Args:
        ctx: of a Function whose first inputs are these two.
        x: the input.
        v: gradient of the result.
        weight, layer: of the convolution.
        is_transposed: whether it is a transposed one.
    """
    full, dx, dw = native.is_full(x), None, None
    if is_wanted(ctx, 0) and is_transposed:
        dx = native.convolved(v, weight, layer, full=full)
    elif is_wanted(ctx, 0):
        dx = native.input_gradient(v, x.shape, weight, layer, full=full)
    if is_wanted(ctx, 1):
        # The convolution whose transpose is taken reads the result and gives the input.
        read, given = (v, x) if is_transposed else (x, v)
        dw = native.weight_gradient(read, given, weight, layer)
    return dx, dw


def by_pytorch(again: Callable[..., Tensor], inputs: Sequence[Tensor | None], dy: Tensor) -> tuple[Tensor | None, ...]:
    """Return gradients that can be differentiated: those of the same map by PyTorch's operations.

    Args:
        again: the map, of the inputs.
        inputs: as they went in.
        dy: gradient of the result.
    """
    with torch.enable_grad():
        y = again(*inputs)
        wanted = [each for each in inputs if each is not None and each.requires_grad]
        found = iter(torch.autograd.grad(y, wanted, dy.to(y.dtype), create_graph=True))
    return tuple(next(found) if each is not None and each.requires_grad else None for each in inputs)


def in_bf16(again: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a map of x, weights and bias as the kernels compute it: of numbers rounded to bf16."""

    def rounded(*inputs: Tensor | None) -> Tensor:
        return again(*(None if each is None else each.bfloat16() for each in inputs))

    return rounded
