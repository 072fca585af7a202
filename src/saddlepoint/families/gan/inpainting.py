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
        self.visible: Tensor
        self.examples: Tensor
        self.register_buffer("visible", given_mask(self.data.shape, self.config.given), persistent=False)
        pixels = int(self.visible.sum())
        # What a sample completes when nobody gives a half: halves of training rows, kept by `prepare`.
        self.register_buffer("examples", torch.zeros(EXAMPLES, pixels))
        return self.GENERATORS[self.config.generator](self.config, self.data, self.config.latent_size + pixels)

    def inputs_for(self, x: Samples, generator: torch.Generator) -> Tensor:
        """Draw z and put the given half of each image beside it: (n, latent_size + given pixels)."""
        return torch.cat([super().sample_inputs(len(x), generator), x[:, self.visible]], 1)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z, and given halves among those of training rows."""
        z = super().sample_inputs(n, generator)
        chosen = torch.randint(EXAMPLES, (n,), generator=generator, device=generator.device)
        return torch.cat([z, self.examples.to(z.device)[chosen]], 1)

    def generated(self, inputs: Tensor) -> Samples:
        """Return samples with the given half in its place."""
        samples = super().generated(inputs)
        given = torch.zeros_like(samples)
        given[:, self.visible] = inputs[:, self.config.latent_size :]  # (batch, given pixels)
        return torch.where(self.visible, given, samples)  # D judges whole images: the given half with the made one

    def prepare(self, stats: DataStats) -> None:
        """Keep halves of training rows."""
        super().prepare(stats)
        self.examples.copy_(stats.examples[torch.arange(EXAMPLES) % len(stats.examples)][:, self.visible])


def given_mask(shape: tuple[int, ...], given: str) -> Tensor:
    """Return which values of an image (channel, height, width) are given, as a mask of its shape."""
    mask = torch.zeros(shape, dtype=torch.bool)
    axis = 1 if given in ("top", "bottom") else 2
    mask.chunk(2, axis)[given in ("bottom", "right")].fill_(True)
    return mask
