"""Sets of samples that are measured alike: the model's, and the controls that need no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.core.progress import Say
from saddlepoint.core.types import from_bytes, to_bytes
from saddlepoint.data.dataset import Dataset, Split, evenly
from saddlepoint.data.identity import identified
from saddlepoint.evaluation.features import extractor_for, own_classifier
from saddlepoint.evaluation.sample_set import SampleSet, read_arrays, write_arrays
from saddlepoint.evaluation.sequences import SEQUENCE_CONTROLS, make_sequences, ragged_well
from saddlepoint.metrics import kmeans_centroids
from saddlepoint.metrics.extractors import Extractor

Sampler = Callable[[int, int], Tensor]
"""(n, seed) -> n samples of shape (n, *sample) in the inside range ([-1, 1] for images)."""

MOST = 10_000
"""Samples, and rows of the data, that a protocol uses where it has as many."""

CHOICE = 2
"""Raised whenever other rows are chosen, so that nothing kept of earlier ones is used."""

CENTROIDS = "k-means centroids"
"""Name of that control set."""

ROWS_PER_CENTROID = 5
"""Training rows for each k-means centroid, at least."""

_ROWS_AT_ONCE = 512
_LOOKED_AT = 100


@dataclass(frozen=True)
class Latents:
    """The generator as a function of its latent space, for figures that walk in it.

    Attributes:
        draw: (n, generator) -> z (n, latent).
        generate: z -> samples in the inside range.
        sphere: whether the generator reads the direction of z only, so that paths are great circles.
    """

    draw: Callable[[int, torch.Generator], Tensor]
    generate: Callable[[Tensor], Tensor]
    sphere: bool = False


@dataclass(frozen=True)
class Explicit:
    """An explicit model: how likely given rows are.

    Attributes:
        kind: how that is known: exact, lower bound, annealed importance sampling.
        observed: what it is a likelihood of: ``binary``, ``levels`` or ``values``; see `family.Likelihood`.
        estimator: what else the figure depends on, as a word of the protocol's name; "": nothing.
        log_likelihood: (rows (n, *sample) in the inside range, seed) -> log p of each (n,) in nats, and the standard
            error of what all share.
    """

    kind: str
    observed: str
    estimator: str
    log_likelihood: Callable[[Tensor, int], tuple[Tensor, float]]


@dataclass(frozen=True)
class Subject:
    """Whose samples are measured.

    Attributes:
        label: name of its rows, such as "generator (EMA)".
        sample: draws samples for a seed.
        count: number of samples there are, for samples from a file; None: as many as are asked for.
        labels: (n, seed) -> the label asked of each sample, int64 (n,); None for an unconditional generator.
        latents: its latent space, where it has one.
        styles: its intermediate latent space w, where it has one, as if it were the latent space.
        translate: (images in [-1, 1], labels, seed) -> their translations, where it transforms images.
        guided: (images, reference images, labels) -> translations in the references' styles, where it takes those.
        explicit: how likely it says that rows are, where it says so.
        replicate: (rows in the inside range, labels or None, seed) -> what comes out where they go in, where it has an
            encoder.
        privacy: what training with differential privacy has spent, in words; "": it was none.
        logits: (rows in the inside range, labels or None) -> D's logit of each, (n,), where there is a D.
    """

    label: str
    sample: Sampler
    count: int | None = None
    labels: Callable[[int, int], np.ndarray] | None = None
    latents: Latents | None = None
    styles: Latents | None = None
    translate: Callable[[Tensor, Tensor, int], Tensor] | None = None
    guided: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    explicit: Explicit | None = None
    replicate: Callable[[Tensor, Tensor | None, int], Tensor] | None = None
    logits: Callable[[Tensor, np.ndarray | None], Tensor] | None = None
    privacy: str = ""


class Bench:
    """Everything the protocols measure with: the subject's samples, the data, the controls, an extractor.

    Args:
        subject: whose samples.
        dataset: the data the model was trained on, or is to be compared with.
        seed: of samples and controls.
        features: name of an extractor; None: the best one for the data.
        cache_dir: folder for features and control rows; None: nothing is kept.
        say: receives lines on what takes long or went wrong.
        detail: receives one line for each small part of the work.
        download: whether weights of the extractor that suits the data may be downloaded.
    """

    def __init__(
        self,
        subject: Subject,
        dataset: Dataset,
        seed: int,
        features: str | None = None,
        cache_dir: Path | None = None,
        say: Say = lambda line: None,
        detail: Say = lambda line: None,
        download: bool = True,
    ) -> None:
        # Figures are of 8 bits, as pictures are looked at.
        self.dataset = identified(dataset).in_bytes()
        self.subject, self.seed, self.cache_dir = subject, seed, cache_dir
        self.say, self.detail = say, detail
        self._extractor_name, self._download = features, download
        self._drawn: SampleSet | None = None
        self._controls: dict[str, SampleSet] = {}
        self._extractors: dict[str | None, Extractor] = {}
        self._arrays: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}

    @property
    def noun(self) -> str:
        """The word for the rows of the data: images, vectors or windows."""
        return "windows" if self.dataset.modality == "sequence" else f"{self.dataset.modality}s"

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the control sets: held-out, training, centroids, noise; or `SEQUENCE_CONTROLS`."""
        if self.dataset.modality == "sequence":
            return SEQUENCE_CONTROLS
        return (f"held-out {self.noun}", f"training {self.noun}", CENTROIDS, "uniform noise")

    def extractor(self, name: str | None = None) -> Extractor | None:
        """Return the extractor called ``name`` (None: the chosen one); None for vectors, which need none.

        Raises:
            ConfigError: if there is none of this name, or it does not fit the data.
        """
        if self.dataset.modality != "image":
            return None
        name = name or self._extractor_name
        if name not in self._extractors:
            self._extractors[name] = extractor_for(self.dataset, name, self.say, download=self._download)
        return self._extractors[name]

    def classifier(self, name: str | None = None) -> Extractor | None:
        """Return what tells the classes of images: the extractor called ``name`` or chosen, else the data's own one.

        Where the data has none, it is what `extractor` returns, whose classes are others, or none.

        Raises:
            ConfigError, DataError: as `extractor`.
        """
        return self.extractor(name or self._classifier_name)

    @property
    def chosen(self) -> bool:
        """Whether an extractor was asked for by name."""
        return self._extractor_name is not None

    @property
    def _classifier_name(self) -> str | None:
        if self._extractor_name is not None or self.dataset.modality != "image":
            return self._extractor_name
        return own_classifier(self.dataset)

    @property
    def extractor_in_use(self) -> Extractor | None:
        """The chosen extractor if a figure rests on it; None otherwise: nothing is loaded or trained for a picture."""
        return self._extractors.get(self._extractor_name)

    @property
    def classifier_in_use(self) -> Extractor | None:
        """The same of `classifier`; the chosen extractor where that is what is there."""
        return self._extractors.get(self._classifier_name) or self.extractor_in_use

    def count(self, wanted: int = MOST, split: str = "test") -> int:
        """Return how many samples a protocol compares with rows of ``split``: as many as wanted, given and there."""
        given = self.subject.count
        return min(wanted, len(self.dataset.splits[split]), wanted if given is None else given)

    def model(self, n: int) -> SampleSet:
        """Return ``n`` samples of the subject.

        Raises:
            DataError: if they are of the wrong shape or range, or not finite.
        """
        if self._drawn is None or len(self._drawn) < n:
            self.detail(f"drawing {n:,} samples of {self.subject.label}")
            shape = (n, *self.dataset.splits["train"].x.shape[1:])
            given = torch.as_tensor(self.subject.sample(n, self.seed)).detach().cpu()
            samples = checked(given, shape, self.dataset.modality)
            labels = None if self.subject.labels is None else self.subject.labels(n, self.seed)
            raw = given if given.is_floating_point() and self.dataset.modality == "image" else None
            self._drawn = SampleSet(self.subject.label, "model", samples, labels, raw)
        return self._drawn.first(n)

    @cached_property
    def reference(self) -> SampleSet:
        """The test rows that samples are compared with."""
        split = self.dataset.splits["test"]
        x, labels = spread(split, MOST)
        return SampleSet(f"test {self.noun}", "control", x, labels, kept=self._kept("test", len(x)))

    def control(self, name: str, n: int) -> SampleSet:
        """Return about ``n`` samples of a control set (fewer where the data has fewer)."""
        key = f"{name}/{n}"
        if key not in self._controls:
            x, labels = self._make(name, n)
            self._controls[key] = SampleSet(name, "control", x, labels, kept=self._kept(name, n))
        return self._controls[key]

    def _make(self, name: str, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        train, rng = self.dataset.splits["train"], np.random.default_rng(self.seed)
        if self.dataset.modality == "sequence":
            return make_sequences(name, train.x, self.dataset.splits["test"].x, n, rng, self.dataset), None
        held_out, training, centroids, noise = self.control_names
        if name == held_out:
            return spread(self.dataset.splits["valid"], n)
        if name == training:
            # Sorted, because the rows may be a memory map; their order does not matter.
            rows = np.sort(rng.permutation(len(train))[:n])
            return train.x[rows], None if train.labels is None else train.labels[rows]
        if name == centroids:
            clusters = max(1, min(n, len(train) // ROWS_PER_CENTROID))
            self.detail(f"k-means: {clusters:,} centroids of {len(train):,} training rows, one iteration")
            found = kmeans_centroids(train.x, clusters, self.seed)
            return (found.round().astype(np.uint8) if self.dataset.modality == "image" else found), None
        assert name == noise
        shape = (n, *train.x.shape[1:])
        if self.dataset.modality == "image":
            return rng.integers(0, 256, shape, dtype=np.uint8), None
        low, high = train.x.min(0), train.x.max(0)
        return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32), None

    def kept_arrays(self, name: str, n: int) -> Mapping[str, np.ndarray] | None:
        """Return arrays that this evaluation or an earlier one of the same data kept, or None."""
        if (name, n) in self._arrays:
            return self._arrays[name, n]
        path = self._kept(name, n)
        kept = None if path is None else read_arrays(path.with_suffix(".npz"))
        if kept is not None:
            self._arrays[name, n] = kept
        return kept

    def keep_arrays(self, name: str, n: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays for the rest of this evaluation, and for later ones of the same data."""
        self._arrays[name, n] = arrays
        path = self._kept(name, n)
        if path is not None:
            write_arrays(path.with_suffix(".npz"), arrays)

    def _kept(self, name: str, n: int) -> Path | None:
        if self.cache_dir is None:
            return None
        key = hashlib.sha256(f"{CHOICE}/{self.dataset.fingerprint}/{name}/{n}/{self.seed}".encode()).hexdigest()[:20]
        return self.cache_dir / "features" / key


def trained_on(bench: Bench) -> bool:
    """Whether the test rows of images or vectors are training rows: nothing was held out (looked for in small data)."""
    train, test = (bench.dataset.splits[name].x for name in ("train", "test"))
    if len(train) > MOST:
        return False
    known = {row.tobytes() for row in np.asarray(train)}
    return all(row.tobytes() in known for row in np.asarray(test[:_LOOKED_AT]))


def inside(x: np.ndarray) -> Tensor:
    """Return rows of a data set in the range of the library: images in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.array(x)))


def spread(split: Split, most: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return at most ``most`` rows and their labels, evenly spaced: rows of a folder stand class by class."""
    rows = evenly(len(split), most) if len(split) > most else slice(None)
    return split.x[rows], None if split.labels is None else split.labels[rows]


def checked(x: Tensor, shape: tuple[int, ...], modality: str) -> np.ndarray:
    """Return samples as they are measured: images as uint8, vectors as float32.

    Raises:
        DataError: on another shape than ``shape``, on values that are not finite (sequences: but for NaN in all
        features
            after their end), on images outside [-1, 1].
    """
    if tuple(x.shape) != shape:
        raise DataError(
            f"samples have shape {tuple(x.shape)}, but the data asks for {shape}: "
            "resize or convert the samples, or compare with the data they were made for"
        )
    if x.dtype == torch.uint8:
        return x.numpy()
    # A few rows at a time: the samples themselves may be most of the memory there is.
    parts = x.split(_ROWS_AT_ONCE)
    if modality == "sequence":
        broken = int((~ragged_well(x.numpy())).sum()) if x.ndim == 3 else len(x)
    else:
        broken = sum(int((~torch.isfinite(part)).flatten(1).any(1).sum()) for part in parts)
    if broken:
        raise DataError(
            f"{broken:,} of {len(x):,} samples hold values that are not finite: "
            "the generator has diverged; evaluate an earlier checkpoint"
        )
    if modality != "image":
        return x.float().numpy()
    low, high = (float(limit) for limit in x.aminmax())
    if low < -1.001 or high > 1.001:
        raise DataError(f"samples reach from {low:.4g} to {high:.4g}, but must be in [-1, 1]: rescale them")
    return torch.cat([to_bytes(part) for part in parts]).numpy()
