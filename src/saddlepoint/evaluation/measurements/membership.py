"""Membership inference attacks: can someone with the samples, or with D, tell which rows were trained on?

Members are training rows, non-members held-out ones. Two attackers:

- **A stranger with samples** (black box) calls a row a member where a sample lies nearer to it than the samples around
  usually lie from one another: the distance to the nearest sample over the mean distance to the `NEIGHBOURS` nearest
  ones. Neither the model nor other data is needed.
- **Someone with D** (white box) calls a row a member where D takes it for real.

Source: Hayes et al. 2019 (LOGAN) for both attackers. The score of the first is that of Carlini et al. 2023, section 5,
turned round; `benchmarks/membership.py` holds it against the plain distance, the Monte Carlo attack (Hilprecht et al.
2019) and those that know other rows of the data (Chen et al. 2020, GAN-Leaks; van Breugel et al. 2023, DOMIAS).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import Split
from saddlepoint.evaluation.duration import timed_by_rows
from saddlepoint.evaluation.near_copies import split_needs
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join, short_count
from saddlepoint.evaluation.sequences import BASELINES, HALVES, TRAINING, in_halves, seen, thinned
from saddlepoint.evaluation.sets import Bench, SampleSet, inside, spread
from saddlepoint.evaluation.text import row_of, sentence, shown, to_row
from saddlepoint.metrics.membership import RATE, curve_area, power_at_low_error
from saddlepoint.metrics.memorisation import NEIGHBOURS, SMALL, nearness
from saddlepoint.metrics.series import shape_nearness
from saddlepoint.metrics.windows import reach

BY_SAMPLES = Metric("membership TPR at 1% FPR", "lower", digits=4, least=0, most=1)
AREA = Metric("membership AUC", "neither", digits=3, least=0, most=1)
BY_LOGIT = Metric("membership TPR at 1% FPR, D's logit", "lower", digits=4, least=0, most=1)
AREA_LOGIT = Metric("membership AUC, D's logit", "neither", digits=3, least=0, most=1)

ROWS = 2_000
"""Members, and non-members, that are attacked at most."""

_TIMED, _SAMPLES_TIMED = 200, 2_000


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    bench = task.bench
    if len(samples) <= NEIGHBOURS:
        remedy = "draw more" if samples.role == "model" else "use more data"
        raise DataError(f"there are {len(samples)} samples, but the attack needs more than {NEIGHBOURS}: {remedy}")
    bench.detail(f"membership inference: {samples.name}")
    known, unknown = _members(bench, samples), _others(bench, samples)
    together = (_together(bench, known.x), _together(bench, unknown.x))
    found = _rows(samples, [_nearness(bench, rows.x, samples) for rows in (known, unknown)], together)
    if samples.role == "model" and bench.subject.logits is not None:
        by_logit = [_logits(bench, rows) for rows in (known, unknown)]
        found += _rows(samples, by_logit, together, (BY_LOGIT, AREA_LOGIT))
    return found


def _rows(
    samples: SampleSet, scores: Sequence[np.ndarray], together: tuple[int, int],
    metrics: tuple[Metric, Metric] = (BY_SAMPLES, AREA),
) -> list[Row]:  # fmt: skip
    members, others = scores
    measures = (power_at_low_error, curve_area)
    return [
        to_row(metric, samples, measure(members, others, together=together))
        for metric, measure in zip(metrics, measures, strict=True)
    ]


def _members(bench: Bench, samples: SampleSet) -> Split:
    """Return training rows; for one half of the training time as samples those of the other half, which it lacks."""
    train = bench.dataset.splits["train"]
    if bench.dataset.modality == "sequence":
        if samples.name == HALVES and samples.role == "control":
            return Split(thinned(in_halves(np.asarray(train.x))[0], ROWS))
        return _thinned(train)
    # As `Bench` draws its control set of training rows, which so holds them: what a copier of the members gets.
    rows = np.sort(np.random.default_rng(bench.seed).permutation(len(train))[:ROWS])
    return _chosen(train, rows)


def _others(bench: Bench, samples: SampleSet) -> Split:
    """Return held-out rows, those of the validation split too where there are few and they are not the samples."""
    splits, series = bench.dataset.splits, bench.dataset.modality == "sequence"
    test = _thinned(splits["test"]) if series else Split(*spread(splits["test"], ROWS))
    own = not series and samples.role == "control" and samples.name == bench.control_names[0]
    if len(splits["test"]) >= SMALL or own:
        return test
    more = _thinned(splits["valid"]) if series else Split(*spread(splits["valid"], ROWS))
    labels = None if test.labels is None or more.labels is None else np.concatenate([more.labels, test.labels])
    return Split(np.concatenate([more.x, test.x]), labels)


def _thinned(split: Split) -> Split:
    """Return windows in the order of time, at most `ROWS`."""
    return _chosen(split, thinned(np.arange(len(split)), ROWS))


def _chosen(split: Split, rows: np.ndarray) -> Split:
    return Split(np.asarray(split.x[rows]), None if split.labels is None else split.labels[rows])


def _together(bench: Bench, x: np.ndarray) -> int:
    """Return how many neighbours count as one row: windows that share points."""
    return 1 + reach(x) if bench.dataset.modality == "sequence" else 1


def _nearness(bench: Bench, rows: np.ndarray, samples: SampleSet) -> np.ndarray:
    """Return how near samples come to rows, for the distances among samples; of series by shape."""
    if bench.dataset.modality == "sequence":
        # By values windows of another time are far from all samples, whoever was trained on: see the halves.
        return -shape_nearness(*(seen(bench.dataset, x) for x in (rows, samples.x))).relative
    return -nearness(rows, samples.x).relative


def _logits(bench: Bench, rows: Split) -> np.ndarray:
    assert bench.subject.logits is not None
    return bench.subject.logits(inside(rows.x), rows.labels).double().numpy()


def _seconds(task: Task) -> float:
    bench = task.bench
    train = bench.dataset.splits["train"].x
    as_samples = SampleSet("training rows", "control", np.asarray(train[: min(task.n, _SAMPLES_TIMED)]))
    if len(as_samples) <= NEIGHBOURS:
        return 0.0
    rows = np.asarray(train[:_TIMED])
    fixed, row = timed_by_rows(lambda some: _nearness(bench, some, as_samples), rows, max(1, len(rows) // 10))
    queries = min(ROWS, len(train)) + min(ROWS, len(bench.dataset.splits["test"]))
    return (fixed + row * queries) * task.n / len(as_samples)


def _word(bench: Bench) -> str:
    return (
        "shapes"
        if bench.dataset.modality == "sequence"
        else "pixels"
        if bench.dataset.modality == "image"
        else "values"
    )


def _controls(bench: Bench) -> tuple[str, ...]:
    """Return a set that cannot know the members, and one that is made of them; of series the baselines too."""
    return (HALVES, TRAINING, *BASELINES) if bench.dataset.modality == "sequence" else bench.control_names[:2]


def _verdict(rows: Sequence[Row], task: Task) -> str:
    own, area = (row_of(rows, None, metric.name) for metric in (BY_SAMPLES, AREA))
    if own is None or area is None:
        return ""
    floor = row_of(rows, _controls(task.bench)[0], BY_SAMPLES.name)
    beside = f"; of {floor.row}, which cannot know them, {shown(floor, BY_SAMPLES)}" if floor is not None else ""
    text = (
        f"{sentence(own.row)}: a stranger with {task.n:,} samples and no more {_told(own, floor)}: the share named at "
        f"1% of false alarms is {shown(own, BY_SAMPLES)}{beside} (0.01 is guessing). AUC {shown(area, AREA)}."
    )
    return join((text, _logit_verdict(rows, task), str(own.details.get("limitation", "")).capitalize()))


def _told(own: Row, floor: Row | None) -> str:
    """Say whether members are told, by more than guessing and than a set that cannot know them."""
    if own.interval is None:
        return "may or may not tell training rows"
    least = RATE if floor is None else max(RATE, (floor.interval or (0.0, floor.value))[1])
    return "tells training rows from others" if own.interval[0] > least else "does not tell training rows from others"


def _logit_verdict(rows: Sequence[Row], task: Task) -> str:
    own, area = (row_of(rows, None, metric.name) for metric in (BY_LOGIT, AREA_LOGIT))
    if own is None or area is None:
        return ""
    series = " D may know later windows by their time alone." if task.bench.dataset.modality == "sequence" else ""
    return f"By D's logit the share is {shown(own, BY_LOGIT)}, AUC {shown(area, AREA_LOGIT)}.{series}"


register(
    Protocol(
        "membership-inference", ("image", "vector", "sequence"), "whether an attacker can tell training rows",
        (BY_SAMPLES, AREA, BY_LOGIT, AREA_LOGIT), _measure, _verdict, ("mia",),
        name=lambda task: f"membership-inference{short_count(task.n)}_{_word(task.bench)}_test",
        controls=_controls,
        count=lambda bench, wanted: min(wanted, len(bench.dataset.splits["train"]), bench.subject.count or wanted),
        needs=split_needs,
        seconds=_seconds,
        extracts=False,
    )
)  # fmt: skip
