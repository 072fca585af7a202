"""Half of an image is given, the other half generated: the first of the paper's extensions (section 6)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Samples
from saddlepoint.families.gan.game import Game, Generator
from saddlepoint.families.gan.penalised import MNIST
from saddlepoint.family import EXAMPLES, DataStats

DIGITS = replace(MNIST, given="top")
"""The upper half of a digit is given."""


class Inpainting(Game):
    """G reads z and the given pixels; D sees them in their place, beside whole images."""

    def build_generator(self) -> Generator:
        """Return a G that reads z and the given pixels."""
        if self.data.modality != "image":
            raise ConfigError("contrast and given are for images; leave them out")
        self.examples: Tensor
        pixels = self._visible(torch.empty(1, *self.data.shape, device="meta")).numel()
        # What a sample completes when nobody gives a half: halves of training rows, kept by `prepare`.
        self.register_buffer("examples", torch.zeros(EXAMPLES, pixels))
        return self.GENERATORS[self.config.generator](self.config, self.data, self.config.latent_size + pixels)

    def inputs_for(self, x: Samples, generator: torch.Generator) -> Tensor:
        """Draw z and put the given half of each image beside it: (n, latent_size + given pixels)."""
        return torch.cat([super().sample_inputs(len(x), generator), self._visible(x).flatten(1)], 1)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z, and given halves among those of training rows."""
        z = super().sample_inputs(n, generator)
        chosen = torch.randint(EXAMPLES, (n,), generator=generator, device=generator.device)
        return torch.cat([z, self.examples.to(z.device)[chosen]], 1)

    def generated(self, inputs: Tensor) -> Samples:
        """Return samples with the given half in its place."""
        halves = list(super().generated(inputs).chunk(2, self._axis))
        number = self._number
        given = inputs[:, self.config.latent_size :]  # (batch, given pixels)
        halves[number] = given.unflatten(1, halves[number].shape[1:]).to(halves[number].dtype)
        return torch.cat(halves, self._axis)  # D judges whole images: the given half with the made one

    def prepare(self, stats: DataStats) -> None:
        """Keep halves of training rows."""
        super().prepare(stats)
        rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
        self.examples.copy_(self._visible(rows).flatten(1))

    @property
    def _axis(self) -> int:
        # Of (batch, channel, height, width): along which an image is halved.
        return 2 if self.config.given in ("top", "bottom") else 3

    @property
    def _number(self) -> int:
        return int(self.config.given in ("bottom", "right"))

    def _visible(self, x: Samples) -> Samples:
        # A slice, not a mask: how many values a mask chooses would have to be read from an accelerator.
        return x.chunk(2, self._axis)[self._number]
