"""The compiled kernels as functions that Python can call, the memory they like, and the count of their uses."""

from __future__ import annotations

import ctypes
import functools
import itertools
import sys

from torch import Tensor

from saddlepoint.nn.native.build import Built, Unavailable, built

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


@functools.cache
def compiled() -> Built:
    """Return the file of the kernels; the first call on a machine compiles them (four seconds).

    Raises:
        Unavailable: if they cannot be had.
    """
    return built()


@functools.cache
def load() -> ctypes.CDLL:
    """Return the kernels, with the types of what they take and give.

    Raises:
        Unavailable: if they cannot be had.
    """
    found = compiled()
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


class _Uses:
    latest = 0
    numbers = itertools.count(1)


def use() -> int:
    """Return the number of the latest use: what was made of weights in another one may be of older weights."""
    # One count for all threads: a way back may go in another thread than the way there.
    return _Uses.latest


def begin_use() -> None:
    """Count another use: weights may have changed since the last one."""
    _Uses.latest = next(_Uses.numbers)
