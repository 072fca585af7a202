"""The cache: found again, keyed by content and options, whole or not there, rebuilt when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import saddlepoint
from saddlepoint.data import cache, load, load_dataset, natural_side
from saddlepoint.data.images import decode as images
from saddlepoint.data.images import prepare
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "d", pictures(30), ["a", "b"] * 15)


def _entries(own_cache: Path) -> list[Path]:  # noqa: F811
    return sorted((own_cache / "datasets").iterdir())


def test_second_load_decodes_nothing(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    first = load_dataset(str(folder))
    monkeypatch.setattr(prepare, "_build", None)
    second = load_dataset(str(folder))
    assert second.fingerprint == first.fingerprint
    assert second.notes == first.notes
    assert second.classes == first.classes
    assert isinstance(second.splits["train"].x, np.memmap)
    assert not second.splits["train"].x.flags.writeable
    assert len(_entries(own_cache)) == 1


def test_the_side_of_pictures_is_read_from_their_headers_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixed = [*pictures(20, 16, 3), *pictures(12, 40, 3)]
    folder = write_folder(tmp_path / "mixed", mixed)
    for module in (images, prepare):
        monkeypatch.setattr(module, "decode", None)
    assert natural_side(str(folder)) == 16
    monkeypatch.setattr(load, "survey_side", None)
    assert natural_side(str(folder)) == 16
    write_folder(folder, pictures(40, 40, 3, seed=1))
    with pytest.raises(TypeError):
        natural_side(str(folder))
    monkeypatch.undo()
    assert natural_side(str(folder)) == load_dataset(str(folder)).spec.shape[1] == 40


def test_fingerprint_follows_content_and_options_only(folder: Path, tmp_path: Path) -> None:
    base = load_dataset(str(folder)).fingerprint
    for options in ({"size": 8}, {"channels": 3}):
        assert load_dataset(str(folder), **options).fingerprint != base  # type: ignore[arg-type]
    copy = write_folder(tmp_path / "elsewhere", pictures(30), ["a", "b"] * 15)
    assert load_dataset(str(copy)).fingerprint == base
    other = write_folder(tmp_path / "labels", pictures(30), ["a", "c"] * 15)
    assert load_dataset(str(other)).fingerprint != base


def test_a_changed_file_is_noticed(folder: Path) -> None:
    before = load_dataset(str(folder)).fingerprint
    file = folder / "a" / "0000.png"
    file.write_bytes(png(pictures(1, seed=9)[0]))
    changed = load_dataset(str(folder)).fingerprint
    assert changed != before
    file.write_bytes(png(pictures(30)[0]))
    os.utime(file, ns=(1, 1))
    assert load_dataset(str(folder)).fingerprint == before
    (folder / "a" / "new.png").write_bytes(png(pictures(1, seed=8)[0]))
    assert load_dataset(str(folder)).fingerprint != before


@pytest.mark.parametrize("damage", ["flip", "truncate", "no json", "bad json", "old format", "no labels", "shape"])
def test_damaged_entries_are_rebuilt(folder: Path, own_cache: Path, damage: str) -> None:  # noqa: F811
    first = load_dataset(str(folder))
    expected = np.array(first.splits["train"].x)
    (entry,) = _entries(own_cache)
    meta = entry / "meta.json"
    if damage == "flip":
        data = bytearray((entry / "train.x").read_bytes())
        data[1000] ^= 1
        (entry / "train.x").write_bytes(bytes(data))
    elif damage == "truncate":
        os.truncate(entry / "valid.x", 100)
    elif damage == "no json":
        meta.unlink()
    elif damage == "bad json":
        meta.write_text(meta.read_text()[:100])
    elif damage == "old format":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 0}))
    elif damage == "shape":
        content = json.loads(meta.read_text())
        content["splits"]["test"]["shape"][0] += 1
        meta.write_text(json.dumps(content))
    else:
        (entry / "test.labels").unlink()
    assert cache.read(entry, "x") is None
    again = load_dataset(str(folder))
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.splits["train"].x, expected)
    assert _entries(own_cache) == [entry]


def test_large_arrays_are_checked_by_blocks(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(cache, "_WHOLE", 1000)
    monkeypatch.setattr(cache, "_BLOCK", 100)
    load_dataset(str(folder))
    (entry,) = _entries(own_cache)
    assert json.loads((entry / "meta.json").read_text())["splits"]["train"]["x"].startswith("blocks:")
    assert cache.read(entry, "x") is not None
    os.truncate(entry / "train.x", (entry / "train.x").stat().st_size - 1)
    assert cache.read(entry, "x") is None


def test_nothing_is_left_after_a_failure(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_scatter", stop)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(str(folder))
    assert _entries(own_cache) == []


def test_abandoned_workspaces_are_swept(folder: Path, own_cache: Path) -> None:  # noqa: F811
    old, young = (own_cache / "datasets" / f".build-{n}-x" for n in (1, 2))
    for path in (old, young):
        path.mkdir(parents=True)
    past = time.time() - 10 * 24 * 3600
    os.utime(old, (past, past))
    load_dataset(str(folder))
    assert young.exists()
    assert not old.exists()


def test_loser_of_a_race_uses_the_winners_entry(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    winner = load_dataset(str(folder))
    (entry,) = _entries(own_cache)
    written = (entry / "meta.json").stat().st_mtime_ns
    read = cache.read
    answers = iter([None])
    monkeypatch.setattr(cache, "read", lambda *args: next(answers, "no more") and read(*args))
    loser = load_dataset(str(folder))
    assert loser.fingerprint == winner.fingerprint
    assert (entry / "meta.json").stat().st_mtime_ns == written
    assert _entries(own_cache) == [entry]


def test_processes_preparing_the_same_data_agree_and_import_lightly(folder: Path, own_cache: Path) -> None:  # noqa: F811
    code = f"""
import sys
from saddlepoint.data import load_dataset
heavy = {{"PIL", "pyarrow", "datasets", "sklearn", "huggingface_hub", "pandas"}} & set(sys.modules)
print(load_dataset({str(folder)!r}).fingerprint, *heavy)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(saddlepoint.__path__[0]).parent)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) for _ in range(2)]
    said = [process.communicate(timeout=100)[0].strip() for process in running]
    assert said == [load_dataset(str(folder)).fingerprint] * 2
    assert len(_entries(own_cache)) == 1


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    monkeypatch.delenv("SADDLEPOINT_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "saddlepoint"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_dir() == Path.home() / ".cache" / "saddlepoint"
