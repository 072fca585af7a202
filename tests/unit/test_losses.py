"""Objectives and penalties against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saddlepoint._errors import ConfigError
from saddlepoint.losses import OBJECTIVES, get_objective
from saddlepoint.penalties import squared_gradient_norm
from saddlepoint.theory import value

LOGITS = st.lists(st.floats(-50, 50), min_size=4, max_size=4).map(lambda v: torch.tensor(v, dtype=torch.float32))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x.double()))


@given(LOGITS, LOGITS)
def test_cross_entropy_is_minus_the_value(real: Tensor, fake: Tensor) -> None:
    loss = get_objective("minimax").discriminator(real, fake).mean()
    assert loss.item() == pytest.approx(-value(real, fake).item(), rel=1e-5, abs=1e-6)


def test_generator_losses_are_the_papers() -> None:
    real, fake = torch.zeros(3), torch.tensor([-2.0, 0.5, 3.0])
    d = sigmoid(fake)
    expected = {"minimax": torch.log(1 - d), "non-saturating": -torch.log(d)}
    for name, loss in expected.items():
        torch.testing.assert_close(get_objective(name).generator(real, fake).double(), loss, rtol=1e-6, atol=1e-6)


def test_saturation() -> None:
    """At D(G(z)) = s the gradients in the logit are -s (minimax) and -(1 - s) (non-saturating)."""
    for name, slope in (("minimax", lambda s: -s), ("non-saturating", lambda s: s - 1)):
        fake = torch.tensor([-8.0, 0.0, 8.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(get_objective(name).generator(fake, fake).sum(), fake)
        torch.testing.assert_close(gradient.double(), slope(sigmoid(fake.detach())), rtol=1e-5, atol=1e-7)


@given(LOGITS, LOGITS, st.floats(-20, 20))
def test_relativistic_losses_see_differences_only(real: Tensor, fake: Tensor, shift: float) -> None:
    objective = get_objective("relativistic")
    torch.testing.assert_close(
        objective.discriminator(real + shift, fake + shift), objective.discriminator(real, fake), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(objective.generator(real, fake), objective.discriminator(fake, real))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_per_sample_and_finite_for_extreme_logits(name: str) -> None:
    real, fake = torch.tensor([1e4, -1e4, 0.0]), torch.tensor([-1e4, 1e4, 0.0])
    for loss in (OBJECTIVES[name].discriminator(real, fake), OBJECTIVES[name].generator(real, fake)):
        assert loss.shape == (3,)
        assert loss.isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_both_players_are_indifferent_between_equal_distributions(name: str) -> None:
    """With equal real and fake logits at 0 the losses take the value of the saddle point."""
    zero = torch.zeros(2)
    expected = {"minimax": (2, -1), "non-saturating": (2, 1), "relativistic": (1, 1)}[name]
    losses = (OBJECTIVES[name].discriminator(zero, zero), OBJECTIVES[name].generator(zero, zero))
    for loss, factor in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss, torch.full((2,), factor * math.log(2)))


def test_unknown_objective() -> None:
    with pytest.raises(ConfigError, match="did you mean 'relativistic'"):
        get_objective("relativistc")


def test_squared_gradient_norm_of_a_quadratic() -> None:
    """D(x) = x'Ax/2 has gradient (A + A')x/2, and the penalty's own gradient in A is exact too."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    logits = ((x @ a) * x).sum(1) / 2
    penalty = squared_gradient_norm(logits, x)
    gradient = x @ (a + a.T) / 2
    torch.testing.assert_close(penalty.double(), gradient.square().sum(1), rtol=1e-5, atol=1e-6)
    (found,) = torch.autograd.grad(penalty.sum(), a, retain_graph=True)
    (expected,) = torch.autograd.grad(gradient.square().sum(), a)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
