"""Checkpoints: complete, checked, atomic, never executable.

A checkpoint is a folder of safetensors files and one ``state.json`` that holds their SHA-256. It is written
under a temporary name, flushed to disk with the names in it, then renamed, so that a folder with its final name is
whole unless the disk itself damages it, which the checksums notice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from saddlepoint.core.durable import move_into_place
from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import open_regular, own_folder, read_json, write_atomically
from saddlepoint.engine.storage.tensors import load_tensors, numbers_in, read_header, save_tensors

FORMAT = 1
_FILES, _OPTIONAL = ("model", "averages", "training"), ("profiles",)
_MOST_STATE = 1024**2
_NAME = re.compile(r"step([0-9]{8,15})")


class DamagedCheckpoint(CheckpointError):
    """A checkpoint is not what its checksums say."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on.

    Attributes:
        step: passes through a cycle completed when it was taken.
        tensors: tensors by file ("model", "averages", "training"; "profiles", where averages of several lengths are
            kept), then by name.
        facts: plain JSON values: samples seen, seconds trained.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint below ``folder`` and remove all but the newest ``keep``.

    Raises:
        CheckpointError: if it cannot be written (disk full, no permission, a link); older checkpoints stay.
    """
    final = folder / f"step{checkpoint.step:08d}"
    temporary = folder / f".writing-{uuid.uuid4().hex}"  # beside the final one: a rename must not cross file systems
    try:
        own_folder(folder)
        temporary.mkdir()
        digests = {}
        for name, tensors in checkpoint.tensors.items():
            path = temporary / f"{name}.safetensors"
            save_tensors(tensors, path)
            digests[path.name] = sha256_of(path)  # of what the file holds, not of what was to be written
        record = {"format": FORMAT, "step": checkpoint.step, "facts": dict(checkpoint.facts), "sha256": digests}
        write_atomically(temporary / "state.json", json.dumps({**record, "digest": _digest(record)}, indent=1))
        if final.is_symlink():
            final.unlink()
        elif final.exists():
            shutil.rmtree(final)  # the same step written again, after a resume: the old one must not block the rename
        move_into_place(temporary, final)  # from here on it counts
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"the checkpoint of step {checkpoint.step} could not be written: {error}") from error
    for old in list_checkpoints(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    for leftover in folder.glob(".writing-*"):  # of processes that were killed; the lock lets nobody else write
        shutil.rmtree(leftover, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders below ``folder``, newest first; they may still be damaged."""
    found = [path for path in folder.glob("step*") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Return the step that a checkpoint's folder is named after."""
    return int(path.name[4:])


def read_checkpoint(path: Path, files: tuple[str, ...] | None = None) -> Checkpoint:
    """Read one checkpoint and verify every checksum.

    Args:
        path: its folder.
        files: which tensor files to read; None reads all.

    Raises:
        DamagedCheckpoint: if anything is missing, truncated or changed.
        CheckpointError: if it is of another format.
    """
    try:
        record = _record(path)  # checked before any name in it is used as a path
        tensors = {}
        for name, expected in record["sha256"].items():
            stem = name.removesuffix(".safetensors")
            if name not in _NAMES:
                raise DamagedCheckpoint(f"{path.name} is damaged: it names the file '{name[:60]}', which none has")
            if files is not None and stem not in files:
                continue
            read_header(path / name)  # first: a file with holes may seem to have any size
            if sha256_of(path / name) != expected:
                raise DamagedCheckpoint(f"{path.name}/{name} is damaged: its checksum does not match")
            tensors[stem] = load_tensors(path / name)
        if missing := [stem for stem in files or _FILES if stem not in (*tensors, *_OPTIONAL)]:
            raise DamagedCheckpoint(f"{path.name} is damaged: it holds no {' and no '.join(missing)}")
        return Checkpoint(step=record["step"], tensors=tensors, facts=record["facts"])
    # Whatever a damaged file makes its readers raise: an older checkpoint may take its place.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{path.name} is damaged: {error}") from error


_NAMES = frozenset(f"{name}.safetensors" for name in (*_FILES, *_OPTIONAL))


def _record(path: Path) -> dict[str, Any]:
    """Return what ``state.json`` of a checkpoint says; errors as `read_checkpoint`, and what reading it raises."""
    record: dict[str, Any] = read_json(path / "state.json", _MOST_STATE)
    digest = record.pop("digest")  # state.json's own, of the rest of it
    if digest != _digest(record):
        raise DamagedCheckpoint(f"{path.name}/state.json is damaged: its checksum does not match")
    if record["format"] != FORMAT:  # not damaged: going back to an older one would lose what another version made
        raise CheckpointError(f"{path.name} has format {str(record['format'])[:20]}, this version reads {FORMAT}")
    facts = record["facts"]
    nimg, seconds = facts.get("nimg", 0), facts.get("seconds", 0.0)
    # type(), not isinstance: a bool is an int. 2**53: what a float can count to.
    sound = type(record["step"]) is int and record["step"] == step_of(path) and isinstance(record["sha256"], dict)
    if not sound or type(nimg) is not int or not 0 <= nimg < 2**53 or not 0 <= float(seconds) < math.inf:
        raise DamagedCheckpoint(f"{path.name}/state.json is damaged: its counters cannot be right")
    return record


def facts_of(path: Path) -> tuple[int, Mapping[str, Any]]:
    """Return step and facts of a checkpoint, whose tensors are not looked at; raises as `read_checkpoint`."""
    try:
        record = _record(path)
        return record["step"], record["facts"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{path.name} is damaged: {error}") from error


def numbers_of(folder: Path) -> int | None:
    """Return how many numbers the networks of the newest checkpoint below ``folder`` have, by its header; None: none.

    A damaged one gives way to an older one, as in `newest_checkpoint`.
    """
    for path in list_checkpoints(folder):
        with contextlib.suppress(OSError, ValueError):
            return numbers_in(read_header(path / "model.safetensors"))
    return None


def newest_checkpoint(folder: Path, files: tuple[str, ...] | None = None) -> tuple[Checkpoint | None, dict[Path, str]]:
    """Return the newest whole checkpoint (None if there is none) and what is wrong with newer, damaged ones.

    Raises:
        CheckpointError: if the newest undamaged one is of another format.
    """
    problems: dict[Path, str] = {}
    for path in list_checkpoints(folder):
        try:
            return read_checkpoint(path, files), problems
        except DamagedCheckpoint as error:
            problems[path] = str(error)
    return None, problems


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, so that it neither counts among those kept nor is looked at again."""
    os.replace(path, path.with_name(f".damaged-{path.name}-{uuid.uuid4().hex}"))


def sha256_of(path: Path, follow: bool = False) -> str:
    """Return the SHA-256 of a plain file as hexadecimal digits; see `open_regular`."""
    digest = hashlib.sha256()
    with open_regular(path, follow=follow) as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(prefix/name, tensor)``."""
    for name, tensor in tensors.items():
        yield f"{prefix}/{name}", tensor


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `prefixed` put under ``prefix``, by their own names."""
    start = prefix + "/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()  # of the values, not their order
