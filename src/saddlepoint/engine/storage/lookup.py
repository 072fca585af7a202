"""Runs by a word: a path, ``latest``, a name below the folder of runs, or the beginning of one name."""

from __future__ import annotations

import os
from pathlib import Path

from saddlepoint.core.errors import CheckpointError, ConfigError, suggest

VARIABLE = "SADDLEPOINT_RUNS"
"""Environment variable with the folder of runs."""

LATEST = "latest"

_CHANGES = ("log.jsonl", "status.json", "config.json")
_HOLDS = ("config.json", "report/metrics.jsonl", "metrics.jsonl", "model.safetensors")


def runs_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of runs: the one that is named, ``SADDLEPOINT_RUNS``, or ``runs`` in the working directory."""
    return Path(folder or os.environ.get(VARIABLE) or "runs").expanduser()


def runs_in(folder: Path) -> list[Path]:
    """Return the run folders below ``folder``, the last changed first."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and _is_run(path)]
    except OSError:
        return []
    return sorted(found, key=lambda path: (-changed(path), path.name))


def changed(path: Path) -> float:
    """Return when a run was written to last, in seconds since the epoch; 0 if it cannot be told."""
    times = [0.0]  # of files, not of the folder, whose own time a new name in it changes and a new line of the log not
    for name in _CHANGES:
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(times)


def find_run(word: str | Path, folder: str | Path | None = None) -> Path:
    """Return the folder of a run.

    Args:
        word: path of a run, an export or a report; ``latest``: the run that was written to last; the name of a run
            below ``folder``, or the beginning of exactly one name; a path may end in such a beginning, too.
        folder: of runs; None: `runs_folder`.

    Raises:
        CheckpointError: if there is no such run, or several begin so.
    """
    path = Path(word).expanduser()
    # A path comes first: a run below the working directory is meant as it is written.
    if any((path / name).exists() for name in _HOLDS):
        return path
    root = runs_folder(folder)
    runs = runs_in(root)
    names = [run.name for run in runs]
    text = str(word)
    if text == LATEST:
        if not runs:
            raise CheckpointError(f"there is no run in '{root}' yet; train one, or say with --runs where they are")
        return runs[0]
    if text in names:
        return root / text
    begin = [name for name in names if text and name.startswith(text)]
    if len(begin) == 1:
        return root / begin[0]
    if len(begin) > 1:
        shown = ", ".join(begin[:3]) + (", ..." if len(begin) > 3 else "")
        raise CheckpointError(f"{len(begin)} runs in '{root}' begin with '{text}' ({shown}); write more of the name")
    if path.exists():
        return path
    if path.name not in ("", text) and path.parent.is_dir():  # runs/beginning
        return find_run(path.name, path.parent)
    near = suggest(path.name, names) if names else ""
    near = f" {near};" if near.startswith("did") else ""
    raise CheckpointError(
        f"'{word}' is not a run folder, and no run in '{root}' begins so;{near} `saddle runs` lists them"
    )


def check_name(name: str) -> str:
    """Return a name that a run may have.

    Raises:
        ConfigError: if it could be taken for a path, an option, or another run.
    """
    usable = name.isprintable() and "/" not in name and "\\" not in name and name == name.strip()
    if not usable or not name or name[0] in ".-~" or name == LATEST or name.startswith("hf:") or len(name) > 200:
        raise ConfigError(
            f"name is '{name}', but it must be a word without / that does not begin with a dot or a dash, and not "
            f"'{LATEST}'"
        )
    return name


def _is_run(path: Path) -> bool:
    return path.is_dir() and (path / "config.json").is_file()
