"""A training process killed without warning loses nothing that was saved, and goes on bit for bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from saddlepoint.engine.profiles import INTERVAL, NUMBERS
from saddlepoint.engine.storage.averages import kept_steps, list_averages
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run import api

SMALL = {"generator_widths": "64,64", "discriminator_widths": "32,32"}


def train_until_killed(folder: Path, moment: float) -> None:
    """Start the command, let it train for ``moment`` seconds, kill it with a signal that cannot be caught."""
    options = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [
        *(sys.executable, "-m", "saddlepoint", "train", "gan", "--data", "digits", "--out", str(folder)),
        *("--preset", "mnist-2014", "--budget", "1h", "--checkpoint", "0.02s", "--threads", "1", "--quiet", *options),
    ]
    (folder / "status.json").unlink(missing_ok=True)
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while not (folder / "status.json").exists():
            assert process.poll() is None, "training ended by itself"
            time.sleep(0.02)
        time.sleep(moment)
        assert process.poll() is None, "training ended by itself"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("kills", "seed"), [(5, 0), pytest.param(100, 1, marks=pytest.mark.slow)])
def test_kills_at_random_moments(kills: int, seed: int, tmp_path: Path) -> None:
    folder, rng, steps = tmp_path / "run", random.Random(seed), [0]
    # As many kills as asked for; where the machine is slow, more, until an average of another length is kept.
    while len(steps) <= kills or steps[-1] <= INTERVAL:
        train_until_killed(folder, rng.uniform(0.0, 1.2))
        found, _ = newest_checkpoint(folder / "checkpoints")
        steps.append(found.step if found else 0)
    assert steps == sorted(steps), "a checkpoint that was whole has been lost"
    assert steps[-1] > 0
    assert len(set(steps)) > kills / 2, "training hardly got on between the kills"

    killed, _ = newest_checkpoint(folder / "checkpoints")
    assert killed is not None
    plan = api.plan(
        data="digits", preset="mnist-2014", options=SMALL, steps=killed.step, threads=1, out=tmp_path / "straight"
    )
    api.start(plan)
    straight, _ = newest_checkpoint(tmp_path / "straight" / "checkpoints")
    assert straight is not None
    for file, tensors in straight.tensors.items():
        assert [name for name in tensors if not torch.equal(tensors[name], killed.tensors[file][name])] == []
    wanted = kept_steps(killed.step, INTERVAL, NUMBERS[0])
    moments = [list_averages(path / "averages") for path in (tmp_path / "straight", folder)]
    assert len(wanted) > 0
    assert all(moments[0][step].read_bytes() == moments[1][step].read_bytes() for step in wanted)
    assert not [path for path in (folder / "averages").iterdir() if path.name.startswith(".")][2:], "leftovers gather"
    logs = [RunFolder(path).read_log() for path in (tmp_path / "straight", folder)]
    for line in (line for log in logs for line in log):
        line.pop("timing")
    assert logs[0] == [line for line in logs[1] if line["step"] <= killed.step]
