"""Prepared data sets as sources: to be prepared again with other options, or put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.sources.folder import Item, Source

_SEED = 2017
"""Of the draws of `stacked_source`."""


def dataset_source(dataset: Dataset, key: str) -> Source:
    """Return a prepared image data set as a source, to prepare it again with other options."""

    def items() -> Iterator[Item]:
        for split in SPLITS:
            part = dataset.splits[split]
            for row, pixels in enumerate(part.x):
                label = None if part.labels is None else label_of_row(part.labels[row])
                value = np.asarray(pixels)
                yield Item(value if value.ndim == 1 else value.transpose(1, 2, 0), label, f"{split} row {row}", split)

    return Source(
        dataset.name, key, items, modality=dataset.modality, classes=dataset.classes, notes=dataset.findings,
        labelling=dataset.labelling,
    )  # fmt: skip


def label_of_row(label: np.ndarray) -> int | tuple[int, ...]:
    """Return one row of prepared labels as a source has it."""
    return tuple(int(value) for value in label) if label.ndim else int(label)


def stacked_source(dataset: Dataset, name: str, rows: Sequence[int]) -> Source:
    """Return pictures of three grey images of a data set, one in each channel, without labels.

    Args:
        dataset: grey images; the channels of a picture come from one of its splits, each drawn with replacement.
        name: of the result.
        rows: pictures in train, valid and test.
    """

    def items() -> Iterator[Item]:
        rng = np.random.default_rng(_SEED)
        for split, count in zip(SPLITS, rows, strict=True):
            x = np.asarray(dataset.splits[split].x)[:, 0]
            for row, chosen in enumerate(rng.integers(0, len(x), (count, 3))):
                yield Item(x[chosen].transpose(1, 2, 0), None, f"{split} row {row}", split)

    note = f"three images of {dataset.name} in the channels of each picture, drawn with replacement within its splits"
    return Source(name, f"stacked/{dataset.fingerprint}/{_SEED}", items, modality="image", notes=(note,))
