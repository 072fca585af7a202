"""What the pages share: the folder of runs, the runs that are open, the trainings that were started."""

from __future__ import annotations

import datetime
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from saddlepoint import api, jobs
from saddlepoint._errors import CheckpointError
from saddlepoint.latent import Explorer
from saddlepoint.run import Run
from saddlepoint.shelf import Entry, Shelf

_OPEN = 4


class Desk:
    """The studio's state.

    Args:
        runs: folder of runs.
    """

    def __init__(self, runs: str | Path) -> None:
        self.shelf = Shelf(runs)
        self._runs: OrderedDict[tuple[str, int], tuple[Run, Explorer | None]] = OrderedDict()

    @property
    def uploads(self) -> Path:
        """Folder of uploaded data; hidden, so that it is not taken for a run."""
        return self.shelf.root / ".uploads"

    def folder(self, name: str) -> Path:
        """Return the folder of a run.

        Raises:
            CheckpointError: if there is none.
        """
        path = self.shelf.path(name)
        if path is None:
            raise CheckpointError(f"there is no run '{name}' in {self.shelf.root}; the table of runs lists all")
        return path

    def open(self, name: str) -> tuple[Run, Explorer | None]:
        """Return a run with its newest checkpoint, and its latent space if it has one; the last few stay in memory.

        Raises:
            CheckpointError: if it has no whole checkpoint yet.
        """
        path = self.folder(name)
        saved = max((entry.stat().st_mtime_ns for entry in (path / "checkpoints").glob("step*")), default=0)
        key = (name, saved)
        if key not in self._runs:
            run = api.load(path)
            self._runs[key] = (run, Explorer(run) if run.family.tags.input == "latent" else None)
            while len(self._runs) > _OPEN:
                self._runs.popitem(last=False)
        self._runs.move_to_end(key)
        return self._runs[key]

    def train(self, family: str, data: str, words: Sequence[str]) -> str:
        """Start a training in a process of its own; return the run's name.

        Args:
            family: name.
            data: name or path.
            words: further arguments of ``saddle train``.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(data).name).strip("-.") or "data"
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        name, number = f"{family}-{label}-{stamp}", 2
        while (self.shelf.root / name).exists():
            name, number = f"{family}-{label}-{stamp}-{number}", number + 1
        jobs.start([family, "--data", data, *words], self.shelf.root / name)
        return name


def standing(entry: Entry) -> str:
    """Say in one line how a run stands."""
    share = "" if entry.progress is None else f", {entry.progress:.0%} of the budget"
    detail = f": {entry.detail}" if entry.detail and entry.state in ("paused", "failed", "broken") else ""
    return f"{entry.state}{share}, {entry.nimg:,} samples seen{detail}" if entry.family else f"{entry.state}{detail}"
