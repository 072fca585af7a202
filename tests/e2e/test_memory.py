"""Data that do not fit into memory: preparation and training take little more than what a batch needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LIMIT = 700 * 1024**2
"""Bytes of private memory; importing the library and a small step take 400 MiB of it."""

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
from saddlepoint.cli.main import app
app(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private memory on Linux only")
def test_training_on_more_data_than_memory(tmp_path: Path) -> None:
    rows = 80_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(rows, 64, 64, 3))
    rng = np.random.default_rng(0)
    for start in range(0, rows, 4000):
        colours = rng.integers(0, 256, (4000, 8, 8, 3), dtype=np.uint8)
        x[start : start + 4000] = colours.repeat(8, 1).repeat(8, 2)
    assert x.nbytes > 1.3 * LIMIT
    del x
    words = ["train", "dcgan", "--data", str(tmp_path / "x.npy"), "--size", "64", "--option", "width=8", "--steps", "5"]
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(LIMIT), *words, "--threads", "1", "--no-report", "--out", "run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=500,
        env={**os.environ, "SADDLEPOINT_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "64,000 images of 3x64x64" in told.stdout + told.stderr
