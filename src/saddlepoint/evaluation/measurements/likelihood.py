"""How likely an explicit model says that held-out rows are, beside training rows: a gap says what it learned by heart.

Where it is annealed importance sampling, rows share the error of the partition function; it is part of the interval of
the mean, and falls out of the gap. Source of the scales: Theis et al. 2016 (A note on the evaluation of generative
models), section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.evaluation.duration import timed
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join, short_count
from saddlepoint.evaluation.sets import Bench, Explicit, SampleSet, inside, spread
from saddlepoint.evaluation.text import row_of, sentence, shown
from saddlepoint.family.explicit import NO_LIKELIHOOD
from saddlepoint.metrics.bootstrap import normal_interval

HELD_OUT = Metric("log p(x), held-out rows", "higher", "nats")
TRAINING = Metric("log p(x), training rows", "neither", "nats")
GAP = Metric("log p(x), training minus held-out rows", "lower", "nats")
BITS = Metric("bits per dimension, held-out rows", "lower", "bits", 3)
TRAINING_BITS = Metric("bits per dimension, training rows", "neither", "bits", 3)

ROWS, ROWS_OF_EXACT = 1_000, 10_000
"""Held-out rows, and as many training rows, that are looked at: a bound or an estimate takes many passes for each."""

_MOST_NUMBERS = 1 << 26
"""Numbers in the held-out rows at most: the model is given all rows at once."""

_TIMED = 2

_OBSERVED = {
    "binary": "probability of images whose pixels are drawn 0 or 1 with the probability that is their grey",
    "levels": "density of images with noise uniform on one of 256 levels, in units of a level",
    "values": "density of the numbers as they are, which another unit would change",
}
_KINDS = {
    "exact": "exact",
    "lower bound": "a lower bound: the model's own figure is at least that",
    "annealed importance sampling": "an estimate by annealed importance sampling, which errs upwards if its chains "
    "are too short",
}


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    """Return the figures of held-out rows, which ``samples`` are under the model's name, and of training rows."""
    bench, explicit = task.bench, _explicit(task.bench)
    known, held_out = _training_rows(bench, len(samples)), samples.x
    bench.detail(f"log-likelihood of {len(held_out):,} held-out and {len(known):,} training rows")
    # At once: what rows share, such as a partition function, is estimated for all of them together.
    values, shared = explicit.log_likelihood(inside(np.concatenate([held_out, known])), bench.seed)
    found = values.detach().cpu().double()
    broken = int((~found.isfinite()).sum())
    if broken:
        raise DataError(
            f"the log-likelihood of {broken:,} of {len(found):,} rows is not finite: the model has diverged, or gives "
            "real rows no probability; evaluate an earlier checkpoint"
        )
    own, heart = found[: len(held_out)], found[len(held_out) :]
    details = {
        "kind": explicit.kind, "observed": explicit.observed, "estimator": explicit.estimator,
        "shared error": shared, "training rows": len(known),
    }  # fmt: skip
    rows = [
        _row(HELD_OUT, samples, _mean(own, shared), {**details, "n": len(own)}),
        _row(TRAINING, samples, _mean(heart, shared), {**details, "n": len(heart)}),
    ]
    (a, a_error), (b, b_error) = (_mean(part, 0.0) for part in (heart, own))
    rows.append(_row(GAP, samples, (a - b, math.hypot(a_error, b_error)), {"n": len(own)}))
    if explicit.observed == "levels":
        # log2 of the probability of levels, for each number of an image.
        scale = 1 / (math.log(2) * torch.Size(samples.x.shape[1:]).numel())
        for metric, part in ((BITS, own), (TRAINING_BITS, heart)):
            mean, error = _mean(part, shared)
            rows.append(_row(metric, samples, (-mean * scale, error * scale), {"n": len(part)}))
    return rows


def _mean(values: Tensor, shared: float) -> tuple[float, float]:
    """Return the mean and its standard error: over rows, and of what they share."""
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), math.hypot(error, shared)


def _row(metric: Metric, samples: SampleSet, found: tuple[float, float], details: dict[str, object]) -> Row:
    value, error = found
    return Row(metric.name, samples.name, value, error, normal_interval(value, error), samples.role, details)


def _training_rows(bench: Bench, n: int) -> np.ndarray:
    x: np.ndarray = spread(bench.dataset.splits["train"], n)[0]
    return x


def _held_out(bench: Bench, n: int) -> SampleSet:
    return SampleSet(bench.subject.label, "model", spread(bench.dataset.splits["test"], n)[0])


def _explicit(bench: Bench) -> Explicit:
    if bench.subject.explicit is None:
        raise DataError(f"'{bench.subject.label}' {NO_LIKELIHOOD}")
    return bench.subject.explicit


def _needs(bench: Bench) -> str:
    return "" if bench.subject.explicit is not None else f"'{bench.subject.label}' {NO_LIKELIHOOD}"


def _count(bench: Bench, wanted: int) -> int:
    test = bench.dataset.splits["test"].x
    fits = max(2, _MOST_NUMBERS // torch.Size(test.shape[1:]).numel())
    return min(wanted, fits, len(test))


def _most(bench: Bench) -> int:
    exact = bench.subject.explicit is None or bench.subject.explicit.kind == "exact"
    return ROWS_OF_EXACT if exact else ROWS


def _name(task: Task) -> str:
    explicit = _explicit(task.bench)
    words = (explicit.observed, explicit.kind.replace(" ", "-"), explicit.estimator)
    return f"likelihood{short_count(task.n)}_{'-'.join(word for word in words if word)}_test"


def _verdict(rows: Sequence[Row], task: Task) -> str:
    own, known, gap = (row_of(rows, None, metric.name) for metric in (HELD_OUT, TRAINING, GAP))
    if own is None or known is None or gap is None or gap.interval is None:
        return ""
    explicit = _explicit(task.bench)
    bits = row_of(rows, None, BITS.name)
    with_ = f"; estimator {explicit.estimator}" if explicit.estimator else ""
    learned = gap.interval[0] > 0
    told = (
        f"Training rows are likelier by {shown(gap, GAP)} nats: it learned that much by heart."
        if learned
        else f"Training rows are no likelier beyond chance (by {shown(gap, GAP)} nats): none is learned by heart."
    )
    return join(
        (
            f"{sentence(own.row)} gives held-out rows {shown(own, HELD_OUT)} nats on average"
            + ("" if bits is None else f", {shown(bits, BITS)} bits per dimension")
            + f", training rows {shown(known, TRAINING)}: the log of a {_OBSERVED[explicit.observed]} "
            f"({_KINDS[explicit.kind]}{with_}).",
            told,
            "Samples of a likely model may look bad, and the other way round: look at them.",
        )
    )


def _seconds(task: Task) -> float:
    explicit = _explicit(task.bench)
    if explicit.kind == "annealed importance sampling":
        return 0.0  # of two rows it takes as long as of a thousand: it is not tried beforehand
    few = inside(np.asarray(task.bench.dataset.splits["test"].x[:_TIMED]))
    return timed(lambda: explicit.log_likelihood(few, 0), 2 * task.n / len(few))


register(
    Protocol(
        "likelihood", ("image", "vector"), "log-likelihood of held-out rows by the model itself, beside training rows",
        (HELD_OUT, TRAINING, GAP, BITS, TRAINING_BITS), _measure, _verdict, ("bits-per-dimension", "nll"),
        name=_name,
        controls=lambda bench: (),
        count=_count,
        most=_most,
        needs=_needs,
        model=_held_out,
        # Of a GAN nobody need be told that it has none.
        usual=lambda bench: bench.subject.explicit is not None,
        seconds=_seconds,
        extracts=False,
    )
)  # fmt: skip
