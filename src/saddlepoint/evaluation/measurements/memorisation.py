"""Whether samples lie nearer to the training rows than real rows do that the model has never seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.evaluation.duration import timed, timed_by_rows
from saddlepoint.evaluation.near_copies import held_out_nearness, nearness_of, split_needs
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join, short_count
from saddlepoint.evaluation.sequences import BASELINES, TRAINING, seen
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import row_of, shown, to_row
from saddlepoint.metrics.leave_out import COPYING, nearest_ratio
from saddlepoint.metrics.memorisation import FEW, memorisation, nearness
from saddlepoint.metrics.series import SAME_SHAPE

NEAR = Metric("near copies", "lower", digits=4, least=0, most=1)
COPIES = Metric("copies", "lower", digits=4, least=0, most=1)
P_VALUE = Metric("memorisation p-value", "neither", digits=4)
RATIO = Metric("distance of the nearest tenth", "neither", digits=3, least=0)
_SAMPLES, _PAIRS, _FEW_ROWS = 2_000, 24, 500
_ROWS_TIMED, _TRAIN_TIMED = 200, 2_000
"""Samples and training rows on which distances are timed."""


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    bench = task.bench
    train = bench.dataset.splits["train"].x
    bench.detail(f"nearest training rows: {samples.name}")
    own = nearness_of(bench, samples.x)
    found = memorisation(own, held_out_nearness(bench, task.n), len(train))
    pairs = [[int(i), int(own.index[i]), round(float(own.distance[i]), 4)] for i in found.closest[:_PAIRS]]
    return [
        to_row(NEAR, samples, found.near, copying=found.copying, pairs=pairs),
        to_row(COPIES, samples, found.copies),
        Row(P_VALUE.name, samples.name, found.p_value, role=samples.role),
    ]


def _seconds(task: Task) -> float:
    bench, train = task.bench, task.bench.dataset.splits["train"].x
    if bench.dataset.modality == "sequence":
        rows = train[: max(1, task.n // 50)]
        return timed(lambda: nearness_of(bench, rows), task.n / len(rows))
    part = np.asarray(train[:_TRAIN_TIMED])
    rows = part[:_ROWS_TIMED]
    fixed, row = timed_by_rows(lambda some: nearness(some, part), rows, max(1, len(rows) // 10))
    return (fixed + row * task.n) * len(train) / len(part)


def _count(bench: Bench, wanted: int) -> int:
    """Return how many samples are looked at: as many as test rows, or `FEW` where there are fewer rows than that."""
    given = bench.subject.count
    return max(bench.count(wanted), min(wanted, FEW if given is None else min(FEW, given)))


def _word(bench: Bench) -> str:
    return "shapes" if bench.dataset.modality == "sequence" else "pixels"


def _controls(bench: Bench) -> tuple[str, ...]:
    """Return real rows; for sequences the baselines too, for one of them is made of copies."""
    return (*bench.control_names[:2], *BASELINES) if bench.dataset.modality == "sequence" else bench.control_names[:2]


def _verdict(rows: Sequence[Row], task: Task) -> str:
    near, copies, p = (row_of(rows, None, metric.name) for metric in (NEAR, COPIES, P_VALUE))
    if near is None or copies is None or p is None:
        return ""
    same = "but for two grey levels"
    if task.bench.dataset.modality == "sequence":
        same = f"but for level, scale and {SAME_SHAPE:.0%} of its deviation"
    word = "The samples hold copies of training rows" if near.details["copying"] else "No sign of copying"
    return join(
        (
            f"{word}: {shown(near, NEAR)} of them lie nearer to a training row, relative to its neighbourhood, than "
            f"99% of the test rows do (0.01 is expected); {shown(copies, COPIES)} are one, {same}.",
            f"The p-value asks another thing, whether the samples as a whole lie nearer to training rows than real: "
            f"{shown(p, P_VALUE)} says that they do{'' if p.value < 0.01 else ' not'}, whatever a few of them are.",
        )
    )


register(
    Protocol(
        "memorisation", ("image", "vector", "sequence"), "nearness to training rows against that of test rows",
        (NEAR, COPIES, P_VALUE), _measure, _verdict, ("copies",),
        name=lambda task: f"memorisation{short_count(task.n)}_{_word(task.bench)}_test",
        controls=_controls,
        count=lambda bench, wanted: _count(bench, min(wanted, _SAMPLES)),
        needs=split_needs,
        seconds=_seconds,
        extracts=False,
        version=2,
    )
)  # fmt: skip


def _left_out(samples: SampleSet, task: Task) -> list[Row]:
    bench = task.bench
    bench.detail(f"{RATIO.name}: {samples.name}")
    own, train = (seen(bench.dataset, x) for x in (samples.x, bench.dataset.splits["train"].x))
    return [to_row(RATIO, samples, nearest_ratio(own, train, seed=bench.seed))]


def _needs_left_out(bench: Bench) -> str:
    """Return why samples are not held against training windows left out in turn, or ""."""
    test, train = (bench.dataset.splits[name].x for name in ("test", "train"))
    held = len(test) + len(bench.dataset.splits["valid"].x)
    same = len(test) == len(train) and bool(np.array_equal(test, train, equal_nan=True))
    if held >= FEW and not same:
        return f"there are {held:,} held-out windows, which 'memorisation' compares with"
    return ""


def _left_out_verdict(rows: Sequence[Row], task: Task) -> str:
    model = row_of(rows, None)
    if model is None:
        return ""
    if model.details["copying"]:
        word = "The samples hold copies of training rows"
    else:
        word = "No sign of copying" if model.interval and model.interval[0] > COPYING else "Copies cannot be ruled out"
    return (
        f"{word}: the nearest tenth of them lies at {shown(model, RATIO)} of the distance at which training windows "
        f"lie from rows that they do not share (1 is expected, copies are near 0; surely below {COPYING} is copying)."
    )


register(
    Protocol(
        "leave-out", ("sequence",), "nearness to training rows against that of training windows left out",
        (RATIO,), _left_out, _left_out_verdict, ("small-copies",),
        name=lambda task: f"leave-out{short_count(task.n)}_pieces_train",
        controls=lambda bench: (TRAINING, *BASELINES),
        count=lambda bench, wanted: min(wanted, _FEW_ROWS, bench.subject.count or wanted),
        needs=_needs_left_out,
        extracts=False,
    )
)  # fmt: skip
