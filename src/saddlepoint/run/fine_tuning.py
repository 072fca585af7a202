"""Where a fine-tuned run begins: the run or export whose weights it takes over, and what its folder keeps of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from saddlepoint.core.config import from_json
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.warm_start import Taken, take_over
from saddlepoint.family import Family, FamilyConfig
from saddlepoint.family.registry import family_of
from saddlepoint.run.weights import local, open_networks, read_config


@dataclass(frozen=True)
class Origin:
    """A run that another one begins with.

    Attributes:
        source: as it was named.
        weights: its tensors by name, averages in the place of the last weights.
        facts: what ``config.json`` of the new run keeps under ``start_from``.
    """

    source: str
    weights: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def options_of(source: str | Path, kind: type[Family]) -> tuple[str, FamilyConfig, dict[str, Any]]:
    """Return preset and options of a run that another one begins with, and the size of its images.

    Raises:
        CheckpointError: if there is no such run, or it is damaged.
        ConfigError: if it is of another family.
    """
    folder = local(source)
    config = _config(folder, kind)
    try:
        options, data = from_json(kind.Config, config["options"]), config["data"]
        size = {"size": _size(data["shape"])} if data["modality"] == "image" else {}
        return str(config["preset"]), options, size
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"'{folder}/config.json' is damaged: {error}") from error


def _config(folder: Path, kind: type[Family]) -> dict[str, Any]:
    """Return the configuration of a run of this family."""
    config = read_config(RunFolder(folder))
    found = family_of(config, folder)
    if found.name != kind.name:
        raise ConfigError(
            f"'{folder}' is a run of '{found.name}', with whose weights no '{kind.name}' can begin; "
            f"train '{found.name}', or leave --from out"
        )
    return config


def _size(shape: Any) -> int | str:
    _, height, width = map(int, shape)
    return height if height == width else f"{width}x{height}"


def opened(source: str | Path, kind: type[Family]) -> Origin:
    """Return the run that another one begins with.

    Raises:
        CheckpointError: if there is no such run, or it has no whole checkpoint.
        ConfigError: if it is of another family.
    """
    folder = RunFolder(local(source))
    config = _config(folder.path, kind)
    family, step = open_networks(folder, config, averaged=True)
    weights = family.state_dict()
    batch = int(getattr(family.config, "batch_size", 0))
    facts = {
        "source": str(source), "family": kind.name, "preset": config["preset"], "step": step, "nimg": step * batch,
        "data": str(config["data"]["name"]), "sha256": _digest(weights),
    }  # fmt: skip
    return Origin(str(source), weights, facts)


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values: whether weights are the same, wherever they are kept."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def beginning(
    kept: Mapping[str, Any] | None, origin: Origin | None, kind: type[Family], say: Callable[[str], None]
) -> Callable[[Family, Collection[str]], None] | None:
    """Return what gives a family the weights that its run begins with; None: those that it draws.

    Args:
        kept: what the run's configuration has under ``start_from``.
        origin: if it is open already; a run that goes on needs it only where nothing was saved yet.
        kind: the family.
        say: hears what was taken over and what was drawn anew.
    """
    if kept is None:
        return None

    def begin(family: Family, own: Collection[str]) -> None:
        found = origin or opened(kept["source"], kind)
        if found.facts["sha256"] != kept["sha256"]:
            raise CheckpointError(
                f"'{kept['source']}' holds other weights than when this run began; bring them back, or begin a new run"
            )
        say(told(take_over(family, found.weights, own), kept))

    return begin


def told(taken: Taken, facts: Mapping[str, Any]) -> str:
    """Say which weights a run begins with."""
    some, all_of_them = taken.numbers
    share = f"{some:,} of {all_of_them:,} weights" if taken.drawn else f"all {some:,} weights"
    names = ", ".join(taken.drawn[:3]) + (f" and {len(taken.drawn) - 3} more" if len(taken.drawn) > 3 else "")
    drawn = f"; drawn anew, for it has none of that name and shape: {names}" if taken.drawn else ""
    return f"from:     {facts['source']} ({facts['data']}, {facts['nimg'] / 1000:,.1f} kimg): {share}{drawn}"
