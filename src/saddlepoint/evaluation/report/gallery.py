"""The samples that a report shows: the first ones, the closest to training rows, some of every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saddlepoint.core.types import to_bytes
from saddlepoint.evaluation.features import names_classes
from saddlepoint.evaluation.measurements.replication import replicated, shown_rows
from saddlepoint.evaluation.rows import Report, closest_of
from saddlepoint.evaluation.sets import Bench

_WINDOWS = 1_000
_SHOWN, _PAIRS, _EACH, _CLASSES = 80, 18, 10, 20


@dataclass(frozen=True)
class Gallery:
    """What there is to see.

    Attributes:
        samples: the first samples, not chosen: uint8 images, float32 vectors or sequences.
        pairs: (k, 2, *sample): samples nearest to a training row, and that row; the nearest pair first.
        distances: of the pairs.
        by_class: (classes, each, *sample) samples by their class, or None.
        classes: names of those classes.
        asked: whether the class was asked for; otherwise the extractor's classifier named it.
        real: training rows to set beside vectors and sequences; windows from all of the series, in random order.
        replicas: (k, 2, *sample) held-out images and what came out where they went in, of models with an encoder.
        columns: names of the features of sequences, which are then in the units of their table.
    """

    samples: np.ndarray
    pairs: np.ndarray | None = None
    distances: tuple[float, ...] = ()
    by_class: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    asked: bool = False
    real: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    replicas: np.ndarray | None = None


def gallery(report: Report, bench: Bench) -> Gallery:
    """Gather what a report shows from what its protocols found."""
    n = bench.count()
    samples, train = bench.model(n), bench.dataset.splits["train"].x
    if bench.dataset.modality == "sequence":
        return _sequences(bench, train)
    if bench.dataset.modality != "image":
        return Gallery(samples.x, real=train[: bench.count()])
    pairs: np.ndarray | None = None
    distances: tuple[float, ...] = ()
    row = closest_of(report.find("memorisation"), report.find("feature-copies"))
    if row is not None and (found := row.details.get("pairs")):
        found = found[:_PAIRS]
        own, nearest = [int(pair[0]) for pair in found], [int(pair[1]) for pair in found]
        drawn = bench.model(max(len(samples.x), *(i + 1 for i in own))).x
        pairs = np.stack([np.stack([drawn[i], train[j]]) for i, j in zip(own, nearest, strict=True)])
        distances = tuple(float(pair[2]) for pair in found)
    by_class, names, asked = _by_class(bench, n)
    return Gallery(samples.x[:_SHOWN], pairs, distances, by_class, names, asked, replicas=_replicas(report, bench))


def _replicas(report: Report, bench: Bench) -> np.ndarray | None:
    if report.find("replication") is None:
        return None
    rows = shown_rows(bench)
    return np.stack([rows.x, to_bytes(replicated(bench, rows.x, rows.labels)).numpy()], 1)


def _sequences(bench: Bench, train: np.ndarray) -> Gallery:
    """Return windows in the units of their table, where there is one."""
    n = min(bench.count(_WINDOWS, "train"), _WINDOWS)
    rows = np.unique(np.linspace(0, len(train) - 1, n).round().astype(np.int64))
    real, fake = train[rows][np.random.default_rng(0).permutation(len(rows))], bench.model(n).x
    layout = bench.dataset.layout
    if layout is None:
        return Gallery(fake, real=real)
    columns = tuple(column.name for column in layout.columns)
    return Gallery(layout.restore(fake), real=layout.restore(real), columns=columns)


def _by_class(bench: Bench, n: int) -> tuple[np.ndarray | None, tuple[str, ...], bool]:
    """Choose the first samples of every class; a class with too few is filled with grey."""
    samples, extractor = bench.model(n), bench.classifier_in_use
    labels, asked = samples.labels, True
    if labels is None:
        if extractor is None or not names_classes(extractor, bench.dataset):
            return None, (), False
        labels, asked = samples.features(extractor).labels, False
    names = bench.dataset.classes
    if not 2 <= len(names) <= _CLASSES:
        return None, (), False
    shown = np.full((len(names), _EACH, *samples.x.shape[1:]), 64, np.uint8)
    for index in range(len(names)):
        rows = np.flatnonzero(labels == index)[:_EACH]
        shown[index, : len(rows)] = samples.x[rows]
    return shown, names, asked
