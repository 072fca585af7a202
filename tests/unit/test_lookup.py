"""Runs by a word, and where they stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.checkpoint import Checkpoint, write_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import check_name, find_run
from saddlepoint.engine.storage.standing import Standing, standing_of
from saddlepoint.family import Progress


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs, the second changed last, and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SADDLEPOINT_RUNS", raising=False)
    for age, name in enumerate(("dcgan-apple-1", "dcgan-google-2", "gan-mnist-3")):
        RunFolder(tmp_path / "runs" / name).write_config({})
        time = 1_000_000 + (5 if age == 1 else age)
        os.utime(tmp_path / "runs" / name / "config.json", (time, time))
    (tmp_path / "runs" / "notes").mkdir()
    return Path("runs")


def test_a_run_is_found_by_path_name_beginning_and_latest(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apple = runs / "dcgan-apple-1"
    assert find_run(apple) == find_run(str(apple)) == find_run("dcgan-apple-1") == find_run("dcgan-a") == apple
    assert find_run("latest") == runs / "dcgan-google-2"
    assert find_run("gan", runs.resolve()) == runs.resolve() / "gan-mnist-3"
    monkeypatch.chdir("runs/notes")
    with pytest.raises(CheckpointError, match="'gan' is not a run folder"):
        find_run("gan")
    monkeypatch.setenv("SADDLEPOINT_RUNS", "..")
    assert find_run("gan").name == "gan-mnist-3"


def test_a_whole_name_goes_before_longer_ones_and_a_path_before_names(runs: Path) -> None:
    RunFolder(runs / "gan").write_config({})
    assert find_run("gan") == runs / "gan"
    RunFolder("gan").write_config({})
    assert find_run("gan") == Path("gan")


def test_words_that_name_no_run_or_several_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"2 runs in 'runs' begin with 'dcgan' \(dcgan-google-2, dcgan-apple-1\)"):
        find_run("dcgan")
    with pytest.raises(CheckpointError, match="did you mean 'gan-mnist-3'"):
        find_run("gan-mnits-3")
    with pytest.raises(CheckpointError, match=r"there is no run in '.*empty' yet"):
        find_run("latest", tmp_path / "empty")
    assert find_run("runs/notes") == runs / "notes"  # who reads it says that it is none


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "latest", " a", "a\nb", "hf:a", "a\\b"])
def test_names_that_could_be_something_else_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="it must be a word without /"):
        check_name(name)
    assert check_name("apples, second try") == "apples, second try"


def test_where_a_run_stands_is_read_from_its_newest_sound_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert standing_of(folder) == Standing()
    for step in (10, 20):
        write_checkpoint(folder.checkpoints, Checkpoint(step, {}, {"nimg": step * 16, "seconds": step * 5.0}), 2)
    assert standing_of(folder) == Standing(Progress(20, 320), 100.0)
    (folder.checkpoints / "step00000020" / "state.json").write_text("{")
    assert standing_of(folder).progress.step == 10
    folder.write_status(state="finished", reason="stages")
    assert standing_of(folder).spent(Settings())


def test_what_is_spent_and_left_is_said() -> None:
    at = Standing(Progress(20, 320), 100.0)
    assert at.summary(Settings(seconds=600)) == "100 s of 10 min are spent; 8 min 20 s left"
    assert (
        at.summary(Settings(kimg=1, steps=20)) == "0.3 of 1 kimg and 20 of 20 steps are spent; 0.7 kimg or 0 steps left"
    )
    assert not at.spent(Settings(seconds=600))
    assert at.spent(Settings(seconds=600, steps=20))
