"""Which feature extractor suits a data set; classifiers that are trained when they are first needed, then kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.core.types import to_bytes
from saddlepoint.data.dataset import Dataset, evenly
from saddlepoint.data.identity import identified
from saddlepoint.data.sources.hub import offline
from saddlepoint.metrics.extractors import Extractor, Lenet, Pixels, mnist_lenet
from saddlepoint.metrics.imagenet import NAME as IMAGENET_LITE
from saddlepoint.metrics.imagenet import imagenet_lite
from saddlepoint.metrics.inception import inception_v3
from saddlepoint.metrics.lenet import Classifier, load_classifier, save_classifier, train_classifier


@dataclass(frozen=True)
class Trained:
    """A classifier that is trained on demand.

    Attributes:
        name: of the extractor.
        shape: (channel, height, width) of the images it is made for.
        flip: whether mirrored images look alike.
    """

    name: str
    shape: tuple[int, int, int]
    flip: bool


TRAINED = {
    "fashion-mnist": Trained("fashion-mnist-lenet", (1, 28, 28), True),
    "cifar10": Trained("cifar10-lenet", (3, 32, 32), True),
    "cifar10-jpeg": Trained("cifar10-jpeg-lenet", (3, 32, 32), True),
}
"""By the data set that each is trained on."""

NAMES = ("mnist-lenet", *(trained.name for trained in TRAINED.values()), IMAGENET_LITE, "pixels", "inception-v3")
_VERSION = "1"
_CHOICE = 2
"""Raised whenever classifiers learn from other rows."""
_EPOCHS = 8
_VALID_ROWS = 2_000


def extractor_for(
    dataset: Dataset, name: str | None = None, say: Say | None = None, *, download: bool = True
) -> Extractor:
    """Return a feature extractor for a data set of images.

    Args:
        dataset: the data; a classifier that is trained on demand learns from its training rows.
        name: one of `NAMES`; None: `default_name`, or, where its weights cannot be had, the data's own classifier or
            ``pixels``, and ``say`` hears why.
        say: receives lines about what takes time; None: silence.
        download: whether weights may be downloaded that were not asked for by name.

    Raises:
        ConfigError: on an unknown name, vectors, a classifier of other data, or a package that is not installed.
        DataError: if weights are missing or damaged, or the images are not of the extractor's size.
    """
    if dataset.modality != "image":
        raise ConfigError(f"'{dataset.name}' holds {dataset.modality}s, which are their own features")
    if name is None:
        name = default_name(dataset)
        if name == IMAGENET_LITE:
            return _imagenet_or_before(dataset, say, download)
    if name not in NAMES:
        raise ConfigError(f"unknown feature extractor '{name}'; {suggest(name, NAMES)}")
    channels, height, width = dataset.spec.shape
    if name == IMAGENET_LITE:
        return imagenet_lite(say=say)
    if name == "pixels":
        return Pixels((channels, height, width))
    if name == "inception-v3":
        return inception_v3(say=say)
    extractor = mnist_lenet() if name == "mnist-lenet" else _trained(dataset, name, say)
    if extractor.shape != (channels, height, width):
        wanted = " x ".join(map(str, extractor.shape))
        raise DataError(
            f"'{name}' takes images of {wanted}, but '{dataset.name}' is prepared as {channels} x {height} x {width}: "
            f"choose --features {IMAGENET_LITE} or pixels"
        )
    return extractor


def _imagenet_or_before(dataset: Dataset, say: Say | None, download: bool) -> Extractor:
    """Return `imagenet-lite`; without its weights what there was before it, with a line that says so."""
    try:
        # Unasked, the switch that keeps the hub silent keeps pip silent, too.
        return imagenet_lite(say=say, download=download and not offline())
    except DataError as error:
        name = own_classifier(dataset) or "pixels"
        if say is not None:
            say(f"warning: features are those of {name} instead of {IMAGENET_LITE}: {error}")
        return extractor_for(dataset, name, say)


def default_name(dataset: Dataset) -> str:
    """Return the name of the extractor that suits the data.

    Colour pictures take `imagenet-lite`, grey ones their own classifier where there is one, else ``pixels``.
    """
    return IMAGENET_LITE if dataset.spec.shape[0] in (3, 4) else own_classifier(dataset) or "pixels"


def own_classifier(dataset: Dataset) -> str | None:
    """Return the name of the classifier whose classes are those of the data; None where there is none."""
    if dataset.name == "mnist" and dataset.spec.shape == (1, 28, 28):
        return "mnist-lenet"
    trained = TRAINED.get(dataset.name)
    return trained.name if trained is not None and dataset.spec.shape == trained.shape else None


def names_classes(extractor: Extractor | None, dataset: Dataset) -> bool:
    """Whether the extractor is a classifier whose classes are those of the data: its own one."""
    return extractor is not None and extractor.classes is not None and extractor.name == own_classifier(dataset)


def shipped_classifier(
    dataset: Dataset, device: torch.device | str
) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
    """Return the classifier of this data that comes with the package, or None: it costs training nothing to have.

    It takes samples in the inside range (n, c, h, w) and returns features (n, feature) and probabilities (n, class).
    """
    if own_classifier(dataset) != "mnist-lenet":
        return None
    lenet = mnist_lenet(str(device))

    def classify(samples: Tensor) -> tuple[Tensor, Tensor]:
        found = lenet.extract(to_bytes(samples))
        return torch.from_numpy(found.x).to(device), torch.from_numpy(found.probabilities).to(device)

    return classify


def kept_classifier(
    dataset: Dataset,
    name: str,
    labels: Mapping[str, np.ndarray],
    classes: int,
    *,
    rows: int,
    epochs: int,
    say: Say | None = None,
) -> Lenet:
    """Return a classifier of a data set's images by given labels, from the cache or trained and kept.

    Args:
        dataset: images; training and valid rows are used.
        name: of the classifier, different for different labels of the same data.
        labels: class index of each row of ``train`` and ``valid``; rows with -1 are left out.
        classes: number of classes.
        rows: most training rows used, evenly spaced.
        epochs: passes over them.
        say: receives lines about what takes time; None: silence.

    Raises:
        DataError: if there are no labelled rows.
    """
    dataset = identified(dataset)
    what = f"{name}-v{_VERSION}.{_CHOICE}-{rows}x{epochs}-{dataset.fingerprint[:16]}"
    path = cache_dir() / "extractors" / f"{what}.safetensors"
    try:
        classifier, _, digest = load_classifier(path, path.with_suffix(".sha256").read_text().strip())
    except (DataError, OSError):
        parts = []
        for split, most in (("train", rows), ("valid", _VALID_ROWS)):
            labelled = np.flatnonzero(labels[split] >= 0)
            chosen = labelled[evenly(len(labelled), most)]
            parts.append((np.asarray(dataset.splits[split].x)[chosen], labels[split][chosen]))
        if not all(len(x) for x, _ in parts):
            raise DataError(f"'{dataset.name}' has no rows with labels for the classifier '{name}'") from None
        if say is not None:
            say(f"{name}: training a classifier on {len(parts[0][0]):,} rows, once")
        batch = min(128, len(parts[0][0]))
        classifier = train_classifier(*parts[0], valid=parts[1], classes=classes, epochs=epochs, batch=batch).classifier
        facts = {"name": name, "version": _VERSION, "data": dataset.name, "fingerprint": dataset.fingerprint}
        digest = save_classifier(path, classifier, facts)
        write_atomically(path.with_suffix(".sha256"), digest + "\n")
    return Lenet(classifier, name=name, version=_VERSION, sha256=digest)


def _trained(dataset: Dataset, name: str, say: Say | None) -> Lenet:
    """Return the classifier of this very data from the cache, or train it; the same seed gives the same weights."""
    trained = TRAINED.get(dataset.name)
    if trained is None or trained.name != name:
        raise ConfigError(
            f"'{name}' is trained on its own data set only; for '{dataset.name}' choose {IMAGENET_LITE} or pixels"
        )
    dataset = identified(dataset)
    path = cache_dir() / "extractors" / f"{name}-v{_VERSION}-{dataset.fingerprint[:16]}.safetensors"
    try:
        classifier, _, digest = load_classifier(path, path.with_suffix(".sha256").read_text().strip())
    except (DataError, OSError):
        classifier, digest = _train(dataset, trained, path, say)
        write_atomically(path.with_suffix(".sha256"), digest + "\n")
    return Lenet(classifier, name=name, version=_VERSION, sha256=digest)


def _train(dataset: Dataset, wanted: Trained, path: Path, say: Say | None) -> tuple[Classifier, str]:
    train, valid = dataset.splits["train"], dataset.splits["valid"]
    if train.labels is None or valid.labels is None:
        raise DataError(f"'{wanted.name}' learns from labels, and '{dataset.name}' has none; choose --features pixels")
    if say is not None:
        say(f"{wanted.name}: training a classifier on {len(train):,} rows, once; it takes some minutes and is kept")
    training = train_classifier(
        train.x, train.labels, valid=(valid.x, valid.labels), classes=len(dataset.classes), epochs=_EPOCHS,
        batch=min(128, len(train)), flip=wanted.flip, say=say,
    )  # fmt: skip
    facts = {"name": wanted.name, "version": _VERSION, "data": dataset.name, "fingerprint": dataset.fingerprint}
    return training.classifier, save_classifier(path, training.classifier, facts)
