"""The restricted Boltzmann machine of 0/1 units. Read `model.py` first: the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.rbm.config import RBMConfig
from saddlepoint.families.rbm.model import Model
from saddlepoint.family import Tags, register

__all__ = ["RBM", "RBMConfig"]


@register
class RBM(Model):
    """Binary visible and hidden units."""

    name = "rbm"
    summary = "restricted Boltzmann machine (Hinton 2002; Tieleman 2008)"
    tags = Tags(modalities=("image",), budget="5m")
    Config = RBMConfig
    PRESETS: ClassVar[Mapping[str, RBMConfig]] = {
        "small": RBMConfig(lr=0.2, lr_decay_kimg=300.0, ema_ramp=0.1),
        # Section 5.1: 500 hidden units, contrastive divergence with 25 steps.
        "paper": RBMConfig(persistent=False, gibbs_steps=25, centred=False, sample_start="mean", sample_steps=1000),
    }
