"""TimeGAN for windows of time series, as released, as published, and without an autoencoder.

Read `game.py` first: the paper, which plays in a space that an embedder learns. `fixed.py` is what the default preset
changes: one stage, on levels and increments along fixed principal axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.timegan.config import TimeGANConfig
from saddlepoint.families.timegan.fixed import INCREMENTS, Fixed
from saddlepoint.families.timegan.game import Game
from saddlepoint.family import Remediable, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.variants import Varied

__all__ = ["TimeGAN", "TimeGANConfig"]

# What the released code does: GRUs with the reset gate before the product, one Adam state for each loss.
_RELEASED = TimeGANConfig()


@register
class TimeGAN(Varied, Remediable, Game):
    """Embedder, recovery, generator, supervisor and D; or generator and D alone, in fixed coordinates."""

    name = "timegan"
    summary = "time series of any CSV (Yoon et al. 2019)"
    tags = Tags(modalities=("sequence",), input="sequence", budget="10m")
    variants = ((Fixed, lambda config: config.space == "fixed"),)
    Config = TimeGANConfig
    paper_presets = ("code-2019", "paper-2019")
    remedies = (
        replace(remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.space == "fixed" else None),
        remedy.WEAKER_PENALTIES, remedy.FASTER_DISCRIMINATOR, remedy.SLOWER_PLAYERS, remedy.SLOWER_DISCRIMINATOR,
    )  # fmt: skip
    PRESETS: ClassVar[Mapping[str, TimeGANConfig]] = {
        "increments": INCREMENTS,
        "code-2019": _RELEASED,
        # The paper's lambda 1 and eta 10, no loss of moments and none before the supervisor, D always learning.
        "paper-2019": replace(
            _RELEASED, bidirectional=True, recovery="feed-forward", latent="normal", supervisor_noise=True,
            reconstruction_weight=1.0, embedder_supervision=1.0, generator_supervision=10.0, moments=0.0, gamma=0.0,
            gate=None, generator_steps=1,
        ),
    }  # fmt: skip
