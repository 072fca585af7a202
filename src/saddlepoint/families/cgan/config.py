"""Every number that a run of the conditional GAN depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saddlepoint.core.config import check, option
from saddlepoint.family import FamilyConfig, Progress
from saddlepoint.family.options import falling_rate
from saddlepoint.family.rules import check_each
from saddlepoint.objectives.losses import OBJECTIVES
from saddlepoint.objectives.schedules import linear_rise


@dataclass(frozen=True)
class CGANConfig(FamilyConfig):
    """Networks, game and optimizer of the fully connected conditional GAN."""

    batch_size: int = option(100, "samples per minibatch")  # section 4.1
    latent_size: int = option(100, "dimensions of z")
    latent: str = option("uniform", "distribution of z: uniform on (0, 1), or normal", choices=("uniform", "normal"))
    networks: str = option(
        "maxout",
        "maxout: as published, each input has a layer of its own; leaky: LeakyReLU 0.2 layers, normalised in G",
        choices=("maxout", "leaky"),
    )
    generator_widths: tuple[int, ...] = option(
        (200, 1000, 1200), "maxout: hidden units of G for z, for the label, for both; leaky: layer by layer"
    )
    discriminator_widths: tuple[int, ...] = option(
        (240, 50, 240), "maxout: hidden units of D for x, for the label, for both; leaky: layer by layer"
    )
    pieces: tuple[int, ...] = option((5, 5, 4), "affine maps per maxout unit of D for x, for the label, for both")
    keep_probability: float = option(
        0.5, "share of the hidden units of maxout networks that dropout keeps; 1: no dropout"
    )
    sample_dropout: bool = option(
        True, "maxout networks: G keeps its dropout when samples are drawn; it learned with masks as part of its noise"
    )
    objective: str = option("non-saturating", "the game", choices=tuple(OBJECTIVES))
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real samples (leaky networks); none: off")
    r2_gamma: float | None = option(
        None, "weight of gamma/2 ||grad D||^2 on generated samples (leaky networks); none: off"
    )
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    simultaneous: bool = option(False, "update both players at once, from the same minibatch, noise and masks")
    optimizer: str = option("sgd", "optimizer of both players", choices=("sgd", "adam"))
    lr: float = option(0.1, "learning rate at the start")  # section 4.1
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay: float = option(1.0, "factor by which the learning rate shrinks per step; 1: constant")
    lr_decay_kimg: float | None = option(
        None, "learning rate also falls as 1 / sqrt(1 + kimg / this); none: it does not"
    )
    lr_floor: float = option(0.0, "learning rate below which it never falls")
    momentum: float = option(0.5, "sgd's momentum in the first epoch")  # section 4.1: .5 to .7
    momentum_end: float = option(0.7, "sgd's momentum from the last epoch of its rise on")
    momentum_epochs: int = option(250, "epoch at which the linear rise of the momentum ends")
    beta1: float = option(0.0, "adam's first decay rate")
    beta2: float = option(0.99, "adam's second decay rate")

    renamed: ClassVar[Mapping[str, str]] = {"keep": "keep_probability"}
    """Options of earlier versions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size")
        check(self.momentum_epochs >= 2, "momentum_epochs", self.momentum_epochs, "at least 2")
        published = self.networks == "maxout"
        for name in ("generator_widths", "discriminator_widths", "pieces"):
            numbers = getattr(self, name)
            check(bool(numbers) and min(numbers) >= 1, name, numbers, "at least one number, each at least 1")
            check(not published or len(numbers) == 3, name, numbers, "three numbers for maxout networks")
        check_each(self, "in (0, 1]", "keep_probability", "lr_decay")
        check_each(self, "positive", "lr", "discriminator_lr")
        check_each(self, "in [0, 1)", "momentum", "momentum_end", "beta1", "beta2")
        check_each(self, "positive, or none", "r1_gamma", "r2_gamma", "gamma_decay_kimg", "lr_decay_kimg")
        # The closed form of input gradients is that of LeakyReLU.
        penalised = self.r1_gamma is not None or self.r2_gamma is not None
        check(not penalised or not published, "networks", self.networks, "leaky for R1 or R2")

    def learning_rate(self, at: Progress) -> float:
        """Return the rate of a step; see `falling_rate`."""
        return falling_rate(self, at)

    def momentum_at(self, at: Progress) -> float:
        """Return the momentum, constant within an epoch, rising linearly from epoch 1 to ``momentum_epochs``."""
        return linear_rise(at.epoch, self.momentum, self.momentum_end, self.momentum_epochs)
