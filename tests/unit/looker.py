"""A small process that looks through HDF5 files for tests, as `hdf5_trial` does with one process for each."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from saddlepoint.data.sources import hdf5_trial


class Looker:
    """As `hdf5_trial.in_a_process`, by forks of one small process that has h5py: a test reads thousands of files.

    A fork of a process that has read files shares their pages, and each costs it some milliseconds.
    """

    SERVER = """
import os
import resource
import sys
import h5py

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # so much memory may a file ask for
code = compile(sys.argv[1], "LOOK", "exec")
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.argv = ["", line[:-1], "60"]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            exec(code, {})
        finally:
            os._exit(0)
    os.write(1, b"%d\\n" % child)
    os.write(1, b"%d\\n" % os.WIFSIGNALED(os.waitpid(child, 0)[1]))
"""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.server = subprocess.Popen(
            [sys.executable, "-P", "-c", self.SERVER, hdf5_trial.LOOK],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def look(self, path: Path) -> str:
        """Return how a process that looked through a file ended; "": by itself."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(f"{path.absolute()}\n".encode())
        child = int(self.server.stdout.readline())
        if not select.select([self.server.stdout], [], [], hdf5_trial.PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
            self.server.stdout.readline()
            return "was not through"
        return "died" if int(self.server.stdout.readline()) else ""


def looked_at(path: Path) -> str:
    """Look through a file with the one `Looker` of this process."""
    global _looker
    if _looker is None or _looker.owner != os.getpid():
        _looker = Looker()
    return _looker.look(path)


_looker: Looker | None = None
