"""Every phase of every preset: gradients in fp32 and in bf16 against those of float64."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import softplus

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import precision
from saddlepoint.engine.machine.precision import Precision, choose_precision
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.updates import Gradient
from saddlepoint.family import Batch, Context, Progress, build_family, families
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.mlp import leaky_mlp
from saddlepoint.nn.native.dispatch import VARIABLE, available
from saddlepoint.objectives import penalties
from saddlepoint.run import api
from tests.contract.presets import made, quick_ones, reduced

BATCH = 16


SEEDS = (1, 2, 3)
"""Of the noise. Where a unit lies within rounding of the kink of a ReLU, fp32 may take the other side: for one seed."""


DIFFERENCES = ("rbm", "dbm")
"""Families whose gradients are differences of two phases, each far larger."""


def pulls(name: str, preset: str, kind: str, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each phase's loss and flat gradient; weights, data, noise and masks are the same for every kind."""
    dataset = made(families()[name], preset)
    config = dataclasses.replace(reduced(families()[name], preset), batch_size=BATCH)
    family = build_family(name, config, dataset.spec)
    feed = Feed(dataset.splits["train"], BATCH, 0)
    trainer = Trainer(
        family, feed, Settings(), RunFolder("unused"), precision=Precision("bf16" if kind == "bf16" else "fp32")
    )
    prepare(family, dataset.stats())
    dtype = torch.float64 if kind == "float64" else torch.float32
    family.to(dtype)
    monkeypatch = pytest.MonkeyPatch()
    for draw in ("randn", "rand"):
        real = getattr(torch, draw)
        monkeypatch.setattr(torch, draw, lambda *a, real=real, **k: real(*a, **k).to(dtype))
    batch = feed.batch(0)
    found = {}
    for phase in (phase for stage in trainer.stages for phase in stage.cycle):
        trainer.state.unfreeze([phase.name])
        ctx = Context(stream("cpu", seed), stream("cpu", 2), Progress(1, BATCH, 0.1))
        terms = trainer.losses((phase,), Batch(batch.x.to(dtype), batch.labels), lambda ctx=ctx: ctx)
        gradient = Gradient(phase)
        trainer.accumulate(gradient, terms[phase.name], keep_graph=False)
        assert gradient.loss is not None
        assert all(g is None or g.dtype == dtype for g in gradient.of_parameters)
        assert gradient.loss.dtype == dtype
        found[phase.name] = (gradient.loss, torch.cat([g.flatten() for g in gradient.of_parameters if g is not None]))
    monkeypatch.undo()
    return found


def smooth_leaky(x: Tensor, slope: float = 0.0, inplace: bool = False) -> Tensor:
    """LeakyReLU without its kink."""
    return slope * x + (1 - slope) * softplus(4 * x) / 4


def smooth_abs(x: Tensor) -> Tensor:
    """|x| without its kink."""
    return (x.square() + 0.01).sqrt()


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "preset"), quick_ones())
def test_gradients_agree_with_float64(name: str, preset: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the code shows for every seed, and where units have no kinks; rounding at a kink shows for some."""
    limit, worst = {"fp32": 2e-5 if name in DIFFERENCES else 1e-5, "bf16": 0.1}[kind], float("inf")
    for seed in (*SEEDS, SEEDS[0]):
        if worst < limit:
            break
        if seed == SEEDS[0] and worst < float("inf"):
            monkeypatch.setattr(functional, "leaky_relu", smooth_leaky)
            monkeypatch.setattr(functional, "relu", smooth_leaky)
            monkeypatch.setattr(torch.Tensor, "abs", smooth_abs)
            monkeypatch.setenv(VARIABLE, "pytorch")  # the kernels know no smooth units; the next test is of them
        exact, found = (pulls(name, preset, k, seed) for k in ("float64", kind))
        errors = []
        for phase, (loss, gradient) in found.items():
            reference_loss, reference = exact[phase]
            errors.append(float((gradient.double() - reference).norm() / reference.norm()))
            assert float(loss) == pytest.approx(float(reference_loss), rel=limit / 5, abs=limit / 5)
            if kind == "bf16" and not recurrent_alone(name, preset):
                assert errors[-1] > 1e-5, "nothing was computed in bf16"
        worst = min(worst, max(errors))
    assert worst < limit


def recurrent_alone(name: str, preset: str) -> bool:
    """Whether the kernels compute all of it in fp32: recurrent layers and affine maps of steps."""
    return name == "timegan" and families()[name].PRESETS[preset].space == "learned" and available()


@pytest.mark.parametrize(("name", "preset"), quick_ones())
def test_kernels_are_as_near_to_float64_as_pytorch(name: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At kinks, too: rounding moves as many units to their other side, so that errors have one size.

    Which units it moves is chance: where one seed is against the kernels, the mean over all must not be.
    """
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed in SEEDS:
        exact = pulls(name, preset, "float64", seed)
        monkeypatch.delenv(VARIABLE, raising=False)
        found = pulls(name, preset, "bf16", seed)
        monkeypatch.setenv(VARIABLE, "pytorch")
        by_pytorch = pulls(name, preset, "bf16", seed)
        for phase, (_, reference) in exact.items():
            ours, theirs = (float((g[phase][1] - reference).norm() / reference.norm()) for g in (found, by_pytorch))
            errors[phase].append((ours, theirs))
        means = {phase: [sum(each) / len(each) for each in zip(*both, strict=True)] for phase, both in errors.items()}
        if all(ours <= 1.5 * theirs + 0.02 for ours, theirs in means.values()):
            return
    pytest.fail(f"errors of the kernels, and of PyTorch: {means}")


PENALTIES = {
    "r1": lambda critic, x, y: penalties.r1(critic, x),
    "r2": lambda critic, x, y: penalties.r2(critic, y),
    "gradient penalty": lambda critic, x, y: penalties.gradient_penalty(critic, x, y, stream("cpu", 3)),
    "consistency": lambda critic, x, y: penalties.consistency(critic, x, y),
}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_agree_with_float64_through_double_backward(penalty: str) -> None:
    """Positions between samples are the same in every type of numbers."""

    def gradient(kind: str) -> Tensor:
        dtype = torch.float64 if kind == "float64" else torch.float32
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(32, 20, generator=generator).to(dtype) for _ in range(2))
        critic = nn.Sequential(nn.Linear(20, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 1))
        for parameter in critic.parameters():
            nn.init.normal_(parameter, 0.0, 0.2, generator=generator)
        critic.to(dtype)
        with Precision("bf16" if kind == "bf16" else "fp32")(torch.device("cpu")):
            value = PENALTIES[penalty](lambda samples: critic(samples).squeeze(1), x, y)
        assert value.dtype == dtype, "penalties are never narrower than fp32"
        return torch.cat([g.flatten() for g in torch.autograd.grad(value.mean(), critic.parameters(), allow_unused=True)
                          if g is not None])  # fmt: skip

    exact = gradient("float64")
    for kind, limit in (("fp32", 1e-5), ("bf16", 0.05)):
        assert float((gradient(kind).double() - exact).norm() / exact.norm()) < limit, kind


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_discriminators_with_input_gradients_compute_in_bf16(kind: str) -> None:
    """Their layers are written by hand, so autocast does not see to it."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(8, 3, 16, 16, generator=generator)

    def evaluate() -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(3)
        if kind == "mlp":
            return leaky_mlp(x.flatten(1), [nn.Linear(768, 64), nn.Linear(64, 32), nn.Linear(32, 1)], 0.2)
        layers = [nn.Conv2d(3, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)]
        return leaky_convnet(x, layers, torch.randn(1, 512) / 16, 0.2)

    exact = evaluate()
    with Precision("bf16")(x.device):
        narrow = evaluate()
    for a, b in zip(exact, narrow, strict=True):
        assert b.dtype == torch.float32
        assert 1e-4 < float(((a - b).norm() / a.norm()).detach()) < 0.1


def test_auto_takes_what_a_measurement_says(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for speedup, name, told in (
        (0.00123, "fp32", "813.0 times slower"), (0.02, "fp32", "50.0 times slower"), (1.2, "fp32", "1.2 times faster"),
        (1.4, "bf16", "1.4 times faster"), (4.0, "bf16", "4.0 times faster"),
    ):  # fmt: skip
        monkeypatch.setattr(precision, "measured_speedup", lambda device, speedup=speedup: speedup)
        chosen = choose_precision("auto", cpu)
        assert chosen == Precision(name, pytest.approx(speedup, rel=0.005))
        assert told in str(chosen)
    assert choose_precision("bf16", cpu) == Precision("bf16")
    assert choose_precision("auto", torch.device("mps")) == Precision("fp32")
    assert choose_precision("auto", torch.device("mps"), "sequence") == Precision("fp32")
    assert choose_precision("auto", torch.device("cuda"), "sequence") == Precision("fp32"), "it has no kernels"
    for there, name in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(precision.dispatch, "available", lambda there=there: there)
        assert choose_precision("auto", cpu, "sequence").name == name
    with pytest.raises(ConfigError, match="did you mean 'bf16'"):
        choose_precision("bf61", cpu)


def test_the_measurement_is_short_where_bf16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def seconds(work: object, device: torch.device, times: dict[str, float]) -> float:
        asked.append(1)
        # One moment in which nothing runs well must not decide.
        slow = 30.0 if len(asked) in (4, 7) else 1.0
        return slow * times["fp32" if len(asked) % 2 else "bf16"]

    turns = 2 * precision.REPEATS
    for times, calls, speedup in (({"fp32": 1.0, "bf16": 50.0}, 2, 0.02), ({"fp32": 1.0, "bf16": 0.25}, turns, 4.0)):
        asked.clear()
        precision._measured.cache_clear()
        monkeypatch.setattr(precision, "_seconds", lambda work, device, times=times: seconds(work, device, times))
        assert precision.measured_speedup(torch.device("cpu")) == pytest.approx(speedup)
        assert precision.measured_speedup(torch.device("cpu")) == pytest.approx(speedup), "asked again, it is the same"
        assert len(asked) == calls
    precision._measured.cache_clear()


def test_a_run_goes_on_in_the_precision_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speedup(measured: float) -> None:
        monkeypatch.setattr(precision, "measured_speedup", lambda device: measured)

    request: dict[str, Any] = {"out": tmp_path / "run", "threads": 1, "options": {"generator_widths": "16,16"}}
    speedup(2.0)
    api.train("gan", "digits", steps=3, **request)
    config = RunFolder(tmp_path / "run").read_config()
    assert config["precision"] == {"name": "bf16", "speedup": 2.0}
    speedup(0.5)
    api.train("gan", "digits", steps=6, **request)
    assert RunFolder(tmp_path / "run").read_config()["precision"] == config["precision"]
    api.resume(tmp_path / "run", steps=9)
    assert RunFolder(tmp_path / "run").read_config()["precision"] == config["precision"]
    api.train("gan", "digits", steps=12, **request, precision="fp32")
    assert RunFolder(tmp_path / "run").read_config()["precision"]["name"] == "fp32"


def test_what_runs_on_a_device_makes_float64_on_the_cpu_alone() -> None:
    """MPS has no float64, and no machine with MPS runs these tests."""
    package = Path(saddlepoint.__file__).parent
    rooms = ("engine", "families", "family", "nn", "objectives")
    files = [path for room in rooms for path in (package / room).rglob("*.py")]
    files.append(package / "evaluation" / "features.py")
    # A line that says "on the CPU" makes it there.
    rule = re.compile(r"^(?!.*# on the CPU).*?((?<!\.cpu\(\))\.double\(\)|torch\.float64)", re.MULTILINE)
    assert {path.name: found for path in files if (found := rule.findall(path.read_text()))} == {}
    assert len(files) > 40
