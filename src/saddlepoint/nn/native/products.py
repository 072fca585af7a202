"""Convolutions and affine maps by the kernels: the three products of a layer, in bf16, without autograd."""

from __future__ import annotations

import ctypes
import functools
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native.library import in_large_pages, load, use

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


LARGE = 2**22
"""Weights of a layer from which their gradient is written where the last one was: fresh memory costs more than it."""

MOST_STRIDE = 4
"""The gradient of an input falls into as many parts as a stride has pixels; there is room for 16."""

POINTWISE = Layer()
"""An affine map: a convolution of single pixels."""


@functools.lru_cache(1024)
def _sizes(
    x: tuple[int, ...], y: tuple[int, ...], weight: tuple[int, ...], strides: tuple[int, ...], layer: Layer,
    threads: int,
) -> tuple[_Geometry, int]:  # fmt: skip
    """Return what the kernels are told of a use of a layer, and where it lies; rows are images of one pixel."""
    x, y, weight = ((*shape, 1, 1)[:4] for shape in (x, y, weight))
    o, c, kh, kw = weight
    stride, padding = layer.stride, layer.padding
    # The kernels read and write what they are told: nothing may be told that does not fit. Once for each shape.
    sides = [(x[i] + 2 * padding[i - 2] - weight[i]) // stride + 1 for i in (2, 3)]
    fits = x[2] + 2 * padding[0] >= kh and x[3] + 2 * padding[1] >= kw and y == (x[0], o, *sides)
    if not fits or x[1] != c or not 1 <= stride <= MOST_STRIDE or min(padding) < 0 or min(*x, *weight) < 1:
        raise ValueError(f"weights {weight}, stride {stride} and padding {padding} do not lead from {x} to {y}")
    made = _Geometry(
        x[0], x[2], x[3], c, y[2], y[3], o, kh, kw, stride, *padding, *(*strides, 1, 1)[:4], threads
    )  # fmt: skip
    return made, ctypes.addressof(made)


def told_shapes(geometry: int) -> str:
    """Return the shapes that a kernel is told at an address, in words: input, weights, stride."""
    g = _Geometry.from_address(geometry)
    return f"{g.n}x{g.c}x{g.h}x{g.w} {g.o}x{g.c}x{g.kh}x{g.kw} stride {g.stride} bfloat16"


def laid(x: Tensor) -> Tensor:
    """Return ``x`` (images or rows) as the kernels read it: bf16 or fp32, channels last."""
    if x.dtype not in (torch.bfloat16, torch.float32):
        x = x.bfloat16()
    return x.contiguous(memory_format=LAST) if x.ndim == 4 else x.contiguous()


def is_full(x: Tensor) -> bool:
    """Whether numbers are fp32, else bf16."""
    return x.dtype == torch.float32


def output_shape(x: Tensor, weight: Tensor, layer: Layer) -> tuple[int, ...]:
    """Return the shape of the convolution of ``x``."""
    if x.ndim == 2:
        return (len(x), len(weight))
    (n, _, h, w), (o, _, kh, kw), (ph, pw) = x.shape, weight.shape, layer.padding
    return n, o, (h + 2 * ph - kh) // layer.stride + 1, (w + 2 * pw - kw) // layer.stride + 1


def _geometry(x: tuple[int, ...], y: tuple[int, ...], weight: Tensor, layer: Layer) -> int:
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        raise ValueError(f"weights are {weight.dtype} on {weight.device}, but the kernels read fp32 in memory")
    address: int = _sizes(x, y, weight.shape, weight.stride(), layer, torch.get_num_threads())[1]
    return address


def new(shape: tuple[int, ...], full: bool) -> Tensor:
    """Return room for rows, or for images with their channels last."""
    dtype = torch.float32 if full else torch.bfloat16
    if len(shape) == 2:
        return torch.empty(shape, dtype=dtype)
    return torch.empty(shape, dtype=dtype, memory_format=LAST)


def _packed(weight: Tensor, geometry: int, layer: Layer, which: str) -> Tensor:
    """Return the weights as a product reads them, made once for each state of the weights."""
    # PyTorch's fused optimizers (2.13) leave a weight's version as it is: each use of the kernels packs anew.
    # Kept with the weights, so that both of a step's networks and all of its passes share them, and they go together.
    kept = kept_with(weight if weight._base is None else weight._base)
    state = (use(), weight._version, weight.data_ptr())
    # A tensor may be the base of several weights: of other places in it, other shapes, other strides.
    place = (layer, weight.shape, weight.stride(), weight.storage_offset())
    found = kept.get((which, place))
    if found is not None and found[0] == state:
        return found[1]
    forward, gradient = (kept.get((one, place)) for one in ("forward", "gradient"))
    if forward and gradient and _is_plain(weight):  # the last step read both, so this one will
        first, second = forward[1], gradient[1]
        load().pack_both(weight.data_ptr(), *weight.shape, layer.scale, first.data_ptr(), second.data_ptr())
        kept["forward", place], kept["gradient", place] = (state, first), (state, second)
        return kept[which, place][1]
    packed = found[1] if found is not None else _aligned(getattr(load(), f"packed_{which}")(geometry))
    getattr(load(), f"pack_{which}")(geometry, weight.data_ptr(), layer.scale, packed.data_ptr())
    kept[which, place] = (state, packed)
    return packed


def _is_plain(weight: Tensor) -> bool:
    """Whether one pass over the weights can pack both forms."""
    return weight.ndim == 2 and weight.is_contiguous() and len(weight) % 16 == weight.shape[1] % 2 == 0


_KEPT: dict[int, tuple[weakref.ref[Tensor], dict[Any, tuple[Any, Tensor]]]] = {}
"""Packed forms by the identity of the tensor that owns the weights."""


def kept_with(owner: Tensor) -> dict[Any, tuple[Any, Tensor]]:
    """Return what was made of a tensor's weights, by key: (state of the weights, tensor). It goes when they go."""
    # Not an attribute of the tensor: PyTorch writes those to files, and copies them with it.
    number = id(owner)
    found = _KEPT.get(number)
    if found is None or found[0]() is not owner:
        # The entry goes with its owner; by then another tensor may have its number. When a program ends, names of
        # modules go before the last tensors do: what is handed over stays.
        def forget(gone: weakref.ref[Tensor], entries: dict[int, Any] = _KEPT) -> None:
            if number in entries and entries[number][0] is gone:
                del entries[number]

        found = _KEPT[number] = (weakref.ref(owner, forget), {})
    return found[1]


def _aligned(size: int) -> Tensor:
    """Return room for bf16 numbers that begins with a cache line, which are then written without being read."""
    made = in_large_pages(torch.empty(size + 32, dtype=torch.bfloat16))
    return made[-(made.data_ptr() // 2) % 32 :][:size]


def _gradient_like(weight: Tensor) -> Tensor:
    """Return room for a gradient, of a large weight that of the last one if nobody holds it any more."""
    if weight.numel() < LARGE:
        return torch.empty_like(weight)
    kept, key = kept_with(weight if weight._base is None else weight._base), ("room", weight.shape, weight.stride())
    _, found = kept.get(key, (None, None))
    # Two know of it: the tensor that is kept, and the question.
    if found is None or _holders(found) > 2:
        found = in_large_pages(torch.empty_like(weight))
        kept[key] = None, found
    return found.detach()


def _holders(x: Tensor) -> int:
    count: int = torch._C._storage_Use_Count(x.untyped_storage()._cdata)
    return count


def pointer(x: Tensor | None) -> int | None:
    """Return the address of the first number."""
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
    activated = None if after.activated is None else as_signs(after.activated)
    noise, strength = (None if x is None else numbers(x) for x in (after.noise, after.strength))
    told = _After(
        pointer(scale), pointer(bias), pointer(shift), after.slope, after.other_slope, pointer(activated), full,
        pointer(noise), pointer(strength), pointer(after.added),
    )  # fmt: skip
    return ctypes.byref(told), (scale, bias, shift, activated, noise, strength)


def as_signs(activated: Tensor) -> Tensor:
    """Return what a LeakyReLU made, as the kernels read it: bf16."""
    return laid(activated.bfloat16())


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
    geometry, y = _geometry(x.shape, shape, weight, layer), new(shape, full)
    told, kept = _told(after, full)
    styles = None if styles is None else numbers(styles)
    packed = _packed(weight, geometry, layer, "forward")
    load().forward(geometry, x.data_ptr(), is_full(x), pointer(styles), packed.data_ptr(), told, y.data_ptr())
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
    geometry, x = _geometry(shape, y.shape, weight, layer), new(shape, full)
    told, kept = _told(after, full)
    styles = None if styles is None else numbers(styles)
    packed = _packed(weight, geometry, layer, "gradient")
    load().input_gradient(geometry, y.data_ptr(), is_full(y), pointer(styles), packed.data_ptr(), told, x.data_ptr())
    del kept
    return x


def weight_gradient(x: Tensor, y: Tensor, weight: Tensor, layer: Layer, styles: Tensor | None = None) -> Tensor:
    """Return the gradient of the weights, fp32, where ``y`` is that of the output at input ``x`` (times ``styles``)."""
    x, y, styles = laid(x), laid(y), None if styles is None else numbers(styles)
    found = _gradient_like(weight)  # dense, even where the weights are part of something else
    geometry = _geometry(x.shape, y.shape, found, layer)
    load().weight_gradient(
        geometry, x.data_ptr(), is_full(x), pointer(styles),
        y.data_ptr(), is_full(y), layer.scale, found.data_ptr(),
    )  # fmt: skip
    return found
