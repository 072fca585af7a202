"""The deep convolutional GAN of 2015, and the presets that train in minutes.

Read `game.py` first: the paper. `unnormalised.py` is what the default presets change: a D without normalisation, whose
penalties cost one pass more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.families.dcgan.game import Game, can_make, resolutions
from saddlepoint.families.dcgan.unnormalised import SMALL, SMALL_CONDITIONAL, Unnormalised
from saddlepoint.family import DataSpec, Remediable, Sized, SuitsData, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.options import augmented_where_few
from saddlepoint.family.variants import Varied

__all__ = ["DCGAN", "DCGANConfig", "resolutions"]


@register
class DCGAN(Varied, SuitsData[DCGANConfig], Sized, Remediable, Game):
    """Convolutional generator and discriminator."""

    name = "dcgan"
    summary = "deep convolutional GAN (Radford et al. 2015)"
    tags = Tags(modalities=("image",), budget="10m")
    variants = ((Unnormalised, lambda config: config.discriminator_norm == "none"),)
    Config = DCGANConfig
    paper_presets = ("paper",)
    sizes = (16, 28, 32, 64, 128)
    remedies = (
        remedy.NON_SATURATING,
        replace(
            remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.discriminator_norm != "batch" else None
        ),
        remedy.WEAKER_PENALTIES, remedy.AUGMENTATION, remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
    )  # fmt: skip
    PRESETS: ClassVar[Mapping[str, DCGANConfig]] = {
        "small": SMALL,
        "small-conditional": SMALL_CONDITIONAL,
        # Sections 3 and 4: batch normalisation in both networks, weights from N(0, 0.02), Adam at 2e-4 with beta1 .5,
        # batches of 128; the released code: kernels of 5, 128 channels, L2 of 1e-5, z uniform.
        "paper": DCGANConfig(
            batch_size=128, width=128, kernel=5, discriminator_norm="batch", init="paper", weight_decay=1e-5
        ),
    }  # fmt: skip

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side that is doubled, up to 128 pixels."""
        return can_make(width, height)

    @classmethod
    def suited(
        cls, config: DCGANConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[DCGANConfig, tuple[str, ...]]:
        """Augment where there are few images: D would learn them by heart, and G with it."""
        return augmented_where_few(config, data, chosen, ("translation", "cutout"))
