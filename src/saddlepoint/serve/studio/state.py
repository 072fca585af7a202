"""What the pages share: the folder of runs, the runs that are open, the trainings that were started."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.quoting import for_terminal
from saddlepoint.data import short_name
from saddlepoint.run import api, jobs
from saddlepoint.run.entries import Entry
from saddlepoint.run.index import RunIndex
from saddlepoint.run.run import Run
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.sweeps.summary import ROOT
from saddlepoint.serve.studio.uploads import Uploads

_OPEN = 4
_MOST_SENTENCES, _LONGEST = 20, 500
MOST_TRAININGS = 8
"""Trainings that one studio starts and that run at once."""

MOST_MEASURED = 2
"""Runs that the studio itself measures at once."""


class Studio:
    """The studio's state.

    Args:
        runs: folder of runs.

    Attributes:
        index: the runs.
        uploads: data that visitors bring.
    """

    def __init__(self, runs: str | Path) -> None:
        self.index = RunIndex(runs)
        # Hidden, so that it is not taken for a run.
        self.uploads = Uploads(self.index.root / ".uploads")
        self._loading = threading.Lock()
        self._starting = threading.Lock()
        self._measured: set[str] = set()
        self._runs: OrderedDict[tuple[str, int], tuple[Run, Explorer | None]] = OrderedDict()

    @property
    def sweeps(self) -> Path:
        """Folder of sweeps, beside that of the runs."""
        return self.index.root.parent / ROOT

    @property
    def roots(self) -> list[Path]:
        """Folders below which data is chosen: the data folder, if there is one, and where the studio was started."""
        given = os.environ.get("SADDLEPOINT_DATA_DIR")
        found = [Path(given)] if given and Path(given).is_dir() else []
        here = Path.cwd()
        return [*found, here] if here not in found else found

    def path(self, name: str) -> Path | None:
        """Return the folder of a run by its name, as it stands in an address; None where there is none.

        What is hidden, as files that are brought are, is no run.
        """
        return None if name.startswith(".") else self.index.path(name)

    def folder(self, name: str) -> Path:
        """Return the folder of a run.

        Raises:
            CheckpointError: if there is none.
        """
        path = self.path(name)
        if path is None:
            raise CheckpointError(f"there is no run '{name}' in {self.index.root}; the table of runs lists all")
        return path

    def entries(self) -> list[Entry]:
        """Return all runs that a page can name, the last changed first; bytes that are no text have no place in one."""
        return [_harmless(entry) for entry in self.index.entries() if is_text(entry.name)]

    def entry(self, name: str) -> Entry:
        """Return one run, with words that a page shows as they are."""
        return _harmless(self.index.entry(name))

    def open(self, name: str) -> tuple[Run, Explorer | None]:
        """Return a run with its newest checkpoint, and its latent space if it has one; the last few stay in memory.

        Raises:
            CheckpointError: if it has no whole checkpoint yet.
        """
        path = self.folder(name)
        saved = max((entry.stat().st_mtime_ns for entry in (path / "checkpoints").glob("step*")), default=0)
        key = (name, saved)
        with self._loading:
            if key not in self._runs:
                run = api.load(path)
                self._runs[key] = (run, Explorer(run) if run.family.tags.input == "latent" else None)
                while len(self._runs) > _OPEN:
                    self._runs.popitem(last=False)
            self._runs.move_to_end(key)
            return self._runs[key]

    async def opened(self, name: str) -> tuple[Run, Explorer | None]:
        """Do the same as `open` beside the pages, which stay alive meanwhile."""
        return await asyncio.to_thread(self.open, name)

    async def explored(self, name: str) -> None:
        """Open a run, and find the directions of its latent space, beside the pages."""
        _, explorer = await self.opened(name)
        if explorer is not None:
            await asyncio.to_thread(lambda: explorer.directions)

    def train(self, family: str, data: str, arguments: Sequence[str]) -> str:
        """Start a training in a process of its own; return the run's name.

        Args:
            family: name.
            data: name or path.
            arguments: further arguments of ``saddle train``.

        Raises:
            CheckpointError: if the folder cannot be written.
            ConfigError: if too many run already.
        """
        label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(data).name).strip("-.")[:60] or "data"
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        name, number = f"{family}-{label}-{stamp}", 2
        with self._one_more():
            while (self.index.root / name).exists():
                name, number = f"{family}-{label}-{stamp}-{number}", number + 1
            jobs.start([family, "--data", data, *arguments], self.index.root / name)
        return name

    def go_on(self, name: str, budget: str | None = None, report: bool | None = None) -> None:
        """Go on with a run in a process of its own; see `jobs.go_on`.

        Raises:
            CheckpointError: if there is no such run, or it is being trained or measured.
            ConfigError: if too many run already.
        """
        with self._one_more():
            jobs.go_on(self.folder(name), budget, report)

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Note that a run is measured by this process: each once at a time, and few together.

        Raises:
            ConfigError: if it is being measured already, or too many others are.
        """
        with self._starting:
            if name in self._measured:
                raise ConfigError(f"'{name}' is being measured already: its figures are shown when they are there")
            if len(self._measured) >= MOST_MEASURED:
                raise ConfigError(f"{MOST_MEASURED} runs are being measured already: try again when one is done")
            self._measured.add(name)
        try:
            yield
        finally:
            with self._starting:
                self._measured.discard(name)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Start one at a time, and not more than the machine can bear."""
        with self._starting:
            jobs.reap()
            if jobs.started() >= MOST_TRAININGS:
                raise ConfigError(
                    f"{MOST_TRAININGS} trainings of this studio run already, the most at once: pause or stop one first "
                    "(or start this one with the command)"
                )
            yield


def evidence_of(status: Mapping[str, Any]) -> list[str]:
    """Return what the doctor says that it saw, whatever a status file holds: at most so many sentences of a length."""
    found = status.get("evidence")
    return [str(one)[:_LONGEST] for one in found[:_MOST_SENTENCES]] if isinstance(found, list) else []


def is_text(name: str) -> bool:
    """Say whether a name can be sent to a page: names of files are bytes, and need not be text."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _harmless(entry: Entry) -> Entry:
    """Return an entry whose words, which come from the files of a run, hold nothing hidden; its name stays its name."""
    texts: dict[str, Any] = {name: for_terminal(getattr(entry, name)) for name in _TEXTS}
    return dataclasses.replace(entry, **texts, tags=tuple(map(for_terminal, entry.tags)))


_TEXTS = ("detail", "family", "preset", "data", "verdict")


def standing(entry: Entry) -> str:
    """Say in one line how a run stands."""
    over = entry.progress is None or entry.state in ("measuring", "finished")
    share = "" if over else f", {entry.progress:.0%} of the budget"
    told = ("measuring", "paused", "failed", "broken")
    detail = f": {entry.detail}" if entry.detail and entry.state in told else ""
    return f"{entry.state}{share}, {entry.nimg:,} samples seen{detail}" if entry.family else f"{entry.state}{detail}"


def data_of(entry: Entry) -> str:
    """Return the name of a run's data as pages show it."""
    return short_name(entry.data)
