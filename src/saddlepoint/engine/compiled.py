"""Compiled networks: the same gradients from fewer and larger kernels, or none of it.

`torch.compile` is believed after a trial only: it is known to lose the graph of a gradient's gradient without a word.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from saddlepoint.engine.machine.runtime import wait_for
from saddlepoint.engine.plan import Position
from saddlepoint.engine.training import TrainingState
from saddlepoint.engine.updates import Gradient, exchanged
from saddlepoint.family import Family

# Largest distance of a phase's gradient from the eager one, as a share of its norm: sums are taken in other orders.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}


class Compiled:
    """The networks of a family that have been compiled, to be used while losses are computed and at no other time.

    Args:
        family: the networks as they are.
        backend: of `torch.compile`.
    """

    def __init__(self, family: Family, backend: str | Callable[..., object] = "inductor") -> None:
        self._family, self._backend = family, backend
        self._networks: dict[str, nn.Module] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The compiled networks."""
        return tuple(self._networks)

    def applied(self) -> AbstractContextManager[None]:
        """Put the compiled networks in the place of the eager ones inside the block."""
        # Around losses only: sampling has other batch sizes and another mode, and each would be compiled again.
        return exchanged(self._family, self._networks)

    def compile(
        self,
        state: TrainingState,
        gradients_of: Callable[[Position], Sequence[Gradient]],
        precision: str,
        say: Callable[[str], None],
    ) -> float:
        """Compile every network whose gradients stay what they are; return the seconds it took.

        Args:
            state: stays as it is.
            gradients_of: computes the gradients of a pass inside `applied`, from the same noise at every call.
            precision: fp32 or bf16.
            say: hears of each network.
        """
        started = time.monotonic()
        say("compile: a trial of each network begins; it may take a minute")
        stages = self._family.stages()
        if any(stage.simultaneous for stage in stages):
            from torch._functorch import config

            # Such a stage goes back through a graph twice: its buffers are not to be given away the first time.
            config.donated_buffer = False
        places = [Position(stage, start, 0) for stage in stages for start in {phase.offset for phase in stage.cycle}]

        def gradients() -> list[tuple[Tensor | None, ...]]:
            with state.unchanged():
                return [gradient.of_parameters for place in places for gradient in gradients_of(place)]

        device = next(self._family.parameters()).device
        reference, before = gradients(), _seconds(gradients, device)  # eager, from the noise that each trial will see
        for name, network in list(self._family.named_children()):
            if next(network.parameters(), None) is None:
                continue
            if getattr(network, "by_hand", False):
                say(f"compile: {name} stays eager: its passes are written by hand")
                continue
            # One network after the other: a fault is then of one of them, and the others keep what they gain.
            fast = torch.compile(network, backend=self._backend, dynamic=False)
            assert isinstance(fast, nn.Module)
            self._networks[name] = fast
            try:
                with warnings.catch_warnings(action="ignore"):  # the compiler's, about code of its own
                    error = max(distance(*pair) for pair in zip(gradients(), reference, strict=True))
            except Exception as failure:  # whatever a compiler raises
                why = f"{type(failure).__name__}: {' '.join(str(failure).split())[:160]}"
            else:
                why = "" if error <= TOLERANCE[precision] else f"its gradients are off by {error:.2g} of their norm"
            if why:
                del self._networks[name]
            say(f"compile: {name} stays eager ({why})" if why else f"compile: {name} passed the trial")
        seconds = time.monotonic() - started
        if self._networks:
            share = _seconds(gradients, device) / before
            say(f"compile: gradients take {share:.2f} of the eager time; compiling took {seconds:.0f} s of the budget")
        return seconds


def distance(found: Sequence[Tensor | None], reference: Sequence[Tensor | None]) -> float:
    """Return ||found - reference|| / ||reference||; infinite if a gradient is there in one of them only."""
    if [g is None for g in found] != [g is None for g in reference]:
        return float("inf")
    pairs = [
        (a.cpu().double(), b.cpu().double())
        for a, b in zip(found, reference, strict=True)
        if a is not None and b is not None
    ]
    off, norm = (sum(float(v.square().sum()) for v in vectors) ** 0.5 for vectors in (
        [a - b for a, b in pairs], [b for _, b in pairs]))  # fmt: skip
    return off / norm if norm else off  # of the whole gradient: a small parameter's own share may be all rounding


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    def once() -> float:
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)  # kernels are queued: without it the time of queueing would be measured
        return time.perf_counter() - started

    return min(once() for _ in range(3))  # the least: whatever else runs only adds
