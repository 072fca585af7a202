"""Snapshots of a training: written, read again without loss, chosen, and one under another as a filmstrip."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import own_folder, parse_json, read_regular, snapshots_in, write_atomically
from saddlepoint.data import limits
from saddlepoint.data.images.opening import Unreadable, open_image
from saddlepoint.figures import plots
from saddlepoint.figures.grids import MODES, check_images, tile, to_uint8
from saddlepoint.figures.plots import scatter

LANDMARKS = (0, 10_000, 50_000, 90_000)
"""Steps shown in every filmstrip that reaches them: the figure of the literature."""
_KEY = "saddlepoint"


def save_snapshot(
    folder: str | Path, step: int, samples: Tensor, data: np.ndarray | None = None, columns: int | None = None
) -> Path:
    """Write ``folder/step00001000.png``, from which `read_snapshot` cuts out the tiles again without loss.

    Args:
        folder: the run's folder of samples; made if missing.
        step: training steps done, which `filmstrip` reads from the file's name.
        samples: images (n, channel, height, width) in [-1, 1], vectors (n, feature) for a scatter plot, or sequences
            (n, time, feature), of which the first few are drawn as paths.
        data: (m, *sample) real vectors or sequences to show beside the samples.
        columns: images in a row; None for a layout near to a square.

    Returns:
        The path written.

    Raises:
        DataError: if samples are not finite, or neither images, vectors nor sequences.
    """
    if samples.ndim in (2, 3):
        picture = scatter(samples, data) if samples.ndim == 2 else _paths(samples, data)
        layout = {"n": 1, "shape": [3, picture.height, picture.width], "columns": 1, "gap": 0}
    else:
        images = to_uint8(samples)
        check_images(images)
        columns = columns or max(1, round(len(images) ** 0.5))
        picture = tile(images, columns, scale=1, see_through=True)
        layout = {"n": len(images), "shape": list(images.shape[1:]), "columns": columns, "gap": 2}
    text = PngImagePlugin.PngInfo()
    text.add_text(_KEY, json.dumps({"step": step, "scale": 1, **layout}, sort_keys=True))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=text)
    path = Path(folder) / f"step{step:08d}.png"
    own_folder(path.parent)
    write_atomically(path, buffer.getvalue())
    return path


def _paths(samples: Tensor, data: np.ndarray | None) -> Image.Image:
    x = samples.detach().cpu().numpy()
    shown = x[: plots.SHOWN]
    return plots.paths(shown, shown[:0] if data is None else plots.spread(data, len(shown)))


def read_snapshot(path: str | Path, layout: dict[str, Any] | None = None) -> np.ndarray:
    """Cut the tiles out of a picture written by `save_snapshot`: (n, channel, height, width) uint8.

    A plot of vectors or paths is one tile of three channels.

    Args:
        path: the PNG file.
        layout: ``n``, ``shape``, ``columns``, ``gap`` for a picture that does not say them itself.

    Raises:
        DataError: if the file is no picture, or carries no layout and none is given, or does not match it.
    """
    try:
        content = read_regular(Path(path), limits.OWN_BYTES)
        with open_image(content, str(path), limits.OWN_PIXELS) as picture:
            layout = layout or parse_json(picture.text[_KEY])  # type: ignore[attr-defined]
            count, columns, gap = (int(layout[key]) for key in ("n", "columns", "gap"))
            channels, height, width = (int(size) for size in layout["shape"])
            if min(count, columns, gap + 1, height, width) < 1:
                raise ValueError(f"its layout is {str(layout)[:60]}")
            pixels = np.asarray(picture.convert(MODES[channels]))
    except (OSError, AttributeError, KeyError, ValueError, TypeError, OverflowError, SyntaxError, Unreadable) as error:
        raise DataError(
            f"{path} is not a grid of samples written by save_snapshot ({error!r}); give its layout, "
            "or choose another file"
        ) from error
    pixels = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    rows = -(-count // columns)
    if pixels.shape[1:] != (rows * (height + gap) + gap, columns * (width + gap) + gap):
        raise DataError(
            f"{path} is {pixels.shape[2]} x {pixels.shape[1]} pixels, which does not fit its layout {layout}"
        )
    table = pixels[:, gap:, gap:].reshape(channels, rows, height + gap, columns, width + gap)[:, :, :height, :, :width]
    return np.ascontiguousarray(table.transpose(1, 3, 0, 2, 4).reshape(-1, channels, height, width)[:count])


def choose_steps(available: Sequence[int], count: int) -> list[int]:
    """Choose about ``count`` steps, even on a log scale, with the landmarks of the literature.

    First and last are always chosen; so is the step nearest to each of 0, 10,000, 50,000 and 90,000 that
    training has reached. More than ``count`` are returned only where these alone are more.

    Raises:
        ConfigError: if nothing is available or count < 1.

    >>> choose_steps([0, 1, 10, 100, 1000, 2000], 4)
    [0, 10, 100, 2000]
    """
    if not available or count < 1:
        raise ConfigError(f"{count} steps of {len(available)} asked for: at least one is needed of each")
    steps = np.unique(np.asarray(available, dtype=np.int64))
    position = np.log1p(steps.astype(np.float64))
    chosen = {int(steps[-1])} | {
        int(steps[np.abs(steps - mark).argmin()]) for mark in LANDMARKS if mark <= steps[-1] and count > 1
    }
    # Fill the widest hole again and again: the free step farthest from all chosen ones on the log scale.
    while len(chosen) < min(count, len(steps)):
        taken = np.log1p(np.array(sorted(chosen), dtype=np.float64))
        distance = np.abs(position[:, None] - taken).min(1)
        chosen.add(int(steps[distance.argmax()]))
    return sorted(chosen)


def filmstrip(
    folder: str | Path,
    rows: int = 8,
    columns: int = 10,
    *,
    steps: Sequence[int] | None = None,
    scale: int | None = None,
    layout: dict[str, Any] | None = None,
) -> Image.Image:
    """Show the learning: a row for each chosen step, a column for each z, from the snapshots of a run.

    Args:
        folder: holds ``step????????.png`` as `save_snapshot` writes them.
        rows: number of steps to show; see `choose_steps`.
        columns: how many of the samples to show, from the first.
        steps: the steps themselves, instead of a choice; the nearest available ones are taken.
        scale: as in `tile`.
        layout: as in `read_snapshot`.

    Raises:
        DataError: if the folder holds no snapshots, or their tiles differ in shape.
        ConfigError: if rows or columns are below 1.
    """
    found = snapshots_in(Path(folder))
    if not found:
        raise DataError(f"{folder} holds no pictures step????????.png: point to a run's folder of samples")
    if columns < 1:
        raise ConfigError(f"columns is {columns}, but it must be at least 1")
    if steps is None:
        chosen = choose_steps(list(found), rows)
    else:
        have = np.array(list(found))
        chosen = sorted({int(have[np.abs(have - want).argmin()]) for want in steps})
    shots = [read_snapshot(found[step], layout)[:columns].copy() for step in chosen]
    if len({shot.shape[1:] for shot in shots}) > 1:
        raise DataError(f"the pictures in {folder} hold tiles of different shapes: they belong to different runs")
    width = min(len(shot) for shot in shots)
    images = np.concatenate([shot[:width] for shot in shots])
    return tile(images, width, scale=scale, captions=[f"step {step:,}" for step in chosen])
