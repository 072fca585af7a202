"""Run protocols on a bench, with control rows beside the model's, and gather a report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from saddlepoint._errors import DataError
from saddlepoint._files import write_atomically
from saddlepoint.data.dataset import Dataset
from saddlepoint.engine.threads import measured_threads
from saddlepoint.evaluate.effort import small_part
from saddlepoint.evaluate.gallery import gallery
from saddlepoint.evaluate.protocol import Protocol, Task, protocols, task_of
from saddlepoint.evaluate.rows import Report, Result, Row
from saddlepoint.evaluate.sets import CHOICE, Bench, Sampler, Say, Subject
from saddlepoint.evaluate.summary import limits, summarise


def evaluate(
    subject: Subject | Sampler,
    dataset: Dataset,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    label: str = "generator",
    features: str | None = None,
    cache_dir: str | Path | None = None,
    progress: Say | None = None,
    threads: int | str | None = None,
) -> Report:
    """Measure samples by named protocols and set control rows beside them.

    Args:
        subject: whose samples; or a function (n, seed) -> samples, in [-1, 1] for images.
        dataset: the data the model was trained on, or is to be compared with.
        names: kinds, aliases or full names of protocols; None: every protocol that fits the data, but for
            those that run on request only.
        seed: of the samples and the control rows.
        label: name of the model's row, for a subject that is a function.
        features: name of a feature extractor; None: the best one for the data.
        cache_dir: folder for control rows and features, kept by protocol, data fingerprint and seed; or None.
        progress: receives one line for each part of the work.
        threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.

    Raises:
        ConfigError: on an unknown protocol or extractor, or one that cannot measure this kind of data.
        DataError: if samples are not finite, of the wrong shape or range; if a protocol that was asked for by
            name has too few rows to work with (of the default set it is left out, and the report says why).
    """
    if not isinstance(subject, Subject):
        subject = Subject(label, subject)
    cache = None if cache_dir is None else Path(cache_dir)
    say = progress or (lambda line: None)
    bench = Bench(subject, dataset, seed, features, cache, say)
    with measured_threads(threads, small_part(dataset), say):
        return _measured(bench, names)


def _measured(bench: Bench, names: Sequence[str] | None) -> Report:
    """Measure what was named, or all that fits."""
    subject, dataset = bench.subject, bench.dataset
    results: list[Result] = []
    omitted: dict[str, str] = {}
    if names is not None:
        for protocol, task in {
            pair[0].full_name(pair[1]): pair for pair in (task_of(n, bench) for n in names)
        }.values():
            results.append(_result(protocol, task))
    else:
        # Samples that cannot be measured at all are an error, not a row of omissions.
        bench.model(bench.count())
        for protocol in protocols().values():
            elsewhere = bool(protocol.datasets) and dataset.name not in protocol.datasets
            elsewhere |= protocol.translates and subject.translate is None
            if dataset.modality not in protocol.modalities or elsewhere or protocol.on_request:
                continue
            try:
                if reason := protocol.unfit(bench):
                    omitted[protocol.kind] = reason
                else:
                    results.append(_result(protocol, protocol.task(bench)))
            except DataError as error:
                omitted[protocol.kind] = str(error)
    report = Report(tuple(results), subject.label, "", omitted, limits(bench))
    return dataclasses.replace(report, verdict=summarise(report, bench.control_names), gallery=gallery(report, bench))


def _result(protocol: Protocol, task: Task) -> Result:
    """Measure the model, then the control sets, or take their rows from the cache."""
    bench, name = task.bench, protocol.full_name(task)
    bench.say(f"{name}: {protocol.summary}")
    start = time.perf_counter()
    rows = protocol.measure(protocol.model(bench, task.n), task)
    seconds = time.perf_counter() - start
    rows += _controls(protocol, task, name)
    return Result(
        protocol=name,
        summary=protocol.summary,
        metrics=protocol.metrics,
        rows=tuple(rows),
        verdict=protocol.verdict(rows, task),
        data=bench.dataset.name,
        fingerprint=bench.dataset.fingerprint,
        seed=bench.seed,
        version=protocol.version,
        seconds=round(seconds, 2),
    )


def _controls(protocol: Protocol, task: Task, name: str) -> list[Row]:
    """Read the control rows from the cache, or measure and keep them."""
    bench = task.bench
    if bench.cache_dir is None:
        return _measure_controls(protocol, task)
    weights = "" if task.extractor is None else f"-{task.extractor.sha256[:12]}"
    version = f"v{protocol.version}.{CHOICE}"
    path = bench.cache_dir / f"{name}-{version}{weights}-{bench.dataset.fingerprint}-{bench.seed}.json"
    try:
        return [Row.from_json(values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        bench.say(f"the kept control rows in {path} cannot be read: measuring them again")
    rows = _measure_controls(protocol, task)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    except OSError as error:
        bench.say(f"the control rows could not be kept in {path.parent} ({error.strerror}); the figures stand")
    return rows


def _measure_controls(protocol: Protocol, task: Task) -> list[Row]:
    rows: list[Row] = []
    for name in protocol.controls(task.bench):
        try:
            rows += protocol.measure(protocol.control(task.bench, name, task.n), task)
        except DataError as error:
            task.bench.say(f"control row '{name}' is left out: {error}")
    return rows
