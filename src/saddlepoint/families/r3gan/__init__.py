"""R3GAN, the modern baseline, and the presets that train on a CPU.

Read `game.py` first: the paper. `dense.py` is what the default presets change: dense convolutions, and a D whose
penalties cost one pass more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.r3gan.config import R3GANConfig
from saddlepoint.families.r3gan.dense import TINY, Dense
from saddlepoint.families.r3gan.game import Game
from saddlepoint.family import DataSpec, Remediable, Sized, SuitsData, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.options import augmented_where_few
from saddlepoint.family.variants import Varied
from saddlepoint.nn.sizes import SIZES, starts

__all__ = ["R3GAN", "R3GANConfig"]

# As released: all that changes does so in the first 20 million images. Of its augmentation what this library has.
_RELEASED = R3GANConfig(
    augment=("flip", "translation", "affine", "colour", "cutout"), augment_rises=True, gamma_fall=0.1, lr_fall=0.25,
    first_beta2=0.9, burn_in_kimg=20_000.0, ema_half_life_kimg=500.0,
)  # fmt: skip


@register
class R3GAN(Varied, SuitsData[R3GANConfig], Sized, Remediable, Game):
    """Residual generator and discriminator without normalisation."""

    name = "r3gan"
    summary = "R3GAN, a modern baseline (Huang et al. 2024)"
    tags = Tags(modalities=("image",), budget="10m")
    variants = ((Dense, lambda config: config.block == "dense"),)
    Config = R3GANConfig
    paper_presets = ("cifar10", "ffhq-64", "ffhq-256", "imagenet-32")
    sizes = SIZES
    remedies = (
        remedy.PENALTIES, remedy.WEAKER_PENALTIES, remedy.AUGMENTATION, remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR,
    )  # fmt: skip
    PRESETS: ClassVar[Mapping[str, R3GANConfig]] = {
        "tiny-32": TINY,
        "tiny-64": replace(TINY, widths=(64, 64, 48, 24, 12)),
        "cifar10": replace(_RELEASED, batch_size=512, augment_p=0.55, ema_half_life_kimg=5_000.0),
        "ffhq-64": replace(
            _RELEASED, widths=(768, 768, 768, 768, 384), r1_gamma=2.0, r2_gamma=2.0, augment_p=0.3
        ),
        "ffhq-256": replace(
            _RELEASED, widths=(768, 768, 768, 768, 384, 192, 96), r1_gamma=150.0, r2_gamma=150.0, augment_p=0.3
        ),
        "imagenet-32": replace(
            _RELEASED, batch_size=4096, conditional=True, widths=(1536,), r1_gamma=0.5, r2_gamma=0.5, augment_p=0.5,
            burn_in_kimg=200_000.0, ema_half_life_kimg=50_000.0,
        ),
    }  # fmt: skip

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side, doubled."""
        return starts(height, width) is not None

    @classmethod
    def suited(
        cls, config: R3GANConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[R3GANConfig, tuple[str, ...]]:
        """Augment where there are few images: D would learn them by heart, and G with it."""
        return augmented_where_few(config, data, chosen, ("translation", "cutout"))
