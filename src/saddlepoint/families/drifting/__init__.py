"""Drifting: a generator of one step without a discriminator, and the preset that trains in minutes.

Read `model.py`: the paper. The network is `nn/unet.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.drifting.config import DriftingConfig
from saddlepoint.families.drifting.model import Drifting as Model
from saddlepoint.family import Sized, Tags, register

__all__ = ["Drifting", "DriftingConfig"]


@register
class Drifting(Sized, Model):
    """A generator that follows the drift of its own samples."""

    name = "drifting"
    summary = "drifting model, one step and no discriminator (Deng et al. 2026)"
    tags = Tags(modalities=("image", "vector"), budget="5m")
    Config = DriftingConfig
    sizes = tuple(range(8, 257, 4))
    PRESETS: ClassVar[Mapping[str, DriftingConfig]] = {
        # Minutes on a CPU: the network of `diffusion small`, an average over a tenth of the training.
        "small": DriftingConfig(ema_ramp=0.1, optimizer="muon", lr_decay_kimg=20.0),
    }

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Sides are multiples of 4."""
        return width % 4 == height % 4 == 0
