"""Which data a `Dataset` is, by its rows: its fingerprint may be that of the data set from which they were taken."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.data import cache
from saddlepoint.data.dataset import SPLITS, Dataset, Split

_CHUNK = 4_096


def identified(dataset: Dataset) -> Dataset:
    """Return the data set with the fingerprint of the rows that it holds.

    `dataclasses.replace` keeps the fingerprint of all rows where some are taken, and what is kept by it (classifiers,
    features, figures of real rows) would be that of other data. Rows that are those of the cache are not read; others
    are hashed, as the cache does it: equal content has the same fingerprint. Arrays beyond 256 MiB, of which the cache
    hashes a part, have one of their own in memory.
    """
    if entry_of(dataset) is not None or _is_drawn(dataset):
        return dataset
    splits: dict[str, dict[str, Any]] = {
        name: {
            "shape": list(split.x.shape), "dtype": split.x.dtype.name, "x": _sha256(split.x, split.x.dtype),
            "labels": None if split.labels is None else _sha256(split.labels, np.dtype(np.int64)),
        }
        for name, split in dataset.splits.items()
    }  # fmt: skip
    found = cache.fingerprint_of(
        dataset.modality, dataset.classes, splits, dataset.static, dataset.layout, dataset.labelling
    )
    return dataset if found == dataset.fingerprint else dataclasses.replace(dataset, fingerprint=found)


def entry_of(dataset: Dataset) -> Path | None:
    """Return the entry of the cache that holds exactly these rows; None if there is none.

    A data set from which rows were taken with `dataclasses.replace` still has the fingerprint of all, and a slice of a
    memory map the file of the whole.
    """
    file = getattr(dataset.splits["train"].x, "filename", None)
    if not file or not (Path(file).parent / "meta.json").is_file():
        return None
    kept = cache.read(Path(file).parent, dataset.name)
    if kept is None or dataclasses.replace(kept, splits={}) != dataclasses.replace(dataset, splits={}):
        return None
    same = kept.splits.keys() == dataset.splits.keys() and all(
        _is_whole(dataset.splits[split].x, part.x) and _equal(dataset.splits[split].labels, part.labels)
        for split, part in kept.splits.items()
    )
    return Path(file).parent if same else None


def fingerprint_of_drawn(called: str, splits: Mapping[str, Split]) -> str:
    """Return the fingerprint of simulated data, which the cache does not keep: SHA-256 of a name and of all rows."""
    digest = hashlib.sha256(called.encode())
    for split in SPLITS:
        digest.update(np.ascontiguousarray(splits[split].x).data)
    return digest.hexdigest()


def _is_drawn(dataset: Dataset) -> bool:
    """Whether the rows are those of simulated data of this name, or of this name and length."""
    steps = dataset.splits["train"].x.shape[1]
    if dataset.modality == "image" or set(dataset.splits) != set(SPLITS):
        return False
    return any(
        fingerprint_of_drawn(called, dataset.splits) == dataset.fingerprint
        for called in (dataset.name, f"{dataset.name} {steps}")
    )


def _is_whole(x: np.ndarray, kept: np.ndarray) -> bool:
    """Whether rows are all of those of a memory map, in their order; no row is read."""
    files = [getattr(rows, "filename", None) for rows in (x, kept)]
    return files[0] is not None and files[0] == files[1] and (x.shape, x.strides) == (kept.shape, kept.strides)


def _equal(labels: np.ndarray | None, kept: np.ndarray | None) -> bool:
    return labels is kept if labels is None or kept is None else np.array_equal(labels, kept)


def _sha256(rows: np.ndarray, dtype: np.dtype) -> str:
    """Return the SHA-256 of rows as the cache's file of them holds them, some at a time."""
    digest = hashlib.sha256()
    for start in range(0, len(rows), _CHUNK):
        digest.update(np.ascontiguousarray(rows[start : start + _CHUNK], dtype=dtype).tobytes())
    return digest.hexdigest()
