"""The table of runs: every state is told from files and locks alone; broken folders have a reason."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run import jobs
from saddlepoint.run.index import Shelf, last_line, remove_run, rename_run, snapshot_steps, tag_run

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
WORDS = ["gan", "--data", "digits", "--generator-widths", "16", "--discriminator-widths", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf") / "whole"
    saddlepoint.train("gan", data="digits", steps=630, options=OPTIONS, threads=1, out=folder)
    return folder


def wait_for(condition: object, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def copied(source: Path, folder: Path, **status: object) -> Path:
    subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
    RunFolder(folder).write_status(**{**RunFolder(folder).read_status(), **status})
    return folder


def test_a_finished_run(finished: Path) -> None:
    entry = Shelf(finished.parent).entry("whole")
    assert (entry.state, entry.family, entry.preset, entry.data) == ("finished", "gan", "mnist", "digits")
    assert (entry.nimg, entry.progress, entry.modality) == (10_080, 1.0, "image")
    assert entry.verdict == RunFolder(finished).read_log()[-1]["verdict"]


def test_states_of_runs_whose_process_is_gone(finished: Path, tmp_path: Path) -> None:
    copied(finished, tmp_path / "killed", state="running")
    copied(finished, tmp_path / "paused", state="interrupted", reason="interrupted")
    copied(finished, tmp_path / "stopped", state="finished", reason="stopped")
    copied(finished, tmp_path / "failed", state="failed", reason="the loss is not finite")
    entries = {entry.name: entry for entry in Shelf(tmp_path).entries()}
    assert {name: entry.state for name, entry in entries.items()} == {
        "killed": "paused", "paused": "paused", "stopped": "stopped", "failed": "failed",
    }  # fmt: skip
    assert "ended without a word" in entries["killed"].detail
    assert entries["failed"].detail == "the loss is not finite"


def test_broken_folders_have_a_reason(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in (("cut", '{"family": "gan'), ("list", "[]"), ("foreign", '{"lr": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / "died").mkdir()
    (tmp_path / "died" / jobs.OUTPUT).write_text("Traceback\nerror: there is no data set 'mnits'\n")
    report = copied(finished, tmp_path / "report") / "report"
    report.mkdir()
    (report / "metrics.jsonl").write_text("rubbish\n")
    (tmp_path / "a file").write_text("")
    entries = {entry.name: entry for entry in Shelf(tmp_path).entries()}
    assert {name for name, entry in entries.items() if entry.state == "broken"} == {
        "empty",
        "cut",
        "list",
        "foreign",
        "died",
    }
    assert "holds no config.json" in entries["empty"].detail
    assert "cannot be read" in entries["cut"].detail
    assert entries["died"].detail == "there is no data set 'mnits'"
    assert entries["report"].state == "finished"
    assert entries["report"].figures == ()


def test_changes_are_seen_and_names_are_no_paths(finished: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.entries() == []
    assert Shelf(tmp_path / "nowhere").entries() == []
    folder = copied(finished, tmp_path / "run")
    assert shelf.entry("run").state == "finished"
    RunFolder(folder).write_status(state="failed", reason="full disk")
    os.utime(folder / "status.json", (1, 1))
    assert shelf.entry("run").state == "failed"
    assert shelf.path("run") == folder
    for name in ("", ".", "..", "../shelf", "run/..", "other"):
        assert shelf.path(name) is None


def test_the_last_line_of_a_long_log_is_found_without_a_cut_one(tmp_path: Path) -> None:
    lines = [json.dumps({"nimg": number, "text": "x" * 200}) for number in range(1000)]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + '\n{"nimg": 10')
    assert last_line(path)["nimg"] == 999
    path.write_text("")
    assert last_line(path) == {}


def test_a_training_is_started_paused_continued_and_stopped(tmp_path: Path) -> None:
    shelf, folder = Shelf(tmp_path), tmp_path / "live"
    number = jobs.start([*WORDS, "--budget", "10m"], folder)
    assert shelf.entry("live").state == "starting"
    wait_for(
        lambda: shelf.entry("live").state == "running" and RunFolder(folder).read_status().get("state") == "running"
    )
    assert RunFolder(folder).trainer() == number
    with pytest.raises(CheckpointError, match="already; pause it first"):
        jobs.go_on(folder)
    wait_for(lambda: shelf.entry("live").nimg > 0)
    jobs.pause(folder)
    wait_for(lambda: shelf.entry("live").state == "paused")
    before = shelf.entry("live").nimg
    jobs.go_on(folder)
    wait_for(lambda: shelf.entry("live").nimg > before)
    jobs.stop(folder)
    entry = shelf.entry("live")
    assert entry.state == "stopped"
    assert 0 < entry.progress < 1  # type: ignore[operator]
    assert saddlepoint.load(folder).step > 0
    with pytest.raises(CheckpointError, match="no longer"):
        jobs.pause(folder)
    jobs.reap()


def test_a_run_is_paused_once_its_process_has_let_go_of_it(finished: Path, tmp_path: Path) -> None:
    """Its status says so a little before: whoever went on in between was told that a process is training."""
    folder, shelf = copied(finished, tmp_path / "ending", state="interrupted"), Shelf(tmp_path)
    with contextlib.ExitStack() as held:
        held.enter_context(RunFolder(folder).locked())
        assert shelf.entry("ending").state == "running"
        assert jobs.is_training(folder, patience=0.0)
        timer = threading.Timer(0.2, held.pop_all().close)
        timer.start()
        assert not jobs.is_training(folder, patience=60.0)
        timer.join()
    assert shelf.entry("ending").state == "paused"


def test_who_still_trains_is_not_waited_for(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(finished, tmp_path / "busy", state="running")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with RunFolder(folder).locked():
        assert jobs.is_training(folder, patience=60.0)


def test_a_training_outlives_who_started_it(tmp_path: Path) -> None:
    words = [*WORDS, "--steps", "100000000"]
    code = f"from saddlepoint.run import jobs; print(jobs.start({words!r}, {str(tmp_path / 'run')!r}))"
    number = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    folder = RunFolder(tmp_path / "run")
    wait_for(lambda: folder.read_status().get("state") == "running")
    assert folder.trainer() == number
    jobs.stop(folder.path)
    assert folder.trainer() is None


def test_looking_at_a_lock_does_not_turn_a_trainer_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        assert folder.trainer() == os.getpid()
        with pytest.raises(CheckpointError, match="another process is training"), RunFolder(tmp_path).locked():
            pass
    assert folder.trainer() is None
    (tmp_path / ".lock").write_text("12 elsewhere\n")
    assert folder.trainer() is None


def test_runs_are_renamed_tagged_and_removed(finished: Path, tmp_path: Path) -> None:
    copied(finished, tmp_path / "one")
    final = rename_run(tmp_path, "one", "best of all")
    assert final == tmp_path / "best of all"
    assert saddlepoint.load(final).step == 630
    assert tag_run(tmp_path, "best of all", add=["good", "keep"]) == ("good", "keep")
    assert tag_run(tmp_path, "best of all", add=["good"], drop=["keep"]) == ("good",)
    (entry,) = saddlepoint.runs(tmp_path)
    assert (entry.name, entry.tags, entry.path) == ("best of all", ("good",), final)
    copied(finished, tmp_path / "two")
    with pytest.raises(ConfigError, match="is there already"):
        rename_run(tmp_path, "two", "best of all")
    copied(finished, tmp_path / ("long" * 63))  # of 255 bytes that a name may have
    for name in ("two", "long" * 63):
        remove_run(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["best of all"]


def test_nothing_but_runs_of_the_folder_is_changed_or_removed(finished: Path, tmp_path: Path) -> None:
    runs, outside = tmp_path / "runs", copied(finished, tmp_path / "outside")
    pictures = runs / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "cat.png").write_bytes(b"")
    for name in ("../outside", str(outside), "..", ".", "", "pictures", "nowhere"):
        with pytest.raises(CheckpointError, match="there is no run"):
            remove_run(runs, name)
    (runs / "link").symlink_to(outside)
    remove_run(runs, "link")
    assert not (runs / "link").exists()
    assert saddlepoint.load(outside).step == 630
    assert (pictures / "cat.png").exists()


def test_a_run_that_is_being_trained_stays(finished: Path, tmp_path: Path) -> None:
    copied(finished, tmp_path / "busy", state="running")
    with RunFolder(tmp_path / "busy").locked():
        for change in (lambda: remove_run(tmp_path, "busy"), lambda: rename_run(tmp_path, "busy", "idle")):
            with pytest.raises(CheckpointError, match="'busy' is being trained"):
                change()
        assert tag_run(tmp_path, "busy", add=["watch"]) == ("watch",)
    remove_run(tmp_path, "busy")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("new", ["", " ", "..", ".hidden", "-v", "a/b", "/tmp/x", "a\\b", "two", "x" * 201, "a\nb"])
def test_a_run_gets_no_name_that_leads_elsewhere(tmp_path: Path, new: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="name"):
        rename_run(tmp_path, "one", new)
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_a_run_says_its_newest_picture(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    steps = snapshot_steps(folder)
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert Shelf(tmp_path).entry("run").picture == steps[-1] == 630
    assert snapshot_steps(tmp_path / "nowhere") == []
    assert not Shelf(tmp_path).entry("run").reported
