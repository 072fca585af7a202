"""What a family is told of its data, and what a step is given: sizes, statistics, minibatches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saddlepoint.core.types import Modality

EXAMPLES = 512
"""Training rows that a family is shown before the first step."""


@dataclass(frozen=True)
class DataSpec:
    """What a family must know of its data to build its networks.

    Attributes:
        modality: image, vector or sequence.
        shape: shape of one sample: (channel, height, width), (feature,) or (time, feature).
        classes: names of the classes in the order of their indices; empty when the data has no labels.
        rows: number of training samples, which turns images seen into epochs.
        shares: share of the training samples in each class; empty without labels.
        static: how many features of a sequence, the last ones before those that are known, are constant along each
            window.
        labelling: sizes of the groups of consecutive classes, for each label set, where a sample carries several
            labels: of a group exactly one class holds; a group of one is an attribute. Empty: one class a sample.
        onehot: sizes of the groups of consecutive features of a sequence of which exactly one is 1 at each step; they
            stand after the numbers that change: numbers, groups, static features, known features.
        spikes: values, scaled, that a large part of the rows has of the first numbers of a step; the first groups,
            two features each, say whether it is that value.
        known: how many features of a sequence, the very last ones, are phases of the calendar in [0, 1): given to
            generator and discriminator, never generated.
        cut: whether windows are parts of longer series: one may begin at any row.
    """

    modality: Modality
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    rows: int = 1
    shares: tuple[float, ...] = ()
    static: int = 0
    labelling: tuple[tuple[int, ...], ...] = ()
    onehot: tuple[int, ...] = ()
    spikes: tuple[float, ...] = ()
    known: int = 0
    cut: bool = False


@dataclass(frozen=True)
class DataStats:
    """Element-wise statistics of the training rows in the library's inside range ([-1, 1] for images), NaN left out.

    Attributes:
        mean, std: population mean and standard deviation of each element, in the shape of one sample.
        examples: up to `EXAMPLES` training rows, evenly spread over the training split, in the inside range.
    """

    mean: Tensor
    std: Tensor
    examples: Tensor

    def to(self, device: torch.device) -> DataStats:
        """Return the same on a device."""
        return DataStats(self.mean.to(device), self.std.to(device), self.examples.to(device))


@dataclass(frozen=True)
class Batch:
    """A minibatch of real data.

    Attributes:
        x: (batch, *sample) float tensor in the inside range.
        labels: (batch,) class indices; of data with a labelling (batch, classes): 1 where a class holds, 0 where it
            does not, -1 in a label set that does not know the sample. None when the data has no labels.
    """

    x: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.x.shape[0]
