"""How long threads of OpenMP turn in place while they wait for one another, where the user did not choose it.

By default that is milliseconds, each on a core that other programs want: beside them the thread that is waited for
lacks a core, and a step takes several times as long. Threads that sleep at once cost an idle machine up to half of its
speed. A short turn costs it a few hundredths (docs/performance.md).
"""

from __future__ import annotations

import os
import sys

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment that choose it: of the standard, of GNU's library, of LLVM's and Intel's."""

SHORT = {"GOMP_SPINCOUNT": "4000", "KMP_BLOCKTIME": "1"}
"""Turns of GNU's library, some 60 microseconds (by default 300,000); milliseconds of the others' (by default 200)."""


def wait_shortly() -> bool:
    """Choose it for this process and those it starts; return whether that was done.

    The library reads its environment when it is loaded, which is when PyTorch is; after that it is too late.
    """
    if "torch" in sys.modules or any(name in os.environ for name in CHOICES):
        return False
    os.environ.update(SHORT)
    return True
