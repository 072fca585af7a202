"""StarGAN v2 of 2020, and the preset that trains in minutes.

Read `game.py` first: the paper. `strided.py` is what the default preset changes: a D whose penalties cost one pass
more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.stargan2.config import StarGAN2Config
from saddlepoint.families.stargan2.game import Encoder, Game, MappingNetwork
from saddlepoint.families.stargan2.strided import TINY, Strided
from saddlepoint.family import Remediable, Sized, Tags, register
from saddlepoint.family.variants import Varied

__all__ = ["Encoder", "MappingNetwork", "StarGAN2", "StarGAN2Config"]


@register
class StarGAN2(Varied, Sized, Remediable, Game):
    """One generator whose styles come from noise or from reference images; a discriminator with a head a domain."""

    name = "stargan2"
    summary = "translation between domains in many styles (Choi et al. 2020)"
    tags = Tags(modalities=("image",), input="image", budget="20m")
    variants = ((Strided, lambda config: config.discriminator == "strided"),)
    Config = StarGAN2Config
    paper_presets = ("paper-celeba-hq-256", "paper-afhq-256")
    sizes = (16, 28, 32, 64, 128, 256)
    PRESETS: ClassVar[Mapping[str, StarGAN2Config]] = {
        "tiny-32": TINY,
        # 100,000 steps on batches of 8; the average's half-life is that of .999 a step.
        "paper-celeba-hq-256": StarGAN2Config(flip=True, ema_half_life_kimg=5.54),
        "paper-afhq-256": StarGAN2Config(flip=True, diversity=2.0, ema_half_life_kimg=5.54),
    }

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4, for the halvings of the default preset."""
        return width % 4 == height % 4 == 0 and min(width, height) >= 8
