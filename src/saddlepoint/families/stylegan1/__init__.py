"""The first StyleGAN: a learned constant, styles as mean and deviation of every map, networks that grow.

Read `game.py` first: the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.stylegan1.config import StyleGAN1Config
from saddlepoint.families.stylegan1.game import Game, at_side, doubled
from saddlepoint.family import Remediable, Sized, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.nn.sizes import SIZES, starts

__all__ = ["StyleGAN1", "StyleGAN1Config", "at_side", "doubled"]


@register
class StyleGAN1(Sized, Remediable, Game):
    """Style-based generator of 2019 and the discriminator of ProGAN, both growing."""

    name = "stylegan1"
    summary = "StyleGAN (Karras et al. 2019), growing side by side"
    tags = Tags(modalities=("image",), budget="25m")
    Config = StyleGAN1Config
    paper_presets = ("paper-ffhq-1024",)
    sizes = SIZES
    remedies = (remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR)
    PRESETS: ClassVar[Mapping[str, StyleGAN1Config]] = {
        # Minutes on a CPU: few channels, from the smallest side, weights as they act.
        "tiny-32": StyleGAN1Config(
            latent_size=64, w_size=128, mapping_depth=4, width=16, max_width=128, first_level=0, fade_kimg=8.0,
            stable_kimg=8.0, equalised=False, ema_ramp=0.1,
        ),
        # The paper's, with one size of minibatch for all sides: that of 64 pixels and more.
        "paper-ffhq-1024": StyleGAN1Config(ema_half_life_kimg=10.0),
    }  # fmt: skip

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """A start of 4 to 7 pixels on its short side that is doubled."""
        return starts(height, width) is not None
