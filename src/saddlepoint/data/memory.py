"""How much memory this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def usable_memory() -> int:
    """Return bytes: the machine's memory, or less where a container or the shell's limits (`ulimit`) say so."""
    limits = [2**62]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # none is set, or this is another system
        limits.append(int(_CGROUP.read_text()))
    with contextlib.suppress(ImportError):  # Windows
        import resource

        kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
        limits += [soft for soft, _ in map(resource.getrlimit, kinds) if soft != resource.RLIM_INFINITY]
    return min(limits)
