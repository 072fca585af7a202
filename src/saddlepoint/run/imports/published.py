"""What networks of StyleGAN2 hold, whoever wrote them: their tensors with the factors that they act with.

Source: Karras et al. 2020 (both papers). The readers of files fill this in; `as_stylegan` takes it over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError
from saddlepoint.run.imports.stored import Stored


class Unsupported(CheckpointError):
    """Networks are of an architecture that is not read."""


@dataclass(frozen=True)
class Affine:
    """A layer: a product or convolution, and a bias.

    Attributes:
        weight: (outputs, inputs) or (outputs, inputs, side, side).
        bias: (outputs,); None: there is none.
        gain: factor of the weight when it is used, with that of the activation after it.
        bias_gain: of the bias, the same.
    """

    weight: Stored
    bias: Stored | None
    gain: float
    bias_gain: float = 1.0


@dataclass(frozen=True)
class Styled:
    """A modulated convolution with noise, bias, LeakyReLU of slope .2 and gain sqrt 2.

    Attributes:
        weight: (outputs, inputs, 3, 3), demodulated.
        style: from w to the factors of the inputs.
        bias: (outputs,).
        strength: of the noise, one number; None: there is no noise.
        noise: map of fixed noise (side, side); None: it is always drawn.
    """

    weight: Stored
    style: Affine
    bias: Stored
    strength: Stored | None
    noise: Stored | None


@dataclass(frozen=True)
class Colours:
    """A modulated convolution of single pixels, without demodulation; its gain is that of its style."""

    weight: Stored
    style: Affine
    bias: Stored
    gain: float


@dataclass(frozen=True)
class Mapping:
    """Layers with LeakyReLU and gain sqrt 2, beside a vector for the label.

    Attributes:
        layers: in their order.
        label: from a label to its vector; None: unconditional.
        average: of w; None: not kept.
    """

    layers: tuple[Affine, ...]
    label: Affine | None = None
    average: Stored | None = None


@dataclass(frozen=True)
class Generator:
    """A generator with output skips.

    Attributes:
        mapping: from z to w.
        constant: (channels, 4, 4), or with an axis of 1 before.
        layers: one for the smallest side, two for every other.
        colours: one for each side.
        taps: of the resampling filter.
        clamp: limit of maps; None: there is none.
    """

    mapping: Mapping
    constant: Stored
    layers: tuple[Styled, ...]
    colours: tuple[Colours, ...]
    taps: tuple[float, ...]
    clamp: float | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each side, from the smallest."""
        return tuple(colours.weight.shape[-3] for colours in self.colours)

    @property
    def side(self) -> int:
        """Of the images, in pixels."""
        return 4 << len(self.colours) - 1

    @property
    def classes(self) -> int:
        """How many labels there are; 0: unconditional."""
        return 0 if self.mapping.label is None else self.mapping.label.weight.shape[1]


@dataclass(frozen=True)
class Block:
    """A block of D: two convolutions, the second halving the side; beside them one of single pixels, or the image."""

    first: Affine
    second: Affine
    skip: Affine | None = None


@dataclass(frozen=True)
class Discriminator:
    """A discriminator.

    Attributes:
        kind: residual, plain or skip, as the family's option.
        inputs: from the image to channels: one, or with ``skip`` one for each side.
        blocks: from the images down.
        convolution, hidden, output: of the last layers.
        group: samples whose deviation is one map.
        mapping: of labels; None: unconditional.
        taps, clamp: as of the generator.
    """

    kind: str
    inputs: tuple[Affine, ...]
    blocks: tuple[Block, ...]
    convolution: Affine
    hidden: Affine
    output: Affine
    group: int
    mapping: Mapping | None
    taps: tuple[float, ...]
    clamp: float | None = None


@dataclass(frozen=True)
class Networks:
    """What a file held.

    Attributes:
        form: which code wrote it, in words.
        generator: the average, where the file has one.
        discriminator: None: the file has none, or one that is not read.
        data: name of the training data, as the file has it; "": it has none.
        notes: sentences on what was found.
    """

    form: str
    generator: Generator
    discriminator: Discriminator | None
    data: str = ""
    notes: tuple[str, ...] = ()


def filled(stored: Stored, name: str) -> Stored:
    """Return a tensor, unless one of its sizes is 0: no network has such a layer."""
    if 0 in stored.shape:
        raise Unsupported(f"{name} has no numbers: its shape is {tuple(stored.shape)}")
    return stored


def taps_of(kernel: Stored, gain: float = 1.0) -> tuple[float, ...]:
    """Return the taps of a filter that is kept as a matrix, or a line, of sum ``gain``.

    Raises:
        Unsupported: if it is no product of a line with itself, of an even number of taps.
    """
    found = kernel.read().float() / gain
    line = found if found.ndim == 1 else found.sum(1)
    whole = found if found.ndim == 1 else torch.outer(line, line)
    if whole.shape != found.shape or not torch.allclose(whole, found, atol=1e-6) or len(line) % 2:
        raise Unsupported("its resampling filter is no even number of taps in each direction")
    smooth = torch.tensor([1.0, 3.0, 3.0, 1.0])
    if len(line) == 4 and torch.allclose(line, smooth / 8, atol=1e-6):
        return (1.0, 3.0, 3.0, 1.0)
    return tuple(line.tolist())


def numbers(stored: Stored, name: str = "a weight") -> Tensor:
    """Return a tensor in 32 bits.

    Raises:
        Unsupported: if its numbers are not finite, or no fractions.
    """
    found = stored.read()
    if not found.is_floating_point() or not torch.isfinite(found).all():
        raise Unsupported(f"{name} holds what is no finite number")
    return found.float()
