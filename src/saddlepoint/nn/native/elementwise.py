"""What stands between products, by the kernels in one pass each: slopes, sums, norms of rows, dropout. No autograd."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saddlepoint.nn.native.library import load
from saddlepoint.nn.native.products import as_signs, is_full, laid, new, numbers, pointer


def times_slope(v: Tensor, activated: Tensor, slope: float) -> Tensor:
    """Return v times the slope of the LeakyReLU that made ``activated``; v has one row for all, or one for each."""
    v, activated = laid(v), as_signs(activated)
    out = torch.empty_like(activated)
    size = activated[0].numel()
    load().times_slope(
        v.data_ptr(), is_full(v), size if len(v) > 1 else 0,
        activated.data_ptr(), slope, out.data_ptr(),
        len(activated), size, torch.get_num_threads(),
    )  # fmt: skip
    return out


def combined(t: Tensor, h: Tensor, of_h: Tensor) -> Tensor:
    """Return t + of_h h in bf16, where the factors (batch,), fp32, are those of samples."""
    t, h, of_h = laid(t), laid(h), numbers(of_h)
    out = torch.empty_like(t, dtype=torch.bfloat16)
    load().combine(
        t.data_ptr(), is_full(t), h.data_ptr(), is_full(h), of_h.data_ptr(), out.data_ptr(), len(t), t[0].numel(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def rms_rows(x: Tensor, before: float, after: float, eps: float) -> Tensor:
    """Return LeakyReLU of slope ``after`` of u / sqrt(mean u^2 + eps) over channels, u = LeakyReLU(x) of ``before``."""
    x = laid(x)
    y = torch.empty_like(x, dtype=torch.bfloat16)
    rows, channels = x.numel() // x.shape[1], x.shape[1]
    load().rms_rows(
        x.data_ptr(), is_full(x), before, after, eps, y.data_ptr(), rows, channels, torch.get_num_threads()
    )  # fmt: skip
    return y


def rms_rows_backward(x: Tensor, dy: Tensor, before: float, after: float, eps: float) -> Tensor:
    """Return the gradient of `rms_rows` in ``x``, in its type of numbers."""
    x, dy = laid(x), laid(dy)
    dx = torch.empty_like(x)
    rows, channels = x.numel() // x.shape[1], x.shape[1]
    load().rms_rows_backward(
        x.data_ptr(), is_full(x), dy.data_ptr(), is_full(dy), before, after, eps, dx.data_ptr(), is_full(dx), rows,
        channels, torch.get_num_threads(),
    )  # fmt: skip
    return dx


def tanh(x: Tensor, a: float) -> Tensor:
    """Return tanh(a x) in fp32, in the memory format of ``x``, which is dense."""
    y = torch.empty_like(x, dtype=torch.float32)
    load().tanh_all(x.data_ptr(), is_full(x), a, y.data_ptr(), x.numel())
    return y


def tanh_backward(y: Tensor, dy: Tensor, a: float, full: bool) -> Tensor:
    """Return the gradient of `tanh` in ``x`` by its result."""
    if dy.stride() != y.stride() or dy.dtype != torch.float32:
        dy = torch.empty_like(y).copy_(dy)
    dx = torch.empty_like(y, dtype=torch.float32 if full else torch.bfloat16)
    load().tanh_backward(y.data_ptr(), dy.data_ptr(), a, dx.data_ptr(), full, y.numel())
    return dx


def row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of a b for each sample: (batch,), fp32; b has one row for all, or one for each."""
    a, b = laid(a), laid(b)
    dots, size = torch.empty(len(a)), a[0].numel()
    load().row_dots(
        a.data_ptr(), is_full(a), b.data_ptr(), is_full(b), size if len(b) > 1 else 0, dots.data_ptr(), len(a), size
    )
    return dots


@dataclass(frozen=True)
class Kept:
    """Which numbers dropout keeps: those whose byte is below the threshold, times the scale."""

    bytes: Tensor
    threshold: int
    scale: float


def dropped(x: Tensor, kept: Kept, full: bool) -> Tensor:
    """Return what dropout makes of ``x``, which is also what it makes of a gradient; fp32 if ``full``, else bf16."""
    x = (x if x.dtype in (torch.bfloat16, torch.float32) else x.float()).contiguous()  # as the bytes lie
    y = torch.empty_like(x, dtype=torch.float32 if full else torch.bfloat16)
    load().drop(
        x.data_ptr(), is_full(x), kept.bytes.data_ptr(), kept.threshold, kept.scale, y.data_ptr(), full, x.numel()
    )
    return y


def maxout(x: Tensor, pieces: int) -> Tensor:
    """Return the largest of the pieces of bf16 rows (batch, pieces * units), or of the channels of images."""
    x = laid(x)
    y = new((len(x), x.shape[1] // pieces, *x.shape[2:]), full=False)
    load().maxout(x.data_ptr(), y.data_ptr(), x.numel() // x.shape[1], pieces, y.shape[1])
    return y


def maxout_backward(x: Tensor, dy: Tensor, pieces: int) -> Tensor:
    """Return the gradient of `maxout` in ``x``; equal pieces share it."""
    dy, x = laid(dy), laid(x)
    dx, rows = torch.empty_like(x), x.numel() // x.shape[1]
    load().maxout_backward(x.data_ptr(), dy.data_ptr(), is_full(dy), dx.data_ptr(), rows, pieces, dy.shape[1])
    return dx


def channel_sums(v: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sums of each channel over samples (each times its weight, (batch,)) and places: (c,), fp32."""
    v, weights = laid(v), None if weights is None else numbers(weights)
    sums = torch.empty(v.shape[1], dtype=torch.float32)
    load().column_sums(
        v.data_ptr(), is_full(v), pointer(weights),
        sums.data_ptr(), len(v), v[0, 0].numel(),
        v.shape[1],
    )  # fmt: skip
    return sums


def feature_sums(v: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sums of each feature over samples, each times its weight, (batch,): fp32, of one sample's shape."""
    v, weights = laid(v), None if weights is None else numbers(weights)
    sums, size = new((1, *v.shape[1:]), True), v[0].numel()
    load().column_sums(v.data_ptr(), is_full(v), pointer(weights), sums.data_ptr(), len(v), 1, size)
    return sums
