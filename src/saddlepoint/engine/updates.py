"""Optimizers made from their specifications, and moving averages of networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint._errors import CheckpointError
from saddlepoint.engine.world import World
from saddlepoint.family import Family, OptimizerSpec, Progress, Schedule


class Optimizer:
    """One optimizer of a family: steps the parameters it is given gradients for, on its schedules.

    Args:
        spec: kind and schedules.
        named: the parameters it may ever train, by their names in the family.
    """

    def __init__(self, spec: OptimizerSpec, named: Mapping[str, nn.Parameter]) -> None:
        self.spec = spec
        self._names = list(named)
        parameters = list(named.values())
        fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
        lr, momentum = _at(spec.lr, Progress()), _at(spec.momentum, Progress())
        self._optimizer: torch.optim.Optimizer
        if spec.kind == "sgd":
            self._optimizer = torch.optim.SGD(
                parameters, lr=lr, momentum=momentum, weight_decay=spec.weight_decay, fused=fused
            )
        else:
            self._optimizer = torch.optim.Adam(
                parameters, lr=lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, fused=fused
            )

    def step(self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], at: Progress) -> None:
        """Move ``parameters`` along ``gradients``; a parameter without a gradient stays and keeps its state."""
        (group,) = self._optimizer.param_groups
        group["lr"] = _at(self.spec.lr, at)
        if self.spec.kind == "sgd":
            group["momentum"] = _at(self.spec.momentum, at)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        """Return momenta and counters as tensors named ``parameter/entry``."""
        state: dict[int, dict[str, Any]] = self._optimizer.state_dict()["state"]
        return {
            f"{self._names[index]}/{key}": entry
            for index, entries in state.items()
            for key, entry in entries.items()
            if isinstance(entry, Tensor)
        }

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: if a name is not one of this optimizer's parameters.
        """
        state: dict[int, dict[str, Tensor]] = {}
        (group,) = self._optimizer.param_groups
        for name, entry in saved.items():
            parameter, _, key = name.rpartition("/")
            if parameter not in self._names:
                raise CheckpointError(f"the checkpoint holds optimizer state for an unknown parameter '{parameter}'")
            index = self._names.index(parameter)
            owner = group["params"][index]
            # A momentum must lie in memory as its parameter does, which may have its channels last.
            kept = entry.clone() if entry.shape != owner.shape else torch.empty_like(owner.detach()).copy_(entry)
            state.setdefault(index, {})[key] = kept
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def build_optimizers(family: Family) -> dict[str, Optimizer]:
    """Build every optimizer of ``family`` over the parameters that its phases train with it."""
    optimizers = {}
    for name, spec in family.optimizers().items():
        phases = [p for stage in family.stages() for p in stage.cycle if p.optimizer == name]
        named = {key: value for phase in phases for key, value in trained(family, phase.trains).items()}
        optimizers[name] = Optimizer(spec, named)
    return optimizers


def trained(family: Family, modules: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters of the named submodules by their full names."""
    return {
        f"{module}.{name}": parameter
        for module in modules
        for name, parameter in family.get_submodule(module).named_parameters()
    }


class Pull:
    """Where one phase pulls its parameters: its mean loss and gradients, added up over shares of a minibatch."""

    def __init__(self) -> None:
        self.loss: Tensor | None = None
        self.gradients: tuple[Tensor | None, ...] = ()

    def add(self, loss: Tensor, gradients: tuple[Tensor | None, ...]) -> None:
        """Add those of one share."""
        if self.loss is None:
            self.loss, self.gradients = loss, gradients
        else:
            self.loss = self.loss + loss
            self.gradients = tuple(
                b if a is None else a if b is None else a + b for a, b in zip(self.gradients, gradients, strict=True)
            )

    def average(self, world: World, shares: int) -> None:
        """Turn the sums into means over all shares, those of other processes included; the same on all of them."""
        if self.loss is None or shares == 1:
            return
        found = [self.loss, *(gradient for gradient in self.gradients if gradient is not None)]
        means = torch._foreach_div(found, shares // world.size)
        world.average_(means)
        self.loss, rest = means[0], iter(means[1:])
        self.gradients = tuple(None if gradient is None else next(rest) for gradient in self.gradients)


class Averages:
    """Moving averages of a family's generators; buffers are copied, parameters averaged."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._modules = nn.ModuleDict({name: copy.deepcopy(family.get_submodule(name)) for name in family.averaged})
        self._modules.requires_grad_(False)
        self._stale = False

    @property
    def modules(self) -> nn.ModuleDict:
        """The averaged copies by name."""
        if self._stale:
            self.copy()
        return self._modules

    @torch.no_grad()
    def update(self, beta: float) -> None:
        """Replace every average a by beta a + (1 - beta) p; with beta = 0 the copying waits until someone looks."""
        self._stale = beta == 0.0
        if self._stale:
            return
        for average, module in self._pairs():
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - beta)
            for old, new in zip(average.buffers(), module.buffers(), strict=True):
                old.copy_(new)

    def copy(self) -> None:
        """Make every average equal to its network."""
        self._stale = False
        for average, module in self._pairs():
            average.load_state_dict(module.state_dict())

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(average, self._family.get_submodule(name)) for name, average in self._modules.items()]

    @contextmanager
    def applied(self) -> Iterator[Family]:
        """Let the family sample with its averages inside the block."""
        originals = {name: self._family.get_submodule(name) for name in self.modules}
        try:
            for name, average in self.modules.items():
                setattr(self._family, name, average)
            yield self._family
        finally:
            for name, module in originals.items():
                setattr(self._family, name, module)


def _at(schedule: Schedule, progress: Progress) -> float:
    return schedule(progress) if callable(schedule) else schedule
