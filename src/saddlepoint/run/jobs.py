"""Trainings as processes of their own, which outlive whoever started them: start, pause, go on, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import open_regular, read_end, read_json, write_atomically
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.locks import LOCK, MEASURING

OUTPUT = "process.log"
"""File in the run folder with what the process says."""

_CHOICE = "process.json"
"""File in the run folder with whether its trainings are followed by a report, where that was said."""

_MOST_CHOICE, _MOST_OUTPUT = 4096, 64 * 1024


def start(arguments: Sequence[str], folder: str | Path) -> int:
    """Start ``saddle train`` in a process of its own; return its number.

    Args:
        arguments: after ``train``, without --out. What they say of the report holds when the run goes on.
        folder: of the run.

    Raises:
        CheckpointError: if the folder cannot be written, or a process trains in it.
    """
    return _launch(["train", *arguments, "--out", str(Path(folder).resolve())], Path(folder))


def go_on(folder: str | Path, budget: str | None = None, report: bool | None = None) -> int:
    """Go on with a run in a process of its own, as ``saddle train --resume`` does; return its number.

    Args:
        folder: of the run.
        budget: new limit of the training time, counted from the run's beginning; ``"+10m"``: so much more than is
            spent; None: the run's own.
        report: whether it is measured at the end; None: as it was said before, or else as the command does.

    Raises:
        CheckpointError: if the folder cannot be written, or a process trains in it.
    """
    arguments = ["train", "--resume", str(Path(folder).resolve())]
    arguments += ["--budget", budget] if budget else []
    arguments += [_word(report)] if report is not None else _chosen(Path(folder))
    return _launch(arguments, Path(folder))


def _word(report: bool) -> str:
    return "--report" if report else "--no-report"


def _chosen(folder: Path) -> list[str]:
    """Return what was said of the report when a process was last started for a folder."""
    try:
        return [_word(bool(read_json(folder / _CHOICE, _MOST_CHOICE)["report"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _launch(arguments: Sequence[str], folder: Path) -> int:
    if is_training(folder):
        raise CheckpointError(f"a process is training in '{folder.name}' already; pause it first")
    if RunFolder(folder).measuring() is not None:
        raise CheckpointError(f"'{folder.name}' is being measured; wait for it, or stop it first")
    if (ending := _CHILDREN.pop(folder.resolve(), None)) is not None:
        ending.wait()
    try:
        make_folder(folder)
        for said in {"--report", "--no-report"} & set(arguments):
            write_atomically(folder / _CHOICE, json.dumps({"report": said == "--report"}) + "\n")
        with open_regular(folder / OUTPUT, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "saddlepoint", *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"'{folder}' cannot be written: {error.strerror}") from error
    _CHILDREN[folder.resolve()] = process
    return process.pid


def output(folder: str | Path) -> list[str]:
    """Return the lines of the last 64 KiB of what the process of a run said; none if it said nothing."""
    try:
        return read_end(Path(folder) / OUTPUT, _MOST_OUTPUT).decode(errors="replace").splitlines()
    except OSError:
        return []


_CHILDREN: dict[Path, subprocess.Popen[bytes]] = {}
"""By folder, kept to be waited for: a process that ended would stay in the system's table."""


def reap() -> None:
    """Forget processes that ended."""
    for folder in [folder for folder, process in _CHILDREN.items() if process.poll() is not None]:
        del _CHILDREN[folder]


def started() -> int:
    """Return how many processes that were started from here are at work."""
    return sum(process.poll() is None for process in list(_CHILDREN.values()))


def is_starting(folder: str | Path) -> bool:
    """Whether a process that was started for a folder from here has yet to take it."""
    process = _CHILDREN.get(Path(folder).resolve())
    return process is not None and process.poll() is None and RunFolder(folder).last_trainer() != process.pid


def is_training(folder: str | Path, timeout: float = 3.0) -> bool:
    """Whether a process trains in a folder; one that has said that it ended is waited for.

    Args:
        folder: of the run.
        timeout: seconds for such a process to let go of the folder, which on a busy machine takes a moment.
    """
    run, deadline = RunFolder(folder), time.monotonic() + timeout
    while run.trainer() is not None:
        ended = run.read_status().get("state") in ("interrupted", "finished", "failed")
        if not ended or time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False


def pause(folder: str | Path) -> None:
    """Ask the process that trains in a folder to save and end; `go_on` continues bit for bit. Returns at once.

    Raises:
        CheckpointError: if no process of this machine trains there, or the one that is named does something else.
    """
    number = RunFolder(folder).trainer()
    if not number or os.name != "posix":
        where = "on another machine" if number == 0 else "no longer"
        raise CheckpointError(f"'{Path(folder).name}' is trained {where}; it cannot be paused from here")
    _signal(number, signal.SIGTERM, Path(folder) / LOCK)


def stop_measuring(folder: str | Path) -> None:
    """Ask the process that measures a run to end; the report has the figures that are there. Returns at once.

    Raises:
        CheckpointError: if no other process of this machine measures it.
    """
    number, _ = RunFolder(folder).measuring() or (0, "")
    if number in (0, os.getpid()) or os.name != "posix":
        raise CheckpointError(f"'{Path(folder).name}' is not measured by a process that can be stopped from here")
    _signal(number, signal.SIGINT, Path(folder) / MEASURING)


def _signal(number: int, what: signal.Signals, lock: Path) -> None:
    """Send a signal to the process that holds a lock: the number is a text in a folder that may come from elsewhere.

    Raises:
        CheckpointError: if it is another user's process, or one that has not opened the lock.
    """
    if not _has_opened(number, lock):
        raise CheckpointError(
            f"'{lock.parent.name}' names the process {number}, which is not at work on it; it is left alone: end "
            "whatever works on this run where it was started"
        )
    os.kill(number, what)


def _has_opened(number: int, path: Path) -> bool:
    """Whether a process of this user has a file open; where the system does not tell (no /proc), it is believed."""
    if not Path("/proc/self/fd").is_dir():
        return True
    place = Path("/proc") / str(number)
    try:
        wanted, own = path.stat(), place.stat().st_uid == os.geteuid()
        opened = list(os.scandir(place / "fd")) if own else []
    except OSError:
        return False
    for one in opened:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(one.path), wanted):
                return True
    return False


def stop(folder: str | Path, timeout: float = 60.0) -> None:
    """Pause a training, wait for its end, and mark the run as stopped: the same command begins a new one.

    Args:
        folder: of the run; one that is paused is marked only.
        timeout: seconds to wait for the process to save and end.

    Raises:
        CheckpointError: if it does not end in time, or is trained on another machine.
    """
    run, deadline = RunFolder(folder), time.monotonic() + timeout
    if run.trainer() is not None:
        pause(folder)
    while run.trainer() is not None:
        if time.monotonic() > deadline:
            raise CheckpointError(f"'{run.path.name}' did not end within {timeout:.0f} s; it may still be saving")
        time.sleep(0.05)
        reap()
    status = run.read_status()
    if status.get("state") in ("interrupted", "running", "failed"):
        run.write_status(**{**status, "state": "finished", "reason": "stopped"})
