"""Objectives and penalties against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import clip_weights, consistency, gradient_penalty, r1, r2, squared_gradient_norm
from saddlepoint.objectives.theory import game_logs, value

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


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if objective.calibrated])
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


GRID = torch.linspace(-12, 12, 4801, dtype=torch.float64)
P_DATA, P_G = (torch.softmax(-((GRID - m) ** 2) / (2 * s**2), 0) for m, s in ((0.0, 1.0), (1.0, 1.5)))


@pytest.mark.parametrize(
    ("name", "best", "least"),
    [
        # Proposition 1 and theorem 1 of the 2014 paper: D* = p / (p + q), and minus the value is log 4 - 2 JSD.
        ("minimax", lambda p, q: torch.log(p / q), None),
        # Mao et al. 2017 with targets 0 and 1: D* = p / (p + q), and the loss is sum pq / (p + q) / 2 at it.
        ("least-squares", lambda p, q: p / (p + q), (P_DATA * P_G / (P_DATA + P_G)).sum() / 2),
        # The sign of p - q, and 2 - 2 TV.
        ("hinge", lambda p, q: torch.sign(p - q), 2 - (P_DATA - P_G).abs().sum()),
    ],
)
def test_the_best_discriminator_and_its_loss(name: str, best: object, least: Tensor | None) -> None:
    """At every point of a grid the stated D has the least expected loss, and the sum is the stated divergence."""
    objective = get_objective(name)

    def loss(d: Tensor) -> Tensor:
        zero = torch.zeros_like(d)
        of_real = objective.discriminator(d, zero) - objective.discriminator(zero, zero)
        of_fake = objective.discriminator(zero, d) - objective.discriminator(zero, zero)
        half = objective.discriminator(zero, zero)
        return P_DATA * (of_real + half / 2) + P_G * (of_fake + half / 2)

    d = best(P_DATA, P_G)  # type: ignore[operator]
    if name == "least-squares":
        # At D = 0 a real row costs 1/2 and a fake one nothing, so the halves differ; their sum over the grid does not.
        assert loss(d).sum().item() == pytest.approx(float(least), rel=1e-9)
    if name == "hinge":
        assert loss(d).sum().item() == pytest.approx(float(least), rel=1e-9)
    if name == "minimax":
        middle = (P_DATA + P_G) / 2
        jsd = sum((p * torch.log(p / middle)).sum() for p in (P_DATA, P_G)) / 2
        assert loss(d).sum().item() == pytest.approx(math.log(4) - 2 * float(jsd), rel=1e-9)
    for step in (-0.05, 0.05):
        assert (loss(d + step) >= loss(d) - 1e-15).all()


@given(LOGITS, LOGITS, st.floats(-20, 20))
def test_the_wasserstein_critic_sees_differences_only_and_is_linear(real: Tensor, fake: Tensor, shift: float) -> None:
    objective = get_objective("wasserstein")
    loss = objective.discriminator(real, fake)
    torch.testing.assert_close(objective.discriminator(real + shift, fake + shift), loss, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(objective.discriminator(2 * real, 2 * fake), 2 * loss)
    torch.testing.assert_close(objective.generator(real, fake), -fake)


@given(LOGITS, LOGITS)
def test_every_discriminator_prefers_higher_real_and_lower_fake_logits_where_it_is_wrong(
    real: Tensor, fake: Tensor
) -> None:
    """Where reals are below and fakes above their targets, no loss rises when they move the right way."""
    real, fake = -real.abs(), 1 + fake.abs()
    for objective in OBJECTIVES.values():
        before = objective.discriminator(real, fake)
        assert (objective.discriminator(real + 0.1, fake) <= before + 1e-5).all()
        assert (objective.discriminator(real, fake - 0.1) <= before + 1e-5).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_logged_of_a_game(name: str) -> None:
    objective = OBJECTIVES[name]
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([0.0, 0.0])
    logs = game_logs(real, fake, objective)
    if name in ("least-squares", "hinge", "wasserstein"):
        assert set(logs) == {"real logit", "fake logit"}
        return
    middle = 1.5 if objective.paired else 0.0
    assert logs["V"].item() == pytest.approx(value(real - middle, fake - middle).item(), rel=1e-6)
    torch.testing.assert_close(logs["D(x)"], torch.sigmoid(real - middle))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_generator_loss_along_known_gradients_is_the_one_through_d(name: str) -> None:
    g = torch.Generator().manual_seed(1)
    weight, shift = torch.randn(2, 3, generator=g, dtype=torch.float64)
    real = torch.randn(5, 3, generator=g, dtype=torch.float64)
    z = torch.randn(5, 3, generator=g, dtype=torch.float64)
    matrix = torch.randn(3, 3, generator=g, dtype=torch.float64, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return torch.tanh(x * shift) @ weight

    def through_d() -> Tensor:
        return OBJECTIVES[name].generator(critic(real), critic(z @ matrix))

    def along() -> Tensor:
        fake = z @ matrix
        seen = fake.detach().requires_grad_()
        logits = critic(seen)
        (gradients,) = torch.autograd.grad(logits.sum(), seen)
        return generator_loss_along(OBJECTIVES[name], critic(real), logits, gradients, fake)

    torch.testing.assert_close(through_d(), along())
    one, two = (torch.autograd.grad(loss().mean(), matrix)[0] for loss in (through_d, along))
    torch.testing.assert_close(one, two)


def quadratic(weight: Tensor) -> object:
    return lambda x: (x.flatten(1).square() @ weight) / 2


def test_penalties_have_closed_forms_on_a_quadratic_critic() -> None:
    """D(x) = sum w x^2 / 2 has the gradient w x: R1 is ||w x||^2 / 2, and d R1 / d w is w x^2."""
    g = torch.Generator().manual_seed(2)
    weight = torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True)
    x, y = torch.randn(2, 4, 1, 2, 3, generator=g, dtype=torch.float64)
    critic = quadratic(weight)
    for penalty in (r1, r2):
        found = penalty(critic, x)  # type: ignore[arg-type]
        torch.testing.assert_close(found, (weight * x.flatten(1)).square().sum(1) / 2)
        (slope,) = torch.autograd.grad(found.sum(), weight)
        torch.testing.assert_close(slope, (weight * x.flatten(1).square()).sum(0))
    share = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(3)).double()
    between = (y + share * (x - y)).flatten(1)
    expected = ((weight * between).norm(dim=1) - 1).square()
    found = gradient_penalty(critic, x, y, torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), weight)[0],
        torch.autograd.grad(expected.sum(), weight)[0],
        rtol=1e-5,
        atol=1e-8,
    )


def test_the_gradient_penalty_of_a_linear_critic_of_norm_one_is_nothing() -> None:
    x, y = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(4))
    weight = torch.nn.functional.normalize(torch.ones(5), dim=0)
    assert gradient_penalty(lambda v: v @ weight, x, y, torch.Generator().manual_seed(5)).abs().max() < 1e-10


def test_consistency_is_the_squared_difference() -> None:
    x, y = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(consistency(lambda v: v.sum(1), x, y), (x.sum(1) - y.sum(1)).square())
    assert torch.equal(consistency(lambda v: v.sum(1), x, x), torch.zeros(8))


def test_clipping_puts_weights_into_the_box() -> None:
    weight = torch.nn.Parameter(torch.tensor([-3.0, 0.005, 0.02]))
    clip_weights([weight], 0.01)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.01, 0.005, 0.01]))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_penalty_gradients_in_lower_precision_follow_those_in_double(kind: torch.dtype) -> None:
    """A convolutional critic computed in fp32, and under bf16 autocast, against float64; the penalty itself is fp32."""
    g = torch.Generator().manual_seed(7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(2, 8, 3, 2, 1), torch.nn.LeakyReLU(0.2), torch.nn.Flatten(), torch.nn.Linear(128, 1)
        )
    x = torch.randn(16, 2, 8, 8, generator=g)
    found = []
    for precise in (True, False):
        network.to(torch.float64 if precise else torch.float32)
        parameters = list(network.parameters())
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise and kind == torch.bfloat16):
            penalty = r1(lambda v: network(v).squeeze(1), x.double() if precise else x)
        assert penalty.dtype == (torch.float64 if precise else torch.float32)
        gradients = torch.autograd.grad(penalty.mean(), parameters, allow_unused=True)
        found.append(torch.cat([p.flatten().double() for p in gradients if p is not None]))
    error = (found[0] - found[1]).norm() / found[0].norm()
    # Eight bits of mantissa leave about one per cent.
    assert error < (1e-5 if kind == torch.float32 else 2e-2)
