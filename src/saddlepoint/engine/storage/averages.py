"""Averages of a run's weights that are kept now and then, in ``averages/``: a file for each moment.

Which steps are kept is a function of the step that a run stands at, so resuming and going back need no list of them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import hidden_beside, is_folder_no_link, own_folder
from saddlepoint.engine.storage.tensors import load_tensors, save_tensors

SPACING = 8
"""Updates of the averages between the first moments that are kept."""

INTERVAL, BUFFERS = "interval", "buffers"
"""Names of what stands beside the averages in a file."""

_NAME = re.compile(r"step([0-9]{8,15})\.safetensors")


def kept_steps(step: int, interval: int, most: int) -> range:
    """Return the steps whose averages are kept when a run stands at ``step``: evenly spaced, at most ``most``.

    Whenever there would be more, every other one goes: between half of ``most`` and ``most`` are there however long a
    run gets.

    >>> list(kept_steps(700, 8, 4)), list(kept_steps(64, 8, 4))
    ([256, 512], [64])
    """
    spacing = SPACING * interval
    while step // spacing > most:
        spacing *= 2
    return range(spacing, step + 1, spacing)


def write_average(folder: Path, step: int, tensors: Mapping[str, Tensor]) -> Path:
    """Write the averages of a step, whole or not at all; `flush` them before a checkpoint rests on them.

    Raises:
        OSError: if they cannot be written.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    final = own_folder(folder) / f"step{step:08d}.safetensors"
    temporary = hidden_beside(final)
    try:
        save_tensors(held, temporary, {"sha256": _digest(held)})
        os.replace(temporary, final)  # flushed later, once for all that a checkpoint rests on
    finally:
        temporary.unlink(missing_ok=True)
    return final


def read_average(path: Path) -> dict[str, Tensor]:
    """Return what `write_average` wrote.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        tensors = load_tensors(path)  # first: its header is held against the file before anything is allocated
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get("sha256")
        if expected == _digest(tensors):
            return tensors
        reason = "its checksum does not match"
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error)
    raise CheckpointError(f"averages/{path.name} is damaged: {reason}")


def list_averages(folder: Path) -> dict[int, Path]:
    """Return the files of kept averages by step, the earliest first; they may still be damaged."""
    if not is_folder_no_link(folder):
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def drop_averages(folder: Path, after: int) -> None:
    """Remove the averages of steps after ``after``: those steps are made again, or given up."""
    _remove(path for step, path in list_averages(folder).items() if step > after)


def thin_averages(folder: Path, steps: Collection[int]) -> None:
    """Remove all averages but those of ``steps``, and what killed processes left half written."""
    _remove(path for step, path in list_averages(folder).items() if step not in steps)
    if is_folder_no_link(folder):
        _remove(path for path in folder.iterdir() if path.name.startswith(".") and path.is_file())


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
