"""Whether samples show what training pictures show: copies that are mirrored, moved or a little changed, too.

The same question as `memorisation`, asked of features instead of pixels. To see every training picture takes its time,
so it belongs to the default set of small data only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.evaluation.duration import extraction
from saddlepoint.evaluation.measurements.memorisation import P_VALUE
from saddlepoint.evaluation.near_copies import split_needs
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.real_rows import USUAL, training_features
from saddlepoint.evaluation.rows import Metric, Row
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import row_of, shown, to_row
from saddlepoint.metrics.extractors import Extractor, comparable
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.metrics.memorisation import Nearness, memorisation, nearness

NEAR = Metric("near copies by features", "lower", digits=4, least=0, most=1)
_PAIRS = 24


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    own = nearness(comparable(samples.features(task.extractor).x, task.extractor), _training(task))
    found = memorisation(own, _held_out(task), len(task.bench.dataset.splits["train"]))
    pairs = [[int(i), int(own.index[i]), round(float(own.distance[i]), 4)] for i in found.closest[:_PAIRS]]
    p = Row(P_VALUE.name, samples.name, found.p_value, role=samples.role)
    return [to_row(NEAR, samples, found.near, copying=found.copying, pairs=pairs), p]


def _held_out(task: Task) -> Nearness:
    """Return the nearness of the test rows, which comes back in every evaluation of this data."""
    bench, reference = task.bench, task.bench.reference
    name, parts = f"directions-of-test-{_seen_by(task).sha256[:16]}", ("index", "distance", "relative", "copies")
    kept = bench.kept_arrays(name, len(reference))
    if kept is None or not set(parts) <= set(kept):
        found = nearness(comparable(reference.features(task.extractor).x, task.extractor), _training(task))
        kept = {part: np.asarray(getattr(found, part)) for part in parts}
        bench.keep_arrays(name, len(reference), kept)
    return Nearness(*(kept[part] for part in parts))


def _seen_by(task: Task) -> Extractor:
    assert task.extractor is not None, "only images are measured"
    return task.extractor


def _training(task: Task) -> np.ndarray:
    """Return the comparable features of all training rows; as they are, these are kept, too."""
    return comparable(training_features(task.bench, _seen_by(task)), task.extractor)


def _needs(bench: Bench) -> str:
    extractor = bench.extractor()
    if extractor is None or extractor.name == "pixels":
        return "by plain pixels it is what 'memorisation' measures"
    return split_needs(bench)


def _usual(bench: Bench) -> bool:
    return len(bench.dataset.splits["train"]) <= USUAL and isinstance(bench.extractor(), ImagenetLite)


def _seconds(task: Task) -> float:
    """Return a third of the time that training rows take: three sets share it."""
    return extraction(task) * len(task.bench.dataset.splits["train"]) / (3 * max(1, task.n))


def _verdict(rows: Sequence[Row], task: Task) -> str:
    near = row_of(rows, None, NEAR.name)
    if near is None:
        return ""
    word = "The samples show what training rows show" if near.details["copying"] else "No sign of copying by features"
    return (
        f"{word}: {shown(near, NEAR)} of them lie nearer to a training row, relative to its neighbourhood, than 99% of "
        "the test rows do (0.01 is expected); mirrored, moved and slightly changed copies count."
    )


register(
    Protocol(
        "feature-copies", ("image",), "nearness to training rows by features, against that of test rows",
        (NEAR, P_VALUE), _measure, _verdict,
        controls=lambda bench: bench.control_names[:2],
        needs=_needs,
        usual=_usual,
        seconds=_seconds,
        version=2,
    )
)  # fmt: skip
