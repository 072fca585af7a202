"""Where one fault happens: a folder, and the processes that work there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from saddlepoint.cli import main

Plant = Callable[[], object]
"""What a forked process does before its command: patches, limits, variables."""

PATIENCE = 120.0
"""Seconds after which a command hangs."""


class Broken(Exception):
    """A rule was broken."""


class Missed(Exception):
    """The fault came when the command had ended: another one is drawn."""


def demand(holds: object, what: str) -> None:
    """Raise unless a rule holds."""
    if not holds:
        raise Broken(what)


def nothing() -> None:
    """Plant nothing."""


@dataclass
class Place:
    """A folder in which commands work.

    Attributes:
        folder: holds the run and all that commands make.
        rng: of the fault.
        outside: folder of what is said; another one where ``folder`` may be full or read-only.
        template: what is copied into a place, see `template`.
        plants: of the state, made in every process before those of the fault.
        recovered: seconds of each command that brought things back.
        saying: files of what each process says, in order.
        tracers: of processes that are recorded.
        attempt: how many faults of this seed came too late before.
    """

    folder: Path
    rng: random.Random
    outside: Path
    template: Path
    plants: list[Plant] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)
    saying: list[Path] = field(default_factory=list)
    attempt: int = 0
    tracers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    def start(self, *words: str, before: Plant = nothing, traced: Path | None = None) -> int:
        """Run a command in a forked process; its output goes to a file of its own; return its number.

        Args:
            words: of the command.
            before: called in the process first.
            traced: file for what `strace` sees of its calls.
        """
        said = self.outside / f"said{len(self.saying)}"
        child = os.fork()
        if not child:
            self._become(words, before, said, traced is not None)
        self.saying.append(said)
        if traced is not None:
            words = ["strace", "-p", str(child), "-o", str(traced), *TRACING]
            self.tracers.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))  # it ends after the process
        return child

    def _become(self, words: Sequence[str], before: Plant, said: Path, traced: bool) -> None:
        """Be the command; never return."""
        code = 1
        try:
            file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            # A test runner may have put something else in their place.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ["SADDLEPOINT_CACHE_DIR"] = str(self.template.parent / "cache")
            for plant in (*self.plants, before):
                plant()
            while traced and "TracerPid:\t0" in Path("/proc/self/status").read_text():
                time.sleep(0.002)
            sys.argv = ["saddle", *words]
            main.main()
        except SystemExit as end:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
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
            return self.saying[-1].read_text(errors="replace")
        return ""

    def tail(self) -> str:
        """The end of it."""
        return self.said()[-300:]

    def alive(self, child: int) -> bool:
        """Whether a process has not ended yet; it can still be waited for."""
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def ended(self, child: int, patience: float = PATIENCE) -> int:
        """Wait for a process; return its exit code, negative for a signal."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.003)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise Broken(f"it hung for {patience:.0f} s: {self.tail()}")

    def kill(self, child: int) -> bool:
        """Kill a process; return whether it was still there."""
        there = self.alive(child)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return there

    def call(self, *words: str, before: Plant = nothing) -> int:
        """Run a command to its end; a traceback is a broken rule."""
        code = self.ended(self.start(*words, before=before))
        self.clean(code)
        return code

    def clean(self, code: int) -> None:
        """Demand that the last process ended in words and with a code that is documented."""
        demand("Traceback" not in self.said(), f"a traceback: {self.said()[-600:]}")
        demand(code in (0, 2, 130), f"exit code {code}: {self.tail()}")

    def succeeds(self, *words: str, before: Plant = nothing) -> None:
        """Run a command that must succeed, and note how long it took: it is what brings things back after a fault."""
        started = time.monotonic()
        code = self.call(*words, before=before)
        demand(code == 0, f"it does not work any more ({words[0]}): {self.tail()}")
        self.recovered.append(time.monotonic() - started)


TRACING = (
    "-f", "-y", "-xx", "-s", "1000000000", "-e",
    "trace=open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,rename,renameat,renameat2,unlink,"
    "unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,link,linkat,symlink,symlinkat,copy_file_range,sendfile,fallocate,"
    "lseek,close",
)  # fmt: skip
"""Options of strace: every call that changes a file, with all bytes, paths of descriptors, across threads."""
