"""Run folders and exports from elsewhere: whatever lies in them, commands end soon, and nothing outside is touched."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saddlepoint
from saddlepoint import api, jobs, shelf
from saddlepoint._errors import CheckpointError, SaddlepointError
from saddlepoint.data.series.layout import layout_from_json
from saddlepoint.engine import folder as run_folder
from saddlepoint.engine import tensors
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.remedies import finish_announced
from saddlepoint.engine.state import read_checkpoint, write_checkpoint
from saddlepoint.engine.tensors import read_header
from saddlepoint.evaluate import kept_report, read_results
from saddlepoint.export import kept, sample
from tests.cli.test_cli import Command, saddle  # noqa: F401

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
def _soon() -> Iterator[None]:
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


# --- single guards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "log.jsonl", "process.log", ".measuring"])
def test_nothing_is_written_through_a_link(
    name: str, run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ada098a the lock was truncated where the link led, and the other files grew there."""
    replaced(run / name, lambda path: path.symlink_to(outside / "file"))
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail("a process was started"))
    folder = RunFolder(run)
    refused = pytest.raises((CheckpointError, OSError), match="link")
    if name == ".lock":
        with refused, folder.locked():
            pass
    elif name == "log.jsonl":
        with refused:
            folder.append_log({"step": 1})
        folder.truncate_log(2)  # the link gives way to a file
        assert not (run / name).is_symlink()
    elif name == "process.log":
        with refused:
            jobs.go_on(run)
    else:
        with folder.measured() as note:
            note("fd")


LINKED = ["checkpoints", "healthy", "samples", "remedies", "report", "pictures"]


@pytest.mark.parametrize("name", LINKED)
def test_a_linked_folder_in_a_run_is_neither_cleaned_nor_written(name: str, run: Path, outside: Path) -> None:
    """At ada098a checkpoints and pictures of later steps were removed where the link led."""
    replaced(run / name, lambda path: path.symlink_to(outside / "folder"))
    folder = RunFolder(run)
    for use in (lambda: folder.recover(print), lambda: folder.own(name), folder.refuse_links):
        with pytest.raises(CheckpointError, match=f"{name}' .*link to another place"):
            use()
    folder.drop_snapshots(0)
    with pytest.raises(CheckpointError, match="link"):
        saddlepoint.resume(run, steps=5)


def test_a_checkpoint_is_not_written_through_a_link(tmp_path: Path, made: Path, outside: Path) -> None:
    checkpoint = read_checkpoint(made / "checkpoints" / "step00000003")
    (tmp_path / "checkpoints").symlink_to(outside / "folder")
    with pytest.raises(CheckpointError, match="link to another place"):
        write_checkpoint(tmp_path / "checkpoints", checkpoint, keep=1)


def test_a_picture_replaces_a_link_and_leaves_what_it_led_to(run: Path, outside: Path) -> None:
    """At ada098a Pillow wrote through it, and the half written snapshot had a name that could be foreseen."""
    from saddlepoint import pictures
    from saddlepoint.explore import save_snapshot

    loaded = saddlepoint.load(run)
    place = run / "pictures" / "grid-seed0.png"
    replaced(place, lambda path: path.symlink_to(outside / "file"))
    (run / "samples" / "step00000007.png.tmp").symlink_to(outside / "file")
    assert pictures.draw(loaded, "grid", 10) == place
    save_snapshot(run / "samples", 7, torch.zeros(4, 1, 8, 8))
    assert place.read_bytes()[:4] == b"\x89PNG"
    assert not place.is_symlink()


def test_an_announced_remedy_gives_no_place_to_write_to(run: Path, outside: Path) -> None:
    """At ada098a log lines went to whatever file the announcement named."""
    event = {
        "step": 1, "nimg": 16, "event": "remedy", "number": 1, "verdict": "diverged", "evidence": [], "alarm_nimg": 48,
        "undone": None, "remedy": "rate", "why": "", "changes": {}, "until": 90, "abandoned": str(outside / "file"),
    }  # fmt: skip
    (run / "rollback.json").write_text(json.dumps({"event": event, "seconds": 1.0}))
    with pytest.raises(CheckpointError, match=r"rollback.json' is damaged"):
        finish_announced(RunFolder(run))


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


@pytest.mark.parametrize("name", FILES)
def test_whatever_stands_in_the_place_of_a_file_every_reader_ends(name: str, made: Path, tmp_path: Path) -> None:
    """At ada098a a pipe kept readers waiting for ever, and JSON that is deep or of other kinds ended in a traceback."""
    for kind, plant in PLANTED.items():
        run = Path(shutil.copytree(made, tmp_path / kind.replace(" ", "-") / "run"))
        replaced(run / name, plant)
        with within(60):
            for reader in READERS:
                with contextlib.suppress(SaddlepointError):
                    reader(run)


def _loaded(run: Path) -> None:
    loaded = saddlepoint.load(run)
    assert len(loaded.sample(2)) == 2
    assert str(loaded)


def _log(run: Path) -> None:
    folder = RunFolder(run)
    assert all(isinstance(line, dict) for line in folder.read_log())
    saddlepoint.engine.doctor.diagnose(folder.read_log())


def _figures(run: Path) -> None:
    from saddlepoint.serve.studio.figures import limits_of, results_of, verdict_of

    verdict_of(results_of(run))
    limits_of(run)


def _pictures(run: Path) -> None:
    from saddlepoint.serve.studio.thumbnails import thumbnail

    for path in run_folder.snapshots_in(run / "samples").values():
        with contextlib.suppress(OSError):
            thumbnail(path)


READERS: list[Callable[[Path], object]] = [
    lambda run: _loaded(run),
    lambda run: api.plan_to_resume(run),
    lambda run: finish_announced(RunFolder(run)),
    lambda run: shelf.runs(run.parent),
    lambda run: shelf.Shelf(run.parent).entry(run.name),
    lambda run: RunFolder(run).trainer(),
    lambda run: RunFolder(run).last_trainer(),
    lambda run: RunFolder(run).measuring(),
    lambda run: jobs.is_training(run, patience=0.1),
    lambda run: jobs.output(run),
    lambda run: kept_report(run / "report"),
    lambda run: saddlepoint.engine.standing.standing_of(RunFolder(run)),
    _log, _figures, _pictures,
]  # fmt: skip


def test_of_a_huge_log_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MOST_LOG", 1000)
    folder = RunFolder(tmp_path)
    for step in range(200):
        folder.append_log({"step": step, "nimg": step})
    steps = [line["step"] for line in folder.read_log()]
    assert steps == list(range(steps[0], 200))
    assert 20 < len(steps) < 50
    monkeypatch.setattr(run_folder, "_MOST_LINE", 30)
    folder.append_log({"step": 200, "nimg": 1, "what": "x" * 100})
    assert folder.read_log()[-1]["step"] == 199


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


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: str(line)[:50])
def test_a_line_of_the_log_that_cannot_be_is_left_out(line: dict[str, Any], tmp_path: Path) -> None:
    good = {"step": 1, "nimg": 16, "V": -1.2, "timing": {"seconds": 0.5}, "loss/D": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(line) + "\n")
    assert RunFolder(tmp_path).read_log() == [good]


# --- the process that a lock names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "end"), [(".lock", jobs.pause), (".measuring", jobs.stop_measuring)])
def test_a_process_that_a_lock_names_and_that_is_at_something_else_is_left_alone(
    name: str, end: Callable[[Path], None], tmp_path: Path
) -> None:
    """At ada098a the number in the file got the signal."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with open(tmp_path / name, "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write(f"{bystander.pid} {socket.gethostname()}\n")
            held.flush()
            with pytest.raises(CheckpointError, match=f"process {bystander.pid}, which is not at work on it"):
                end(tmp_path)
        time.sleep(0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_process_that_holds_the_lock_gets_the_signal(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, socket, sys, time\n"
        "held = open(sys.argv[1], 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "print(os.getpid(), socket.gethostname(), file=held, flush=True)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            jobs.pause(tmp_path)
            assert holder.wait(30) == -signal.SIGTERM
        finally:
            holder.kill()


# --- what a configuration and a checkpoint may say --------------------------------------------------------------------

HUGE = 10**9
NAMES: list[Any] = [7, None, "", "x" * 201, "a\nb", "\x1b[2J", "\x00", "\u2028", ["a"], {}]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_class_is_called_by_a_text_of_one_line(name: Any, run: Path) -> None:
    """At ada098a any JSON value was a name."""
    changed(run / "config.json", lambda kept: kept["data"]["classes"].__setitem__(3, name))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        saddlepoint.load(run)


def test_classes_may_be_called_by_words_of_any_script(run: Path) -> None:
    names = [
        "\u0634\u064e\u062c\u0631",
        "\u05e7\u05d5\u200f\u05df",
        "\u0e19\u0e01",
        "\u6728",
        "a/b",
        "<b>",
        "x" * 200,
        "e\u0301",
        "z\u200dz",
        " ",
    ]
    changed(run / "config.json", lambda kept: kept["data"].update(classes=names))
    assert saddlepoint.load(run).family.data.classes == tuple(names)


@pytest.mark.parametrize("classes", ["0123456789", {}, 3], ids=str)
def test_classes_are_a_list(classes: Any, run: Path) -> None:
    changed(run / "config.json", lambda kept: kept["data"].update(classes=classes))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        saddlepoint.load(run)


ENTRIES = [
    *((name, ()) for name in ("family", "preset", "options", "settings", "data", "device", "threads", "machine")),
    *((name, ("data",)) for name in ("source", "name", "fingerprint", "modality", "shape", "classes", "rows")),
    *((name, ("data",)) for name in ("shares", "static", "labelling", "reading", "options", "look", "total")),
    *((name, ("settings",)) for name in ("seed", "steps", "kimg", "seconds", "keep", "snapshot_samples", "remedy")),
    *((name, ("options",)) for name in ("batch_size", "generator_widths", "lr", "latent_size")),
]


@pytest.mark.parametrize(("name", "inside"), ENTRIES, ids=str)
def test_an_entry_of_another_kind_is_refused_in_words(
    name: str, inside: tuple[str, ...], made: Path, tmp_path: Path
) -> None:
    """At ada098a several of them ended in a traceback, in one command or another."""
    values: list[Any] = [None, 10**400, -1, "x", [[[]]], {"a": 1}, "\x1b[31m" * 2000, HUGE]
    for number, value in enumerate(values):
        run = tmp_path / str(number) / "run"
        shutil.copytree(made, run)

        def put(kept: dict[str, Any], value: Any = value) -> None:
            for part in inside:
                kept = kept[part]
            kept[name] = value

        changed(run / "config.json", put)
        for reader in READERS[:4]:
            with contextlib.suppress(SaddlepointError):
                reader(run)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/hosts", "model.safetensors/..", "extra.safetensors", ""]
)
def test_a_checkpoint_names_its_own_files_only(name: str, run: Path) -> None:
    """At ada098a names could be paths."""
    state = run / "checkpoints" / "step00000003" / "state.json"
    kept = json.loads(state.read_text())
    del kept["digest"]
    kept["sha256"][name] = "0" * 64
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    state.write_text(json.dumps({**kept, "digest": digest}))
    with pytest.raises(CheckpointError, match="which none has"):
        read_checkpoint(state.parent)


def safetensors(entries: dict[str, Any], size: int = 0) -> bytes:
    """Return a file of these entries, with so many bytes after its header."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "empty": b"",
    "short": b"\x00" * 7,
    "longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "no list": safetensors([]),  # type: ignore[arg-type]
    "deep": struct.pack("<Q", 4000) + b"[" * 2000 + b"]" * 2000,
    "more than the file": safetensors({"w": entry([2**40], 0, 2**42)}),
    "less than the file": safetensors({"w": entry([1], 0, 4)}, 8),
    "shape and place differ": safetensors({"w": entry([3], 0, 8)}, 8),
    "overlap": safetensors({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8),
    "gap": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12),
    "negative": safetensors({"a": entry([-1], 0, -4)}),
    "no number": safetensors({"a": entry([2.0], 0, 8)}, 8),
    "truth": safetensors({"a": entry([True], 0, 4)}, 4),
    "other type": safetensors({"a": entry([2], 0, 8, "PY_OBJECT")}, 8),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_is_held_against_its_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(ValueError, match=r"its|nested"):
        read_header(tmp_path / "model.safetensors")


def test_a_file_with_holes_beyond_the_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At ada098a its checksum was made first, which takes an hour for a file that takes a kilobyte on the disk."""
    monkeypatch.setattr(tensors, "usable_memory", lambda: 10**9)
    (tmp_path / "model.safetensors").write_bytes(safetensors({"w": entry([2**29], 0, 2**31)}))
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) + 2**31)
    with pytest.raises(ValueError, match="2 GB, more than the 1 GB of memory here"):
        read_header(tmp_path / "model.safetensors")


def test_networks_of_a_run_that_goes_on_are_about_as_large_as_its_checkpoint(run: Path) -> None:
    """At ada098a they took whatever the configuration asked for."""
    changed(run / "config.json", lambda kept: kept["options"].update(generator_widths=[20_000, 20_000]))
    with pytest.raises(CheckpointError, match="far larger than the weights"):
        saddlepoint.resume(run, steps=5)


def test_a_remedy_of_the_log_asks_for_no_larger_networks(run: Path) -> None:
    line = {
        "step": 1, "nimg": 16, "event": "remedy", "number": 1, "verdict": "diverged", "evidence": [], "alarm_nimg": 48,
        "undone": None, "remedy": "rate", "why": "", "changes": {"generator_widths": [20_000, 20_000]}, "until": 90,
        "abandoned": "remedies/01.jsonl",
    }  # fmt: skip
    (run / "log.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(CheckpointError, match="far larger than the weights"):
        saddlepoint.resume(run, steps=5)


@pytest.mark.parametrize("change", ["shape", "name", "statistics", "type", "nimg"])
def test_a_state_of_other_networks_is_refused_in_words(change: str, run: Path) -> None:
    """At ada098a momenta of any shape and name were taken over, and training ended in a traceback."""
    kept = read_checkpoint(run / "checkpoints" / "step00000003")
    parts = {name: dict(part) for name, part in kept.tensors.items()}
    training, facts = parts["training"], dict(kept.facts)
    momentum = next(name for name in training if name.startswith("optimizer") and not name.endswith("/step"))
    if change == "shape":
        training[momentum] = torch.zeros(3)
    elif change == "name":
        training[momentum + "_more"] = training[momentum].clone()
    elif change == "statistics":
        training["statistics/loss"] = torch.zeros(3)
    elif change == "type":
        parts["model"] = {name: x.double() if x.is_floating_point() else x for name, x in parts["model"].items()}
    else:
        facts["nimg"] = 10**9
    shutil.rmtree(run / "checkpoints")
    write_checkpoint(run / "checkpoints", type(kept)(kept.step, parts, facts), keep=1)
    with pytest.raises(CheckpointError, match=r"checkpoint's|belongs to"):
        saddlepoint.resume(run, steps=5)


COLUMN: dict[str, Any] = {"name": "x", "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    "columns",
    [
        [{**COLUMN, "low": "0"}],
        [{**COLUMN, "high": float("inf")}],
        [{**COLUMN, "decimals": 10**6}],
        [{**COLUMN, "step": 0}],
        [{**COLUMN, "values": 7}],
        [{**COLUMN, "name": []}],
        [{**COLUMN, "range": [1]}],
        [{**COLUMN, "above": ["y"], "range": [0, 1]}],
        [{**COLUMN, "above": ["y"], "range": [0, 1]}, {**COLUMN, "name": "y", "above": ["x"], "range": [0, 1]}],
    ],
    ids=str,
)
def test_a_kept_column_is_one_that_values_can_be_of(columns: list[dict[str, Any]]) -> None:
    """At ada098a two columns above each other let whoever wrote samples wait for ever, or end in a traceback."""
    kept = {"columns": columns, "order": ["x"], "clock": None, "label": None}
    with pytest.raises(SaddlepointError, match="damaged"):
        layout_from_json(kept)


ODD_FIGURES: list[Callable[[dict[str, Any]], object]] = [
    lambda kept: kept["rows"][0].update(value=10**400),
    lambda kept: kept["rows"][0].update(interval=[1.0]),
    lambda kept: kept["rows"][0].update(interval=3),
    lambda kept: kept["metrics"][0].update(digits=10**9),
    lambda kept: kept["metrics"][0].update(better="best"),
    lambda kept: kept.update(rows=7),
    lambda kept: kept.update(more=1),
]


@pytest.mark.parametrize("change", ODD_FIGURES, ids=range(len(ODD_FIGURES)))
def test_kept_figures_that_cannot_be_are_refused(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    row = {
        "metric": "distance", "row": "g", "value": 1.0, "standard_error": None, "interval": None, "role": "model",
        "details": {},
    }  # fmt: skip
    kept: dict[str, Any] = {
        "protocol": "fd1k_x_test", "summary": "", "verdict": "", "data": "digits", "fingerprint": "a", "seed": 0,
        "version": 1, "seconds": 1.0, "metrics": [{"name": "distance", "better": "lower", "unit": "", "digits": 2}],
        "rows": [row],
    }  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(kept))
    assert read_results(path)[0].rows[0].value == 1.0
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(SaddlepointError, match="cannot be read"):
        read_results(path)


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "/".join("x" * 200 for _ in range(40))], ids=len)
def test_a_name_in_an_address_that_no_file_can_have_is_no_run(name: str, tmp_path: Path) -> None:
    """At ada098a a long one was a traceback."""
    assert shelf.Shelf(tmp_path).path(name) is None


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- exports ----------------------------------------------------------------------------------------------------------


def onnx_file(place: str, where: str = "initializer") -> bytes:
    """Return a small graph that has its numbers in another file, as a weight, in an attribute, or in a branch."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    if place:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
    else:
        tensor.raw_data = bytes(16)
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if where != "initializer":
        nodes = [helper.make_node("Constant", [], ["w"], value=tensor), *nodes]
    graph = helper.make_graph(nodes, "g", [given], [made], [tensor] if where == "initializer" else [])
    if where == "branch":
        inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "b", [], [made])
        chosen = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph([node], "g", [chosen], [made])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


@pytest.mark.parametrize("where", ["initializer", "attribute", "branch"])
def test_a_graph_with_numbers_in_another_file_is_found_out(where: str) -> None:
    assert not sample.reads_other_files(onnx_file("", where))
    for place in ("other.bin", "../home/file", "/etc/hostname"):
        assert sample.reads_other_files(onnx_file(place, where))


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x07", b"\x3b", b"\x38\x01", b"<html>"])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        sample.reads_other_files(content)


@pytest.mark.parametrize("kind", ["own", "other file", "pipe"])
def test_a_foreign_export_reads_nothing_but_its_own_graphs(kind: str, tmp_path: Path) -> None:
    """At ada098a onnxruntime was left to decide, and a pipe was waited for."""
    content = onnx_file("elsewhere.bin" if kind == "other file" else "")
    (tmp_path / "elsewhere.bin").write_bytes(bytes(16))
    spec = {
        "modality": "vector", "classes": [], "shares": [],
        "graphs": [
            {"name": "model", "file": "model.onnx", "sha256": sum_of(content), "half": None, "inputs": []}
        ],
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(spec))
    replaced(tmp_path / "model.onnx", os.mkfifo if kind == "pipe" else lambda path: path.write_bytes(content))
    if kind == "own":
        assert list(sample.Generator(tmp_path).graphs) == ["model"]
        return
    with within(20), pytest.raises(ValueError, match=r"in another file|no file, but a pipe"):
        sample.Generator(tmp_path)


@pytest.mark.parametrize("name", ["../../home/file", "/etc/hostname", "model.json", "a/b.onnx", "model.onnx"])
def test_graphs_of_an_earlier_export_are_taken_from_it_alone(
    name: str, run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ada098a a path was copied from where it led to where it led."""
    place = run / kept.PLACE
    place.mkdir()
    shutil.copy(outside / "file", place / "model.onnx")
    graph = {"file": name, "sha256": sum_of(THEIRS), "half": None}
    (place / "model.json").write_text(json.dumps({"identity": "this", "parity": {}, "graphs": [graph]}))
    found = kept.earlier(saddlepoint.load(run), "this")
    assert (found is not None) == (name == "model.onnx")


def test_an_export_in_a_cache_of_links_is_loaded(made: Path, tmp_path: Path) -> None:
    """The hub's snapshots are links to files that are called by what they hold."""
    from saddlepoint.export import export_run

    blobs = export_run(made, "safetensors", tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in blobs.iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert torch.equal(saddlepoint.load(tmp_path / "snapshot").sample(3), saddlepoint.load(blobs).sample(3))
    with pytest.raises(CheckpointError, match="is an export"):
        saddlepoint.resume(tmp_path / "snapshot")


# --- every command ----------------------------------------------------------------------------------------------------


def odd_around(run: Path, outside: Path) -> None:
    """A run that can be loaded, with everything odd that can lie around it."""
    changed(run / "config.json", _odd_names)
    (run / "status.json").write_text('{"state": "running", "seconds": NaN, "nimg": 1e999, "reason": ["x"]}')
    lines = [*ODD_LINES, {"step": 3, "nimg": 48, "V": -1.0, "verdict": "no trouble seen", "pad": "x" * 5_000_000}]
    (run / "log.jsonl").write_text("[" * 5000 + "\n" + "".join(json.dumps(line) + "\n" for line in lines))
    (run / "tags.json").write_text("[" * 3000 + "]" * 3000)
    (run / ".lock").write_text(f"{os.getppid()} {socket.gethostname()}\n")
    for name in (".measuring", "report/metrics.jsonl", "samples/step00000003.png", "process.json"):
        replaced(run / name, os.mkfifo)
    linked = ("process.log", "remedies.json", "report/index.html", "report/summary.json", "samples/step00000009.png")
    for name in (*linked, "pictures/grid-seed0.png", "pictures/directions-seed0.png", "pictures/seeds-0-3.png"):
        replaced(run / name, lambda path: path.symlink_to(outside / "file"))
    for name in ("export-onnx", "export-safetensors", "export-hub", "checkpoints/step00000009"):
        replaced(run / name, lambda path: path.symlink_to(outside / "folder"))
    (run / "checkpoints" / "step99999999999999").write_text("a file")


def _odd_names(kept: dict[str, Any]) -> None:
    names = ["../../home/file", "<script>alert(1)</script>", "a|b`c", "-rf", "$(x)", "'", '"', "%s", "~", "\\"]
    kept["data"].update(classes=names)
    kept["machine"] = {"processor": "</td>\x1b[2J", "torch": [1]}
    kept["data"]["reading"] = [{"topic": "size", "says": "<b>", "why": "\x1b[2J"}]
    kept["unknown"] = {"__class__": "os.system"}


def linked_folders(run: Path, outside: Path) -> None:
    """A run whose own folders lead elsewhere."""
    os.rename(run / "checkpoints", outside.parent / "checkpoints")
    (run / "checkpoints").symlink_to(outside.parent / "checkpoints")
    for name in ("healthy", "samples", "remedies", "report", "pictures", "export-onnx", "export-safetensors"):
        replaced(run / name, lambda path: path.symlink_to(outside / "folder"))


def odd_within(run: Path, outside: Path) -> None:
    """A run that is not what its files say."""
    changed(run / "config.json", lambda kept: kept["data"].update(shape=[HUGE, "x"], rows=float("nan"), classes=[{}]))
    changed(run / "config.json", lambda kept: kept["options"].update(batch_size=10**400, lr=float("inf")))
    replaced(run / "log.jsonl", os.mkfifo)
    replaced(run / "rollback.json", lambda path: path.symlink_to("/dev/zero"))
    replaced(run / ".lock", lambda path: path.symlink_to(outside / "file"))
    replaced(run / "checkpoints" / "step00000003" / "model.safetensors", os.mkfifo)


def all_linked(run: Path, outside: Path) -> None:
    """A run of links alone."""
    for path in list(run.rglob("*")):
        if path.is_file():
            replaced(path, lambda path: path.symlink_to(outside / "file"))


COMMANDS = [
    ["sample", "RUN"],
    ["sample", "RUN", "--picture", "filmstrip"],
    ["sample", "RUN", "--seeds", "0-3"],
    ["sample", "RUN", "--label", "0", "-n", "4", "--format", "png"],
    ["explore", "RUN"],
    ["evaluate", "RUN", "--protocol", "fd", "--threads", "1"],
    ["compare", "RUN", "RUN"],
    ["runs", "--runs", "runs"],
    ["runs", "--runs", "runs", "--json"],
    ["runs", "tag", "theirs", "good", "--runs", "runs"],
    ["export", "RUN", "--format", "safetensors"],
    ["export", "RUN", "--format", "hub"],
    ["export", "RUN", "--format", "safetensors", "--out", "exported"],
    ["translate", "RUN", "picture.png", "--to", "0", "--out", "translated"],
    ["train", "--resume", "RUN", "--dry-run"],
    ["train", "--resume", "RUN", "--steps", "5", "--no-report", "--threads", "1"],
    ["runs", "rename", "theirs", "ours", "--runs", "runs"],
    ["runs", "remove", "ours", "--yes", "--runs", "runs"],
]  # fmt: skip


@pytest.mark.parametrize("make", [odd_around, linked_folders, odd_within, all_linked])
def test_every_command_ends_soon_and_leaves_alone_what_is_elsewhere(
    make: Callable[[Path, Path], None],
    run: Path,
    outside: Path,
    saddle: Command,  # noqa: F811
) -> None:
    """At ada098a several of them waited for ever, ended in a traceback, or wrote where a link led."""
    make(run, outside)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        if (run / ".lock").is_file() and not (run / ".lock").is_symlink():
            (run / ".lock").write_text(f"{bystander.pid} {socket.gethostname()}\n")
        for words in COMMANDS:
            with within(60):
                code, _, err = saddle(*(word.replace("RUN", "runs/theirs") for word in words))
            assert code in (0, 2), (words, err)
            assert "Traceback" not in err
        assert bystander.poll() is None
        assert list(Path("runs").iterdir()) == []
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("make", [odd_around, linked_folders, odd_within, all_linked])
def test_the_server_and_the_shelf_take_a_foreign_run_or_refuse_it(
    make: Callable[[Path, Path], None], run: Path, outside: Path
) -> None:
    from saddlepoint.service import Service

    make(run, outside)
    with within(60):
        for reader in READERS:
            with contextlib.suppress(SaddlepointError):
                reader(run)
        for backend in ("torch", "onnx"):
            with contextlib.suppress(SaddlepointError):
                Service(saddlepoint.load(run), backend, batch=4).rows(2)
