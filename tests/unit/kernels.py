"""For tests of the kernels: applied, or their absence explained; layers of any shape, and what they must give."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.nn.native import build, dispatch
from saddlepoint.nn.native.products import Layer

ROUNDED = 2.0**-8
"""Error of a number that is rounded to bf16, which has 8 bits, relative to itself."""

SUMMED = 1e-5
"""Error of a sum in fp32 of products that are exact in it, relative to the sum of their absolute values."""


def by_kernels(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test where there are kernels; elsewhere their absence must be explained, and the explanation hold."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if why := dispatch.why_not():
            assert _is_so(why), f"the kernels are not used because '{why}', which is not so"
        else:
            test(*args, **kwargs)

    return run


def _is_so(why: str) -> bool:
    able = build.abilities()
    missing = [name for name in build.NEEDED if name not in able]
    if "processor" in why:
        return bool(missing) or build.TOO_GOOD in able
    return "are for Linux" in why or (why == "there is no C compiler" and not shutil.which("cc"))


@contextmanager
def bf16() -> Iterator[None]:
    """Compute as training in bf16 does, by the kernels where there are any."""
    with torch.autocast("cpu", torch.bfloat16), dispatch.applied():
        yield


@dataclass(frozen=True)
class Case:
    """A layer and what it is given.

    Attributes:
        kind: convolution, transposed or affine.
        layer: its stride and padding, and the scale of its weights.
        extra: output padding of a transposed convolution.
        slope: of the LeakyReLU after it.
    """

    kind: str
    layer: Layer
    extra: tuple[int, int]
    slope: float
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    along: Tensor

    def exact(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return what the layer gives before its LeakyReLU."""
        s, p = self.layer.stride, self.layer.padding
        if self.kind == "affine":
            return F.linear(x, weight, bias)
        if self.kind == "convolution":
            return F.conv2d(x, weight, bias, s, p)
        return F.conv_transpose2d(x, weight, bias, s, p, self.extra)


def drawn(seed: int) -> Case:
    """Draw a layer of channels 1 to 130, sizes 1 to 13, kernels 1 to 5, strides 1 to 4, with paddings."""
    dice, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    kind = ("convolution", "transposed", "affine")[seed % 3]
    c, o = (dice.choice((1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 64, 65, dice.randint(1, 130), 130)) for _ in range(2))
    n, kh, kw, stride = dice.choice((1, 2, 3, 7)), dice.randint(1, 5), dice.randint(1, 5), dice.randint(1, 4)
    padding = (dice.randint(0, 3), dice.randint(0, 3))
    scale, slope = dice.choice((1.0, 0.37)), dice.choice((1.0, 0.2, 0.0))
    extra = (dice.randrange(stride), dice.randrange(stride)) if kind == "transposed" else (0, 0)
    least = [max(1, k - 2 * p) for k, p in zip((kh, kw), padding, strict=True)]
    if kind == "transposed":  # the result must have pixels
        least = [max(1, -(-(1 + 2 * p - k) // stride) + 1) for k, p in zip((kh, kw), padding, strict=True)]
    h, w = (side + dice.randint(0, 8) for side in least)
    weight_shape = {"affine": (o, c), "convolution": (o, c, kh, kw), "transposed": (c, o, kh, kw)}[kind]
    x = torch.randn((n, c) if kind == "affine" else (n, c, h, w), generator=numbers)
    x = _laid(x.bfloat16() if dice.random() < 0.5 else x, dice)
    weight = _laid(torch.randn(weight_shape, generator=numbers), dice)
    bias = torch.randn(o, generator=numbers) if dice.random() < 0.7 else None
    layer = Layer(1, (0, 0), scale) if kind == "affine" else Layer(stride, padding, scale)
    case = Case(kind, layer, extra, slope, x, weight, bias, x)
    y = case.exact(x.float(), weight, bias)
    along = torch.randn(y.shape, generator=numbers).bfloat16()
    if dice.random() < 0.25:  # a gradient that is the same for all, as means and sums send it
        along = torch.randn((), generator=numbers).bfloat16().expand(y.shape)
    return Case(kind, layer, extra, slope, x, weight, bias, _laid(along, dice) if along.stride(-1) else along)


def _laid(x: Tensor, dice: random.Random) -> Tensor:
    """Lay a tensor in memory in one of the ways that tensors lie: in a larger one, transposed, channels last."""
    way = dice.randrange(4)
    if way == 0:
        larger = torch.full([side + 3 for side in x.shape], torch.nan, dtype=x.dtype)
        inside = larger[tuple(slice(1, side + 1) for side in x.shape)]
        return inside.copy_(x)
    if way == 1:
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    return x.contiguous(memory_format=torch.channels_last) if way == 2 and x.ndim == 4 else x


@dataclass(frozen=True)
class Right:
    """What a layer must give, in float64, and the sums of absolute values that errors of sums are relative to."""

    y: Tensor
    dx: Tensor
    dw: Tensor
    db: Tensor
    sizes: dict[str, float]


def right(case: Case, y_found: Tensor) -> Right:
    """Compute a layer and its gradients in float64 from numbers that are rounded to bf16 as the kernels round them.

    Args:
        case: the layer.
        y_found: what the kernels gave: its signs tell the slopes of the way back.
    """
    scale = case.layer.scale
    x, weight = case.x.bfloat16().double(), (case.weight * scale).bfloat16().double()
    bias = None if case.bias is None else case.bias.double()
    v = case.along.double() * torch.where(y_found > 0, 1.0, case.slope).double()
    v = v.bfloat16().double()

    def gradients(x: Tensor, weight: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
        dx, dw = torch.autograd.grad(case.exact(x, weight, None), (x, weight), v)
        return dx, dw * scale

    raw = case.exact(x, weight, bias)
    y = torch.where(raw > 0, raw, raw * case.slope)
    (dx, dw), absolutes = gradients(x, weight, v), gradients(x.abs(), weight.abs(), v.abs())
    over = (0, *range(2, v.ndim))
    largest = case.exact(x.abs(), weight.abs(), None if bias is None else bias.abs())
    sizes = {
        "y": largest.max().item(), "dx": absolutes[0].max().item(), "dw": absolutes[1].max().item(),
        "db": v.abs().sum(over).max().item(),
    }  # fmt: skip
    return Right(y, dx, dw, v.sum(over), sizes)


def assert_near(found: Tensor, right: Tensor, size: float, rounded: bool) -> None:
    """Assert that ``found`` is ``right`` but for rounding: that of fp32 sums, and where ``rounded`` that to bf16."""
    allowed = (ROUNDED if rounded else 0.0) * right.abs() + SUMMED * size
    error = (found.double() - right).abs()
    assert found.shape == right.shape
    assert bool((error <= allowed).all()), f"off by {(error - allowed).max().item():.3g} more than rounding allows"
