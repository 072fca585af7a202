"""The variational autoencoder of 2014, an explicit model: it has an encoder, and bounds the likelihood of any sample.

Read `model.py` first: the paper. `observed.py` has the distributions of pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from saddlepoint.families.vae.config import VAEConfig, resolved
from saddlepoint.families.vae.model import Model
from saddlepoint.family import DataSpec, Remediable, SuitsData, Tags, register

__all__ = ["VAE", "VAEConfig"]


@register
class VAE(SuitsData[VAEConfig], Remediable, Model):
    """Encoder and decoder that share a bound."""

    name = "vae"
    summary = "variational autoencoder (Kingma and Welling 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = VAEConfig
    paper_presets = ("paper",)
    PRESETS: ClassVar[Mapping[str, VAEConfig]] = {
        "small": VAEConfig(latent_size=32, lr_decay_kimg=500.0, ema_ramp=0.2),
        # Section 5: a hidden layer of 500 tanh units in each network, minibatches of 100; 50 latent units are the
        # number at which later work compares (Burda et al. 2016, table 1).
        "paper": VAEConfig(networks="mlp", encoder_widths=(500,), decoder_widths=(500,), activation="tanh"),
    }

    @classmethod
    def suited(cls, config: VAEConfig, data: DataSpec, chosen: Collection[str]) -> tuple[VAEConfig, tuple[str, ...]]:
        """Choose likelihood and networks where they are left to the data."""
        return resolved(config, data)
