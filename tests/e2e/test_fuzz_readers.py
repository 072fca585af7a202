"""Every reader before damaged files; and the rules can be broken."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from tests.e2e import fuzzing
from tests.e2e.fuzzing import fuzz
from tests.e2e.readers import READERS, Reader

forks = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="readers work in forked processes, on Linux")


@forks
@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    found = fuzz(READERS[name], 150, 7, tmp_path)
    assert found.problems == []
    assert found.count == 150


def _write(folder: Path) -> None:
    (folder / "x").write_text(json.dumps({"a": 1, "b": [2, 3]}))


def _careful(folder: Path) -> object:
    try:
        return json.loads((folder / "x").read_bytes())["b"][0]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise DataError(f"damaged: {error}") from error


def _careless(folder: Path) -> object:
    return json.loads((folder / "x").read_bytes())["b"][0]


def _whole(folder: Path) -> bool:
    try:
        return bool(_careful(folder) == 2)
    except DataError:
        return False


def _slow(folder: Path) -> None:
    if not _whole(folder):
        time.sleep(60)


def _greedy(folder: Path) -> None:
    if not _whole(folder):
        # Twice: what was freed before counts as room, too.
        np.ones(2 * fuzzing.MEMORY, np.uint8)


def _dying(folder: Path) -> None:
    if not _whole(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def _importing(folder: Path) -> None:
    if not _whole(folder):
        importlib.import_module("tests.e2e.trap")


def _writing(folder: Path) -> None:
    if not _whole(folder):
        (folder.parent / "outside").write_text("")


def _mute(folder: Path) -> None:
    if not _whole(folder):
        raise DataError("")


@forks
def test_a_careful_reader_keeps_the_rules(tmp_path: Path) -> None:
    found = fuzz(Reader(_write, _careful), 40, 0, tmp_path)
    assert found.problems == []
    assert found.read + found.refused == 40
    assert min(found.read, found.refused) > 0


@forks
@pytest.mark.parametrize(
    ("read", "word"),
    [
        (_careless, "Error"),
        (_slow, "longer than"),
        (_greedy, "MemoryError"),
        (_dying, "the process died"),
        (_mute, "without a word"),
        (_importing, "was imported"),
        (_writing, "outside was written"),
    ],
)
def test_a_broken_rule_is_found(read: object, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "PATIENCE", 1)
    found = fuzz(Reader(_write, read), 4, 0, tmp_path)  # type: ignore[arg-type]
    assert found.count == 4
    assert any(word in problem for problem in found.problems)
