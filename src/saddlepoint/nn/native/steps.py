"""Sequences by the kernels, (time, feature, batch) and fp32: affine maps, their gradients, a GRU; without autograd."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from saddlepoint.nn.native.library import load
from saddlepoint.nn.native.products import pointer


class _GRU(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "hidden", "bias", "inner", "gates", "inside", "states")),
        *((name, ctypes.c_long) for name in ("time", "inputs", "width", "batch")),
    ]


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return weight @ x + bias for every step: (time, out, batch). The weight, (out, feature), has any strides."""
    x, (time, depth, batch), rows = x.contiguous(), x.shape, len(weight)
    bias = None if bias is None else bias.contiguous()
    y = x.new_empty(time, rows, batch)
    load().affine_steps(
        weight.data_ptr(), *weight.stride(), pointer(bias), x.data_ptr(), depth,
        y.data_ptr(), rows, time, batch, torch.get_num_threads(),
    )  # fmt: skip
    return y


def weight_gradient(along: Tensor, x: Tensor) -> Tensor:
    """Return the sum over steps of along @ x': (out, feature) of (time, out, batch) and (time, feature, batch).

    Both may be parts of longer steps: features side by side, steps at any distance.
    """
    along, x = _whole_steps(along), _whole_steps(x)
    (time, rows, batch), columns = along.shape, x.shape[1]
    found = x.new_empty(rows, columns)
    load().weight_steps(
        along.data_ptr(), along.stride(0), x.data_ptr(), x.stride(0), found.data_ptr(), rows, columns, time, batch,
        torch.get_num_threads(),
    )  # fmt: skip
    return found


def sums(along: Tensor) -> Tensor:
    """Return the sums over steps and batch, (feature,); the argument as in `weight_gradient`."""
    along = _whole_steps(along)
    time, rows, batch = along.shape
    found = along.new_empty(rows)
    load().sum_steps(along.data_ptr(), along.stride(0), found.data_ptr(), rows, time, batch)
    return found


def _whole_steps(x: Tensor) -> Tensor:
    # Within a step features lie one after another.
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


def gru(x: Tensor, weight: Tensor, hidden: Tensor, bias: Tensor, inner: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states (time, width, batch), the gates r, z, n (time, 3 width, batch), and U_n h + c as the states.

    Without ``inner`` (c) the reset gate comes before the product, and the last of them is r h.
    """
    x, width, (time, inputs, batch) = x.contiguous(), hidden.shape[1], x.shape
    parameters = [None if one is None else one.contiguous() for one in (weight, hidden, bias, inner)]
    gates = x.new_empty(time, 3 * width, batch)
    inside, states = (x.new_empty(time, width, batch) for _ in range(2))
    told = _GRU(*map(pointer, (*parameters, gates, inside, states)), time, inputs, width, batch)
    function = load().gru_before if inner is None else load().gru
    function(ctypes.byref(told), x.data_ptr(), torch.get_num_threads())
    return states, gates, inside


def gru_backward(
    along: Tensor, x: Tensor, weight: Tensor, hidden: Tensor, kept: tuple[Tensor, Tensor, Tensor], *, before: bool,
    to_x: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Return the gradients in what the gates are made of, and the one in ``x`` if it is wanted.

    Args:
        along: (time, width, batch) gradients in the states.
        x, weight, hidden: as `gru` had them.
        kept: what `gru` returned.
        before: whether the reset gate comes before the product.
        to_x: whether the gradient in ``x`` is wanted.

    Returns:
        those of r, of z, of n, and unless the reset gate comes before, of U_n h + c, one below the other: (time, 3 or 4
        width, batch).
    """
    along, weight, hidden = along.contiguous(), weight.contiguous(), hidden.contiguous()
    states, gates, inside = kept
    (time, inputs, batch), width = x.shape, hidden.shape[1]
    slopes = x.new_empty(time, (3 if before else 4) * width, batch)
    dx = torch.empty_like(x) if to_x else None
    told = _GRU(*map(pointer, (weight, hidden, None, None, gates, inside, states)), time, inputs, width, batch)
    function = load().gru_before_back if before else load().gru_back
    function(
        ctypes.byref(told), along.data_ptr(), slopes.data_ptr(), pointer(dx),
        torch.get_num_threads(),
    )  # fmt: skip
    return slopes, dx


class _Axes(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("mean", "level", "step")),
        *((name, ctypes.c_long) for name in ("time", "features", "batch")),
    ]


Axes = tuple[Tensor, Tensor, Tensor]
"""Mean (features, 1), and matrices of levels and of increments (features, features)."""


def along_axes(x: Tensor, axes: Axes) -> Tensor:
    """Return level @ (x - mean), then step @ (x[t] - x[t - 1]): (time, 2 features, batch); the first increment is 0."""
    return _by("along_axes", x, axes, 2 * x.shape[1])


def along_axes_backward(along: Tensor, axes: Axes) -> Tensor:
    """Return the gradient of `along_axes` in ``x``."""
    return _by("along_axes_back", along, axes, along.shape[1] // 2)


def from_axes(y: Tensor, axes: Axes) -> Tensor:
    """Return mean + level @ the first half of ``y`` + step @ the sum of the second half so far."""
    return _by("from_axes", y, axes, y.shape[1] // 2)


def from_axes_backward(along: Tensor, axes: Axes) -> Tensor:
    """Return the gradient of `from_axes` in ``y``."""
    return _by("from_axes_back", along, axes, 2 * along.shape[1])


def _by(name: str, x: Tensor, axes: Axes, features: int) -> Tensor:
    x, (mean, level, step) = x.contiguous(), (part.contiguous() for part in axes)
    time, _, batch = x.shape
    found = x.new_empty(time, features, batch)
    told = _Axes(mean.data_ptr(), level.data_ptr(), step.data_ptr(), time, len(mean), batch)
    getattr(load(), name)(ctypes.byref(told), x.data_ptr(), found.data_ptr(), torch.get_num_threads())
    return found
