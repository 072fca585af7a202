"""An HDF5 file is looked through by another process first: a damaged one can keep HDF5's C code busy for ever.

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
"""Seconds for looking through one file, once h5py is imported."""
_START = 120.0
"""Seconds for importing it."""

LOOK = """
import signal
import sys
import h5py

print("ready", flush=True)
if hasattr(signal, "alarm"):  # nobody may be there to end it; without a handler it ends whatever C code runs
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(sys.argv[2]))
left = 10_000


def look(thing):
    global left
    left -= 1
    if left < 0:
        return
    list(thing.attrs.items())
    if isinstance(thing, h5py.Dataset):
        thing.shape, thing.dtype, thing.chunks, thing.fillvalue, thing.is_scale
        [list(dimension.items()) for dimension in thing.dims]


with h5py.File(sys.argv[1], "r") as file:
    look(file)
    file.visititems(lambda name, thing: look(thing))
"""


def look_first(path: Path) -> None:
    """Look through a file in a process of its own; what is merely wrong with it is left to its reader to say.

    Raises:
        DataError: if that takes longer than `PATIENCE`, or the process dies; not where limits are lifted.
    """
    if not limits.lifted() and (ended := in_a_process(path)):
        raise DataError(
            f"{path} cannot be read as HDF5 (its reader {ended}); the copy may be damaged: fetch it again, write it "
            f"anew with h5py or xarray, {limits.LIFT}"
        )


def in_a_process(path: Path) -> str:
    """Return how a process that looks through a file ended, in words; "": by itself."""
    # -P: nothing is imported from where the user stands.
    command = [sys.executable, "-P", "-c", LOOK, str(path.absolute()), str(math.ceil(2 * PATIENCE))]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            process.wait(PATIENCE if ready else _START)
        except subprocess.TimeoutExpired:
            return f"was not through after {PATIENCE:g} s"
        finally:
            process.kill()
    return f"died of signal {-process.returncode}" if process.returncode < 0 else ""
