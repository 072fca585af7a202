"""A folder of runs: all of them at a glance, renamed, tagged, removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from saddlepoint.core.durable import flush
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.files import hidden_beside, write_atomically
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import check_name, runs_folder
from saddlepoint.run import jobs
from saddlepoint.run.entries import TAGS, WATCHED, Entry, read_entry, read_tags


class RunIndex:
    """The runs below a folder; reading again costs nothing for those that did not change.

    Args:
        root: folder of run folders; need not exist yet.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._known: dict[str, tuple[tuple[int, ...], Entry]] = {}

    def entries(self) -> list[Entry]:
        """Return all runs, the last changed first."""
        try:
            names = [entry.name for entry in os.scandir(self.root) if entry.is_dir() and not entry.name.startswith(".")]
        except OSError:
            return []
        found = [self.entry(name) for name in names]
        return sorted(found, key=lambda entry: (-entry.changed, entry.name))

    def entry(self, name: str) -> Entry:
        """Return one run; a folder that is no run, or is damaged, is an entry of state ``broken``."""
        path = self.root / name
        stamp = _stamp(path)
        kept = self._known.get(name)
        # Whether a process still trains shows in no file's time.
        if kept is None or kept[0] != stamp or kept[1].state in ("starting", "running", "measuring"):
            kept = self._known[name] = (stamp, read_entry(path, max(stamp, default=0) / 1e9))
        if kept[1].state != "measuring" and jobs.is_starting(path):
            return replace(kept[1], state="starting", detail="")
        return kept[1]

    def path(self, name: str) -> Path | None:
        """Return the folder of a run by its name; None where there is none: names are no paths."""
        path = self.root / name
        try:
            there = bool(name) and path.name == name and name not in (".", "..") and path.is_dir()
        except (OSError, ValueError):  # too long for a name, or with a null character
            return None
        return path if there else None


def _stamp(path: Path) -> tuple[int, ...]:
    times = []
    for name in WATCHED:
        try:
            times.append((path / name).stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def runs(folder: str | Path | None = None) -> list[Entry]:
    """Return all runs in a folder, the last changed first.

    Args:
        folder: of runs; None: ``SADDLEPOINT_RUNS``, or ``runs`` in the working directory.

    Example:
        >>> runs("no/such/folder")
        []
    """
    return RunIndex(runs_folder(folder)).entries()


def rename_run(root: str | Path, name: str, new: str) -> Path:
    """Give a run another name, and return its new folder.

    Args:
        root: folder of runs.
        name: of the run.
        new: a name that no run has; see `check_name`.

    Raises:
        CheckpointError: if there is no such run, or it is being trained.
        ConfigError: if the new name cannot be one, or is taken.
    """
    path, final = _own(root, name, "renamed"), Path(root) / check_name(new)
    if final.exists():
        raise ConfigError(f"'{final}' is there already; choose another name")
    os.rename(path, final)
    flush(final.parent)
    return final


def remove_run(root: str | Path, name: str) -> None:
    """Remove a run with everything in its folder; a link is removed, not what it points to.

    Raises:
        CheckpointError: if there is no such run in ``root``, or it is being trained.
    """
    path = _own(root, name, "removed")
    if path.is_symlink():
        path.unlink()
        return
    # Renamed first: what a full disk or a killed process leaves half removed is no run any more.
    gone = hidden_beside(path)
    os.rename(path, gone)
    shutil.rmtree(gone)


def tag_run(root: str | Path, name: str, *, add: Sequence[str] = (), drop: Sequence[str] = ()) -> tuple[str, ...]:
    """Add words to a run, and take some away; return those it has now, in order.

    Raises:
        CheckpointError: if there is no such run in ``root``.
        ConfigError: if a tag is empty or holds a comma.
    """
    path = _own(root, name)
    for tag in add:
        if not tag.strip() or "," in tag or not tag.isprintable():
            raise ConfigError(f"tag is '{tag}', but it must be a word without commas")
    tags = tuple(sorted({*read_tags(path), *(tag.strip() for tag in add)} - set(drop)))
    write_atomically(path / TAGS, json.dumps(tags) + "\n")
    return tags


def size_of(path: Path) -> int:
    """Return the bytes of all files in a folder."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                found += (Path(folder) / name).lstat().st_size
    return found


def _own(root: str | Path, name: str, change: str = "") -> Path:
    """Return the folder of a run by its name; names are no paths, so that nothing outside ``root`` can be meant.

    Args:
        root: folder of runs.
        name: of a run.
        change: what will be done to it, which a run that is being trained refuses; "": nothing that harms.
    """
    path = RunIndex(root).path(name)
    if path is None or not any((path / file).exists() for file in ("config.json", jobs.OUTPUT, "checkpoints")):
        raise CheckpointError(f"there is no run '{name}' in '{root}'; `saddle runs` lists them")
    if change and (jobs.is_starting(path) or jobs.is_training(path)):
        raise CheckpointError(f"'{name}' is being trained, and cannot be {change} now; stop it first")
    if change and RunFolder(path).measuring() is not None:
        raise CheckpointError(f"'{name}' is being measured, and cannot be {change} now; wait for it, or stop it first")
    return path
