"""One figure by which averages of a run, or trials of a sweep, are chosen between: on validation rows, no test rows.

Images: the Fréchet distance in the features that reports take (of translations: within each class, then the mean).
Windows: the classifier with 32 units that reports judge by. Vectors: the energy distance, which sees modes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from saddlepoint.core.errors import DataError
from saddlepoint.core.progress import Say
from saddlepoint.data.dataset import Dataset
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.reference import Cloud
from saddlepoint.evaluation.sequences import thinned, told
from saddlepoint.evaluation.sets import Bench, Subject, spread
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.frechet import frechet_both
from saddlepoint.metrics.series_scores import discriminative

LEAST_ROWS = 50
"""Validation rows below which nothing is chosen by them."""

_APART = 1_000_003
"""Added to a seed: the samples of a choice are others than those of a report."""


@dataclass(frozen=True)
class Judge:
    """A figure of a generator; lower is better.

    Attributes:
        figure: its name, with the rows that it is taken on.
        measure: (subject) -> the figure.
        notes: what a reader should know of the choice of rows.
    """

    figure: str
    measure: Callable[[Subject], Estimate]
    notes: tuple[str, ...] = ()


def judge_for(
    dataset: Dataset,
    n: int,
    seed: int = 0,
    features: str | None = None,
    say: Say = lambda line: None,
    remedy: str = "name a length",
) -> Judge:
    """Return the figure that suits a data set.

    Args:
        dataset: the run's data; its test rows are not looked at.
        n: rows, and samples, at most.
        seed: of the samples.
        features: name of a feature extractor; None: the best one for the data.
        say: receives lines on what takes long.
        remedy: what can be done where there are too few rows to choose by.

    Raises:
        ConfigError: on an extractor that does not fit the data.
        DataError: if there are fewer than 50 validation rows.
    """
    # Test rows are not even handed on: whatever is computed below cannot depend on them.
    dataset = replace(dataset, splits={**dataset.splits, "test": dataset.splits["valid"]})
    held_out = len(dataset.splits["valid"])
    if held_out < LEAST_ROWS:
        raise DataError(
            f"'{dataset.name}' has {held_out:,} validation rows, and nothing is chosen by fewer than {LEAST_ROWS}; "
            f"{remedy}"
        )
    make = {"image": _of_images, "sequence": _of_windows, "vector": _of_vectors}[dataset.modality]
    return make(dataset, n, seed, features, say)


def _of_images(dataset: Dataset, n: int, seed: int, features: str | None, say: Say) -> Judge:
    shown = dataset.in_bytes()
    x, labels = spread(shown.splits["valid"], n)
    extractor = _bench(Subject("", lambda n, seed: torch.empty(0)), dataset, seed, features, say).extractor()
    assert extractor is not None
    real = extractor.extract(np.ascontiguousarray(x)).x

    def measure(subject: Subject) -> Estimate:
        drawn = _bench(subject, dataset, seed, features, say).model(len(x))
        fake = extractor.extract(np.ascontiguousarray(drawn.x)).x
        if subject.translate is None or labels is None or drawn.labels is None:
            return frechet_both(real, fake)[0]
        return _within_classes(real, labels, fake, drawn.labels)

    return Judge(f"Fréchet distance ({extractor.name}) to {len(x):,} validation images", measure)


def _within_classes(real: np.ndarray, labels: np.ndarray, fake: np.ndarray, asked: np.ndarray) -> Estimate:
    """Return the mean over classes of the distance of translations into a class from its images."""
    # Over all classes at once, a generator that leaves every image as it is would be the best.
    several = labels.ndim == 2
    classes = range(labels.shape[1]) if several else sorted(set(labels.tolist()))
    found = []
    for number in classes:
        own, made = (table[:, number] == 1 if several else table == number for table in (labels, asked))
        if own.sum() >= 2 and made.sum() >= 2:
            found.append(frechet_both(real[own], fake[made], intervals=False)[0].value)
    if not found:
        raise DataError("no class has two validation images and two translations; name a length")
    return Estimate(float(np.mean(found)), details={"classes": len(found)})


def _of_windows(dataset: Dataset, n: int, seed: int, features: str | None, say: Say) -> Judge:
    # Where later windows are other than those trained on, a classifier tells the time of a window, not who made it.
    drifts = Evaluator(dataset, seed, "cpu").drifts
    split, word = ("train", "training") if drifts else ("valid", "validation")
    rows = np.asarray(thinned(dataset.splits[split].x, n))
    notes = ("validation windows are of another time than training windows: training windows judge",) if drifts else ()

    def measure(subject: Subject) -> Estimate:
        drawn = _bench(subject, dataset, seed, features, say).model(len(rows))
        return discriminative(told(dataset, rows), told(dataset, drawn.x), seed=seed)

    return Judge(f"discriminative score, 32 units, on {len(rows):,} {word} windows", measure, notes)


def _of_vectors(dataset: Dataset, n: int, seed: int, features: str | None, say: Say) -> Judge:
    rows = torch.from_numpy(np.array(spread(dataset.splits["valid"], n)[0]))
    cloud = Cloud.of(rows)

    def measure(subject: Subject) -> Estimate:
        drawn = _bench(subject, dataset, seed, features, say).model(len(rows))
        value, error = cloud.energy(torch.from_numpy(drawn.x))
        return Estimate(value, standard_error=error)

    return Judge(f"energy distance to {len(rows):,} validation vectors, as a share of their mean distance", measure)


def _bench(subject: Subject, dataset: Dataset, seed: int, features: str | None, say: Say) -> Bench:
    return Bench(subject, dataset, seed + _APART, features, None, say)
