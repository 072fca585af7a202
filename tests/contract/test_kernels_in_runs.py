"""Runs in bf16 whose products the kernels compute: resumed bit for bit, in several processes, told and recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saddlepoint
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.precision import FP32, Precision, kernels_told
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.nn.native import dispatch
from tests.unit.kernels import by_kernels

CASES = (("gan", "mnist"), ("gan", "mnist-2014"), ("dcgan", "small"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a file with 96 pictures."""
    path = tmp_path / "pictures.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (96, 28, 28, 1), dtype=np.uint8))
    return path


def train(name: str, preset: str, pictures: Path, out: Path, steps: int, **more: Any) -> dict[str, torch.Tensor]:
    """Train for some steps, and return all tensors of the last checkpoint."""
    saddlepoint.train(
        name, data=str(pictures), preset=preset, steps=steps, out=out, precision="bf16", threads=1, **more
    )
    return tensors(out)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    kept, _ = newest_checkpoint(run / "checkpoints")
    assert kept is not None
    return {f"{file}/{key}": value for file, group in kept.tensors.items() for key, value in group.items()}


@by_kernels
@pytest.mark.parametrize(("name", "preset"), CASES)
def test_resumed_runs_are_the_same_bit_for_bit(name: str, preset: str, pictures: Path, tmp_path: Path) -> None:
    whole = train(name, preset, pictures, tmp_path / "whole", 6)
    train(name, preset, pictures, tmp_path / "parts", 3)
    parts = train(name, preset, pictures, tmp_path / "parts", 6)
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert read(tmp_path / "whole")["machine"]["kernels"] == "C"


def read(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((run / "config.json").read_text())
    return config


@by_kernels
def test_the_kernels_change_a_run_by_rounding(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = train("gan", "mnist", pictures, tmp_path / "ours", 2)
    monkeypatch.setenv(dispatch.VARIABLE, "pytorch")
    theirs = train("gan", "mnist", pictures, tmp_path / "theirs", 2)
    assert any(not torch.equal(value, theirs[key]) for key, value in ours.items())
    assert read(tmp_path / "theirs")["machine"]["kernels"] == "PyTorch: SADDLEPOINT_KERNELS=pytorch"


@by_kernels
def test_going_on_with_other_kernels_is_told(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from saddlepoint.cli.main import main

    words = ["train", "gan", "--data", str(pictures), "--preset", "mnist", "--precision", "bf16", "--threads", "1"]
    words += ["--no-report", "--out", str(tmp_path / "run"), "--steps"]

    def said(steps: int) -> str:
        monkeypatch.setattr(sys, "argv", ["saddle", *words, str(steps)])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        told = capsys.readouterr()
        return " ".join((told.out + told.err).split())

    assert "kernels: in C" in said(1)
    assert "warning" not in said(2)
    monkeypatch.setenv(dispatch.VARIABLE, "pytorch")
    found = said(3)
    assert "kernels: PyTorch's (SADDLEPOINT_KERNELS=pytorch)" in found
    assert "this run began with the kernels in C and goes on with PyTorch's: from here its sums round other" in found
    monkeypatch.delenv(dispatch.VARIABLE)
    assert "this run began with PyTorch's and goes on with the kernels in C" in said(4)


@by_kernels
@pytest.mark.parametrize(("name", "preset"), CASES[1:])
def test_two_processes_are_one_with_two_pieces(name: str, preset: str, pictures: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "saddlepoint",
         "train", name, "--data", str(pictures), "--preset", preset, "--precision", "bf16", "--threads", "1",
         "--no-report", "--steps", "3", "--batch-size", "16", "--out", str(tmp_path / "two")],
        text=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "kernels: in C" in done.stdout + done.stderr
    one = train(name, preset, pictures, tmp_path / "one", 3, batch_size=16, micro_batch=8)
    assert read(tmp_path / "one")["machine"]["kernels"] == "C"
    two = tensors(tmp_path / "two")
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_what_computes_is_told_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, bf16 = torch.device("cpu"), Precision("bf16")
    assert kernels_told(FP32, cpu) is None
    assert kernels_told(bf16, torch.device("meta")) is None
    told = kernels_told(bf16, cpu)
    assert told is not None
    assert told.startswith(f"PyTorch's ({dispatch.why_not()}" if dispatch.why_not() else "in C")
    assert runtime.machine()["kernels"].startswith("PyTorch: " if dispatch.why_not() else "C")
    monkeypatch.setenv(dispatch.VARIABLE, "fast")
    for precision in (FP32, bf16):
        with pytest.raises(saddlepoint.ConfigError, match="SADDLEPOINT_KERNELS is 'fast', but it must be one of"):
            kernels_told(precision, cpu)
