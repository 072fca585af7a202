"""The logger ``saddlepoint``, and the line of progress: who hears what, and nobody twice."""

from __future__ import annotations

import inspect
import io
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.logging import RichHandler

import saddlepoint
from saddlepoint.core import logs
from saddlepoint.core.console import LiteralConsole, bar
from saddlepoint.engine.settings import Observer, Outcome, Settings
from saddlepoint.family import Progress
from saddlepoint.run import api, progress
from saddlepoint.run.logged import ending, logged
from saddlepoint.run.progress import Line, Pace

SMALL: dict[str, Any] = {
    "generator_widths": (16,), "discriminator_widths": (8,), "batch_size": 16, "threads": 1, "precision": "fp32",
}  # fmt: skip


def heard(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "saddlepoint" and r.levelno == level]


def test_the_log_hears_what_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "saddlepoint")
    said, warned = list[str](), list[str]()
    plan = api.plan("gan", "ring8", steps=12, out=tmp_path / "run", **SMALL)
    run, outcome = api.start(plan, Observer(say=said.append, warn=warned.append))
    told = heard(caplog, logging.INFO)
    own = [f"gan on ring8, 100,000 vectors of 2; run: {run.path}", ending(outcome)]
    assert [line for line in told if line not in own] == said != []
    assert [line for line in told if line in own] == own, "what begins and what ended is in the log alone"
    lines = heard(caplog, logging.DEBUG)
    assert [line.split(",")[0] for line in lines] == [f"step {line['step']}" for line in run.log]
    assert f"V {run.log[-1]['V']:.6g}" in lines[-1]
    caplog.clear()
    logged(Observer(warn=warned.append), Settings()).warn("the disk is full")
    assert heard(caplog, logging.WARNING) == warned == ["the disk is full"]


PROGRAM = """
import logging, saddlepoint
from saddlepoint.core.logs import log
log(logging.WARNING, "first")
logging.basicConfig()
log(logging.WARNING, "second")
log(logging.INFO, "third")
logging.root.setLevel(logging.INFO)
log(logging.INFO, "fourth")
"""


def test_nothing_is_printed_unless_a_program_keeps_a_log() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING:saddlepoint:second\nINFO:saddlepoint:fourth\n"
    assert done.stdout == ""


def test_a_message_is_one_harmless_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saddlepoint")
    logs.log(logging.INFO, "a %s\nERROR:root:b \x1b[31m")
    assert heard(caplog, logging.INFO) == ["a %s\\nERROR:root:b \\x1b[31m"]


def test_a_message_is_text_for_rich_too() -> None:
    file = io.StringIO()
    handler = RichHandler(console=Console(file=file, width=200))
    logs.LOGGER.addHandler(handler)
    try:
        logs.log(logging.ERROR, "[red]a[/red] :smile:")
    finally:
        logs.LOGGER.removeHandler(handler)
    assert "[red]a[/red] :smile:" in file.getvalue()
    assert "test_logs.py" in file.getvalue(), "the line that told it"


def test_every_public_function_that_tells_lets_the_log_have_it(caplog: pytest.LogCaptureFixture) -> None:
    kinds = [kind for name in saddlepoint.__all__ if inspect.isclass(kind := getattr(saddlepoint, name))]
    functions = [value for kind in kinds for value in vars(kind).values() if inspect.isfunction(value)]
    functions += [f for name in saddlepoint.__all__ if inspect.isfunction(f := getattr(saddlepoint, name))]
    telling = {f.__name__: f for f in functions if "say" in inspect.signature(f).parameters}
    assert {"evaluate", "load_dataset", "export_run", "sweep"} <= telling.keys()
    bare = {name for name, f in telling.items() if not hasattr(f, "__wrapped__")}
    assert bare == {"sweep"}, "which does it itself; test_a_sweep_tells_its_trials has it"

    @logs.logged
    def inner(say: Any = None) -> None:
        say("once")

    @logs.logged
    def outer(n: int, say: Any = None) -> int:
        inner(say)
        return n

    caplog.set_level(logging.INFO, "saddlepoint")
    said = list[str]()
    assert outer(3) == outer(3, said.append) == outer(3, say=said.append) == 3
    assert said == ["once"] * 2
    assert heard(caplog, logging.INFO) == ["once"] * 3
    with pytest.raises(TypeError, match="outer"):
        outer()  # type: ignore[call-arg]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_by(handler: logging.Handler, level: int = logging.INFO) -> bool:
    logger, before = logs.LOGGER, logs.LOGGER.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        return logs.is_shown()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_a_log_on_the_standard_streams_is_known(tmp_path: Path) -> None:
    assert not logs.is_shown()
    assert shown_by(logging.StreamHandler())
    assert shown_by(logging.StreamHandler(sys.stdout))
    assert shown_by(RichHandler(console=Console(stderr=True)))
    assert not shown_by(logging.StreamHandler(), logging.WARNING)
    assert not shown_by(logging.StreamHandler(io.StringIO()))
    assert not shown_by(logging.NullHandler())
    quiet = logging.StreamHandler()
    quiet.setLevel(logging.ERROR)
    assert not shown_by(quiet)
    file = logging.FileHandler(tmp_path / "log")
    assert not shown_by(file)
    file.close()


def test_where_the_log_is_shown_no_line_is_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert progress.is_watched()
    Line(Settings(steps=1)).say("here")
    assert terminal.getvalue().count("here") == 1
    monkeypatch.setattr(logs, "is_shown", lambda: True)
    assert not progress.is_watched()
    line = Line(Settings(steps=1))
    line.say("twice")
    line.warn("twice")
    line.tick(Progress(1, 16), 1.0, dict)
    assert not line.live
    assert "twice" not in terminal.getvalue()


def test_what_a_program_prints_goes_where_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with bar(LiteralConsole(file=terminal, force_terminal=True), shown=True) as shown:
        shown.add_task("", total=1.0, left="")
        print("a row of the result")  # noqa: T201 - as a callback may
    assert capsys.readouterr().out == "a row of the result\n", "standard output is no terminal here"
    assert "row" not in terminal.getvalue()


def test_a_narrow_terminal_folds_the_figures_alone() -> None:
    terminal = Terminal()
    with bar(LiteralConsole(file=terminal, force_terminal=True, width=60, color_system=None), shown=True) as shown:
        shown.add_task("4.7 kimg  601 samples/s  V -1.386  D(x) 0.500", total=1.0, left="12:34 left")
    text = terminal.getvalue()
    assert "12:34 left " in text
    assert "…" not in text
    assert all(word in text for word in ("4.7", "601", "-1.386", "0.500"))


def test_speed_is_that_of_the_training_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.value))
    pace = Pace(Settings(kimg=1.0), 0.0)

    def words(step: int, seconds: float) -> str:
        now.value += seconds
        told = pace.at(Progress(step, 10 * step), 1.0, dict)
        assert told is not None
        return told[2]

    words(1, 0.0)
    assert "20 samples/s" in words(11, 5.0)
    pace.verdict = "generator collapse"
    words(1, 5.0)  # the next one of a sweep
    assert words(11, 2.0) == "0.1 kimg  50 samples/s"


def test_a_sweep_tells_its_trials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    caplog.set_level(logging.INFO, "saddlepoint")
    x = np.random.default_rng(0).normal(size=(600, 2)).astype("float32")
    asked: dict[str, Any] = {"over": {"lr": "1e-3..1"}, "seeds": 0, "steps": 3, "preset": "points", **SMALL}
    saddlepoint.sweep("gan", x, trials=1, out=tmp_path / "s", **asked)
    assert capsys.readouterr().err == ""
    assert [line for line in heard(caplog, logging.INFO) if line.startswith("trial 0: complete")]
    saddlepoint.sweep("gan", x, trials=2, out=tmp_path / "s", progress=True, **asked)
    assert "trial 1: complete" in capsys.readouterr().err
    said = list[str]()
    saddlepoint.sweep("gan", x, trials=3, out=tmp_path / "s", progress=True, say=said.append, **asked)
    assert any(line.startswith("trial 2: complete") for line in said)
    assert "trial 2: complete" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reason", "words"), [("budget", "the budget is spent"), ("interrupted", "interrupted, and saved")]
)
def test_how_a_training_ended_in_words(reason: Any, words: str) -> None:
    assert ending(Outcome(reason, Progress(1200, 76_800), 75.0)) == f"{words}: 1,200 steps, 76.8 kimg, 75 s"
