"""What the training doctor may try, for every family whose options have these names.

A remedy changes options alone: networks, batch size and kind of optimizer stay, because training goes on from a
checkpoint. A family lists those that fit it, in the order in which they are tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from saddlepoint.family.contract import Remedy

COLLAPSE = ("partial collapse", "full collapse")


def _penalised(config: Any) -> Any:
    if config.r1_gamma and config.r2_gamma:
        return None
    return replace(config, r1_gamma=config.r1_gamma or 1.0, r2_gamma=config.r2_gamma or 1.0)


def _less_penalised(config: Any) -> Any:
    if config.r1_gamma is None and config.r2_gamma is None:
        return None
    return replace(
        config,
        r1_gamma=None if config.r1_gamma is None else config.r1_gamma / 10,
        r2_gamma=None if config.r2_gamma is None else config.r2_gamma / 10,
    )


NON_SATURATING = Remedy(
    "non-saturating objective",
    ("discriminator too strong", *COLLAPSE),
    lambda c: replace(c, objective="non-saturating") if c.objective == "minimax" else None,
    "a G that minimises log(1 - D(G(z))) has no gradient where D is sure",
)
PENALTIES = Remedy(
    "R1 and R2",
    ("discriminator too strong", *COLLAPSE),
    _penalised,
    "a D with bounded slope on real and generated samples gives G a gradient everywhere",
)
WEAKER_PENALTIES = Remedy(
    "weaker R1 and R2",
    ("discriminator too weak",),
    _less_penalised,
    "a penalty that is large for the data's scale keeps D from learning",
)
FASTER_DISCRIMINATOR = Remedy(
    "faster discriminator",
    ("discriminator too weak",),
    lambda c: replace(c, discriminator_lr=c.discriminator_lr * 4),
    "D has to learn faster than G moves away from what it knows",
)
SLOWER_PLAYERS = Remedy(
    "slower players",
    ("diverged", "discriminator too weak", "discriminator too strong", *COLLAPSE),
    lambda c: replace(c, lr=c.lr / 3),
    "steps that are too large overshoot the equilibrium",
)
SLOWER_DISCRIMINATOR = Remedy(
    "slower discriminator",
    ("discriminator too strong", "diverged", *COLLAPSE),
    lambda c: replace(c, discriminator_lr=c.discriminator_lr / 4),
    "G gets time to answer before D is sure",
)
INSTANCE_NOISE = Remedy(
    "instance noise",
    ("discriminator too strong", *COLLAPSE),
    lambda c: replace(c, instance_noise=0.2) if c.instance_noise == 0 else None,
    "noise on all that D sees makes data and samples overlap, so that D cannot be sure",
)
AUGMENTATION = Remedy(
    "augmentation",
    ("discriminator too strong", *COLLAPSE),
    lambda c: replace(c, augment=("translation", "cutout")) if not c.augment else None,
    "a D that sees every image differently each time cannot learn them by heart",
)
