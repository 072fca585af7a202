"""A campaign of faults: each is put into a real command, in a process of its own; what was saved must still be there.

    python -m tests.e2e.campaign COUNT SEED OUT.json    about COUNT faults, each kind in its share, kept as JSON

Processes are forked from one that has everything imported, so a fault takes a second or so. Every fault is drawn from
its seed; the very moment at which a signal arrives cannot be repeated.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from saddlepoint import load
from saddlepoint.cli import main
from saddlepoint.engine.storage.checkpoint import list_checkpoints, newest_checkpoint, read_checkpoint, step_of
from saddlepoint.run.samples import pictures

SMALL = ("--generator-widths", "64,64", "--discriminator-widths", "32,32", "--batch-size", "32", "--threads", "1")
TRAIN = ("train", "gan", "--data", "digits", "--no-report", "--checkpoint", "0.01s", *SMALL)
STEPS = 60


@dataclass(frozen=True)
class Fault:
    """What became of one fault.

    Attributes:
        kind: of the fault.
        seed: that it was drawn from.
        lost: checkpoints that had been whole and are not any more.
        problem: which rule was broken; empty: none.
    """

    kind: str
    seed: int
    lost: int
    problem: str


class Broken(Exception):
    """A rule was broken."""


def demand(holds: bool, what: str) -> None:
    """Raise unless a rule holds."""
    if not holds:
        raise Broken(what)


@dataclass
class Place:
    """Where one fault happens: a folder with a trained run, and the processes that work there."""

    folder: Path
    rng: random.Random

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    @property
    def resume(self) -> tuple[str, ...]:
        """The command that goes on for an hour and saves all the time."""
        return ("train", "--resume", str(self.run), "--budget", "1h", "--threads", "1")

    def start(self, *words: str, before: Callable[[], object] = lambda: None) -> int:
        """Run a command in a forked process; its output goes to a file; return its number."""
        (self.folder / "said").unlink(missing_ok=True)
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            said = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(said, 1)
            os.dup2(said, 2)
            # A test runner may have put something else in their place.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["saddle", *words]
            before()
            main.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def said(self) -> str:
        """What the last process said."""
        with suppress(OSError):
            return (self.folder / "said").read_text(errors="replace")
        return ""

    def ended(self, child: int, patience: float = 120.0) -> int:
        """Wait for a process; return its exit code, negative for a signal."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise Broken(f"it hung for {patience:.0f} s: {self.said()[-300:]}")

    def kill(self, child: int) -> None:
        """Kill a process, if it has not ended by itself."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def killed(self, *words: str, within: float) -> None:
        """Start a command and kill it at a random moment."""
        child = self.start(*words)
        time.sleep(self.rng.uniform(0, within))
        self.kill(child)

    def call(self, *words: str, before: Callable[[], object] = lambda: None) -> int:
        """Run a command to its end; a traceback is a broken rule."""
        code = self.ended(self.start(*words, before=before))
        demand("Traceback" not in self.said(), f"a traceback: {self.said()[-600:]}")
        demand(code in (0, 2, 130), f"exit code {code}: {self.said()[-300:]}")
        return code

    def wait_until_training(self, child: int) -> None:
        """Wait until the process has saved something of its own."""
        before, deadline = self.whole(), time.monotonic() + 60
        while self.newest() <= max(before, default=0):
            demand(time.monotonic() < deadline, "training never saved anything")
            done, _ = os.waitpid(child, os.WNOHANG)
            demand(not done, f"training ended by itself: {self.said()[-300:]}")
            time.sleep(0.002)

    def newest(self) -> int:
        """Step of the newest checkpoint by its name."""
        return max((step_of(path) for path in list_checkpoints(self.run / "checkpoints")), default=0)

    def whole(self) -> set[int]:
        """Return the steps of all whole checkpoints."""
        found = set()
        for path in list_checkpoints(self.run / "checkpoints"):
            with suppress(Exception):
                found.add(read_checkpoint(path).step)
        return found

    def goes_on(self, at_least: int) -> None:
        """Demand that the newest whole checkpoint is not older than what was seen, and that training goes on."""
        found, _ = newest_checkpoint(self.run / "checkpoints")
        step = found.step if found else 0
        demand(step >= at_least, f"lost: step {at_least} had been saved, the newest whole one is {step}")
        code = self.call("train", "--resume", str(self.run), "--steps", str(step + 2), "--threads", "1")
        demand(code == 0, f"training does not go on: {self.said()[-300:]}")
        demand(step + 2 in self.whole(), "the steps after the fault were not saved")


def training_killed(place: Place) -> None:
    """Kill training at a random moment."""
    child = place.start(*place.resume)
    place.wait_until_training(child)
    time.sleep(place.rng.uniform(0, 0.3))
    seen = place.newest()
    place.kill(child)
    place.goes_on(seen)


def saving_killed(place: Place) -> None:
    """Kill training inside a chosen call that writes, renames, flushes or removes."""
    name, count = place.rng.choice(["replace", "fsync", "open"]), place.rng.randrange(1, 60)

    def plant() -> None:
        real, calls = getattr(os, name), [0]

        def call(*given: object, **named: object) -> object:
            calls[0] += 1
            if calls[0] == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        setattr(os, name, call)

    seen = max(place.whole())
    code = place.ended(place.start(*place.resume, before=plant))
    demand(code == -signal.SIGKILL, f"it was not killed but ended with {code}: {place.said()[-300:]}")
    place.goes_on(seen)


def stopped_politely(place: Place) -> None:
    """Ask training to stop, as Ctrl-C or a scheduler would: it saves, and says how to go on."""
    child = place.start(*place.resume)
    place.wait_until_training(child)
    time.sleep(place.rng.uniform(0, 0.2))
    seen = place.newest()
    os.kill(child, place.rng.choice([signal.SIGINT, signal.SIGTERM]))
    code = place.ended(child)
    demand(code == 130, f"exit code {code}: {place.said()[-300:]}")
    demand("Go on with" in place.said(), "it did not say how to go on")
    place.goes_on(seen)


def size_limited(place: Place) -> None:
    """Let files grow no further than a limit that lies inside a checkpoint."""
    limit = place.rng.randrange(1_000, 60_000)

    def plant() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    seen, steps = max(place.whole()), STEPS + place.rng.randrange(1, 40)
    code = place.call("train", "--resume", str(place.run), "--steps", str(steps), "--threads", "1", before=plant)
    demand(code == 2, f"it says that all is well with a full disk: exit code {code}")
    demand("could not be written" in place.said(), f"it does not say what could not be written: {place.said()[-300:]}")
    place.goes_on(seen)


def disk_full(place: Place) -> None:
    """Train on a file system of its own, full before the next checkpoint (without root: as with a file size limit)."""
    disk = place.folder / "disk"
    disk.mkdir()
    used = sum(path.stat().st_size for path in place.run.rglob("*") if path.is_file())
    size = used + place.rng.randrange(60_000, 200_000)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        size_limited(place)
        return
    try:
        here = Place(disk, place.rng)
        try:
            shutil.copytree(place.run, here.run)
        except shutil.Error:  # it is full already
            subprocess.run(["mount", "-o", f"remount,size={size + 300_000}", str(disk)], check=True)
            shutil.copytree(place.run, here.run, dirs_exist_ok=True)
        outside = Place(place.folder, place.rng)
        steps = str(STEPS + place.rng.randrange(200, 400))
        seen = max(here.whole())
        code = outside.call("train", "--resume", str(here.run), "--steps", steps, "--threads", "1")
        demand(code in (0, 2), f"exit code {code}")
        demand(
            code == 0 or any(w in outside.said() for w in ("could not be written", "cannot be written")),
            f"no clear word: {outside.said()[-300:]}",
        )
        demand(max(here.whole(), default=0) >= seen, "a whole checkpoint has been lost")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        here.goes_on(seen)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def read_only(place: Place) -> None:
    """Train in a folder that cannot be written (for root: a file system mounted so)."""
    seen = max(place.whole())
    mounted = os.geteuid() == 0
    if mounted:
        for options in (["--bind", str(place.run), str(place.run)], ["-o", "remount,ro,bind", str(place.run)]):
            if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
                raise Broken("no read-only mount was to be had")
    else:
        place.run.chmod(0o555)
    try:
        words = place.rng.choice([place.resume, ("sample", str(place.run)), ("evaluate", str(place.run), *QUICK)])
        code = place.call(*words)
        demand(code == 2, f"exit code {code}: {place.said()[-300:]}")
        demand("error: " in place.said(), f"no clear word: {place.said()[-300:]}")
    finally:
        if mounted:
            subprocess.run(["umount", str(place.run)], check=False)
        else:
            place.run.chmod(0o755)
    place.goes_on(seen)


def clock_jumps(place: Place) -> None:
    """Let the clock on the wall jump by up to a year at every look."""
    seed = place.rng.random()

    def plant() -> None:
        real, draws = time.time, random.Random(seed)
        time.time = lambda: real() + draws.uniform(-3e7, 3e7)

    seen, more = max(place.whole()), place.rng.randrange(5, 50)
    words = ("train", "--resume", str(place.run), "--steps", str(STEPS + more), "--threads", "1")
    demand(place.call(*words, before=plant) == 0, f"it failed: {place.said()[-300:]}")
    demand(STEPS + more in place.whole(), "the last step was not saved")
    place.goes_on(seen)


def two_trainers(place: Place) -> None:
    """Start a second trainer on the same folder: it is refused, the first one is not disturbed."""
    child = place.start(*place.resume)
    try:
        place.wait_until_training(child)
        code = place.call(*place.resume)
        demand(code == 2, f"the second one got exit code {code}")
        demand("another process is training" in place.said(), f"no clear word: {place.said()[-300:]}")
        before = place.newest()
        time.sleep(0.2)
        demand(place.newest() > before, "the first one does not go on")
    finally:
        seen = place.newest()
        place.kill(child)
    place.goes_on(seen)


def checkpoint_damaged(place: Place) -> None:
    """Change, cut or remove a file of the newest checkpoint: an older one is used, with a word about it."""
    newest, *older = list_checkpoints(place.run / "checkpoints")
    damage(place.rng.choice(sorted(newest.iterdir())), place.rng)
    seen = max(step_of(path) for path in older)
    code = place.call("train", "--resume", str(place.run), "--steps", str(STEPS + 3), "--threads", "1")
    demand(code == 0, f"exit code {code}: {place.said()[-300:]}")
    demand("set aside" in place.said(), f"it does not say so: {place.said()[-300:]}")
    place.goes_on(seen)


def cache_damaged(place: Place) -> None:
    """Change, cut or remove a file of the prepared data: it is prepared again, or the remedy is told."""
    cache = place.folder / "cache"
    shutil.copytree(os.environ["SADDLEPOINT_CACHE_DIR"], cache)
    damage(place.rng.choice(sorted(path for path in (cache / "datasets").rglob("*") if path.is_file())), place.rng)
    seen = max(place.whole())

    def plant() -> None:
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(cache)

    out = ("--steps", "3", "--out", str(place.folder / "new"))
    demand(place.call(*TRAIN, *out, before=plant) == 0, f"it failed: {place.said()[-300:]}")
    fresh = load(place.folder / "new").dataset()
    demand(fresh.fingerprint == load(place.run).dataset().fingerprint, "other data came out")
    place.goes_on(seen)


def evaluation_killed(place: Place) -> None:
    """Kill an evaluation at a random moment; a later one is whole, and the run as it was."""
    seen, before = max(place.whole()), contents(place.run / "checkpoints")
    place.killed("evaluate", str(place.run), *QUICK, "--threads", "1", within=0.8)
    demand(contents(place.run / "checkpoints") == before, "the evaluation touched checkpoints")
    report = place.run / "report" / "metrics.jsonl"
    if report.exists():
        lines = report.read_text().splitlines()
        demand(all(isinstance(json.loads(line), dict) for line in lines), "half a line in the report")
    demand(place.call("evaluate", str(place.run), *QUICK, "--threads", "1") == 0, "evaluating again fails")
    place.goes_on(seen)


def sampling_killed(place: Place) -> None:
    """Kill the writing of samples at a random moment: the file is whole or not there."""
    seen, out = max(place.whole()), place.folder / "samples.npz"
    place.killed("sample", str(place.run), "-n", "20000", "--out", str(out), "--threads", "1", within=0.8)
    if out.exists():
        import numpy as np

        with np.load(out) as arrays:
            demand(all(np.isfinite(arrays[name]).all() for name in arrays.files), "samples are damaged")
    demand(place.call("sample", str(place.run), "--threads", "1") == 0, "sampling fails")
    place.goes_on(seen)


def export_killed(place: Place) -> None:
    """Kill an export at a random moment: the folder is whole or not there, and the run as it was."""
    seen, out = max(place.whole()), place.folder / "given"
    place.killed("export", str(place.run), "--format", "safetensors", "--out", str(out), within=0.3)
    if out.exists():
        demand(load(out).step == STEPS, "half an export")
    again = place.folder / "again"
    demand(place.call("export", str(place.run), "--format", "safetensors", "--out", str(again)) == 0, "no export")
    demand(load(again).step == STEPS, "the export does not load")
    place.goes_on(seen)


def memory_short(place: Place) -> None:
    """Give training less memory than it asks for."""
    more = place.rng.randrange(5, 60) * 1024**2

    def plant() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))

    seen = max(place.whole())
    wide = ("--generator-widths", "3000,3000", "--batch-size", "2000", "--steps", "2", "--threads", "1")
    out = ("--out", str(place.folder / "wide"))
    code = place.call("train", "gan", "--data", "digits", "--no-report", *wide, *out, before=plant)
    demand(code == 2, f"exit code {code}: {place.said()[-300:]}")
    demand("memory" in place.said(), f"no clear word: {place.said()[-300:]}")
    place.goes_on(seen)


QUICK = ("--protocol", "memorisation", "--features", "pixels")
KINDS: dict[str, tuple[Callable[[Place], None], int]] = {
    "training killed": (training_killed, 20),
    "killed while saving": (saving_killed, 20),
    "stopped by a signal": (stopped_politely, 8),
    "file size limit": (size_limited, 8),
    "disk full": (disk_full, 6),
    "read-only folder": (read_only, 5),
    "clock jumps": (clock_jumps, 5),
    "two trainers": (two_trainers, 5),
    "checkpoint damaged": (checkpoint_damaged, 8),
    "cache damaged": (cache_damaged, 6),
    "evaluation killed": (evaluation_killed, 4),
    "sampling killed": (sampling_killed, 4),
    "export killed": (export_killed, 4),
    "memory short": (memory_short, 4),
}
"""Kinds of faults, and how many of a hundred (or so) are of each."""


def damage(path: Path, rng: random.Random) -> None:
    """Change a bit of a file, cut it, empty it, or remove it."""
    how, content = rng.choice(["bit", "cut", "empty", "gone"]), bytearray(path.read_bytes())
    if how == "gone" or not content:
        path.unlink()
        return
    if how == "bit":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    kept = {"bit": content, "cut": content[: rng.randrange(len(content))], "empty": bytearray()}
    path.write_bytes(kept[how])


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def inject(kind: str, seed: int, template: Path) -> Fault:
    """Inject one fault into a copy of a trained run."""
    with tempfile.TemporaryDirectory(prefix="saddlepoint-fault-") as name:
        place = Place(Path(name), random.Random(f"{kind} {seed}"))
        shutil.copytree(template, place.run)
        problem = ""
        try:
            KINDS[kind][0](place)
        except Broken as broken:
            problem = str(broken)
        return Fault(kind, seed, int(problem.startswith("lost")), problem)


def make_template(folder: Path) -> Path:
    """Train the run that faults are injected into; what it needs is imported and prepared for all forked processes."""
    torch.set_num_threads(1)
    child = Place(folder, random.Random(0))
    for steps in (STEPS // 3, 2 * STEPS // 3, STEPS):
        words = TRAIN if steps == STEPS // 3 else ("train", "--resume", str(child.run), "--threads", "1")
        out = ("--out", str(child.run)) if steps == STEPS // 3 else ()
        code = child.call(*words, "--steps", str(steps), *out)
        demand(code == 0, child.said())
    run = load(child.run)
    run.dataset()
    run.evaluate(["memorisation"], features="pixels")
    pictures.draw(run, "grid")
    return child.run


def campaign(count: int, seed: int) -> list[Fault]:
    """Inject about ``count`` faults, every kind in its share (at least one), and tell of each."""
    total = sum(share for _, share in KINDS.values())
    faults = []
    with tempfile.TemporaryDirectory(prefix="saddlepoint-faults-") as name:
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(Path(name) / "cache")
        template = make_template(Path(name))
        for kind, (_, share) in KINDS.items():
            for number in range(max(1, round(count * share / total))):
                faults.append(inject(kind, 1000 * seed + number, template))
                if faults[-1].problem:
                    print(f"{kind}, seed {faults[-1].seed}: {faults[-1].problem}", flush=True)  # noqa: T201
    return faults


if __name__ == "__main__":
    found = campaign(int(sys.argv[1]), int(sys.argv[2]))
    Path(sys.argv[3]).write_text(json.dumps([asdict(fault) for fault in found], indent=1) + "\n")
    broken = [fault for fault in found if fault.problem]
    print(f"{len(found)} faults, {len(broken)} broken rules, {sum(f.lost for f in found)} lost checkpoints")  # noqa: T201
    sys.exit(bool(broken))
