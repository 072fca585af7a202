"""Optimizers made from their specifications, and moving averages of networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.machine.distributed import ProcessGroup
from saddlepoint.family import Family, OptimizerSpec, Phase, Progress, Schedule
from saddlepoint.nn.adam import FUSED, adam_step
from saddlepoint.nn.muon import is_matrix, muon_step


class Optimizer:
    """One optimizer of a family: steps the parameters it is given gradients for, on its schedules.

    State and results are those of `torch.optim.Adam` and `torch.optim.SGD`, bit for bit; Muon's are those of `nn.muon`.

    Args:
        spec: kind and schedules.
        named: the parameters it may ever train, by their names in the family.
    """

    # The functions below torch.optim's classes, not these: making one imports torch._dynamo, which in PyTorch 2.13
    # takes 1.1 s of a core (3 s on a machine with other work) and 72 MiB, before the first step of every run. Steps are
    # the same, and the classes' a little slower: by 1.4% (gan mnist), 1.3% (dcgan small), 0.0% (stylegan tiny-32) and
    # 0.6% (timegan increments), of one thread, in turns in one process. tests/unit/test_updates.py holds the functions
    # against the classes: it fails where a new PyTorch changes them.
    def __init__(self, spec: OptimizerSpec, named: Mapping[str, nn.Parameter]) -> None:
        self.spec, self._named = spec, dict(named)
        self._names = {parameter: name for name, parameter in named.items()}
        self._state: dict[str, dict[str, Tensor]] = {}
        self._rates = {name: spec.multipliers.get(name.partition(".")[0], 1.0) for name in named}
        # None leaves the choice to PyTorch.
        self._fused = all(p.device.type in FUSED for p in named.values()) or None

    @torch.no_grad()
    def step(self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], at: Progress) -> None:
        """Move ``parameters`` along ``gradients``; a parameter without a gradient stays and keeps its state."""
        # Gradients are handed over, never kept in .grad: what one phase leaves there another would add to.
        pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
        rates = [self._rates[self._names[p]] for p, _ in pairs]
        for rate in dict.fromkeys(rates):  # one fused call has one learning rate
            chosen = [pair for pair, own in zip(pairs, rates, strict=True) if own == rate]
            self._move(chosen, rate * _at(self.spec.lr, at), at)

    def _move(self, pairs: Sequence[tuple[nn.Parameter, Tensor]], lr: float, at: Progress) -> None:
        states = [self._state.setdefault(self._names[p], {}) for p, _ in pairs]  # by name, as checkpoints have it
        if self.spec.kind == "adam":
            self._adam(pairs, states, lr, at)
        elif self.spec.kind == "muon":
            for told, step in ((True, self._muon), (False, self._adam)):
                chosen = [i for i, (p, _) in enumerate(pairs) if is_matrix(p) == told]
                step([pairs[i] for i in chosen], [states[i] for i in chosen], lr, at)
        else:
            # A first step makes momenta, a later one reads them: PyTorch does one of the two for all in a call.
            new = [i for i, state in enumerate(states) if not state]  # also later: a phase of its own may begin late
            old = [i for i, state in enumerate(states) if state]
            for chosen in (new, old):
                self._sgd([pairs[i] for i in chosen], [states[i] for i in chosen], lr, at)

    def _adam(
        self, pairs: Sequence[tuple[Tensor, Tensor]], states: Sequence[dict[str, Tensor]], lr: float, at: Progress
    ) -> None:
        spec = self.spec
        adam_step(
            [p for p, _ in pairs], [g for _, g in pairs], states, lr=lr, betas=(spec.betas[0], _at(spec.betas[1], at)),
            eps=spec.eps, weight_decay=spec.weight_decay, fused=self._fused,
        )  # fmt: skip

    def _muon(
        self, pairs: Sequence[tuple[Tensor, Tensor]], states: Sequence[dict[str, Tensor]], lr: float, at: Progress
    ) -> None:
        rate, momentum = lr * self.spec.matrix_lr, _at(self.spec.momentum, at)
        muon_step([p for p, _ in pairs], [g for _, g in pairs], states, lr=rate, momentum=momentum)

    def _sgd(
        self, pairs: Sequence[tuple[Tensor, Tensor]], states: Sequence[dict[str, Tensor]], lr: float, at: Progress
    ) -> None:
        # v = mu v + g; p -= lr v. Unlike in Sutskever et al. 2013, eq. 1, a falling rate shrinks what v has gathered.
        momenta = [state.get("momentum_buffer") for state in states]
        sgd(
            [p for p, _ in pairs], [g for _, g in pairs], momenta, fused=self._fused, lr=lr,
            momentum=_at(self.spec.momentum, at), weight_decay=self.spec.weight_decay, dampening=0.0, nesterov=False,
            maximize=False,
        )  # fmt: skip
        for state, momentum in zip(states, momenta, strict=True):
            if momentum is not None:  # without momentum PyTorch makes none
                state["momentum_buffer"] = momentum

    def state_dict(self) -> dict[str, Tensor]:
        """Return momenta and counters as tensors named ``parameter/entry``."""
        return {f"{name}/{key}": entry for name, state in self._state.items() for key, entry in state.items()}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: if a name is not one of this optimizer's parameters.
        """
        self._state = {}
        for name, entry in saved.items():
            parameter, _, key = name.rpartition("/")
            owner = self._named.get(parameter)
            if owner is None:
                raise CheckpointError(
                    f"the checkpoint holds optimizer state for an unknown parameter '{parameter[:60]}'"
                )
            wanted = torch.Size(()) if key == "step" else owner.shape
            if key not in _KEPT or entry.shape != wanted or not entry.is_floating_point():
                raise CheckpointError(f"the checkpoint's optimizer state '{name[:60]}' is none of its parameter's")
            # A momentum must lie in memory as its parameter does, which may have its channels last.
            kept = torch.empty_like(owner.detach()) if entry.shape == owner.shape else torch.empty_like(entry)
            place = owner.device if self._fused or key != "step" else "cpu"  # as `adam_step` makes them
            self._state.setdefault(parameter, {})[key] = kept.to(place).copy_(entry)


_KEPT = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
"""What an optimizer keeps for a parameter."""


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


@contextmanager
def exchanged(family: Family, networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put networks in the place of the family's own, by their names, inside the block."""
    own = {name: family.get_submodule(name) for name in networks}
    try:
        # By setattr, which keeps the place among the children: the order of state_dict's names stays.
        for name, network in networks.items():
            setattr(family, name, network)
        yield
    finally:
        for name, network in own.items():
            setattr(family, name, network)


class Gradient:
    """A phase's mean loss and the gradient of it, added up over shares of a minibatch.

    Attributes:
        phase: whose.
        skipped: whether a share asks that the phase skips its turn.
        loss: mean loss; None where nothing was added, or the phase skips its turn.
        of_parameters: for each parameter that the phase trains, in their order; None for one that the loss does not
            depend on. Empty where the phase skips its turn.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.skipped = False
        self.loss: Tensor | None = None
        self.of_parameters: tuple[Tensor | None, ...] = ()

    def add(self, loss: Tensor, of_parameters: tuple[Tensor | None, ...]) -> None:
        """Add that of one share."""
        if self.loss is None:
            self.loss, self.of_parameters = loss, of_parameters
        else:
            self.loss = self.loss + loss
            # Out of place: autograd.grad may give the same tensor for two parameters, or a view of another.
            self.of_parameters = tuple(
                b if a is None else a if b is None else a + b
                for a, b in zip(self.of_parameters, of_parameters, strict=True)
            )

    def average(self, group: ProcessGroup, shares: int, *, skips: bool = False) -> None:
        """Turn the sums into means over all shares, those of other processes included; the same on all of them.

        Args:
            group: of the processes.
            shares: of the minibatch.
            skips: whether a phase may skip its turn: what one share asks for, all do.
        """
        if skips and group.any(self.skipped):
            self.loss, self.of_parameters = None, ()
        if self.loss is None or shares == 1:
            return
        # Loss and gradients in one message: first the mean over this process's shares, then over processes.
        found = [self.loss, *(gradient for gradient in self.of_parameters if gradient is not None)]
        means = group.averaged(_divided(found, shares // group.size))
        self.loss, rest = means[0], iter(means[1:])
        self.of_parameters = tuple(None if gradient is None else next(rest) for gradient in self.of_parameters)


class Buffers:
    """What losses leave in a family's buffers, such as running statistics: that of all shares is the mean of theirs.

    Of whole numbers and of truths, such as the states of Markov chains, there is no mean: they are those of the first
    share.

    Args:
        family: whose buffers.
        shares: of a minibatch, over all processes; with one, nothing is kept or copied.
    """

    def __init__(self, family: Family, shares: int) -> None:
        self._all = list(family.buffers()) if shares > 1 else []
        self._before = [buffer.clone() for buffer in self._all]
        self._moved: list[Tensor] = []
        self._first: list[Tensor] = []
        self._shares = shares

    def each(self, shares: Sequence[int]) -> Iterator[int]:
        """Go through this process's shares; how far each moves the buffers is kept."""
        for share in shares:
            # Each share begins where the first did: neither their order, nor which process has which, may matter.
            with torch.no_grad():
                for buffer, before in zip(self._all, self._before, strict=True):
                    buffer.copy_(before)
            yield share
            with torch.no_grad():
                moved = [b - a for b, a in zip(self._all, self._before, strict=True) if b.is_floating_point()]
            if share == shares[0]:
                self._first = [b.clone() for b in self._all if not b.is_floating_point()]
            self._moved = [a + b for a, b in zip(self._moved, moved, strict=True)] if self._moved else moved

    @torch.no_grad()
    def average(self, group: ProcessGroup) -> None:
        """Move them by the mean over all shares, those of other processes included; the same on all of them."""
        whole = [b for b in self._all if not b.is_floating_point()]
        for buffer, first in zip(whole, self._first, strict=True):
            buffer.copy_(first)
        if whole:
            group.copy_(whole)
        if not self._moved:
            return
        means = group.averaged(_divided(self._moved, self._shares // group.size))
        floats = [(b, a) for b, a in zip(self._all, self._before, strict=True) if b.is_floating_point()]
        for (buffer, before), mean in zip(floats, means, strict=True):
            buffer.copy_(before + mean)


class Averages:
    """Moving averages of a family's generators; buffers are copied, parameters averaged."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._modules = nn.ModuleDict({name: copy.deepcopy(family.get_submodule(name)) for name in family.averaged})
        self._modules.requires_grad_(False)
        self._stale = False
        # Walks through all modules are a tenth of a small network's step, and what they find never changes.
        self._parameters, self._buffers = (
            [(list(of(average)), list(of(module))) for average, module in self._pairs()]
            for of in (nn.Module.parameters, nn.Module.buffers)
        )

    @property
    def modules(self) -> nn.ModuleDict:
        """The averaged copies by name."""
        if self._stale:
            self.copy()
        return self._modules

    @torch.no_grad()
    def update(self, beta: float) -> None:
        """Replace every average a by beta a + (1 - beta) p; with beta = 0 the copying waits until someone looks."""
        self._stale = beta == 0.0  # no average is kept: a copy at every step would cost as much and serve nobody
        if self._stale:
            return
        for averages, parameters in self._parameters:
            # a + (1 - beta)(p - a): one call for all parameters, exact where a and p are equal.
            torch._foreach_lerp_(averages, parameters, 1.0 - beta)
        for averages, buffers in self._buffers:
            # Copied: a mean of running statistics over steps is of no network either; see recalibrate_batch_norm.
            for old, new in zip(averages, buffers, strict=True):
                old.copy_(new)

    def copy(self) -> None:
        """Make every average equal to its network."""
        self._stale = False
        for average, module in self._pairs():
            average.load_state_dict(module.state_dict())  # buffers too, which parameters() leaves out

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(average, self._family.get_submodule(name)) for name, average in self._modules.items()]

    @contextmanager
    def applied(self) -> Iterator[Family]:
        """Let the family sample with its averages inside the block."""
        with exchanged(self._family, dict(self.modules.items())):
            yield self._family


def _divided(tensors: Sequence[Tensor], count: int) -> Sequence[Tensor]:
    """Return sums of ``count`` as means; of one, what is there: a copy of all gradients is a tenth of a message."""
    return torch._foreach_div(list(tensors), count) if count > 1 else tensors


def _at(schedule: Schedule, progress: Progress) -> float:
    return schedule(progress) if callable(schedule) else schedule
