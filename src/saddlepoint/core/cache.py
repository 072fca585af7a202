"""Where what can be made again is kept: prepared data, features, weights of judges, compiled kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of the cache: ``SADDLEPOINT_CACHE_DIR``, or the platform's place for caches."""
    chosen = os.environ.get("SADDLEPOINT_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "saddlepoint"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "saddlepoint" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saddlepoint"
