"""The deep Boltzmann machine of 0/1 units in two hidden layers. Read `model.py` first: the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from saddlepoint.families.dbm.config import DBMConfig
from saddlepoint.families.dbm.model import Model
from saddlepoint.family import Tags, register

__all__ = ["DBM", "DBMConfig"]


@register
class DBM(Model):
    """Binary visible units and two layers of binary hidden units."""

    name = "dbm"
    summary = "deep Boltzmann machine (Salakhutdinov and Hinton 2009)"
    tags = Tags(modalities=("image",), budget="5m")
    Config = DBMConfig
    PRESETS: ClassVar[Mapping[str, DBMConfig]] = {
        "small": DBMConfig(hidden_widths=(500, 500), mean_field_steps=5, lr=0.1, lr_decay_kimg=300.0, ema_ramp=0.1),
        # Section 4.1: 500 and 1,000 hidden units, 10 mean-field updates, 100 chains with 5 Gibbs steps.
        "paper": DBMConfig(gibbs_steps=5, lr=0.005, lr_decay_kimg=10_000.0, sample_steps=1000),
    }
