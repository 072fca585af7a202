"""Going on with a run, finding it, and reading what a command takes: what a first hour stumbles over."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from saddlepoint.family import families
from tests.cli.test_cli import SMALL, Command, saddle  # noqa: F401
from tests.unit.data_helpers import pictures, write_folder

TRAIN = ["train", "gan", "--data", "digits", *SMALL, "--no-report"]


def status(run: str) -> dict[str, object]:
    return dict(json.loads((Path(run) / "status.json").read_text()))


def test_more_time_is_added_and_a_total_says_what_is_spent(saddle: Command) -> None:  # noqa: F811
    """A budget counts from the run's beginning; with a plus it is so much more than is spent."""
    assert saddle(*TRAIN, "--out", "run", "--budget", "1s")[0] == 0
    before = status("run")["step"]
    code, out, err = saddle("train", "--resume", "run", "--budget", "+1s", "--no-report")
    assert code == 0, err
    assert re.search(r"budget: +1 s of 2 s are spent; 1 s left \(limits count from the run's beginning\)", err + out)
    assert int(str(status("run")["step"])) > int(str(before))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "this run has spent its budget of 1 s; saddle train --resume run --budget +10m goes on"),
        (("--budget", "0.5s"), "--budget 0.5s is the total; --budget +0.5s goes on for so long"),
    ],
)
def test_a_run_that_spent_its_budget_is_not_trained_and_not_measured_again(
    saddle: Command,  # noqa: F811
    words: tuple[str, ...],
    said: str,
) -> None:
    saddle(*TRAIN, "--out", "run", "--budget", "1s")
    before = status("run"), Path("run/log.jsonl").read_text()
    code, out, err = saddle("train", "--resume", "run", *words)
    assert (code, err) == (0, "")
    assert said in out
    assert "trained:" not in out
    assert (status("run"), Path("run/log.jsonl").read_text()) == before
    assert not Path("run/report").exists()


def test_moved_pictures_are_found_where_they_are_said_to_be(saddle: Command) -> None:  # noqa: F811
    write_folder(Path("old"), pictures(120, 28))
    assert saddle("train", "gan", "--data", "old", "--out", "run", *SMALL, "--steps", "3", "--no-report")[0] == 0
    shutil.move("old", "new")
    code, _, err = saddle("train", "--resume", "run", "--steps", "5", "--no-report")
    assert code == 2
    assert "--data" in err
    code, _, err = saddle("train", "--resume", "run", "--steps", "5", "--data", "new", "--no-report")
    assert code == 0, err
    assert status("run")["step"] == 5
    # The new place is kept: nobody has to say it twice.
    assert saddle("train", "--resume", "run", "--steps", "6", "--no-report")[0] == 0
    next(Path("new").rglob("*.png")).unlink()
    code, _, err = saddle("train", "--resume", "run", "--steps", "7", "--no-report")
    assert code == 2
    assert "120 images then, 119 now" in err
    assert "--out" not in err


def test_runs_are_listed_named_tagged_and_removed(saddle: Command) -> None:  # noqa: F811
    saddle(*TRAIN, "--name", "apples", "--steps", "2")
    saddle(*TRAIN, "--name", "pears", "--steps", "3")
    _, out, _ = saddle("runs")
    assert "apples" in out
    assert "pears" in out
    for word in ("latest", "pea", "pears", "runs/pears"):
        code, out, err = saddle("sample", word, "-n", "4", "--out", "s.png", "--threads", "1")
        assert (code, err) == (0, ""), word
    assert saddle("sample", "p", "-n", "4", "--out", "s.png", "--threads", "1")[0] == 0
    saddle("runs", "rename", "pears", "apples-2")
    code, _, err = saddle("sample", "app", "-n", "4", "--out", "s.png")
    assert code == 2
    assert "apples" in err
    assert "apples-2" in err
    saddle("runs", "tag", "apples", "good")
    assert "good" in saddle("runs")[1]
    code, _, _ = saddle("runs", "remove", "apples-2", "--yes")
    assert code == 0
    assert [path.name for path in Path("runs").iterdir() if not path.name.startswith(".")] == ["apples"]


@pytest.mark.parametrize("name", sorted(families()))
def test_no_name_of_a_family_is_cut_at_80_columns(
    name: str,
    saddle: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = saddle("families", name)
    kind = families()[name]
    words = set(re.findall(r"[\w.-]+", out))
    options = (field.name.replace("_", "-") for field in dataclasses.fields(kind.Config))
    wanted = {f"--{option}" for option in options} | set(kind.PRESETS)
    assert wanted - words == set()
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_choices_of_an_option_are_listed(saddle: Command) -> None:  # noqa: F811
    _, out, _ = saddle("families", "gan")
    for choice in ("minimax", "non-saturating", "relativistic"):
        assert choice in out


def test_the_help_of_train_has_panels_and_that_of_a_family_its_options(saddle: Command) -> None:  # noqa: F811
    _, out, _ = saddle("train", "--help")
    for panel in ("Data: images", "Data: tables and series", "Limits", "Machine", "Doctor and report"):
        assert re.search(rf"─ {panel}\b", out), panel
    assert "--discriminator-lr" in saddle("train", "dcgan", "--help")[1]


def test_a_budget_without_a_unit_is_asked_about(saddle: Command) -> None:  # noqa: F811
    code, _, err = saddle(*TRAIN, "--budget", "3")
    assert code == 2
    assert "3s" in err
    assert "3m" in err
    assert not Path("runs").exists()
