"""One set of samples: its features are found once, and kept where it comes back in every evaluation."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.files import write_atomically
from saddlepoint.evaluation.rows import Role
from saddlepoint.metrics.extractors import Derived, Extractor, Features


@dataclass
class SampleSet:
    """Samples with a name.

    Attributes:
        name: of its rows.
        role: model or control.
        x: images as uint8 (n, channel, height, width), vectors as float32 (n, feature), or sequences as float32
            (n, time, feature), NaN after the end of short ones.
        labels: asked or true labels (n,), or None.
        raw: images as the generator gave them, in [-1, 1], before they became bytes; None for real images.
        kept: file of its features, for a set that comes back in every evaluation; None: not kept.
    """

    name: str
    role: Role
    x: np.ndarray
    labels: np.ndarray | None = None
    raw: Tensor | None = None
    kept: Path | None = None
    _features: dict[str, Features] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def first(self, n: int) -> SampleSet:
        """Return the first ``n`` of the samples as a set of its own (features computed so far are shared)."""
        if n >= len(self):
            return self
        shared = {
            key: Features(f.x[:n], None if f.probabilities is None else f.probabilities[:n])
            for key, f in self._features.items()
        }
        labels = None if self.labels is None else self.labels[:n]
        raw = None if self.raw is None else self.raw[:n]
        return SampleSet(self.name, self.role, self.x[:n], labels, raw, None, shared)

    @property
    def unit(self) -> np.ndarray | Tensor:
        """Images in [0, 1], as float32."""
        return np.asarray(self.x, dtype=np.float32) / 255 if self.raw is None else (self.raw + 1) / 2

    def features(self, extractor: Extractor | None) -> Features:
        """Return the features of all samples; vectors are their own features."""
        if extractor is None:
            return Features(np.asarray(self.x, dtype=np.float32), None)
        if extractor.sha256 not in self._features:
            self._features[extractor.sha256] = self._read(extractor) or self._extract(extractor)
        return self._features[extractor.sha256]

    def _path(self, extractor: Extractor) -> Path | None:
        return None if self.kept is None else self.kept.with_name(f"{self.kept.name}-{extractor.sha256[:16]}.npz")

    def _read(self, extractor: Extractor) -> Features | None:
        kept = read_arrays(self._path(extractor))
        if kept is None or "x" not in kept or len(kept["x"]) != len(self.x):
            return None
        if isinstance(extractor, Derived):
            return Features(kept["x"], extractor.probabilities(kept["x"]))
        return Features(kept["x"], kept.get("probabilities"))

    def _extract(self, extractor: Extractor) -> Features:
        found = extractor.extract(np.ascontiguousarray(self.x))
        path = self._path(extractor)
        # Pixels are as fast computed as read.
        if path is not None and extractor.name != "pixels":
            classes = None if isinstance(extractor, Derived) else found.probabilities
            write_arrays(path, {"x": found.x} | ({} if classes is None else {"probabilities": classes}))
        return found


def read_arrays(path: Path | None) -> dict[str, np.ndarray] | None:
    """Return what `write_arrays` wrote; None where there is nothing, or nothing whole."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays; a cache that cannot be written costs time, not the figure."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        write_atomically(path, buffer.getvalue())
