"""What style-based generators have around products, without autograd: filters, styles, noise, colours."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native.library import load
from saddlepoint.nn.native.products import LAST, is_full, laid, new, numbers, pointer

TAPS = 4
"""Of a filter, at most."""

COLOURS = 4
"""Channels that images have at most, where kernels make them."""


@dataclass(frozen=True)
class Ending:
    """What ends a layer: LeakyReLU of ``slope`` of what it made + noise strength + bias.

    Attributes:
        noise: (batch, 1, height, width).
        strength, bias: (channels,).
        slope: above 0.
    """

    noise: Tensor
    strength: Tensor
    bias: Tensor
    slope: float


@functools.lru_cache(16)
def _line(taps: tuple[float, ...]) -> Any:
    return (ctypes.c_float * len(taps))(*[tap / sum(taps) for tap in taps])


def _places(x: Tensor) -> tuple[int, int, int]:
    """Return images, places and channels."""
    return x.shape[0], x.shape[2] * x.shape[3], x.shape[1]


def filtered(x: Tensor, taps: Sequence[float], padding: int, end: Ending | None = None, *, full: bool) -> Tensor:
    """Return the filter of symmetric taps in both directions, of stride 1, of ``x`` with zeros around it.

    Args:
        x: (batch, channel, height, width).
        taps: at most four.
        padding: zeros on each side.
        end: what follows.
        full: whether the result is fp32, else bf16.
    """
    x, line = laid(x), _line(tuple(taps))
    n, c, h, w = x.shape
    more = 2 * padding + 1 - len(taps)
    y = new((n, c, h + more, w + more), full)
    kept = () if end is None else tuple(numbers(each) for each in (end.noise, end.strength, end.bias))
    load().filter_maps(
        x.data_ptr(), is_full(x), ctypes.addressof(line), len(taps), padding,
        *(map(pointer, kept or (None, None, None))), 1.0 if end is None else end.slope,
        y.data_ptr(), full, n, h, w, c, torch.get_num_threads(),
    )  # fmt: skip
    return y


def doubled(x: Tensor) -> Tensor:
    """Return images of up to `COLOURS` channels, fp32, at twice their side, by the taps (1 3 3 1) / 4."""
    x = numbers_of_images(x)
    n, c, h, w = x.shape
    y = new((n, c, 2 * h, 2 * w), full=True)
    load().double_images(x.data_ptr(), y.data_ptr(), n, h, w, c)
    return y


def doubled_backward(dy: Tensor) -> Tensor:
    """Return the gradient of `doubled`."""
    dy = numbers_of_images(dy)
    n, c, h, w = dy.shape
    dx = new((n, c, h // 2, w // 2), full=True)
    load().double_images_backward(dy.data_ptr(), dx.data_ptr(), n, h // 2, w // 2, c)
    return dx


def numbers_of_images(x: Tensor) -> Tensor:
    """Return images in fp32, channels last."""
    return x.float().contiguous(memory_format=LAST)


def scaled(x: Tensor, s: Tensor) -> Tensor:
    """Return ``x`` times numbers (batch, channels), in bf16."""
    x, s = laid(x), numbers(s)
    y = torch.empty_like(x, dtype=torch.bfloat16)
    load().scale_maps(x.data_ptr(), is_full(x), s.data_ptr(), y.data_ptr(), *_places(x))
    return y


def scaled_backward(x: Tensor, s: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `scaled` in ``x``, in its type of numbers, and in ``s``."""
    x, s, dy = laid(x), numbers(s), laid(dy)
    dx, ds = torch.empty_like(x), torch.empty_like(s)
    full = is_full(x)
    load().scale_maps_backward(
        x.data_ptr(), full, s.data_ptr(), dy.data_ptr(), dx.data_ptr(), ds.data_ptr(), *_places(x)
    )  # fmt: skip
    return dx, ds


def styled_backward(dy: Tensor, y: Tensor, noise: Tensor, scale: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Return the way back through y = LeakyReLU(u), u = scale c + noise strength + bias; ``y`` is bf16.

    Returns:
        the gradient in c, bf16; sums (3, batch, channels) over places of v u, v and v noise, v the gradient in u.
    """
    dy, y, noise, scale = laid(dy), laid(y), numbers(noise), numbers(scale)
    dc, sums = torch.empty_like(y), torch.empty((3, *y.shape[:2]), dtype=torch.float32)
    load().styled_backward(
        dy.data_ptr(), is_full(dy), y.data_ptr(), noise.data_ptr(), scale.data_ptr(), slope,
        dc.data_ptr(), sums.data_ptr(), *_places(y),
    )  # fmt: skip
    return dc, sums


def demodulation(weight: Tensor, s: Tensor, amplify: float, eps: float) -> tuple[Tensor, Tensor]:
    """Return amplify / sqrt(sum_ik (s_i W_oik)^2 + eps), (batch, outputs), and sum_k W_oik^2, (outputs, inputs)."""
    weight, s = numbers_of_images(weight), numbers(s)
    o, c, high, wide = weight.shape
    d, squares = torch.empty((len(s), o)), torch.empty((o, c))
    load().demodulate(
        weight.data_ptr(), s.data_ptr(), amplify, eps, squares.data_ptr(), d.data_ptr(), len(s), o, high * wide, c
    )  # fmt: skip
    return d, squares


def demodulation_backward(
    weight: Tensor, s: Tensor, made: tuple[Tensor, Tensor], sums: Tensor, strength: Tensor, bias: Tensor,
    amplify: float, ds: Tensor, dw: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of weight, strength and bias, by the sums of `styled_backward` and what `demodulation` made.

    ``ds`` and ``dw`` are what the product sends back; ``ds`` is added to in place.
    """
    weight, s, dw = numbers_of_images(weight), numbers(s), numbers_of_images(dw)
    strength, bias, (d, squares) = numbers(strength), numbers(bias), made
    o, c, high, wide = weight.shape
    of_strength, of_bias = torch.empty(o), torch.empty(o)
    load().demodulate_backward(
        weight.data_ptr(), s.data_ptr(), squares.data_ptr(), d.data_ptr(), sums.data_ptr(), strength.data_ptr(),
        bias.data_ptr(), amplify, ds.data_ptr(), dw.data_ptr(), of_strength.data_ptr(), of_bias.data_ptr(),
        len(s), o, high * wide, c,
    )  # fmt: skip
    return dw, of_strength, of_bias


def colours_backward(dy: Tensor, h: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the way back through images y = weight h, with weights (batch, colours, channels) for each of them.

    Returns:
        the gradients in h (bf16) and in the weights.
    """
    dy, h, weight = numbers_of_images(dy), laid(h.bfloat16()), numbers(weight)
    dh, dm = torch.empty_like(h), torch.empty_like(weight)
    n, places, c = _places(h)
    load().colours_backward(
        dy.data_ptr(), h.data_ptr(), weight.data_ptr(), dh.data_ptr(), dm.data_ptr(), n, places, dy.shape[1], c
    )  # fmt: skip
    return dh, dm


def normalised(x: Tensor, end: Ending, styles: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return LeakyReLU(x + noise strength + bias), each map brought to the mean and deviation of its style.

    Args:
        x: (batch, channel, height, width), fp32, channels last.
        end: noise, strength, bias, slope.
        styles: (batch, 2 channels): deviations - 1, then means.
        eps: added to the variance of a map.

    Returns:
        maps, fp32; moments (batch, 2, channels) for the way back.
    """
    y, moments = torch.empty_like(x), torch.empty((len(x), 2, x.shape[1]))
    load().normalise_maps(
        x.data_ptr(), end.noise.data_ptr(), end.strength.data_ptr(), end.bias.data_ptr(), end.slope, eps,
        styles.data_ptr(), y.data_ptr(), moments.data_ptr(), *_places(x),
    )  # fmt: skip
    return y, moments


def normalised_backward(
    x: Tensor, end: Ending, styles: Tensor, moments: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `normalised` in x, styles, strength and bias."""
    dy, dx, d_styles = numbers_of_images(dy), torch.empty_like(x), torch.empty_like(styles)
    of_strength, of_bias = torch.empty_like(end.strength), torch.empty_like(end.bias)
    load().normalise_maps_backward(
        x.data_ptr(), end.noise.data_ptr(), end.strength.data_ptr(), end.bias.data_ptr(), end.slope,
        styles.data_ptr(), moments.data_ptr(), dy.data_ptr(), dx.data_ptr(), d_styles.data_ptr(),
        of_strength.data_ptr(), of_bias.data_ptr(), *_places(x),
    )  # fmt: skip
    return dx, d_styles, of_strength, of_bias


@dataclass(frozen=True)
class Scaled:
    """An affine map's factors: of its weight and of its bias, and the slope of the LeakyReLU after it; 1: none."""

    weight: float
    bias: float
    slope: float


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, by: Scaled) -> Tensor:
    """Return LeakyReLU of an affine map of rows in fp32; for weights of few numbers."""
    y = x.new_empty(len(x), len(weight))
    load().affine_full(
        x.data_ptr(), weight.data_ptr(), pointer(bias), by.weight, by.bias, by.slope, y.data_ptr(), *y.shape,
        x.shape[1],
    )  # fmt: skip
    return y


def affine_backward(
    x: Tensor, weight: Tensor, y: Tensor, dy: Tensor, by: Scaled, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return those gradients of `affine` in x, weight and bias that are wanted."""
    dy, like = dy.contiguous(), (x, weight, weight[:, 0])
    found = [torch.empty_like(each) if asked else None for each, asked in zip(like, wanted, strict=True)]
    load().affine_full_backward(
        x.data_ptr(), weight.data_ptr(), y.data_ptr(), dy.data_ptr(), by.weight, by.bias, by.slope,
        *map(pointer, found), *y.shape, x.shape[1],
    )  # fmt: skip
    return found
