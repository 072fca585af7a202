"""The device that tests marked ``gpu`` compute on, and the same random numbers on every device."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saddlepoint.engine.machine.runtime import seed_for

VARIABLE = "SADDLEPOINT_TEST_DEVICE"
"""Names the device; ``cpu`` is a dry run, in which both sides of a comparison are the same."""


def device_of_tests() -> torch.device | None:
    """Return the device that the variable names, else CUDA or MPS where there is one, else None."""
    if named := os.environ.get(VARIABLE):
        return torch.device(named)
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps") if torch.backends.mps.is_available() else None


class Stream(torch.Generator):
    """A generator of the CPU that says it is on another device, for `SameDraws`."""

    place = torch.device("cpu")

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place


def same_stream(device: torch.device | str, *parts: int | str) -> Stream:
    """Return a generator whose draws are the CPU's, whatever the device."""
    found = Stream()
    found.place = torch.device(device)
    found.manual_seed(seed_for(*parts))
    return found


class SameDraws(TorchFunctionMode):
    """Lets what is drawn from a `Stream` be drawn on the CPU and brought to the device: each device has its own draws.

    Only so can two devices be held against one another.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if not isinstance(generator, Stream):
            return func(*args, **kwargs)
        if args and isinstance(args[0], Tensor):  # a method in place, or a function of the shape of a tensor
            drawn = func(torch.empty(args[0].shape, dtype=args[0].dtype), *args[1:], **kwargs)
            return args[0].copy_(drawn) if func.__name__.endswith("_") else drawn.to(generator.place)
        kwargs["device"] = "cpu"
        return func(*args, **kwargs).to(generator.place)
