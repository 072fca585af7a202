"""The disk that loses what was not synced, and the recorder: against what POSIX promises, case by case."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from saddlepoint.core.durable import flush, make_folder, move_into_place
from saddlepoint.core.files import write_atomically, written
from tests.e2e.campaign.disk import BLOCK, Disk, File, Folder, after_power_loss
from tests.e2e.campaign.recording import Call, apply, read

WAYS = ("nothing", "names", "bytes", "some")


def left(disk: Disk, way: str, seed: int = 0) -> dict[str, bytes | None]:
    """Return what a loss leaves."""
    return {str(path): content for path, content in after_power_loss(disk.top, random.Random(seed), way)}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "kept").write_bytes(b"old")
    return Disk(tmp_path)


def do(disk: Disk, *calls: tuple[str, ...]) -> None:
    for name, *words in calls:
        paths = [word if word.startswith("O_") else str(disk.root / word) for word in words]
        if name == "write":
            paths[1] = words[1]
        arguments = [word.encode() if name != "openat" and i else word for i, word in enumerate(paths)]
        apply(disk, Call(name, tuple(arguments), len(words[1]) if name == "write" else 0))


OPEN = "O_WRONLY|O_CREAT|O_TRUNC"


def test_bytes_need_their_file_and_names_their_folder_synced(disk: Disk) -> None:
    do(disk, ("openat", OPEN, "new"), ("write", "new", "abc"))
    assert left(disk, "nothing") == {"kept": b"old"}
    assert left(disk, "names") == {"kept": b"old", "new": b""}
    do(disk, ("fsync", "new"))
    assert left(disk, "nothing") == {"kept": b"old"}, "the name is not there yet"
    assert left(disk, "names") == {"kept": b"old", "new": b"abc"}
    do(disk, ("fsync", "."))
    for way in WAYS:
        assert left(disk, way) == {"kept": b"old", "new": b"abc"}


def test_a_rename_over_a_file_leaves_the_old_or_the_new_one(disk: Disk) -> None:
    do(disk, ("openat", OPEN, "new"), ("write", "new", "abc"), ("fsync", "new"), ("rename", "new", "kept"))
    found = {left(disk, "some", seed)["kept"] for seed in range(40)}
    assert found == {b"old", b"abc"}
    do(disk, ("fsync", "."))
    assert {tuple(left(disk, way).items()) for way in WAYS} == {(("kept", b"abc"),)}


def test_a_rename_without_its_bytes_leaves_an_empty_file(disk: Disk) -> None:
    do(disk, ("openat", OPEN, "new"), ("write", "new", "abc"), ("rename", "new", "kept"))
    assert left(disk, "names") == {"kept": b""}


def test_what_is_lost_within_a_file_are_blocks_of_zeros() -> None:
    file, data = File(), bytes(range(1, 256)) * 80
    file.write(0, data)
    rng = random.Random(0)
    found = {file.content(lambda of: rng.random() < 0.5) for _ in range(60)}
    assert len(found) > 10
    for content in found:
        for at in range(0, len(content), BLOCK):
            assert content[at : at + BLOCK] in (data[at : at + BLOCK], bytes(len(content[at : at + BLOCK])))


def test_names_removed_may_come_back(disk: Disk) -> None:
    apply(disk, Call("unlink", (str(disk.root / "kept").encode(),), 0))
    assert left(disk, "nothing") == {"kept": b"old"}
    do(disk, ("fsync", "."))
    assert left(disk, "nothing") == {}


def test_a_folder_holds_what_was_synced_in_it_even_if_it_is_renamed() -> None:
    top, inner = Folder(), Folder()
    top.change({"a": inner})
    inner.change({"file": File(b"x")})
    top.change({"a": None, "b": inner})
    top.sync()
    assert [str(path) for path, _ in after_power_loss(top, random.Random(0), "nothing")] == ["b"], "its names are not"
    inner.sync()
    assert [str(path) for path, _ in after_power_loss(top, random.Random(0), "nothing")] == ["b", "b/file"]


def test_every_call_of_a_trace_is_read(tmp_path: Path) -> None:
    """As strace writes them: hexadecimal texts, paths of descriptors, calls that others interrupt, calls that fail."""
    trace = tmp_path / "trace"
    trace.write_text(
        '7 openat(AT_FDCWD<\\x2f\\x74>, "\\x61", O_WRONLY|O_CREAT, 0666) = 3<\\x2f\\x74\\x2f\\x61>\n'
        '7 write(3<\\x2f\\x74\\x2f\\x61>, "\\x00\\x22\\x0a", 3 <unfinished ...>\n'
        '8 unlink("\\x2f\\x62") = -1 ENOENT (No such file or directory)\n'
        "7 <... write resumed>) = 3\n7 +++ exited with 0 +++\n"
    )
    opened, wrote = read(trace)
    assert opened == Call("openat", ("/t", b"a", "O_WRONLY|O_CREAT", "0666", "/t/a"), 3)
    assert wrote == Call("write", ("/t/a", b'\x00"\n', "3"), 3)


def synced_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what is synced from here on, and of what takes a place."""
    seen, real, rename = list[str](), os.fsync, os.replace

    def sync(descriptor: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    def replace(old: Path, new: Path) -> None:
        seen.append(f"-> {Path(new).name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    return seen


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of descriptors are told by Linux only")
def test_contents_are_synced_before_names_and_names_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = synced_by(monkeypatch)
    write_atomically(tmp_path / "a", "text")
    assert [name.partition("-")[0] if name.startswith(".") else name for name in seen] == [".a", "-> a", tmp_path.name]
    seen.clear()
    with written(tmp_path / "b") as place:
        place.write_text("text")
    assert [name.partition("-")[0] if name.startswith(".") else name for name in seen] == [".b", "-> b", tmp_path.name]
    seen.clear()
    make_folder(tmp_path / "one" / "two")
    assert sorted(seen) == sorted(["one", tmp_path.name])
    (tmp_path / "one" / "two" / "file").write_text("x")
    seen.clear()
    move_into_place(tmp_path / "one", tmp_path / "final")
    assert seen == ["file", "two", "one", "-> final", tmp_path.name]


def test_a_disk_that_fails_is_told_and_a_file_system_without_folders_that_sync_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def fails(number: int) -> None:
        def sync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", sync)

    fails(errno.EINVAL)
    flush(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        write_atomically(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []
    fails(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        flush(tmp_path)
