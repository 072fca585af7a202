"""What a file holds: images, vectors or sequences; and the question where several readings fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint.data.options import MIN_SIDE, MIN_WINDOW, Kind, Options
from saddlepoint.data.plan import Finding, OpenQuestion, Reading
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES, walk
from saddlepoint.data.sources.npz import Peek, peek_array
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.table import is_table

if TYPE_CHECKING:
    from collections.abc import Sequence

ARRAYS = (".npy", ".npz")
_LOOKED_AT = 200_000
_LARGEST = 1e100
_SMOOTH = 0.5
"""Rows that differ from the next by less than this share of what they differ from any other are in order of time."""
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Values that floats of images have."""


def kind_of(path: Path, options: Options | None = None) -> Kind | None:
    """Return what a file or folder is read as; None where there is nothing, or no known kind.

    Args:
        path: a file or folder.
        options: ``modality`` decides where several readings fit.

    Raises:
        OpenQuestion: if an array can be read in several ways that differ, and ``modality`` does not say which.
        DataError: if an array is damaged.
    """
    options = options or Options()
    if not path.exists():
        return None
    if path.suffix.lower() in ARRAYS and path.is_file():
        return array_kind(str(path), peek_array(path, options.array), options)[0]
    if path.suffix.lower() in READERS or is_table(path):
        return "sequence"
    return "image"


def sure_kind(path: Path) -> Kind | None:
    """Return what a path holds where its name alone says it: a table, or a folder of picture files; else None."""
    if path.suffix.lower() in ARRAYS or not path.exists():
        return None
    if path.suffix.lower() in READERS or is_table(path):
        return "sequence"
    pictures = path.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in walk(path)[0])
    return "image" if pictures else None


def kind_findings(path: Path, options: Options) -> tuple[Finding, ...]:
    """Return what is to be said of an array where another reading would have been possible; nothing where that is open.

    Raises:
        DataError: if it is damaged.
    """
    if path.suffix.lower() not in ARRAYS or not path.is_file():
        return ()
    try:
        return array_kind(str(path), peek_array(path, options.array), options)[1]
    except OpenQuestion:
        return ()


def is_windows(path: Path, options: Options) -> bool:
    """Whether an array of sequences holds ready windows (n, time, feature), not one long series.

    Raises:
        DataError: if it is damaged.
    """
    return len(peek_array(path, options.array).shape) > 2


def array_kind(name: str, x: Peek, options: Options) -> tuple[Kind | None, tuple[Finding, ...]]:
    """Return what an array is read as, and what is to be said of it.

    Args:
        name: of the array, for messages.
        x: what is known of it.
        options: ``modality`` decides where several readings fit.

    Raises:
        OpenQuestion: if it can be read in several ways that differ, and ``modality`` does not say which.
    """
    axes = len(x.shape)
    if options.modality is not None:
        return options.modality, _passed_over(name, x, options)
    if x.named and axes in (2, 3):
        return "sequence", (Finding("source", "sequences", "the file names their columns"),)
    if x.dtype.kind not in "buif" or not x.few.size:
        return "image", ()  # refused there, in words
    if axes == 1:
        return "sequence", (Finding("source", f"one series of {x.shape[0]:,} values", "the array has one axis"),)
    if axes == 2:
        return _flat(name, x)
    return _stacked(name, x) if axes == 3 else ("image", ())


def _passed_over(name: str, x: Peek, options: Options) -> tuple[Finding, ...]:
    """Say what else an array could be that is read as the family, or the user, wants it."""
    try:
        other = array_kind(name, x, replace(options, modality=None))[0]
        others = [] if other == options.modality else [str(other)]
    except OpenQuestion as question:
        others = [str(reading.options["modality"]) for reading in question.readings]
        others = [kind for kind in others if kind != options.modality]
    if not others:
        return ()
    says = f"an array of shape {x.shape} is read as {options.modality}s; it could hold {' or '.join(others)}s"
    return (Finding("source", says, "as asked for, or as the family needs it", f"--modality {others[0]}"),)


def _flat(name: str, x: Peek) -> tuple[Kind, tuple[Finding, ...]]:
    """Decide on (rows, feature): vectors without an order, or one long series."""
    rows, features = x.shape
    if x.dtype.kind != "f":
        return ("image", ()) if x.dtype == np.uint8 else ("sequence", ())
    if _in_order(x.few):
        series = f"a series of {rows:,} moments with {features} features"
        vectors = f"{rows:,} vectors of {features} features, in no order"
        raise OpenQuestion(
            f"{name} is an array of shape {x.shape} whose rows follow one another smoothly; what is it?",
            [Reading(series, {"modality": "sequence"}, _shown(x.few)), Reading(vectors, {"modality": "vector"})],
        )
    why = "neighbouring rows are no more alike than others"
    return "vector", (Finding("source", "vectors (rows, feature)", why, "--modality sequence", sure=False),)


def _in_order(rows: np.ndarray) -> bool:
    """Whether each row is much nearer to the next than to any other: a walk in time, not draws."""
    few = rows[: max(3, _LOOKED_AT // rows.shape[1])].astype(np.float64)
    few = few[np.isfinite(few).all(axis=1)]
    if len(few) < 8 or np.abs(few).max() > _LARGEST:
        return False
    scale = few.std(axis=0)
    few = few[:, scale > 0] / scale[scale > 0]
    other = np.random.default_rng(0).permutation(few)
    differ = np.any(few != other, axis=1)
    if not few.shape[1] or not differ.any():
        return False
    near, far = np.abs(np.diff(few, axis=0)).mean(), np.abs(few - other)[differ].mean()
    return bool(near < _SMOOTH * far)


def _stacked(name: str, x: Peek) -> tuple[Kind, tuple[Finding, ...]]:
    """Decide on (n, a, b): grey images of a x b pixels, or windows of a steps and b features."""
    rows, steps, features = x.shape
    as_windows = f"{rows:,} windows of {steps} steps and {features} feature{'s'[: features - 1]}"
    as_images = f"{rows:,} grey images of {features}x{steps} pixels"
    if x.dtype in (np.uint8, np.bool_) or steps < MIN_WINDOW:
        return "image", ()
    if min(steps, features) < MIN_SIDE:
        return "sequence", (Finding("source", as_windows, f"images have at least {MIN_SIDE} pixels on a side"),)
    if np.isnan(x.few[:, -1]).all(axis=1).any() and not np.isnan(x.few[:, 0]).any():
        return "sequence", (Finding("source", as_windows, "some end in rows without values: they are shorter"),)
    finite = x.few[np.isfinite(x.few)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    fits = x.dtype.kind in "ui" or any(least <= low and high <= most for least, most in _RANGES)
    if steps == features and fits:
        why = f"they are square, with values from {low:g} to {high:g}"
        return "image", (Finding("source", as_images, why, "--modality sequence", sure=False),)
    if not fits and steps != features:
        why = f"they are oblong, with values from {low:g} to {high:g}"
        return "sequence", (Finding("source", as_windows, why, "--modality image", sure=False),)
    readings = [Reading(as_windows, {"modality": "sequence"}, _shown(x.few[0])),
                Reading(as_images, {"modality": "image"})]  # fmt: skip
    raise OpenQuestion(f"{name} is an array of shape {x.shape} with values from {low:g} to {high:g}; what is it?",
                       readings)  # fmt: skip


def _shown(rows: np.ndarray) -> Sequence[str]:
    return [" ".join(f"{value:.4g}" for value in row[:6]) + (" ..." if len(row) > 6 else "") for row in rows[:3]]
