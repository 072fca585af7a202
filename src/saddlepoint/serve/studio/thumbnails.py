"""Small pictures: of a run's newest snapshot, and of rows of data."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from saddlepoint.core.errors import DataError
from saddlepoint.core.files import parse_json, read_regular
from saddlepoint.data import Dataset, limits
from saddlepoint.data.images.opening import Unreadable, open_image
from saddlepoint.figures import grids, plots
from saddlepoint.figures.grids import encoded, tile
from saddlepoint.figures.snapshots import read_snapshot

_SIDE = 128
_MOST = 3


def thumbnail(path: Path, side: int = _SIDE) -> bytes:
    """Return a small square of a snapshot as the bytes of a PNG file: a few of its samples, or a plot made small.

    Args:
        path: of a snapshot in a run folder.
        side: of the square, about, in pixels.

    Raises:
        DataError: if it is no snapshot.
    """
    return _drawn(path, path.stat().st_mtime_ns, side)


@functools.lru_cache(maxsize=512)
def _drawn(path: Path, changed: int, side: int) -> bytes:
    try:
        tiles = read_snapshot(path)
        with open_image(read_regular(path, limits.OWN_BYTES), path.name, limits.OWN_PIXELS) as picture:
            columns = int(parse_json(picture.text["saddlepoint"])["columns"])  # type: ignore[attr-defined]
            if len(tiles) == 1:
                # Points of a plot would vanish.
                small = picture.convert("RGB").filter(ImageFilter.MinFilter(3))
                small.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
                return encoded(small)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, Unreadable) as error:
        raise DataError(f"{path} is no snapshot ({error!r})") from error
    across = max(1, min(_MOST, columns, round(side / max(tiles.shape[2:]))))
    down = max(1, min(across, len(tiles) // columns))
    chosen = np.concatenate([tiles[row * columns : row * columns + across] for row in range(down)])
    scale = max(1, round(side / (across * max(tiles.shape[2:]))))
    return encoded(tile(chosen, min(across, len(chosen)), scale=scale, gap=1))


def rows_of(dataset: Dataset, count: int = 24) -> Image.Image:
    """Return the training rows of a data set as a picture: images side by side, windows as paths, vectors as points.

    Args:
        dataset: the data.
        count: rows shown, evenly spread.
    """
    x = dataset.in_bytes().splits["train"].x if dataset.modality == "image" else dataset.splits["train"].x
    if dataset.modality == "image":
        return tile(plots.spread(x, count), min(count, 12))
    if dataset.modality == "vector":
        return grids.scatter(plots.spread(x, 2000), None)
    shown, names = plots.spread(x, plots.SHOWN), list[str]()
    if dataset.layout is not None:
        # What a table has, in its units: features that say the calendar or a category are no columns of it.
        shown, names = dataset.layout.restore(shown), [column.name for column in dataset.layout.columns]
    return plots.paths(shown, shown[:0], names)


def examples(dataset: Dataset, count: int = 8) -> tuple[np.ndarray, str]:
    """Return images of a data set to try things with, uint8 (n, channel, height, width), and what they are.

    They are held out from training where there are such.
    """
    held = dataset.in_bytes().splits
    name = next((name for name in ("test", "valid") if len(held[name].x)), "train")
    return plots.spread(held[name].x, count), "training images" if name == "train" else "images held out from training"


def small(image: np.ndarray) -> Image.Image:
    """Return one image, uint8 (channel, height, width), as a picture of its own size."""
    return tile(image[None], 1, scale=1, gap=0)
