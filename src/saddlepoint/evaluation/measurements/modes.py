"""Modes that are known beforehand: of rings and grids, of stacked MNIST; how many are hit, and how evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.data.sources.synthetic import MIXTURES
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, short_count
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import row_of, sentence, shown, to_row
from saddlepoint.metrics.classes import stacked_modes
from saddlepoint.metrics.extractors import mnist_lenet
from saddlepoint.metrics.modes import mode_coverage

MODES = Metric("modes", "higher", digits=0, least=0)
QUALITY = Metric("high-quality share", "higher", digits=3, least=0, most=1)
BALANCE = Metric("imbalance of modes (KL)", "lower", "nats", 4)
_SAMPLES = 2_500
_STACKED_SAMPLES = 26_000


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


def _measure_stacked(samples: SampleSet, task: Task) -> list[Row]:
    """Each channel is a digit to the classifier; three digits name a mode."""
    channels = np.moveaxis(np.asarray(samples.x), 1, 0)
    digits = np.stack([mnist_lenet().extract(np.ascontiguousarray(c[:, None])).labels for c in channels], 1)
    found = stacked_modes(digits)
    return [to_row(MODES, samples, found["modes"], of=1000), to_row(BALANCE, samples, found["kl"])]


def _stacked_verdict(rows: Sequence[Row], task: Task) -> str:
    model, balance = row_of(rows, None, MODES.name), row_of(rows, None, BALANCE.name)
    if model is None or balance is None:
        return ""
    return (
        f"{sentence(model.row)} shows {model.value:,.0f} of 1,000 modes; KL to the uniform {shown(balance, BALANCE)}."
    )


def _needs_stacked(bench: Bench) -> str:
    return "" if bench.dataset.name == "stacked-mnist" else "it counts the modes of 'stacked-mnist'"


register(
    Protocol(
        "stacked", ("image",), "modes of stacked MNIST by the digits that mnist-lenet sees, 26,000 samples (PacGAN)",
        (MODES, BALANCE), _measure_stacked, _stacked_verdict,
        name=lambda task: f"stacked{short_count(task.n)}_mnist-lenet",
        controls=lambda bench: bench.control_names[:2],
        count=lambda bench, wanted: bench.count(max(wanted, _STACKED_SAMPLES)),
        needs=_needs_stacked,
        extracts=False,
        datasets=("stacked-mnist",),
    )
)  # fmt: skip
