"""What is saved is whole or not there, what cannot be saved is told as a file's error, what is damaged is told."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from saddlepoint import load
from saddlepoint.cli import main
from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.logs import warned
from saddlepoint.data.images.write import write_images
from saddlepoint.engine.privacy.secret import secret_of
from saddlepoint.engine.storage import tensors
from saddlepoint.engine.storage.checkpoint import list_checkpoints
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.export import export_run
from saddlepoint.run import api
from saddlepoint.run.sweeps.store import _drop_half_a_line


def test_a_full_disk_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as told:
        tensors.save_tensors({"x": torch.zeros(3)}, tmp_path / "x.safetensors")
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path / "x.safetensors")


def test_pictures_are_there_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, real, saved = np.zeros((5, 1, 4, 4), np.uint8), Image.Image.save, list[str]()

    def save(self: Image.Image, place: Path, **options: object) -> None:
        saved.append(str(place))
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, place, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space"):
        write_images(tmp_path / "made", pixels)
    assert list(tmp_path.iterdir()) == []
    write_images(tmp_path / "made", pixels)
    assert len(list((tmp_path / "made").iterdir())) == 5
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    write_images(tmp_path / "link", pixels)
    assert len(list((tmp_path / "empty").iterdir())) == 5, "a link is written through, as a mount would be"


def test_a_secret_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(old: object, new: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lost)
        with pytest.raises(KeyboardInterrupt):
            secret_of(RunFolder(tmp_path), begun=False)
    assert not (tmp_path / "noise.key").exists()
    found = secret_of(RunFolder(tmp_path), begun=False)
    assert secret_of(RunFolder(tmp_path), begun=True) == found
    assert (tmp_path / "noise.key").stat().st_mode & 0o777 == 0o600


def test_an_older_checkpoint_is_not_used_in_silence(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = {"generator_widths": (8,), "discriminator_widths": (8,), "batch_size": 8, "threads": 1}
    api.train("gan", "ring8", steps=1, out=tmp_path / "run", **small)
    api.resume(tmp_path / "run", steps=2, threads=1)
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[0]
    content = (newest / "model.safetensors").read_bytes()
    (newest / "model.safetensors").write_bytes(content[:-1])
    heard = list[str]()
    with warned(heard.append), caplog.at_level(logging.WARNING, "saddlepoint"):
        assert load(tmp_path / "run").step == 1
        load(tmp_path / "run")
    assert len(heard) == 1, "each line once"
    assert heard[0].startswith("step00000002")
    assert heard[0].endswith("step 1 is used instead")
    assert [record.getMessage() for record in caplog.records] == [heard[0]] * 2
    monkeypatch.setattr(
        "sys.argv", ["saddle", "sample", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "s.npz")]
    )
    with pytest.raises(SystemExit):
        main.main()
    assert f"warning: {heard[0]}" in capsys.readouterr().err.replace("\n", " ").replace("  ", " ")


def test_a_bit_of_an_export_is_noticed(tmp_path: Path) -> None:
    small = {"generator_widths": (8,), "discriminator_widths": (8,), "batch_size": 8, "threads": 1}
    run = api.train("gan", "ring8", steps=1, out=tmp_path / "run", **small)
    made = export_run(run, "safetensors", tmp_path / "made")
    load(made)
    content = bytearray((made / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (made / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum does not match"):
        load(made)
    # Exports of older versions have none.
    config = json.loads((made / "config.json").read_text())
    del config["export"]["sha256"]
    (made / "config.json").write_text(json.dumps(config))
    load(made)


class Lock:
    """Counts how often it is taken."""

    def __init__(self) -> None:
        self.taken, self.held = 0, False

    def acquire(self) -> None:
        self.taken, self.held = self.taken + 1, True

    def release(self) -> None:
        self.held = False


def test_half_a_line_of_a_journal_is_dropped_under_its_lock(tmp_path: Path) -> None:
    path, lock = tmp_path / "journal.log", Lock()
    _drop_half_a_line(path, lock)
    path.write_bytes(b'{"op": 0}\n{"op": 1}\n')
    _drop_half_a_line(path, lock)
    assert lock.taken == 0, "a whole one is not touched"
    path.write_bytes(b'{"op": 0}\n{"op"')
    _drop_half_a_line(path, lock)
    assert path.read_bytes() == b'{"op": 0}\n'
    assert (lock.taken, lock.held) == (1, False)
    path.write_bytes(b'{"op"')
    _drop_half_a_line(path, lock)
    assert path.read_bytes() == b""
