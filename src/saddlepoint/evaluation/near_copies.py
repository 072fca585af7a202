"""How near samples lie to the training rows, for more than one protocol: images by pixels, series by shape."""

from __future__ import annotations

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.evaluation.sequences import seen, thinned
from saddlepoint.evaluation.sets import Bench, SampleSet, spread, trained_on
from saddlepoint.metrics.memorisation import LEAST, PERCENTILE, SMALL, Nearness, memorisation, nearness
from saddlepoint.metrics.series import shape_nearness

NEAR_EXPECTED = PERCENTILE / 100
"""Share of near copies among rows that nobody copied."""

_LOOKED_AT, _HELD = 500, 2_000
"""Windows of a baseline whose near copies are counted; held-out ones beside them, at most."""


def nearness_of(bench: Bench, rows: np.ndarray) -> Nearness:
    """Nearness to the training rows; sequences by their shape, so that another level lies no further away."""
    train = bench.dataset.splits["train"].x
    if bench.dataset.modality == "sequence":
        return shape_nearness(seen(bench.dataset, rows), seen(bench.dataset, train))
    return nearness(rows, train)


def split_needs(bench: Bench) -> str:
    """Return why there are no held-out rows, or ""."""
    if bench.dataset.modality != "sequence":
        return "its test rows are training rows too, so nothing tells a copy from others" if trained_on(bench) else ""
    test, train = (bench.dataset.splits[name].x for name in ("test", "train"))
    seen = {row.tobytes() for row in np.ascontiguousarray(train)}
    if any(row.tobytes() in seen for row in np.ascontiguousarray(test[:100])):
        return "its test windows are training windows too, so nothing tells a copy from a window like others"
    held = len(test) + len(bench.dataset.splits["valid"].x)
    if held < LEAST:
        return f"there are {held} held-out windows: too few for it; 'leave-out' looks for copies without them"
    return ""


def held_out_nearness(bench: Bench, n: int) -> Nearness:
    """Nearness of rows that were not trained on, which comes back in every evaluation of this data.

    They are the test rows, and those of the validation split too where there are few: the more, the finer the scale.
    """
    splits = bench.dataset.splits
    names = ("index", "distance", "relative", "copies")
    few, series = len(splits["test"]) < SMALL and "valid" in splits, bench.dataset.modality == "sequence"
    word = "nearness-of-held-out" if few else "nearness-of-test"
    kept = bench.kept_arrays(word, n)
    if kept is None:
        bench.detail(f"nearest training rows: {'valid and test' if few else 'test'} {bench.noun}")
        # Windows are in the order of time: the first ones would be those next to the training part.
        rows = thinned(splits["test"].x, n) if series else spread(splits["test"], n)[0]
        rows = np.concatenate([splits["valid"].x, rows]) if few else rows
        found = nearness_of(bench, rows)
        bench.keep_arrays(word, n, {name: np.asarray(getattr(found, name)) for name in names})
        return found
    return Nearness(*(kept[name] for name in names))


def near_copies(samples: SampleSet, bench: Bench) -> float | None:
    """Return the share of near copies among windows of a control set; None where no held-out windows tell it.

    It is looked for once in an evaluation, whatever the protocol.
    """
    word = f"near-copies-of-{samples.name.replace(' ', '-')}"
    kept = bench.kept_arrays(word, _LOOKED_AT)
    if kept is None:
        share = float("nan")
        if not split_needs(bench):
            try:
                own = nearness_of(bench, samples.x[:_LOOKED_AT])
                share = memorisation(
                    own, held_out_nearness(bench, _HELD), len(bench.dataset.splits["train"])
                ).near.value
            except DataError:  # too few rows on one side: nothing is said
                pass
        bench.keep_arrays(word, _LOOKED_AT, {"share": np.asarray(share)})
        return None if np.isnan(share) else share
    return None if np.isnan(kept["share"]) else float(kept["share"])
