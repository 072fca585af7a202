"""Damaged files put before every reader: each is read, or refused in words, soon, and in little memory.

Each input is drawn from its own number. A reader works in a forked process with a limit of memory; one that dies or
hangs costs one input, and the next process goes on with the input after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.damage import damaged, edits
from tests.e2e.instructions import TRAP
from tests.e2e.readers import Reader

PATIENCE = 20
"""Seconds that one input may take."""

MEMORY = 1024**3
"""Bytes by which a process may grow."""

BATCH = 250
"""Inputs for one process."""


class Slow(BaseException):
    """An input took too long; no reader catches this."""


@dataclass
class Found:
    """What became of the inputs of one reader.

    Attributes:
        read: inputs that were read in spite of the damage.
        refused: inputs that were refused in words.
        problems: what else happened, in words, with the damage that did it.
        megabytes: by which a process grew at most.
        slowest: seconds of the slowest input.
    """

    read: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    megabytes: float = 0.0
    slowest: float = 0.0

    @property
    def count(self) -> int:
        """Inputs in all."""
        return self.read + self.refused + len(self.problems)

    def add(self, other: Found) -> None:
        """Add the inputs of another process."""
        self.read, self.refused = self.read + other.read, self.refused + other.refused
        self.problems += other.problems
        self.megabytes, self.slowest = max(self.megabytes, other.megabytes), max(self.slowest, other.slowest)


def fuzz(reader: Reader, count: int, start: int, folder: Path) -> Found:
    """Put ``count`` damaged inputs before a reader.

    Args:
        reader: what reads.
        count: of inputs.
        start: number of the first one; the next ones count on.
        folder: an empty one, to work in.
    """
    whole, found = folder / "whole", Found()
    whole.mkdir(parents=True)
    with _cache(folder / "cache"):
        reader.write(whole)
        for first in range(0, count, BATCH):
            found.add(_batch(reader, min(BATCH, count - first), start + first, folder))
    return found


def _batch(reader: Reader, count: int, start: int, folder: Path) -> Found:
    """Run one batch in processes of its own: another one after each that dies."""
    total = Found()
    while total.count < count:
        kept = folder / "found.json"
        kept.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            try:
                _work(reader, count - total.count, start + total.count, folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        status = _ended(child, kept)
        found = Found(**json.loads(kept.read_text())) if kept.exists() else Found()
        total.add(found)
        if status and not found.count and not (folder / "damage").exists():
            raise RuntimeError("the whole input cannot be read")
        if status and total.count < count:
            damage = (folder / "damage").read_text()
            total.problems.append(f"the process died ({status}) of {damage}")
    return total


def _ended(child: int, kept: Path) -> int:
    """Wait for a process; kill it once nothing has been finished for long."""
    last = time.monotonic()
    seen = 0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            changed = kept.stat().st_mtime_ns
            if changed != seen:
                seen, last = changed, time.monotonic()
        if time.monotonic() - last > 3 * PATIENCE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def _work(reader: Reader, count: int, start: int, folder: Path) -> None:
    """Damage and read, in a forked process; what became of the inputs is kept after each."""
    warnings.simplefilter("ignore")
    whole, place, found = folder / "whole", folder / "damaged", Found()
    files = sorted({path for pattern in reader.files for path in whole.glob(pattern) if path.is_file()})
    assert files, "the reader names no file that is there"
    _fresh(whole, place)
    reader.read(place)
    before = _size()
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + MEMORY, _virtual() + MEMORY))
    signal.signal(signal.SIGALRM, _too_slow)
    for number in range(start, start + count):
        rng = random.Random(number)
        chosen, changes = rng.choice(files), edits(rng)
        name = chosen.relative_to(whole)
        _fresh(whole, place)
        (place / name).write_bytes(damaged(chosen.read_bytes(), changes))
        reader.mend(place)
        words = f"{number}, {name}: {changes}"
        (folder / "damage").write_text(words)
        _put(found, reader, place, words)
        found.megabytes = max(found.megabytes, (_size() - before) / 1024**2)
        temporary = folder / "found.part"
        temporary.write_text(json.dumps(vars(found)))
        os.replace(temporary, folder / "found.json")


def _put(found: Found, reader: Reader, place: Path, damage: str) -> None:
    """Put one input before the reader."""
    started = time.monotonic()
    signal.alarm(PATIENCE)
    try:
        reader.read(place)
        if broken := _beyond(place):
            found.problems.append(f"{broken}: {damage}")
        else:
            found.read += 1
    except reader.words as error:
        if broken := _beyond(place) or ("" if str(error).strip() else "refused without a word"):
            found.problems.append(f"{broken}: {damage}")
        else:
            found.refused += 1
    except Slow:
        found.problems.append(f"longer than {PATIENCE} s: {damage}")
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        found.problems.append(f"{words[:300]}: {damage}")
    finally:
        signal.alarm(0)
    found.slowest = max(found.slowest, time.monotonic() - started)


def _beyond(place: Path) -> str:
    """Say what a reader did that no reader may: look up a name that a file has, or write where a file says."""
    if sys.modules.pop(TRAP, None):
        return "a name in the file was imported"
    for outside in (place.parent / "outside", place.parent.parent / "outside", Path("/outside")):
        if os.path.lexists(outside):
            return f"{outside.name} was written beside the folder"
    return ""


def _fresh(whole: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)


def _too_slow(*_: Any) -> None:
    raise Slow


def _size() -> float:
    """Largest memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _virtual() -> int:
    """Addresses that this process has, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("SADDLEPOINT_CACHE_DIR")
    os.environ["SADDLEPOINT_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SADDLEPOINT_CACHE_DIR"]
        else:
            os.environ["SADDLEPOINT_CACHE_DIR"] = before
