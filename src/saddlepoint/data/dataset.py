"""What a data set is: named splits of images, vectors or sequences, and notes on how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.utils.data

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import Modality, from_bytes
from saddlepoint.data.images.decode import USUAL, Look
from saddlepoint.data.plan import Finding
from saddlepoint.data.series.layout import Layout
from saddlepoint.data.spec import EXAMPLES, DataSpec, DataStats

SPLITS = ("train", "valid", "test")
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True)
class Split:
    """The rows of one split.

    Attributes:
        x: images as uint8 (rows, channel, height, width) in [0, 255], where 16 bits are kept as uint16 in [0, 65535],
            both of which are [-1, 1] to a family; a fourth channel is opacity. Vectors as float32 (rows, feature)
            in their own units, sequences as float32 (rows, time, feature), scaled to [0, 1] by the training
            rows and NaN after the end of a short window. Often a read-only memory map of the cache.
        labels: int64 (rows,) class indices; of data with a labelling (rows, classes): 1 where a class holds, 0 where it
            does not, -1 where that is not known. None when the data has no labels.
    """

    x: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else "labels"
        return f"Split({self.x.dtype} {tuple(self.x.shape)}, {labels})"


class Rows(torch.utils.data.Dataset[Any]):
    """The rows of a split in the range of the library: images in [-1, 1], vectors and windows as they are.

    A row is a float32 tensor, or (tensor, label) where the split has labels: a class index, or a row of them.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Any:
        if not -len(self) <= row < len(self):  # what ends a loop over them
            raise IndexError(f"row {row} of {len(self):,}")
        x = from_bytes(torch.from_numpy(np.array(self.split.x[row])))
        return x if self.split.labels is None else (x, torch.as_tensor(np.array(self.split.labels[row])))


@dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
        name: the name or path it was asked for by.
        modality: image, vector or sequence.
        splits: rows by split: ``train``, ``valid`` and ``test``; none of them is empty.
        classes: names of the classes in the order of their indices; empty when the data has no labels.
        fingerprint: hexadecimal SHA-256 of everything above but the name: equal content prepared in the same
            way has the same fingerprint wherever it came from.
        findings: how the data was read and what was done to it, with reasons; see `ReadingPlan`.
        static: how many features of a sequence, the last ones, are constant along each window.
        layout: columns, units and times of the table that sequences were cut from, or None.
        labelling: of data whose rows carry several labels at once; see `DataSpec`.
        look: how pictures were decoded; others that are compared with them are decoded alike.
    """

    name: str
    modality: Modality
    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    fingerprint: str
    findings: tuple[Finding, ...] = ()
    static: int = 0
    layout: Layout | None = None
    labelling: tuple[tuple[int, ...], ...] = ()
    look: Look = USUAL

    @property
    def notes(self) -> tuple[str, ...]:
        """The findings as sentences."""
        return tuple(finding.sentence() for finding in self.findings)

    @property
    def spec(self) -> DataSpec:
        """What a family must know to build its networks."""
        train, shares = self.splits["train"], ()
        if self.classes and train.labels is not None:
            several = train.labels.ndim == 2
            counts = (train.labels == 1).sum(0) if several else np.bincount(train.labels, minlength=len(self.classes))
            shares = tuple((counts / len(train)).tolist())
        layout = self.layout or Layout((), ())
        return DataSpec(
            self.modality, tuple(train.x.shape[1:]), self.classes, len(train), shares, self.static, self.labelling,
            layout.onehot, layout.spikes, layout.known, layout.cut,
        )  # fmt: skip

    def in_bytes(self) -> Dataset:
        """Return the same data in 8 bits, as pictures show it and features take it; itself if it is in them already."""
        if self.splits["train"].x.dtype != np.uint16:
            return self
        splits = {name: Split(bytes_of(split.x), split.labels) for name, split in self.splits.items()}
        return replace(self, splits=splits)

    def to_torch(self, split: str = "train") -> Rows:
        """Return the rows of a split as a data set of PyTorch, for its `DataLoader`.

        Args:
            split: train, valid or test.

        Raises:
            ConfigError: if there is no such split.
        """
        if split not in self.splits:
            raise ConfigError(f"there is no split '{split}'; {suggest(split, self.splits)}")
        return Rows(self.splits[split])

    def stats(self) -> DataStats:
        """Return mean and standard deviation of every element over the training rows.

        Images count in [-1, 1] (x / 127.5 - 1, of 16 bits x / 32767.5 - 1). Sums are float64, over a few rows at a
        time, in two
        passes, so that a mean that is large against the spread costs no precision.
        """
        x = self.splits["train"].x
        count, total = len(x), np.sum
        if self.modality == "sequence":
            total = np.nansum
            count = np.maximum(1, sum((~np.isnan(chunk)).sum(axis=0) for chunk in _chunks(x)))
        mean = sum(total(chunk, axis=0) for chunk in _chunks(x)) / count
        variance = sum(total(np.square(chunk - mean), axis=0) for chunk in _chunks(x)) / count
        std = np.sqrt(variance)
        if self.modality == "image":
            half = np.iinfo(x.dtype).max / 2
            mean, std = mean / half - 1, std / half
        rows = np.linspace(0, len(x) - 1, min(len(x), EXAMPLES)).round().astype(np.int64)
        examples = from_bytes(torch.from_numpy(np.array(x[rows])))
        return DataStats(torch.from_numpy(mean).float(), torch.from_numpy(std).float(), examples)


def bytes_of(x: np.ndarray) -> np.ndarray:
    """Return rows of 16 bits in 8, a few at a time: round(x / 257); other rows as they are."""
    if x.dtype != np.uint16:
        return x
    found = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), 256):
        found[start : start + 256] = (x[start : start + 256].astype(np.uint32) * 255 + 32767) // 65535
    return found


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    # few enough to stay in the processor's cache
    rows = max(1, _CHUNK_BYTES // (8 * int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        yield np.asarray(x[start : start + rows], dtype=np.float64)


def evenly(rows: int, most: int) -> np.ndarray:
    """Return the numbers of at most ``most`` of the rows, evenly spaced: rows of a folder stand class by class.

    >>> evenly(10, 4), evenly(3, 4)
    (array([0, 2, 5, 7]), array([0, 1, 2]))
    """
    n = min(rows, most)
    found: np.ndarray = np.arange(n) * rows // max(1, n)
    return found
