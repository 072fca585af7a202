"""Tensors as files describe them: a place in a storage, checked before any memory is taken for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError

TYPES: Mapping[str, tuple[torch.dtype, int]] = {
    "FloatStorage": (torch.float32, 4), "DoubleStorage": (torch.float64, 8), "HalfStorage": (torch.float16, 2),
    "BFloat16Storage": (torch.bfloat16, 2), "LongStorage": (torch.int64, 8), "IntStorage": (torch.int32, 4),
    "ShortStorage": (torch.int16, 2), "CharStorage": (torch.int8, 1), "ByteStorage": (torch.uint8, 1),
    "BoolStorage": (torch.bool, 1),
}  # fmt: skip
"""Storages by their names in `torch`, with the bytes of a number."""

_MOST, _MOST_AXES = 2**40, 8


class Refused(CheckpointError):
    """A file holds something else than tensors and plain values, or is damaged."""


@dataclass
class Storage:
    """Numbers that a file holds.

    Attributes:
        dtype: of them.
        width: bytes of one.
        count: how many there are.
        content: their bytes, or what reads them; None: not known yet.
        taken: how many of them tensors have.
        tensors: that were made of it, by place.
    """

    dtype: torch.dtype
    width: int
    count: int
    content: bytes | Callable[[], bytes] | None = None
    taken: int = 0
    tensors: dict[tuple[Any, ...], Stored] = field(default_factory=dict)

    @classmethod
    def told(cls, told: tuple[Any, ...]) -> Storage:
        """Return the storage that ``("storage", type, key, place, count, ...)`` stands for.

        Raises:
            Refused: if it is no storage of numbers.
        """
        kind, count = str(getattr(told[1], "name", "")), told[4]
        if kind not in TYPES or type(count) is not int or not 0 <= count < _MOST:
            raise Refused("it has a storage that is none of numbers")
        return cls(*TYPES[kind], count)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.count * self.width

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            Refused: if they are not there.
        """
        content = self.content() if callable(self.content) else self.content
        if content is None or len(content) != self.size:
            raise Refused("it has a storage of another size than it says")
        return content


@dataclass(frozen=True)
class Stored:
    """A tensor of a file.

    Attributes:
        storage: that holds its numbers.
        offset: of the first.
        shape: of the tensor.
        stride: numbers from one place to the next, of each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, storage: Storage, offset: Any, shape: Any, stride: Any) -> Stored:
        """Return a tensor that lies within its storage, each number at a place of its own that no other tensor has.

        Raises:
            Refused: if it does not: a small file could make large tensors of the same numbers.
        """
        numbers = (offset, *shape, *stride) if isinstance(shape, tuple) and isinstance(stride, tuple) else ()
        if not numbers or any(type(n) is not int or not 0 <= n < _MOST for n in numbers):
            raise Refused("it has a tensor whose size is none")
        if (same := storage.tensors.get((offset, shape, stride))) is not None:
            return same  # a network that was saved twice
        if len(shape) != len(stride) or len(shape) > _MOST_AXES:
            raise Refused(f"it has a tensor of {len(shape)} axes and {len(stride)} strides")
        count = math.prod(shape)
        if offset + count > storage.count:
            raise Refused(f"it has a tensor of {count:,} numbers in a storage of {storage.count:,}")
        if count and not _is_dense(shape, stride):
            raise Refused("it has a tensor whose numbers overlap, or leave gaps")
        storage.taken += count
        if storage.taken > storage.count:
            raise Refused("it has tensors that overlap")
        found = storage.tensors[offset, shape, stride] = cls(storage, offset, shape, stride)
        return found

    def read(self) -> Tensor:
        """Return the tensor, contiguous, in memory of its own.

        Raises:
            Refused: if its numbers are not there.
        """
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.storage.dtype)
        whole = torch.frombuffer(bytearray(self.storage.read()), dtype=self.storage.dtype)
        return whole.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether numbers fill a block, whatever the order of the axes, as channels that come last do."""
    expected = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size > 1):
        if step != expected:
            return False
        expected *= size
    return True
