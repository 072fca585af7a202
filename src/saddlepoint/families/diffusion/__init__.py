"""Rectified flow and DDPM, and the preset that trains in minutes.

Read `model.py`: the papers. The network is `nn/unet.py`. `adversarial.py` trains it further by a game.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.diffusion.adversarial import GAME, Adversarial
from saddlepoint.families.diffusion.config import DiffusionConfig
from saddlepoint.families.diffusion.model import Diffusion as Model
from saddlepoint.family import Sized, Tags, register
from saddlepoint.family.variants import Varied

__all__ = ["Diffusion", "DiffusionConfig"]


@register
class Diffusion(Varied, Sized, Model):
    """A network that turns noise into samples step by step."""

    name = "diffusion"
    summary = "rectified flow (Liu et al. 2023), and DDPM (Ho et al. 2020)"
    tags = Tags(modalities=("image", "vector"), budget="5m")
    Config = DiffusionConfig
    variants = ((Adversarial, lambda config: config.game),)
    sizes = tuple(range(8, 257, 4))
    PRESETS: ClassVar[Mapping[str, DiffusionConfig]] = {
        # Minutes on a CPU: places of 2x2 pixels, few channels, small batches, an average over a tenth of the training.
        "small": DiffusionConfig(batch_size=16, ema_ramp=0.1, optimizer="muon", lr_decay_kimg=20.0),
        "game": GAME,
        # Ho et al. 2020, section 4 and appendix B: 35.7 million weights; the rate rises in 5,000 steps.
        "ddpm-cifar10": DiffusionConfig(
            process="ddpm", evaluations=1000, batch_size=128, widths=(128, 256, 256, 256), blocks=2,
            patch=1, block="published", attention=1, keep_probability=0.9, condition_width=512, lr=2e-4, beta2=0.999,
            warm_up_kimg=640.0, ema_half_life_kimg=887.0,
        ),
    }  # fmt: skip

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4."""
        return width % 4 == height % 4 == 0
