"""Measured beside each other: samples that anything made against a data set, and runs against runs."""

from __future__ import annotations

import copy
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from saddlepoint._errors import ConfigError, SaddlepointError
from saddlepoint.data import KNOWN, Dataset, load_dataset, load_samples
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.options import Preparation
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.lookup import find_run
from saddlepoint.engine.plan import unfinished
from saddlepoint.family import Family
from saddlepoint.run import Run

if TYPE_CHECKING:
    from saddlepoint.evaluate import Comparison, Report, Result
    from saddlepoint.evaluate.duration import Forecast
    from saddlepoint.evaluate.sets import Bench

Say = Callable[[str], None]


def evaluate_samples(
    path: str | Path,
    data: str,
    protocols: Sequence[str] | None = None,
    *,
    seed: int = 0,
    features: str | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    detail: Callable[[str], None] | None = None,
    partial: bool = False,
    threads: int | str | None = None,
    **preparation: Unpack[Preparation],
) -> tuple[Report, Path]:
    """Measure samples that anything made against a data set, and write the report.

    Args:
        path: folder or zip of images, parquet, .npy or .npz; of series CSV, parquet, .npy or
            .npz. Samples must have the size of the data's rows.
        data: name of a data set, path, or ``hf:owner/name``.
        protocols: kinds, aliases or full names; None: all that fit.
        seed: of the reference rows.
        features: name of a feature extractor; None: the best one for the data.
        out: folder of the report; None: ``NAME-report`` in the working directory, after the samples.
        say: as in `Run.evaluate`.
        detail: as in `Run.evaluate`.
        partial: as in `Run.evaluate`.
        threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.
        preparation: of the data, as in `load_dataset`.

    Returns:
        The report and the path of its page.

    Raises:
        ConfigError: on an unknown protocol or extractor, or one that does not fit.
        DataError: if samples or data cannot be read, or do not fit each other.
    """
    from saddlepoint.evaluate import Subject, evaluate
    from saddlepoint.report import save_report

    dataset = load_dataset(data, say=say, **preparation)
    x, labels = load_samples(path, dataset)
    path = Path(path)
    # Files stand class by class in folders: any number of them shall be of all.
    order = np.random.default_rng(0).permutation(len(x))
    subject = Subject(
        path.name,
        lambda n, seed: torch.from_numpy(x[order[:n]]),
        count=len(x),
        labels=None if labels is None else lambda n, seed: labels[order[:n]],
    )
    report = evaluate(
        subject, dataset, protocols, seed=seed, features=features, cache_dir=cache_dir() / "controls", progress=say,
        detail=detail, partial=partial, threads=threads,
    )  # fmt: skip
    return report, save_report(Path(f"{path.stem}-report") if out is None else out, report)


def is_followed(source: str) -> bool:
    """Whether a training on this data is followed by its report unless it is said otherwise: that on own data is."""
    return source not in KNOWN


def after_training(forecast: Forecast | None) -> str:
    """Say how much longer a training takes for its report, which is not in its budget.

    >>> after_training(None)
    'takes some time more after the training'
    """
    return f"takes {'some time' if forecast is None else forecast.words()} more after the training"


def caution(run: Run) -> str:
    """Say in a line why samples of a run are worth nothing yet: by its stages, or its last report; "" otherwise."""
    from saddlepoint.evaluate import kept_results, report_of

    if early := unfinished(run.family.stages(), run.step):
        return early
    results = kept_results(RunFolder(run.path).report)
    if not results or report_of(results).standing != "far":
        return ""
    return f"the last report of this run says that its samples are far from the data: {RunFolder(run.path).report}"


def report_time(dataset: Dataset, family: Family, config: Mapping[str, Any]) -> Forecast | None:
    """Return about how long the report of a training on this data will take, before it has begun.

    Args:
        dataset: the data.
        family: the networks as they are built, trained or not: their mode is left as it is.
        config: of the run.

    Returns:
        None if it cannot be told.
    """
    from saddlepoint.evaluate import expected_time

    networks = copy.deepcopy(family).eval()
    try:
        subject = Run(Path(), config, networks, 0, averaged=False).subject(dataset)
        return expected_time(subject, dataset, cache_dir=cache_dir() / "controls")
    except Exception:  # a forecast that fails, for whatever reason, must not cost the training
        return None


def compare_runs(
    paths: Sequence[str | Path],
    protocols: Sequence[str] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """Set evaluated runs side by side, by what all of them were measured by.

    Figures of a few rows have no error: their samples are then drawn again, and shuffled between the runs.

    Args:
        paths: run folders, names of runs, or folders of reports.
        protocols: kinds or full names to compare; None: all that they have in common.
        say: receives lines worth telling while samples are drawn.

    Raises:
        DataError: if one was not evaluated yet.
        ConfigError: if they were measured on different data, by nothing in common, or not by a protocol that is asked
            for.
    """
    from saddlepoint.evaluate import compare, read_results
    from saddlepoint.evaluate.compare import on_the_same_data
    from saddlepoint.evaluate.rows import kind_of

    results: dict[str, list[Result]] = {}
    places: dict[str, Path] = {}
    for path in map(find_run, paths):
        folder = path if (path / "metrics.jsonl").exists() else RunFolder(path).report
        label = str(path) if path.name in results else path.name or str(path)
        results[label], places[label] = read_results(folder / "metrics.jsonl"), path
    if len(results) > 1:
        on_the_same_data(results)  # said before all else: nothing that is measured helps then
    for label, found in results.items():
        results[label] = [r for r in found if not protocols or {r.protocol, kind_of(r.protocol)} & set(protocols)]
        if not results[label]:
            asked = " ".join(f"--protocol {name}" for name in protocols or ())
            raise ConfigError(
                f"{label} was not measured by {' or '.join(protocols or ['any protocol'])}; run "
                f"saddle evaluate {shlex.quote(str(places[label]))} {asked}".rstrip()
            )
    shuffle = _Shuffle(results, places, say or (lambda line: None))
    return compare(results, {label: str(path) for label, path in places.items()}, shuffle)


class _Shuffle:
    """Judges differences between figures without an error, from samples of both runs that are drawn again.

    Args:
        results: of each run, by its label.
        places: folder of each; that of a report has no generator.
        say: receives lines worth telling.
    """

    def __init__(self, results: Mapping[str, Sequence[Result]], places: Mapping[str, Path], say: Say) -> None:
        self.results, self.places, self.say = results, places, say
        self._dataset: Dataset | None = None
        self._features: dict[tuple[str, str], np.ndarray] = {}
        self._benches: dict[tuple[str, int], Bench] = {}
        self._found: dict[tuple[str, str, str], Mapping[str, float]] = {}
        self._refused: set[str] = set()

    def __call__(self, protocol: str, one: str, two: str) -> Mapping[str, float]:
        """Return p-values of a protocol's figures by name; none where samples cannot be had again."""
        from saddlepoint.evaluate.rows import kind_of
        from saddlepoint.evaluate.shuffled import DEALS, KINDS, p_values

        key = (protocol, one, two)
        if key not in self._found:
            self._found[key] = {}
            if kind_of(protocol) in KINDS and not self._refused & {one, two}:
                try:
                    rows = [self._rows(protocol, label) for label in (one, two)]
                    self.say(f"{protocol}: {DEALS} permutations, since so few rows have no error")
                    real = self._features[protocol, ""]
                    self._found[key] = p_values(kind_of(protocol), real, *rows)
                except SaddlepointError as error:
                    self.say(f"differences by {protocol} are not judged: {error}")
        return self._found[key]

    def _rows(self, protocol: str, label: str) -> np.ndarray:
        """Return the features of the samples that a figure was measured on.

        Raises:
            SaddlepointError: if they cannot be drawn again, or are others than those that were measured.
        """
        if (protocol, label) in self._features:
            return self._features[protocol, label]
        from saddlepoint.evaluate.protocol import task_of

        result = next(r for r in self.results[label] if r.protocol == protocol)
        bench = self._bench(label, result.seed)
        kind, task = task_of(protocol, bench)
        samples = bench.model(task.n)
        again = kind.measure(samples, task)[0]
        then = result.find(again.metric)
        if then is None or not math.isclose(again.value, then.value, rel_tol=1e-3, abs_tol=1e-6):
            self._refused.add(label)
            raise ConfigError(
                f"{label} was trained on, or moved to another machine, since it was measured; run saddle evaluate "
                f"{shlex.quote(str(self.places[label]))} --protocol {protocol}"
            )
        self._features[protocol, ""] = bench.reference.features(task.extractor).x
        self._features[protocol, label] = samples.features(task.extractor).x
        return self._features[protocol, label]

    def _bench(self, label: str, seed: int) -> Bench:
        """Return what a run is measured with; its samples are drawn once.

        Raises:
            SaddlepointError: if it is no run, or its data is not there.
        """
        from saddlepoint.evaluate.sets import Bench
        from saddlepoint.run import load

        if (label, seed) not in self._benches:
            try:
                run = load(self.places[label])
                self._dataset = self._dataset or run.dataset(self.say)
            except SaddlepointError:
                self._refused.add(label)
                raise
            kept = cache_dir() / "controls"
            self._benches[label, seed] = Bench(run.subject(self._dataset), self._dataset, seed, cache_dir=kept)
        return self._benches[label, seed]
