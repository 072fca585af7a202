"""Callbacks hear of a training, may end it, change nothing of it; the line of progress; arguments by name."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Progress
from saddlepoint.run.progress import remaining

SMALL: dict[str, Any] = {
    "generator_widths": (16,), "discriminator_widths": (8,), "batch_size": 16, "threads": 1, "precision": "fp32",
}  # fmt: skip


class Diary(saddlepoint.Callback):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.samples: list[torch.Tensor] = []

    def on_start(self, start: saddlepoint.Start) -> None:
        self.events.append(("start", start.folder))

    def on_step(self, progress: Progress) -> None:
        self.events.append(("step", progress.step))

    def on_report(self, line: Any) -> None:
        self.events.append(("report", line))

    def on_snapshot(self, step: int, samples: torch.Tensor) -> None:
        self.events.append(("snapshot", step))
        self.samples.append(samples)

    def on_end(self, run: saddlepoint.Run, outcome: Any) -> None:
        self.events.append(("end", (run.step, outcome.reason)))

    def of(self, name: str) -> list[Any]:
        return [what for kind, what in self.events if kind == name]


def test_a_callback_hears_all_in_order(tmp_path: Path) -> None:
    diary = Diary()
    run = saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", callbacks=[diary], **SMALL)
    assert diary.events[0] == ("start", run.path)
    assert diary.events[-1] == ("end", (12, "budget"))
    assert diary.of("step") == list(range(1, 13))
    assert diary.of("snapshot") == [*range(11), 12]
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert diary.of("report") == lines
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert sorted(path.name for path in (run.path / "samples").iterdir())[-1] == "step00000012.png"
    assert diary.samples[-1].shape == (64, 2)


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    told = saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "a", callbacks=[Diary()], progress=True, **SMALL)
    alone = saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "b", **SMALL)
    for one, other in zip(told.family.state_dict().values(), alone.family.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Ends(saddlepoint.Callback):
    def __init__(self, step: int, error: Exception) -> None:
        self.step, self.error = step, error

    def on_step(self, progress: Progress) -> None:
        if progress.step == self.step:
            raise self.error


def test_a_callback_may_end_training(tmp_path: Path) -> None:
    diary, ends = Diary(), Ends(7, saddlepoint.StopTraining("good enough"))
    run = saddlepoint.train("gan", "ring8", steps=50, out=tmp_path / "run", callbacks=[ends, diary], **SMALL)
    assert run.step == 7
    assert diary.of("end") == [(7, "stopped")]
    status = RunFolder(run.path).read_status()
    assert (status["state"], status["reason"]) == ("finished", "stopped")


def test_an_error_of_a_callback_is_told_and_loses_nothing(tmp_path: Path) -> None:
    diary, ends = Diary(), Ends(7, ValueError("no room"))
    with pytest.raises(ValueError, match="no room") as raised:
        saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", callbacks=[ends, diary], **SMALL)
    assert raised.value.__notes__ == ["raised by Ends.on_step; training ended there, and was saved"]
    assert diary.of("step")[-1] == 6, "after an error no callback is called"
    assert RunFolder(tmp_path / "run").read_status()["state"] == "interrupted"
    assert saddlepoint.load(tmp_path / "run").step == 7
    straight = saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "straight", **SMALL)
    resumed = saddlepoint.resume(tmp_path / "run", callbacks=[diary])
    assert torch.equal(resumed.sample(20), straight.sample(20))
    assert diary.of("end") == [(12, "budget")]


def test_an_error_before_the_first_step_is_told(tmp_path: Path) -> None:
    class Breaks(saddlepoint.Callback):
        def on_start(self, start: saddlepoint.Start) -> None:
            raise OSError("there")

    with pytest.raises(OSError, match="there"):
        saddlepoint.train("gan", "ring8", steps=12, out=tmp_path / "run", callbacks=[Breaks()], **SMALL)
    assert saddlepoint.load(tmp_path / "run").step == 0


def test_any_object_with_some_of_the_methods_will_do(tmp_path: Path) -> None:
    seen: list[int] = []
    some: Any = types.SimpleNamespace(on_snapshot=lambda step, samples: seen.append(step))
    saddlepoint.train("gan", "ring8", steps=2, out=tmp_path / "run", callbacks=[some], **SMALL)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (print, r"callbacks\[0\] is <built-in function print>, but it must be an object with methods of saddlepoint.C"),
        (Diary, r"callbacks\[0\] is the class Diary, but it must be an object"),
        (types.SimpleNamespace(on_reports=print), "has 'on_reports', which is never called; did you mean 'on_report'"),
    ],
)
def test_what_is_no_callback_is_refused_before_training(tmp_path: Path, callback: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        saddlepoint.train("gan", "ring8", steps=2, out=tmp_path / "run", callbacks=[callback], **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lrr": 1}, "there is no argument 'lrr'; did you mean 'lr'?"),
        ({"learning_rate": 1}, "no argument 'learning_rate'; did you mean 'lr'?"),
        ({"epochs": 1}, "did you mean 'kimg' or 'steps'?"),
        ({"bugdet": "3m"}, "did you mean 'budget'?"),
        ({"callback": []}, "did you mean 'callbacks'?"),
        ({"colums": "a"}, "did you mean 'columns'?"),
        ({"options": {"learning_rate": 1}}, "unknown option 'learning-rate'; did you mean 'lr'?"),
        ({"lr": 0.1, "options": {"lr": 0.2}}, "'lr' is given twice"),
        ({"lr": -1.0}, "lr is -1.0, but it must be positive"),
        ({"k": 1.5}, "k is 1.5, but it must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused_with_the_nearest(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        saddlepoint.train("gan", "ring8", steps=2, **given)


def test_options_of_a_family_are_arguments(tmp_path: Path) -> None:
    by_name = saddlepoint.plan("gan", "ring8", lr=0.25, generator_widths="16,8", seed=3)
    as_options = saddlepoint.plan("gan", "ring8", options={"lr": 0.25, "generator-widths": (16, 8)}, seed=3)
    assert by_name == as_options
    assert by_name.options.lr == 0.25
    assert by_name.named == {"lr", "generator_widths"}


def test_the_line_says_how_training_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saddlepoint.train("gan", "ring8", steps=3, out=tmp_path / "a", **SMALL)
    assert capsys.readouterr() == ("", ""), "nobody looks: standard error is no terminal"
    saddlepoint.train("gan", "ring8", steps=3, out=tmp_path / "b", progress=True, **SMALL)
    said = capsys.readouterr()
    assert said.out == ""
    assert f"gan on ring8, 100,000 vectors of 2; run: {tmp_path / 'b'}" in said.err
    assert "kimg" in said.err
    assert "samples/s" in said.err
    assert "V -" in said.err


def test_time_left_is_that_of_the_tightest_limit() -> None:
    at = Progress(step=100, nimg=1600, epoch=0.1)
    assert remaining(Settings(seconds=100), at, 25.0, 64.0) == (0.25, "1:15 left")
    assert remaining(Settings(seconds=100, steps=200), at, 25.0, 64.0) == (0.5, "0:25 left")
    assert remaining(Settings(kimg=16.0), at, 25.0, 160.0) == (0.1, "1:30 left")
    assert remaining(Settings(steps=200), at, 25.0, 0.0) == (0.0, "")


class Notebook:
    """What IPython offers in a notebook."""

    def __init__(self) -> None:
        self.shown: list[list[Any]] = []

    def get_ipython(self) -> Any:
        return types.SimpleNamespace(kernel=object())

    def display(self, what: Any, display_id: bool = False) -> Any:
        place = [what]
        self.shown.append(place)
        return types.SimpleNamespace(update=place.append)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found = Notebook()
    ipython, shows = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = found.get_ipython  # type: ignore[attr-defined]
    shows.display, shows.HTML = found.display, lambda text: text  # type: ignore[attr-defined]
    shows.Image = lambda data: data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    return found


def test_a_notebook_shows_a_line_and_the_newest_samples(tmp_path: Path, notebook: Notebook) -> None:
    images = torch.rand(60, 1, 8, 8).mul(255).byte().numpy()
    saddlepoint.train("gan", images, steps=3, out=tmp_path / "run", modality="image", **SMALL)
    pictures, lines = sorted(notebook.shown, key=lambda place: isinstance(place[0], str))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert len(pictures) == 4, "steps 0 to 3, all in one place"
    assert lines[0].startswith("<pre>")
    assert "kimg" in lines[-1]


def test_show_puts_the_picture_into_the_notebook(tmp_path: Path, notebook: Notebook) -> None:
    run = saddlepoint.train("gan", "ring8", steps=1, out=tmp_path / "run", progress=False, **SMALL)
    run.show(8)
    assert [place[0].tobytes() for place in notebook.shown] == [run.grid(8).tobytes()]


def test_every_line_of_the_log_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lines(saddlepoint.Callback):
        def __init__(self) -> None:
            self.heard = list[dict[str, Any]]()

        def on_report(self, line: Mapping[str, Any]) -> None:
            self.heard.append(dict(line))

    # A run whose threads change: the log gets a line of its own for it.
    change = {"step": 0, "nimg": 0, "event": "threads", "threads": 1}
    due = iter([[change]])
    monkeypatch.setattr("saddlepoint.engine.machine.threads.ChosenThreads.before_step", lambda *given: next(due, []))
    lines = Lines()
    run = saddlepoint.train(
        "gan", "digits", steps=3, options={"batch_size": 16}, threads=1, out=tmp_path / "run", callbacks=[lines]
    )
    assert lines.heard == run.log
    assert lines.heard[0] == change
    assert len(lines.heard) > 1
