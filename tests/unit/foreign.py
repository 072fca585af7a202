"""A run as somebody might send it, and what may lie in its place: for tests of foreign runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.core.files import snapshots_in
from saddlepoint.engine.doctor.remedies import finish_announced
from saddlepoint.engine.doctor.verdict import diagnose
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.evaluation import kept_report
from saddlepoint.run import api, index, jobs

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
THEIRS = b"a file of the user's, elsewhere\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for a moment; points need no classifier and no pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        path = tmp_path_factory.mktemp("made") / "run"
        saddlepoint.train("cgan", data="digits", steps=3, options=OPTIONS, threads=1, out=path)
        return path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run, as somebody might send it."""
    return Path(shutil.copytree(made, tmp_path / "runs" / "theirs"))


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's beside the run, which must be the same, byte for byte, after the test."""
    place = tmp_path / "home"
    (place / "folder").mkdir(parents=True)
    for name in ("file", "folder/step00000009.png", "folder/log"):
        (place / name).write_bytes(THEIRS)
    before = contents(place)
    yield place
    assert contents(place) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, and what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """Let a test fail that would wait for ever."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    with within(240):
        yield


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file says."""
    kept = json.loads(path.read_text())
    kept = change(kept) or kept
    path.write_text(json.dumps(kept))


PLANTED: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "deep": lambda path: path.write_text("[" * 200_000 + "]" * 200_000),
    "less deep": lambda path: path.write_text('{"a":' * 700 + "1" + "}" * 700),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 100),
    "other JSON": lambda path: path.write_text('{"step": 1e999, "nimg": [], "event": {}, "graphs": 3, "state": []}'),
    "long number": lambda path: path.write_text('{"step": ' + "9" * 4000 + ', "nimg": ' + "9" * 4000 + "}"),
}
FILES = [
    "config.json", "status.json", "log.jsonl", "process.log", "process.json", ".lock", ".measuring", "tags.json",
    "report/metrics.jsonl", "report/summary.json", "rollback.json", "checkpoints/step00000003/state.json",
    "checkpoints/step00000003/model.safetensors", "samples/step00000003.png", "export-onnx/model.json",
]  # fmt: skip


def _loaded(run: Path) -> None:
    loaded = saddlepoint.load(run)
    assert len(loaded.sample(2)) == 2
    assert str(loaded)


def _log(run: Path) -> None:
    folder = RunFolder(run)
    assert all(isinstance(line, dict) for line in folder.read_log())
    diagnose(folder.read_log())


def _figures(run: Path) -> None:
    from saddlepoint.serve.studio.figures import limits_of, results_of, verdict_of

    verdict_of(results_of(run))
    limits_of(run)


def _pictures(run: Path) -> None:
    from saddlepoint.serve.studio.thumbnails import thumbnail

    for path in snapshots_in(run / "samples").values():
        with contextlib.suppress(OSError):
            thumbnail(path)


READERS: list[Callable[[Path], object]] = [
    lambda run: _loaded(run),
    lambda run: api.plan_to_resume(run),
    lambda run: finish_announced(RunFolder(run)),
    lambda run: index.runs(run.parent),
    lambda run: index.RunIndex(run.parent).entry(run.name),
    lambda run: RunFolder(run).trainer(),
    lambda run: RunFolder(run).last_trainer(),
    lambda run: RunFolder(run).measuring(),
    lambda run: jobs.is_training(run, timeout=0.1),
    lambda run: jobs.output(run),
    lambda run: kept_report(run / "report"),
    lambda run: standing_of(RunFolder(run)),
    _log, _figures, _pictures,
]  # fmt: skip


ODD_LINES: list[dict[str, Any]] = [
    {"step": 10**400, "nimg": 1},
    {"step": -1, "nimg": 1},
    {"step": True, "nimg": 1},
    {"step": 1, "nimg": 1, "V": "low"},
    {"step": 1, "nimg": 1, "signs": {"distance": "near"}},
    {"step": 1, "nimg": 1, "timing": 3},
    {"step": 1, "nimg": 1, "event": []},
    {"step": 1, "nimg": 1, "event": "remedy", "number": 1},
    {"step": 1, "nimg": 1, "event": "threads", "threads": "all"},
    {"step": 1, "nimg": 1, "verdict": ["x"]},
]


HUGE = 10**9
