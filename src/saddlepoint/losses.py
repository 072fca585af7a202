"""Objectives of the game: logits in, one loss per sample out, each descended by its player.

A loss is written with softplus on logits in fp32, never with a sigmoid followed by a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F

from saddlepoint._errors import ConfigError, suggest
from saddlepoint._types import PerSample, at_least_float32


@dataclass(frozen=True)
class Objective:
    """The two losses of a game.

    Attributes:
        name: word used in configurations.
        discriminator: (real_logits, fake_logits) -> loss of D, per sample.
        generator: (real_logits, fake_logits) -> loss of G, per sample; only a paired objective reads the first.
        paired: whether the generator's loss depends on real logits.
    """

    name: str
    discriminator: Callable[[PerSample, PerSample], PerSample]
    generator: Callable[[PerSample, PerSample], PerSample]
    paired: bool = False


def cross_entropy_discriminator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -log D(x) - log(1 - D(G(z))); its mean is -V(D, G). Source: Goodfellow et al. 2014, equation 1."""
    return F.softplus(-at_least_float32(real_logits)) + F.softplus(at_least_float32(fake_logits))


def minimax_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return log(1 - D(G(z))), which saturates when D is sure. Source: Goodfellow et al. 2014, equation 1."""
    return -F.softplus(at_least_float32(fake_logits))


def non_saturating_generator(real_logits: PerSample, fake_logits: PerSample) -> PerSample:
    """Return -log D(G(z)): the same fixed point, strong gradients early. Source: Goodfellow et al. 2014, section 3."""
    return F.softplus(-at_least_float32(fake_logits))


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
