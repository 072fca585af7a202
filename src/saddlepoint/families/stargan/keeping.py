"""StarGAN in minutes: a G that keeps what need not change, is told pairs of classes, and learns colours first.

What it has beyond the paper: differences of labels in every layer (STGAN, Liu et al. 2019), masks where the input is
kept (Pumarola et al. 2018), one map of colours for all pixels under them; relativistic pairs and R1 (Huang et al.
2024, R3GAN). How it was found: docs/notebook/recipes.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saddlepoint.core.types import Images, PerSample, at_least_float32
from saddlepoint.families.stargan.config import StarGANConfig
from saddlepoint.families.stargan.game import Game, Generator
from saddlepoint.family import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.nn.layers import Linear

# Minutes on a CPU: few channels, labels in every normalisation, colours first and masks that keep what need not change,
# each image paired with its translation before a D that learns twice as fast and needs no more steps, an average.
TINY = StarGANConfig(
    width=16, blocks=3, refining=1, kernel=5, condition="norm", told="pairs", skip="colours", colours_steps=600,
    identity=10.0, discriminator_width=48, layers=3, objective="relativistic", penalty=0.0, r1_gamma=0.2, n_critic=1,
    simultaneous=True, init="he", lr=1e-3, discriminator_lr=2.0, beta1=0.0, beta2=0.99, ema_ramp=0.1,
)  # fmt: skip

_NEARLY = 0.98
"""Share of the range that the map of colours works on: at the ends of the range atanh is infinite."""
_SMALL = 0.05
"""The map of colours starts this much smaller."""
_KEPT = 2.0
"""Logit of the share of its input that G keeps at the start."""


class KeepingGenerator(Generator):
    """G that keeps its input where a mask of its own says so; maps on the way up get those of the way down added."""

    masks = 1
    joins = True  # what is kept at full resolution need not come through the bottleneck

    def forward(self, x: Images, told: Tensor, *, bare: bool = False) -> Images:
        """Return mask * kept + (1 - mask) * made.

        Args:
            x: (batch, channel, height, width).
            told: (batch, numbers).
            bare: what is kept, and nothing else.
        """
        told = told.to(x.dtype)
        if bare:
            return self.kept(x, told)
        found = at_least_float32(self.convolved(x, told))  # (batch, channel + 1, height, width)
        mask = torch.sigmoid(found[:, -1:] + _KEPT)
        return torch.lerp(torch.tanh(found[:, :-1]), self.kept(x, told), mask)

    def kept(self, x: Images, told: Tensor) -> Images:
        """Return the input."""
        return at_least_float32(x)


class RecolouringGenerator(KeepingGenerator):
    """G that keeps its input with the colours of all pixels mapped alike, by what it is told."""

    def __init__(self, config: StarGANConfig, channels: int, told: int) -> None:
        super().__init__(config, channels, told)
        self.colours = Linear(told, channels * (channels + 1))  # a matrix and an offset for each row of labels

    def kept(self, x: Images, told: Tensor) -> Images:
        """Return tanh of an affine map of atanh of the input's colours."""
        maps = at_least_float32(self.colours(told)).unflatten(1, (x.shape[1], -1))  # (batch, channel, channel + 1)
        straight = torch.atanh(at_least_float32(x) * _NEARLY).flatten(2)  # (batch, channel, pixels)
        return torch.tanh(maps[:, :, :-1] @ straight + maps[:, :, -1:]).view_as(x)

    @torch.no_grad()
    def drawn(self) -> None:
        """Begin with colours that hardly depend on the labels."""
        self.colours.weight.mul_(_SMALL)


class Pairs(Game):
    """The game in which G is told the class of its input beside the target's, as one of all pairs."""

    def told_width(self) -> int:
        return self.labels.pair_width

    def told(self, own: Tensor, target: Tensor) -> Tensor:
        return self.labels.encode_pairs(own, target)

    def asked(self, inputs: Images, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.discriminator(inputs)[1]
        target = self.labels.complete(labels, seen) if self.data.labelling else self.labels.several(labels)
        return self.labels.view(self.labels.known(target), seen), target


class ColoursFirst(Game):
    """The game that begins with a stage in which G is nothing but the map of colours."""

    def stages(self) -> tuple[Stage, ...]:
        """D plays against the map of colours alone, then against all of G."""
        players = (
            Phase("colours_discriminator", trains=("discriminator",), optimizer="discriminator"),
            Phase("colours_generator", trains=("generator.colours",), optimizer="colours"),
        )
        return (Stage("colours", players, self.config.colours_steps), *super().stages())

    def translated(self, phase: Phase, real: Images, told: Tensor) -> Images:
        return self.generator(real, told, bare=_is_first(phase))

    def generator_terms(
        self, phase: Phase, loss: PerSample, logs: dict[str, PerSample],
        images: tuple[Images, Images], labels: tuple[Tensor, Tensor],
    ) -> Terms:  # fmt: skip
        # Light on dark becomes dark on light through a picture that shows nothing, and who must come back from
        # everywhere does not take that way.
        return Terms(loss, logs) if _is_first(phase) else super().generator_terms(phase, loss, logs, images, labels)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam for each player, and faster for the map of colours."""
        c = self.config
        colours = OptimizerSpec("adam", lr=c.colours_lr, betas=(c.beta1, c.beta2))
        return {**super().optimizers(), "colours": colours}


def _is_first(phase: Phase) -> bool:
    return phase.name.startswith("colours")
