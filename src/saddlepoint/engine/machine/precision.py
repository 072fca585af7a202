"""In which type of numbers matrix products are computed: fp32, or bf16 with everything else in fp32.

Weights, their averages and the optimizer's state are fp32 in both; so are D's last layer, losses and penalties. bf16 is
autocast's: it casts the inputs of matrix products and convolutions, where nearly all the time goes.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.engine.machine.runtime import wait_for
from saddlepoint.nn.native import dispatch

PRECISIONS = ("auto", "fp32", "bf16")
HOPELESS = 8.0  # A bf16 product that takes so many times as long as an fp32 one is not measured again
REPEATS = 12  # products of each kind that are timed
# A bf16 matrix product must be this much faster than an fp32 one: casts and the other operations take their part.
PAYS = 1.3


@dataclass(frozen=True)
class Precision:
    """What was chosen.

    Attributes:
        name: fp32 or bf16.
        speedup: of a bf16 matrix product over an fp32 one, measured here; None: not asked for.
    """

    name: str = "fp32"
    speedup: float | None = None

    @contextmanager
    def __call__(self, device: torch.device) -> Iterator[None]:
        """Compute what is inside in this precision."""
        if self.name == "fp32":
            yield
        else:
            # bf16 has the exponents of fp32: gradients do not vanish, and no loss is scaled, as fp16 would need.
            with torch.autocast(device.type, torch.bfloat16), dispatch.applied():
                yield

    def __str__(self) -> str:
        if self.speedup is None:
            return self.name
        times, word = max(self.speedup, 1 / self.speedup), "faster" if self.speedup >= 1 else "slower"
        return f"{self.name} (here a bf16 matrix product is {times:.1f} times {word} than an fp32 one)"


FP32 = Precision()
"""The default of the engine's parts."""


def choose_precision(name: str, device: torch.device, modality: str = "image", depth: int = 8) -> Precision:
    """Return the precision called ``name``; ``auto`` takes bf16 where a short measurement says that it pays.

    Args:
        name: auto, fp32 or bf16.
        device: where training runs. On MPS auto is fp32.
        modality: of the data. For sequences auto is bf16 only where the kernels of `nn/native` are: these compute
            recurrences in fp32, in fewer passes, and convolutions in bf16. PyTorch's casts would cost more than they
            gain (docs/performance.md).
        depth: bits of a value that the data keeps. Of 16 auto is fp32: bf16 holds 8 of them.

    Raises:
        ConfigError: if there is none of this name.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"precision is '{name}'; {suggest(name, PRECISIONS)}")
    if name != "auto":
        return Precision(name)
    by_kernels = device.type == "cpu" and dispatch.available()
    if device.type == "mps" or depth > 8 or (modality == "sequence" and not by_kernels):
        return FP32
    speedup = measured_speedup(device)
    return Precision("bf16" if speedup >= PAYS else "fp32", float(f"{speedup:.3g}"))


def kernels_told(precision: Precision, device: torch.device) -> str | None:
    """Say whether products are computed by the kernels in C, and if not why; None: in this precision they never are.

    The first call on a machine compiles them.

    Raises:
        ConfigError: if the environment asks for kernels that there are not.
    """
    wanted = dispatch.wanted()  # a slip in the variable is told in any precision
    if precision.name == "fp32" or device.type != "cpu":
        return None
    return dispatch.told() if wanted else f"PyTorch's ({dispatch.VARIABLE}=pytorch)"


def measured_speedup(device: torch.device, side: int = 512) -> float:
    """Return how much faster than in fp32 a matrix product is in bf16 on this device.

    It takes some milliseconds, once in a process for each number of threads: trainings one after another choose alike.
    """
    return _measured(device, side, torch.get_num_threads())


@functools.cache
def _measured(device: torch.device, side: int, threads: int) -> float:
    # In turns, and the best of many: a run must not depend on what else the machine did then.
    kinds = (torch.float32, torch.bfloat16)
    made = {kind: torch.ones(side, side, dtype=kind, device=device) for kind in kinds}
    best = dict.fromkeys(kinds, math.inf)
    for _ in range(REPEATS):
        for kind, a in made.items():
            best[kind] = min(best[kind], _seconds(lambda a=a: a @ a, device))  # type: ignore[misc]
        if best[torch.bfloat16] > HOPELESS * best[torch.float32]:  # bf16 is emulated: one product tells enough
            break
    return best[torch.float32] / best[torch.bfloat16]


def _seconds(work: Callable[[], torch.Tensor], device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)  # kernels are queued: without it the time of queueing would be measured
    return time.perf_counter() - started
