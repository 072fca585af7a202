"""The generative adversarial network of 2014, its experiments, and the preset that trains in three minutes.

Read `game.py` first: the paper. Each other file is one experiment, a few methods of the game changed, and `GAN` puts
the experiments that the options ask for before the game: the default preset is a ``PenalisedGAN``, whose methods are
those of `Penalised`, then `GAN`, then `Game`; `tfd-2014` is a ``TwoStepsGAN``.

- `penalised.py`: LeakyReLU, R1 and R2; the default preset, and points of the plane.
- `two_steps.py`: faces.
- `cifar10.py`: contrast normalisation, convolutional networks.
- `inpainting.py`: half of an image is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from saddlepoint.families.gan import cifar10, inpainting, penalised, two_steps
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.families.gan.game import Game, Generator
from saddlepoint.family import Remediable, Tags, register
from saddlepoint.family import remedies as remedy
from saddlepoint.family.variants import Varied

__all__ = ["GAN", "GANConfig"]

# The released configuration: both players step at once from one minibatch and one draw of noise and masks; learning
# rate .1 shrinking by 1.000004 a step; momentum .5 rising to .7 in 250 epochs.
_RELEASED = GANConfig(discriminator_weight=0.5, simultaneous=True, lr_decay=1 / 1.000004, lr_floor=1e-6)


@register
class GAN(Varied, Remediable, Game):
    """Fully connected generator and discriminator in the minimax game or a relative of it."""

    name = "gan"
    summary = "fully connected GAN (Goodfellow et al. 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = GANConfig
    PRESETS: ClassVar[Mapping[str, GANConfig]] = {
        "mnist": penalised.MNIST,
        "mnist-private": penalised.MNIST_PRIVATE,
        "mnist-2014": _RELEASED,
        # Algorithm 1 of the paper: k = 1 step of D on the value function, then one of G on fresh noise, the
        # paper's stronger gradient for G; the rest as released.
        "mnist-algorithm1": replace(_RELEASED, discriminator_weight=1.0, simultaneous=False),
        "tfd-2014": two_steps.faces(_RELEASED),
        "cifar10-fc-2014": cifar10.fully_connected(_RELEASED),
        "cifar10-conv-2014": cifar10.convolutional(_RELEASED),
        "mnist-inpainting": inpainting.DIGITS,
        "points": penalised.POINTS,
    }
    paper_presets = ("mnist-2014", "mnist-algorithm1", "tfd-2014", "cifar10-fc-2014", "cifar10-conv-2014")
    remedies = (
        remedy.NON_SATURATING,
        replace(
            remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.discriminator == "leaky-relu" else None
        ),
        remedy.WEAKER_PENALTIES,
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
        remedy.INSTANCE_NOISE,
    )
    GENERATORS: ClassVar[Mapping[str, type[Generator]]] = {
        **Game.GENERATORS,
        "leaky-rms": penalised.NormalisedGenerator,
        "deconv": cifar10.DeconvolutionalGenerator,
    }
    variants = (
        (two_steps.TwoSteps, lambda config: bool(config.prior_widths)),
        (inpainting.Inpainting, lambda config: config.given != "none"),
        (cifar10.ContrastNormalised, lambda config: config.contrast is not None),
        (cifar10.Convolutional, lambda config: config.discriminator == "maxout-conv"),
        (penalised.Penalised, lambda config: config.discriminator == "leaky-relu"),
    )
