"""Protocols for time series: the scores of 2019, and figures that see time.

Samples are compared with the training windows, whose distribution a generator learns: where a series changes, later
windows differ from both, as the held-out row shows. Copying is another question, and has its own protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from saddlepoint.data.dataset import Dataset
from saddlepoint.evaluation.duration import timed
from saddlepoint.evaluation.near_copies import NEAR_EXPECTED, near_copies
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Report, Row, join, short_count
from saddlepoint.evaluation.sequences import (
    BASELINES,
    HALVES,
    HELD_OUT,
    SEQUENCE_CONTROLS,
    SHUFFLED,
    TRAINING,
    in_halves,
    seen,
    thinned,
    told,
)
from saddlepoint.evaluation.sets import MOST, Bench, SampleSet
from saddlepoint.evaluation.text import chance, row_of, sentence, shown, to_row
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.series import acf_distance, cross_correlation_distance, increment_distance, marginal_distance
from saddlepoint.metrics.series_scores import (
    ITERATIONS,
    discriminative,
    forecast_error,
)

H32 = Metric("discriminative score, 32 units", "lower", digits=3, least=-0.5, most=0.5)
ACF = Metric("autocorrelation distance", "lower", digits=3, least=0)
CROSS = Metric("cross-correlation distance", "lower", digits=3, least=0)
STEPS, STEPS_KS = (
    Metric("increments, Wasserstein", "lower", "sd", 3, least=0),
    Metric("increments, Kolmogorov-Smirnov", "lower", digits=3, least=0, most=1),
)
VALUES, VALUES_KS = (
    Metric("marginals, Wasserstein", "lower", "sd", 3, least=0),
    Metric("marginals, Kolmogorov-Smirnov", "lower", digits=3, least=0, most=1),
)
FORECAST = Metric("forecast error", "lower", "sd of changes", 3, least=0)


_TIMED = 256
"""Windows on which the training of networks is timed."""


def real_windows(bench: Bench) -> np.ndarray:
    """Return the training windows that samples are compared with, in the order of time, at most 10,000."""
    return np.asarray(thinned(bench.dataset.splits["train"].x, MOST))


def compared_with(bench: Bench, samples: SampleSet) -> np.ndarray:
    """Return the real windows that a set is held against: the training windows; of a half of them the other half."""
    if samples.name != HALVES or samples.role != "control":
        return real_windows(bench)
    return thinned(in_halves(np.asarray(bench.dataset.splits["train"].x))[0], MOST)


def carried(samples: SampleSet, task: Task) -> dict[str, float]:
    """Return the share of near copies among a baseline's windows, which stands beside its figures; else nothing.

    A bootstrap is made of pieces of the training rows: what it reaches by copying is not to be reached.
    """
    if samples.name not in BASELINES or samples.role != "control":
        return {}
    found = near_copies(samples, task.bench)
    return {} if found is None else {"near copies": found}


def _count(bench: Bench, wanted: int) -> int:
    return bench.count(min(wanted, MOST), "train")


def measured(
    metrics: Sequence[Metric],
    measure: Callable[..., Estimate | tuple[Estimate, ...]],
    view: Callable[[Dataset, np.ndarray], np.ndarray] = seen,
) -> Callable[..., list[Row]]:
    """Return the rows of figures of real and generated windows, as ``view`` shows them."""

    def rows(samples: SampleSet, task: Task) -> list[Row]:
        bench = task.bench
        bench.detail(f"{metrics[0].name}: {samples.name}")
        real, fake = (view(bench.dataset, x) for x in (compared_with(bench, samples), samples.x))
        found = measure(real, fake, seed=bench.seed)
        estimates, beside = found if isinstance(found, tuple) else (found,), carried(samples, task)
        return [to_row(metric, samples, one, **beside) for metric, one in zip(metrics, estimates, strict=True)]

    return rows


def of_networks(measure: Callable[..., object]) -> Callable[[Task], float]:
    """Return what tells the time of a figure that trains networks, by a hundredth of their steps."""

    def seconds(task: Task) -> float:
        few = seen(task.bench.dataset, real_windows(task.bench)[:_TIMED])
        return timed(lambda: measure(few, few, iterations=ITERATIONS // 100), 100)

    return seconds


def _forecast(samples: SampleSet, task: Task) -> list[Row]:
    bench = task.bench
    bench.detail(f"{FORECAST.name}: {samples.name}")
    test = thinned(bench.dataset.splits["test"].x, MOST)
    found, still = forecast_error(*(seen(bench.dataset, x) for x in (test, samples.x)), seed=bench.seed)
    return [to_row(FORECAST, samples, found, n_test=len(test), no_change=still, **carried(samples, task))]


def against_baselines(rows: Sequence[Row], metric: Metric) -> str:
    """Say which baselines the model beats by more than chance."""
    model = row_of(rows, None, metric.name)
    others = [row for name in BASELINES if (row := row_of(rows, name, metric.name)) is not None]
    if model is None or not others:
        return ""
    worse = [row for row in others if model.value > row.value + chance(model, row)]
    better = [row for row in others if model.value < row.value - chance(model, row)]
    if worse:
        return f"It does not reach {_listed(worse, metric)}, which needed no training."
    if len(better) == len(others):
        return f"It beats {_listed(better, metric)}."
    return f"No difference from {_listed([row for row in others if row not in better], metric)} is shown."


def _listed(rows: Sequence[Row], metric: Metric) -> str:
    return " and ".join(f"the {row.row} ({metric.show(row.value)}{_copies(row)})" for row in rows)


def _copies(row: Row) -> str:
    """Return in words how many of a baseline's windows are near copies, where that is known and more than chance."""
    share = row.details.get("near copies")
    return "" if share is None or share <= 2 * NEAR_EXPECTED else f", {share:.0%} of it near copies"


def blindness(rows: Sequence[Row], metric: Metric) -> str:
    """Say whether the figure sees the order of time at all: shuffled windows must be far from the training windows.

    Where shuffled windows score as well as real ones the figure is blind; where they score as well as the model, it
    does not show that the model knows more than marginals.
    """
    model, mixed, real = (row_of(rows, name, metric.name) for name in (None, SHUFFLED, TRAINING))
    if mixed is None or real is None:
        return ""
    if mixed.value <= real.value + chance(mixed, real):
        return f"Blind to time here: windows shuffled in time get {shown(mixed, metric)}, no worse than real ones."
    if model is not None and mixed.value <= model.value + chance(mixed, model):
        return f"Windows shuffled in time get {shown(mixed, metric)}: by this figure the samples know no more of time."
    return ""


def verdict_of(metric: Metric, sees_time: bool = True) -> Callable[[Sequence[Row], Task], str]:
    """Return what words a verdict: the figure, that of training windows and of their halves, the baselines beside it.

    Args:
        metric: of the figure.
        sees_time: whether the order of time enters the figure.
    """

    def sentence_of(rows: Sequence[Row], task: Task) -> str:
        model, real = row_of(rows, None, metric.name), row_of(rows, TRAINING, metric.name)
        if model is None:
            return ""
        text = f"{sentence(model.row)} has {metric.name} {shown(model, metric)}"
        floor = row_of(rows, HALVES, metric.name)
        text += f", {TRAINING} {shown(real, metric)}" if real is not None else ""
        text += f", {HALVES} {shown(floor, metric)}." if floor is not None else "."
        blind = blindness(rows, metric) if sees_time else "The order of time does not enter."
        return join((text, against_baselines(rows, metric), blind))

    return sentence_of


def _forecast_verdict(rows: Sequence[Row], task: Task) -> str:
    model, ceiling = row_of(rows, None), row_of(rows, TRAINING)
    if model is None or ceiling is None:
        return ""
    still = float(model.details["no_change"])
    word = "as useful as" if model.value <= ceiling.value + chance(model, ceiling) else "less useful than"
    text = (
        f"To forecast the test windows, samples are {word} the training windows: error {shown(model, FORECAST)}, "
        f"trained on real windows {shown(ceiling, FORECAST)}; saying that nothing changes gives {FORECAST.show(still)}."
    )
    no_use = "Even real windows teach no forecast better than that." if ceiling.value >= still else ""
    return join((text, no_use, against_baselines(rows, FORECAST), blindness(rows, FORECAST)))


SERIES_KINDS = ("discriminative-h32", "acf", "cross-correlation", "increments", "marginals", "forecast")
"""Protocols of which `summarise_series` speaks."""

_TOLD, _OFF = 0.3, (0.1, 0.5)
"""The classifier's score from which samples are far; Wasserstein distances, in standard deviations, from which values
or changes are different, and far."""


def summarise_series(report: Report) -> tuple[str, str]:
    """Say in one sentence whether the samples can be told from real windows, beat the baselines, and copy.

    Returns:
        Where the samples stand, one of `judgement.STANDINGS`, by the worst figure, and the sentence.
    """
    parts, levels = [], list[int]()
    model, real = report.find("discriminative-h32"), report.find("discriminative-h32", None, TRAINING)
    if model is not None and real is not None:
        told = model.value > max(0.0, real.value) + chance(model, real)
        accuracy = float(model.details["accuracy"])
        word = "tells the samples from real windows" if told else "cannot tell the samples from real windows"
        beside, far = "", model.value >= _TOLD
        held_out = report.find("discriminative-h32", None, HELD_OUT)
        if told and held_out is not None and model.value <= held_out.value + chance(model, held_out):
            # A classifier that tells one season from another as surely says little about how far samples are.
            beside, far = f"; of {HELD_OUT}, which are of another time, {held_out.value + 0.5:.0%}", False
        parts.append(f"a classifier with 32 units {word} (right in {accuracy:.0%} of cases{beside})")
        levels.append((2 if far else 1) if told else 0)
    for kind in ("acf", "increments"):
        own, best = report.find(kind), [row for name in BASELINES if (row := report.find(kind, None, name)) is not None]
        if own is not None and best:
            lowest = min(best, key=lambda row: row.value)
            word = "nearer to the data than" if own.value < lowest.value else "no nearer to the data than"
            levels.append(0 if own.value <= lowest.value + chance(own, lowest) else 1)
            parts.append(
                f"by {own.metric} they are {word} the best baseline ({own.value:.3f}, {lowest.row} {lowest.value:.3f})"
            )
    sentence_of, more = _off_values(report)
    parts, levels = [*parts, *sentence_of], [*levels, *more]
    near, copying = report.find("memorisation", "near copies") or report.find("leave-out"), False
    if near is not None:
        copying = any(
            row.details.get("copying") for row in (report.find("memorisation"), report.find("leave-out")) if row
        )
        parts.append(
            "some are copies of training windows" if copying else "there is no sign that they copy training windows"
        )
    standing = "copies" if copying else ("near", "different", "far")[max(levels)] if levels else "unknown"
    return standing, f"{sentence(report.label)}: {'; '.join(parts)}." if parts else ""


def _off_values(report: Report) -> tuple[list[str], list[int]]:
    """Return words on, and levels of, distributions of values and of changes that are off beyond training windows'."""
    sentence_of, levels = [], []
    for metric, what in ((VALUES, "values"), (STEPS, "changes from step to step")):
        kind = "marginals" if metric is VALUES else "increments"
        own, real = report.find(kind, metric.name), report.find(kind, metric.name, TRAINING)
        if own is None:
            continue
        excess = own.value - (0.0 if real is None else max(0.0, real.value))
        level = 2 if excess >= _OFF[1] else 1 if excess >= _OFF[0] else 0
        levels.append(level)
        if level:
            sentence_of.append(f"their {what} lie {metric.show(own.value)} standard deviations off the data's")
    return sentence_of, levels


def series_protocol(
    kind: str,
    summary: str,
    metrics: tuple[Metric, ...],
    measure: Callable[[SampleSet, Task], list[Row]],
    *,
    rest: str = "train",
    verdict: Callable[[Sequence[Row], Task], str] | None = None,
    aliases: tuple[str, ...] = (),
    on_request: bool = False,
    seconds: Callable[[Task], float] | None = None,
    version: int = 3,
) -> Protocol:
    """Register a protocol that compares windows with training windows, beside all controls of sequences.

    Args:
        kind, summary, metrics, measure, aliases, on_request, seconds, version: as in `Protocol`.
        rest: of its full name, after the count.
        verdict: None: the first figure beside real windows, baselines and shuffled windows.
    """
    mark = "_" if kind[-1].isdigit() else ""
    return register(
        Protocol(
            kind, ("sequence",), summary, metrics, measure, verdict or verdict_of(metrics[0]), aliases,
            name=lambda task: f"{kind}{mark}{short_count(task.n)}_{rest}",
            controls=lambda bench: SEQUENCE_CONTROLS,
            count=_count,
            extracts=False,
            on_request=on_request,
            seconds=seconds,
            version=version,
        )
    )  # fmt: skip


series_protocol(
    "discriminative-h32", "accuracy less 1/2 of a GRU with 32 units on windows apart in time", (H32,),
    measured((H32,), discriminative, told), rest="blocks_train", aliases=("classifier",),
    seconds=of_networks(discriminative),
)  # fmt: skip
series_protocol(
    "acf", "autocorrelation within windows against that of training windows", (ACF,), measured((ACF,), acf_distance)
)
series_protocol(
    "cross-correlation", "correlation between features within windows, lags -5 to 5", (CROSS,),
    measured((CROSS,), cross_correlation_distance),
)  # fmt: skip
series_protocol(
    "increments", "distribution of changes from step to step", (STEPS, STEPS_KS),
    measured((STEPS, STEPS_KS), increment_distance), verdict=verdict_of(STEPS),
)  # fmt: skip
series_protocol(
    "marginals", "distribution of values, whatever their order", (VALUES, VALUES_KS),
    measured((VALUES, VALUES_KS), marginal_distance), verdict=verdict_of(VALUES, sees_time=False),
)  # fmt: skip
series_protocol(
    "forecast", "error of forecasts of test windows, one step ahead, learned from the samples", (FORECAST,), _forecast,
    rest="test", verdict=_forecast_verdict, seconds=of_networks(forecast_error),
)  # fmt: skip
