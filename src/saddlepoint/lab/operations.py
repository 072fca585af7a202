"""Where the time of a step goes, by kind of operation, and how fast each product could be at its very shapes.

Operations are timed where PyTorch dispatches them, with the tensors of a real step; products and convolutions are then
made again alone, many times, from copies that lie in memory as the originals did. What is left of the step's time is
spent between operations: Python, autograd, the allocator.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.plan import locate
from saddlepoint.lab.against import Preset
from saddlepoint.lab.step_worker import WARM_UP, trainer_of
from saddlepoint.nn.native import dispatch, library
from saddlepoint.nn.native.products import told_shapes

KINDS = {
    "products": (
        "mm", "addmm", "bmm", "baddbmm", "mv", "dot", "affine_steps", "weight_steps", "gru", "gru_back", "gru_before",
        "gru_before_back", "affine_full", "affine_full_backward",
    ),
    "convolutions": (
        "convolution", "convolution_backward", "mkldnn_convolution", "_convolution", "forward", "input_gradient",
        "weight_gradient",
    ),
    "casts and copies": (
        "pack_forward", "pack_gradient", "pack_both", "_to_copy",
        "copy_", "clone", "cat", "stack", "index_select", "index", "contiguous", "flip",
    ),
    "random numbers": ("random_", "normal_", "uniform_", "rand", "randn", "randint", "randperm", "bernoulli_"),
    "optimizer and averages": ("_fused_adam_", "_fused_sgd_", "lerp_", "_foreach_lerp_", "_foreach_add_"),
    "sums and means": ("sum", "mean", "amax", "norm", "linalg_vector_norm", "var", "max", "min", "all", "any"),
    "views and allocation": (
        "view", "t", "transpose", "permute", "expand", "slice", "select", "as_strided", "unsqueeze", "squeeze", "split",
        "detach", "empty", "empty_strided", "zeros", "ones", "full", "empty_like", "zeros_like", "ones_like", "alias",
        "_unsafe_view", "new_empty_strided", "scalar_tensor", "_local_scalar_dense", "split_with_sizes", "unbind",
    ),
}  # fmt: skip
"""Names of PyTorch's operations, and of the kernels of `nn/native`, whose affine maps count as convolutions.
All others are elementwise."""

ELEMENTWISE, BETWEEN = "elementwise", "between operations"
TIMED = ("products", "convolutions")
"""Kinds whose operations are made again alone."""

REPEATS, LEAST_SECONDS = 20, 0.05
"""How often an operation is made alone, and for how long at least."""


@dataclass(frozen=True)
class Kernel:
    """One product or convolution of a step, at its shapes.

    Attributes:
        name: of the operation.
        shapes: of the tensors it takes, with their type of numbers.
        calls: a step.
        microseconds: of one call within the step, the median.
        alone: of one call made again and again, the fastest: what the kernel reaches with its tensors in the cache.
    """

    name: str
    shapes: str
    calls: float
    microseconds: float
    alone: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a preset's step goes.

    Attributes:
        name: of the preset.
        precision: of its matrix products.
        milliseconds: of a step that nobody watches, the median.
        shares: by kind of operation, of the time of a step.
        calls: operations of each kind in a step.
        kernels: products and convolutions, those that take longest first.
    """

    name: str
    precision: str
    milliseconds: float
    shares: dict[str, float]
    calls: dict[str, float]
    kernels: tuple[Kernel, ...]


@dataclass
class _Calls:
    seconds: list[float] = field(default_factory=list)
    again: Callable[[], object] | None = None
    alone: float | None = None


class _Watch(TorchDispatchMode):
    """Notes how long each operation takes, and keeps what products need to be made again."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], _Calls] = defaultdict(_Calls)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        begun = time.perf_counter()
        result = func(*args, **kwargs)
        spent = time.perf_counter() - begun
        name = func.overloadpacket.__name__
        calls = self.found[name, _shapes(args)]
        calls.seconds.append(spent)
        if calls.again is None and kind_of(name) in TIMED:
            kept = tree_map_only(Tensor, _copy, (args, kwargs))
            calls.again = lambda: func(*kept[0], **kept[1])
        return result


def kind_of(name: str) -> str:
    """Return the kind of an operation.

    >>> kind_of("addmm"), kind_of("leaky_relu")
    ('products', 'elementwise')
    """
    return next((kind for kind, names in KINDS.items() if name in names), ELEMENTWISE)


def operations(preset: Preset, precision: str = "auto", threads: int = 1, steps: int = 20) -> Profile:
    """Return where the time of a preset's step goes, on the CPU.

    Args:
        preset: what is trained.
        precision: fp32, bf16, or auto.
        threads: of the CPU.
        steps: that are timed, and as many that are watched.
    """
    runtime.keep_freed_memory()
    runtime.use_threads(threads)
    trainer = trainer_of(preset.family, preset.preset, preset.shape, preset.classes, precision)
    for _ in range(WARM_UP):
        _step(trainer)
    # Watching itself takes as long as a small step: shares are of steps that nobody watches.
    usual, watch = statistics.median([_step(trainer) for _ in range(steps)]), _Watch()
    with _kernels_watched(watch.found), watch:
        for _ in range(steps):
            _step(trainer)
    shares, calls = _by_kind({key: one.seconds for key, one in watch.found.items()}, steps, usual)
    kernels = [_kernel(key, one, steps) for key, one in watch.found.items() if one.again or one.alone]
    kernels.sort(key=lambda kernel: -kernel.calls * kernel.microseconds)
    return Profile(preset.name, trainer.precision.name, 1000 * usual, shares, calls, tuple(kernels))


def _by_kind(
    seconds: Mapping[tuple[str, str], Sequence[float]], steps: int, usual: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the share of a step and the calls of each kind, the largest share first.

    Args:
        seconds: of each call, by operation and shapes: a median over shapes would lose one large call among many small.
        steps: that were watched.
        usual: seconds of a step.
    """
    shares, calls = defaultdict[str, float](float), defaultdict[str, float](float)
    for (name, _), each in seconds.items():
        shares[kind_of(name)] += statistics.median(each) * len(each) / steps / usual
        calls[kind_of(name)] += len(each) / steps
    shares[BETWEEN] = max(0.0, 1 - sum(shares.values()))
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return ordered, {kind: calls[kind] for kind in ordered}


def _step(trainer: Trainer) -> float:
    position = locate(trainer.stages[-1:], trainer.state.step)  # the last stage: where a run spends most of its time
    assert position is not None
    begun = time.perf_counter()
    trainer.step(position)
    return time.perf_counter() - begun


def _kernel(key: tuple[str, str], calls: _Calls, steps: int) -> Kernel:
    alone = calls.alone if calls.again is None else _fastest(calls.again, LEAST_SECONDS)
    assert alone is not None
    return Kernel(key[0], key[1], len(calls.seconds) / steps, 1e6 * statistics.median(calls.seconds), 1e6 * alone)


@torch.no_grad()
def _fastest(again: Callable[[], object], least_seconds: float = 0.0) -> float:
    spent, begun = list[float](), time.perf_counter()
    while len(spent) < REPEATS or time.perf_counter() - begun < least_seconds:
        started = time.perf_counter()
        again()
        spent.append(time.perf_counter() - started)
    return min(spent)


@contextmanager
def _kernels_watched(found: dict[tuple[str, str], _Calls]) -> Iterator[None]:
    """Time the kernels in C inside the block, too, which PyTorch does not dispatch."""
    if not dispatch.available():
        yield
        return
    loaded = library.load()
    before = {name: getattr(loaded, name) for name in library.SIGNATURES}
    for name, function in before.items():
        setattr(loaded, name, functools.partial(_timed, found, name, function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(loaded, name, function)


def _timed(found: dict[tuple[str, str], _Calls], name: str, function: Callable[..., Any], *told: Any) -> Any:
    begun = time.perf_counter()
    result = function(*told)
    spent = time.perf_counter() - begun
    sized = name in ("forward", "input_gradient", "weight_gradient")
    calls = found[name, told_shapes(told[0]) if sized else ""]
    calls.seconds.append(spent)
    if sized and calls.alone is None:  # from the same numbers it makes the same numbers again
        calls.alone = _fastest(lambda: function(*told))
    return result


def _copy(x: Tensor) -> Tensor:
    """Return a copy that lies in memory as the original does."""
    if 0 in x.stride():  # expanded: the same numbers over and over
        once = x.detach()[tuple(slice(0, 1) if step == 0 else slice(None) for step in x.stride())]
        return once.clone(memory_format=torch.contiguous_format).expand(x.shape)
    kept = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    return kept.copy_(x.detach())


def _shapes(args: Sequence[Any]) -> str:
    tensors = [x for x in args if isinstance(x, Tensor)]
    kind = str(tensors[-1].dtype).removeprefix("torch.") if tensors else ""
    return " ".join("x".join(map(str, x.shape)) for x in tensors) + f" {kind}"
