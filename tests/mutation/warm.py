"""Spares tests what was made before: kernels are compiled in seconds, and each trial has a cache of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any


def with_kernels(config: Any) -> None:
    """Copy compiled kernels from the user's cache, if they are there, to that of the tests."""
    kernels = cache_dir() / "kernels"
    if kernels.is_dir():
        shutil.copytree(kernels, config._tmp_path_factory.getbasetemp() / "cache" / "kernels")


def cache_dir() -> Path:
    """Return the folder of caches, as the package has it, without importing the package."""
    return Path(os.environ.get("SADDLEPOINT_CACHE_DIR") or Path.home() / ".cache" / "saddlepoint")
