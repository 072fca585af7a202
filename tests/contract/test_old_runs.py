"""Runs made by an earlier version: they load, make the same samples, go on, are measured and shipped."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import saddlepoint
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.export import export_run
from saddlepoint.nn.native.dispatch import VARIABLE
from tests.golden.make_runs import LATER, SMALL, made_by, write_domains

SUMMED_IN_BF16 = ("stargan", "stargan2")
"""Families whose generator passes twice in a step: in bf16 the gradients of both passes are now summed before they are
cast to fp32, not after. They stay nearer to the old run than computing in fp32 would."""

SLOWLY_TRACED = ("stylegan", "stargan", "timegan")

RUNS = Path(__file__).parents[1] / "golden" / "runs-ada098a"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the runs and the pictures that three of them were trained on; it is the current one."""
    shutil.copytree(RUNS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_domains(Path("domains"))
    return tmp_path


@pytest.mark.parametrize("name", SMALL)
def test_it_makes_what_it_made_then(name: str, place: Path) -> None:
    then = np.load("samples.npz")[name]
    found = made_by(saddlepoint.load(name))
    assert found.shape == then.shape
    assert np.abs(found - then).max() < 1e-5
    assert then.std() > 0.01


@pytest.mark.parametrize("name", SMALL)
def test_it_goes_on_as_it_would_have_then(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pytorch")
    data = "domains" if SMALL[name][0] == "domains" else None
    shutil.copytree(name, "in full")
    run = saddlepoint.resume(name, steps=LATER, data=data, progress=False)
    then = np.load("samples.npz")[f"{name} later"]
    assert run.step == LATER
    off = made_by(run) - then
    if name not in SUMMED_IN_BF16:
        assert np.abs(off).max() < 1e-3
        return
    monkeypatch.setattr(Precision, "__call__", lambda self, device: contextlib.nullcontext())
    in_full = made_by(saddlepoint.resume("in full", steps=LATER, data=data, progress=False)) - then
    assert 0 < np.square(off).mean() < np.square(in_full).mean()


@pytest.mark.parametrize("name", SMALL)
def test_kernels_round_as_pytorch_does_in_bf16(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "domains" if SMALL[name][0] == "domains" else None
    made = {}
    for kind, kernels in (("bf16", "native"), ("bf16", "pytorch"), ("fp32", "pytorch")):
        monkeypatch.setenv(VARIABLE, kernels)
        if kind == "fp32":
            monkeypatch.setattr(Precision, "__call__", lambda self, device: contextlib.nullcontext())
        shutil.copytree(name, f"{kind}-{kernels}")
        made[kind, kernels] = made_by(saddlepoint.resume(f"{kind}-{kernels}", steps=LATER, data=data, progress=False))
    off = [np.square(made["bf16", kernels] - made["fp32", "pytorch"]).mean() for kernels in ("native", "pytorch")]
    assert off[0] <= 2 * off[1]  # products are summed in fp32, and gradients of weights stay in it


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name.startswith(SLOWLY_TRACED) else []) for name in SMALL]
)
def test_it_is_exported(name: str, place: Path) -> None:
    said: list[str] = []
    export_run(name, "onnx", place / "out", measure=False, say=said.append)
    assert (place / "out" / "model.json").exists()


def test_it_has_the_average_that_it_was_trained_with_alone(place: Path) -> None:
    with pytest.raises(saddlepoint.CheckpointError, match=r"by an earlier version; train again with --averages on"):
        saddlepoint.average_run("gan", 0.1)


def test_it_is_measured(place: Path) -> None:
    figures = saddlepoint.load("gan").evaluate(["modes"])
    assert figures.results
