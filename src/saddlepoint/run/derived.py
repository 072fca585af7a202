"""Folders of weights that were made of a run's: they are used like a run, and say where they come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.durable import make_folder, move_into_place
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import hidden_beside, write_atomically
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Family
from saddlepoint.run import weights


def refuse_present(place: Path, option: str = "--out") -> None:
    """Raise a `ConfigError` if there is something at a place already."""
    if place.exists() or place.is_symlink():
        raise ConfigError(f"'{place}' is there already; remove it, or choose another {option}")


def write_derived(
    final: Path,
    config: Mapping[str, Any],
    family: Family,
    *,
    origin: str,
    step: int,
    log: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    beside: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a folder of weights as an export has them; it is there whole, or not at all.

    Args:
        final: the folder, which must not be there yet.
        config: of the run that it was made of, with what is added to say how.
        family: with the weights.
        origin: name of that run.
        step: that the weights are of.
        log: lines of its log.
        status: what ``status.json`` says, beside that it is finished.
        beside: writes further files into a folder.

    Raises:
        ConfigError: if it is there.
    """
    refuse_present(final)
    temporary = hidden_beside(final)
    make_folder(temporary)
    try:
        digest = weights.write_weights(temporary, family)
        RunFolder(temporary).write_log(log)
        write_atomically(temporary / "status.json", json.dumps({"state": "finished", **status}, indent=1) + "\n")
        beside(temporary)
        export = {"format": weights.FORMAT, "step": step, "run": origin, "sha256": digest}
        RunFolder(temporary).write_config({**config, "export": export})
        move_into_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
