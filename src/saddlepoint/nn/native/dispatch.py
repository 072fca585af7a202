"""Whether a layer computes by the kernels in C, for processors whose bf16 units PyTorch leaves idle, or by PyTorch.

Nothing needs the kernels. Where they cannot be had (another processor, no compiler, no right to write to the cache),
or compute something else, PyTorch's operations do the same work, and `why_not` says why. `SADDLEPOINT_KERNELS=pytorch`
asks for those.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import working_dtype
from saddlepoint.nn.native.build import Unavailable
from saddlepoint.nn.native.library import begin_use, compiled, load
from saddlepoint.nn.native.trial import first_wrong

CHOICES = ("native", "pytorch")
VARIABLE = "SADDLEPOINT_KERNELS"


def wanted() -> bool:
    """Whether the environment leaves them on.

    Raises:
        ConfigError: if it asks for what there is not.
    """
    asked = os.environ.get(VARIABLE, "native")
    if asked not in CHOICES:
        raise ConfigError(f"{VARIABLE} is '{asked}', but it must be one of: {', '.join(CHOICES)}")
    return asked == "native"


_LOADING = threading.RLock()


@functools.cache
def why_not() -> str:
    """Return why there are no kernels, or why they are not used; empty: there are.

    The first call on a machine compiles them (four seconds), the first of a process tries them.
    """
    # One thread compiles; the others wait for it.
    try:
        with _LOADING:
            load()
    except Unavailable as error:
        return str(error)
    wrong = first_wrong()
    return f"compiled here they compute something else ({wrong})" if wrong else ""


def available() -> bool:
    """Whether there are kernels here, and the environment leaves them on."""
    return wanted() and not why_not()


def told() -> str:
    """Say whether bf16 on this processor is computed by the kernels; compiles them where they are wanted.

    Raises:
        ConfigError: as `wanted`.
    """
    _Process.asked = True
    if not wanted():
        return f"PyTorch's ({VARIABLE}=pytorch)"
    if why := why_not():
        return f"PyTorch's ({why})"
    seconds = compiled().seconds
    return "in C" if seconds is None else f"in C (compiled in {seconds:.1f} s)"


def state() -> str:
    """Return what bf16 is computed by in this process: ``C``, or ``PyTorch``, and why where it was to be computed."""
    if not _Process.asked:
        return "PyTorch"
    why = f"{VARIABLE}=pytorch" if not wanted() else why_not()
    return f"PyTorch: {why}" if why else "C"


class _Process:
    asked = False  # whether anything was to be computed by them, or somebody wanted to know


class _Here(threading.local):
    library: ctypes.CDLL | None = None


_HERE = _Here()


@contextmanager
def applied() -> Iterator[None]:
    """Let layers compute with the kernels inside the block, where there are any; in this thread only.

    Raises:
        ConfigError: as `wanted`.
    """
    before = _HERE.library
    _Process.asked = True
    begin_use()
    _HERE.library = load() if wanted() and not why_not() else None
    try:
        yield
    finally:
        _HERE.library = before


def kernels(x: Tensor, *others: Tensor | None) -> ctypes.CDLL | None:
    """Return the kernels if ``x`` is to be computed with by them: on the CPU, in bf16, inside of `applied`.

    Args:
        x: what a layer is given. Of no rows there is nothing to compute, and PyTorch knows what shape that has.
        others: what the kernels read as it lies: weights. They must be fp32, on the CPU.
    """
    library = _HERE.library
    if library is None or x.device.type != "cpu" or working_dtype(x) != torch.bfloat16 or not x.numel():
        return None
    known = all(each is None or (each.dtype == torch.float32 and each.device.type == "cpu") for each in others)
    return library if known else None


def exact_kernels(x: Tensor) -> ctypes.CDLL | None:
    """Return the kernels for what they do in fp32 throughout, inside of `applied`; ``x`` may be bf16 itself.

    `applied` is where bf16 was chosen. What must not be rounded there, recurrences and losses, is still theirs.
    """
    return _HERE.library if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32) else None


def kernels_in_full(x: Tensor) -> ctypes.CDLL | None:
    """Return what `exact_kernels` does, where ``x`` is fp32."""
    return exact_kernels(x) if x.dtype == torch.float32 else None
