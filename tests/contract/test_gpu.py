"""Every preset on a GPU: as on the CPU, without waiting, and the same again when resumed.

    python -m pytest -m gpu                                        with CUDA or MPS; skipped without
    SADDLEPOINT_TEST_DEVICE=cpu python -m pytest -m gpu            a dry run: the tests themselves, tried on the CPU

Presets have narrow layers, as in the other contract tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import saddlepoint
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.engine.plan import Position
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.updates import Gradient
from saddlepoint.family import Context, Progress, build_family, families
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.native.dispatch import VARIABLE
from tests.contract.devices import SameDraws, device_of_tests, same_stream
from tests.contract.presets import CASES, made, reduced
from tests.contract.test_precision import smooth_abs, smooth_leaky

BATCH = 16
CPU = torch.device("cpu")
DEVICE = device_of_tests() or CPU
LIMITS = {"fp32": 1e-3, "bf16": 0.1}
"""Largest distance of a gradient from the CPU's fp32 one, as a share of its norm."""

READERS = {("timegan", "code-2019")}
"""Presets whose step reads a number: as released, D waits where its loss is low."""

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]


def trainer_of(name: str, preset: str, device: torch.device, precision: str, folder: str | Path = "unused") -> Trainer:
    """Return a trainer whose family has seen its data."""
    dataset = made(families()[name], preset)
    config = dataclasses.replace(reduced(families()[name], preset), batch_size=BATCH)
    family = build_family(name, config, dataset.spec)
    feed = Feed(dataset.splits["train"], BATCH, 0, device)
    settings = Settings(steps=6, report_kimg=3 * BATCH / 1000)
    runtime.use_device(device)
    found = Trainer(family, feed, settings, RunFolder(folder), precision=Precision(precision))
    prepare(family, dataset.stats().to(device))
    return found


def gradients(name: str, preset: str, device: torch.device, precision: str, seed: int) -> dict[str, Tensor]:
    """Return each phase's loss and gradient as one flat tensor on the CPU, from the CPU's noise."""
    trainer, found = trainer_of(name, preset, device, precision), dict[str, Tensor]()
    batch = trainer.feed.batch(0)
    with SameDraws():
        for phase in (phase for stage in trainer.stages for phase in stage.cycle):
            trainer.state.unfreeze([phase.name])
            streams = same_stream(device, "noise", seed), same_stream(device, "batch", seed)
            context = functools.partial(Context, *streams, Progress(1, BATCH, 0.1))
            terms = trainer.losses((phase,), batch, context)
            gradient = Gradient(phase)
            trainer.accumulate(gradient, terms[phase.name], keep_graph=False)
            assert gradient.loss is not None
            parts = [gradient.loss, *(g.flatten() for g in gradient.of_parameters if g is not None)]
            found[phase.name] = torch.cat([part.detach().cpu().double().reshape(-1) for part in parts])
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "preset"), CASES)
def test_losses_and_gradients_are_those_of_the_cpu(
    name: str, preset: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a unit lies within rounding of a kink the two may differ: for a seed, and not where units have no kinks."""
    worst = dict[int, float]()
    for seed in (1, 2, 3, 4):
        if seed == 4:
            monkeypatch.setattr(torch.nn.functional, "leaky_relu", smooth_leaky)
            monkeypatch.setattr(torch.nn.functional, "relu", smooth_leaky)
            monkeypatch.setattr(torch.Tensor, "abs", smooth_abs)
            monkeypatch.setenv(VARIABLE, "pytorch")  # the kernels of a dry run know no smooth units
        expected, found = (gradients(name, preset, *of, seed) for of in ((CPU, "fp32"), (DEVICE, precision)))
        errors = {phase: float((found[phase] - g).norm() / g.norm()) for phase, g in expected.items()}
        worst[seed] = max(errors.values())
        if worst[seed] < LIMITS[precision]:
            return
    pytest.fail(f"gradients are off by {worst} of their norm; phases with the last seed: {errors}")


@contextlib.contextmanager
def nobody_waits() -> Iterator[None]:
    """Let CUDA refuse whatever would make it wait."""
    if DEVICE.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("name", "preset"), [case for case in CASES if case not in READERS])
def test_a_step_makes_nobody_wait(name: str, preset: str) -> None:
    trainer = trainer_of(name, preset, DEVICE, "bf16" if DEVICE.type == "cuda" else "fp32")
    places = [Position(s, at, 0) for s in trainer.stages for at in sorted({phase.offset for phase in s.cycle})]
    for place in places:
        trainer.step(place)
    with nobody_waits():
        for place in places:
            trainer.step(place)


def trained(name: str, preset: str, folder: Path, stops: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the complete state after training in as many parts as there are stops."""
    for steps in stops:
        trainer = trainer_of(name, preset, DEVICE, "fp32", folder)
        trainer.settings = dataclasses.replace(trainer.settings, steps=steps)
        trainer.train(made(families()[name], preset).stats)
    found = trainer.state.checkpoint().tensors
    return {f"{file}/{key}": tensor.detach().cpu() for file, held in found.items() for key, tensor in held.items()}


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_resumed_training_is_the_same_bit_for_bit(name: str, preset: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told, runtime.sums_in_one_order(DEVICE, True):
        warnings.simplefilter("always")
        straight = trained(name, preset, tmp_path / "straight", (6,))
        resumed = trained(name, preset, tmp_path / "resumed", (3, 6))
    other = [key for key, tensor in straight.items() if not torch.equal(tensor, resumed[key])]
    why = sorted({str(one.message).split("\n")[0][:120] for one in told if "deterministic" in str(one.message)})
    assert not other, f"{len(other)} of {len(straight)} tensors differ, such as {other[:3]}; PyTorch says: {why}"


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_what_was_trained_there_samples_here(name: str, preset: str, tmp_path: Path) -> None:
    """A checkpoint of the device, loaded on the CPU, makes the samples that the device makes of the same inputs."""
    trainer = trainer_of(name, preset, DEVICE, "fp32", tmp_path)
    trainer.settings = dataclasses.replace(trainer.settings, steps=2)
    trainer.train(made(families()[name], preset).stats)
    here = trainer_of(name, preset, CPU, "fp32", tmp_path)
    here.writer.restore(here.state)
    with SameDraws(), torch.no_grad():
        pair = []
        for of, device in ((trainer, DEVICE), (here, CPU)):
            family, drawn = of.state.family.eval(), functools.partial(same_stream, device)
            labels = torch.arange(6, device=device) % family.classes if family.classes else None
            inputs = family.sample_inputs(6, drawn("inputs"))
            pair.append(family.generate(inputs, labels, generator=drawn("noise")).cpu())
    off = (pair[0] - pair[1]).abs()
    assert float(off.nan_to_num().mean()) < 1e-3
    assert pair[0].isfinite().equal(pair[1].isfinite())


def test_minibatches_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows held on the device, and rows that stay on disk and are sent from pinned memory."""
    split = made(families()["dcgan"], "small").splits["train"]
    for most in (1 << 30, 0):
        monkeypatch.setattr("saddlepoint.data.feed._most_resident", lambda device, most=most: most)
        here, there = (Feed(split, BATCH, 3, device) for device in (CPU, DEVICE))
        for draw in range(8):
            one, two = here.batch(draw), there.batch(draw)
            assert two.x.device.type == DEVICE.type
            assert torch.equal(one.x, two.x.cpu())
            assert one.labels is not None
            assert two.labels is not None
            assert torch.equal(one.labels, two.labels.cpu())


def test_a_run_from_the_command_to_its_report(tmp_path: Path) -> None:
    run = saddlepoint.train("dcgan", data="digits", steps=12, device=DEVICE.type, out=tmp_path)
    run = saddlepoint.resume(run.path, steps=20, device=DEVICE.type)
    assert [line["step"] for line in run.log if "step" in line][-1] == 20
    there, here = saddlepoint.load(run.path, device=DEVICE.type), saddlepoint.load(run.path)
    assert there.sample(8, seed=0).device.type == "cpu"
    assert torch.allclose(there.sample(8, seed=0), here.sample(8, seed=0), atol=1e-3)
