"""What a generator draws and decides while it runs: an exported graph takes the one as input and keeps the other.

A family draws random numbers from a `torch.Generator`; a graph has none. `RandomInputs` listens to every call that is
given one: while it records it notes what was drawn, while it replays it hands out the values it was given instead.
Numbers that Python reads from tensors (`bool`, `int`, masks as indices) are noted too and replayed as constants: a
graph holds one way through the code, and a generator whose way depends on its inputs is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.mlp import random_bytes

_READERS = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist")


@dataclass(frozen=True)
class Draw:
    """One call for random numbers.

    Attributes:
        kind: ``normal`` (0, 1), ``uniform`` on [0, 1), or ``integers`` in [low, high).
        shape: of the tensor.
        low, high: of integers.
        whole: whether the generator reads them as int64, not as float32.
    """

    kind: str
    shape: tuple[int, ...]
    low: int = 0
    high: int = 0
    whole: bool = False


@dataclass
class RandomInputs(TorchFunctionMode):
    """Listens to random calls and readings inside a ``with`` block.

    Attributes:
        replayed: values to hand out, in the order of the calls; None: record.
        draws: what was drawn, while recording.
        values: what the draws were, while recording: as a replay takes them.
        readings: what Python read, while recording or from a recording.
    """

    replayed: Sequence[Tensor] | None = None
    readings: list[Any] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._next_draw = self._next_reading = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take the place of a call of PyTorch."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if isinstance(kwargs.get("generator"), torch.Generator):
            return self._drawn(func, name, args, kwargs)
        if name in _READERS and isinstance(args[0], Tensor):
            return self._read(lambda: func(*args, **kwargs))
        if name in ("__getitem__", "__setitem__"):
            args = (args[0], self._index(args[1]), *args[2:])
        return func(*args, **kwargs)

    def _drawn(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if self.replayed is not None:
            value = self.replayed[self._next_draw]
            self._next_draw += 1
            return value
        value = func(*args, **kwargs)
        if name in ("randn", "rand"):
            draw = Draw("normal" if name == "randn" else "uniform", tuple(value.shape))
        elif name == "randint":
            bounds = [arg for arg in args if isinstance(arg, int)]
            low, high = (0, *bounds) if len(bounds) == 1 else bounds
            draw = Draw("integers", tuple(value.shape), low, high, whole=True)
        elif func is random_bytes:
            draw = Draw("integers", tuple(value.shape), 0, 256)
        else:
            raise ConfigError(
                f"the generator draws random numbers by {name}, which cannot be exported; "
                "draw them by randn, rand, randint or random_bytes"
            )
        self.draws.append(draw)
        self.values.append(value if draw.whole else value.float())
        return value

    def _read(self, reading: Callable[[], Any]) -> Any:
        if self.replayed is None:
            self.readings.append(reading())
            return self.readings[-1]
        self._next_reading += 1
        return self.readings[self._next_reading - 1]

    def _index(self, index: Any) -> Any:
        """Return an index with places in the stead of masks, whose sizes a graph could not know."""
        parts = index if isinstance(index, tuple) else (index,)
        if not any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts):
            return index
        found: list[Any] = []
        for part in parts:
            if isinstance(part, Tensor) and part.dtype == torch.bool:
                found += self._read(lambda mask=part: mask.nonzero(as_tuple=True))  # type: ignore[misc]
            else:
                found.append(part)
        return tuple(found)


def same_readings(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two recordings went the same way."""
    return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return isinstance(b, tuple) and same_readings(a, b)
    return bool(torch.equal(a, b)) if isinstance(a, Tensor) else bool(a == b)
