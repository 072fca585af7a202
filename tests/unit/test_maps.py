"""Instance normalisation, convolutions between sizes and sums of blocks: by the kernels as by PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.nn.layers import Conv2d, leaky
from saddlepoint.nn.native.dispatch import applied
from saddlepoint.nn.normalise import StyledNorm
from saddlepoint.nn.resized import activated, resized, resized_convolution, summed

ROUNDED = 0.02
"""Of the largest number: inputs, results and gradients are rounded to bf16 (2^-9 each), and sums of them keep that."""


def _in_bf16(made: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return the result and its gradients with the kernels, where there are any, and what it was multiplied by."""
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    with torch.autocast("cpu", torch.bfloat16), applied():
        y = made(*inputs)
        along = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().float()
        found = torch.autograd.grad((y.float() * along).sum(), inputs)
    return y.detach(), list(found), along


def _assert_like(made: Callable[..., Tensor], wanted: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Hold a function and its gradients against another one in float64."""
    y, gradients, along = _in_bf16(made, *inputs)
    exact = [x.double().requires_grad_() for x in inputs]
    right = wanted(*exact)
    _assert_near(y, right)
    for found, expected in zip(gradients, torch.autograd.grad((right * along.double()).sum(), exact), strict=True):
        _assert_near(found, expected)


def _assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    expected = expected.detach()
    assert float((found.double() - expected).abs().max()) <= ROUNDED * float(expected.abs().max()) + 1e-6


def _with(conv: Conv2d, weight: Tensor, bias: Tensor | None = None) -> Conv2d:
    """Return the layer with other tensors for its parameters."""
    del conv.weight, conv.bias
    conv.weight, conv.bias = weight, bias
    return conv


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16().float()


@pytest.mark.parametrize("channels", [16, 24, 64, 72])
@pytest.mark.parametrize(("slope", "joins"), [(1.0, False), (0.0, True), (0.2, False)])
def test_a_normalisation_of_learned_gains_is_pytorchs(channels: int, slope: float, joins: bool) -> None:
    norm, x, beside = StyledNorm(channels), 3 * _drawn(3, channels, 6, 4) + 2, _drawn(3, channels, 6, 4)

    def made(x: Tensor, beside: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        given = {"gain": gain, "offset": offset}
        kind = x if joins else x.bfloat16()
        y = torch.func.functional_call(norm, given, (kind,), {"slope": slope, "beside": beside if joins else None})
        return y + 0 * beside

    def wanted(x: Tensor, beside: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        y = leaky(F.instance_norm(x, weight=gain, bias=offset), slope)
        return y + beside if joins else y + 0 * beside

    gain, offset = _drawn(channels), _drawn(channels)
    _assert_like(made, wanted, _steady(x, gain[:, None, None], offset[:, None, None]), beside, gain, offset)


def _steady(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Return images whose normalised maps are away from 0, where a slope would depend on rounding."""
    for _ in range(30):
        z = F.instance_norm(x) * gain + offset
        near = z.abs() < 0.02 * gain.abs() + 0.02
        if not near.any():
            break
        x = torch.where(near, x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3)), x)
        x = x.bfloat16().float()
    return x


def test_a_normalisation_by_a_style_is_pytorchs() -> None:
    norm, x, style = StyledNorm(32, 5), _drawn(4, 32, 8, 8) - 1, _drawn(4, 5)
    weight, bias = 0.5 * _drawn(64, 5), 0.5 * _drawn(64)

    def made(x: Tensor, style: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        given = {"affine.weight": weight, "affine.bias": bias}
        return torch.func.functional_call(norm, given, (x, style), {"slope": 1.0})

    def wanted(x: Tensor, style: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        gain, offset = F.linear(style, weight, bias)[:, :, None, None].chunk(2, 1)
        return offset + (1 + gain) * F.instance_norm(x)

    _assert_like(made, wanted, x, style, weight, bias)


def test_a_large_constant_map_is_normalised_to_0() -> None:
    with torch.autocast("cpu", torch.bfloat16), applied():
        y = StyledNorm(16)(torch.full((1, 16, 8, 8), 1000.0))
    assert y.abs().max() == 0


@pytest.mark.parametrize("slope", [1.0, 0.2])
@pytest.mark.parametrize("resample", ["", "down", "up"])
def test_a_convolution_between_sizes_is_the_two_steps(resample: str, slope: float) -> None:
    x = _drawn(2, 16, 8, 12)

    def made(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return resized_convolution(x, _with(Conv2d(16, 24, 3, 1, 1), weight, bias), resample, slope)  # type: ignore[arg-type]

    def wanted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x
        y = F.conv2d(x, weight, bias, 1, 1)
        return leaky(F.avg_pool2d(y, 2) if resample == "down" else y, slope)

    # A bias of 8 deviations leaves no result near 0, where its slope would depend on rounding.
    bias = torch.where(_drawn(24) > 0, 8.0, -8.0)
    _assert_like(made, wanted, x, _drawn(24, 16, 3, 3) / 12, bias)


@pytest.mark.parametrize("resample", ["", "down", "up"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_residual_block_is_the_sum_of_both_ways(resample: str, kind: torch.dtype) -> None:
    size = {"": (6, 10), "down": (3, 5), "up": (12, 20)}[resample]
    x, h, weight = _drawn(2, 24, 6, 10), _drawn(2, 24, *size), _drawn(24, 24, 1, 1) / 5

    def made(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        conv = _with(Conv2d(24, 24, 1, bias=False), weight)
        one = summed(resized(x.to(kind), resample), h.bfloat16(), 0.7)  # type: ignore[arg-type]
        return one + summed(resized(x.to(kind), resample, conv), h.bfloat16(), 0.7)  # type: ignore[arg-type]

    def wanted(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        x = x + F.conv2d(x, weight)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x
        return ((F.avg_pool2d(x, 2) if resample == "down" else x) + 2 * h) * 0.7

    _assert_like(made, wanted, x, h, weight)


def test_leaky_of_images_is_pytorchs() -> None:
    _assert_like(lambda x: activated(x, 0.2), lambda x: F.leaky_relu(x, 0.2), _drawn(3, 5, 7, 4))


@pytest.mark.parametrize("resample", ["down", "up"])
def test_blocks_can_be_differentiated_twice(resample: str) -> None:
    conv, norm = Conv2d(16, 16, 3, 1, 1), StyledNorm(16)

    def penalty(x: Tensor) -> Tensor:
        h = resized_convolution(activated(norm(x, slope=0.2), 0.2), conv, resample)  # type: ignore[arg-type]
        y = summed(resized(x, resample), h, 0.7).float().square().sum()  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(y, x, create_graph=True)
        return gradient.square().sum()

    parameters = [conv.weight, norm.gain]
    x = _drawn(2, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16), applied():
        found = torch.autograd.grad(penalty(x.clone().requires_grad_()), parameters)  # type: ignore[arg-type]
    expected = torch.autograd.grad(penalty(x.clone().requires_grad_()), parameters)  # type: ignore[arg-type]
    for one, other in zip(found, expected, strict=True):
        # Twice through rounded numbers, of which some change sides of 0.
        assert float((one.float() - other).norm()) <= 0.05 * float(other.norm())


@pytest.mark.parametrize(
    ("outputs", "kernel", "padding"), [(4, 5, (2, 2)), (3, 7, (3, 3)), (1, 3, (1, 1)), (3, 5, (2, 4))]
)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_of_few_outputs_is_pytorchs(
    outputs: int, kernel: int, padding: tuple[int, int], memory: torch.memory_format
) -> None:
    x, weight = _drawn(2, 16, 9, 11), _drawn(outputs, 16, kernel, kernel) / 4 / kernel

    def made(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        conv = Conv2d(16, outputs, kernel, padding=padding)
        return _with(conv, weight.contiguous(memory_format=memory), bias)(x)

    _assert_like(made, lambda x, weight, bias: F.conv2d(x, weight, bias, padding=padding), x, weight, _drawn(outputs))
