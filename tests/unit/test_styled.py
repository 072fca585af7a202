"""Styled layers and layers that make images, in bf16, against their formulas in float64; and differentiated twice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.stylegan1.game import Epilogue
from saddlepoint.nn.equalised import EqualisedConv2d, EqualisedLinear, ResizedConv2d
from saddlepoint.nn.native.dispatch import applied
from saddlepoint.nn.resample import blur, upsample
from saddlepoint.nn.style import StyledLayer, ToImage

# bf16 keeps 8 bits: each rounding errs by a 512th at most. A gradient goes through some five of them, whose errors are
# independent; numbers that differ in sign from their neighbours add up to less than they err by, hence not 5/512.
TOLERANCE = 0.015


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=stream("cpu", seed))


def error(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return ((found.double() - expected).norm() / expected.norm()).item()


@contextmanager
def in_bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16), applied():
        yield


def prepared(layer: Any) -> Any:
    """Give every parameter numbers of its own, and lay them as training does."""
    for k, (name, parameter) in enumerate(layer.named_parameters()):
        with torch.no_grad():
            parameter.copy_(drawn(*parameter.shape, seed=k) * (0.3 if name == "strength" else 1.0))
    return layer.to(memory_format=torch.channels_last)


def styled_by_formula(layer: Any, x: Tensor, w: Tensor, noise: Tensor, below: Tensor) -> Tensor:
    """Weights of its own for each sample (Karras et al. 2020, equations 1 and 3); slope 0.2 at places ``below``."""
    s = w @ layer.conv.affine.weight.t() / w.shape[1] ** 0.5 + layer.conv.affine.bias
    kernels = layer.conv.weight * s[:, None, :, None, None]
    kernels = layer.conv.amplify * kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    made = []
    for one, kernel in zip(x, kernels, strict=True):
        if layer.conv.up:
            made.append(blur(F.conv_transpose2d(one[None], kernel.transpose(0, 1), None, 2), padding=1))
        else:
            made.append(F.conv2d(one[None], kernel, None, 1, 1))
    h = torch.cat(made) + 2**0.5 * (noise * layer.strength + layer.bias[:, None, None])
    return torch.where(below, 0.2 * h, h)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "size", "rows"), [(32, 16, (8, 8), 3), (5, 7, (3, 6), 1)])
def test_styled_layers_and_all_their_gradients(
    up: bool, inputs: int, outputs: int, size: tuple[int, int], rows: int
) -> None:
    layer = prepared(StyledLayer(inputs, outputs, 12, up=up))
    large = tuple(side * (1 + up) for side in size)
    x = drawn(3, inputs, *size, seed=20).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    w, noise = drawn(3, 12, seed=21).requires_grad_(), drawn(rows, 1, *large, seed=22)
    along = drawn(3, outputs, *large, seed=23).bfloat16()
    with in_bf16():
        y = layer(x, w, noise)
    y.backward(along)
    exact = copy.deepcopy(layer).double()
    exact.zero_grad()
    x_exact, w_exact = (v.detach().double().requires_grad_() for v in (x, w))
    # With the slopes of the rounded layer: a number whose sign was lost to rounding is no error of a gradient.
    expected = styled_by_formula(exact, x_exact, w_exact, noise.double(), y <= 0)
    expected.backward(along.double())
    assert error(y, expected) < 0.005
    assert error(x.grad, x_exact.grad) < TOLERANCE
    assert error(w.grad, w_exact.grad) < TOLERANCE
    for (name, found), wanted in zip(layer.named_parameters(), exact.parameters(), strict=True):
        assert error(found.grad, wanted.grad) < TOLERANCE, name


@pytest.mark.parametrize("colours", [1, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (6, 2)])
def test_layers_that_make_images_and_all_their_gradients(colours: int, size: tuple[int, int]) -> None:
    layer = prepared(ToImage(20, colours, 12))
    x = drawn(3, 20, *size, seed=20).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    w = drawn(3, 12, seed=21).requires_grad_()
    older = drawn(3, colours, size[0] // 2, size[1] // 2, seed=22).requires_grad_()
    along = drawn(3, colours, *size, seed=23)
    with in_bf16():
        y = layer(x, w, older)
    y.backward(along)
    exact = copy.deepcopy(layer).double()
    exact.zero_grad()
    x_exact, w_exact, older_exact = (v.detach().double().requires_grad_() for v in (x, w, older))
    s = (w_exact @ exact.conv.affine.weight.t() / 12**0.5 + exact.conv.affine.bias) / 20**0.5
    made = torch.einsum("nihw,ni,oi->nohw", x_exact, s, exact.conv.weight[:, :, 0, 0])
    expected = made + exact.bias[:, None, None] + upsample(older_exact)
    expected.backward(along.double())
    assert y.dtype == torch.float32
    assert error(y, expected) < 0.005
    for found, wanted in ((x, x_exact), (w, w_exact), (older, older_exact)):
        assert error(found.grad, wanted.grad) < TOLERANCE
    for (name, found), wanted in zip(layer.named_parameters(), exact.parameters(), strict=True):
        assert error(found.grad, wanted.grad) < TOLERANCE, name


def test_path_lengths_through_both_layers() -> None:
    """The derivative of a gradient's norm, which PyTorch's operations find where the kernels made the layers."""
    layers = [prepared(StyledLayer(8, 8, 12, up=up)) for up in (True, False)]
    image = prepared(ToImage(8, 3, 12))
    x, w = drawn(3, 8, 4, 4, seed=20), drawn(3, 12, seed=21)
    noise, along = drawn(3, 1, 8, 8, seed=22), drawn(3, 3, 8, 8, seed=23)

    def lengths(modules: Any, kind: torch.dtype) -> list[Tensor]:
        modules.zero_grad()
        style, h = w.to(kind, copy=True).requires_grad_(), x.to(kind)
        for layer in modules[:-1]:
            h = layer(h, style, noise.to(kind))
        (found,) = torch.autograd.grad((modules[-1](h, style) * along.to(kind)).sum(), style, create_graph=True)
        found.square().sum().backward()
        return [style.grad, *(p.grad for p in modules.parameters() if p.grad is not None)]

    modules = nn.ModuleList([*layers, image])
    exact = copy.deepcopy(modules).double()
    with in_bf16():
        found = lengths(modules, torch.float32)
    # Signs that rounding takes for others weigh here: a few of 192 numbers of each layer and sample.
    for one, other in zip(found, lengths(exact, torch.float64), strict=True):
        assert error(one, other) < 0.1


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 4)])
def test_penalties_of_gradients_through_convolutions(stride: int, kernel: int) -> None:
    """R1 of two convolutions and an affine map: its gradient in all weights, of functions that go on for ever."""
    convolutions = nn.ModuleList(
        prepared(EqualisedConv2d(a, 8, kernel, stride=stride, padding=1)) for a in (3, 8)
    )  # fmt: skip
    output = prepared(EqualisedLinear(8 * (8 // stride**2) ** 2, 1))
    x = drawn(4, 3, 8, 8, seed=30)

    def of(modules: Any, last: Any, kind: torch.dtype, slopes: list[Tensor]) -> list[Tensor]:
        h = start = x.to(kind, copy=True).requires_grad_()
        for k, layer in enumerate(modules):
            if kind == torch.float64:  # with the slopes of the rounded layers
                h = layer(h) * slopes[k]
            else:
                h = layer(h, 0.2)
                slopes.append(torch.where(h <= 0, 0.2, 1.0).double())
        logits = last(h.flatten(1))
        (gradient,) = torch.autograd.grad(logits.sum(), start, create_graph=True)
        (gradient.square().sum() + logits.square().sum()).backward()
        found = [start.grad, *(p.grad for p in modules.parameters()), *(p.grad for p in last.parameters())]
        return [each for each in found if each is not None]

    exact, exact_output, slopes = copy.deepcopy(convolutions).double(), copy.deepcopy(output).double(), list[Tensor]()
    with in_bf16():
        found = of(convolutions, output, torch.float32, slopes)
    expected = of(exact, exact_output, torch.float64, slopes)
    assert len(found) == len(expected) == 7
    for one, other in zip(found, expected, strict=True):
        assert error(one, other) < 2 * TOLERANCE


@pytest.mark.parametrize(("channels", "rows"), [(20, 3), (3, 1)])
def test_maps_brought_to_their_styles(channels: int, rows: int) -> None:
    layer = prepared(Epilogue(channels, 12))
    x = drawn(3, channels, 6, 5, seed=20).to(memory_format=torch.channels_last).requires_grad_()
    w, noise, along = drawn(3, 12, seed=21), drawn(rows, 1, 6, 5, seed=22), drawn(3, channels, 6, 5, seed=23)
    w.requires_grad_()
    with in_bf16():
        y = layer(x, w, noise)
    y.backward(along)
    exact = copy.deepcopy(layer).double()
    exact.zero_grad()
    x_exact, w_exact = (v.detach().double().requires_grad_() for v in (x, w))
    h = F.leaky_relu(x_exact + exact.strength[:, None, None] * noise.double() + exact.bias[:, None, None], 0.2)
    scale, shift = exact.style(w_exact)[:, :, None, None].chunk(2, 1)
    expected = F.instance_norm(h) * (1 + scale) + shift  # of the same epsilon, 1e-5
    expected.backward(along.double())
    assert y.dtype == torch.float32
    assert error(y, expected) < 1e-5  # nothing is rounded to bf16
    assert error(x.grad, x_exact.grad) < 1e-5
    assert error(w.grad, w_exact.grad) < 1e-5
    for (name, found), wanted in zip(layer.named_parameters(), exact.parameters(), strict=True):
        assert error(found.grad, wanted.grad) < 1e-5, name


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("slope", [1.0, 0.2])
def test_resized_convolutions(up: bool, slope: float) -> None:
    layer = prepared(ResizedConv2d(6, 10, up=up, gain=2**0.5, bias=not up))
    x = drawn(3, 6, 4, 8, seed=20).to(memory_format=torch.channels_last).requires_grad_()
    with in_bf16():
        y = layer(x, slope)
    along = drawn(*y.shape, seed=21)
    y.backward(along.to(y.dtype))
    exact = copy.deepcopy(layer).double()
    exact.zero_grad()
    x_exact = x.detach().double().requires_grad_()
    expected = exact(x_exact)
    expected = torch.where(y <= 0, slope * expected, expected)
    expected.backward(along.double())
    assert error(y, expected) < TOLERANCE
    assert error(x.grad, x_exact.grad) < TOLERANCE
    for found, wanted in zip(layer.parameters(), exact.parameters(), strict=True):
        assert error(found.grad, wanted.grad) < TOLERANCE


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(3, 20, 5), (16, 64, 40)])
def test_small_affine_maps_stay_in_full_precision(rows: int, inputs: int, outputs: int) -> None:
    layer = prepared(EqualisedLinear(inputs, outputs, amplify=1.5, multiplier=0.1))
    x, along = drawn(rows, inputs, seed=20).requires_grad_(), drawn(rows, outputs, seed=21)
    with in_bf16():
        y = layer(x, 0.2)
    y.backward(along)
    exact = copy.deepcopy(layer).double()
    exact.zero_grad()
    x_exact = x.detach().double().requires_grad_()
    expected = F.leaky_relu(1.5 * 0.1 * (x_exact @ exact.weight.t() / inputs**0.5 + exact.bias), 0.2)
    expected.backward(along.double())
    assert error(y, expected) < 1e-5
    assert error(x.grad, x_exact.grad) < 1e-5
    for found, wanted in zip(layer.parameters(), exact.parameters(), strict=True):
        assert error(found.grad, wanted.grad) < 1e-5
