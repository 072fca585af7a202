"""The run folder: what is where, who may write, what a killed process leaves behind."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.durable import flush, make_folder
from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import (
    MOST,
    is_folder_no_link,
    open_regular,
    own_folder,
    parse_json,
    read_end,
    read_json,
    snapshots_in,
    write_atomically,
)
from saddlepoint.engine.storage import entries, locks
from saddlepoint.engine.storage.averages import drop_averages
from saddlepoint.engine.storage.checkpoint import Checkpoint, list_checkpoints, newest_checkpoint, set_aside, step_of

OWN_NAMES = ("averages", "checkpoints", "log.jsonl", "remedies.json", "samples")
"""What training writes into a run folder beside ``config.json`` and ``status.json``."""

FOLDERS = ("checkpoints", "healthy", "averages", "samples", "remedies", "report", "pictures")
"""What a run folder may hold, written and cleaned by commands."""

LOG = "log.jsonl"
"""The log of a run, a line of JSON for each report."""

MOST_LOG = 64 * 1024**2  # bytes of the end of a log that are read: 650 million images at a line each 10,000
_MOST_LINE, _MOST_STATUS = 1024**2, 1024**2


class RunFolder:
    """A folder with ``config.json``, ``log.jsonl``, ``status.json``, ``samples/``, ``checkpoints/``, ``report/``."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def healthy(self) -> Path:
        """Folder of the checkpoints that remedies go back to."""
        return self.path / "healthy"

    @property
    def averages(self) -> Path:
        """Folder of the averages of several lengths, kept now and then."""
        return self.path / "averages"

    @property
    def samples(self) -> Path:
        """Folder of the sample grids taken during training."""
        return self.path / "samples"

    @property
    def report(self) -> Path:
        """Folder of the evaluation reports."""
        return self.path / "report"

    def own(self, *names: str) -> Path:
        """Make a folder of the run in which something is written or removed, and return it.

        Args:
            names: of the folder, after those that it lies in.

        Raises:
            CheckpointError: if one of them is a link, which would lead elsewhere, or cannot be made.
        """
        path = self.path
        for name in names:
            path = path / name
            try:
                own_folder(path)
            except OSError as error:
                raise CheckpointError(f"'{path}' cannot be written: {error.strerror}") from error
        return path

    def refuse_links(self, names: Sequence[str] = (*FOLDERS, LOG)) -> None:
        """Refuse a run of which a part leads elsewhere: what is written, set aside and removed here is the run's own.

        Args:
            names: folders and files that will be written; those that training writes include the log, whose lines
                before would be lost with the link.

        Raises:
            CheckpointError: naming the first one.
        """
        for name in names:
            if (self.path / name).is_symlink():
                raise CheckpointError(
                    f"'{self.path / name}' is a link to another place; a run writes and removes files in its own "
                    "folder only: put there what it leads to, or link to the whole run instead"
                )

    def read_config(self, follow: bool = False) -> dict[str, Any]:
        """Return the run's resolved configuration.

        Args:
            follow: whether it may be a link, as in an export in a cache of downloads.

        Raises:
            CheckpointError: if the folder is not a run folder, or its configuration is damaged.
        """
        try:
            config: dict[str, Any] = read_json(self.path / "config.json", MOST, follow)
            entries.check_config(config)
        except FileNotFoundError as error:
            raise CheckpointError(f"'{self.path}' is not a run folder: it holds no config.json") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(f"'{self.path}/config.json' cannot be read: {reason(error)}") from error
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration, making the folder if needed.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        try:
            make_folder(self.path)
            write_atomically(self.path / "config.json", json.dumps(config, indent=1) + "\n")
        except OSError as error:
            raise CheckpointError(f"run folder '{self.path}' cannot be written: {error.strerror}") from error

    def read_status(self) -> dict[str, Any]:
        """Return what the last process said of the run: state, reason, counters; empty if nothing readable."""
        try:
            status = read_json(self.path / "status.json", _MOST_STATUS)
        except (OSError, ValueError):
            return {}
        # A note for people and programs; nothing of training depends on it, so a damaged one is no error.
        sound = isinstance(status, dict) and entries.first_wrong(status, entries.STATUS) is None
        return status if sound else {}

    def write_status(self, **status: Any) -> None:
        """Say how the run stands; a disk that is full loses the note, not the run."""
        with contextlib.suppress(OSError):
            write_atomically(self.path / "status.json", json.dumps(status, indent=1) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log's lines, of one beyond 64 MB the last; one that was cut off or is damaged is left out."""
        try:
            content = read_end(self.path / LOG, MOST_LOG)
        except OSError:
            return []
        lines = []  # line by line, each judged alone: a killed process leaves half a line, a full disk a hole
        for text in content.splitlines():
            with contextlib.suppress(ValueError):
                if len(text) <= _MOST_LINE and entries.is_sound(line := parse_json(text)):
                    lines.append(line)
        return lines

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Append one line to the log; it outlasts a loss of power after `flush_log`."""
        make_folder(self.path)
        with open_regular(self.path / LOG, "ab") as file:  # opened for each line: the log may have been replaced
            end = file.seek(0, os.SEEK_END)
            try:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
            except OSError:
                # A full disk may take a part of the line; the next try must not continue it.
                with contextlib.suppress(OSError):
                    os.truncate(file.fileno(), end)
                raise

    def flush_log(self) -> None:
        """Force the log to the disk; a checkpoint says that all before it has happened."""
        with contextlib.suppress(OSError):  # there is none yet; or the disk fails, which the checkpoint will tell
            flush(self.path / LOG)
            flush(self.path)

    def write_log(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace the whole log."""
        write_atomically(self.path / LOG, "".join(json.dumps(line) + "\n" for line in lines))

    def truncate_log(self, step: int) -> None:
        """Drop lines after ``step``: the process that wrote them was killed before its next checkpoint."""
        if os.path.lexists(self.path / LOG):
            self.write_log([line for line in self.read_log() if line.get("step", 0) <= step])

    def recover(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest whole checkpoint, if there is one, and make the rest of the folder agree with it.

        Damaged checkpoints are set aside; log lines, healthy checkpoints and averages of later steps are dropped,
        because the steps are made again.

        Raises:
            CheckpointError: if there are damaged checkpoints only, or a folder of the run is a link.
        """
        self.refuse_links()
        checkpoint, problems = newest_checkpoint(self.checkpoints)
        if problems and checkpoint is None:
            raise CheckpointError(f"no checkpoint is whole ({'; '.join(problems.values())}); train in another --out")
        for path, problem in problems.items():
            warn(f"{problem}; set aside, using an older checkpoint")
            set_aside(path)
        step = checkpoint.step if checkpoint else -1  # without one all is of steps that are made again
        self.truncate_log(step)
        for path in list_checkpoints(self.healthy):
            if step_of(path) > step:
                shutil.rmtree(path, ignore_errors=True)
        self.drop_later(step)
        return checkpoint

    def drop_later(self, step: int) -> None:
        """Remove pictures of samples and averages after ``step``: those steps are made again, or given up."""
        drop_averages(self.averages, step)
        if is_folder_no_link(self.samples):
            for number, path in snapshots_in(self.samples).items():
                if number > step:
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            CheckpointError: if another process trains in this folder, it cannot be written, or leads elsewhere.
        """
        self.refuse_links()
        try:
            make_folder(self.path)
            file = open_regular(self.path / locks.LOCK, "ab")
        except OSError as error:
            raise CheckpointError(f"run folder '{self.path}' cannot be written: {error.strerror}") from error
        with file:
            if not locks.take_soon(file):
                raise CheckpointError(
                    f"another process is training in '{self.path}'; wait for it, stop it, or choose another --out"
                )
            locks.sign(file)
            yield

    def trainer(self) -> int | None:
        """Return the number of the process that trains here, 0 if it is another machine's; None: there is none."""
        found = locks.holder(self.path / locks.LOCK)
        return None if found is None else found[0]

    def last_trainer(self) -> int:
        """Return the number of the process that trains or trained here last; 0 if it is another machine's, or none."""
        return locks.last_holder(self.path / locks.LOCK)

    @contextlib.contextmanager
    def measured(self) -> Iterator[Callable[[str], None]]:
        """Let others see that this process measures the run; the note goes with the process, however it ends.

        Yields a function that receives what it is at. Nobody is turned away: where the note cannot be written, or
        another process measures already, nothing is noted.
        """
        with contextlib.ExitStack() as held:
            try:
                file = held.enter_context(open_regular(self.path / locks.MEASURING, "ab"))
            except OSError:
                yield lambda line: None
                return
            if not locks.take(file):
                yield lambda line: None
                return
            try:
                locks.sign(file)
                yield functools.partial(locks.sign, file)
            finally:
                (self.path / locks.MEASURING).unlink(missing_ok=True)

    def measuring(self) -> tuple[int, str] | None:
        """Return the process that measures the run, 0 if it is another machine's, and what it is at; None: none does.

        Where files cannot be locked, none is seen.
        """
        return locks.holder(self.path / locks.MEASURING)


def reason(error: Exception) -> str:
    """Return what an error says, without the path of the file, which its message has beside it."""
    return str(getattr(error, "strerror", None) or error)
