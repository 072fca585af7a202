"""Two workers on one sweep, one of them killed: every trial ends once, with the values that were drawn for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
_PATIENCE = 900.0
"""Seconds, for a machine that does much else."""


SWEEP = """sweep gan --preset points --data x.npy --over lr=1e-3..1 --trials 3 --seeds 0 --kimg 30 --batch-size 64
--threads 1 --precision fp32 --generator-widths 32 --discriminator-widths 32 --checkpoint 1s --no-prune --out s"""


def worker(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "saddlepoint", *SWEEP.split()]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(600, 2)).astype("float32"))
    trials, first = tmp_path / "s" / "trials", worker(tmp_path)
    until(lambda: any((trials / "0000" / "checkpoints").glob("step*")))
    second = worker(tmp_path)
    until(lambda: len(list(trials.glob("*/log.jsonl"))) >= 2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert second.wait(_PATIENCE) == 0
    found = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert found["at_work"] == 0
    for trial in found["trials"]:
        config = json.loads((trials / f"{trial['number']:04d}" / "config.json").read_text())
        assert config["options"]["lr"] == trial["values"]["lr"]
        assert trial["about"]["nimg"] >= 30_000
