"""What threads of OpenMP do while they wait for one another: sleep, where the user did not choose otherwise.

By default they turn in place for some milliseconds, each on a core that other programs want. Beside such programs the
thread that is waited for then lacks a core, and a step takes ten to forty times as long (docs/performance.md).
"""

from __future__ import annotations

import os
import sys

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment that choose it: of the standard, of GNU's library, of LLVM's and Intel's."""


def let_waiting_threads_sleep() -> bool:
    """Choose it for this process and those it starts; return whether that was done.

    The library reads its environment when it is loaded, which is when PyTorch is; after that it is too late.
    """
    if "torch" in sys.modules or any(name in os.environ for name in CHOICES):
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True
