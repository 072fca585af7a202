"""Objectives of the game: logits in, one loss per sample out, each descended by its player.

A loss is written with softplus on logits in fp32, never with a sigmoid followed by a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import PerSample, Samples, at_least_float32


@dataclass(frozen=True)
class Objective:
    """The two losses of a game.

    Attributes:
        name: word used in configurations.
        discriminator: (real_logits, fake_logits) -> loss of D, per sample.
        generator: (real_logits, fake_logits) -> loss of G, per sample; only a paired objective reads the first.
        paired: whether the generator's loss depends on real logits.
        calibrated: whether the best D's logit is log p_data - log p_g, so that sigmoid(logit) is a probability and V
            means something; a paired objective leaves an offset open.
    """

    name: str
    discriminator: Callable[[PerSample, PerSample], PerSample]
    generator: Callable[[PerSample, PerSample], PerSample]
    paired: bool = False
    calibrated: bool = True


def cross_entropy_discriminator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -log D(x) - log(1 - D(G(z))); its mean is -V(D, G). Source: Goodfellow et al. 2014, equation 1."""
    return F.softplus(-at_least_float32(real_logits)) + F.softplus(at_least_float32(fake_logits))


def minimax_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return log(1 - D(G(z))), which saturates when D is sure. Source: Goodfellow et al. 2014, equation 1."""
    return -F.softplus(at_least_float32(fake_logits))


def non_saturating_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -log D(G(z)): the same fixed point, strong gradients early. Source: Goodfellow et al. 2014, section 3."""
    return F.softplus(-at_least_float32(fake_logits))


def least_squares_discriminator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return (D(x) - 1)^2 / 2 + D(G(z))^2 / 2; the best D is p_data / (p_data + p_g).

    Source: Mao et al. 2017 (LSGAN), equation 9: targets 0 and 1, which is what its authors train with. Their
    Pearson divergence (equation 8) belongs to the targets -1, 1 and 0.
    """
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    return (real - 1).square() / 2 + fake.square() / 2


def least_squares_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return (D(G(z)) - 1)^2 / 2. Source: Mao et al. 2017, equation 9."""
    return (at_least_float32(fake_logits) - 1).square() / 2


def hinge_discriminator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return max(0, 1 - D(x)) + max(0, 1 + D(G(z))); its least mean is 2 - 2 TV(p_data, p_g).

    TV is the total variation distance. Source: Lim and Ye 2017 (Geometric GAN); Miyato et al. 2018, equation 16.
    """
    return F.relu(1 - at_least_float32(real_logits)) + F.relu(1 + at_least_float32(fake_logits))


def linear_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -D(G(z)). Source: Arjovsky et al. 2017 (Wasserstein GAN); Miyato et al. 2018, equation 17 (hinge)."""
    return -at_least_float32(fake_logits)


def wasserstein_critic(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -(D(x) - D(G(z))); minus its mean is the Wasserstein-1 distance at the best D of Lipschitz constant 1.

    The constraint is not part of the loss: see `penalties.gradient_penalty` and `penalties.clip_weights`.
    Source: Arjovsky et al. 2017, equation 2.
    """
    return at_least_float32(fake_logits) - at_least_float32(real_logits)


def relativistic_discriminator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return softplus(-(D(x) - D(G(z)))), pairing the i-th real with the i-th fake.

    Source: Jolicoeur-Martineau 2019 (relativistic paired GAN); Huang et al. 2024 (R3GAN), equation 2.
    """
    return F.softplus(at_least_float32(fake_logits) - at_least_float32(real_logits))


def relativistic_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return softplus(-(D(G(z)) - D(x))). Source: as `relativistic_discriminator`."""
    return F.softplus(at_least_float32(real_logits) - at_least_float32(fake_logits))


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("minimax", cross_entropy_discriminator, minimax_generator),
        Objective("non-saturating", cross_entropy_discriminator, non_saturating_generator),
        Objective("least-squares", least_squares_discriminator, least_squares_generator, calibrated=False),
        Objective("hinge", hinge_discriminator, linear_generator, calibrated=False),
        Objective("wasserstein", wasserstein_critic, linear_generator, calibrated=False),
        Objective("relativistic", relativistic_discriminator, relativistic_generator, paired=True),
    )
}


def get_objective(name: str) -> Objective:
    """Return the objective called ``name``.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"unknown objective '{name}'; {suggest(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def generator_loss_along(
    objective: Objective, real_logits: PerSample, fake_logits: PerSample, gradients: Samples, fake: Samples
) -> PerSample:
    """Return G's loss where D's input gradients are known already: no second pass through D.

    Its value is the objective's; only its gradient in G is meant to be taken.

    Args:
        objective: the game.
        real_logits: (batch,) D's logits on data.
        fake_logits: (batch,) D's logits on ``fake``.
        gradients: (batch, *sample) gradients of the latter in ``fake``.
        fake: (batch, *sample) what D saw, differentiable in G.
    """
    # The chain rule by hand: dL/dG = sum(dfake/dG * dL/dfake), with dL/dfake = dL/dlogit * dlogit/dfake held constant.
    fake_logits = fake_logits.detach().requires_grad_()  # a leaf: the way back ends at the logits
    value = objective.generator(real_logits.detach(), fake_logits)
    (slope,) = torch.autograd.grad(value.sum(), fake_logits)  # (batch,): dL/dlogit of each sample
    found: PerSample = _Along.apply(fake, value.detach(), slope, gradients)
    return found


class _Along(torch.autograd.Function):
    """A loss (batch,) whose gradient in ``fake`` is given: that of each sample times its slope."""

    @staticmethod
    def forward(ctx: Any, fake: Tensor, value: Tensor, slope: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(slope, gradients)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        slope, gradients = ctx.saved_tensors
        each = (along[0] * slope).view(-1, *[1] * (gradients.ndim - 1))
        return each * gradients, None, None, None
