"""Styled layers in bf16 by the kernels of `nn/native`: modulation, noise and LeakyReLU without passes of their own.

Ways back are by hand. Where one is to be differentiated again (path lengths) the layer is computed anew by PyTorch's
operations, which the caller gives as ``again``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saddlepoint.nn.gradients import by_pytorch, is_wanted, seen
from saddlepoint.nn.instance import by_deviation
from saddlepoint.nn.native import elementwise, style_maps
from saddlepoint.nn.native import products as native
from saddlepoint.nn.native.dispatch import exact_kernels
from saddlepoint.nn.native.products import After, Layer
from saddlepoint.nn.native.style_maps import Ending, Scaled

Again = Callable[..., Tensor]
SMOOTH = (1.0, 3.0, 3.0, 1.0)
EPSILON = 1e-8
"""Of equation 3."""

SAME, DOUBLING = Layer(1, (1, 1)), Layer(2, (0, 0))
"""A 3 x 3 convolution that keeps the side, and one whose transposed convolution doubles it."""


def styled(
    x: Float[Tensor, "batch inputs height width"],
    s: Float[Tensor, "batch inputs"],
    weight: Float[Tensor, "outputs inputs 3 3"],
    strength: Float[Tensor, " outputs"],
    bias: Float[Tensor, " outputs"],
    noise: Float[Tensor, "rows 1 height width"],
    *,
    amplify: float,
    slope: float,
    up: bool,
    again: Again,
) -> Tensor:
    """Return LeakyReLU(d conv(s x, W) + noise strength + bias) in bf16, with d as in `ModulatedConv2d`.

    Args:
        x: maps.
        s: style.
        weight: of the convolution; with ``up`` it is transposed, of stride 2, and blurred.
        strength, bias: of the channels.
        noise: of the places; one row serves all samples.
        amplify: factor of d.
        slope: of LeakyReLU, above 0.
        up: doubles the side.
        again: the same of (x, s, weight, strength, bias) by PyTorch's operations.
    """
    noise = noise.expand(len(s), *noise.shape[1:]).float().contiguous()
    found: Tensor = _Styled.apply(x, s, seen(weight), strength, bias, noise, (amplify, slope, up), again)
    return found


class _Styled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, s: Tensor, weight: Tensor, strength: Tensor, bias: Tensor, noise: Tensor,
        settings: tuple[float, float, bool], again: Again,
    ) -> Tensor:  # fmt: skip
        amplify, slope, up = settings
        d, squares = style_maps.demodulation(weight, s, amplify, EPSILON)
        read = x  # what the product reads
        if up:
            n, _, h, w = x.shape
            read = style_maps.scaled(x, s)
            large = (n, len(weight), 2 * h + 1, 2 * w + 1)
            product = native.input_gradient(read, large, weight.transpose(0, 1), DOUBLING, After(scale=d))
            y = style_maps.filtered(product, SMOOTH, 1, Ending(noise, strength, bias, slope), full=False)
        else:
            read = native.laid(x)
            y = native.convolved(
                read, weight, SAME, After(d, bias, slope=slope, noise=noise, strength=strength), styles=s
            )  # fmt: skip
        ctx.save_for_backward(x, s, weight, strength, bias, noise, d, squares, read, y)
        ctx.settings, ctx.again = settings, again
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        x, s, weight, strength, bias, noise, d, squares, read, y = ctx.saved_tensors
        amplify, slope, up = ctx.settings
        if torch.is_grad_enabled():
            return *by_pytorch(ctx.again, (x, s, weight, strength, bias), along[0]), None, None, None
        v, sums = style_maps.styled_backward(along[0], y, noise, d, slope)
        if up:
            v = style_maps.filtered(v, SMOOTH, 2, full=False)  # the filter is symmetric: its adjoint is itself
            turned = weight.transpose(0, 1)
            back = native.convolved(v, turned, DOUBLING)
            dw = native.weight_gradient(v, read, turned, DOUBLING).transpose(0, 1)
        else:
            back = native.input_gradient(v, x.shape, weight, SAME)
            dw = native.weight_gradient(read, v, weight, SAME, s)
        dx, ds = style_maps.scaled_backward(x, s, back)
        dw, of_strength, of_bias = style_maps.demodulation_backward(
            weight, s, (d, squares), sums, strength, bias, amplify, ds, dw
        )  # fmt: skip
        return dx, ds, dw, of_strength, of_bias, None, None, None


def to_image(
    x: Float[Tensor, "batch inputs height width"],
    s: Float[Tensor, "batch inputs"],
    weight: Float[Tensor, "colours inputs 1 1"],
    bias: Float[Tensor, " colours"],
    below: Float[Tensor, "batch colours lower narrower"] | None,
    *,
    again: Again,
) -> Tensor:
    """Return conv(s x, W) + bias + the doubled image ``below``, in fp32; of up to `style_maps.COLOURS` colours.

    Args:
        x: maps.
        s: style.
        weight, bias: of a convolution of single pixels.
        below: image of half the side; None: there is none.
        again: the same of (x, s, weight, bias, below) by PyTorch's operations.
    """
    found: Tensor = _ToImage.apply(x, s, seen(weight), bias, below, again)
    return found


class _ToImage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, s: Tensor, weight: Tensor, bias: Tensor, below: Tensor | None, again: Again
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, s, weight, bias, below)
        ctx.again = again
        after = After(bias=bias, added=None if below is None else style_maps.doubled(below))
        return native.convolved(x, weight, native.POINTWISE, after, styles=s, full=True)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        x, s, weight, bias, below = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *by_pytorch(ctx.again, (x, s, weight, bias, below), along[0]), None
        flat, dy = weight.flatten(1), style_maps.numbers_of_images(along[0])
        # Weights times styles, (batch, colours, inputs): small, and all that both gradients are made of.
        dh, dm = style_maps.colours_backward(dy, x, s[:, None] * flat)
        ds, dw = (dm * flat).sum(1), (dm * s[:, None]).sum(0).view_as(weight)
        bottom = None if below is None else style_maps.doubled_backward(dy)
        return dh.to(x.dtype), ds, dw, elementwise.channel_sums(dy), bottom, None


def normalised(
    x: Float[Tensor, "batch channel height width"],
    styles: Float[Tensor, "batch twice_channels"],
    strength: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    noise: Float[Tensor, "rows 1 height width"],
    *,
    slope: float,
    eps: float,
    again: Again,
) -> Tensor:
    """Return LeakyReLU(x + noise strength + bias), each map brought to a style's deviation and mean; all in fp32.

    Args:
        x: maps.
        styles: of each map its deviation - 1, then of each its mean.
        strength, bias: of the channels.
        noise: of the places; one row serves all samples.
        slope: of LeakyReLU.
        eps: added to the variance of a map.
        again: the same of (x, styles, strength, bias) by PyTorch's operations, which compute it where no kernels do.
    """
    if exact_kernels(x) is None:
        return again(x, styles, strength, bias)
    noise = noise.expand(len(x), *noise.shape[1:]).float().contiguous()
    found: Tensor = _Normalised.apply(x, styles, strength, bias, noise, (slope, eps), again)
    return found


def normalised_constant(
    constant: Float[Tensor, "1 channel height width"],
    styles: Float[Tensor, "batch twice_channels"],
    strength: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    noise: Float[Tensor, "rows 1 height width"],
    *,
    slope: float,
    eps: float,
) -> Tensor:
    """Return what `normalised` makes of a map that all samples share, without the loss of its small differences.

    At the start the constant is 1 everywhere and noise has no strength: a map varies by thousandths around 1, which 16
    bits round away and 32 bits round to four digits, and is divided by that. So the mean of a map is taken apart
    before anything is added, and LeakyReLU(m + u) - LeakyReLU(m) is computed of u without forming m + u where both
    have one sign. Slower than `normalised`; for files, whose readers may compute in 16 bits.

    Args:
        constant: maps.
        styles, strength, bias, noise, slope, eps: as for `normalised`.
    """
    mean = constant.mean((2, 3), keepdim=True)  # (1, channel, 1, 1), as all that depends on parameters alone
    middle = mean + bias[:, None, None]
    positive = (middle >= 0).to(middle.dtype)
    u = constant - mean + strength[:, None, None] * noise
    crossed = torch.relu((1 - 2 * positive) * (u + middle))  # how far m + u lies beyond 0 on the other side
    h = (slope + (1 - slope) * positive) * u + (1 - slope) * crossed
    h = by_deviation(h - h.mean((2, 3), keepdim=True), eps)
    scale, shift = styles[:, :, None, None].chunk(2, 1)
    return h * (1 + scale) + shift


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, styles: Tensor, strength: Tensor, bias: Tensor, noise: Tensor,
        settings: tuple[float, float], again: Again,
    ) -> Tensor:  # fmt: skip
        slope, eps = settings
        read = style_maps.numbers_of_images(x)
        styles, strength, bias = (native.numbers(each) for each in (styles, strength, bias))
        y, moments = style_maps.normalised(read, Ending(noise, strength, bias, slope), styles, eps)
        ctx.save_for_backward(x, styles, strength, bias, noise, moments)
        ctx.slope, ctx.again = slope, again
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        x, styles, strength, bias, noise, moments = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *by_pytorch(ctx.again, (x, styles, strength, bias), along[0]), None, None, None
        end = Ending(noise, strength, bias, ctx.slope)
        found = style_maps.normalised_backward(style_maps.numbers_of_images(x), end, styles, moments, along[0])
        return *found, None, None, None


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, by: Scaled) -> Tensor:
    """Return LeakyReLU(c x W' + c' b) of rows, all in fp32, with the factors and the slope of ``by``."""
    found: Tensor = _Affine.apply(x, seen(weight), bias, by)
    return found


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, by: Scaled) -> Tensor:
        read = native.numbers(x)
        y = style_maps.affine(read, weight.contiguous(), bias, by)
        ctx.save_for_backward(x, read, weight, bias, y)
        ctx.by = by
        return y

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        (x, read, weight, bias, y), by = ctx.saved_tensors, ctx.by
        if torch.is_grad_enabled():  # to be differentiated again
            v = along[0] * by.weight
            if by.slope != 1:
                v = v * torch.where(y > 0, 1.0, by.slope)
                # The slopes do not depend on the bias: 0 and not None, so that an optimizer's moments go on.
                v = v if bias is None else v + 0 * bias
            asked = (is_wanted(ctx, 0), is_wanted(ctx, 1), ctx.needs_input_grad[2])
            dx, dw = (v @ weight if asked[0] else None), (v.t() @ x.float() if asked[1] else None)
            db = v.sum(0) * (by.bias / by.weight) if asked[2] else None
            return None if dx is None else dx.to(x.dtype), dw, db, None
        dx, dw, db = style_maps.affine_backward(read, weight.contiguous(), y, along[0], by, ctx.needs_input_grad[:3])
        return None if dx is None else dx.to(x.dtype), dw, db, None
