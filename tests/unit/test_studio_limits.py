"""What the studio takes from its visitors: files, trainings, measuring, each up to a limit that is said."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.run import jobs
from saddlepoint.serve.studio import state, uploads
from saddlepoint.serve.studio.state import Studio
from saddlepoint.serve.studio.uploads import Uploads


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("the file is read")
    yield b""


def test_files_that_are_too_many_or_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W14: by count, by size of one, by all of a visitor, by all of all visitors, by the disk."""
    brought = Uploads(tmp_path / "up")
    word = brought.ticket(2, 100)
    with pytest.raises(DataError, match="more than 0 MB"):
        asyncio.run(brought.take(word, "a", unread(), 101))
    asyncio.run(brought.take(word, "b", pieces(b"x" * 60), 60))
    with pytest.raises(DataError, match="more than 2 files"):
        asyncio.run(brought.take(word, "c", unread(), 1))
    word = brought.ticket(9, 100)
    asyncio.run(brought.take(word, "a", pieces(b"x" * 60), 60))
    with pytest.raises(DataError, match="more than 0 MB"):
        asyncio.run(brought.take(word, "b", unread(), 41))
    with pytest.raises(DataError, match="more than 0 MB"):
        asyncio.run(brought.take(word, "b", pieces(b"x" * 30, b"x" * 11), 1))  # more than was said
    monkeypatch.setattr(uploads, "MOST_GATHERED", 150)
    with pytest.raises(DataError, match="try again in a minute"):
        asyncio.run(brought.take(brought.ticket(), "a", unread(), 1))
    monkeypatch.setattr(uploads, "MOST_GATHERED", 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=uploads.LEFT_FREE + 9))
    with pytest.raises(DataError, match="the disk is nearly full"):
        asyncio.run(brought.take(brought.ticket(), "a", unread(), 10))


def test_what_is_brought_follows_no_link_and_ends_with_its_word(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "up").symlink_to(tmp_path / "other")
    linked = Uploads(tmp_path / "up")
    with pytest.raises(ConfigError, match="is a link to another place"):
        asyncio.run(linked.take(linked.ticket(), "a", unread()))
    assert not list((tmp_path / "other").iterdir())
    brought = Uploads(tmp_path / "mine")
    word = brought.ticket()

    async def left() -> AsyncIterator[bytes]:
        yield b"x"
        brought.drop(word)  # the page is closed
        yield b"y"

    with pytest.raises(ConfigError, match="load it again"):
        asyncio.run(brought.take(word, "a", left()))


def test_what_came_to_a_studio_that_was_killed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what another studio over the same runs gathers just now, what is kept, or what a link leads to."""
    killed = Uploads(tmp_path / "up")
    asyncio.run(killed.take(killed.ticket(), "a/b.png", pieces(b"x")))
    asyncio.run(killed.take(word := killed.ticket(), "b.png", pieces(b"y")))
    kept = killed.keep(word)
    (tmp_path / "other").mkdir()
    (tmp_path / "up" / f".{'l' * 22}").symlink_to(tmp_path / "other")
    (tmp_path / "up" / ".mine").mkdir()

    def hidden() -> list[str]:
        return sorted(path.name for path in (tmp_path / "up").glob(".*"))

    before = hidden()

    def opened() -> None:
        other = Uploads(tmp_path / "up")
        asyncio.run(other.take(word := other.ticket(), "a", pieces(b"z")))
        other.read(word)

    opened()
    assert hidden() == before
    later = time.time() + 2 * 24 * 3600
    monkeypatch.setattr(uploads.time, "time", lambda: later)
    opened()
    assert hidden() == [f".{'l' * 22}", ".mine"]
    assert kept.read_bytes() == b"y"
    assert (tmp_path / "other").is_dir()


def test_a_studio_starts_a_few_trainings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = 0

    def start(*words: Any) -> int:
        nonlocal at_work
        at_work += 1
        return 1

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(jobs, "go_on", start)
    monkeypatch.setattr(jobs, "started", lambda: at_work)
    (tmp_path / "paused").mkdir()
    here = Studio(tmp_path)
    for _ in range(state.MOST_TRAININGS - 1):
        here.train("gan", "digits", [])
    here.go_on("paused")
    for ask in (lambda: here.train("gan", "digits", []), lambda: here.go_on("paused")):
        with pytest.raises(ConfigError, match="8 trainings of this studio run already, the most at once: pause"):
            ask()
    assert at_work == state.MOST_TRAININGS
    at_work -= 1
    here.go_on("paused")


def test_a_run_is_measured_once_at_a_time_and_few_together(tmp_path: Path) -> None:
    here = Studio(tmp_path)
    with here.measuring("a"):
        with pytest.raises(ConfigError, match="'a' is being measured already"), here.measuring("a"):
            pass
        with here.measuring("b"), pytest.raises(ConfigError, match="2 runs are being measured"), here.measuring("c"):
            pass
        with here.measuring("c"):
            pass
