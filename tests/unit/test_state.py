"""Checkpoints: whole or not there, checked, and never the end of a run."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.storage.checkpoint import (
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    tensors = {
        "model": {"w": torch.full((300,), float(step))},
        "averages": {},
        "training": {"m": torch.arange(step + 1)},
    }
    return Checkpoint(step, tensors, {"seconds": 1.5})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, checkpoint(7), keep=2)
    read = read_checkpoint(path)
    assert read.step == 7
    assert read.facts == {"seconds": 1.5}
    assert torch.equal(read.tensors["model"]["w"], torch.full((300,), 7.0))
    assert torch.equal(read.tensors["training"]["m"], torch.arange(8))
    assert set(read_checkpoint(path, files=("model",)).tensors) == {"model"}


def test_the_newest_k_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        write_checkpoint(tmp_path, checkpoint(step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step00000010", "step00000009"]


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def flip(path: Path) -> None:
    file = path / "training.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def forge_step(path: Path) -> None:
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, "step": 99}))


def remove(path: Path) -> None:
    (path / "training.safetensors").unlink()


def empty_state(path: Path) -> None:
    (path / "state.json").write_text("")


def foreign_state(path: Path) -> None:
    (path / "state.json").write_text('["no", "record"]')


def forget(path: Path) -> None:
    """Whole by its own checksum, but nothing to go on from."""
    record = json.loads((path / "state.json").read_text())
    del record["digest"], record["sha256"]["model.safetensors"]
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps({**record, "digest": digest}))


DAMAGES = [truncate, flip, forge_step, remove, empty_state, foreign_state, forget, shutil.rmtree]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_an_older_one(damage: Callable[[Path], None], tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(1), keep=3)
    damage(write_checkpoint(tmp_path, checkpoint(2), keep=3))
    found, problems = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(problems) == (0 if damage is shutil.rmtree else 1)
    assert all("step00000002" in problem and "damaged" in problem for problem in problems.values())


def test_a_half_written_folder_is_no_checkpoint_and_is_cleared_away(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(1), keep=3)
    leftover = tmp_path / ".writing-abc"
    shutil.copytree(tmp_path / "step00000001", leftover)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step00000001"]
    write_checkpoint(tmp_path, checkpoint(2), keep=3)
    assert not leftover.exists()


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow beyond 1,000 bytes, as a full disk would."""
    write_checkpoint(tmp_path, checkpoint(1), keep=3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="step 2 could not be written"):
            write_checkpoint(tmp_path, checkpoint(2), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["step00000001"]
    assert read_checkpoint(tmp_path / "step00000001").step == 1


def test_a_later_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.engine.storage.checkpoint.FORMAT", 2)
    path = write_checkpoint(tmp_path, checkpoint(1), keep=1)
    monkeypatch.undo()
    for read in (lambda: read_checkpoint(path), lambda: newest_checkpoint(tmp_path)):
        with pytest.raises(CheckpointError, match="format 2, this version reads 1"):
            read()
