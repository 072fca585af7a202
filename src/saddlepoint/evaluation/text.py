"""Words and small sums that the verdicts of all protocols share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saddlepoint.evaluation.rows import Metric, Row, gap_between
from saddlepoint.evaluation.sets import SampleSet
from saddlepoint.metrics.bootstrap import Estimate


def row_of(rows: Sequence[Row], name: str | None, metric: str | None = None) -> Row | None:
    """Return the row of the named control (None: the model) and metric (None: the first that is there)."""
    for row in rows:
        if (row.role == "model" if name is None else row.row == name) and metric in (None, row.metric):
            return row
    return None


def chance(a: Row, b: Row) -> float:
    """How far two figures may lie apart by chance: from their difference to the end of its interval towards 0."""
    gap, low, high = gap_between(a, b)
    return gap - low if gap > 0 else high - gap


def judged(a: Row, b: Row) -> bool:
    """Whether both figures have errors, so that their difference can be held against chance."""
    return a.error is not None and b.error is not None


def shown(row: Row, metric: Metric) -> str:
    """Return a value with its interval, or its standard error."""
    if row.interval is not None:
        return f"{metric.show(row.value)} [{metric.show(row.interval[0])}, {metric.show(row.interval[1])}]"
    if row.standard_error is not None:
        return f"{metric.show(row.value)} ± {metric.show(row.standard_error)}"
    return metric.show(row.value)


def sentence(label: str) -> str:
    """Begin a sentence with a row's name; that of a file stays as it is."""
    return label if "." in label else f"{label[:1].upper()}{label[1:]}"


def to_row(metric: Metric, samples: SampleSet, estimate: Estimate, **details: Any) -> Row:
    """Return an estimate of a set of samples as a row."""
    return Row(
        metric.name, samples.name, estimate.value, estimate.standard_error, estimate.interval, samples.role,
        {"n": len(samples), **estimate.details, **details},
    )  # fmt: skip


def against_held_out(rows: Sequence[Row], metric: Metric, held_out: str, what: str) -> str:
    """Say where the model's figure lies between noise of measurement and far away: beside held-out real rows."""
    model, real = row_of(rows, None, metric.name), row_of(rows, held_out, metric.name)
    if model is None:
        return ""
    text = f"{sentence(model.row)} has {what} {shown(model, metric)}"
    return f"{text}, {held_out} {shown(real, metric)}." if real is not None else f"{text}."
