"""What a classifier sees: classes present, their balance, each class's distance, and whether labels are obeyed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data import short_name
from saddlepoint.evaluation.features import names_classes
from saddlepoint.evaluation.measurements.distribution import no_classifier
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import row_of, sentence, shown, to_row
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.classes import asked_accuracy, class_histogram, classifier_accuracy_score
from saddlepoint.metrics.frechet import frechet_by_class

PRESENT = Metric("classes present", "higher", digits=0, least=0)
VARIATION = Metric("class imbalance (total variation)", "lower", digits=3, least=0, most=1)
DIVERGENCE = Metric("class imbalance (KL)", "lower", "nats", 4)
WORST = Metric("Fréchet distance of the worst class", "lower", digits=2, least=0)
ACCURACY = Metric("samples of the class asked for", "higher", digits=3, least=0, most=1)
USEFUL = Metric("classifier accuracy score", "higher", digits=3, least=0, most=1)

_RARE = 0.5
"""A class is rare if it has less than this share of what the data gives it."""


def _unlabelled(bench: Bench) -> str:
    if not bench.dataset.classes or bench.dataset.splits["test"].labels is None:
        return f"'{short_name(bench.dataset.name)}' has no labels"
    if bench.dataset.labelling:
        return f"rows of '{short_name(bench.dataset.name)}' carry several labels at once"
    if why := no_classifier(bench):
        return why
    extractor = bench.classifier()
    if extractor is None or not names_classes(extractor, bench.dataset):
        why = f"the extractor names classes of other data than '{short_name(bench.dataset.name)}'"
        return f"{why}; leave --features out" if bench.chosen else why
    return ""


def _no_labels_asked(bench: Bench) -> str:
    if bench.subject.labels is None:
        return "the samples carry no labels (it is for conditional generators)"
    return _unlabelled(bench)


def _seen(samples: SampleSet, task: Task) -> np.ndarray:
    found = samples.features(task.extractor)
    if found.probabilities is None:
        raise DataError("the extractor is no classifier, so classes cannot be told")
    return found.labels


def _classes(samples: SampleSet, task: Task) -> list[Row]:
    """Histogram of the classes the classifier sees; the data's own histogram is that of what it sees in test rows."""
    names, reference = task.bench.dataset.classes, task.bench.reference
    seen, real = _seen(samples, task), _seen(reference, task)
    found = class_histogram(seen, real, classes=len(names))
    shares, usual = found.shares, found.real_shares
    rare = [name for name, share, norm in zip(names, shares, usual, strict=True) if share < _RARE * norm]
    details = {"shares": [round(float(share), 4) for share in shares], "rare": ", ".join(rare)}
    rows = [
        to_row(PRESENT, samples, found.present, **details),
        to_row(VARIATION, samples, found.total_variation),
        to_row(DIVERGENCE, samples, found.kl),
    ]
    by_class = _distances(samples.features(task.extractor).x, seen, reference.features(task.extractor).x, real, names)
    if by_class:
        worst = max(by_class, key=lambda name: by_class[name].value)
        values = {name: round(found.value, 3) for name, found in by_class.items()}
        left = ", ".join(name for name in names if name not in by_class)
        # The largest of several: an interval of that class alone would leave out that it was chosen.
        estimate = Estimate(by_class[worst].value, None, None, {})
        rows.append(to_row(WORST, samples, estimate, worst=worst, by_class=values, left_out=left))
    return rows


def _distances(
    fake: np.ndarray, seen: np.ndarray, real: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, Estimate]:
    """Fréchet distance without bias of each class that has enough rows on both sides."""
    enough = [i for i in range(len(names)) if min((labels == i).sum(), (seen == i).sum()) > 1]
    here, there = np.isin(labels, enough), np.isin(seen, enough)
    pairs = {}
    if enough:
        pairs = frechet_by_class(real[here], labels[here], fake[there], seen[there], intervals=False)
    return {names[i]: unbiased for i, (_, unbiased) in pairs.items() if unbiased is not None}


def _classes_verdict(rows: Sequence[Row], task: Task) -> str:
    model, names = row_of(rows, None, PRESENT.name), task.bench.dataset.classes
    variation, worst = row_of(rows, None, VARIATION.name), row_of(rows, None, WORST.name)
    if model is None or variation is None:
        return ""
    rare, left = model.details["rare"], "" if worst is None else worst.details["left_out"]
    return join(
        (
            f"{sentence(model.row)} shows {model.value:.0f} of {len(names)} classes; "
            f"{shown(variation, VARIATION)} of its samples would have to change class to match the data.",
            f"Missing or rare: {rare}." if rare else "",
            f"Farthest from the data is class {worst.details['worst']}." if worst is not None else "",
            f"Too rare to be compared: {left}." if left else "",
        )
    )


def _accuracy(samples: SampleSet, task: Task) -> list[Row]:
    if samples.labels is None:
        raise DataError("these samples carry no labels")
    return [to_row(ACCURACY, samples, asked_accuracy(_seen(samples, task), samples.labels))]


def _accuracy_verdict(rows: Sequence[Row], task: Task) -> str:
    return f"The classifier sees the class that was asked for in {shown(rows[0], ACCURACY)} of the samples."


def _useful(samples: SampleSet, task: Task) -> list[Row]:
    """Train on samples, test on real rows: Ravuri & Vinyals 2019, who train a whole network, not a linear one on
    features that an extractor learned from real rows."""
    reference = task.bench.reference
    if samples.labels is None or reference.labels is None:
        raise DataError("these samples carry no labels")
    found = classifier_accuracy_score(
        samples.features(task.extractor).x, samples.labels, reference.features(task.extractor).x, reference.labels
    )
    return [to_row(USEFUL, samples, found)]


def _useful_verdict(rows: Sequence[Row], task: Task) -> str:
    training = task.bench.control_names[1]
    model, real = row_of(rows, None), row_of(rows, training)
    beside = "" if real is None else f"; trained on as many {training} it reaches {shown(real, USEFUL)}"
    return (
        ""
        if model is None
        else f"A linear classifier on the extractor's features, trained on the samples alone, reaches "
        f"{shown(model, USEFUL)} on real rows{beside}."
    )


def _real_rows(bench: Bench) -> Sequence[str]:
    return bench.control_names[:2]


register(
    Protocol(
        "classes", ("image",), "classes that the extractor's classifier sees, against those of the test rows",
        (PRESENT, VARIATION, DIVERGENCE, WORST), _classes, _classes_verdict, needs=_unlabelled, classifies=True,
        version=2,
    )
)  # fmt: skip
register(
    Protocol(
        "accuracy", ("image",), "share of samples that show the class they were asked for", (ACCURACY,),
        _accuracy, _accuracy_verdict, controls=_real_rows, needs=_no_labels_asked, classifies=True,
    )
)  # fmt: skip
register(
    Protocol(
        "cas", ("image",), "accuracy on test rows of a classifier trained on the samples", (USEFUL,),
        _useful, _useful_verdict, controls=_real_rows, needs=_no_labels_asked, classifies=True,
    )
)  # fmt: skip
