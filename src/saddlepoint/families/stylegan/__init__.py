"""StyleGAN2 with adaptive augmentation, and the presets that train on a CPU.

Read `game.py` first: the paper. `strided.py` is what the default presets change: a D whose penalties cost one pass
more, so that they come in every step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.stylegan.config import StyleGANConfig
from saddlepoint.families.stylegan.game import Game
from saddlepoint.families.stylegan.skip import Skip
from saddlepoint.families.stylegan.strided import TINY, Strided
from saddlepoint.family import DataSpec, Remediable, Sized, SuitsData, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.variants import Varied
from saddlepoint.nn.augment import kinds_where_few, why_augmented
from saddlepoint.nn.sizes import SIZES, starts

__all__ = ["StyleGAN", "StyleGANConfig"]

ADA_KIMG = 30.0
"""Thousands of samples in which the probability of augmentation can rise by 1 where nothing is said."""

# Of the second paper's pipeline what this library has, at its speed: 500 kimg from 0 to 1.
_ADAPTIVE = StyleGANConfig(augment=("flip", "translation", "affine", "colour"), ada_kimg=500.0, lr=2.5e-3)


@register
class StyleGAN(Varied, SuitsData[StyleGANConfig], Sized, Remediable, Game):
    """Style-based generator and residual discriminator."""

    name = "stylegan"
    summary = "StyleGAN2 with adaptive augmentation (Karras et al. 2020)"
    tags = Tags(modalities=("image",), budget="25m")
    variants = (
        (Strided, lambda config: config.discriminator == "strided"),
        (Skip, lambda config: config.discriminator == "skip"),
    )
    Config = StyleGANConfig
    paper_presets = ("cifar10", "paper-ffhq-256", "paper-ffhq-1024")
    sizes = SIZES
    remedies = (
        remedy.PENALTIES, remedy.WEAKER_PENALTIES,
        replace(remedy.AUGMENTATION, change=lambda c: _augmented(c)),
        remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR,
    )  # fmt: skip
    PRESETS: ClassVar[Mapping[str, StyleGANConfig]] = {
        "tiny-32": TINY,
        "tiny-64": replace(TINY, bounded=False, r1_gamma=0.5, r2_gamma=0.5, lr=5e-4),
        "small-128": replace(
            TINY, width=8, max_width=256, bounded=False, r1_gamma=1.0, r2_gamma=1.0, lr=5e-4
        ),
        # The second paper's settings for CIFAR-10: as many channels at every side, plain D, neither mixing nor paths.
        "cifar10": replace(
            _ADAPTIVE, batch_size=64, mapping_depth=2, width=512, discriminator="plain", deviation_group=32, mixing=0.0,
            r1_gamma=0.01, path_weight=0.0, ema_half_life_kimg=500.0, ema_ramp=0.05,
        ),
        # Configuration F of the first paper; at 256 x 256 with half the channels and gamma 1, as in the second.
        "paper-ffhq-256": replace(
            _ADAPTIVE, batch_size=64, width=64, deviation_group=8, r1_gamma=1.0, ema_half_life_kimg=20.0
        ),
        "paper-ffhq-1024": StyleGANConfig(ema_half_life_kimg=10.0),
    }  # fmt: skip

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side, doubled."""
        return starts(height, width) is not None

    @classmethod
    def suited(
        cls, config: StyleGANConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[StyleGANConfig, tuple[str, ...]]:
        """Augment where there are few images, as much as D's grip on the training rows asks for."""
        found = kinds_where_few(config.augment, data.rows, data.shape[0], chosen, ("translation", "affine"))
        if found is None:
            return config, ()
        kinds, named = found
        suited = replace(config, augment=kinds, ada_kimg=config.ada_kimg if named else ADA_KIMG)
        return suited, (why_augmented(kinds, data.rows, named, suited.ada_kimg is not None),)


def _augmented(config: StyleGANConfig) -> StyleGANConfig | None:
    # From nothing on, as a remedy must: a run goes on from a checkpoint.
    return (
        None if config.augment else replace(config, augment=("translation", "affine"), augment_p=0.0, ada_kimg=ADA_KIMG)
    )
