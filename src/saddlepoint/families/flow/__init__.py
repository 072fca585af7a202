"""A normalising flow after Real NVP and Glow, and the preset that trains in minutes.

Read `model.py`: the papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.flow.config import FlowConfig
from saddlepoint.families.flow.model import Flow as Model
from saddlepoint.family import Sized, Tags, register

__all__ = ["Flow", "FlowConfig"]


@register
class Flow(Sized, Model):
    """An invertible network from data to noise."""

    name = "flow"
    summary = "normalising flow (Dinh et al. 2017, Real NVP; Kingma and Dhariwal 2018, Glow)"
    tags = Tags(modalities=("image", "vector"), budget="5m")
    Config = FlowConfig
    sizes = tuple(range(8, 257, 4))
    PRESETS: ClassVar[Mapping[str, FlowConfig]] = {
        # Minutes on a CPU: few steps and channels, small batches, an average over a tenth of the training.
        "small": FlowConfig(batch_size=16, ema_ramp=0.1, lr_decay_kimg=20.0, warm_up_kimg=5.0),
        # Kingma and Dhariwal 2018, table 4 and appendix: L = 3, K = 32, 512 channels, the rate rises in ten epochs.
        "glow-cifar10": FlowConfig(
            flow_steps=32, width=512, logit_alpha=None, beta2=0.999, warm_up_kimg=500.0, ema_half_life_kimg=44.0
        ),
    }

    @classmethod
    def can_make(cls, width: int, height: int) -> bool:
        """Even sides."""
        return width % 2 == height % 2 == 0
