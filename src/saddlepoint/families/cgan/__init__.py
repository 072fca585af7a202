"""The conditional generative adversarial network of 2014, and the preset that trains in three minutes.

Read `game.py` first: the paper. `leaky.py` is what the default preset changes: LeakyReLU networks, R1 and R2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.cgan.config import CGANConfig
from saddlepoint.families.cgan.game import Game
from saddlepoint.families.cgan.leaky import MNIST, Leaky
from saddlepoint.family import Remediable, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.variants import Varied

__all__ = ["CGAN", "CGANConfig"]


@register
class CGAN(Varied, Remediable, Game):
    """Fully connected generator and discriminator that both see the label."""

    name = "cgan"
    summary = "conditional GAN (Mirza and Osindero 2014)"
    tags = Tags(modalities=("image", "vector"))
    variants = ((Leaky, lambda config: config.networks == "leaky"),)
    Config = CGANConfig
    paper_presets = ("mnist-2014",)
    remedies = (
        remedy.NON_SATURATING,
        replace(remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.networks == "leaky" else None),
        remedy.WEAKER_PENALTIES, remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR,
    )  # fmt: skip
    PRESETS: ClassVar[Mapping[str, CGANConfig]] = {
        "mnist": MNIST,
        # Section 4.1: lr .1 shrinking by 1.00004 a step down to 1e-6, momentum .5 rising to .7, dropout of one half in
        # both networks, z uniform on the unit cube.
        "mnist-2014": CGANConfig(lr_decay=1 / 1.00004, lr_floor=1e-6),
    }
