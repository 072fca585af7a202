"""The store of a sweep: an Optuna study that several workers share, and which of its trials somebody works on."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saddlepoint.core.durable import flush
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.packages import needed
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.locks import LOCK
from saddlepoint.run.sweeps.space import Dimension

JOURNAL = "journal.log"
"""File of the store in the folder of a sweep, unless a database is named."""

STARTUP = 10
"""Trials that are drawn at random, before what came of them says where to look (Optuna's own number)."""

SURPLUS = "surplus"
"""Attribute of a trial that two workers began at once as the last one: it was never trained."""

_DEFAULTS = {"why": "the values of the preset"}
_PER_SEED = 1_000_003

_ATTEMPTS, _PAUSE = 5, 1.0
_RACE = re.compile("already exists|duplicate|unique", re.IGNORECASE)
"""What databases say where two workers make the tables of an empty one at once; then they are there."""


@dataclass(frozen=True)
class Trial:
    """One trial as the store keeps it.

    Attributes:
        number: from 0 on.
        state: complete, pruned, failed, running (somebody works on it, or did).
        values: of the options, by name.
        figure: on validation rows, lower is better; None unless it is complete.
        about: standard error of the figure, samples seen, seconds, the doctor's verdict, why it ended.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    figure: float | None
    about: Mapping[str, Any]


class Store:
    """A study, and who works on what.

    A worker holds a lock while it works on a trial. A trial that is at work in the store, and whose lock nobody holds,
    was left by a worker that is gone: whoever finds it goes on with it where its last checkpoint is.

    Args:
        folder: of the sweep, which workers of one store share.
        url: of a database that SQLAlchemy knows; None: a journal file in the folder.
        name: of the study.
        seed: of the sampler; trial n depends on it, on n and on what is known when it begins.
        dimensions: what is searched.
        trials: number of trials, in all.

    Raises:
        ConfigError: if Optuna is not installed, or the store cannot be opened.
    """

    def __init__(
        self, folder: Path, url: str | None, name: str, seed: int, dimensions: Sequence[Dimension], trials: int
    ) -> None:
        self._optuna = needed("optuna", "sweep", "a sweep")
        self.folder, self.seed, self.dimensions, self.trials = folder, seed, dimensions, trials
        self._journal = url is None
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._study = self._opened(url, name)

    def _opened(self, url: str | None, name: str) -> Any:
        """Return the study, which the first worker makes."""
        for attempt in range(_ATTEMPTS):
            try:
                # A name of its own: what is drawn depends on it, and the usual one is drawn at random.
                study = self._optuna.create_study(
                    storage=self._storage(url), study_name=name, direction="minimize", load_if_exists=True,
                    pruner=self._optuna.pruners.NopPruner(),
                )  # fmt: skip
                flush(self.folder)  # Optuna syncs the journal, not its name
                return study
            except Exception as error:  # of many kinds, by the database
                if _RACE.search(str(error)) and attempt + 1 < _ATTEMPTS:
                    time.sleep(_PAUSE)
                    continue
                reason = " ".join(str(error).split())[:200].rstrip(".")
                way = "" if url is None else "; it must be a URL as SQLAlchemy takes it, and its driver installed"
                raise ConfigError(f"the store of the sweep cannot be opened: {reason}{way}") from error
        raise AssertionError

    def _storage(self, url: str | None) -> Any:
        storages = self._optuna.storages
        if url is not None:
            return storages.RDBStorage(url)
        path = self.folder / JOURNAL
        _drop_half_a_line(path, storages.journal.JournalFileSymlinkLock(str(path)))
        return storages.JournalStorage(storages.journal.JournalFileBackend(str(path)))

    def begin_with(self, values: Mapping[str, Any]) -> None:
        """Let the first trial be that of given values, where nothing is known yet."""
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(values), user_attrs=_DEFAULTS, skip_if_exists=True)

    @contextmanager
    def claimed(self) -> Iterator[Trial | None]:
        """Hold a trial that is to be carried out while the block lasts; None: there is none for this worker."""
        with contextlib.ExitStack() as held:
            yield self._left(held) or self._new(held)

    def _left(self, held: contextlib.ExitStack) -> Trial | None:
        """Take a trial whose worker is gone."""
        for frozen in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            if self._is_here(frozen.number) and self.hold(f"{frozen.number:04d}", held):
                return self._drawn(self._optuna.trial.Trial(self._study, frozen._trial_id))
        return None

    def _new(self, held: contextlib.ExitStack) -> Trial | None:
        """Begin a trial, unless there are as many as are wanted."""
        while sum(trial.state != "waiting" for trial in self.known()) < self.trials:
            trial = self._study.ask()
            before = sum(one.number < trial.number for one in self.known())
            if before >= self.trials:  # another worker began the last one at the same moment
                trial.set_user_attr(SURPLUS, True)
                self._study.tell(trial, state=self._states.FAIL)
                return None
            if self.hold(f"{trial.number:04d}", held):
                return self._drawn(trial)
        return None

    def _drawn(self, trial: Any) -> Trial:
        """Return a trial with values; those that it has already stay."""
        # By its number, so that a sweep that was stopped goes on with the draws that it would have had.
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=self.seed * _PER_SEED + trial.number, n_startup_trials=STARTUP, constant_liar=True
        )
        for dimension in self.dimensions:
            if dimension.kind == "choice":
                trial.suggest_categorical(dimension.name, dimension.choices)
            elif dimension.kind == "whole":
                trial.suggest_int(dimension.name, int(dimension.low), int(dimension.high), log=dimension.log)
            else:
                trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)
        return Trial(trial.number, "running", dict(trial.params), None, dict(trial.user_attrs))

    def _is_here(self, number: int) -> bool:
        """Whether a trial is one of this folder: of a database others may work in folders that are not seen here."""
        return self._journal or (self._claims / f"{number:04d}" / LOCK).exists()

    @property
    def _claims(self) -> Path:
        return self.folder / "claims"

    def hold(self, what: str, held: contextlib.ExitStack) -> bool:
        """Take the lock of a trial, or of other work of the sweep, until ``held`` ends; False: another worker has it.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        folder = RunFolder(self._claims / what)
        try:
            held.enter_context(folder.locked())
        except CheckpointError:
            if folder.trainer() is None:
                raise
            return False
        return True

    @property
    def _states(self) -> Any:
        return self._optuna.trial.TrialState

    def tell(self, trial: Trial, state: str, figure: float | None = None, **about: Any) -> None:
        """Say how a trial ended.

        Args:
            trial: that is held.
            state: complete, with its figure; pruned; failed.
            figure: on validation rows.
            about: what else is worth keeping: plain JSON values.
        """
        frozen = next(one for one in self._study.get_trials(deepcopy=False) if one.number == trial.number)
        kept = self._optuna.trial.Trial(self._study, frozen._trial_id)
        for name, value in about.items():
            kept.set_user_attr(name, value)
        states = {"complete": self._states.COMPLETE, "pruned": self._states.PRUNED, "failed": self._states.FAIL}
        self._study.tell(trial.number, figure, state=states[state])

    def known(self) -> list[Trial]:
        """Return all trials, in order; without those that were never trained."""
        words = {"FAIL": "failed"}
        return [
            Trial(
                one.number, words.get(one.state.name, one.state.name.lower()), dict(one.params),
                one.value if one.state == self._states.COMPLETE else None,
                {name: value for name, value in one.user_attrs.items() if name != SURPLUS},
            )
            for one in self._study.get_trials(deepcopy=False) if SURPLUS not in one.user_attrs
        ]  # fmt: skip


def _drop_half_a_line(path: Path, lock: Any) -> None:
    """Cut off the end of a journal that a loss of power left without its line's end: nobody was told that it is there.

    What is appended to half a line would be one with it, and no worker could read the journal any more.

    Args:
        path: of the journal; it need not be there.
        lock: Optuna's own, under which workers append.
    """

    def torn() -> int | None:
        """Return where the whole lines end, if something follows them."""
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        return whole if whole < len(content) else None

    if torn() is None:
        return
    lock.acquire()
    try:
        if (whole := torn()) is not None:  # and not what another worker was writing
            os.truncate(path, whole)
            flush(path)
    finally:
        lock.release()


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the least figure, the first of equal ones; None: none is complete."""
    complete = [trial for trial in trials if trial.figure is not None]
    return min(complete, key=lambda trial: (trial.figure, trial.number), default=None)
