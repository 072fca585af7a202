"""Links, locks and logs in run folders from elsewhere: nothing is written through one, nobody is signalled by one."""

# Fixtures are imported, and asked for by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.doctor.remedies import finish_announced
from saddlepoint.engine.storage import folder as run_folder
from saddlepoint.engine.storage.checkpoint import read_checkpoint, write_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run import jobs
from saddlepoint.run.weights import spec_of
from tests.unit.foreign import ODD_LINES, made, outside, replaced, run, soon, within

# --- single guards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "log.jsonl", "process.log", ".measuring"])
def test_nothing_is_written_through_a_link(
    name: str, run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the lock was truncated where the link led, and the other files grew there."""
    replaced(run / name, lambda path: path.symlink_to(outside / "file"))
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail("a process was started"))
    folder = RunFolder(run)
    refused = pytest.raises((CheckpointError, OSError), match="link")
    if name == ".lock":
        with refused, folder.locked():
            pass
    elif name == "log.jsonl":
        with refused:
            folder.append_log({"step": 1})
        folder.truncate_log(2)  # the link gives way to a file
        assert not (run / name).is_symlink()
    elif name == "process.log":
        with refused:
            jobs.go_on(run)
    else:
        with folder.measured() as note:
            note("fd")


LINKED = ["checkpoints", "healthy", "averages", "samples", "remedies", "report", "pictures"]


@pytest.mark.parametrize("name", LINKED)
def test_a_linked_folder_in_a_run_is_neither_cleaned_nor_written(name: str, run: Path, outside: Path) -> None:
    """Before, checkpoints and pictures of later steps were removed where the link led."""
    replaced(run / name, lambda path: path.symlink_to(outside / "folder"))
    folder = RunFolder(run)
    for use in (lambda: folder.recover(print), lambda: folder.own(name), folder.refuse_links):
        with pytest.raises(CheckpointError, match=f"{name}' .*link to another place"):
            use()
    folder.drop_later(0)
    with pytest.raises(CheckpointError, match="link"):
        saddlepoint.resume(run, steps=5)


def test_a_run_with_a_linked_log_is_not_gone_on_with(run: Path, outside: Path) -> None:
    """As stores of data versions link files: its lines would be lost, for no link is read, and be written anew."""
    replaced(run / "log.jsonl", lambda path: path.symlink_to(outside / "file"))
    with pytest.raises(CheckpointError, match=r"log.jsonl' is a link to another place.*put there what it leads to"):
        saddlepoint.resume(run, steps=5)
    assert (run / "log.jsonl").is_symlink()


def test_a_report_that_would_lie_elsewhere_is_refused_before_measuring(
    run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, and the studio."""
    from typer.testing import CliRunner

    from saddlepoint.cli.main import app
    from saddlepoint.run.run import Run
    from saddlepoint.serve.studio.figures import MeasureButton
    from saddlepoint.serve.studio.state import Studio

    monkeypatch.setattr(Run, "evaluate", lambda *words, **more: pytest.fail("it is measured"))
    replaced(run / "report", lambda path: path.symlink_to(outside / "folder"))
    found = CliRunner().invoke(app, ["evaluate", str(run)])
    assert isinstance(found.exception, CheckpointError)
    assert "report' is a link to another place" in str(found.exception)
    button = MeasureButton.__new__(MeasureButton)
    button.studio, button.name = Studio(run.parent), run.name
    with pytest.raises(CheckpointError, match="report' is a link to another place"):
        button.measured(saddlepoint.load(run), print)
    replaced(run / "report", Path.mkdir)
    (run / "report" / "metrics.jsonl").symlink_to(outside / "file")
    with pytest.raises(CheckpointError, match=r"report/metrics.jsonl' is a link to another place"):
        button.measured(saddlepoint.load(run), print)


def test_a_checkpoint_is_not_written_through_a_link(tmp_path: Path, made: Path, outside: Path) -> None:
    checkpoint = read_checkpoint(made / "checkpoints" / "step00000003")
    (tmp_path / "checkpoints").symlink_to(outside / "folder")
    with pytest.raises(CheckpointError, match="link to another place"):
        write_checkpoint(tmp_path / "checkpoints", checkpoint, keep=1)


def test_a_picture_replaces_a_link_and_leaves_what_it_led_to(run: Path, outside: Path) -> None:
    """Before, Pillow wrote through it, and the half written snapshot had a name that could be foreseen."""
    from saddlepoint.figures.snapshots import save_snapshot
    from saddlepoint.run.samples import pictures

    loaded = saddlepoint.load(run)
    place = run / "pictures" / "grid-seed0.png"
    replaced(place, lambda path: path.symlink_to(outside / "file"))
    (run / "samples" / "step00000007.png.tmp").symlink_to(outside / "file")
    assert pictures.draw(loaded, "grid", 10) == place
    save_snapshot(run / "samples", 7, torch.zeros(4, 1, 8, 8))
    assert place.read_bytes()[:4] == b"\x89PNG"
    assert not place.is_symlink()


@pytest.mark.parametrize(
    ("name", "address"), [("samples/step00000003.png", "snapshot/theirs/3.png"), ("report/index.html", "report/theirs")]
)
def test_the_studio_shows_no_file_that_a_link_leads_to(name: str, address: str, run: Path, outside: Path) -> None:
    """Before, it sent whatever file of the user's the link named, and waited for a pipe."""
    from fastapi.testclient import TestClient

    from saddlepoint.serve.studio.app import make_app

    plants: list[Callable[[Path], object]] = [lambda path: path.symlink_to(outside / "file"), os.mkfifo]
    with within(60):
        client = TestClient(make_app(run.parent), base_url="http://127.0.0.1")
        for plant in plants:
            replaced(run / name, plant)
            assert client.get(f"/{address}").status_code == 404
        replaced(run / name, lambda path: path.write_bytes(b"own"))
        assert client.get(f"/{address}").content == b"own"


@pytest.mark.parametrize("shape", [[2**20, 2], [3, 2**13, 2**13], [2**25], [0], [1, 28]], ids=str)
def test_a_sample_is_of_a_size_that_samples_have(shape: list[int]) -> None:
    """Before, a window might be of any length: one sample then took all memory."""
    data = {"modality": {1: "vector", 2: "sequence", 3: "image"}[len(shape)], "shape": shape, "classes": [], "rows": 9}
    if shape == [1, 28]:
        data["modality"] = "image"
    with pytest.raises(ValueError, match="shape is"):
        spec_of(data)


def test_an_announced_remedy_gives_no_place_to_write_to(run: Path, outside: Path) -> None:
    """Before, log lines went to whatever file the announcement named."""
    event = {
        "step": 1, "nimg": 16, "event": "remedy", "number": 1, "verdict": "diverged", "evidence": [], "alarm_nimg": 48,
        "undone": None, "remedy": "rate", "why": "", "changes": {}, "until": 90, "abandoned": str(outside / "file"),
    }  # fmt: skip
    (run / "rollback.json").write_text(json.dumps({"event": event, "seconds": 1.0}))
    with pytest.raises(CheckpointError, match=r"rollback.json' is damaged"):
        finish_announced(RunFolder(run))


def test_of_a_huge_log_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MOST_LOG", 1000)
    folder = RunFolder(tmp_path)
    for step in range(200):
        folder.append_log({"step": step, "nimg": step})
    steps = [line["step"] for line in folder.read_log()]
    assert steps == list(range(steps[0], 200))
    assert 20 < len(steps) < 50
    monkeypatch.setattr(run_folder, "_MOST_LINE", 30)
    folder.append_log({"step": 200, "nimg": 1, "what": "x" * 100})
    assert folder.read_log()[-1]["step"] == 199


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: str(line)[:50])
def test_a_line_of_the_log_that_cannot_be_is_left_out(line: dict[str, Any], tmp_path: Path) -> None:
    good = {"step": 1, "nimg": 16, "V": -1.2, "timing": {"seconds": 0.5}, "loss/D": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(line) + "\n")
    assert RunFolder(tmp_path).read_log() == [good]


# --- the process that a lock names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "end"), [(".lock", jobs.pause), (".measuring", jobs.stop_measuring)])
def test_a_process_that_a_lock_names_and_that_is_at_something_else_is_left_alone(
    name: str, end: Callable[[Path], None], tmp_path: Path
) -> None:
    """Before, the number in the file got the signal."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with open(tmp_path / name, "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write(f"{bystander.pid} {socket.gethostname()}\n")
            held.flush()
            with pytest.raises(CheckpointError, match=f"process {bystander.pid}, which is not at work on it"):
                end(tmp_path)
        time.sleep(0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_process_that_holds_the_lock_gets_the_signal(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, socket, sys, time\n"
        "held = open(sys.argv[1], 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "print(os.getpid(), socket.gethostname(), file=held, flush=True)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            jobs.pause(tmp_path)
            assert holder.wait(30) == -signal.SIGTERM
        finally:
            holder.kill()
