"""Networks from files: a run's checkpoint, or an export (``config.json`` and ``model.safetensors``), also on the hub.

Nothing in them is executed. Sizes are held against one another before any network is built, so that a file cannot ask
for more memory than it has weights.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import category

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saddlepoint.core.config import from_json
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.logs import warn
from saddlepoint.core.quoting import for_shell
from saddlepoint.data.inputs import look_of
from saddlepoint.data.memory import usable_memory
from saddlepoint.data.options import Options, preparation_of
from saddlepoint.data.series.layout import Layout, layout_from_json
from saddlepoint.data.sources.hub import no_progress_bars, reason_of, way_out
from saddlepoint.engine.storage.checkpoint import newest_checkpoint, numbers_of, sha256_of
from saddlepoint.engine.storage.entries import check_complete
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import find_run
from saddlepoint.engine.storage.tensors import load_tensors, save_tensors
from saddlepoint.engine.training import load_weights
from saddlepoint.family import DataSpec, Family, build_family
from saddlepoint.family.registry import family_of

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
        way = way_out("check the id, and log in with `hf auth login` if it is private")
        raise CheckpointError(f"'{source}' cannot be loaded from the hub ({reason_of(error)}); {way}") from error


def read_config(folder: RunFolder) -> dict[str, Any]:
    """Return the configuration of a run or of an export of weights.

    Raises:
        CheckpointError: if there is none, saying of an export for other programs what to use instead.
    """
    path = folder.path
    if path.is_file() and path.suffix.lower() in (".pkl", ".pt", ".pth", ".pickle"):
        raise CheckpointError(
            f"'{path}' is a file of weights, no run; make one of it, without running its code: "
            f"{for_shell('saddle', 'import', path)}"
        )
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
    return folder.read_config(follow=is_export(path))


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
    step = about.get("step") if isinstance(about, dict) else None
    if not isinstance(about, dict) or about.get("format") != FORMAT or type(step) is not int or not 0 <= step < 2**53:
        raise CheckpointError(f"'{folder}/config.json' describes no export of format {FORMAT}; export the run again")
    try:
        # In a cache of downloads, files are links.
        tensors = load_tensors(folder / FILE, follow=True)
        # Exports of older versions have no checksum.
        if "sha256" in about and sha256_of(folder / FILE, follow=True) != about["sha256"]:
            raise ValueError("its checksum does not match")
        return tensors, step
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"'{folder}/{FILE}' is damaged ({error}); export the run again") from error


def write_weights(folder: Path, family: Family) -> str:
    """Write all networks of a family into a folder as `read_weights` reads them.

    Returns:
        The SHA-256 of the file, for ``export`` in ``config.json``.

    Raises:
        OSError: if they cannot be written.
    """
    tensors = {name: tensor.clone() for name, tensor in family.state_dict().items()}  # some share their memory
    save_tensors(tensors, folder / FILE, {"format": "pt"})
    return sha256_of(folder / FILE)


def open_networks(folder: RunFolder, config: Mapping[str, Any], averaged: bool) -> tuple[Family, int]:
    """Return the networks of a run's newest whole checkpoint, or of an export, and the step that they are of.

    Args:
        folder: of the run.
        config: of it.
        averaged: whether generators get the moving averages of their weights.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it belongs to other networks.
        ConfigError: if the last weights of an export are asked for.
    """
    model, averages, step = _tensors(folder, config, averaged)
    try:
        check_complete(config)
        Options.of(**preparation_of(config["data"]))
        kind, spec = family_of(config, folder.path), spec_of(config["data"])
        with no_larger_than(sum(tensor.numel() for tensor in model.values())):
            family = build_family(kind.name, from_json(kind.Config, config["options"]), spec)
        look_of(config["data"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, DataError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error
    load_weights(family, model)
    for name in family.averaged if averages else ():
        start = name + "."
        own = {key.removeprefix(start): tensor for key, tensor in averages.items() if key.startswith(start)}
        load_weights(family.get_submodule(name), own)
    return family, step


def _tensors(
    folder: RunFolder, config: Mapping[str, Any], averaged: bool
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], int]:
    """Return a run's tensors, those of its averages (none: they are in place), and their step."""
    if is_export(folder.path):
        if not averaged:
            raise ConfigError(f"'{folder.path}' is an export, which holds the averaged weights only; leave --raw out")
        model, step = read_weights(folder.path, config)
        return model, {}, step
    checkpoint, problems = newest_checkpoint(folder.checkpoints, ("model", "averages") if averaged else ("model",))
    if checkpoint is None:
        detail = f" ({'; '.join(problems.values())})" if problems else "; train it first"
        raise CheckpointError(f"run '{folder.path}' has no whole checkpoint{detail}")
    for problem in problems.values():
        warn(f"{problem}; step {checkpoint.step:,} is used instead")
    return checkpoint.tensors["model"], checkpoint.tensors.get("averages", {}), checkpoint.step


def spec_of(data: Mapping[str, Any]) -> DataSpec:
    """Return what networks are built from, of a run's configuration.

    Raises:
        KeyError, TypeError, ValueError: if something is missing, or cannot be.
    """
    try:
        layout = layout_from_json(data["layout"]) if data.get("layout") else Layout((), ())
    except DataError as error:
        raise ValueError(str(error)) from error
    classes, shares = check_classes(data["classes"]), tuple(map(float, data.get("shares", ())))
    if shares and (len(shares) != len(classes) or not all(0 <= share <= 1 for share in shares) or not any(shares)):
        raise ValueError(f"shares are {str(shares)[:60]}, but must be those of {len(classes)} classes, in [0, 1]")
    modality, shape, rows, static = data["modality"], tuple(data["shape"]), data["rows"], data.get("static", 0)
    labelling = tuple(map(tuple, data.get("labelling", ())))
    if modality not in _AXES:
        raise ValueError(f"modality is {str(modality)[:60]!r}, but must be one of {', '.join(_AXES)}")
    if len(shape) != _AXES[modality] or not all(_is_count(size, 1, 2**24) for size in shape):
        raise ValueError(f"shape is {str(shape)[:60]}, which no {modality} has")
    if math.prod(shape) > _MOST_NUMBERS[modality]:
        raise ValueError(f"shape is {shape}, more than the {_MOST_NUMBERS[modality]:,} numbers of one sample")
    if not _is_count(rows, 0) or not _is_count(static, 0, 2**24):
        raise ValueError(f"rows are {str(rows)[:60]}, static {str(static)[:60]}, but both must be counts")
    if not all(_is_count(size, 1) for sizes in labelling for size in sizes):
        raise ValueError(f"labelling is {str(labelling)[:60]}, but it must hold sizes of groups")
    return DataSpec(
        modality=modality,
        shape=shape,
        classes=classes,
        rows=rows,
        shares=shares,
        static=static,
        labelling=labelling,
        onehot=layout.onehot,
        spikes=layout.spikes,
        known=layout.known,
        cut=layout.cut,
    )


_AXES = {"image": 3, "vector": 1, "sequence": 2}
"""Axes of one sample, by modality."""

_MOST_NUMBERS = {"image": 2**24, "vector": 2**24, "sequence": 2**20}
"""Numbers of one sample: what generates windows step by step has few weights for windows of any length."""

LONGEST_CLASS = 1000
"""Characters of the name of a class, as many as of a label in a table."""


def check_classes(names: Any) -> tuple[str, ...]:
    """Return names of classes, if all are text that can be written as UTF-8.

    Control characters are no reason to refuse one: data has them, and `core/quoting.py` shows them as escapes.

    Raises:
        ValueError: naming the first that is not.
    """
    if not isinstance(names, list | tuple):
        raise ValueError(f"classes are {str(names)[:60]!r}, but must be a list of names")
    for name in names:
        # Half a pair of surrogates stands for a byte of a file's name that is no text; no page can be sent one.
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_CLASS or "Cs" in map(category, name):
            raise ValueError(
                f"a class is called {str(name)[:60]!r}, but a name must be text (UTF-8) of at most {LONGEST_CLASS:,} "
                "characters"
            )
    return tuple(names)


def _is_count(value: Any, least: int, most: int = 2**53) -> bool:
    return type(value) is int and least <= value <= most


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
def no_larger_than(numbers: int) -> Iterator[None]:
    """Let networks be built inside the block if they take about as much memory as so many numbers of a file.

    Raises:
        CheckpointError: if they would take far more.
    """
    with _Allowance(2 * numbers + _SLACK), torch.no_grad():
        yield


@contextlib.contextmanager
def rebuilt(folder: RunFolder) -> Iterator[None]:
    """Let the networks of a run that goes on be built if they are those of its newest checkpoint, about.

    Before the first checkpoint they may take half of the memory that is usable here.

    Raises:
        CheckpointError: if they would take far more, or cannot be built of what the configuration says.
    """
    kept = numbers_of(folder.checkpoints)
    try:
        with no_larger_than(usable_memory() // 16 if kept is None else kept):
            yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error
