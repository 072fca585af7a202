"""Maxout and dropout against their definitions."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.mlp import Maxout, draw_he, draw_uniform, dropout, leaky_mlp
from saddlepoint.nn.normalise import rms_norm


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_maxout_is_the_largest_affine_map() -> None:
    layer = Maxout(6, 4, 3)
    x = torch.randn(5, 6, generator=stream())
    weight, bias = layer.affine.weight.view(3, 4, 6), layer.affine.bias.view(3, 4)
    expected = torch.stack([x @ weight[j].T + bias[j] for j in range(3)]).max(0).values
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("keep", [0.8, 0.5, 1 / 256])
def test_dropout_keeps_the_stated_share_and_the_mean(keep: float) -> None:
    x = torch.ones(1000, 1001)
    y = dropout(x, keep, stream())
    rounded = round(keep * 256) / 256
    assert y.unique().tolist() == pytest.approx([0.0, 1 / rounded])
    share = (y > 0).double().mean().item()
    assert share == pytest.approx(rounded, abs=5 * (rounded * (1 - rounded) / x.numel()) ** 0.5)


def test_dropout_masks_are_independent_across_elements() -> None:
    """All eight bytes of a word are used alike: no position drops more than another, and neighbours are unrelated."""
    kept = (dropout(torch.ones(200_000, 8), 0.5, stream()) > 0).double()
    assert (kept.mean(0) - 0.5).abs().max() < 0.006
    correlation = torch.corrcoef(kept.T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.01


def test_dropout_depends_on_the_generator_only() -> None:
    x = torch.randn(7, 13, generator=stream(1))
    assert torch.equal(dropout(x, 0.5, stream(3)), dropout(x, 0.5, stream(3)))
    assert not torch.equal(dropout(x, 0.5, stream(3)), dropout(x, 0.5, stream(4)))


def test_dropout_is_off_without_a_generator_or_when_all_is_kept() -> None:
    x = torch.randn(4, 4, generator=stream(1))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 1.0, stream()) is x


def test_gradient_passes_through_the_same_mask() -> None:
    x = torch.ones(50, 50, requires_grad=True)
    y = dropout(x, 0.8, stream())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


def test_dropout_refuses_to_keep_nothing() -> None:
    with pytest.raises(ConfigError, match=r"must be in \(0, 1\]"):
        dropout(torch.ones(3), 0.001, stream())


def test_initial_weights_have_the_stated_spread() -> None:
    layer = torch.nn.Linear(400, 500)
    draw_uniform(layer, 0.05, stream())
    assert layer.weight.abs().max() <= 0.05
    assert layer.weight.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.01)
    assert not layer.bias.any()
    draw_he(layer, 2**0.5, stream())
    assert layer.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.01)


def test_rms_norm_gives_rows_of_unit_mean_square() -> None:
    x = torch.randn(6, 50, generator=stream()) * 7
    torch.testing.assert_close(rms_norm(x).square().mean(1), torch.ones(6))
    torch.testing.assert_close(rms_norm(3 * x), rms_norm(x))


@pytest.mark.parametrize("widths", [(9, 7, 5, 1), (9, 6, 1), (9, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_leaky_mlp_agrees_with_differentiating_twice(widths: tuple[int, ...], bias: bool) -> None:
    """Outputs, gradients, and the derivative of any mixture of both, in every parameter and in x, in float64."""
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    layers[-1] = torch.nn.Linear(widths[-2], 1, bias=bias)
    for number, layer in enumerate(layers):
        layer.double()
        draw_he(layer, 1.0, stream(number))
        if layer.bias is not None:
            torch.nn.init.normal_(layer.bias, generator=stream(9))
    x = torch.randn(8, 9, generator=stream(5), dtype=torch.float64, requires_grad=True)
    weighting = torch.randn(2, 8, generator=stream(6), dtype=torch.float64)
    parameters = [p for layer in layers for p in layer.parameters()]

    h = x
    for layer in layers[:-1]:
        h = torch.nn.functional.leaky_relu(layer(h), 0.2)
    plain = layers[-1](h).squeeze(1)
    (slope,) = torch.autograd.grad(plain.sum(), x, create_graph=True)
    mixture = (weighting[0] * plain.tanh() + weighting[1] * slope.square().sum(1).sqrt()).sum()
    expected = torch.autograd.grad(mixture, [x, *parameters], allow_unused=True)

    outputs, norms, gradients = leaky_mlp(x, layers, 0.2)
    torch.testing.assert_close(outputs, plain)
    torch.testing.assert_close(norms, slope.square().sum(1))
    torch.testing.assert_close(gradients, slope)
    assert not gradients.requires_grad
    mixture = (weighting[0] * outputs.tanh() + weighting[1] * norms.sqrt()).sum()
    found = torch.autograd.grad(mixture, [x, *parameters])
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if two is None else two, rtol=1e-9, atol=1e-12)
