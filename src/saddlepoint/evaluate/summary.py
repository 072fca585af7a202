"""The whole evaluation in one sentence, and what a reader must know before trusting it."""

from __future__ import annotations

from collections.abc import Sequence

from saddlepoint.evaluate.divergence import LEVEL
from saddlepoint.evaluate.rows import Report, join
from saddlepoint.evaluate.series import summarise_series
from saddlepoint.evaluate.sets import MOST, Bench
from saddlepoint.evaluate.words import sentence
from saddlepoint.metrics.series import reach

_FEW_ROWS = 1_000

_BLIND = 0.05
"""Width in nats of the bound's interval above which a small bound says nothing."""


def limits(bench: Bench) -> tuple[str, ...]:
    """Return sentences on what limits the figures of this bench."""
    found = []
    test, n = len(bench.dataset.splits["test"]), bench.count()
    if bench.dataset.modality == "sequence":
        return _series_limits(bench)
    if test < _FEW_ROWS:
        found.append(
            f"'{bench.dataset.name}' has only {test:,} test rows: intervals are wide, and figures must not be compared "
            "with those of larger sets."
        )
    if n < min(MOST, test):
        found.append(f"Only {n:,} samples were given; up to {min(MOST, test):,} are used where there are as many.")
    extractor = bench.extractor_in_use
    if extractor is not None and extractor.name == "pixels":
        found.append(
            "Features are plain pixels: they weigh brightness and position more than what is shown. "
            "Any images can have those of inception-v3 (--features)."
        )
    return tuple(found)


def _series_limits(bench: Bench) -> tuple[str, ...]:
    train = bench.dataset.splits["train"].x
    found = []
    if far := reach(train):
        found.append(
            f"Training windows overlap: each shares points with the next {far:,}, so {len(train):,} are hardly "
            f"more than {max(1, len(train) // (far + 1)):,} independent ones. Intervals "
            "count runs of windows."
        )
    if bench.count(MOST, "train") < min(MOST, len(train)):
        found.append(
            f"Only {bench.subject.count:,} samples were given; as many are used as there are training windows."
        )
    return tuple(found)


def summarise(report: Report, controls: Sequence[str]) -> str:
    """Say in one sentence how like the samples are to real data, how much of its variety they have, whether they copy.

    Args:
        report: without its verdict.
        controls: names of the control sets: held-out, training, centroids, noise.
    """
    if report.find("discriminative-h32") or report.find("acf"):
        return summarise_series(report)
    held_out = controls[0]
    likeness = _likeness(report, held_out.removeprefix("held-out "))
    variety = _variety(report, held_out)
    copying = _copying(report)
    parts = [part for part in (likeness, variety, copying) if part]
    if not parts:
        return join([result.verdict for result in report.results])
    return f"{sentence(report.label)}: {'; '.join(parts)}."


def _likeness(report: Report, noun: str) -> str:
    bound, test = report.find("jsd"), report.find("jsd", "two-sample accuracy")
    if bound is None:
        return ""
    accuracy = "" if test is None else f"; it is right in {test.value:.0%} of cases"
    low, high = bound.interval or (bound.value, bound.value)
    # A probe that learned from few rows finds little, whatever there is to find.
    blind = high - low > _BLIND
    p = report.find("jsd", "two-sample p-value")
    if low <= 0 and (p is None or p.value >= LEVEL):
        return f"a fresh probe cannot tell the samples from real {noun}" + (", but it saw few of them" if blind else "")
    if low <= 0 or (low < 0.05 and blind):
        told = f"a fresh probe tells the samples from real {noun}"
        return f"{told}, but it saw too few to say how different they are{accuracy}"
    word = "close to" if low < 0.05 else "different from" if low < 0.3 else "far from"
    return (
        f"the samples are {word} real {noun} (a fresh probe shows a Jensen-Shannon divergence of at least "
        f"{low:.2f} of .69 nats{accuracy})"
    )


def _variety(report: Report, held_out: str) -> str:
    if (modes := report.find("modes", "modes")) is not None:
        quality = report.find("modes", "high-quality share")
        near = "" if quality is None else f", {quality.value:.0%} of the samples lie within 3 sigma of one"
        return f"{modes.value:.0f} of {modes.details.get('of', '?')} modes are hit{near}"
    recall, real = report.find("prdc", "recall"), report.find("prdc", "recall", held_out)
    if recall is None or real is None or real.value <= 0:
        return ""
    share = recall.value / real.value
    word = "nearly all" if share > 0.95 else "most" if share > 0.75 else "a part" if share > 0.3 else "little"
    lost = missing_classes(report)
    return f"they have {word} of the variety (recall {recall.value:.2f}, held-out {real.value:.2f})" + (
        f", and classes {lost} are missing or rare" if lost else ""
    )


def missing_classes(report: Report) -> str:
    """Return the names of classes that hold less than half their share of the data, joined; "" if none."""
    row = report.find("classes")
    return "" if row is None else str(row.details.get("rare", ""))


def _copying(report: Report) -> str:
    row = report.find("memorisation", "near copies")
    if row is None:
        return ""
    if row.details.get("copying"):
        return f"some are copies of training data: {row.value:.1%} lie nearer to it than 99% of real rows do"
    return "there is no sign that they copy training data"
