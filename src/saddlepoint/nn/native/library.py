"""Kernels in C for processors whose bf16 units PyTorch leaves idle: compiled once, where there is a compiler.

Nothing needs them. Where they cannot be had (another processor, no compiler, no right to write to the cache) PyTorch's
operations do the same work, and `why_not` says why. `SADDLEPOINT_KERNELS=pytorch` asks for those.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import working_dtype

HERE = Path(__file__).parent
SOURCES = ("convolution.c", "elementwise.c", "style.c", "affine.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fopenmp", "-shared", "-fPIC")
NEEDED = ("avx512_bf16", "avx512bw", "avx512dq", "avx512vl")
"""What the processor must be able to do."""

TOO_GOOD = "amx_bf16"
"""Where PyTorch has matrix units, which these kernels do not use."""

CHOICES = ("native", "pytorch")
VARIABLE = "SADDLEPOINT_KERNELS"
SECONDS = 120.0
"""A compiler may take; it needs four."""


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
    "combine": ("-", "plpplpplll"),
    "column_sums": ("-", "plpplll"),
    "leaky_backward": ("-", "plpfpplll"),
    "rms_rows": ("-", "plfffplll"),
    "rms_rows_backward": ("-", "plplfffpllll"),
    "drop": ("-", "plplfpll"),
    "maxout": ("-", "pplll"),
    "maxout_backward": ("-", "pplplll"),
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


class Unavailable(Exception):
    """There are no kernels here; the message says why."""


def wanted() -> bool:
    """Whether the environment leaves them on.

    Raises:
        ConfigError: if it asks for what there is not.
    """
    asked = os.environ.get(VARIABLE, "native")
    if asked not in CHOICES:
        raise ConfigError(f"{VARIABLE} is '{asked}', but it must be one of: {', '.join(CHOICES)}")
    return asked == "native"


@functools.cache
def why_not() -> str:
    """Return why there are no kernels; empty: there are."""
    try:
        load()
    except Unavailable as error:
        return str(error)
    return ""


@functools.cache
def load() -> ctypes.CDLL:
    """Return the compiled kernels; the first call on a machine compiles them (four seconds).

    Raises:
        Unavailable: if they cannot be had.
    """
    able = _abilities()
    if missing := [name for name in NEEDED if name not in able]:
        raise Unavailable(f"the processor has no {missing[0]}")
    if TOO_GOOD in able:
        raise Unavailable(f"the processor has {TOO_GOOD}, which PyTorch uses")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None:
        raise Unavailable("there is no C compiler")
    try:
        path = _compiled(compiler)
        library = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{Path(compiler).name} cannot compile them: {str(error)[:200]}") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = _KINDS[result], [_KINDS[kind] for kind in arguments]
    return library


def _abilities() -> frozenset[str]:
    """Return the flags of the processor; none where the system does not tell them."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        with open("/proc/cpuinfo") as lines:
            return frozenset(next((line.split() for line in lines if line.startswith("flags")), []))
    except OSError:
        return frozenset()


def _compiled(compiler: str) -> Path:
    """Return the library's file: that of these sources, this compiler and this processor."""
    run = functools.partial(subprocess.run, check=True, capture_output=True, text=True, timeout=SECONDS)
    texts = [(HERE / name).read_text() for name in (*SOURCES, "vectors.h")]
    version = run([compiler, "--version"]).stdout
    key = hashlib.sha256("\0".join([*texts, *FLAGS, version, *sorted(_abilities())]).encode()).hexdigest()[:32]
    folder = _folder()
    path = folder / f"kernels-{key}.so"
    if path.is_file() and _is_ours(path):
        return path
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        run([compiler, *FLAGS, *(str(HERE / name) for name in SOURCES), "-o", temporary])
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _folder() -> Path:
    """Return a folder that nobody else can write to: what lies in it is carried out."""
    folder = cache_dir() / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_ours(folder):
        raise PermissionError(f"others can write to {folder}")
    return folder


def _is_ours(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


class _Use:
    library: ctypes.CDLL | None = None
    number = 0


def use() -> int:
    """Return the number of the current or last use: what was made of weights in another one may be of older weights."""
    return _Use.number


@contextmanager
def applied() -> Iterator[None]:
    """Let layers compute with the kernels inside the block, where there are any."""
    before = _Use.library
    _Use.number += 1
    _Use.library = load() if sys.platform != "win32" and wanted() and not why_not() else None
    try:
        yield
    finally:
        _Use.library = before


def kernels(x: Tensor) -> ctypes.CDLL | None:
    """Return the kernels if ``x`` is to be computed with by them: on the CPU, in bf16, inside of `applied`."""
    if _Use.library is None or x.device.type != "cpu" or working_dtype(x) != torch.bfloat16:
        return None
    return _Use.library


def exact_kernels(x: Tensor) -> ctypes.CDLL | None:
    """Return the kernels for what they do in fp32 throughout, inside of `applied`, whatever products are in."""
    known = x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32)
    return _Use.library if known else None
