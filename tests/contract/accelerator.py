"""A device that holds no numbers, to see what a GPU would have to wait for: steps on PyTorch's ``meta`` device.

Tensors there have shapes, types and a place, and no values. So whoever reads a value, or mixes places, fails; and what
comes over from the CPU can be counted. It stands for CUDA and for MPS, of which the CPU's machines have none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.sgd import sgd
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from saddlepoint.engine import loop, updates
from saddlepoint.engine.machine.runtime import seed_for

META = torch.device("meta")
WIDE = (torch.float64, torch.complex128)
"""Types that MPS does not have."""

MAKERS = ("tensor", "new_tensor", "as_tensor", "asarray")
"""Functions that make tensors of numbers of Python."""


class Generator(torch.Generator):
    """A generator that says it is on the meta device, where draws need no numbers."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return META


def stream(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a generator, of the meta device where that is meant."""
    found = Generator() if torch.device(device) == META else torch.Generator(device)
    return found.manual_seed(seed_for(*parts))


class Watch(TorchDispatchMode):
    """Notes tensors that come over from the CPU, and numbers of 64 bits, while work is done on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[str] = []
        self.wide: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        given, made = list(_tensors((args, kwargs))), list(_tensors(found))
        if any(t.device == META for t in (*given, *made)):
            # A number of no dimension goes along with the call, as numbers of Python do.
            if any(t.device != META and t.ndim for t in given):
                self.transfers.append(str(func))
            self.wide += [f"{func} {t.dtype}" for t in made if t.device == META and t.dtype in WIDE]
        return found


class Made(TorchFunctionMode):
    """Notes tensors that are made of numbers of Python and then brought to the device: no dispatcher sees them."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        given = args[1:] if name == "new_tensor" else args  # after the tensor whose method it is
        if name in MAKERS and not isinstance(given[0], Tensor) and found.device == META:
            self.watch.transfers.append(name)
        return found


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for part in given:
            yield from _tensors(part)


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watch what is done inside."""
    watch = Watch()
    with Made(watch), watch:
        yield watch


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine train on the meta device: generators that claim to be there, and what that device lacks."""
    monkeypatch.setattr(loop, "stream", stream)
    monkeypatch.setattr(torch, "autocast", _NoAutocast)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    # It has Adam's fused kernel, as CUDA and MPS have, and not SGD's, beside which PyTorch's other ways read nothing.
    monkeypatch.setattr(updates, "FUSED", ("meta",))
    monkeypatch.setattr(updates, "sgd", lambda *a, **k: sgd(*a, **{**k, "fused": None}))


class _NoAutocast(contextlib.nullcontext):  # type: ignore[type-arg]
    def __init__(self, device: str, dtype: torch.dtype | None = None, enabled: bool = True) -> None:
        super().__init__()
