"""StarGAN of 2018, and the preset that translates small images after minutes.

Read `game.py` first: the paper. `keeping.py` is what the default preset changes: a G that keeps what need not change,
learns the map of colours first, and is told pairs of classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.stargan.config import StarGANConfig
from saddlepoint.families.stargan.game import Discriminator, Game, Generator
from saddlepoint.families.stargan.keeping import TINY, ColoursFirst, KeepingGenerator, Pairs, RecolouringGenerator
from saddlepoint.family import Remediable, Sized, Tags, register
from saddlepoint.family.variants import Varied

__all__ = ["Discriminator", "Generator", "StarGAN", "StarGANConfig"]


@register
class StarGAN(Varied, Sized, Remediable, Game):
    """One generator for all domains, told its target; a patch discriminator with a classifier of domains."""

    name = "stargan"
    summary = "translation between domains by one generator (Choi et al. 2018)"
    tags = Tags(modalities=("image",), input="image", attributes=True, budget="20m")
    variants = ((Pairs, lambda config: config.told == "pairs"), (ColoursFirst, lambda config: config.colours_steps > 0))
    Config = StarGANConfig
    paper_presets = ("paper-celeba-128",)
    sizes = (16, 28, 32, 64, 128, 256)
    PRESETS: ClassVar[Mapping[str, StarGANConfig]] = {
        "tiny-32": TINY,
        # 200,000 steps of D on batches of 16; the learning rate falls in the second half.
        "paper-celeba-128": StarGANConfig(flip=True, lr_constant_kimg=1600.0),
    }
    GENERATORS: ClassVar[Mapping[str, type[Generator]]] = {
        **Game.GENERATORS,
        "input": KeepingGenerator,
        "colours": RecolouringGenerator,
    }

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4."""
        return width % 4 == height % 4 == 0 and min(width, height) >= 8
