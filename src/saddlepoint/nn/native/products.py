"""Convolutions and affine maps by the kernels: the three products of a layer, in bf16, without autograd."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native.library import load, use

LAST = torch.channels_last


class _Geometry(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_long)
        for name in (
            "n", "h", "w", "c", "oh", "ow", "o", "kh", "kw", "stride", "ph", "pw", "so", "sc", "sh", "sw", "threads",
        )
    ]  # fmt: skip


class _After(ctypes.Structure):
    _fields_ = [
        ("scale", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("shift", ctypes.c_void_p), ("slope", ctypes.c_float),
        ("other_slope", ctypes.c_float), ("activated", ctypes.c_void_p), ("full", ctypes.c_long),
        ("noise", ctypes.c_void_p), ("strength", ctypes.c_void_p), ("added", ctypes.c_void_p),
    ]  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """What a layer does to shapes.

    Attributes:
        stride: of both directions.
        padding: (height, width).
        scale: number that the weights are multiplied by when they are used.
    """

    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    scale: float = 1.0


MOST_KEPT = 2**22
"""Weights of a layer whose packed form is kept: two forms of bf16 are as much memory as the weights."""

POINTWISE = Layer()
"""An affine map: a convolution of single pixels."""


@functools.lru_cache(1024)
def _sizes(
    x: tuple[int, ...], y: tuple[int, ...], weight: tuple[int, ...], strides: tuple[int, ...], stride: int,
    padding: tuple[int, int], threads: int,
) -> Any:  # fmt: skip
    o, c, kh, kw = weight
    made = _Geometry(
        x[0], x[2], x[3], c, y[2], y[3], o, kh, kw, stride, *padding, *strides, threads
    )  # fmt: skip
    return made, ctypes.addressof(made)


def _four(x: Tensor) -> Tensor:
    """Return rows of features as images of one pixel."""
    return x if x.ndim == 4 else x[:, :, None, None]


def laid(x: Tensor) -> Tensor:
    """Return ``x`` (images or rows) as the kernels read it: bf16 or fp32, channels last."""
    if x.dtype not in (torch.bfloat16, torch.float32):
        x = x.bfloat16()
    return x.contiguous(memory_format=LAST) if x.ndim == 4 else x.contiguous()


def _full(x: Tensor) -> int:
    return x.dtype == torch.float32


def output_shape(x: Tensor, weight: Tensor, layer: Layer) -> tuple[int, ...]:
    """Return the shape of the convolution of ``x``."""
    if x.ndim == 2:
        return (len(x), len(weight))
    (n, _, h, w), (o, _, kh, kw), (ph, pw) = x.shape, weight.shape, layer.padding
    return n, o, (h + 2 * ph - kh) // layer.stride + 1, (w + 2 * pw - kw) // layer.stride + 1


def _geometry(x: tuple[int, ...], y: tuple[int, ...], weight: Tensor, layer: Layer) -> int:
    weight = _four(weight)
    x, y = (*x, 1, 1)[:4], (*y, 1, 1)[:4]
    threads = torch.get_num_threads()
    address: int = _sizes(x, y, tuple(weight.shape), weight.stride(), layer.stride, layer.padding, threads)[1]
    return address


def _new(shape: tuple[int, ...], full: bool) -> Tensor:
    dtype = torch.float32 if full else torch.bfloat16
    if len(shape) == 2:
        return torch.empty(shape, dtype=dtype)
    return torch.empty(shape, dtype=dtype, memory_format=LAST)


def _packed(weight: Tensor, geometry: int, layer: Layer, which: str) -> Tensor:
    """Return the weights as a product reads them, made once for each state of the weights."""
    # PyTorch's fused optimizers (2.13) leave a weight's version as it is: each use of the kernels packs anew.
    # Kept with the weights, so that both of a step's networks and all of its passes share them, and they go together.
    owner = weight if weight._base is None else weight._base
    kept = owner.__dict__.setdefault("_packed", {}) if weight.numel() <= MOST_KEPT else {}
    state = (use(), weight._version, weight.data_ptr())
    keys = {one: (one, layer, weight.stride()) for one in ("forward", "gradient")}
    found = kept.get(keys[which])
    if found is not None and found[0] == state:
        return found[1]
    if weight.ndim == 2 and len(weight) % 16 == weight.shape[1] % 2 == 0 and all(key in kept for key in keys.values()):
        both = [kept[key][1] for key in keys.values()]  # the last step read both, so this one will
        load().pack_both(weight.data_ptr(), *weight.shape, layer.scale, both[0].data_ptr(), both[1].data_ptr())
        for key, packed in zip(keys.values(), both, strict=True):
            kept[key] = (state, packed)
        return kept[keys[which]][1]
    packed = found[1] if found is not None else _aligned(getattr(load(), f"packed_{which}")(geometry))
    getattr(load(), f"pack_{which}")(geometry, weight.data_ptr(), layer.scale, packed.data_ptr())
    kept[keys[which]] = (state, packed)
    return packed


def _aligned(size: int) -> Tensor:
    """Return room for bf16 numbers that begins with a cache line, which are then written without being read."""
    made = torch.empty(size + 32, dtype=torch.bfloat16)
    return made[-(made.data_ptr() // 2) % 32 :][:size]


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


@dataclass(frozen=True)
class After:
    """What happens to the result of a product before it is written, in this order.

    Attributes:
        scale: (batch, channels) numbers that it is multiplied by.
        bias: (channels,) numbers that are added.
        shift: (batch, channels) numbers that are added.
        slope: of a LeakyReLU; 1: none.
        activated: like the result, bf16: it is multiplied by the slope of the LeakyReLU that made this.
        other_slope: of that one.
        noise: (batch, 1, height, width) numbers, times the strength added before the LeakyReLU; of `convolved`.
        strength: (channels,) of the noise.
        added: like the result, fp32, channels last: added last of all; of `convolved`.
    """

    scale: Tensor | None = None
    bias: Tensor | None = None
    shift: Tensor | None = None
    slope: float = 1.0
    activated: Tensor | None = None
    other_slope: float = 1.0
    noise: Tensor | None = None
    strength: Tensor | None = None
    added: Tensor | None = None


NOTHING = After()


def _told(after: After, full: bool) -> tuple[Any, tuple[Tensor | None, ...]]:
    """Return what the kernels are told, and tensors that must live until they are done."""
    scale, bias, shift = (None if x is None else numbers(x) for x in (after.scale, after.bias, after.shift))
    activated = None if after.activated is None else laid(after.activated)
    noise, strength = (None if x is None else numbers(x) for x in (after.noise, after.strength))
    told = _After(
        _pointer(scale), _pointer(bias), _pointer(shift), after.slope, after.other_slope, _pointer(activated), full,
        _pointer(noise), _pointer(strength), _pointer(after.added),
    )  # fmt: skip
    return ctypes.byref(told), (scale, bias, shift, activated, noise, strength)


def numbers(x: Tensor) -> Tensor:
    """Return ``x`` in fp32, one number after another."""
    return x.float().contiguous()


def convolved(
    x: Tensor, weight: Tensor, layer: Layer, after: After = NOTHING, *, styles: Tensor | None = None, full: bool = False
) -> Tensor:  # fmt: skip
    """Return the convolution of ``x``, or the affine map of rows.

    Args:
        x: (batch, c, height, width) or (batch, c).
        weight: (o, c, kernel, kernel) or (o, c), fp32.
        layer: stride, padding, the number that weights are multiplied by.
        after: what happens to the result.
        styles: (batch, c) numbers that channels of ``x`` are multiplied by.
        full: whether the result is fp32, else bf16.
    """
    x, shape = laid(x), output_shape(x, weight, layer)
    geometry, y = _geometry(x.shape, shape, weight, layer), _new(shape, full)
    told, kept = _told(after, full)
    styles = None if styles is None else numbers(styles)
    packed = _packed(weight, geometry, layer, "forward")
    load().forward(geometry, x.data_ptr(), _full(x), _pointer(styles), packed.data_ptr(), told, y.data_ptr())
    del kept
    return y


def input_gradient(
    y: Tensor, shape: tuple[int, ...], weight: Tensor, layer: Layer, after: After = NOTHING, *,
    styles: Tensor | None = None, full: bool = False,
) -> Tensor:  # fmt: skip
    """Return what ``y`` sends back to an input of ``shape``: the transposed convolution. Arguments as `convolved`.

    What happens after is of the input's channels, ``styles`` are of the output's.
    """
    y = laid(y)
    geometry, x = _geometry(shape, y.shape, weight, layer), _new(shape, full)
    told, kept = _told(after, full)
    styles = None if styles is None else numbers(styles)
    packed = _packed(weight, geometry, layer, "gradient")
    load().input_gradient(geometry, y.data_ptr(), _full(y), _pointer(styles), packed.data_ptr(), told, x.data_ptr())
    del kept
    return x


def weight_gradient(x: Tensor, y: Tensor, weight: Tensor, layer: Layer, styles: Tensor | None = None) -> Tensor:
    """Return the gradient of the weights, fp32, where ``y`` is that of the output at input ``x`` (times ``styles``)."""
    x, y, styles = laid(x), laid(y), None if styles is None else numbers(styles)
    geometry, found = _geometry(x.shape, y.shape, weight, layer), torch.empty_like(weight)
    load().weight_gradient(
        geometry, x.data_ptr(), _full(x), _pointer(styles),
        y.data_ptr(), _full(y), layer.scale, found.data_ptr(),
    )  # fmt: skip
    return found


def times_slope(v: Tensor, activated: Tensor, slope: float) -> Tensor:
    """Return v times the slope of the LeakyReLU that made ``activated``; v has one row for all, or one for each."""
    v, activated = laid(v), laid(activated)
    out = torch.empty_like(activated)
    size = activated[0].numel()
    load().times_slope(
        v.data_ptr(), _full(v), size if len(v) > 1 else 0,
        activated.data_ptr(), slope, out.data_ptr(),
        len(activated), size, torch.get_num_threads(),
    )  # fmt: skip
    return out


def combined(t: Tensor, h: Tensor, of_h: Tensor, of_t: Tensor | None = None) -> Tensor:
    """Return of_t t + of_h h in bf16, where the factors (batch,), fp32, are those of samples."""
    t, h, of_h, of_t = laid(t), laid(h), numbers(of_h), None if of_t is None else numbers(of_t)
    out = torch.empty_like(t, dtype=torch.bfloat16)
    load().combine(
        t.data_ptr(), _full(t), _pointer(of_t),
        h.data_ptr(), _full(h), of_h.data_ptr(),
        out.data_ptr(), len(t), t[0].numel(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def rms_rows(x: Tensor, before: float, after: float, eps: float) -> Tensor:
    """Return LeakyReLU of slope ``after`` of u / sqrt(mean u^2 + eps) over channels, u = LeakyReLU(x) of ``before``."""
    x = laid(x)
    y = torch.empty_like(x, dtype=torch.bfloat16)
    rows, channels = x.numel() // x.shape[1], x.shape[1]
    load().rms_rows(
        x.data_ptr(), _full(x), before, after, eps, y.data_ptr(), rows, channels, torch.get_num_threads()
    )  # fmt: skip
    return y


def rms_rows_backward(x: Tensor, dy: Tensor, before: float, after: float, eps: float) -> Tensor:
    """Return the gradient of `rms_rows` in ``x``, in its type of numbers."""
    x, dy = laid(x), laid(dy)
    dx = torch.empty_like(x)
    rows, channels = x.numel() // x.shape[1], x.shape[1]
    load().rms_rows_backward(
        x.data_ptr(), _full(x), dy.data_ptr(), _full(dy), before, after, eps, dx.data_ptr(), _full(dx), rows, channels,
        torch.get_num_threads(),
    )  # fmt: skip
    return dx


@dataclass(frozen=True)
class Kept:
    """Which numbers dropout keeps: those whose byte is below the threshold, times the scale."""

    bytes: Tensor
    threshold: int
    scale: float


def dropped(x: Tensor, kept: Kept, full: bool) -> Tensor:
    """Return what dropout makes of ``x``, which is also what it makes of a gradient; fp32 if ``full``, else bf16."""
    x = x.contiguous()
    y = torch.empty_like(x, dtype=torch.float32 if full else torch.bfloat16)
    load().drop(
        x.data_ptr(), _full(x), kept.bytes.data_ptr(), kept.threshold, kept.scale, y.data_ptr(), full, x.numel()
    )
    return y


def maxout(x: Tensor, pieces: int) -> Tensor:
    """Return the largest of the pieces of bf16 rows (batch, pieces * units)."""
    y = x.new_empty(len(x), x.shape[1] // pieces)
    load().maxout(x.data_ptr(), y.data_ptr(), len(x), pieces, y.shape[1])
    return y


def maxout_backward(x: Tensor, dy: Tensor, pieces: int) -> Tensor:
    """Return the gradient of `maxout` in ``x``; equal pieces share it."""
    dy, dx = laid(dy), torch.empty_like(x)
    load().maxout_backward(x.data_ptr(), dy.data_ptr(), _full(dy), dx.data_ptr(), len(x), pieces, dy.shape[1])
    return dx


def channel_sums(v: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sums of each channel over samples (each times its weight, (batch,)) and places: (c,), fp32."""
    v, weights = laid(v), None if weights is None else numbers(weights)
    sums = torch.empty(v.shape[1], dtype=torch.float32)
    load().column_sums(
        v.data_ptr(), _full(v), _pointer(weights),
        sums.data_ptr(), len(v), v[0, 0].numel(),
        v.shape[1],
    )  # fmt: skip
    return sums
