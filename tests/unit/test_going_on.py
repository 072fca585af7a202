"""Trainings from the studio: measured as the command measures, seen while they are, trained on for longer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nicegui import Client, ui

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation.duration import Forecast
from saddlepoint.run import jobs, place
from saddlepoint.run.entries import Entry
from saddlepoint.run.index import RunIndex, remove_run
from saddlepoint.run.measure import after_training, is_followed
from saddlepoint.serve.studio import actions, parts, runs, training
from saddlepoint.serve.studio import run as page_of_run
from saddlepoint.serve.studio.state import Studio, standing

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on") / "whole"
    saddlepoint.train("gan", data="digits", steps=40, options=OPTIONS, threads=1, out=folder)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the words of the processes that would have been started."""
    found: list[list[str]] = []

    class Process:
        pid = 1

        def __init__(self, words: list[str], **more: Any) -> None:
            found.append(words[words.index("train") :])

        def poll(self) -> int:
            return 0

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    return found


def test_a_training_is_measured_as_the_command_measures(tmp_path: Path, started: list[list[str]]) -> None:
    jobs.start(["gan", "--data", "photos"], tmp_path / "own")
    jobs.go_on(tmp_path / "own")
    assert [word for words in started for word in words if "report" in word] == [], "the command decides"


def test_what_was_said_of_the_report_holds_when_a_run_goes_on(tmp_path: Path, started: list[list[str]]) -> None:
    folder = tmp_path / "run"
    jobs.start(["gan", "--data", "photos", "--no-report"], folder)
    jobs.go_on(folder)
    assert started[-1] == ["train", "--resume", str(folder), "--no-report"]
    jobs.go_on(folder, "+10m", report=True)
    assert started[-1] == ["train", "--resume", str(folder), "--budget", "+10m", "--report"]
    jobs.go_on(folder)
    assert started[-1][-1] == "--report"
    (folder / "process.json").write_text("[]")
    jobs.go_on(folder)
    assert started[-1] == ["train", "--resume", str(folder)]


def test_a_run_is_trained_on_by_the_command(trained: Path, tmp_path: Path, started: list[list[str]]) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    studio = Studio(tmp_path)
    for time in ("10m", " +10m "):
        actions.further(studio, "run", time, False)
        assert started[-1] == ["train", "--resume", str(folder), "--budget", "+10m", "--no-report"]
    count = len(started)
    for wrong in ("", "ten", "-5m"):
        with pytest.raises(ConfigError, match="budget"):
            actions.further(studio, "run", wrong, True)
    status = RunFolder(folder).read_status()
    RunFolder(folder).write_status(**{**status, "state": "finished", "reason": "stages"})
    with pytest.raises(ConfigError, match="nothing left to train"):
        actions.further(studio, "run", "10m", True)
    assert len(started) == count


@pytest.mark.parametrize(
    ("state", "by", "elsewhere"),
    [
        ("measuring", (os.getpid(), "here"), False), ("measuring", (0, "nobody"), False), ("measuring", None, False),
        ("measuring", (os.getpid() + 1, "there"), True), ("finished", (os.getpid() + 1, "there"), False),
    ],
)  # fmt: skip
def test_a_page_knows_who_measures_a_run(
    state: str, by: tuple[int, str] | None, elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "measuring", lambda self: by)
    studio: Any = SimpleNamespace(entry=lambda name: Entry(name, state, "", path=tmp_path))
    entry, found = page_of_run._standing(studio, "mine")
    assert (entry.name, entry.state, found) == ("mine", state, elsewhere)


@pytest.mark.parametrize(("family", "options"), [("gan", {"no_such_option": 1}), ("no_such_family", {"lr": 0.5})])
def test_options_that_this_version_does_not_know_stay_as_they_are(family: str, options: dict[str, Any]) -> None:
    assert place._options({"family": family, "options": options}) == options


def test_other_data_are_told_by_name_by_option_or_by_what_they_hold() -> None:
    rows = {"rows": 9, "total": 11, "fingerprint": "ab"}
    one = {"source": "mine", "options": {"size": 16, "fit": "pad"}, **rows}
    assert place._other_data(one, {**one, "source": "yours"}) == "data: mine there, yours now"
    assert (
        place._other_data(one, {**one, "options": {"size": 32, "fit": "pad"}}) == "data option size: 16 there, 32 now"
    )
    assert place._other_data(one, {**one, "options": None}) == (
        "data option size: 16 there, not given now, data option fit: pad there, not given now"
    )
    assert place._other_data({**one, "options": None}, one).startswith("data option size: not given there, 16 now")
    assert place._other_data(one, {**one, "fingerprint": "cd"}).startswith("data: mine has changed, ")


def test_options_that_an_earlier_version_did_not_know_have_their_defaults() -> None:
    found = place._options({"family": "gan", "options": {"lr": 0.5}})
    assert found["lr"] == 0.5
    assert found == place._options({"family": "gan", "options": dict(found)})
    assert len(found) > 20


def test_runs_that_are_over_offer_to_be_trained_on() -> None:
    offered = {state: runs._row(Entry("a", state, family="gan"), [])["over"] for state in ("finished", "stopped")}
    assert offered == {"finished": True, "stopped": True}
    for state in ("starting", "running", "measuring", "paused", "failed", "broken"):
        assert not runs._row(Entry("a", state, family="gan"), [])["over"]


def test_a_run_that_is_measured_is_seen_as_such(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    shelf, seen = RunIndex(tmp_path), list[Entry]()
    assert shelf.entry("run").state == "finished"

    def say(line: str) -> None:
        seen.append(shelf.entry("run"))
        with pytest.raises(CheckpointError, match="is being measured, and cannot be removed"):
            remove_run(tmp_path, "run")
        with pytest.raises(CheckpointError, match="is being measured"):
            jobs.go_on(folder)

    saddlepoint.load(folder).evaluate(["memorisation"], say=say, threads=1)
    assert {entry.state for entry in seen} == {"measuring"}
    assert "memorisation" in seen[-1].detail
    assert standing(seen[-1]) == f"measuring, 640 samples seen: {seen[-1].detail}"
    assert shelf.entry("run").state == "finished"
    assert RunFolder(folder).measuring() is None
    assert not [path for path in folder.iterdir() if path.name == ".measuring"]


def test_the_note_of_a_killed_process_is_none(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    code = (
        "import os, sys; from saddlepoint.engine.storage.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).measured() as note: note('1 of 2'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert "1 of 2" in (folder / ".measuring").read_text()
    assert RunFolder(folder).measuring() is None
    assert RunIndex(tmp_path).entry("run").state == "finished"
    with pytest.raises(CheckpointError, match="is not measured by a process"):
        jobs.stop_measuring(folder)


def test_two_may_measure_and_a_folder_may_be_read_only(tmp_path: Path) -> None:
    with RunFolder(tmp_path).measured() as one, RunFolder(tmp_path).measured() as two:
        one("first")
        two("second")
        assert RunFolder(tmp_path).measuring() == (os.getpid(), "first")
    with RunFolder(tmp_path / "nowhere").measured() as note:
        note("said to nobody")


def test_the_form_says_before_what_is_measured_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "report_time", lambda *asked: Forecast(41.0))

    def said(form: training.Form) -> list[str]:
        return [word for word in form.arguments if "report" in word]

    async def visit() -> None:
        with Client(ui.page("")):
            form = training.Form(Studio(tmp_path))
            await form.chosen()
            form.source.field.value = "digits"
            assert (form.report.value, said(form)) == (False, []), "as the command: data by name is measured on request"
            form.report.value = True
            assert said(form) == ["--report"]
            with form.reading:
                before = ui.label("what was told of other data")
            await form.read()
            assert form.reading.default_slot.children
            assert before not in form.reading.default_slot.children
            await form.foretold()
            assert form.after.text == "The report takes about 40 s more after the training."
            form.report.value = False
            await form.foretold()
            assert form.after.text.startswith("Nothing is measured at the end")
            form.source.field.value = str(tmp_path)
            assert (form.report.value, said(form)) == (True, []), "own data is measured"
            form.report.value = False
            assert said(form) == ["--no-report"]

    asyncio.run(visit())


def test_the_command_of_a_form_says_what_is_not_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "report_time", lambda *asked: Forecast(41.0))

    async def visit() -> None:
        with Client(ui.page("")):
            form = training.Form(Studio(tmp_path))
            await form.chosen()
            form.source.field.value = "digits"
            form.budget.value, form.remedy.value = "7m", ""
            assert form.arguments == ["--budget", "7m"]
            form.seed.value = 5
            assert form.arguments == ["--budget", "7m", "--seed", "5"]
            form.seed.value, form.threads.value = None, "2"
            assert form.arguments == ["--budget", "7m", "--threads", "2"]

    asyncio.run(visit())


def test_form_and_command_say_the_same() -> None:
    assert after_training(Forecast(41, 3.0)) == (
        "takes about 40 s more after the training, or up to 2 min if this machine stays as busy as at this moment"
    )
    assert (is_followed("digits"), is_followed("./digits")) == (False, True)


def test_words_for_where_samples_stand_have_a_tone() -> None:
    assert parts.worth_of("near") == ("near the data", "good")
    assert parts.worth_of("") == ("", "")
    assert json.dumps(parts.worth_of("unknown")) == '["not judged", ""]'
