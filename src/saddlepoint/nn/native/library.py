"""Kernels in C for processors whose bf16 units PyTorch leaves idle: compiled once, where there is a compiler.

Nothing needs them. Where they cannot be had (another processor, no compiler, no right to write to the cache) PyTorch's
operations do the same work, and `why_not` says why. `SADDLEPOINT_KERNELS=pytorch` asks for those.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import working_dtype
from saddlepoint.nn.native.build import Built, Unavailable, built

CHOICES = ("native", "pytorch")
VARIABLE = "SADDLEPOINT_KERNELS"
_LARGE_PAGE, _MADV_HUGEPAGE = 2 * 1024**2, 14

_KINDS = {"p": ctypes.c_void_p, "l": ctypes.c_long, "i": ctypes.c_int, "f": ctypes.c_float, "-": None}
SIGNATURES = {
    "packed_forward": ("l", "p"),
    "packed_gradient": ("l", "p"),
    "pack_forward": ("-", "ppfp"),
    "pack_gradient": ("-", "ppfp"),
    "pack_both": ("-", "pllfpp"),
    "forward": ("-", "ppipppp"),
    "input_gradient": ("-", "ppipppp"),
    "weight_gradient": ("-", "ppippifp"),
    "times_slope": ("-", "pllpfplll"),
    "combine": ("-", "plplpplll"),
    "column_sums": ("-", "plpplll"),
    "rms_rows": ("-", "plfffplll"),
    "rms_rows_backward": ("-", "plplfffpllll"),
    "tanh_all": ("-", "plfpl"),
    "tanh_backward": ("-", "ppfpll"),
    "row_dots": ("-", "plpllpll"),
    "drop": ("-", "plplfpll"),
    "maxout": ("-", "pplll"),
    "maxout_backward": ("-", "pplplll"),
    "affine_steps": ("-", "pllpplpllll"),
    "weight_steps": ("-", "plplplllll"),
    "sum_steps": ("-", "plplll"),
    "along_axes": ("-", "pppl"),
    "along_axes_back": ("-", "pppl"),
    "from_axes": ("-", "pppl"),
    "from_axes_back": ("-", "pppl"),
    "gru": ("-", "ppl"),
    "gru_back": ("-", "ppppl"),
    "gru_before": ("-", "ppl"),
    "gru_before_back": ("-", "ppppl"),
    "instance_norm": ("-", "plpplfffplplpllll"),
    "instance_norm_backward": ("-", "plplpplffpppllll"),
    "leaky_rows": ("-", "plfpll"),
    "halve": ("-", "plplflllll"),
    "enlarge": ("-", "plplflpllllll"),
    "filter_maps": ("-", "plpllpppfpllllll"),
    "double_images": ("-", "ppllll"),
    "double_images_backward": ("-", "ppllll"),
    "scale_maps": ("-", "plpplll"),
    "scale_maps_backward": ("-", "plpppplll"),
    "styled_backward": ("-", "plpppfpplll"),
    "demodulate": ("-", "ppffppllll"),
    "demodulate_backward": ("-", "pppppppfppppllll"),
    "normalise_maps": ("-", "ppppffppplll"),
    "normalise_maps_backward": ("-", "ppppfppppppplll"),
    "affine_full": ("-", "pppfffplll"),
    "affine_full_backward": ("-", "ppppfffppplll"),
    "colours_backward": ("-", "pppppllll"),
}
"""Of each kernel: its result and its arguments: p a pointer, l a long, i an int, f a float."""


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
    from saddlepoint.nn.native.trial import first_wrong  # it stands above this module: it computes with the library

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


@functools.cache
def load() -> ctypes.CDLL:
    """Return the compiled kernels; the first call on a machine compiles them.

    Raises:
        Unavailable: if they cannot be had.
    """
    found = _build()
    try:
        library = ctypes.CDLL(str(found.path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = _KINDS[result], [_KINDS[kind] for kind in arguments]
    except (OSError, AttributeError) as error:
        raise Unavailable(f"what {found.compiler} made cannot be loaded: {str(error)[:200]}") from error
    return library


def in_large_pages(x: Tensor) -> Tensor:
    """Ask the system to lay a large new tensor out in large pages, before anything is written to it; return it."""
    # Linux leaves it to who asks (madvise). Walking along rows of 32 KiB touches a small page with each step.
    if x.nbytes >= _LARGE_PAGE and (libc := _libc()) is not None:
        first = -(-x.data_ptr() // _LARGE_PAGE) * _LARGE_PAGE
        length = (x.data_ptr() + x.nbytes - first) // _LARGE_PAGE * _LARGE_PAGE
        if length > 0:
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_HUGEPAGE)
    return x


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


@functools.cache
def _build() -> Built:
    return built()


def told() -> str:
    """Say whether bf16 on this processor is computed by the kernels; compiles them where they are wanted.

    Raises:
        ConfigError: as `wanted`.
    """
    _Use.asked = True
    if not wanted():
        return f"PyTorch's ({VARIABLE}=pytorch)"
    if why := why_not():
        return f"PyTorch's ({why})"
    seconds = _build().seconds
    return "in C" if seconds is None else f"in C (compiled in {seconds:.1f} s)"


def state() -> str:
    """Return what bf16 is computed by in this process: ``C``, or ``PyTorch``, and why where it was to be computed."""
    if not _Use.asked:
        return "PyTorch"
    why = f"{VARIABLE}=pytorch" if not wanted() else why_not()
    return f"PyTorch: {why}" if why else "C"


class _Use:
    number = 0
    numbers = itertools.count(1)
    asked = False  # whether anything was to be computed by them, or somebody wanted to know


class _Here(threading.local):
    library: ctypes.CDLL | None = None


_HERE = _Here()


def use() -> int:
    """Return the number of the latest use: what was made of weights in another one may be of older weights."""
    # One count for all threads: a way back may go in another thread than the way there.
    return _Use.number


@contextmanager
def applied() -> Iterator[None]:
    """Let layers compute with the kernels inside the block, where there are any; in this thread only.

    Raises:
        ConfigError: as `wanted`.
    """
    before = _HERE.library
    _Use.number, _Use.asked = next(_Use.numbers), True
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
