"""One-pass operations on maps by the kernels: instance normalisation, half and twice the size. No autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native.library import load
from saddlepoint.nn.native.products import is_full, laid, new, numbers, pointer


def instance_norm(
    x: Tensor, gain: Tensor, offset: Tensor | None, beside: Tensor | None, slope: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Return LeakyReLU of normalised maps, plus what stands beside, and statistics for `instance_norm_backward`.

    Args:
        x: (batch, c, height, width); each map of each image is brought to mean 0 and deviation 1.
        gain: (c,), as ``offset``; or without one (batch, 2 c) numbers: gains less 1, then offsets.
        offset: (c,), or none.
        beside: like ``x``: added at the end, and the result is fp32; without it bf16.
        slope: of the LeakyReLU; 1: none.
        eps: added to variances.
    """
    x, beside = laid(x), None if beside is None else laid(beside)
    (n, c), told = x.shape[:2], _gain_and_offset(gain, offset, x.shape[1])
    y, stats = new(tuple(x.shape), beside is not None), torch.empty(n, 2, c)
    load().instance_norm(
        x.data_ptr(), is_full(x), *told[:4], slope, eps, pointer(beside), beside is not None and is_full(beside),
        y.data_ptr(), is_full(y), stats.data_ptr(), n, x[0, 0].numel(), c, torch.get_num_threads(),
    )  # fmt: skip
    return y, stats


def instance_norm_backward(
    x: Tensor, dy: Tensor, gain: Tensor, offset: Tensor | None, stats: Tensor, slope: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients in ``x``, in its type of numbers, and of gains and offsets of each image, (batch, 2, c)."""
    x, dy = laid(x), laid(dy)
    (n, c), told = x.shape[:2], _gain_and_offset(gain, offset, x.shape[1])
    dx, sums = torch.empty_like(x), torch.empty(n, 2, c)
    load().instance_norm_backward(
        x.data_ptr(), is_full(x), dy.data_ptr(), is_full(dy), *told[:4], slope, stats.data_ptr(), dx.data_ptr(),
        sums.data_ptr(), n, x[0, 0].numel(), c, torch.get_num_threads(),
    )  # fmt: skip
    return dx, sums


def _gain_and_offset(gain: Tensor, offset: Tensor | None, channels: int) -> tuple[Any, ...]:
    """Return pointers, the numbers from image to image, what is added to gains, and tensors that must live so long."""
    if offset is None:
        both = numbers(gain)
        return both.data_ptr(), both.data_ptr() + 4 * channels, 2 * channels, 1.0, both
    gain, offset = numbers(gain), numbers(offset)
    return gain.data_ptr(), offset.data_ptr(), 0, 0.0, gain, offset


def leaky_rows(x: Tensor, slope: float) -> Tensor:
    """Return LeakyReLU of ``x`` in bf16."""
    x = laid(x)
    y = torch.empty_like(x, dtype=torch.bfloat16)
    load().leaky_rows(x.data_ptr(), is_full(x), slope, y.data_ptr(), x.numel(), torch.get_num_threads())
    return y


def halved(x: Tensor, scale: float = 1.0, *, full: bool) -> Tensor:
    """Return the means of squares of four pixels, times ``scale``; sides are even."""
    x = laid(x)
    n, c, h, w = x.shape[0], x.shape[1], x.shape[2] // 2, x.shape[3] // 2
    y = new((n, c, h, w), full)
    load().halve(x.data_ptr(), is_full(x), y.data_ptr(), full, scale, n, h, w, c, torch.get_num_threads())
    return y


def enlarged(x: Tensor, factor: int, beside: Tensor | None = None, scale: float = 1.0, *, full: bool) -> Tensor:
    """Return scale (x + beside), with each pixel of ``x`` so many times in both directions: 1 or 2."""
    x, beside = laid(x), None if beside is None else laid(beside)
    n, c, h, w = x.shape
    y = new((n, c, factor * h, factor * w), full)
    load().enlarge(
        x.data_ptr(), is_full(x), pointer(beside), beside is not None and is_full(beside), scale, factor, y.data_ptr(),
        full, n, h, w, c, torch.get_num_threads(),
    )  # fmt: skip
    return y
