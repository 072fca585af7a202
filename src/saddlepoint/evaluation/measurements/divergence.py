"""The certified lower bound: what a fresh probe shows of the Jensen-Shannon divergence."""

from __future__ import annotations

from collections.abc import Sequence

from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join
from saddlepoint.evaluation.sets import SampleSet
from saddlepoint.evaluation.text import row_of, shown, to_row
from saddlepoint.metrics.divergence import certified_jsd
from saddlepoint.metrics.probe import probe_seconds

BOUND = Metric("Jensen-Shannon divergence, at least", "lower", "nats", 3)
ACCURACY = Metric("two-sample accuracy", "lower", digits=3, least=0, most=1)
P_VALUE = Metric("two-sample p-value", "neither", digits=4)

_TIMED = 512
"""Rows on which the probe is timed."""

LEVEL = 0.05
"""Of the test of the probe's accuracy."""


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    """Probe the features: their divergence is at most that of the images, and no invisible pixel decides it."""
    task.bench.detail(f"probe: {samples.name}")
    reference, whole = task.bench.reference, task.extractor is None or task.extractor.name == "pixels"
    real, fake = (s.x if whole else s.features(task.extractor).x for s in (reference, samples))
    found = certified_jsd(real, fake, seed=task.bench.seed)
    p = Row(P_VALUE.name, samples.name, found.p_value, role=samples.role)
    return [to_row(BOUND, samples, found.bound), to_row(ACCURACY, samples, found.accuracy), p]


def _seconds(task: Task) -> float:
    whole = task.extractor is None or task.extractor.name == "pixels"
    few = task.bench.reference.first(min(task.n, _TIMED))
    return probe_seconds(few.x if whole else few.features(task.extractor).x)


def _verdict(rows: Sequence[Row], task: Task) -> str:
    bound, accuracy, p = (row_of(rows, None, metric.name) for metric in (BOUND, ACCURACY, P_VALUE))
    if bound is None or accuracy is None or p is None:
        return ""
    low, who = 0.0 if bound.interval is None else bound.interval[0], f"the samples of {bound.row}"
    if low > 0:
        found = (
            f"So the divergence is at least {BOUND.show(low)} nats, about {BOUND.show(bound.value)}; "
            "log 2 = .693 would be disjoint."
        )
    elif p.value < LEVEL:
        found = "So they differ; by how much at least, too few rows are left to say."
    else:
        found = "That is no better than chance: no difference is shown, though another probe might find one."
    return join(
        (
            f"A probe trained on one half tells {who} from real rows in {shown(accuracy, ACCURACY)} of the "
            f"other half's cases (p {P_VALUE.show(p.value)}).",
            found,
        )
    )


register(
    Protocol(
        "jsd", ("image", "vector"), "certified lower bound on the Jensen-Shannon divergence by a fresh probe",
        (BOUND, ACCURACY, P_VALUE), _measure, _verdict, ("probe",),
        controls=lambda bench: (bench.control_names[0], bench.control_names[2]),
        seconds=_seconds,
    )
)  # fmt: skip
