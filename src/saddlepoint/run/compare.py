"""Evaluated runs set side by side: what differs by more than chance, by figures or by samples drawn again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, SaddlepointError
from saddlepoint.core.files import read_json, write_atomically
from saddlepoint.core.logs import logged
from saddlepoint.core.quoting import for_shell
from saddlepoint.data import Dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.run.run import load

if TYPE_CHECKING:
    from saddlepoint.evaluation import Comparison, Result
    from saddlepoint.evaluation.protocol import Task
    from saddlepoint.evaluation.sets import Bench, SampleSet


@logged
def compare_runs(
    paths: Sequence[str | Path],
    protocols: Sequence[str] | None = None,
    *,
    data: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    known: Callable[[Comparison], None] | None = None,
    shuffle: bool = True,
    partial: bool = False,
) -> Comparison:
    """Set evaluated runs side by side, by what all of them were measured by.

    Figures of a few rows have no error: their samples are then drawn again, and shuffled between the runs. That takes
    some seconds; what came of it is kept.

    Args:
        paths: run folders, names of runs, or folders of reports.
        protocols: kinds or full names to compare; None: all that they have in common.
        data: where the data of the runs is now, if it was moved.
        say: receives lines worth telling while samples are drawn.
        known: receives what is known before samples are shuffled, if there is need to.
        shuffle: whether to do so; without, such differences are `Line.pending` unless they were judged before.
        partial: an interrupt (Ctrl-C) ends the shuffling, not the program; `Comparison.pending` says what is missing.

    Raises:
        DataError: if one was not evaluated yet.
        ConfigError: if they were measured on different data, by nothing in common, or not by a protocol that is asked
            for.
        KeyboardInterrupt: if interrupted, unless ``partial`` and samples are being shuffled.
    """
    from saddlepoint.engine.machine.threads import measured_threads
    from saddlepoint.evaluation import compare

    results, places = _measured(paths, protocols)
    named = {label: str(path) for label, path in places.items()}
    shuffled = _Shuffle(results, places, say or (lambda line: None), data)
    found = compare(results, named, shuffled.kept)
    if not (shuffle and found.pending):
        return found
    if known is not None:
        known(found)
    try:
        with measured_threads(1, lambda: None):
            shuffled.carry_out()
    except KeyboardInterrupt:
        if not partial:
            raise
    return compare(results, named, shuffled.kept)


def _measured(
    paths: Sequence[str | Path], protocols: Sequence[str] | None
) -> tuple[dict[str, list[Result]], dict[str, Path]]:
    """Return what each run was measured by, and its folder, by its label.

    Raises:
        DataError, ConfigError: as `compare_runs`.
    """
    from saddlepoint.evaluation import read_results
    from saddlepoint.evaluation.report.compare import on_the_same_data
    from saddlepoint.evaluation.rows import kind_of

    results: dict[str, list[Result]] = {}
    places: dict[str, Path] = {}
    for path in map(find_run, paths):
        folder = path if (path / "metrics.jsonl").exists() else RunFolder(path).report
        label = str(path) if path.name in results else path.name or str(path)
        results[label], places[label] = read_results(folder / "metrics.jsonl"), path
    if len(some := {label: found for label, found in results.items() if found}) > 1:
        on_the_same_data(some)  # said before all else: nothing that is measured helps then
    for label, found in results.items():
        results[label] = [r for r in found if not protocols or {r.protocol, kind_of(r.protocol)} & set(protocols)]
        if not results[label]:
            asked = [word for name in protocols or () for word in ("--protocol", name)]
            raise ConfigError(
                f"{label} was not measured by {' or '.join(protocols or ['any protocol'])}; run "
                + for_shell("saddle", "evaluate", places[label], *asked)
            )
    return results, places


_Pair = tuple[str, str, str]
"""A protocol, and the labels of two runs."""


class _Shuffle:
    """Judges differences between figures without an error, from samples of both runs that are drawn again.

    Args:
        results: of each run, by its label.
        places: folder of each; that of a report has no generator.
        say: receives lines worth telling.
        data: where the data is now, if it was moved.
    """

    def __init__(
        self, results: Mapping[str, Sequence[Result]], places: Mapping[str, Path], say: Callable[[str], None],
        data: str | Path | None = None,
    ) -> None:  # fmt: skip
        self.results, self.places, self.say, self.data = results, places, say, data
        self._dataset: Dataset | None = None
        self._features: dict[tuple[str, str], np.ndarray] = {}
        self._benches: dict[tuple[str, int], Bench] = {}
        self._found: dict[_Pair, Mapping[str, float]] = {}
        self._due: list[_Pair] = []
        self._refused: set[str] = set()
        self._again: set[tuple[str, int, int, str]] = set()

    def kept(self, protocol: str, one: str, two: str) -> Mapping[str, float] | None:
        """Return p-values of a protocol's figures by name, if they are known; None: `carry_out` may find them."""
        from saddlepoint.evaluation.measurements.shuffled import KINDS
        from saddlepoint.evaluation.rows import kind_of

        if kind_of(protocol) not in KINDS:
            return {}
        pair = (protocol, one, two)
        if pair not in self._found:
            earlier = _kept(self._file(pair)[0])
            if earlier is None:
                if pair not in self._due:
                    self._due.append(pair)
                return None
            self._found[pair] = earlier
        return self._found[pair]

    def carry_out(self) -> None:
        """Find the p-values that were asked for in vain; none where samples cannot be had again."""
        from saddlepoint.evaluation.duration import Stretch
        from saddlepoint.evaluation.measurements.shuffled import DEALS, expected_seconds, p_values
        from saddlepoint.evaluation.rows import kind_of

        stretch, seconds = Stretch(), dict[_Pair, float]()
        for pair in self._due:
            if self._refused & set(pair[1:]):
                self._found[pair] = {}
                continue
            try:
                seconds[pair] = expected_seconds(*self._sets(pair))
            except SaddlepointError as error:
                self._found[pair] = {}
                self.say(f"differences by {pair[0]} are not judged: {error}")
        forecast = stretch.forecast(sum(seconds.values()))
        if forecast.seconds >= _SAID or forecast.seconds * forecast.stretch >= 2 * _SAID:
            self.say(
                f"{DEALS} permutations, since so few rows have no error: takes {forecast.text()}; "
                "Ctrl-C leaves the table without them"
            )
        for pair in sorted(seconds, key=seconds.__getitem__):
            found = p_values(*self._sets(pair), what=f"shuffling samples for {kind_of(pair[0])}")
            _keep(self._file(pair)[0], found)
            self._found[pair] = found

    def _sets(self, pair: _Pair) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        """Return the kind of a protocol, the real features and those of both runs.

        Raises:
            SaddlepointError: as `_rows`.
        """
        from saddlepoint.evaluation.rows import kind_of

        protocol = pair[0]
        one, two = (self._rows(protocol, label) for label in self._file(pair)[1])
        return kind_of(protocol), self._features[protocol, ""], one, two

    def _file(self, pair: _Pair) -> tuple[Path, tuple[str, str]]:
        """Return where p-values of a pair are kept, and its labels in an order that does not depend on who asks.

        The name stands for both measurements as they were written down: others have another file.
        """
        from saddlepoint.evaluation.measurements.shuffled import DEALS, MOST_ROWS, VERSION

        digests = {}
        for label in pair[1:]:
            result = next(r for r in self.results[label] if r.protocol == pair[0])
            written = json.dumps(dataclasses.asdict(result), sort_keys=True, default=str)
            digests[label] = hashlib.sha256(written.encode()).hexdigest()
        first, second = sorted(pair[1:], key=lambda label: (digests[label], label))
        text = f"{VERSION}/{DEALS}/{MOST_ROWS}/{digests[first]}/{digests[second]}"
        return cache_dir() / "comparisons" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json", (first, second)

    def _rows(self, protocol: str, label: str) -> np.ndarray:
        """Return the features of the samples that a figure was measured on.

        Raises:
            SaddlepointError: if they cannot be drawn again, or are others than those that were measured.
        """
        from saddlepoint.evaluation.protocol import task_of

        if (protocol, label) in self._features:
            return self._features[protocol, label]
        result = next(r for r in self.results[label] if r.protocol == protocol)
        bench = self._bench(label, result.seed)
        task = task_of(protocol, bench)[1]
        samples = bench.model(task.n)
        self._check(label, result.seed, task, samples)
        self._features[protocol, ""] = bench.reference.features(task.extractor).x
        self._features[protocol, label] = samples.features(task.extractor).x
        return self._features[protocol, label]

    def _check(self, label: str, seed: int, task: Task, samples: SampleSet) -> None:
        """Refuse samples whose figures are others than those that were written down; the quickest figure is enough.

        Raises:
            ConfigError: with the command that measures the run anew.
        """
        from saddlepoint.evaluation.protocol import task_of
        from saddlepoint.evaluation.rows import kind_of

        features = "" if task.extractor is None else task.extractor.sha256
        if (key := (label, seed, task.n, features)) in self._again:
            return
        for name in _QUICKEST:
            for result in self.results[label]:
                if kind_of(result.protocol) != name or result.seed != seed:
                    continue
                kind, own = task_of(result.protocol, task.bench)
                if own.n != task.n or own.extractor is not task.extractor:
                    continue
                again = kind.measure(samples, own)[0]
                then = result.find(again.metric)
                if then is None or not math.isclose(again.value, then.value, rel_tol=1e-3, abs_tol=1e-6):
                    self._refused.add(label)
                    raise ConfigError(
                        f"{label} was trained on, or moved to another machine, since it was measured; run "
                        + for_shell("saddle", "evaluate", self.places[label], "--protocol", result.protocol)
                    )
                self._again.add(key)
                return

    def _bench(self, label: str, seed: int) -> Bench:
        """Return what a run is measured with; its samples are drawn once.

        Raises:
            SaddlepointError: if it is no run, or its data is not there.
        """
        from saddlepoint.evaluation.sets import Bench

        if (label, seed) not in self._benches:
            try:
                run = load(self.places[label], data=self.data)
                self._dataset = self._dataset or run.dataset(self.say)
            except SaddlepointError:
                self._refused.add(label)
                raise
            kept = cache_dir() / "controls"
            self._benches[label, seed] = Bench(
                run.subject(self._dataset), self._dataset, seed, cache_dir=kept, say=self.say
            )
        return self._benches[label, seed]


def _kept(path: Path) -> Mapping[str, float] | None:
    """Return p-values that were kept; None without any, or if they are damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    sound = isinstance(found, dict) and all(isinstance(p, float) and 0 < p <= 1 for p in found.values())
    return found if sound and found else None


def _keep(path: Path, found: Mapping[str, float]) -> None:
    """Keep p-values; a cache that cannot be written costs time, not the table."""
    with contextlib.suppress(OSError):
        make_folder(path.parent)
        write_atomically(path, json.dumps(found))


_QUICKEST = ("kd", "prdc", "fd")
"""Kinds of protocols that tell whether samples are the same, the quickest first."""

_SAID = 3.0
"""Seconds of shuffling from which it is said how long it takes."""
