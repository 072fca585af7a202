"""The autoencoder: it gives samples back through a code of few numbers, and draws codes from a Gaussian fitted to them.

Read `model.py` first. It has no likelihood: its decoder says what a code looks like, not how likely a sample is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from saddlepoint.families.autoencoder.config import AutoencoderConfig, resolved
from saddlepoint.families.autoencoder.model import Model
from saddlepoint.family import DataSpec, Remediable, SuitsData, Tags, register

__all__ = ["Autoencoder", "AutoencoderConfig"]


@register
class Autoencoder(SuitsData[AutoencoderConfig], Remediable, Model):
    """Encoder and decoder that share a squared error."""

    name = "autoencoder"
    summary = "autoencoder with a Gaussian of its codes (Hinton and Salakhutdinov 2006)"
    tags = Tags(modalities=("image", "vector"))
    Config = AutoencoderConfig
    paper_presets = ("paper-mnist",)
    PRESETS: ClassVar[Mapping[str, AutoencoderConfig]] = {
        "small": AutoencoderConfig(lr_decay_kimg=500.0),
        # Figure 1 and the MNIST experiments: 784-1000-500-250-30.
        "paper-mnist": AutoencoderConfig(
            networks="mlp", latent_size=30, encoder_widths=(1000, 500, 250), decoder_widths=(250, 500, 1000)
        ),
    }

    @classmethod
    def suited(
        cls, config: AutoencoderConfig, data: DataSpec, chosen: Collection[str]
    ) -> tuple[AutoencoderConfig, tuple[str, ...]]:
        """Choose the networks where they are left to the data."""
        return resolved(config, data)
