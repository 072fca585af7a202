"""Rings and grids: modes hit, samples of high quality, balance between the modes."""

from __future__ import annotations

from collections.abc import Sequence

from saddlepoint.data.synthetic import MIXTURES
from saddlepoint.evaluate.protocol import Protocol, Task, register
from saddlepoint.evaluate.rows import Metric, Row, short_count
from saddlepoint.evaluate.sets import Bench, SampleSet
from saddlepoint.evaluate.words import row_of, sentence, shown, to_row
from saddlepoint.metrics.modes import mode_coverage

MODES = Metric("modes", "higher", digits=0)
QUALITY = Metric("high-quality share", "higher", digits=3)
BALANCE = Metric("imbalance of modes (KL)", "lower", "nats", 4)
_SAMPLES = 2_500


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    truth = MIXTURES[task.bench.dataset.name]
    found = mode_coverage(samples.x, truth.centres, truth.sigma)
    return [
        to_row(MODES, samples, found.modes, of=len(truth.centres)),
        to_row(QUALITY, samples, found.quality),
        to_row(BALANCE, samples, found.kl),
    ]


def _verdict(rows: Sequence[Row], task: Task) -> str:
    model, quality = row_of(rows, None, MODES.name), row_of(rows, None, QUALITY.name)
    real = row_of(rows, task.bench.control_names[0], QUALITY.name)
    if model is None or quality is None:
        return ""
    beside = "" if real is None else f" (real rows: {real.value:.3f})"
    return (
        f"{sentence(model.row)} hits {model.value:.0f} of {model.details['of']} modes; {shown(quality, QUALITY)} of "
        f"its samples lie within three standard deviations of one{beside}."
    )


def _needs(bench: Bench) -> str:
    return "" if bench.dataset.name in MIXTURES else f"it needs known modes ({', '.join(MIXTURES)})"


register(
    Protocol(
        "modes", ("vector",), "modes of a known mixture, as in PacGAN (2018): 2,500 samples, three standard deviations",
        (MODES, QUALITY, BALANCE), _measure, _verdict,
        name=lambda task: f"modes{short_count(task.n)}_{task.bench.dataset.name}",
        count=lambda bench, wanted: bench.count(min(wanted, _SAMPLES)),
        needs=_needs,
        extracts=False,
    )
)  # fmt: skip
