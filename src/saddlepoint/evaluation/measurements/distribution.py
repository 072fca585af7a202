"""Distances between distributions of features: Fréchet, kernel, precision and recall, density and coverage, scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.types import Modality
from saddlepoint.evaluation.duration import stand_in, timed
from saddlepoint.evaluation.features import names_classes
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.real_rows import kernel_to_real, manifold_of_real
from saddlepoint.evaluation.rows import Metric, Row, join
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import against_held_out, chance, judged, row_of, sentence, shown, to_row
from saddlepoint.metrics.classes import inception_score
from saddlepoint.metrics.extractors import Directed
from saddlepoint.metrics.frechet import frechet_both
from saddlepoint.metrics.kernel import kernel_distance
from saddlepoint.metrics.manifold import manifold

FRECHET = Metric("Fréchet distance", "lower", digits=3, least=0)
UNBIASED = Metric("Fréchet distance, bias removed", "lower", digits=3)
KERNEL = Metric("kernel distance", "lower", digits=3)
PRECISION = Metric("precision", "higher", digits=3, least=0, most=1)
RECALL = Metric("recall", "higher", digits=3, least=0, most=1)
DENSITY = Metric("density", "higher", digits=3, least=0)
COVERAGE = Metric("coverage", "higher", digits=3, least=0, most=1)
SCORE = Metric("inception score", "higher", digits=3, least=1)

_TIMED = 480
"""Rows on which figures of pairs are timed: many enough for a step to be none of Python's, few enough to be quick."""


def _pair(samples: SampleSet, task: Task) -> tuple[np.ndarray, np.ndarray]:
    return task.bench.reference.features(task.extractor).x, samples.features(task.extractor).x


def _frechet(samples: SampleSet, task: Task) -> list[Row]:
    real, fake = _pair(samples, task)
    # What the mean of the real features alone would get: the verdict's unit.
    spread = float(np.asarray(real, np.float64).var(0, ddof=1).sum()) if len(real) > 1 else 0.0
    details = {"n_real": len(real), "spread": round(spread, 6)} | (
        {} if task.extractor is None else {"sha256": task.extractor.sha256}
    )
    raw, unbiased = frechet_both(real, fake)
    rows = [to_row(FRECHET, samples, raw, **details)]
    return rows if unbiased is None else [*rows, to_row(UNBIASED, samples, unbiased, **details)]


def _frechet_verdict(rows: Sequence[Row], task: Task) -> str:
    """Judge by the figure without bias, which does not depend on the number of rows; without one, not at all."""
    held_out, _, centroids, _ = task.bench.control_names
    text = against_held_out(rows, FRECHET, held_out, "Fréchet distance")
    model, real, means = (row_of(rows, name, UNBIASED.name) for name in (None, held_out, centroids))
    if model is None or real is None or not judged(model, real):
        return text
    if model.value <= real.value + chance(model, real):
        text += " The two first moments of the features do not tell them apart."
    if means is not None and judged(model, means) and model.value > means.value + chance(model, means):
        text += f" Even k-means centroids come closer ({shown(means, UNBIASED)} without bias)."
    return text


def _kernel(samples: SampleSet, task: Task) -> list[Row]:
    real, fake = _pair(samples, task)
    return [to_row(KERNEL, samples, kernel_to_real(real, fake, task), n_real=len(real))]


def _kernel_verdict(rows: Sequence[Row], task: Task) -> str:
    model = row_of(rows, None)
    text = against_held_out(rows, KERNEL, task.bench.control_names[0], "kernel distance")
    if model is not None and model.interval is not None and model.interval[0] <= 0:
        text += " Zero lies in its interval: no difference is shown."
    return text


def _manifold(samples: SampleSet, task: Task) -> list[Row]:
    found = manifold_of_real(*_pair(samples, task), task)
    details: dict[str, str] = (
        {"distances": "between features of length 1"} if isinstance(task.extractor, Directed) else {}
    )
    return [to_row(metric, samples, found[metric.name], **details) for metric in (PRECISION, RECALL, DENSITY, COVERAGE)]


def _manifold_verdict(rows: Sequence[Row], task: Task) -> str:
    """Say whether samples lie where the data lies, and whether they reach all of it."""
    held_out = task.bench.control_names[0]
    sentences = []
    for metric, good, bad in (
        (
            PRECISION,
            "samples lie among the data as often as real ones",
            "samples lie outside the data more often than real ones",
        ),
        (RECALL, "they reach as much of it", "they reach less of it"),
    ):
        model, real = row_of(rows, None, metric.name), row_of(rows, held_out, metric.name)
        if model is not None and real is not None:
            figures = f"{sentence(metric.name)} {shown(model, metric)}, held-out {shown(real, metric)}"
            less = model.value < real.value - chance(model, real)
            # Few rows give no error, and another number of rows other figures.
            alike = judged(model, real) and model.details["n"] == real.details["n"]
            sentences.append(f"{figures}: {bad if less else good}." if alike else f"{figures}.")
    return join(sentences)


def _score(samples: SampleSet, task: Task) -> list[Row]:
    probabilities = samples.features(task.extractor).probabilities
    if probabilities is None:
        raise DataError("the extractor is no classifier, so there is no score")
    return [to_row(SCORE, samples, inception_score(probabilities))]


def _score_verdict(rows: Sequence[Row], task: Task) -> str:
    return join(
        (
            against_held_out(rows, SCORE, task.bench.control_names[0], "the score"),
            "The score sees neither copies nor a lack of variety within a class.",
        )
    )


def _pairs(measure: Callable[[np.ndarray, np.ndarray], object]) -> Callable[[Task], float]:
    """Return what tells the time of a figure of all pairs of rows."""

    def seconds(task: Task) -> float:
        few = stand_in(task, _TIMED)
        return timed(lambda: measure(few, few), (task.n / len(few)) ** 2)

    return seconds


def no_classifier(bench: Bench) -> str:
    """Return why a protocol that needs class probabilities cannot run, or ""."""
    extractor = bench.classifier()
    if extractor is None or extractor.classes is None:
        name = "coordinates" if extractor is None else extractor.name
        return f"it needs a classifier, and '{name}' is none; for labelled data one can be trained (--features)"
    return ""


def _not_of_other_classes(bench: Bench) -> bool:
    """Whether the classes are the data's own, or were asked for; ImageNet's say little of most other pictures.

    Where there are no classes at all, `no_classifier` tells the report why.
    """
    return bench.chosen or bool(no_classifier(bench)) or names_classes(bench.classifier(), bench.dataset)


_BOTH: tuple[Modality, ...] = ("image", "vector")

register(
    Protocol(
        "fd", _BOTH, "Fréchet distance of features to the test rows",
        (FRECHET, UNBIASED), _frechet, _frechet_verdict, ("fid",),
    )
)  # fmt: skip
register(
    Protocol(
        "kd", _BOTH, "kernel distance (cubic polynomial, unbiased) of features to the test rows",
        (KERNEL,), _kernel, _kernel_verdict, ("kid",), seconds=_pairs(kernel_distance),
    )
)  # fmt: skip
register(
    Protocol(
        "prdc", _BOTH, "improved precision and recall (3 neighbours), density and coverage (5)",
        (PRECISION, RECALL, DENSITY, COVERAGE), _manifold, _manifold_verdict, ("pr", "dc"), seconds=_pairs(manifold),
        version=2,
    )
)  # fmt: skip
register(
    Protocol(
        "is", ("image",), "inception score by the extractor's classifier",
        (SCORE,), _score, _score_verdict, needs=no_classifier, classifies=True, usual=_not_of_other_classes,
    )
)  # fmt: skip
