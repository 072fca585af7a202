"""Run protocols on a bench, with control rows beside the model's, and gather a report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.data.dataset import Dataset
from saddlepoint.engine.machine.threads import measured_threads
from saddlepoint.evaluation.duration import Forecast, Stretch, centroids, drawing, expected, features, worth_saying
from saddlepoint.evaluation.effort import small_part
from saddlepoint.evaluation.protocol import Protocol, Task, protocols, task_of
from saddlepoint.evaluation.report.gallery import gallery
from saddlepoint.evaluation.report.judgement import blurs_win
from saddlepoint.evaluation.report.summary import limits, summarise
from saddlepoint.evaluation.rows import STOPPED, Report, Result, Row, kind_of
from saddlepoint.evaluation.sets import CENTROIDS, CHOICE, Bench, Sampler, Subject


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
    detail: Say | None = None,
    partial: bool = False,
    threads: int | str | None = None,
) -> Report:
    """Measure samples by named protocols and set control rows beside them.

    What takes least is measured first; the report keeps the usual order.

    Args:
        subject: whose samples; or a function (n, seed) -> samples, in [-1, 1] for images.
        dataset: the data the model was trained on, or is to be compared with.
        names: kinds, aliases or full names of protocols, or one of them; None: every protocol that fits the data, but
            for those that run on request only.
        seed: of the samples and the control rows.
        label: name of the model's row, for a subject that is a function.
        features: name of a feature extractor; None: the best one for the data.
        cache_dir: folder for control rows and features, kept by protocol, data fingerprint and seed; or None.
        progress: receives a line on how long it will take, and one for each protocol.
        detail: receives lines on the parts of a protocol; None: ``progress`` does.
        partial: an interrupt (Ctrl-C) ends the measuring, not the program, once there is a figure: the report has what
            was measured until then, and says so.
        threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.

    Raises:
        ConfigError: on an unknown protocol or extractor, or one that cannot measure this kind of data.
        DataError: if samples are not finite, of the wrong shape or range; if a protocol that was asked for by
            name has too few rows to work with (of the default set it is left out, and the report says why).
        KeyboardInterrupt: if interrupted, unless ``partial`` and there is a figure.
    """
    if not isinstance(subject, Subject):
        subject = Subject(label, subject)
    cache = None if cache_dir is None else Path(cache_dir)
    say = progress or (lambda line: None)
    bench = Bench(subject, dataset, seed, features, cache, say, detail or say)
    with measured_threads(threads, small_part(dataset), say):
        return _measured(bench, names, partial)


def _measured(bench: Bench, names: Sequence[str] | None, partial: bool) -> Report:
    """Measure what was named, or all that fits, the shortest first."""
    say = bench.say
    omitted: dict[str, str] = {}
    tasks = _usual(bench, omitted) if names is None else _asked(names, bench)
    results: dict[str, Result] = {}
    for number, (protocol, task) in enumerate(_cheapest_first(tasks, bench), 1):
        say(f"{number} of {len(tasks)}: {protocol.summary} ({protocol.full_name(task)})")
        try:
            results[protocol.full_name(task)] = _result(protocol, task)
        except DataError as error:
            if names is not None:
                raise
            omitted[protocol.kind] = str(error)
        except KeyboardInterrupt:
            if not (partial and results):
                raise
            left = [other for other, its in tasks if other.full_name(its) not in results]
            omitted |= {other.kind: STOPPED for other in left}
            break
    found = tuple(results[name] for name in (p.full_name(task) for p, task in tasks) if name in results)
    return _judged(found, omitted, bench)


Tasks = list[tuple[Protocol, Task]]


def _asked(names: Sequence[str], bench: Bench) -> Tasks:
    """Return what is asked for by name, each once."""
    if isinstance(names, str):
        names = (names,)
    if not names:
        raise ConfigError("no protocol is named; name at least one, or none at all (None) for all that fit the data")
    return list({pair[0].full_name(pair[1]): pair for pair in (task_of(name, bench) for name in names)}.values())


def _usual(bench: Bench, omitted: dict[str, str]) -> Tasks:
    """Return all that fits the data; note in ``omitted`` why something does not."""
    # Samples that cannot be measured at all are an error, not a row of omissions.
    bench.model(bench.count())
    tasks: Tasks = []
    for protocol in protocols().values():
        elsewhere = bool(protocol.datasets) and bench.dataset.name not in protocol.datasets
        elsewhere |= protocol.translates and bench.subject.translate is None
        unasked = protocol.on_request or elsewhere or bench.dataset.modality not in protocol.modalities
        if unasked or not protocol.usual(bench):
            continue
        try:
            if reason := protocol.unfit(bench):
                omitted[protocol.kind] = reason
            else:
                tasks.append((protocol, protocol.task(bench)))
        except DataError as error:
            omitted[protocol.kind] = str(error)
    return tasks


def _cheapest_first(tasks: Tasks, bench: Bench) -> Tasks:
    """Order by the time that each will take, and say how long they take together, where it is long."""
    if len(tasks) < 2:
        return tasks
    seconds, forecast = _forecast(tasks)
    if worth_saying(forecast.seconds):
        bench.say(
            f"measuring {len(tasks)} figures takes {forecast.text()}, the shortest first; "
            "Ctrl-C stops with those that are there"
        )
    return [tasks[place] for place in sorted(range(len(tasks)), key=seconds.__getitem__)]


def expected_time(subject: Subject, dataset: Dataset, *, cache_dir: str | Path | None = None) -> Forecast:
    """Return about how long the usual figures will take, by timing small parts of the work on one thread.

    Args:
        subject: whose samples; a few are drawn.
        dataset: as in `evaluate`.
        cache_dir: as in `evaluate`: control rows that are there cost nothing.
    """
    bench = Bench(subject, dataset, 0, None, None if cache_dir is None else Path(cache_dir), download=False)
    # Beside other programs several threads would wait for one another, and time would say nothing of the work.
    with measured_threads(1, lambda: None):
        return _expected(bench)


def _expected(bench: Bench) -> Forecast:
    tasks: Tasks = []
    for protocol in protocols().values():
        fits = bench.dataset.modality in protocol.modalities and not protocol.on_request and protocol.usual(bench)
        try:
            if fits and not protocol.datasets and not protocol.translates and not protocol.unfit(bench):
                task = protocol.task(bench)
                tasks.append((protocol, task))
        except DataError:
            continue
    _, forecast = _forecast(tasks)
    return dataclasses.replace(forecast, seconds=forecast.seconds + drawing(bench, bench.count()))


def _forecast(tasks: Tasks) -> tuple[list[float], Forecast]:
    """Return how long each takes by itself, and all together with the sets and features that they share."""
    stretch = Stretch()
    names = [_unmeasured(protocol, task) for protocol, task in tasks]
    seconds = [expected(protocol, task, len(anew)) for (protocol, task), anew in zip(tasks, names, strict=True)]
    shared = features([(task, len(anew)) for (_, task), anew in zip(tasks, names, strict=True)])
    made = [task for (_, task), anew in zip(tasks, names, strict=True) if CENTROIDS in anew]
    if made:
        shared += centroids(made[0].bench, max(task.n for task in made))
    return seconds, stretch.forecast(sum(seconds) + shared)


def _judged(results: tuple[Result, ...], omitted: dict[str, str], bench: Bench) -> Report:
    """Return the report, with its verdict, limits and pictures."""
    report = Report(results, bench.subject.label, "", omitted)
    standing, verdict = summarise(report)
    if blurs_win(report):
        # What cannot judge does not lead.
        blind = {r.protocol for r in results if kind_of(r.protocol) in ("fd", "kd") and "_pixels" in r.protocol}
        report = dataclasses.replace(report, results=tuple(sorted(results, key=lambda r: r.protocol in blind)))
    return dataclasses.replace(
        report, verdict=verdict, standing=standing, limits=limits(bench, report), gallery=gallery(report, bench)
    )


def _result(protocol: Protocol, task: Task) -> Result:
    """Measure the model, then the control sets, or take their rows from the cache."""
    bench, name = task.bench, protocol.full_name(task)
    start = time.perf_counter()
    rows = protocol.measure(protocol.model(bench, task.n), task)
    seconds = time.perf_counter() - start
    rows += _controls(protocol, task, name)
    return Result(
        protocol=name, summary=protocol.summary, metrics=protocol.metrics, rows=tuple(rows),
        verdict=protocol.verdict(rows, task), data=bench.dataset.name, fingerprint=bench.dataset.fingerprint,
        seed=bench.seed, version=protocol.version, seconds=round(seconds, 2),
    )  # fmt: skip


def _kept(protocol: Protocol, task: Task, name: str) -> Path | None:
    """Return the file of the control rows; None where nothing is kept."""
    bench = task.bench
    if bench.cache_dir is None:
        return None
    weights = "" if task.extractor is None else f"-{task.extractor.sha256[:12]}"
    version = f"v{protocol.version}.{CHOICE}"
    return bench.cache_dir / f"{name}-{version}{weights}-{bench.dataset.fingerprint}-{bench.seed}.json"


def _unmeasured(protocol: Protocol, task: Task) -> Sequence[str]:
    """Return the control sets that will be measured anew."""
    path = _kept(protocol, task, protocol.full_name(task))
    return () if path is not None and path.is_file() else protocol.controls(task.bench)


def _controls(protocol: Protocol, task: Task, name: str) -> list[Row]:
    """Read the control rows from the cache, or measure and keep them."""
    bench, path = task.bench, _kept(protocol, task, name)
    if path is None:
        return _measure_controls(protocol, task)
    try:
        return [Row.from_json(values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        bench.say(f"the kept control rows in {path} cannot be read: measuring them again")
    rows = _measure_controls(protocol, task)
    try:
        make_folder(path.parent)
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
