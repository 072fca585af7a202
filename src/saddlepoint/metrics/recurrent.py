"""Ensembles of small recurrent networks, trained side by side: one thread, several seeds, hardly more time than one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saddlepoint.nn.adam import Adam


class _Recurrence(torch.autograd.Function):
    """The recurrence of `Recurrent` with its gradient by hand: automatic differentiation takes three times as long."""

    @staticmethod
    def forward(ctx: Any, driven: Tensor, gates: Tensor, candidate: Tensor) -> Tensor:
        steps, count, triple, rows = driven.shape
        units = triple // 3
        states = driven.new_zeros(steps + 1, count, units, rows)
        both = driven.new_empty(steps, count, 2 * units, rows)
        proposed = driven.new_empty(steps, count, units, rows)
        for t in range(steps):
            h, part, new = states[t], both[t], proposed[t]
            torch.baddbmm(driven[t, :, : 2 * units], gates, h, out=part).sigmoid_()
            torch.baddbmm(driven[t, :, 2 * units :], candidate, part[:, :units] * h, out=new).tanh_()
            torch.lerp(new, h, part[:, units:], out=states[t + 1])
        ctx.save_for_backward(states, both, proposed, gates, candidate)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = grads
        states, both, proposed, gates, candidate = ctx.saved_tensors
        units = proposed.shape[2]
        before, reset, update = states[:-1], both[:, :, :units], both[:, :, units:]
        # What does not depend on the gradient is computed for all steps at once.
        to_new = (1 - update) * (1 - proposed * proposed)
        to_update = (before - proposed) * update * (1 - update)
        to_reset = before * reset * (1 - reset)
        driven = states.new_empty(len(grad), states.shape[1], 3 * units, states.shape[3])
        turned, returned = gates.transpose(1, 2), candidate.transpose(1, 2)
        carried = torch.zeros_like(before[0])
        for t in range(len(grad) - 1, -1, -1):
            total = grad[t] + carried
            own = driven[t]
            torch.mul(total, to_new[t], out=own[:, 2 * units :])
            through = torch.bmm(returned, own[:, 2 * units :])
            torch.mul(total, to_update[t], out=own[:, units : 2 * units])
            torch.mul(through, to_reset[t], out=own[:, :units])
            total.mul_(update[t]).addcmul_(through, reset[t])
            carried = torch.baddbmm(total, turned, own[:, : 2 * units])
        by_network = driven.permute(1, 2, 0, 3).flatten(2)
        # Copied in whole rows and read as transposed: a copy that transposes takes several times as long.
        h, damped = (x.permute(1, 2, 0, 3).flatten(2).transpose(1, 2) for x in (before, reset * before))
        return driven, torch.bmm(by_network[:, : 2 * units], h), torch.bmm(by_network[:, 2 * units :], damped)


def glorot(count: int, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draw matrices (count, rows, columns), uniform with variance 2 / (rows + columns)."""
    limit = math.sqrt(6 / (rows + columns))
    return (2 * torch.rand(count, rows, columns, generator=generator) - 1) * limit


class RecurrentLayer(nn.Module):
    """GRU layers of independent networks: (time, count, inputs, n) to states.

    h_t = u_t h_{t-1} + (1 - u_t) tanh(W x_t + U (r_t h_{t-1}) + b): the reset gate r acts before the product, as in the
    paper of 2014 and in TensorFlow 1; PyTorch's own layer applies it after.

    Args:
        count: of networks.
        inputs, units: of each.
        generator: of the initial weights: uniform with variance 2 / (rows + columns) of each matrix, biases of the
            gates 1, all others 0, as TensorFlow 1 has them.

    Source: Cho et al. 2014, equations 5 to 8; Glorot & Bengio 2010, equation 16.
    """

    def __init__(self, count: int, inputs: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        gates = glorot(count, inputs + units, 2 * units, generator)
        candidate = glorot(count, inputs + units, units, generator)
        # Transposed, for rows come last: short vectors of units would waste the processor's wide instructions.
        self.entry = nn.Parameter(torch.cat([gates[:, :inputs], candidate[:, :inputs]], 2).transpose(1, 2).contiguous())
        self.offset = nn.Parameter(torch.cat([torch.ones(count, 2 * units, 1), torch.zeros(count, units, 1)], 1))
        self.gates = nn.Parameter(gates[:, inputs:].transpose(1, 2).contiguous())
        self.candidate = nn.Parameter(candidate[:, inputs:].transpose(1, 2).contiguous())

    def states(self, x: Tensor) -> Tensor:
        """Return the states after every step: (time, count, inputs, n) -> (time, count, units, n)."""
        steps, count, inputs, rows = x.shape
        flat = x.permute(1, 2, 0, 3).reshape(count, inputs, steps * rows)
        driven = torch.baddbmm(self.offset, self.entry, flat).view(count, -1, steps, rows).permute(2, 0, 1, 3)
        found: Tensor = _Recurrence.apply(driven, self.gates, self.candidate)
        return found


class Recurrent(RecurrentLayer):
    """Independent networks of GRU layers and one linear layer: (time, count, inputs, n) to outputs.

    Args:
        count: of networks.
        inputs, units, outputs: of each.
        generator: of the initial weights, as of `RecurrentLayer`.
        layers: of each, 1 or more; each reads the states of the one before.
    """

    def __init__(
        self, count: int, inputs: int, units: int, outputs: int, generator: torch.Generator, layers: int = 1
    ) -> None:
        super().__init__(count, inputs, units, generator)
        self.exit = nn.Parameter(glorot(count, units, outputs, generator).transpose(1, 2).contiguous())
        self.bias = nn.Parameter(torch.zeros(count, outputs, 1))
        self.above = nn.ModuleList(RecurrentLayer(count, units, units, generator) for _ in range(layers - 1))

    def states(self, x: Tensor) -> Tensor:
        """Return the last layer's states after every step: (time, count, inputs, n) -> (time, count, units, n)."""
        found = super().states(x)
        for layer in self.above:
            assert isinstance(layer, RecurrentLayer)
            found = layer.states(found)
        return found

    def read(self, states: Tensor) -> Tensor:
        """Return the linear layer's outputs for states (count, units, n)."""
        return torch.baddbmm(self.bias, self.exit, states)

    def last(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return the outputs (count, outputs, n) for the state at each row's last step, ``ends`` (count, n)."""
        states = self.states(x)
        index = ends[None, :, None].expand(1, ends.shape[0], states.shape[2], ends.shape[1])
        return self.read(states.gather(0, index)[0])

    def every(self, x: Tensor) -> Tensor:
        """Return the outputs after every step: (time, count, outputs, n)."""
        states = self.states(x)
        steps, count, units, rows = states.shape
        found = self.read(states.permute(1, 2, 0, 3).reshape(count, units, steps * rows))
        return found.view(count, -1, steps, rows).permute(2, 0, 1, 3)


def fit(network: nn.Module, loss: Callable[[], Tensor], iterations: int, rate: float, *, decay: bool = False) -> None:
    """Minimise a loss with Adam.

    Args:
        network: what is trained.
        loss: draws a minibatch and returns the sum of the networks' losses, so that each sees its own gradient.
        iterations: of Adam.
        rate: its step.
        decay: whether it falls to 0 along a cosine.
    """
    optimizer = Adam(network.parameters())
    for step in range(iterations):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step(rate * (0.5 + 0.5 * math.cos(math.pi * step / iterations)) if decay else rate)


def minibatches(parts: list[np.ndarray], size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield indices (count, size), for each network from its own part; without repetition in a minibatch if it can be.

    Args:
        parts: row numbers that each network is trained on.
        size: of a minibatch.
        rng: of the draws.
    """
    smallest = min(len(part) for part in parts)
    pools: list[np.ndarray] = [part[:0] for part in parts]
    while True:
        drawn = []
        for number, part in enumerate(parts):
            if smallest < size:
                drawn.append(rng.choice(part, size))
                continue
            if len(pools[number]) < size:
                pools[number] = rng.permutation(part)
            drawn.append(pools[number][:size])
            pools[number] = pools[number][size:]
        yield np.stack(drawn)
