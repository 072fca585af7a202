"""Places and directions that a run folder keeps beside its weights: pivots of pictures, directions with names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.files import read_json, write_atomically
from saddlepoint.engine.storage.tensors import load_tensors

PIVOTS, DIRECTIONS = "pivots.safetensors", "directions.json"
"""Files of a run folder."""

_MOST_BYTES, _MOST = 16 * 1024**2, 1_000
"""Bytes of the file of directions that are read, and directions of it."""


@dataclass(frozen=True)
class Pivots:
    """Codes of pictures.

    Attributes:
        codes: (n, latent) inputs, or (n, layers, w) styles.
        labels: (n,) classes, -1 where the generator has none.
    """

    codes: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    def code(self, number: int) -> Tensor:
        """Return the code of a pivot, from 1 on.

        Raises:
            ConfigError: if there is none.
        """
        if not 1 <= number <= len(self):
            kept = f"this run keeps pivot1 to pivot{len(self)}" if len(self) else "this run keeps none"
            raise ConfigError(f"there is no pivot {number}: {kept} (saddle edit RUN PICTURE makes a run with one)")
        return self.codes[number - 1]

    def label(self, number: int) -> Tensor:
        """Return the class of a pivot, (1,)."""
        return self.labels[number - 1 : number]


@dataclass(frozen=True)
class Direction:
    """A direction that was learned of a label.

    Attributes:
        vector: (latent,), of length 1.
        about: how it was found and how surely it works, as JSON values.
    """

    vector: Tensor
    about: Mapping[str, Any]


def read_pivots(folder: Path, sizes: tuple[int, ...]) -> Pivots:
    """Return the pivots of a run folder; none where there is no file.

    Args:
        folder: of the run.
        sizes: (layers, w) of a family with w, else (latent,).

    Raises:
        CheckpointError: if the file is damaged, or of another generator.
    """
    path = folder / PIVOTS
    if not path.is_file():
        return Pivots(torch.empty(0, *sizes), torch.empty(0, dtype=torch.int64))
    try:
        tensors = load_tensors(path)
        codes, labels = tensors["codes"], tensors["labels"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' is damaged ({error}); remove it, or edit the picture again") from error
    whole = codes.dtype == torch.float32 and bool(codes.isfinite().all()) and labels.dtype == torch.int64
    if not whole or tuple(codes.shape[1:]) != sizes or labels.shape != codes.shape[:1]:
        raise CheckpointError(f"'{path}' holds codes {tuple(codes.shape)}, which this generator does not take")
    return Pivots(codes, labels)


def write_pivots(folder: Path, pivots: Pivots) -> None:
    """Write the pivots of a run folder."""
    tensors = {"codes": pivots.codes.float().cpu().contiguous(), "labels": pivots.labels.cpu().contiguous()}
    write_atomically(folder / PIVOTS, save(tensors))


def read_directions(folder: Path, size: int) -> dict[str, Direction]:
    """Return the directions that a run folder keeps, by name.

    Args:
        folder: of the run.
        size: numbers of a code.

    Raises:
        CheckpointError: if the file is damaged, or of another generator.
    """
    path = folder / DIRECTIONS
    try:
        kept = read_json(path, _MOST_BYTES)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged ({error}); remove it, and learn its directions again") from error
    if not isinstance(kept, dict) or len(kept) > _MOST or not all(_is_direction(one, size) for one in kept.values()):
        raise CheckpointError(f"'{path}' holds no directions of {size} numbers; remove it, and learn them again")
    return {
        name: Direction(torch.tensor(one["vector"], dtype=torch.float32), one["about"]) for name, one in kept.items()
    }


def _is_direction(one: Any, size: int) -> bool:
    vector = one.get("vector") if isinstance(one, dict) else None
    if not isinstance(vector, list) or len(vector) != size or not isinstance(one.get("about"), dict):
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in vector)


def keep_direction(folder: Path, name: str, direction: Direction) -> None:
    """Add a direction to those of a run folder, in the place of one of the same name."""
    kept = read_directions(folder, len(direction.vector)) | {name: direction}
    write_directions(folder, kept)


def write_directions(folder: Path, kept: Mapping[str, Direction]) -> None:
    """Write the directions of a run folder."""
    values = {name: {"vector": one.vector.tolist(), "about": dict(one.about)} for name, one in kept.items()}
    write_atomically(folder / DIRECTIONS, json.dumps(values, indent=1) + "\n")


def word_of(label: str) -> str:
    """Return the word by which the direction of a label is called in a point.

    >>> word_of("Wearing Hat"), word_of("5")
    ('Wearing-Hat', 'is-5')
    """
    word = re.sub(r"[^\w.-]+", "-", label.strip()).strip("-.") or "label"
    return word if re.match(r"[^\W\d]", word) else f"is-{word}"
