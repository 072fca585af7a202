"""Optimizers against PyTorch's own, and gradients that are added up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.machine.distributed import SINGLE_PROCESS, ProcessGroup
from saddlepoint.engine.updates import Gradient, Optimizer
from saddlepoint.family import OptimizerSpec, Phase, Progress

ADAM = OptimizerSpec("adam", lr=lambda at: 0.1 / (1 + at.step), betas=(0.5, 0.9), weight_decay=0.01)
SGD = OptimizerSpec(
    "sgd", lr=lambda at: 0.1 / (1 + at.step), momentum=lambda at: 0.5 + 0.1 * at.step, weight_decay=0.01
)
PLAIN = replace(SGD, momentum=0.0)


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"conv": (4, 3, 5, 5), "matrix": (6, 7), "bias": (6,)}
    made = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    made["conv"] = nn.Parameter(made["conv"].detach().to(memory_format=torch.channels_last))
    return made


def pulls(step: int) -> list[Tensor | None]:
    """Return gradients; the bias has none at first, and comes late to its state."""
    generator = torch.Generator().manual_seed(100 + step)
    found = [torch.randn(p.shape, generator=generator) for p in parameters().values()]
    found[0] = found[0].to(memory_format=torch.channels_last)
    return [found[0], found[1], found[2] if step > 1 else None]


@pytest.mark.parametrize("spec", [ADAM, SGD, PLAIN])
def test_steps_are_those_of_pytorch_bit_for_bit(spec: OptimizerSpec) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = Optimizer(spec, ours)
    if spec.kind == "adam":
        reference: torch.optim.Optimizer = torch.optim.Adam(
            theirs.values(), betas=spec.betas, weight_decay=spec.weight_decay, fused=True
        )
    else:
        reference = torch.optim.SGD(theirs.values(), weight_decay=spec.weight_decay, momentum=1e-9, fused=True)
    for step in range(5):
        at = Progress(step)
        optimizer.step(list(ours.values()), pulls(step), at)
        (group,) = reference.param_groups
        group["lr"] = spec.lr(at) if callable(spec.lr) else spec.lr
        if spec.kind == "sgd":
            group["momentum"] = spec.momentum(at) if callable(spec.momentum) else spec.momentum
        for parameter, gradient in zip(theirs.values(), pulls(step), strict=True):
            parameter.grad = gradient
        if spec is SGD and step == 2:
            # Their fused form cannot make a first momentum beside those that are there.
            reference.state[theirs["bias"]]["momentum_buffer"] = torch.zeros_like(theirs["bias"])
        reference.step()
        for name, parameter in ours.items():
            assert torch.equal(parameter, theirs[name]), (name, step)


@pytest.mark.parametrize("spec", [ADAM, SGD])
def test_saved_state_goes_on_bit_for_bit(spec: OptimizerSpec) -> None:
    straight, stopped = parameters(), parameters()
    one, two = Optimizer(spec, straight), Optimizer(spec, stopped)
    for step in range(3):
        one.step(list(straight.values()), pulls(step), Progress(step))
        two.step(list(stopped.values()), pulls(step), Progress(step))
    resumed = Optimizer(spec, stopped)
    resumed.load_state_dict({name: tensor.contiguous() for name, tensor in two.state_dict().items()})
    assert {n: t.stride() for n, t in resumed.state_dict().items()} == {
        n: t.stride() for n, t in two.state_dict().items()
    }
    for step in range(3, 6):
        one.step(list(straight.values()), pulls(step), Progress(step))
        resumed.step(list(stopped.values()), pulls(step), Progress(step))
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in straight.items())
    with pytest.raises(CheckpointError, match="unknown parameter 'other'"):
        resumed.load_state_dict({"other/step": torch.zeros(())})


def test_shares_are_averaged_and_what_is_missing_counts_nothing() -> None:
    gradient = Gradient(Phase("g", ("generator",), "g"))
    gradient.add(torch.tensor(1.0), (torch.ones(2), None, torch.ones(1)))
    gradient.add(torch.tensor(3.0), (torch.ones(2) * 2, None, None))
    gradient.average(SINGLE_PROCESS, 2)
    assert gradient.loss is not None
    assert float(gradient.loss) == 2.0
    assert [None if g is None else g.tolist() for g in gradient.of_parameters] == [[1.5, 1.5], None, [0.5]]


def test_what_one_share_skips_all_do() -> None:
    """A process that stepped while another did not would wait for its gradients."""

    class Other(ProcessGroup):
        def any(self, truth: bool) -> bool:
            return True

    gradient = Gradient(Phase("g", ("generator",), "g"))
    gradient.add(torch.tensor(1.0), (torch.ones(2),))
    gradient.average(Other(), 2)
    assert gradient.loss is not None
    gradient.average(Other(), 2, skips=True)
    assert (gradient.loss, gradient.of_parameters) == (None, ())


def test_training_starts_without_the_compiler() -> None:
    """Importing it takes seconds, and nothing in a run needs it."""
    words = (
        "import sys, tempfile\nfrom saddlepoint.run import api\n"
        "api.start(api.plan('gan', 'digits', steps=2, out=tempfile.mkdtemp() + '/run'))\n"
        "print([name for name in ('torch._dynamo', 'sympy', 'matplotlib', 'sklearn.ensemble') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert told.stdout.strip().endswith("[]"), told.stdout
