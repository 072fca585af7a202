"""Series of a run that go on from a table, fill its holes, or are longer than a window: read, drawn, written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.history import History, read_history
from saddlepoint.data.series.samples import write_samples
from saddlepoint.data.series.time_index import read_start
from saddlepoint.run import continuing
from saddlepoint.run.continuing import Source
from saddlepoint.run.generator import check_count

if TYPE_CHECKING:
    from saddlepoint.run.run import Run

WINDOWS, SERIES = 1000, 100
"""Windows, and series that go on from a table or fill it, that are written where no number is asked for."""

MOST_LENGTH = 1_000_000
"""Steps that a series may have."""

_DRAWS = 1_000_003
"""Draws of one seed are told apart by so many seeds between them."""


@dataclass(frozen=True)
class Asked:
    """What of a run's series is asked for.

    Attributes:
        given: a table whose rows samples go on from, or None.
        fill: a table whose empty cells are filled, or None.
        length: steps of each series, of ``given`` new ones; None: those of a window, of ``given`` the rest of one, or
            half of one.
        start: time of the first step, without a table.
    """

    given: Path | None = None
    fill: Path | None = None
    length: int | None = None
    start: str | None = None

    @property
    def more(self) -> bool:
        """Whether more is asked for than windows of the generator."""
        return self.given is not None or self.fill is not None or self.length is not None

    def usual(self, run: Run) -> int:
        """Return how many series are written where no number is asked for."""
        if self.given is not None or self.fill is not None:
            return SERIES
        return 1 if (self.length or 0) > run.family.data.shape[0] else WINDOWS

    def check(self, run: Run) -> None:
        """Raise a `ConfigError` where these do not go together, or not with the run."""
        if run.family.data.modality != "sequence":
            raise ConfigError(
                f"'{run.path.name}' makes {run.family.data.modality}s; --given, --fill and --length are for series"
            )
        if self.given is not None and self.fill is not None:
            raise ConfigError("--given goes on from a table and --fill fills one; ask for one of them")
        if self.fill is not None and self.length is not None:
            raise ConfigError("--fill gives as many rows as the table has; leave --length out, or go on with --given")
        if self.start is not None and (self.given is not None or self.fill is not None):
            raise ConfigError("the table says when it is; leave --start out")
        if self.length is not None and not 1 <= self.length <= MOST_LENGTH:
            raise ConfigError(f"--length is {self.length}, but a series has 1 to {MOST_LENGTH:,} steps")


def write_asked(run: Run, path: Path, n: int, asked: Asked, *, seed: int, label: int | str | None) -> Path:
    """Write series as a table or arrays; see `Run.write`.

    Raises:
        ConfigError, DataError: as `Asked.check` and `read_history`, or if there is no such class.
    """
    asked.check(run)
    check_count(n)
    table = asked.given or asked.fill
    if table is None:
        x, labels, times = long_series(run, n, asked.length or run.family.data.shape[0], seed, label, asked.start)
    else:
        history = read_history(table, run.layout, _classes(run), gaps=asked.fill is not None)
        make = continuation if asked.fill is None else completion
        x, labels, times = make(run, history, n, asked.length, seed, label)
    return write_samples(path, x, run.layout, labels, run.family.data.classes, times)


Series = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""(n, steps, feature) scaled as the data is, labels (n,) or None, times (n, steps) or None."""


def continuation(
    run: Run, history: History, n: int, length: int | None = None, seed: int = 0, label: int | str | None = None
) -> Series:
    """Return series that go on from given rows, without them.

    Args:
        run: of series.
        history: the rows.
        n: how many.
        length: new steps; None: the rest of a window, at least half of one.
        seed: of the draws.
        label: of the series; None: that of the rows, or in the shares of the data.
    """
    rows, time = len(history.x), run.family.data.shape[0]
    steps = length or max(time - rows, time // 2)
    times_at = _times_of_history(run, history)
    chosen = history.label if label is None else label
    known = run.layout.known
    given = history.x[:, : history.x.shape[1] - known]
    x = continuing.continued(_source(run, chosen, times_at, seed), given, n, steps, seed)
    return _finished(run, x, n, chosen, times_at, rows, seed)


def completion(
    run: Run, history: History, n: int, length: int | None = None, seed: int = 0, label: int | str | None = None
) -> Series:
    """Return given rows with their holes filled, each time anew; arguments as of `continuation`."""
    times_at = _times_of_history(run, history)
    chosen = history.label if label is None else label
    given = history.x[:, : history.x.shape[1] - run.layout.known]
    x = continuing.filled(_source(run, chosen, times_at, seed), given, n, seed)
    return _finished(run, x, n, chosen, times_at, 0, seed)


def long_series(
    run: Run, n: int, length: int, seed: int = 0, label: int | str | None = None, start: str | None = None
) -> Series:
    """Return series of any length.

    Args:
        run: of series.
        n, length, seed: as of `continuing.long_series`.
        label: class of all; None: classes in the shares of the data.
        start: time of the first step; None: after the data.
    """
    times_at = _times_from(run, start)
    drawn = run.labels(n, seed=seed, label=label)
    if drawn is None:
        x = continuing.long_series(_source(run, None, times_at, seed), n, length, seed)
        return _finished(run, x, n, None, times_at, 0, seed)
    labels = drawn.numpy()
    x = np.empty((n, length, run.family.data.shape[1] - run.layout.known))
    for kind in np.unique(labels):
        rows = labels == kind
        source = _source(run, int(kind), times_at, seed + int(kind))
        x[rows] = continuing.long_series(source, int(rows.sum()), length, seed)
    found, _, times = _finished(run, x, n, None, times_at, 0, seed)
    return found, labels, times


def _classes(run: Run) -> tuple[str, ...]:
    return tuple(run.family.data.classes[: run.family.classes])


TimesAt = Callable[[np.ndarray], np.ndarray] | None
"""Numbers of steps, int64, to their times; None where there is no time."""

PhasesAt = Callable[[np.ndarray], np.ndarray] | None
"""Numbers of steps to the phases of the calendar there."""


def _times_of_history(run: Run, history: History) -> TimesAt:
    """Return the times of steps of given rows and after them: the first row is step 0."""
    index, times = run.layout.time_index, history.times
    if index is None or times is None:
        return None
    last = len(times) - 1

    def at(steps: np.ndarray) -> np.ndarray:
        after = index.at(float(times[-1]), np.maximum(steps - last, 0))
        return np.where(steps <= last, times[np.clip(steps, 0, last)], after)

    return at


def _times_from(run: Run, start: str | None) -> TimesAt:
    """Return the times of steps after the data, or from a start on."""
    index = run.layout.time_index
    if index is None or index.unit.endswith("row"):
        return None
    if start is None:
        return lambda steps: index.at(index.last, steps + 1)
    base = read_start(start, index)
    return lambda steps: index.at(base, steps)


def source_of(run: Run, label: int | str | None, phases_at: PhasesAt, seed: int) -> Source:
    """Return a run's generator as a source of windows.

    Args:
        run: of series.
        label: class of the windows; None: in the shares of the data.
        phases_at: numbers of steps -> phases of the calendar (steps, part), which windows are told; None: those of
            training windows, drawn.
        seed: of the draws.
    """
    data, known = run.family.data, run.layout.known
    time, features = data.shape[0], data.shape[1] - known

    def draw(n: int, first: int, number: int) -> np.ndarray:
        inputs = run.inputs(n, seed=seed * _DRAWS + number)
        if known and phases_at is not None:
            told = torch.from_numpy(phases_at(first + np.arange(time))).to(inputs.dtype)
            rest = inputs[:, :, : inputs.shape[2] - known]
            inputs = torch.cat([rest, told.expand(n, -1, -1).masked_fill(rest[:, :, :1].isnan(), torch.nan)], 2)
        labels = run.labels(n, seed=seed * _DRAWS + number, label=label)
        return run.generate(inputs, labels, seed=seed).numpy()[..., :features]

    numbers = sum(1 for column in run.layout.columns if not column.static and not column.values)
    return Source(draw, time, numbers)


def _source(run: Run, label: int | str | None, times_at: TimesAt, seed: int) -> Source:
    parts = run.layout.calendar
    return source_of(run, label, None if times_at is None else lambda steps: phases(times_at(steps), parts), seed)


def _finished(
    run: Run, x: np.ndarray, n: int, label: int | str | None, times_at: TimesAt, first: int, seed: int
) -> Series:
    """Return series with their calendar, labels and times."""
    times = None if times_at is None else np.repeat(times_at(first + np.arange(x.shape[1]))[None], n, 0)
    if run.layout.known and times is not None:
        x = np.concatenate([x, np.where(np.isnan(x[..., :1]), np.nan, phases(times, run.layout.calendar))], 2)
    labels = None if label is None else run.labels(n, seed=seed, label=label)
    return x, None if labels is None else labels.numpy(), times
