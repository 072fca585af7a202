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

from abc import ABCMeta
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, cast

from saddlepoint.families.gan import cifar10, inpainting, penalised, two_steps
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.families.gan.game import Game, Generator
from saddlepoint.family import DataSpec, Remediable, Tags, register
from saddlepoint.family import remedies as remedy

__all__ = ["GAN", "GANConfig"]

# The released configuration: both players step at once from one minibatch and one draw of noise and masks; learning
# rate .1 shrinking by 1.000004 a step; momentum .5 rising to .7 in 250 epochs.
_RELEASED = GANConfig(discriminator_weight=0.5, simultaneous=True, lr_decay=1 / 1.000004, lr_floor=1e-6)


@register
class GAN(Remediable, Game):
    """Fully connected generator and discriminator in the minimax game or a relative of it."""

    name = "gan"
    summary = "fully connected GAN (Goodfellow et al. 2014)"
    tags = Tags(modalities=("image", "vector"))
    Config = GANConfig
    PRESETS: ClassVar[Mapping[str, GANConfig]] = {
        "mnist": penalised.MNIST,
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
    DISCRIMINATORS: ClassVar[Mapping[str, type[Game] | None]] = {
        "maxout": None,
        "maxout-conv": cifar10.Convolutional,
        "leaky-relu": penalised.Penalised,
    }

    def __new__(cls, config: GANConfig | None = None, data: DataSpec | None = None) -> GAN:
        """Return the game with the experiments that the options ask for; without options, for a copy, as it is."""
        asked: tuple[type[Game] | None, ...] = ()
        if config is not None:
            asked = (
                two_steps.TwoSteps if config.prior_widths else None,
                inpainting.Inpainting if config.given != "none" else None,
                cifar10.ContrastNormalised if config.contrast is not None else None,
                cls.DISCRIMINATORS[config.discriminator],
            )
        kind: Any = _with(cls, tuple(one for one in asked if one is not None and not issubclass(cls, one)))
        return super().__new__(kind)


@cache
def _with(game: type[GAN], experiments: tuple[type[Game], ...]) -> type[GAN]:
    """Return the game with methods of experiments before its own; each calls the next by ``super()``."""
    if not experiments:
        return game
    name = "".join(kind.__name__ for kind in experiments) + game.__name__
    kind: Any = ABCMeta(name, (*experiments, game), {"__module__": game.__module__})
    return cast("type[GAN]", kind)
