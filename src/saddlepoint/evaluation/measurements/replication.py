"""What comes out where a row goes in, generate(encode(x)): its squared error, for models with an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.evaluation.duration import timed
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Role, Row, short_count
from saddlepoint.evaluation.sets import Bench, SampleSet, inside, spread
from saddlepoint.evaluation.text import row_of, sentence, shown
from saddlepoint.family.explicit import NO_ENCODER
from saddlepoint.metrics.bootstrap import normal_interval

HELD_OUT = Metric("squared error, held-out rows", "lower", digits=5, least=0)
TRAINING = Metric("squared error, training rows", "neither", digits=5, least=0)
MEAN = "mean training row"
"""Name of the control row: what one row for all of them would cost."""

ROWS = 2_000
SHOWN = 24
"""Held-out rows that a report shows, each with what came out."""

_TIMED, _AT_ONCE = 16, 4_096


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    """Return the errors of held-out rows, which ``samples`` are under the model's name, and of training rows."""
    bench, train = task.bench, task.bench.dataset.splits["train"]
    known, labels = spread(train, len(samples))
    bench.detail(f"replication of {len(samples):,} held-out and {len(known):,} training rows")
    scale = _unit(bench)
    own = scale * _errors(bench, samples.x, samples.labels)
    heart = scale * _errors(bench, known, labels)
    mean = torch.zeros(1, *train.x.shape[1:], dtype=torch.float64)
    for start in range(0, len(train), _AT_ONCE):
        mean += inside(train.x[start : start + _AT_ONCE]).double().sum(0, keepdim=True) / len(train)
    floor = scale * (inside(samples.x).double() - mean).square().flatten(1).mean(1)
    return [
        _row(HELD_OUT, samples.name, own, samples.role),
        _row(TRAINING, samples.name, heart, samples.role),
        _row(HELD_OUT, MEAN, floor, "control"),
    ]


def _unit(bench: Bench) -> float:
    """Return what takes squared errors to those of images in [0, 1]; vectors stay in their own units."""
    return 0.25 if bench.dataset.modality == "image" else 1.0


def _errors(bench: Bench, x: np.ndarray, labels: np.ndarray | None) -> Tensor:
    """Return the mean squared error of each row, (n,), in the inside range."""
    rows, out = inside(x), replicated(bench, x, labels)
    errors = (out.double() - rows.double()).square().flatten(1).mean(1)
    if not bool(errors.isfinite().all()):
        raise DataError("what came out holds values that are not finite: evaluate an earlier checkpoint")
    return errors


def replicated(bench: Bench, x: np.ndarray, labels: np.ndarray | None) -> Tensor:
    """Return what comes out where rows of the data go in, in the inside range."""
    if bench.subject.replicate is None:
        raise DataError(f"'{bench.subject.label}' {NO_ENCODER}")
    told = None if labels is None else torch.from_numpy(np.asarray(labels, dtype=np.int64))
    return bench.subject.replicate(inside(x), told, bench.seed)


def _row(metric: Metric, name: str, errors: Tensor, role: Role) -> Row:
    value = float(errors.mean())
    error = float(errors.std()) / len(errors) ** 0.5 if len(errors) > 1 else 0.0
    return Row(metric.name, name, value, error, normal_interval(value, error), role, {"n": len(errors)})


def _held_out(bench: Bench, n: int) -> SampleSet:
    x, labels = spread(bench.dataset.splits["test"], n)
    return SampleSet(bench.subject.label, "model", x, labels)


def shown_rows(bench: Bench) -> SampleSet:
    """Return the held-out rows that a report shows."""
    return _held_out(bench, min(SHOWN, len(bench.dataset.splits["test"])))


def _needs(bench: Bench) -> str:
    return "" if bench.subject.replicate is not None else f"'{bench.subject.label}' {NO_ENCODER}"


def _verdict(rows: Sequence[Row], task: Task) -> str:
    own, known = row_of(rows, None, HELD_OUT.name), row_of(rows, None, TRAINING.name)
    floor = row_of(rows, MEAN, HELD_OUT.name)
    if own is None or known is None or floor is None:
        return ""
    left = f", {own.value / floor.value:.1%} of what their mean costs" if floor.value > 0 else ""
    unit = " for each pixel in [0, 1]" if task.bench.dataset.modality == "image" else ""
    return (
        f"{sentence(own.row)} gives held-out rows back with a mean squared error of {shown(own, HELD_OUT)}{unit}{left}"
        f"; training rows with {shown(known, TRAINING)}. It says nothing of samples, whose inputs are drawn."
    )


def _seconds(task: Task) -> float:
    few = _held_out(task.bench, _TIMED)
    return timed(lambda: replicated(task.bench, few.x, few.labels), 2 * task.n / max(1, len(few)))


def _scale(bench: Bench) -> str:
    return "unit-range" if bench.dataset.modality == "image" else "values"


register(
    Protocol(
        "replication", ("image", "vector"), "squared error of what comes out where held-out rows go in",
        (HELD_OUT, TRAINING), _measure, _verdict, ("reconstruction",),
        name=lambda task: f"replication{short_count(task.n)}_{_scale(task.bench)}_test",
        controls=lambda bench: (),
        count=lambda bench, wanted: min(wanted, len(bench.dataset.splits["test"])),
        most=lambda bench: ROWS,
        needs=_needs,
        model=_held_out,
        usual=lambda bench: bench.subject.replicate is not None,
        seconds=_seconds,
        extracts=False,
    )
)  # fmt: skip
