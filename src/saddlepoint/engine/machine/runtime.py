"""Where and with what random numbers the computation runs."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.native import dispatch

# M_MMAP_THRESHOLD (its largest value), M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h, in bytes.
_MALLOPT = {-3: 32 * 1024**2, -1: 512 * 1024**2, -2: 64 * 1024**2}
IMAGES, PIXELS = 512, 2**21  # go through a network at once, at most, where no gradient is asked for


def seed_for(*parts: int | str) -> int:
    """Return a 63-bit seed that is a fixed function of ``parts``, independent of process and platform."""
    # Not hash(): Python salts it in each process. >> 1: no sign bit, whatever type holds it.
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a random generator on ``device`` seeded by ``parts``."""
    return torch.Generator(device=device).manual_seed(seed_for(*parts))


def pieces(start: int, stop: int, shape: Sequence[int]) -> list[slice]:
    """Return slices of the samples from ``start`` to ``stop``: of images no more than `IMAGES` and `PIXELS` allow.

    >>> pieces(0, 5, (3, 1024, 1024)), pieces(10, 5000, (2,))
    ([slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)], [slice(10, 5000, None)])
    """
    # By pixels: feature maps of a convolution grow with them. Windows and vectors are small; they go at once.
    size = max(1, min(IMAGES, PIXELS // math.prod(shape[1:])) if len(shape) == 3 else stop - start)
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def resolve_device(name: str, index: int | None = None) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then MPS, then the CPU.

    Args:
        name: auto, cpu, cuda, cuda:1, mps.
        index: of the GPU to take where the name leaves it open.

    Raises:
        ConfigError: if the device is unknown or not present.
    """
    if name == "auto":
        present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(kind for kind, there in present.items() if there)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device '{name}'; choose from: auto, cpu, cuda, mps") from error
    if device.type == "cuda" and device.index is None and index is not None:
        device = torch.device("cuda", index)
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in count:
        raise ConfigError(f"unknown device '{name}'; choose from: auto, cpu, cuda, mps")
    if (device.index or 0) >= count[device.type]:
        raise ConfigError(f"device '{name}' is not present on this machine; use --device cpu or --device auto")
    return device


def use_device(device: torch.device) -> None:
    """Prepare a device for what this process computes: on CUDA fp32 is fp32, and the GPU the current one."""
    if device.type != "cuda":
        return
    if device.index is not None:
        torch.cuda.set_device(device)  # else each of several processes would hold memory on the first GPU, too
    # PyTorch lets convolutions round fp32 to 10 bits (TF32) unless told otherwise; for speed there is bf16.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that was asked of it; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def sums_in_one_order(device: torch.device, wanted: bool) -> Iterator[None]:
    """Let a GPU use only what gives the same bits every time, inside; on a CPU the engine always does.

    PyTorch warns, once, of an operation that it cannot do so.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS asks for, before its first product
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    switches: Any = torch.utils.deterministic
    filled = switches.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    switches.fill_uninitialized_memory = False  # a pass over each new tensor, which nothing here needs
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        switches.fill_uninitialized_memory = filled


AUTO = "auto"
"""The number of threads that is measured (`threads.py`), up to PyTorch's own choice."""


def read_threads(asked: int | str | None) -> int | None:
    """Return the number of CPU threads that is asked for; None: ``auto``, or nothing is.

    Raises:
        ConfigError: if it is neither a whole number from 1 nor ``auto``.

    >>> read_threads("2"), read_threads("auto"), read_threads(None)
    (2, None, None)
    """
    if asked is None or asked == AUTO:
        return None
    try:
        count = int(asked)
    except ValueError as error:
        raise ConfigError(f"threads is '{asked}', but it must be a whole number such as 2, or auto") from error
    if count < 1:
        raise ConfigError(f"threads is {count}, but it must be at least 1")
    return count


def use_threads(asked: int | str | None) -> int:
    """Set the number of CPU threads (None, ``auto``: leave it as it is) and return the number in use.

    Raises:
        ConfigError: as `read_threads`.
    """
    if (count := read_threads(asked)) is not None:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next step; return whether it can."""
    # By default glibc gives large blocks back after every step: up to a tenth of one of the MLP GAN is page faults.
    try:
        library = ctypes.CDLL(None)  # the C library that this process has loaded already
        return all(library.mallopt(option, value) == 1 for option, value in _MALLOPT.items())
    except (OSError, TypeError, AttributeError):  # not glibc
        return False


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that figures depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": dispatch.state(),
        **_gpu(),
    }


def _gpu() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
        names = {key.strip(): text.strip() for key, text in fields.items()}
        return f"{names['model name']} (family {names['cpu family']}, model {names['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()
