"""Recurrent layers and affine maps of steps by the kernels, in fp32: float64 is the oracle.

Where there are no kernels PyTorch does the same work, within the same limits.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.native.dispatch import VARIABLE, applied, why_not
from saddlepoint.nn.recurrent import Recurrent, affine
from saddlepoint.nn.windows import Coordinates

CELLS = ("gru", "gru-before")
SIZES = ((24, 38, 64, 64), (5, 7, 9, 70), (3, 1, 1, 1), (4, 64, 24, 128), (6, 13, 66, 33), (1, 5, 4, 16))
"""(time, inputs, width, batch): also such that fill neither a tile of six rows nor vectors of sixteen columns."""

LIMIT = 5e-6
"""Of errors, as a share of the largest number: sums of fp32 over up to 24 x 128 terms. bf16 would be off by 1e-3."""


def gradients(stack: Recurrent, x: Tensor, along: Tensor) -> list[Tensor]:
    """Return the states, and the gradients in the input and in all parameters."""
    x = x.clone().requires_grad_()
    states = stack(x)
    return [states.detach(), *torch.autograd.grad((states * along).sum(), [x, *stack.parameters()])]


def drawn(cell: str, inputs: int, width: int) -> Recurrent:
    stack = Recurrent(inputs, width, 2, cell=cell)
    stack.draw(torch.Generator().manual_seed(1))
    return stack


def made(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def off(found: Tensor, exact: Tensor) -> float:
    """Return the largest error, as a share of the largest number."""
    assert found.shape == exact.shape
    most = exact.abs().max()
    return float((found - exact).abs().max() / (most if most else 1))  # of one step U has no gradient: h_0 = 0


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", SIZES)
def test_layers_are_those_of_float64(cell: str, sizes: tuple[int, int, int, int]) -> None:
    time, inputs, width, batch = sizes
    stack = drawn(cell, inputs, width)
    x, along = made((time, inputs, batch), (time, width, batch))
    with applied():
        found = gradients(stack, x, along)
    exact = gradients(stack.double(), x.double(), along.double())
    limit = LIMIT if batch > 1 else 5e-5  # of one sample sums cancel, to a hundredth of their terms
    assert max(off(one, other) for one, other in zip(found, exact, strict=True)) < limit


@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_the_number_of_threads(cell: str) -> None:
    """Each thread has columns of the batch, or rows of a weight: every number is made as by one of them."""
    stack, (x, along) = drawn(cell, 38, 20), made((6, 38, 100), (6, 20, 100))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            with applied():
                found.append(gradients(stack, x, along))
    finally:
        torch.set_num_threads(before)
    if not why_not():
        assert all(torch.equal(one, two) for other in found[1:] for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_without_the_kernels_it_is_as_outside(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit; with them it is not: they are what is tested here, where there are any."""
    stack, (x, along) = drawn(cell, 5, 12), made((6, 5, 20), (6, 12, 20))
    outside = gradients(stack, x, along)
    with applied():
        by_kernels = gradients(stack, x, along)
    monkeypatch.setenv(VARIABLE, "pytorch")
    with applied():
        found = gradients(stack, x, along)
    assert all(torch.equal(one, two) for one, two in zip(found, outside, strict=True))
    assert torch.equal(by_kernels[0], outside[0]) == bool(why_not())


def squashed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return sigmoid(x) and tanh(x) of fp32 numbers, as a GRU of one unit computes them."""
    stack = Recurrent(2, 1, 1)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
        weight = stack.get_parameter("layers.0.0.weight_input")  # of r, z, n; the inputs are z's and n's arguments
        weight[1, 0] = weight[2, 1] = 1
        shut, up = torch.full_like(x, -200), torch.full_like(x, 100)
        zero = torch.zeros_like(x)
        # h_1 = 0 h_0 + 1 tanh(100) = 1; h_2 = z h_1 + (1 - z) tanh(0) = z.
        steps = torch.stack([torch.stack([shut, up]), torch.stack([x, zero])])
        with applied():
            sigmoid = stack(steps)[1, 0]
            tanh = stack(torch.stack([shut, x])[None])[0, 0]
    return sigmoid, tanh


def test_sigmoid_and_tanh_are_right_to_three_units_in_the_last_place() -> None:
    """Also far below 1, where a difference of numbers near 1 would have no digits left."""
    # exp(f) - 1 by its polynomial and the sum with 2^k - 1: one unit together; each sum and the quotient half of one.
    generator = torch.Generator().manual_seed(3)
    size = 10.0 ** (6 * torch.rand(200_000, generator=generator) - 5)  # from 1e-5 to 10
    x = torch.cat([size, -size, -80 * torch.rand(50_000, generator=generator), torch.tensor([0.0, 1e-30, 30.0, 500.0])])
    for found, exact in zip(squashed(x), (torch.sigmoid(x.double()), torch.tanh(x.double())), strict=True):
        unit = 2.0 ** (exact.abs().clamp_min(1e-37).log2().floor() - 23)
        if why_not():  # PyTorch's passes keep (h + 1) / 2: as good near 1
            unit = torch.full_like(unit, 2.0**-22)
        assert float(((found.double() - exact).abs() / unit).max()) < 3
        assert float(found.abs().max()) <= 1


def test_what_is_no_number_stays_one_and_ends_are_reached() -> None:
    """Training stops at NaN: it must not be clipped away on the way to the loss."""
    sigmoid, tanh = squashed(torch.tensor([float("nan"), -1e30, -1e4, 1e4, 1e30]))
    assert bool(sigmoid[0].isnan())
    assert bool(tanh[0].isnan())
    torch.testing.assert_close(sigmoid[1:], torch.tensor([0.0, 0.0, 1.0, 1.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(tanh[1:], torch.tensor([-1.0, -1.0, 1.0, 1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_of_a_gradient_is_refused(cell: str) -> None:
    (x,) = made((4, 3, 2))
    with applied(), pytest.raises(ConfigError, match="once only"):
        torch.autograd.grad(drawn(cell, 3, 4)(x.requires_grad_()).sum(), x, create_graph=True)


@pytest.mark.parametrize("cell", CELLS)
def test_frozen_weights_get_no_gradient_and_inputs_still_do(cell: str) -> None:
    stack, (x, along) = drawn(cell, 3, 4), made((4, 3, 2), (4, 4, 2))
    wanted = gradients(stack, x, along)[1]
    with applied():
        (found,) = torch.autograd.grad((stack.requires_grad_(False)(x.requires_grad_()) * along).sum(), x)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("time", "rows", "features", "batch"), [(24, 12, 64, 64), (3, 7, 5, 19), (2, 1, 70, 130)])
def test_affine_maps_and_their_gradients(
    time: int, rows: int, features: int, batch: int, biased: bool, transposed: bool
) -> None:
    """Weights of any strides, and an input whose steps are transposed."""
    weight, bias, x, along = made((rows, features), (rows,), (time, batch, features), (time, rows, batch))
    weight, x = weight.t().contiguous().t() if transposed else weight, x.transpose(1, 2)

    def found(kind: torch.dtype) -> list[Tensor]:
        inputs = [part.to(kind).requires_grad_() for part in (x, weight, bias)[: 3 if biased else 2]]
        made = affine(*inputs)
        return [made.detach(), *torch.autograd.grad((made * along.to(kind)).sum(), inputs)]

    with applied():
        ours = found(torch.float32)
    assert max(off(one, other) for one, other in zip(ours, found(torch.float64), strict=True)) < LIMIT


def test_affine_maps_can_be_differentiated_twice() -> None:
    """d/dW of |d/dx sum (W x)^2|^2, by the kernels and in float64."""

    def found(kind: torch.dtype) -> Tensor:
        x, weight = (part.to(kind).requires_grad_() for part in made((3, 4, 5), (2, 4)))
        (first,) = torch.autograd.grad(affine(x, weight).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight)[0]

    with applied():
        ours = found(torch.float32)
    torch.testing.assert_close(ours.double(), found(torch.float64), rtol=1e-4, atol=1e-4)


def coordinates(features: int) -> Coordinates:
    made_here = Coordinates(features)
    for name, axes in made_here.named_buffers():
        axes.copy_(made(axes.shape)[0] + 0.1 * len(name))
    return made_here


@pytest.mark.parametrize("way", ["forward", "back"])
@pytest.mark.parametrize(("time", "features", "batch"), [(24, 6, 64), (2, 1, 5), (9, 13, 70)])
def test_coordinates_and_their_gradients(time: int, features: int, batch: int, way: str) -> None:
    axes = coordinates(features)
    x, along = made((time, features, batch), (time, 2 * features, batch))
    x, along = (x, along) if way == "forward" else (along, x)

    def found(axes: Coordinates, kind: torch.dtype) -> list[Tensor]:
        given = x.to(kind).requires_grad_()
        y = getattr(axes, way)(given)
        return [y.detach(), *torch.autograd.grad((y * along.to(kind)).sum(), given)]

    with applied():
        ours = found(axes, torch.float32)
    exact = found(axes.double(), torch.float64)
    assert max(off(one, other) for one, other in zip(ours, exact, strict=True)) < LIMIT


@pytest.mark.parametrize("way", ["forward", "back"])
def test_coordinates_can_be_differentiated_twice(way: str) -> None:
    """d/dx of |d/dx sum y^4|^2: no term may be missing."""
    axes, (x,) = coordinates(3), made((4, 3 if way == "forward" else 6, 2))

    def found(axes: Coordinates, kind: torch.dtype) -> Tensor:
        given = x.to(kind).requires_grad_()
        (first,) = torch.autograd.grad(getattr(axes, way)(given).pow(4).sum(), given, create_graph=True)
        return torch.autograd.grad(first.square().sum(), given)[0]

    with applied():
        ours = found(axes, torch.float32)
    assert off(ours, found(axes.double(), torch.float64)) < 1e-4
