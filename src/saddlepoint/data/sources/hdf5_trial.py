"""HDF5 files are looked through by another process first: a damaged one can keep HDF5's C code busy for ever.

Nothing ends that from within: a signal waits until the C code returns. So whatever this process will read before the
numbers themselves (names, types, shapes, attributes, scales of dimensions) is read there, within a time.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits

PATIENCE = 10.0
"""Seconds for looking through one file, once h5py is imported; of several, for each on average."""
_START = 120.0
"""Seconds for importing it."""

LOOK = """
import signal
import sys
import h5py

*files, seconds = sys.argv[1:]
print("ready", flush=True)
if hasattr(signal, "alarm"):  # nobody may be there to end it; without a handler it ends whatever C code runs
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds))


def look(thing):
    global left
    left -= 1
    if left < 0:
        return
    list(thing.attrs.items())
    if isinstance(thing, h5py.Dataset):
        thing.shape, thing.dtype, thing.chunks, thing.fillvalue, thing.is_scale
        [list(dimension.items()) for dimension in thing.dims]


for name in files:
    left = 10_000
    try:
        with h5py.File(name, "r") as file:
            look(file)
            file.visititems(lambda _, thing: look(thing))
    except Exception:
        pass  # left to its reader to say
"""


def look_first(*paths: Path) -> None:
    """Look through files in a process of its own; what is merely wrong with one is left to its reader to say.

    Raises:
        DataError: if that takes longer than `PATIENCE`, or the process dies; not where limits are lifted.
    """
    if limits.lifted() or not (ended := in_a_process(*paths)):
        return
    if len(paths) > 1:  # which of them?
        for path in paths:
            look_first(path)
        return
    raise DataError(
        f"{paths[0]} cannot be read as HDF5 (its reader {ended}); the copy may be damaged: fetch it again, write it "
        f"anew with h5py or xarray, {limits.LIFT}"
    )


def in_a_process(*paths: Path) -> str:
    """Return how a process that looks through files ended, in words; "": by itself."""
    seconds = PATIENCE * len(paths)
    # -P: nothing is imported from where the user stands.
    command = [sys.executable, "-P", "-c", LOOK, *(str(path.absolute()) for path in paths), str(math.ceil(2 * seconds))]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            process.wait(seconds if ready else _START)
        except subprocess.TimeoutExpired:
            return f"was not through after {seconds:g} s"
        finally:
            process.kill()
    return f"died of signal {-process.returncode}" if process.returncode < 0 else ""
