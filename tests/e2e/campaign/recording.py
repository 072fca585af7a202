"""Every write, sync and change of names that a real command makes, as `strace` sees it: libraries go around Python."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.campaign.disk import Disk, File, Folder, Link
from tests.e2e.campaign.place import Place, Plant, demand, nothing

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(<[^>]*>)?(?: .*)?$")
_UNFINISHED = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_ARGUMENT = re.compile(
    r'\s*(?:"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?|([^,\[\]{}"<>]+))'
)
"""A text, a descriptor with its path, or anything else."""

ACKNOWLEDGED = "acknowledged"
"""File outside of the disk: what is written there is what the command knows to be saved."""


@dataclass(frozen=True)
class Call:
    """One call that succeeded: its name, its arguments (texts, bytes, paths of descriptors), what it returned."""

    name: str
    arguments: tuple[str | bytes, ...]
    result: int


@dataclass(frozen=True)
class Recording:
    """What a command did.

    Attributes:
        begin: copy of the folder as it was before.
        root: the folder.
        calls: in order.
        saved: (number of calls before, what is saved from then on).
    """

    begin: Path
    root: Path
    calls: tuple[Call, ...]
    saved: tuple[tuple[int, str], ...]

    def disk(self, calls: int) -> Disk:
        """Return the disk after so many calls."""
        disk = Disk(self.begin)
        disk.root = self.root
        for call in self.calls[:calls]:
            apply(disk, call)
        return disk


def record(place: Place, *words: str, before: Plant = nothing) -> Recording:
    """Record a command that succeeds in a place, and check that what was recorded gives the folder it left."""
    begin, trace = place.outside / "begin", place.outside / "trace"
    shutil.copytree(place.folder, begin)
    acknowledged = str(place.outside / ACKNOWLEDGED)
    code = place.ended(place.start(*words, before=before, traced=trace))
    place.tracers[-1].wait(60)
    demand(code == 0, f"what is to be recorded fails: {place.tail()}")
    calls, saved = list[Call](), list[tuple[int, str]]()
    for call in read(trace):
        if call.name == "write" and call.arguments[0] == acknowledged:
            saved.append((len(calls), bytes(call.arguments[1]).decode()))  # type: ignore[arg-type]
        elif _touches(call, str(place.folder)):
            calls.append(call)
    saved.append((len(calls), "all"))
    found = Recording(begin, place.folder, tuple(calls), tuple(saved))
    left = {
        str(path.relative_to(place.folder)): path.read_bytes() for path in place.folder.rglob("*") if path.is_file()
    }
    demand(dict(files(found.disk(len(calls)).top)) == left, "what was recorded does not give the folder that was left")
    trace.unlink()
    return found


def _touches(call: Call, folder: str) -> bool:
    """Whether a call is about something below a folder; what is written does not matter."""
    words = call.arguments[:1] if "write" in call.name else call.arguments
    return any(_path(word).startswith(folder) for word in words)


def files(folder: Folder, at: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield paths and bytes as a process sees them."""
    for name, node in folder.now.items():
        if isinstance(node, File):
            yield at + name, node.content()
        elif isinstance(node, Folder):
            yield from files(node, f"{at}{name}/")


def acknowledge(place: Place, what: str) -> None:
    """Say, from within the process that is recorded, that something is saved."""
    with open(place.outside / ACKNOWLEDGED, "ab", buffering=0) as file:
        file.write(what.encode())


def read(trace: Path) -> Iterator[Call]:
    """Yield the calls of a trace that succeeded, in the order in which they returned."""
    begun: dict[tuple[str, str], str] = {}
    with trace.open(encoding="ascii") as lines:
        for line in lines:
            text = line.rstrip("\n")
            if (cut := _UNFINISHED.match(text)) is not None:
                begun[cut[1], cut[2].partition("(")[0]] = cut[2]
                continue
            if (rest := _RESUMED.match(text)) is not None:
                text = f"{rest[1]} {begun.pop((rest[1], rest[2]))}{rest[3]}"
            if (call := _CALL.match(text)) is not None and not call[4].startswith("-"):
                place = (_text(call[5][1:-1]),) if call[5] else ()
                arguments = [_value(found) for found in _ARGUMENT.finditer(call[3])]
                yield Call(call[2], (*(a for a in arguments if a != ""), *place), int(call[4], 0))


def _value(found: re.Match[str]) -> str | bytes:
    if found[1] is not None:
        demand(not found[2], "strace cut a text")
        return bytes.fromhex(found[1].replace("\\x", ""))
    return _text(found[4]) if found[4] is not None else found[5].strip()


def _text(word: str) -> str:
    return os.fsdecode(bytes.fromhex(word.replace("\\x", "")))


def apply(disk: Disk, call: Call) -> None:
    """Carry out a call on a disk."""
    act = _ACTS.get(call.name)
    demand(act is not None, f"{call.name} is not known to the disk")
    assert act is not None
    act(disk, call)


def _joined(base: str | bytes, name: str | bytes) -> str:
    return os.path.normpath(os.path.join(_path(base), _path(name)))


def _path(word: str | bytes) -> str:
    return os.fsdecode(word)


def _open(disk: Disk, call: Call) -> None:
    path, flags = str(call.arguments[-1]), next(str(a) for a in call.arguments if str(a).startswith("O_"))
    if not disk.holds(path) or "O_TMPFILE" in flags:
        return
    node = disk.find(path)
    if node is None and "O_CREAT" in flags:
        folder, name = disk.parent(path)
        folder.change({name: File()})
    elif isinstance(node, File) and "O_TRUNC" in flags and node.size:
        node.write(0, None)
    if "O_RDONLY" not in flags:
        disk.at[path] = None if "O_APPEND" in flags else 0


def _write(disk: Disk, call: Call) -> None:
    path, file = str(call.arguments[0]), disk.find(str(call.arguments[0]))
    if isinstance(file, File):
        data = b"".join(a for a in call.arguments if isinstance(a, bytes))[: call.result]
        at = disk.at.get(path)
        file.write(file.size if at is None else at, data)
        if at is not None:
            disk.at[path] = at + len(data)


def _write_at(disk: Disk, call: Call) -> None:
    file = disk.find(str(call.arguments[0]))
    if isinstance(file, File):
        file.write(int(str(call.arguments[-1])), bytes(call.arguments[1])[: call.result])  # type: ignore[arg-type]


def _copy(disk: Disk, call: Call) -> None:
    """``sendfile`` and ``copy_file_range``: bytes of another file, which is whole."""
    into, source = (1, 0) if call.name == "copy_file_range" else (0, 1)
    paths = [str(a) for a in call.arguments if str(a).startswith("/")]
    target, origin = disk.find(paths[into]), paths[source]
    if isinstance(target, File) and call.result:
        held = disk.find(origin) if disk.holds(origin) else None
        content = held.content() if isinstance(held, File) else Path(origin).read_bytes()
        at = disk.at.get(paths[into]) or 0
        target.write(at, content[at : at + call.result])  # whole files are copied: both stand at the same place
        disk.at[paths[into]] = at + call.result


def _seek(disk: Disk, call: Call) -> None:
    path = str(call.arguments[0])
    if disk.at.get(path) is not None:
        disk.at[path] = call.result


def _cut(disk: Disk, call: Call) -> None:
    file = disk.find(_path(call.arguments[0]))
    if isinstance(file, File):
        file.write(int(str(call.arguments[1])), None)


def _sync(disk: Disk, call: Call) -> None:
    node = disk.find(str(call.arguments[0]))
    if node is not None:
        node.sync()


def _rename(disk: Disk, call: Call) -> None:
    words = call.arguments
    old, new = (words[0], words[1]) if call.name == "rename" else (_joined(*words[:2]), _joined(*words[2:4]))
    disk.rename(_path(old), _path(new))


def _remove(disk: Disk, call: Call) -> None:
    words = call.arguments
    path = _joined(*words[:2]) if call.name == "unlinkat" else _path(words[0])
    folder, name = disk.parent(path)
    folder.change({name: None})


def _make(disk: Disk, call: Call) -> None:
    words = call.arguments
    path = _joined(*words[:2]) if call.name == "mkdirat" else _path(words[0])
    folder, name = disk.parent(path)
    folder.change({name: Folder()})


def _link(disk: Disk, call: Call) -> None:
    words = call.arguments
    path = _joined(*words[1:3]) if call.name == "symlinkat" else _path(words[1])
    folder, name = disk.parent(path)
    folder.change({name: Link(_path(words[0]))})


def _nothing(disk: Disk, call: Call) -> None:
    pass


_ACTS: dict[str, Callable[[Disk, Call], None]] = {
    "open": _open, "openat": _open, "creat": _open, "write": _write, "writev": _write, "pwrite64": _write_at,
    "sendfile": _copy, "copy_file_range": _copy, "lseek": _seek, "truncate": _cut, "ftruncate": _cut, "fsync": _sync,
    "fdatasync": _sync, "rename": _rename, "renameat": _rename, "renameat2": _rename, "unlink": _remove,
    "unlinkat": _remove, "rmdir": _remove, "mkdir": _make, "mkdirat": _make, "close": _nothing,
    "symlink": _link, "symlinkat": _link,
}  # fmt: skip
