"""Compiled networks: the gradients of every phase and penalty stay what they are, or the network stays eager."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.data.feed import Feed
from saddlepoint.engine.compiled import Compiled, distance
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.plan import locate
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family, families
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.mlp import leaky_mlp
from saddlepoint.run import api
from tests.contract.presets import made, reduced
from tests.contract.test_precision import PENALTIES

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own

QUICK = ("gan", "cgan", "dcgan")
"""Families whose networks are traced in seconds; the others take up to minutes, and wait for the slow suite."""
CASES = [
    pytest.param(name, preset, marks=[pytest.mark.slow] if number or name not in QUICK else [])
    for name, kind in families().items()
    for number, preset in enumerate(kind.PRESETS)
]
PLAYERS = ("generator", "discriminator")
BATCH = 16
TRACED = "aot_eager"
"""The backend that rewrites forward and backward passes as graphs, where one could get lost, without making kernels."""


def trainer(name: str, preset: str, backend: Any = TRACED) -> Trainer:
    dataset = made(families()[name], preset)
    config = dataclasses.replace(reduced(families()[name], preset), batch_size=BATCH)
    family = build_family(name, config, dataset.spec)
    made_up = Trainer(family, Feed(dataset.splits["train"], BATCH, 0), Settings(), RunFolder("unused"))
    prepare(family, dataset.stats())
    made_up.compiled = Compiled(family, backend)
    return made_up


def compiled(made_up: Trainer) -> list[str]:
    told: list[str] = []
    made_up.compiled.compile(made_up.state, made_up.rehearse, "fp32", told.append)
    return told


def weights_after(made_up: Trainer, steps: int = 3) -> Tensor:
    for step in range(steps):
        position = locate(made_up.stages, step)
        assert position is not None
        made_up.step(position)
    return torch.cat([p.detach().double().flatten() for p in made_up.state.family.parameters()])


def differentiates_twice(made_up: Trainer) -> bool:
    """Whether D's gradient is differentiated again through D itself, as in the paper of R3GAN; others go by hand."""
    return getattr(made_up.state.family.config, "block", "") == "grouped"


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_training_is_the_same(name: str, preset: str) -> None:
    fast = trainer(name, preset)
    before = {key: value.clone() for key, value in fast.state.family.state_dict().items()}
    told = compiled(fast)
    networks = dict(fast.state.family.named_children())
    wanted = {name for name in networks if name in PLAYERS and not getattr(networks[name], "by_hand", False)}
    refused = [line for line in told if "eager (" in line]
    if differentiates_twice(fast):
        wanted.remove("discriminator")
        assert len(refused) == 1, told
        assert refused[0].startswith("compile: discriminator stays eager"), told
        assert "double backward" in refused[0], told
    else:
        assert not refused
    assert wanted <= set(fast.compiled.names), told
    after = fast.state.family.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items()), "a trial leaves no trace"
    eager = trainer(name, preset)
    reference = weights_after(eager)
    assert float((weights_after(fast) - reference).norm() / reference.norm()) < 1e-5
    ours, theirs = (t.state.statistics.means() for t in (fast, eager))
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    torch.compiler.reset()


def critic_of(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind == "smooth":
        return nn.Sequential(nn.Linear(20, 32), nn.Softplus(), nn.Linear(32, 1), nn.Flatten(0))
    return nn.Sequential(nn.Linear(20, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Flatten(0))


@pytest.mark.parametrize("kind", ["smooth", "piecewise linear"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_through_a_compiled_critic_are_right_or_refused(penalty: str, kind: str) -> None:
    """A gradient's gradient cannot be had from a compiled network: it must be an error, never another number."""
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randn(8, 20, generator=generator) for _ in range(2))
    critic = critic_of(kind)

    def gradients(f: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
        value = PENALTIES[penalty](f, x, y).mean()
        return list(torch.autograd.grad(value, list(critic.parameters()), allow_unused=True))

    exact = gradients(critic)
    fast = torch.compile(critic, backend=TRACED)
    if penalty == "consistency":
        assert distance(gradients(fast), exact) < 1e-5
    else:
        with pytest.raises(RuntimeError, match="double backward"):
            gradients(fast)
    torch.compiler.reset()


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_penalties_written_by_hand_compile(kind: str) -> None:
    """The norms of D's gradient that the families use are outputs of the network itself."""
    torch.manual_seed(3)
    x = torch.randn(6, 3, 8, 8)
    layers = (
        [nn.Linear(192, 32), nn.Linear(32, 16), nn.Linear(16, 1)]
        if kind == "mlp"
        else [nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 16, 4, 2, 1)]
    )
    head = nn.Parameter(torch.randn(1, 64) / 8)
    parameters = [p for layer in layers for p in layer.parameters()]

    def penalised(x: Tensor) -> Tensor:
        if kind == "mlp":
            logits, norms, _ = leaky_mlp(x.flatten(1), layers, 0.2)  # type: ignore[arg-type]
        else:
            logits, norms, _ = leaky_convnet(x, layers, head, 0.2)  # type: ignore[arg-type]
        return (nn.functional.softplus(logits) + norms).mean()

    exact = torch.autograd.grad(penalised(x), parameters)
    found = torch.autograd.grad(torch.compile(penalised, backend=TRACED)(x), parameters)
    assert distance(found, exact) < 1e-5
    torch.compiler.reset()


def wrong(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Plant a fault: a compiler whose results are cut off from their inputs."""
    return lambda *arguments: tuple(value.detach() for value in graph(*arguments))


def missing(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler was found\nand a long text follows")


@pytest.mark.parametrize("backend", ["wrong", "missing"])
def test_what_fails_the_trial_stays_eager(backend: str) -> None:
    """In a process of its own: after other tests Dynamo may leave a network alone, which then passes any trial."""
    words = f"from tests.contract import test_compiled as own; own.stays_eager(own.{backend})"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", words], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def stays_eager(backend: Any) -> None:
    fast = trainer("gan", "mnist", backend)
    told = compiled(fast)
    assert fast.compiled.names == ()
    assert [line.split(" (")[0] for line in told[1:]] == [
        "compile: generator stays eager",
        "compile: discriminator stays eager",
    ]
    assert all("\n" not in line for line in told)
    if backend is missing:
        assert "no C++ compiler was found" in told[1]
    assert torch.equal(weights_after(fast), weights_after(trainer("gan", "mnist"))), "eager, bit for bit"
    torch.compiler.reset()


def test_distance() -> None:
    one, none = torch.ones(4), None
    assert distance([one, none], [one, none]) == 0
    assert distance([one * 1.1, none], [one, none]) == pytest.approx(0.1)
    assert distance([one, one], [one, none]) == float("inf"), "a lost graph is never near"


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """With real kernels; what the compiler says depends on the machine, so both runs are on this one."""
    request: dict[str, Any] = {"threads": 1, "compile": True, "options": {"generator_widths": "16,16"}}
    api.train("gan", "digits", steps=20, out=tmp_path / "whole", **request)
    api.train("gan", "digits", steps=10, out=tmp_path / "halves", **request)
    run = api.resume(tmp_path / "halves", steps=20)
    whole = api.load(tmp_path / "whole")
    for ours, theirs in zip(run.family.parameters(), whole.family.parameters(), strict=True):
        assert torch.equal(ours, theirs)
