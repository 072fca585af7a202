"""Trackers hear what a run writes, go on in the same curve, and never cost a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.doctor.rules import ALARMS
from saddlepoint.engine.doctor.verdict import Diagnosis
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Metric, Report, Result, Row
from saddlepoint.run.trackers import content, follow, kept, names, sender
from saddlepoint.run.trackers.names import TRACKERS, read_trackers, tracker_names
from saddlepoint.run.trackers.tracker import Destination, Tracker

SMALL: dict[str, Any] = {
    "generator_widths": (16,), "discriminator_widths": (8,), "batch_size": 16, "threads": 1, "precision": "fp32",
}  # fmt: skip


class Notebook(Tracker):
    """Keeps in memory what it is sent, as a server would."""

    def __init__(self, destination: Destination, takes_back: bool, sent: list[tuple[Any, ...]]) -> None:
        super().__init__(destination)
        self.takes_back, self.sent = takes_back, sent
        self.identity = self.identity or "abc"
        sent.append(("open", destination.identity, destination.since))

    def settings(self, found: Mapping[str, Any]) -> None:
        self.sent.append(("settings", dict(found)))

    def numbers(self, step: int, found: Mapping[str, float]) -> None:
        self.sent.append(("numbers", step, dict(found)))

    def note(self, step: int, name: str, text: str) -> None:
        self.sent.append(("words", step, name, text))

    def picture(self, step: int, name: str, path: Path) -> None:
        assert path.read_bytes().startswith(b"\x89PNG")
        self.sent.append(("picture", step))

    def take_back(self, step: int) -> None:
        self.sent.append(("back", step))

    def close(self, state: str) -> None:
        self.sent.append(("close", state))


Sent = list[tuple[Any, ...]]


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Sent]:
    """Put a notebook in the place of every tracker; return what it was sent."""

    def place(takes_back: bool) -> Sent:
        sent: Sent = []
        monkeypatch.setattr(sender, "opened", lambda name, where: Notebook(where, takes_back, sent))
        monkeypatch.setattr(names, "find_spec", lambda name: object())
        return sent

    return place


def of(sent: Sent, kind: str) -> list[Any]:
    return [one[1] if len(one) == 2 else one[1:] for one in sent if one[0] == kind]


def test_a_tracker_gets_what_the_run_folder_gets(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    sent = tracked(False)
    run = saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", log_to="mlflow", **SMALL)
    assert [step for step, _ in of(sent, "numbers")] == [line["step"] for line in run.log]
    first = dict(of(sent, "numbers")[0][1])
    assert first["V"] == run.log[0]["V"]
    assert first["D_G_z"] == run.log[0]["D(G(z))"]
    assert of(sent, "picture") == [*range(11), 12]
    (settings,) = of(sent, "settings")
    assert settings["options/generator_widths"] == "16"
    assert settings["settings/seed"] == 0
    assert not any(str(tmp_path) in str(value) for value in settings.values()), "no path of this machine goes out"
    assert of(sent, "close") == ["finished"]


def test_training_is_the_same_with_trackers(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    tracked(True)
    told = saddlepoint.train("gan", "ring8", steps=6, out=tmp_path / "a", log_to=["wandb", "mlflow"], **SMALL)
    alone = saddlepoint.train("gan", "ring8", steps=6, out=tmp_path / "b", **SMALL)
    for one, other in zip(told.family.state_dict().values(), alone.family.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert set(kept.read_sent(tmp_path / "a")) == {"wandb", "mlflow"}
    assert not (tmp_path / "b" / kept.FILE).exists()


def test_a_resumed_run_goes_on_in_the_same_curve(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    sent = tracked(False)
    saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", log_to="mlflow", **SMALL)
    run = saddlepoint.resume(tmp_path / "run", steps=30)  # without a word: as before
    assert of(sent, "open") == [("", -1), ("abc", 12)]
    assert [step for step, _ in of(sent, "numbers")] == [line["step"] for line in run.log], "each line once"
    assert of(sent, "picture") == [*range(11), 12, 20, 30]
    saddlepoint.resume(tmp_path / "run", steps=40, log_to="off")
    assert len(of(sent, "open")) == 2
    assert not (tmp_path / "run" / kept.FILE).exists()


@pytest.mark.parametrize("takes_back", [True, False])
def test_steps_that_are_made_again(tmp_path: Path, tracked: Callable[[bool], Sent], takes_back: bool) -> None:
    """A killed process has sent lines beyond its last checkpoint."""
    sent = tracked(takes_back)
    saddlepoint.train("gan", "ring8", steps=8, out=tmp_path / "run", log_to="mlflow", **SMALL)
    ahead = kept.Sent("abc", 10, "", 0, 10)
    kept.keep_sent(tmp_path / "run", "mlflow", ahead)
    del sent[:]
    saddlepoint.resume(tmp_path / "run", steps=12)
    steps = [step for step, _ in of(sent, "numbers")]
    assert steps == ([9, 10] if takes_back else []), "whoever takes back gets them again, the others have them"
    assert of(sent, "picture") == ([9, 10, 12] if takes_back else [12])


def test_a_run_that_is_logged_late_is_caught_up(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    sent = tracked(False)
    saddlepoint.train("gan", "ring8", steps=9, out=tmp_path / "run", **SMALL)
    run = saddlepoint.resume(tmp_path / "run", steps=12, log_to="mlflow")
    assert [step for step, _ in of(sent, "numbers")] == [line["step"] for line in run.log]
    assert of(sent, "picture") == [*range(11), 12]


@pytest.mark.parametrize("takes_back", [True, False])
def test_a_rollback_begins_a_new_version(tmp_path: Path, tracked: Callable[[bool], Sent], takes_back: bool) -> None:
    sent = tracked(takes_back)
    (tmp_path / "samples").mkdir()
    at_work = sender.Sender("mlflow", tmp_path, -1, print)
    lines = [{"step": step, "nimg": step, "V": 1.0} for step in (10, 20, 30)]
    back = {"step": 10, "nimg": 10, "event": "rollback", "number": 1, "remedy": "lower-lr"}
    again = [{"step": step, "nimg": step, "V": 2.0} for step in (20, 30)]
    for line in [*lines, back, *again, back, *again]:  # what is there already is not sent twice
        at_work.line(line)
    at_work.close("finished")
    assert [(step, found["V"]) for step, found in of(sent, "numbers")] == [
        (10, 1.0), (20, 1.0), (30, 1.0), (20, 2.0), (30, 2.0),
    ]  # fmt: skip
    assert of(sent, "back") == ([10] if takes_back else [])
    assert [words[1:] for words in of(sent, "words")] == [("doctor/event", "rollback: number 1, remedy lower-lr")]


def test_verdicts_are_sent_where_they_change(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    sent = tracked(False)
    heard = []
    with follow.followed(
        RunFolder(tmp_path), ("mlflow",), {"family": "gan", "data": {"source": "x"}, "options": {}, "settings": {}},
        Observer(report=heard.append),
    ) as observer:  # fmt: skip
        for step, verdict in enumerate(("no trouble seen", "no trouble seen", ALARMS[0], ALARMS[0])):
            observer.diagnosis(Diagnosis(verdict, ("two of eight modes",), 5000))  # type: ignore[arg-type]
            observer.report({"step": step, "nimg": 1, "verdict": verdict, "signs": {"modes hit": 2.0}})
    assert len(heard) == 4
    assert [(step, name) for step, name, _ in of(sent, "words")] == [(0, "doctor/verdict"), (2, "doctor/verdict")]
    assert "two of eight modes" in of(sent, "words")[1][2]
    assert [found["doctor/alarm"] for _, found in of(sent, "numbers")] == [0.0, 0.0, 1.0, 1.0]
    assert of(sent, "numbers")[0][1]["doctor/modes_hit"] == 2.0


def test_a_tracker_that_fails_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Notebook):
        def numbers(self, step: int, found: Mapping[str, float]) -> None:
            super().numbers(step, found)
            if step == 3:
                raise OSError("the server\nis full")

    sent: Sent = []
    monkeypatch.setattr(sender, "opened", lambda name, where: Full(where, False, sent))
    monkeypatch.setattr(names, "find_spec", lambda name: object())
    warned: list[str] = []
    plan = saddlepoint.plan("gan", "ring8", steps=6, out=tmp_path / "run", log_to="mlflow", **SMALL)
    from saddlepoint.run.launch import start

    run, outcome = start(plan, Observer(warn=warned.append))
    assert (run.step, outcome.reason) == (6, "budget")
    assert warned == ["mlflow: the server is full; training goes on, and nothing more is sent there"]
    assert [step for step, _ in of(sent, "numbers")] == [1, 2, 3]
    del sent[:]
    monkeypatch.setattr(sender, "opened", lambda name, where: Notebook(where, False, sent))
    saddlepoint.resume(tmp_path / "run", steps=7)
    assert [step for step, _ in of(sent, "numbers")] == [3, 4, 5, 6, 7], "the next start sends what is missing"


def test_a_tracker_that_could_not_be_opened_is_tried_again(
    tmp_path: Path, tracked: Callable[[bool], Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = tracked(False)
    with monkeypatch.context() as patch:
        patch.setattr(sender, "opened", lambda name, where: 1 / 0)
        saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", log_to="mlflow", **SMALL)
    assert sent == []
    run = saddlepoint.resume(tmp_path / "run", steps=30)
    assert [step for step, _ in of(sent, "numbers")] == [line["step"] for line in run.log], "from the first line on"
    assert of(sent, "picture") == [*range(11), 12, 20, 30]


def test_a_tracker_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    never = threading.Event()

    def hang(name: str, where: Destination) -> Tracker:
        never.wait()
        raise OSError

    monkeypatch.setattr(sender, "opened", hang)
    monkeypatch.setattr(sender, "MOST_WAIT", 0.01)
    warned: list[str] = []
    at_work = sender.Sender("wandb", tmp_path, -1, warned.append)
    assert at_work._thread.daemon, "the process could not end while it hangs"
    at_work.line({"step": 1, "nimg": 1, "V": 1.0})
    at_work.close("finished")
    never.set()
    at_work._thread.join(60)
    (said,) = warned  # what comes of it later is no news
    assert "wandb has not taken all within" in said


def test_figures_go_with_their_intervals(tmp_path: Path, tracked: Callable[[bool], Sent]) -> None:
    sent = tracked(False)
    kept.keep_sent(tmp_path, "mlflow", kept.Sent("abc", 100))
    rows = (
        Row("Fréchet distance", "generator", 2.5, interval=(2.0, 3.0)),
        Row("Fréchet distance", "held-out", 0.5, role="control"),
    )
    result = Result("fd1k_pixels_test", "a", (Metric("Fréchet distance", "lower"),), rows, "", "x", "f", 0)
    follow.send_report(tmp_path, Report((result,), "generator", "near"), 100, print)
    ((step, found),) = of(sent, "numbers")
    place = "figures/fd1k_pixels_test/Fréchet_distance"
    assert step == 100
    assert found == {place: 2.5, f"{place}/low": 2.0, f"{place}/high": 3.0}
    assert "held-out" in of(sent, "words")[0][2]
    assert of(sent, "open") == [("abc", None)]


def test_names_stay_different_and_are_taken_by_all() -> None:
    strange = [
        "fd10k (test)", "fd10k [test]", "a[0]", "f1%", "../up", "loss//D", "x@y", "D(G(z))", "", ".", "a" * 300,
        "loss/generator", "Fréchet distance", "\x1b[2J", "a\nb", "ж",
    ]  # fmt: skip
    found = tracker_names(strange)
    assert len(set(found.values())) == len(strange)
    for name in found.values():
        assert name == "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
        assert all(c.isalnum() or c in "_-./" for c in name)
        assert len(name) < 250
    assert tracker_names(reversed(strange)) == found, "whatever comes before or after"
    assert found["loss/generator"] == "loss/generator"


def test_numbers_of_a_line_are_finite() -> None:
    line = {"step": 1, "nimg": 10, "V": float("inf"), "stage": "adversarial", "timing": {"seconds": 2.0}, "flag": True}
    assert content.numbers_of(line) == {"progress/kimg": 0.01, "progress/seconds": 2.0}


def test_wrong_names_are_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="log-to is 'tensorbord'; did you mean 'tensorboard'"):
        read_trackers("tensorbord")
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--log-to wandb needs wandb: pip install 'saddlepoint\[wandb\]'"):
        read_trackers("wandb")
    assert read_trackers("off") == ()


@pytest.mark.parametrize("text", ["[]", "{", '{"wandb": {"identity": 3}}', '{"wandb": {"step": "x"}}', '{"wandb": []}'])
def test_a_damaged_note_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / kept.FILE).write_text(text)
    assert kept.read_sent(tmp_path) == {}
    kept.keep_sent(tmp_path, "wandb", kept.Sent("a 1", 5))
    assert kept.read_sent(tmp_path)["wandb"].step == 5
    assert json.loads((tmp_path / kept.FILE).read_text())["wandb"]["identity"] == "a 1"


def test_every_tracker_has_an_extra() -> None:
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert all(any(package.startswith(name) for package in extras[name]) for name in TRACKERS)
