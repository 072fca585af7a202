"""How smooth the generator is: perceptual path length, for generators with a latent space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.evaluation.duration import drawing, extraction
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, short_count
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import shown, to_row
from saddlepoint.metrics.extractors import Smooth
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.metrics.path_length import path_length
from saddlepoint.metrics.perceptual import NAME as PERCEPTUAL
from saddlepoint.metrics.perceptual import Perceptual

LENGTH = Metric("path length", "lower", digits=1, least=0)
IN_W = Metric("path length in w", "lower", digits=1, least=0)
_PAIRS, _AT_ONCE = 2_000, 64


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    latents, extractor = task.bench.subject.latents, task.extractor
    if latents is None or not isinstance(extractor, Smooth):
        raise DataError("these samples come without a generator, or the extractor takes bytes only")
    embed, rows = _seen_by(extractor), []
    for metric, space in ((LENGTH, latents), (IN_W, task.bench.subject.styles)):
        if space is not None:
            # At t = 0 a straight line starts inside any prior; a great circle supposes that z is on a sphere.
            found = path_length(
                space.generate, space.draw, embed, np.random.default_rng(task.bench.seed),
                n=task.n, interpolation="slerp" if space.sphere else "lerp", where="end",
                batch=_AT_ONCE,
            )  # fmt: skip
            rows.append(to_row(metric, samples, found))
    return rows


def _seen_by(extractor: Smooth) -> Callable[[Tensor], Tensor]:
    """Return what is measured along a path: the perceptual distance of `imagenet-lite`, features of any other."""
    return Perceptual(extractor).embed if isinstance(extractor, ImagenetLite) else extractor.embed


def _name(task: Task) -> str:
    word = PERCEPTUAL if isinstance(task.extractor, ImagenetLite) else task.features_name
    return f"ppl{short_count(task.n)}_{word}_{'zw' if task.bench.subject.styles else 'z'}"


def _verdict(rows: Sequence[Row], task: Task) -> str:
    in_w = f", one between two points of w at {shown(rows[1], IN_W)}" if len(rows) > 1 else ""
    return (
        f"A short step in z moves the features at a mean squared speed of {shown(rows[0], LENGTH)}{in_w}; "
        "comparable between generators with the same kind of z and the same extractor only."
    )


def _seconds(task: Task) -> float:
    """Both ends of every path are drawn and looked at."""
    return 2 * (drawing(task.bench, task.n) + extraction(task)) * (2 if task.bench.subject.styles else 1)


def _needs(bench: Bench) -> str:
    if bench.subject.latents is None:
        return "samples without a generator have no latent space to walk in"
    extractor = bench.extractor()
    return "" if isinstance(extractor, Smooth) else "the extractor takes bytes only, which hide short steps"


register(
    Protocol(
        "ppl", ("image",), "perceptual path length in z (and w), at the ends of paths", (LENGTH, IN_W), _measure,
        _verdict,
        name=_name,
        controls=lambda bench: (),
        count=lambda bench, wanted: bench.count(min(wanted, _PAIRS)),
        needs=_needs,
        seconds=_seconds,
        version=3,
    )
)  # fmt: skip
