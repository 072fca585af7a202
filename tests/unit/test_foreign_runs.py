"""Run folders from elsewhere: whatever lies in them, every command ends soon, and nothing outside is touched."""

# Fixtures are imported, and asked for by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.core.errors import SaddlepointError
from tests.cli.test_cli import Command, saddle
from tests.unit.foreign import (
    FILES,
    HUGE,
    ODD_LINES,
    PLANTED,
    READERS,
    changed,
    made,
    outside,
    replaced,
    run,
    soon,
    within,
)


@pytest.mark.parametrize("name", FILES)
def test_whatever_stands_in_the_place_of_a_file_every_reader_ends(name: str, made: Path, tmp_path: Path) -> None:
    """Before, a pipe kept readers waiting for ever, and JSON that is deep or of other kinds ended in a traceback."""
    for kind, plant in PLANTED.items():
        run = Path(shutil.copytree(made, tmp_path / kind.replace(" ", "-") / "run"))
        replaced(run / name, plant)
        with within(60):
            for reader in READERS:
                with contextlib.suppress(SaddlepointError):
                    reader(run)


# --- every command ----------------------------------------------------------------------------------------------------


def odd_around(run: Path, outside: Path) -> None:
    """A run that can be loaded, with everything odd that can lie around it."""
    changed(run / "config.json", _odd_names)
    (run / "status.json").write_text('{"state": "running", "seconds": NaN, "nimg": 1e999, "reason": ["x"]}')
    lines = [*ODD_LINES, {"step": 3, "nimg": 48, "V": -1.0, "verdict": "no trouble seen", "pad": "x" * 5_000_000}]
    (run / "log.jsonl").write_text("[" * 5000 + "\n" + "".join(json.dumps(line) + "\n" for line in lines))
    (run / "tags.json").write_text("[" * 3000 + "]" * 3000)
    (run / ".lock").write_text(f"{os.getppid()} {socket.gethostname()}\n")
    for name in (".measuring", "report/metrics.jsonl", "samples/step00000003.png", "process.json"):
        replaced(run / name, os.mkfifo)
    linked = ("process.log", "remedies.json", "report/index.html", "report/summary.json", "samples/step00000009.png")
    for name in (*linked, "pictures/grid-seed0.png", "pictures/directions-seed0.png", "pictures/seeds-0-3.png"):
        replaced(run / name, lambda path: path.symlink_to(outside / "file"))
    for name in ("export-onnx", "export-safetensors", "export-hub", "checkpoints/step00000009"):
        replaced(run / name, lambda path: path.symlink_to(outside / "folder"))
    (run / "checkpoints" / "step99999999999999").write_text("a file")


def _odd_names(kept: dict[str, Any]) -> None:
    names = ["../../home/file", "<script>alert(1)</script>", "a|b`c", "-rf", "$(x)", "'", '"', "%s", "~", "\\"]
    kept["data"].update(classes=names)
    kept["machine"] = {"processor": "</td>\x1b[2J", "torch": [1]}
    kept["data"]["reading"] = [{"topic": "size", "says": "<b>", "why": "\x1b[2J"}]
    kept["unknown"] = {"__class__": "os.system"}


def linked_folders(run: Path, outside: Path) -> None:
    """A run whose own folders lead elsewhere."""
    os.rename(run / "checkpoints", outside.parent / "checkpoints")
    (run / "checkpoints").symlink_to(outside.parent / "checkpoints")
    for name in ("healthy", "samples", "remedies", "report", "pictures", "export-onnx", "export-safetensors"):
        replaced(run / name, lambda path: path.symlink_to(outside / "folder"))


def odd_within(run: Path, outside: Path) -> None:
    """A run that is not what its files say."""
    changed(run / "config.json", lambda kept: kept["data"].update(shape=[HUGE, "x"], rows=float("nan"), classes=[{}]))
    changed(run / "config.json", lambda kept: kept["options"].update(batch_size=10**400, lr=float("inf")))
    replaced(run / "log.jsonl", os.mkfifo)
    replaced(run / "rollback.json", lambda path: path.symlink_to("/dev/zero"))
    replaced(run / ".lock", lambda path: path.symlink_to(outside / "file"))
    replaced(run / "checkpoints" / "step00000003" / "model.safetensors", os.mkfifo)


def all_linked(run: Path, outside: Path) -> None:
    """A run of links alone."""
    for path in list(run.rglob("*")):
        if path.is_file():
            replaced(path, lambda path: path.symlink_to(outside / "file"))


COMMANDS = [
    ["sample", "RUN"],
    ["sample", "RUN", "--picture", "filmstrip"],
    ["sample", "RUN", "--seeds", "0-3"],
    ["sample", "RUN", "--label", "0", "-n", "4", "--format", "png"],
    ["explore", "RUN"],
    ["evaluate", "RUN", "--protocol", "fd", "--threads", "1"],
    ["compare", "RUN", "RUN"],
    ["runs", "--runs", "runs"],
    ["runs", "--runs", "runs", "--json"],
    ["runs", "tag", "theirs", "good", "--runs", "runs"],
    ["export", "RUN", "--format", "safetensors"],
    ["export", "RUN", "--format", "hub"],
    ["export", "RUN", "--format", "safetensors", "--out", "exported"],
    ["translate", "RUN", "picture.png", "--to", "0", "--out", "translated"],
    ["train", "--resume", "RUN", "--dry-run"],
    ["train", "--resume", "RUN", "--steps", "5", "--no-report", "--threads", "1"],
    ["runs", "rename", "theirs", "ours", "--runs", "runs"],
    ["runs", "remove", "ours", "--yes", "--runs", "runs"],
]  # fmt: skip


@pytest.mark.parametrize("make", [odd_around, linked_folders, odd_within, all_linked])
def test_every_command_ends_soon_and_leaves_alone_what_is_elsewhere(
    make: Callable[[Path, Path], None],
    run: Path,
    outside: Path,
    saddle: Command,
) -> None:
    """Before, several of them waited for ever, ended in a traceback, or wrote where a link led."""
    make(run, outside)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        if (run / ".lock").is_file() and not (run / ".lock").is_symlink():
            (run / ".lock").write_text(f"{bystander.pid} {socket.gethostname()}\n")
        for words in COMMANDS:
            with within(60):
                code, _, err = saddle(*(word.replace("RUN", "runs/theirs") for word in words))
            assert code in (0, 2), (words, err)
            assert "Traceback" not in err
        assert bystander.poll() is None
        assert list(Path("runs").iterdir()) == []
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("make", [odd_around, linked_folders, odd_within, all_linked])
def test_the_server_and_the_index_take_a_foreign_run_or_refuse_it(
    make: Callable[[Path, Path], None], run: Path, outside: Path
) -> None:
    from saddlepoint.export.service import Service

    make(run, outside)
    with within(60):
        for reader in READERS:
            with contextlib.suppress(SaddlepointError):
                reader(run)
        for backend in ("torch", "onnx"):
            with contextlib.suppress(SaddlepointError):
                Service(saddlepoint.load(run), backend, batch=4).rows(2)
