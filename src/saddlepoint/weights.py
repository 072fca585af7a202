"""An exported run: ``config.json`` and ``model.safetensors``, in a folder or on the Hugging Face hub.

Nothing in it is executed. Its sizes are held against one another before any network is built, so that a file cannot ask
for more memory than it has weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saddlepoint._errors import CheckpointError, DataError
from saddlepoint.data.series.layout import Layout, layout_from_json
from saddlepoint.data.sources.hub import no_progress_bars, reason_of
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.lookup import find_run
from saddlepoint.family import DataSpec

FILE = "model.safetensors"
FORMAT = 1
FILES = ("config.json", FILE)
HUB = "hf:"

_SLACK = 64 * 1024**2
"""Numbers that building a network may take beyond those of its file."""


def local(source: str | Path) -> Path:
    """Return the folder of a run or of an export; ``hf:owner/name`` is downloaded first.

    Raises:
        CheckpointError: if it is not on the hub, or cannot be downloaded.
    """
    if not str(source).startswith(HUB):
        return find_run(source)
    name = str(source).removeprefix(HUB)
    if name.count("/") != 1 or not all(name.split("/")):
        raise CheckpointError(f"'{source}' is not a hub id; write hf:owner/name")
    from huggingface_hub import snapshot_download

    try:
        with no_progress_bars():
            return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # of many kinds
        raise CheckpointError(
            f"'{source}' cannot be loaded from the hub ({reason_of(error)}); check the id, and log in with "
            "`hf auth login` if it is private"
        ) from error


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Return the configuration of a run or of an export of weights.

    Raises:
        CheckpointError: if there is none, saying of an export for other programs what to use instead.
    """
    path = folder.path
    if path.is_dir() and not (path / "config.json").exists():
        what = ""
        if (path / "index.html").is_file() and (path / "model.js").is_file():
            what = "a page that samples in the browser: open its index.html"
        elif any(path.glob("*.onnx")):
            what = "an export for onnxruntime: draw from it with the sample.py in it"
        if what:
            raise CheckpointError(
                f"'{path}' is {what}. saddlepoint.load takes the run that it was made of, or what "
                "`saddle export RUN --format safetensors` writes"
            )
    return folder.read_config()


def is_export(folder: Path) -> bool:
    """Whether a folder holds exported weights."""
    return (folder / FILE).is_file()


def refuse_export(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse an export where a run is needed.

    Raises:
        CheckpointError: saying what the folder is, and what it can be used for.
    """
    if "export" in config or is_export(folder):
        raise CheckpointError(
            f"'{folder}' is an export: it holds a generator and no training to go on with; resume the run that it was "
            "made of, or draw from it with saddlepoint.load, saddle sample or saddle serve"
        )


def read_weights(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """Return the tensors of an export and the step that they are of.

    Raises:
        CheckpointError: if the file is damaged, of another format, or no export.
    """
    about = config.get("export")
    if not isinstance(about, dict) or about.get("format") != FORMAT or not isinstance(about.get("step"), int):
        raise CheckpointError(f"'{folder}/config.json' describes no export of format {FORMAT}; export the run again")
    try:
        return load_file(folder / FILE), about["step"]
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"'{folder}/{FILE}' is damaged ({error}); export the run again") from error


def spec_of(data: Mapping[str, Any]) -> DataSpec:
    """Return what networks are built from, of a run's configuration.

    Raises:
        KeyError, TypeError, ValueError: if something is missing, or cannot be.
    """
    try:
        layout = layout_from_json(data["layout"]) if data.get("layout") else Layout((), ())
    except DataError as error:
        raise ValueError(str(error)) from error
    classes, shares = tuple(data["classes"]), tuple(map(float, data.get("shares", ())))
    if shares and (len(shares) != len(classes) or not all(0 <= share <= 1 for share in shares) or not any(shares)):
        raise ValueError(f"shares are {shares}, but must be those of {len(classes)} classes, in [0, 1]")
    return DataSpec(
        modality=data["modality"],
        shape=tuple(data["shape"]),
        classes=classes,
        rows=data["rows"],
        shares=shares,
        static=int(data.get("static", 0)),
        labelling=tuple(map(tuple, data.get("labelling", ()))),
        onehot=layout.onehot,
        spikes=layout.spikes,
        known=layout.known,
    )


def check_types(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another type than the networks have, which would be converted without a word.

    Raises:
        CheckpointError: naming the first one.
    """
    for name, tensor in tensors.items():
        if name in wanted and tensor.dtype != wanted[name].dtype:
            kinds = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, wanted[name].dtype))
            raise CheckpointError("the file belongs to other networks: {} is {}, not {}".format(name, *kinds))


class _Allowance(TorchFunctionMode):
    """Refuses allocations beyond a number of elements in all, before they are made."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what a call that makes a tensor would take."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _MAKERS:
            shape = kwargs.get("size", next((arg for arg in args if isinstance(arg, list | tuple)), args))
            if func.__name__ == "eye":
                shape = (shape[0], shape[-1])
            numbers = 1
            for size in shape:
                numbers *= max(1, int(size)) if isinstance(size, int) else 1
            self.left -= numbers
            if self.left < 0:
                raise CheckpointError(
                    "the configuration asks for networks that are far larger than the weights beside it; it is damaged"
                )
        return func(*args, **kwargs)


_MAKERS = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "arange", "eye")


@contextlib.contextmanager
def no_larger_than(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let networks be built inside the block if they take about as much memory as the tensors.

    Raises:
        CheckpointError: if they would take far more.
    """
    with _Allowance(2 * sum(tensor.numel() for tensor in tensors.values()) + _SLACK), torch.no_grad():
        yield
