"""How fast training is on this machine: the engine's step against a plain loop, and against what the processor can do.

Everything that is compared is measured in one run, in turns, because machines are shared: a ratio of two numbers that
were taken a minute apart says little. `saddle bench` prints what this page returns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.precision import choose_precision
from saddlepoint.engine.machine.threads import time_steps
from saddlepoint.engine.plan import Position
from saddlepoint.engine.updates import Gradient
from saddlepoint.family import Batch, Context, Phase, Terms
from saddlepoint.lab.bench_cases import CASES, Case, baseline_step, engine_step
from saddlepoint.lab.step_worker import peak

WARM_UP = 3
"""Steps before the clock starts: first ones allocate memory and choose kernels."""


@dataclass(frozen=True)
class Rate:
    """Median and range over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Rate:
        """Return that of some measurements."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Measured:
    """What was measured of one case.

    Attributes:
        case, what: its name, and what it is in words.
        engine, baseline: images (windows) a second.
        ratio: of the two, round by round.
        bf16_ratio: the engine with bf16 matrix products over the plain loop in fp32, round by round; None where
            ``--precision auto`` would not take bf16.
        flops: floating-point operations of the engine's step for one image, counted (matrix products, convolutions).
        baseline_flops: those of the plain step.
        ceiling_share: the engine's operations a second over those of large fp32 matrix products.
        memory, baseline_memory: peak MiB of a process that trains, above one that has imported the library.
        phases: share of the step's time by what it is spent on.
    """

    case: str
    what: str
    engine: Rate
    baseline: Rate
    ratio: Rate
    flops: float
    baseline_flops: float
    ceiling_share: float
    memory: float
    baseline_memory: float
    phases: Mapping[str, float]
    bf16_ratio: Rate | None = None


_KEYS = {
    "baseline": "plain", "baseline_flops": "plain_flops", "baseline_memory": "plain_memory", "bf16_ratio": "half",
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A bench: the cases, the ceilings in GFLOP/s by name, and the machine."""

    cases: tuple[Measured, ...]
    ceilings: Mapping[str, Rate]
    machine: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as figures are kept, under the keys that they have always had."""
        found = asdict(self)
        return {**found, "cases": [{_KEYS.get(key, key): case[key] for key in case} for case in found["cases"]]}


class Profiled(Trainer):
    """A trainer that notes what its time goes to."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.spent: dict[str, float] = {}

    def losses(
        self, phases: Sequence[Phase], batch: Batch, context: Callable[[], Context]
    ) -> Mapping[str, Terms | None]:
        """Compute the losses of phases, and note the time it took."""
        with self._noted("losses" if len(phases) > 1 else f"loss of the {phases[0].name}"):
            return super().losses(phases, batch, context)

    def accumulate(self, gradient: Gradient, terms: Terms | None, keep_graph: bool) -> None:
        """Add a share's gradient, and the time it took."""
        with self._noted(f"gradient of the {gradient.phase.name}"):
            super().accumulate(gradient, terms, keep_graph)

    def apply(self, gradients: Sequence[Gradient]) -> None:
        """Step the phases' optimizers, and note the time it took."""
        with self._noted("updates"):
            super().apply(gradients)

    def step(self, position: Position) -> None:
        """Make a step; what no phase took is data, noise, averages and the rest."""
        with self._noted("whole"):
            super().step(position)

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - started


def bench(
    names: Sequence[str] = (), *, rounds: int = 5, seconds: float = 2.0, threads: int | str | None = None
) -> Bench:
    """Measure cases on the CPU.

    Args:
        names: of cases or of families; none: all.
        rounds: turns; medians and ranges are over them.
        seconds: time of each variant in each turn, and of the steps whose parts are timed.
        threads: CPU threads, of all cases; ``auto`` or None: what is fastest for the engine's steps, measured first.

    Raises:
        ConfigError: on a name that is no case and no family with one.
    """
    # As training does; the plain loop, in the same process, has the benefit too.
    runtime.keep_freed_memory()
    count = runtime.read_threads(threads)
    chosen = [case for name in names or CASES for case in _cases(name)]
    steps = {case.name: list[Callable[[], object]]([engine_step(case), baseline_step(case)]) for case in chosen}
    if count is None and torch.get_num_threads() > 1:
        count = time_steps(lambda: [variants[0]() for variants in steps.values()], torch.get_num_threads()).best()
    runtime.use_threads(count)
    kinds = {case.modality for case in chosen}
    taken = {modality: choose_precision("auto", torch.device("cpu"), modality) for modality in kinds}
    for case in chosen:
        if taken[case.modality].name == "bf16":
            steps[case.name].append(engine_step(case, precision=taken[case.modality]))
    speeds: dict[str, list[list[float]]] = {case.name: [] for case in chosen}
    peaks: dict[str, list[float]] = {}
    for variants in steps.values():
        for _ in range(WARM_UP):
            for step in variants:
                step()
    for _ in range(rounds):
        for name, rate in _ceilings():
            peaks.setdefault(name, []).append(rate)
        for case in chosen:
            batch = case.config.batch_size
            speeds[case.name].append([batch * per_second(step, seconds) for step in steps[case.name]])
    ceilings = {name: Rate.of(values) for name, values in peaks.items()}
    measured = tuple(_summarised(case, steps[case.name], speeds[case.name], ceilings, seconds) for case in chosen)
    return Bench(measured, ceilings, runtime.machine())


def _cases(name: str) -> list[Case]:
    found = [case for case in CASES.values() if name in (case.name, case.family)]
    if not found:
        known = {*CASES, *(case.family for case in CASES.values())}
        raise ConfigError(f"nothing is measured under the name '{name}'; {suggest(name, known)}")
    return found


def _summarised(
    case: Case,
    steps: Sequence[Callable[[], object]],
    speeds: Sequence[Sequence[float]],
    ceilings: Mapping[str, Rate],
    seconds: float,
) -> Measured:
    ours, theirs, *bf16_ratio = (list(rates) for rates in zip(*speeds, strict=True))
    engine_rate, baseline_rate = Rate.of(ours), Rate.of(theirs)
    batch = case.config.batch_size
    flops, baseline_flops = (count_operations(step) / batch for step in steps[:2])
    base = _peak_memory(case.name, "nothing")
    return Measured(
        case=case.name, what=case.what, engine=engine_rate, baseline=baseline_rate, ratio=_ratio(ours, theirs),
        bf16_ratio=_ratio(bf16_ratio[0], theirs) if bf16_ratio else None, flops=flops, baseline_flops=baseline_flops,
        ceiling_share=engine_rate.median * flops / 1e9 / ceilings["matrix product, fp32"].median,
        memory=_peak_memory(case.name, "engine") - base, baseline_memory=_peak_memory(case.name, "plain") - base,
        phases=_shares(case, seconds),
    )  # fmt: skip


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Rate:
    return Rate.of([a / b for a, b in zip(ours, theirs, strict=True)])


def per_second(step: Callable[[], object], seconds: float) -> float:
    """Return how often ``step`` can be made in a second."""
    started, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or done == 0:
        step()
        done += 1
    return done / passed


def _ceilings() -> Iterator[tuple[str, float]]:
    """Measure matrix products and convolutions for a moment each, in GFLOP/s."""
    for precision, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(1024, 1024).to(kind) for _ in range(2))
        yield f"matrix product, {precision}", 2 * 1024**3 / 1e9 * per_second(lambda a=a, b=b: a @ b, 0.3)  # type: ignore[misc]
    x = torch.randn(16, 128, 32, 32).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        rate = per_second(lambda: layer(x), 0.3)
    yield "convolution 3x3, fp32, channels last", 2 * 16 * 32**2 * 128**2 * 9 / 1e9 * rate


def count_operations(step: Callable[[], object]) -> float:
    """Return the floating-point operations of one step."""
    with _Counter() as counter:
        step()
    return counter.total


class _Counter(TorchDispatchMode):
    """Adds up the operations of products and convolutions, by PyTorch's own formulas."""

    # Not FlopCounterMode: it also hooks into modules, and its hooks refuse autograd.grad in a leaf, which R1 needs.
    total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        self.total += 0 if formula is None else formula(*args, **(kwargs or {}), out_val=result)
        return result


def _shares(case: Case, seconds: float) -> dict[str, float]:
    """Return what a step's time goes to, of steps made for so many seconds."""
    step = engine_step(case, kind=Profiled)
    for _ in range(WARM_UP):
        step()
    trainer = step()
    assert isinstance(trainer, Profiled)
    trainer.spent.clear()
    per_second(step, seconds)
    whole = trainer.spent.pop("whole")
    shares = {name: spent / whole for name, spent in trainer.spent.items()}
    return {**shares, "data, noise, averages, the rest": 1 - sum(shares.values())}


def _peak_memory(name: str, variant: str) -> float:
    """Return the peak resident MiB of a fresh process that makes a few steps."""
    told = subprocess.run(
        [sys.executable, "-m", "saddlepoint.lab.bench", name, variant], capture_output=True, text=True, check=True
    )
    return float(told.stdout)


def _print_peak(name: str, variant: str) -> None:
    if variant != "nothing":
        step: Callable[[], object] = (engine_step if variant == "engine" else baseline_step)(CASES[name])
        for _ in range(WARM_UP):
            step()
    sys.stdout.write(f"{peak()}\n")


if __name__ == "__main__":
    _print_peak(*sys.argv[1:])
