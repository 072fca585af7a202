"""Damaged files of further formats are read or refused in words: cut off, with bits turned, with numbers too large."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.sources import hdf5_trial
from saddlepoint.data.sources.paths import path_source
from saddlepoint.data.tables.grids import read_grid
from tests.unit.data_helpers import own_cache  # noqa: F401
from tests.unit.format_files import FILES, read_whole

COUNT = 200


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file off, turn bits of it, or overwrite some bytes with extreme ones."""
    kind, place = rng.integers(3), int(rng.integers(len(data)))
    if kind == 0:
        return data[:place]
    changed = bytearray(data)
    if kind == 1:
        for at in rng.integers(len(data), size=rng.integers(1, 5)):
            changed[at] ^= 1 << int(rng.integers(8))
    else:
        changed[place : place + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][rng.integers(3)]
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path, name: str) -> None:
    file, write = FILES[name]
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole" / file)
    assert read_whole(tmp_path / "whole" / file) > 0
    data, rng = (tmp_path / "whole" / file).read_bytes(), np.random.default_rng(7)
    told = []
    for i in range(COUNT):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / file).write_bytes(damaged(data, rng))
        try:
            read_whole(folder / file)
        except OpenQuestion as question:
            told.append(question.question)
        except DataError as error:
            told.append(str(error))
    assert len(told) > COUNT / 20
    assert [words for words in told if str(tmp_path) not in words or "\n" in words] == []


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("import time; print('ready', flush=True); time.sleep(60)", "not through after 0.2 s"),
        ("import os; print('ready', flush=True); os.kill(os.getpid(), 9)", "died of signal 9"),
    ],
)
def test_an_hdf5_file_that_stops_its_reader_stops_another_process(
    code: str, ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, one damaged file in some thousands kept HDF5's code busy for ever, and Ctrl-C did not help."""
    name, write = FILES["HDF5"]
    write(tmp_path / name)
    monkeypatch.setattr(hdf5_trial, "PATIENCE", 0.2)
    monkeypatch.setattr(hdf5_trial, "LOOK", code)
    with pytest.raises(DataError, match=ended):
        hdf5_trial.look_first(tmp_path / name)
    monkeypatch.setenv("SADDLEPOINT_LIMITS", "off")
    hdf5_trial.look_first(tmp_path / name)


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="the system has no alarms")
def test_the_other_process_ends_where_nobody_waits_for_it(tmp_path: Path) -> None:
    name, write = FILES["HDF5"]
    write(tmp_path / name)
    endless = hdf5_trial.LOOK + "\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", endless, str(tmp_path / name), "1"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGALRM


@pytest.mark.parametrize(
    ("kind", "read"),
    [("HDF5", path_source), ("NetCDF", read_grid)],
)
def test_every_reader_of_hdf5_looks_first(
    kind: str, read: Callable[[Path, Options], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, write = FILES[kind]
    write(tmp_path / name)
    hdf5_trial.look_first(tmp_path / name)
    monkeypatch.setattr(hdf5_trial, "in_a_process", lambda path: f"died of {path.name}")
    with pytest.raises(DataError, match=f"died of {name}"):
        read(tmp_path / name, Options())


def test_several_files_are_looked_at_by_one_process_and_the_bad_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[tuple[str, ...]]()

    def look(*paths: Path) -> str:
        looks.append(tuple(path.name for path in paths))
        return "died of b.h5" if tmp_path / "b.h5" in paths else ""

    monkeypatch.setattr(hdf5_trial, "in_a_process", look)
    hdf5_trial.look_first(tmp_path / "a.h5", tmp_path / "c.h5")
    assert looks == [("a.h5", "c.h5")]
    with pytest.raises(DataError, match=r"b\.h5 cannot be read as HDF5 \(its reader died of b\.h5\)"):
        hdf5_trial.look_first(tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "c.h5")
    assert looks[1:] == [("a.h5", "b.h5", "c.h5"), ("a.h5",), ("b.h5",)]


def test_a_damaged_file_before_others_does_not_hide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, write = FILES["HDF5"]
    write(tmp_path / name)
    (tmp_path / "first.h5").write_bytes(b"no HDF5")
    assert hdf5_trial.in_a_process(tmp_path / "first.h5", tmp_path / name) == ""
    stops = hdf5_trial.LOOK.replace("look(file)", "sys.exit() if len(files) == 1 else signal.raise_signal(9)")
    monkeypatch.setattr(hdf5_trial, "LOOK", stops)
    assert hdf5_trial.in_a_process(tmp_path / "first.h5", tmp_path / name) == "died of signal 9"
