"""From images to rows of features: one protocol, and the extractors that need no data.

A figure over features means something only beside the extractor's name, version and SHA-256; figures of different
extractors are never comparable.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.metrics import lenet

BATCH = 500
"""Images at a time, unless told otherwise."""

_IN_CACHE = 50
"""Images of which a classifier's layers stay in the caches of a core: more of them take 1.7 times as long an image."""

MNIST_LENET = Path(__file__).parent / "weights" / "mnist-lenet.safetensors"
MNIST_LENET_SHA256 = "b98c384926e3c769eaaa144900d6ba193c5e8182949aa3f588f13197eacef924"

_PIXELS = "pixels 1: values / 255 in float32, in the order channel, row, column"

Pictures = np.ndarray | Tensor
"""uint8 images (n, channel, height, width): numpy (memory-mapped or not) or torch on any device."""


@dataclass(frozen=True)
class Features:
    """What an extractor found.

    Attributes:
        x: (n, features) float32.
        probabilities: (n, classes) float32, rows sum to 1; None if the extractor is no classifier.
    """

    x: np.ndarray
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each image, (n,) int64; the lowest index among equals.

        Raises:
            ConfigError: if the extractor is no classifier.
        """
        if self.probabilities is None:
            raise ConfigError("these features come without classes; use an extractor that is a classifier")
        return self.probabilities.argmax(1)


class Extractor(Protocol):
    """A fixed function from images to features.

    Attributes:
        name: the word for it, as it stands beside figures.
        version: raised whenever the features of the same image change.
        sha256: of the file of weights, of the definition where there are none, or of both.
        shape: (channel, height, width) of the images it takes; None: any height or width.
        features: how many numbers it gives for an image.
        classes: how many classes it knows; None if it is no classifier.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int | None, int | None]: ...
    @property
    def features(self) -> int: ...
    @property
    def classes(self) -> int | None: ...

    def extract(self, images: Pictures, batch: int = BATCH) -> Features:
        """Return the features of images.

        They do not depend on the batch size or the number of threads, beyond the rounding of float32 sums.

        Args:
            images: (n, channel, height, width) uint8, n at least 1; memory-mapped ones stream through.
            batch: images at a time, at least 1.

        Raises:
            DataError: if the images are not uint8, or of a shape that the extractor does not take.
            ConfigError: if ``batch`` is not positive.
        """
        ...


def describe(extractor: Extractor) -> dict[str, Any]:
    """Return what must stand beside every figure: name, version and SHA-256, as JSON values."""
    return {"extractor": extractor.name, "version": extractor.version, "sha256": extractor.sha256}


@runtime_checkable
class Smooth(Protocol):
    """An extractor that also takes images between bytes, for figures that look at tiny differences."""

    def embed(self, images: Tensor) -> Tensor:
        """Return features (n, d) of float images (n, channel, height, width) in [-1, 1], not rounded to bytes."""
        ...


@runtime_checkable
class Derived(Protocol):
    """An extractor whose probabilities follow from its features: where features are kept, they need not be."""

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, classes) that belong to features (n, d)."""
        ...


@runtime_checkable
class Directed(Protocol):
    """An extractor whose features are alike where they point the same way, so that neighbours are looked for there.

    How long they are says how much there is to see: what shows little, as blurs, plain colours and noise, lies near the
    origin, where the balls around all distant rows of the data meet.
    """

    def directions(self, x: np.ndarray) -> np.ndarray:
        """Return features (n, d) at length 1."""
        ...


def comparable(x: np.ndarray, extractor: Extractor | None) -> np.ndarray:
    """Return features (n, d) whose distances tell what is alike: of a `Directed` at length 1, else as they are."""
    return extractor.directions(x) if isinstance(extractor, Directed) else x


class Pixels:
    """The images themselves: values / 255 as one row, float32 in [0, 1]; colours of 4 channels as they are on white.

    Euclidean distances between pixels punish a shift by one pixel more than a wrong digit: figures tell of blur,
    noise and copies, little of content.

    Args:
        shape: (channel, height, width) of the images.
    """

    name = "pixels"
    version = "1"
    sha256 = hashlib.sha256(_PIXELS.encode()).hexdigest()
    classes = None

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.features = int(np.prod(shape))

    def extract(self, images: Pictures, batch: int = BATCH) -> Features:
        """Return the pixels; see `Extractor.extract`."""
        check_images(images, self, batch)
        rows = np.empty((len(images), self.features), np.float32)
        for part, x in batches(images, batch):
            rows[part] = as_seen(x).float().div_(255).flatten(1).cpu().numpy()
        return Features(rows)

    def embed(self, images: Tensor) -> Tensor:
        """Return the pixels in [0, 1]; see `Smooth.embed`."""
        return (laid(images, 1.0).flatten(1) + 1) / 2


class Lenet:
    """The features of a trained `lenet.Classifier`: the 64 values of its last hidden layer before their ReLU.

    Args:
        classifier: the network; it is moved to ``device``, put into evaluation mode and frozen.
        name: the word for it.
        version: of the weights.
        sha256: of the file of weights.
        device: where to compute.
    """

    def __init__(
        self, classifier: lenet.Classifier, *, name: str, version: str, sha256: str, device: str | torch.device = "cpu"
    ) -> None:
        self.classifier = classifier.to(device).eval().requires_grad_(False)
        self.name, self.version, self.sha256 = name, version, sha256
        self.shape, self.classes, self.features = classifier.shape, classifier.classes, lenet.FEATURES

    @torch.inference_mode()
    def extract(self, images: Pictures, batch: int = BATCH) -> Features:
        """Return features and class probabilities; see `Extractor.extract`."""
        check_images(images, self, batch)
        device = self.classifier.output.weight.device
        batch = min(batch, _IN_CACHE) if device.type == "cpu" else batch
        return through(self, images, batch, lambda x: self.classifier(lenet.inside(x.to(device))))

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Return the features; see `Smooth.embed`."""
        device = self.classifier.output.weight.device
        return torch.cat([self.classifier(part.to(device))[0] for part in images.split(_IN_CACHE)])


def as_seen(x: Tensor) -> Tensor:
    """Return uint8 images with the colours of what can be seen through as they are on white; opacity stays."""
    if x.shape[1] != 4:
        return x
    return (laid(x.float() / 127.5 - 1, 1.0) + 1).mul_(127.5).round_().to(torch.uint8)


def laid(x: Tensor, ground: float) -> Tensor:
    """Return float images in [-1, 1] with colours mixed with a ground by opacity, where there is a fourth channel."""
    if x.ndim != 4 or x.shape[1] != 4:
        return x
    share = (x[:, 3:] + 1) / 2
    return torch.cat([torch.lerp(torch.full_like(x[:, :3], ground), x[:, :3], share), x[:, 3:]], 1)


@functools.cache
def mnist_lenet(device: str = "cpu") -> Lenet:
    """Return the classifier of handwritten digits that is shipped with the package.

    Made by ``benchmarks/train_lenet.py`` from MNIST's first 50,000 training images; its accuracy on the 10,000 test
    images stands in ``benchmarks/figures/lenet/mnist-lenet.json``.

    Args:
        device: where to compute.

    Raises:
        DataError: if the file is not the one that belongs to this version.
    """
    try:
        classifier, facts, digest = lenet.load_classifier(MNIST_LENET, MNIST_LENET_SHA256)
    except DataError as error:
        raise DataError(f"the weights of 'mnist-lenet' are not whole; install saddlepoint again ({error})") from error
    return Lenet(classifier, name=facts["name"], version=facts["version"], sha256=digest, device=device)


def check_images(images: Pictures, extractor: Extractor, batch: int, *, any_channels: bool = False) -> None:
    """Refuse images that an extractor does not take.

    Raises:
        DataError: if there are none, or type or shape are not the extractor's.
        ConfigError: if ``batch`` is not positive.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}, but must be at least 1")
    if images.dtype not in (torch.uint8, np.dtype(np.uint8)):
        raise DataError(
            f"images are {images.dtype}, but '{extractor.name}' takes uint8 in [0, 255]: "
            "convert them with saddlepoint.figures.grids.to_uint8"
        )
    expected = (None, *extractor.shape[1:]) if any_channels else extractor.shape
    fits = images.ndim == 4 and all(e in (None, n) for e, n in zip(expected, images.shape[1:], strict=True))
    if not fits or len(images) == 0:
        wanted = ", ".join("any" if n is None else str(n) for n in extractor.shape)
        raise DataError(
            f"images have shape {tuple(images.shape)}, but '{extractor.name}' takes (n, {wanted}) with n at least 1: "
            "use another extractor, or images of that size (load_dataset's size and channels)"
        )


def through(
    extractor: Extractor, images: Pictures, batch: int, network: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Features:
    """Return what a classifier finds, some images at a time.

    Args:
        extractor: for the numbers of features and classes.
        images: (n, channel, height, width) uint8.
        batch: images at a time.
        network: from such images to features (n, features) and logits (n, classes).
    """
    features = np.empty((len(images), extractor.features), np.float32)
    probabilities = np.empty((len(images), extractor.classes or 0), np.float32)
    for part, x in batches(images, batch):
        found, logits = network(x)
        features[part] = found.cpu().numpy()
        probabilities[part] = logits.double().softmax(1).cpu().numpy()
    return Features(features, probabilities)


def batches(images: Pictures, batch: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the rows that come next, and their images as a tensor that may be written to."""
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        rows = images[part]
        # A copy of numpy's rows, for a memory map is read-only and torch wants to be able to write.
        yield part, rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
