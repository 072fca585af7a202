"""Recipes beside `saddle sweep`: the program for Ray Tune is carried out where Ray is, the script for SLURM is read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_documents import ROOT, blocks, options_of

SHORTER = {
    "steps=2000": "steps=20, batch_size=16, generator_widths=(8,), discriminator_widths=(8,)", "n=5_000": "n=500",
    "num_samples=20": "num_samples=2", "evaluate()": 'evaluate(["fd"])',
}  # fmt: skip
"""What is changed in the recipe before it is carried out."""


def recipe(start: str) -> str:
    (found,) = (block.text for block in blocks(ROOT / "docs" / "sweeps.md") if block.text.startswith(start))
    return found


def test_the_script_for_slurm_says_what_the_command_takes() -> None:
    *head, command = recipe("#!/bin/bash").strip().splitlines()
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in head[1:])
    words = shlex.split(command)
    assert words[:2] == ["saddle", "sweep"]
    assert {word for word in words if word.startswith("--")} <= options_of(words[1:])


@pytest.mark.slow
def test_ray_tune_finds_the_best_of_its_trials(tmp_path: Path) -> None:
    pytest.importorskip("ray")  # pip install ray, in an environment of its own
    program = recipe("from pathlib import Path")
    for long, short in SHORTER.items():
        assert long in program
        program = program.replace(long, short)
    env = {**os.environ, "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"trial_\w+ +│? *TERMINATED +│? *(\S+) +1 +\S+ +(\S+)", done.stdout)
    rates = {figure: lr for lr, figure in found}
    assert len(rates) == 2, done.stdout
    best = rates[min(rates, key=float)]
    (said,) = re.findall(r"^\{'lr': (\S+)\} ", done.stdout, re.MULTILINE)
    assert float(said) == pytest.approx(float(best), rel=1e-3)
