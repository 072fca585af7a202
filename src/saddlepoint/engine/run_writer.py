"""What a run leaves on disk while it trains: its log and its checkpoints. One process writes; all load what it read."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.durable import flush
from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.machine.distributed import ProcessGroup
from saddlepoint.engine.profiles import Profiles
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.averages import thin_averages, write_average
from saddlepoint.engine.storage.checkpoint import Checkpoint, list_checkpoints, step_of, write_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.training import TrainingState

_SPARE = 16
"""Moments of averages that must fit on the disk for one to be kept: two checkpoints take about as much as ten."""


class RunWriter:
    """Keeps log and checkpoints of one run. A full disk makes log lines wait, it does not stop training.

    Args:
        folder: of the run; touched by the writer alone.
        keep: number of checkpoints kept.
        group: the processes that train together.
        observer: hears every line of the log, and what could not be written.
    """

    def __init__(self, folder: RunFolder, keep: int, group: ProcessGroup, observer: Observer) -> None:
        self.folder, self.keep, self.group, self.observer = folder, keep, group, observer
        self.saved_step = -1
        self.unwritten: list[Mapping[str, Any]] = []
        self.unflushed: list[Path] = []

    def add(self, *lines: Mapping[str, Any]) -> None:
        """Append lines to the log, after those that wait, and tell of them; without any, those wait on."""
        if lines and self.group.writes:
            self.unwritten.extend(lines)
            self.flush()
            for line in lines:
                self.observer.report(line)

    def flush(self) -> None:
        """Append the waiting lines; a full disk makes them wait longer."""
        try:
            while self.unwritten:  # one by one: a line is forgotten only when it is on disk
                self.folder.append_log(self.unwritten[0])
                self.unwritten.pop(0)
        except OSError as error:
            self.observer.warn(f"the log could not be written ({error.strerror}); training goes on")

    def keep_averages(self, state: TrainingState) -> None:
        """Write the averages of several lengths, where those of this step are kept; a full disk loses them, no more."""
        if not self.group.writes or state.profiles is None or not state.profiles.is_due(state.step):
            return
        moment = state.profiles.moment()
        size = sum(tensor.numel() * tensor.element_size() for tensor in moment.values())
        try:
            if shutil.disk_usage(self.folder.path).free < _SPARE * size:
                raise OSError(errno.ENOSPC, "the disk is nearly full, and checkpoints need what is left")
            self.unflushed.append(write_average(self.folder.averages, state.step, moment))
            self._thin(state.profiles, state.step)
        except OSError as error:
            why = error.strerror or error
            self.observer.warn(f"the averages of step {state.step} could not be kept ({why}); training goes on")

    def _thin(self, profiles: Profiles, step: int) -> None:
        """Remove averages that belong neither to this step nor to a checkpoint, from which training may go on again."""
        places = (self.folder.checkpoints, self.folder.healthy)
        stands = [step, *(step_of(path) for place in places for path in list_checkpoints(place))]
        thin_averages(self.folder.averages, {kept for stand in stands for kept in profiles.kept_steps(stand)})

    def save(self, state: TrainingState, final: bool) -> None:
        """Write a checkpoint; a failure ends the run only if it was the last chance, older ones stay either way.

        Raises:
            CheckpointError: if ``final`` and it cannot be written.
        """
        self.flush()
        if state.step == self.saved_step:
            return  # the last save of a run whose checkpoint was due anyway
        # Each process has sums of its own since the last report, and must resume with them.
        # From the CPU: the writer has no business on the GPUs of the others.
        statistics = self.group.gathered({name: sums.cpu() for name, sums in state.statistics.state_dict().items()})
        try:
            self.group.shared(lambda: self._write(state.checkpoint(statistics)))
            self.saved_step = state.step
        except CheckpointError as error:
            if final:
                raise
            self.observer.warn(f"{error}; training goes on and tries again")

    def _write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, after the log and the averages that belong to it have reached the disk."""
        self.folder.flush_log()
        if self.unflushed:
            with contextlib.suppress(OSError):
                flush(self.folder.averages)
        while self.unflushed:
            with contextlib.suppress(OSError):  # thinned since; or not to be had, which is no reason to stop
                flush(self.unflushed[-1])
            self.unflushed.pop()
        write_checkpoint(self.folder.checkpoints, checkpoint, self.keep)

    def restore(self, state: TrainingState) -> bool:
        """Load the newest whole checkpoint of the folder into ``state``, if there is one.

        Raises:
            CheckpointError: if the folder holds damaged checkpoints only, or those of other networks.
        """
        checkpoint: Checkpoint | None = self.group.shared(lambda: self.folder.recover(self.observer.warn))
        if checkpoint is None:
            return False
        state.load(checkpoint, self.group.rank)
        self.saved_step = checkpoint.step
        return True
