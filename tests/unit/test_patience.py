"""What a command says while it reads data: how far it is, by lines elsewhere, in place on a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

import saddlepoint
from saddlepoint.core import waiting
from saddlepoint.core.progress import counted, heard_by, told
from saddlepoint.core.waiting import StatusLine, sentence
from saddlepoint.data import inspect_source
from tests.unit.data_helpers import pictures, write_folder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: self.now))


def worked(
    clock: Clock, stream: io.StringIO, n: int, seconds: float, *, total: bool = True, quiet: bool = False
) -> str:
    """Return what is told of ``n`` items that take so many seconds each."""
    with StatusLine(quiet=quiet, stream=stream):
        for _ in counted(range(n), "reading pics", n if total else None):
            clock.now += seconds
    return stream.getvalue()


def test_lines_say_how_far_it_is_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = worked(Clock(monkeypatch), io.StringIO(), 1000, 0.03125).splitlines()
    assert lines == [
        "reading pics: 16 of 1,000, 30 s left",
        "reading pics: 336 of 1,000, 20 s left",
        "reading pics: 656 of 1,000, 11 s left",
        "reading pics: 976 of 1,000, 1 s left",
    ]


def test_what_is_short_and_what_is_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert worked(clock, io.StringIO(), 40, 0.01) == ""
    assert worked(clock, io.StringIO(), 1000, 1.0, quiet=True) == ""


def test_on_a_terminal_the_line_changes_in_place_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = worked(Clock(monkeypatch), Terminal(), 20, 0.25)
    assert "\n" not in text
    assert text.startswith("\r\x1b[2Kreading pics: 2 of 20, 4 s left\r\x1b[2K")
    assert text.endswith("\r\x1b[2K")


def test_a_line_is_taken_away_when_work_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), Terminal()
    with StatusLine(stream=stream):
        work = counted(range(9), "reading pics", 9)
        for _ in range(5):
            clock.now += 1
            next(work)
        assert stream.getvalue().endswith("4 of 9, 5 s left")
        work.close()  # type: ignore[attr-defined]
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_how_far_work_is_in_words() -> None:
    assert sentence("reading x", 10, 1000, 5.0) == "reading x: 10 of 1,000, 8 min left"
    assert sentence("reading x", 0, None, 0.0) == "reading x ..."


def test_a_silent_start_is_told_once_unless_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.0)
    stream = io.StringIO()
    with StatusLine(stream=stream) as shown:
        shown._first.join(10)
    assert stream.getvalue() == "starting ...\n"
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 60.0)
    stream = io.StringIO()
    with StatusLine(stream=stream) as shown:
        shown.stop()
        shown._first.join(10)
    assert stream.getvalue() == ""


def test_work_that_is_not_counted_is_told_if_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SHOWN_AFTER", 0.0)
    stream = io.StringIO()
    with StatusLine(stream=stream) as shown, told("reading prices.csv"):
        assert shown._later is not None
        shown._later.join(10)
    assert stream.getvalue() == "reading prices.csv ...\n"


def test_every_file_of_a_folder_is_told_of(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pics", list(pictures(12)))
    heard: list[tuple[str, int | None, int | None]] = []
    with heard_by(lambda *what: heard.append(what)):
        saddlepoint.load_dataset(str(folder))
    reading = [event for event in heard if event[0] == f"reading {folder}"]
    assert reading[:2] == [(f"reading {folder}", 0, 12), (f"reading {folder}", 1, 12)]
    assert reading[-2:] == [(f"reading {folder}", 12, 12), (f"reading {folder}", None, 12)]
    heard.clear()
    with heard_by(lambda *what: heard.append(what)):
        inspect_source(str(folder))
    assert {event[0] for event in heard} == {f"looking at {folder}", f"comparing {folder}"}
    heard.clear()
    table = tmp_path / "prices.csv"
    table.write_text("day,price\n" + "".join(f"2020-01-{1 + n % 28:02d},{n}\n" for n in range(28)))
    with heard_by(lambda *what: heard.append(what)):
        saddlepoint.load_dataset(str(table), window=4)
    assert heard == [("reading prices.csv", 0, None), ("reading prices.csv", None, None)]
