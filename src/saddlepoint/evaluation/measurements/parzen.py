"""Parzen window log-likelihood by the protocol released with the 2014 paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import Dataset
from saddlepoint.evaluation.duration import timed_by_rows
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join, short_count
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import chance, row_of, sentence, shown
from saddlepoint.metrics import parzen10k

_CENTRES, _VALID, _TEST, _FEWEST = 10_000, 1_000, 10_000, 10
_TIMED, _ROWS_TIMED = 1_000, 200
"""Centres and test rows on which it is timed."""

LIKELIHOOD = Metric("log-likelihood", "neither", "nats", 1)


def _counts(dataset: Dataset) -> tuple[int, int, int]:
    """Centres, validation and test rows: the released counts, or what the data has."""
    counts = []
    for split, wanted in (("train", _CENTRES), ("valid", _VALID), ("test", _TEST)):
        count = len(dataset.splits[split]) if split in dataset.splits else 0
        if count < _FEWEST:
            raise DataError(
                f"'{dataset.name}' has {count} {split} rows, but a Parzen figure needs at least {_FEWEST}: "
                "use more data, or judge the samples by their pictures"
            )
        counts.append(min(wanted, count))
    return counts[0], counts[1], counts[2]


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    dataset = task.bench.dataset
    wanted, n_valid, n_test = _counts(dataset)
    if len(samples) < _FEWEST:
        raise DataError(f"{len(samples)} samples, but a Parzen figure needs at least {_FEWEST}: draw more")
    task.bench.detail(f"Parzen: {samples.name}, {len(samples):,} centres")
    valid, test = (np.asarray(dataset.splits[name].x[:n]) for name, n in (("valid", n_valid), ("test", n_test)))
    found = parzen10k(samples.x if samples.raw is None else samples.unit, valid, test)
    details = {
        "sigma": round(found.sigma, 4),
        "n_centres": found.n_centres,
        "n_valid": found.n_valid,
        "n_test": found.n_test,
        # k-means has fewer centroids than rows by its nature.
        "as_released": (found.n_centres if samples.role == "model" else wanted, found.n_valid, found.n_test)
        == (_CENTRES, _VALID, _TEST),
    }
    return [Row(LIKELIHOOD.name, samples.name, found.value, found.standard_error, None, samples.role, details)]


def _verdict(rows: Sequence[Row], task: Task) -> str:
    """Say where the model stands among the control rows."""
    _, training, centroids, noise_name = task.bench.control_names
    model, truth, means, noise = (row_of(rows, name) for name in (None, training, centroids, noise_name))
    if model is None or truth is None:
        return ""
    gap = model.value - truth.value
    level = f"real training images ({truth.value:.1f})"
    if noise is not None and model.value < noise.value - chance(model, noise):
        place = f"below uniform noise ({noise.value:.1f}): untrained or collapsed"
    elif gap > chance(model, truth):
        place = f"above the level of {level}: such a figure is not better than the truth"
    elif gap < -chance(model, truth):
        place = f"{-gap:.1f} nats below the level of {level}"
    else:
        place = f"at the level of {level}"
    smooth = means is not None and means.value > truth.value
    return join(
        (
            f"{sentence(model.row)} reaches {shown(model, LIKELIHOOD)} nats, {place}.",
            f"Smoothness alone scores high here (k-means centroids reach {means.value:.1f}): look at the samples."
            if means is not None and smooth
            else "",
            ""
            if all(row.details["as_released"] for row in rows)
            else "This data is too small for the released counts: do not compare with published figures.",
        )
    )


def _seconds(task: Task) -> float:
    n, n_valid, n_test = _counts(task.bench.dataset)
    # Between bytes, as a generator's.
    centres = np.asarray(task.bench.dataset.splits["train"].x[: min(n, task.n, _TIMED)], np.float32) / 255
    test = np.asarray(task.bench.dataset.splits["test"].x[:_ROWS_TIMED])
    fixed, row = timed_by_rows(lambda rows: parzen10k(centres, test[:_FEWEST], rows), test, _FEWEST)
    return fixed + row * (n_valid + n_test) * min(n, task.n) / len(centres)


def _count(bench: Bench, wanted: int) -> int:
    return bench.count(min(wanted, _CENTRES), "train")


register(
    Protocol(
        kind="parzen",
        modalities=("image",),
        summary="Parzen window log-likelihood as released in 2014: sigma from 1,000 validation images",
        metrics=(LIKELIHOOD,),
        measure=_measure,
        verdict=_verdict,
        name=lambda task: f"parzen{short_count(task.n)}_cv10",
        controls=lambda bench: bench.control_names[1:],
        count=_count,
        # Of colour pictures nobody reads it, and it takes long.
        usual=lambda bench: bench.dataset.spec.shape[0] == 1,
        seconds=_seconds,
        extracts=False,
        version=2,
    )
)
