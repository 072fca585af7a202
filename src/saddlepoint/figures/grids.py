"""Pictures of samples, without a screen: grids, neighbours, interpolations, scatter plots.

Every function returns a `PIL.Image.Image` that depends on its arguments alone: equal input gives equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import written
from saddlepoint.core.types import to_bytes, to_uint16
from saddlepoint.data.dataset import bytes_of
from saddlepoint.data.images.write import png
from saddlepoint.figures.captions import STRIP, captioned, headed, titled, written_over
from saddlepoint.figures.plots import scatter
from saddlepoint.metrics.distances import Rows, nearest

__all__ = [
    "BACKGROUND", "YELLOW", "class_columns", "encoded", "grid", "nearest", "neighbours", "picture_bytes",
    "save_arrays", "scatter", "single", "tile", "to_uint8", "walk",
]  # fmt: skip

YELLOW = (255, 216, 0)
"""Colour of frames around training images."""

BACKGROUND = 64
"""Grey level between tiles: black and white pictures both stand out from it."""

MOST_CLASS_COLUMNS = 20
"""Classes up to which each has a column of its own in a grid."""

_CHEQUER, _CHEQUERS = 4, (204, 153)
"""Side of the squares behind images that can be seen through, and their grey levels."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SIZE = 56


def to_uint8(x: Tensor | np.ndarray) -> np.ndarray:
    """Turn values in [-1, 1] into bytes: round(127.5 (x + 1)), clipped to [0, 255].

    Raises:
        DataError: if values are not finite, naming how many.

    >>> to_uint8(np.array([-1.0, 0.0, 1.0])).tolist()
    [0, 128, 255]
    """
    values = x.detach() if isinstance(x, Tensor) else torch.tensor(np.asarray(x))
    broken = int((~torch.isfinite(values)).sum())
    if broken:
        raise DataError(f"{broken:,} of {values.numel():,} values are not finite: the generator has diverged")
    return to_bytes(values).numpy()


def tile(
    images: np.ndarray,
    columns: int | None = None,
    *,
    scale: int | None = None,
    gap: int = 2,
    frames: Collection[int] | None = None,
    captions: Sequence[str] | None = None,
    headings: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    corner: str | None = None,
    see_through: bool = False,
) -> Image.Image:
    """Lay images out in rows on a grey ground.

    Args:
        images: (n, channel, height, width) uint8 with 1, 3 or 4 channels; the fourth is opacity.
        columns: images in a row; None for a layout near to a square.
        scale: each pixel becomes scale x scale equal ones; None enlarges small images to about 56 pixels.
        gap: pixels between tiles and around them, not scaled.
        frames: indices of tiles to frame in yellow; frames fill the gap and cover no pixel of a tile.
        captions: one line of text for each row, written on its left.
        headings: one line of text for each column, written above it.
        titles: one line of text for each tile, written below it.
        corner: text that stands in the place of the first tile.
        see_through: keep the opacity of images of 4 channels: the picture is RGBA then, and opaque between tiles.
            Otherwise they are laid on a chequered ground.

    Raises:
        DataError: if images are not uint8 (n, 1, 3 or 4, height, width) with n >= 1.
        ConfigError: on columns or scale below 1, a negative gap, frames without a gap or outside the images,
            or another number of captions than rows, of headings than columns, or of titles than images.
    """
    check_images(images)
    count, channels, height, width = images.shape
    columns = columns or max(1, round((count * height / width) ** 0.5))
    scale = fitting_scale(max(height, width)) if scale is None else scale
    rows = -(-count // columns)
    _check_layout(columns, scale, gap, frames, count)
    _check_texts((("captions", captions, "rows", rows), ("headings", headings, "columns", columns),
                  ("titles", titles, "images", count)))  # fmt: skip
    strip = 0 if titles is None else STRIP
    high, wide = height * scale + strip + gap, width * scale + gap
    tops, lefts = [gap + row * high for row in range(rows)], [gap + column * wide for column in range(columns)]
    see_through = see_through and channels == 4
    places = [(tops[index // columns], lefts[index % columns]) for index in range(count)]
    canvas = np.full((rows * high + gap, columns * wide + gap, 3 + see_through), BACKGROUND, np.uint8)
    canvas[..., 3:] = 255
    _lay(canvas, images, places, scale, gap, frames or ())
    picture = Image.fromarray(canvas)
    if corner is not None:
        written_over(picture, corner, (gap, gap, gap + width * scale, gap + height * scale), BACKGROUND)
    if titles is not None:
        titled(picture, titles, [(left, top + height * scale) for top, left in places], width * scale)
    if headings is not None:
        picture = headed(picture, headings, lefts, width * scale, BACKGROUND)
        tops = [top + picture.height - len(canvas) for top in tops]
    if captions is not None:
        picture = captioned(picture, captions, tops, height * scale, BACKGROUND)
    return picture.convert("L") if channels == 1 and not frames else picture


def _lay(
    canvas: np.ndarray, images: np.ndarray, places: list[tuple[int, int]], scale: int, gap: int, frames: Collection[int]
) -> None:
    """Put images, and the frames of some, at places (top, left) of a canvas of 3 channels, or 4: then see-through."""
    height, width = (side * scale for side in images.shape[2:])
    # A frame is what the tile leaves uncovered of a yellow block.
    for top, left in (places[index] for index in frames):
        canvas[top - gap : top + height + gap, left - gap : left + width + gap, :3] = YELLOW
    for (top, left), image in zip(places, images, strict=True):
        pixels = image.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        pixels = _on_chequers(pixels) if pixels.shape[2] > canvas.shape[2] else pixels
        canvas[top : top + height, left : left + width] = pixels


def fitting_scale(side: int, wanted: int = _SIZE) -> int:
    """Return by which whole number a picture of this many pixels is enlarged to come near to ``wanted`` of them.

    >>> fitting_scale(28), fitting_scale(32), fitting_scale(100), fitting_scale(32, 224)
    (2, 2, 1, 7)
    """
    return max(1, round(wanted / side))


def _on_chequers(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (height, width, 4) on a ground of light and darker grey squares, (height, width, 3)."""
    rows, columns = (np.arange(side) // _CHEQUER for side in pixels.shape[:2])
    ground = np.where((rows[:, None] + columns) % 2 == 0, *_CHEQUERS)[..., None]
    share = pixels[..., 3:] / 255
    return np.rint(pixels[..., :3] * share + ground * (1 - share)).astype(np.uint8)


def grid(samples: Tensor, columns: int | None = None, **layout: Any) -> Image.Image:
    """Lay out samples in [-1, 1], shape (n, channel, height, width); further arguments as in `tile`.

    Raises:
        DataError: if the samples are not images, or not finite.
    """
    return tile(to_uint8(samples), columns, **layout)


def single(sample: Tensor, *, see_through: bool = True, scale: int = 1) -> Image.Image:
    """Return one sample in [-1, 1], shape (channel, height, width), as a picture; see `tile`.

    Raises:
        DataError: if it is no image, or not finite.
    """
    return tile(to_uint8(sample[None]), 1, scale=scale, gap=0, see_through=see_through)


def flat(picture: Image.Image) -> Image.Image:
    """Return a picture without opacity: what can be seen through is laid on a chequered ground."""
    return Image.fromarray(_on_chequers(np.asarray(picture))) if picture.mode == "RGBA" else picture


def picture_bytes(sample: Tensor, depth: int = 8) -> bytes:
    """Return one sample in [-1, 1], shape (channel, height, width), as the bytes of a PNG file.

    Args:
        sample: of 1, 3 or 4 channels.
        depth: bits of a value: 8, or 16 over the range 0 to 65535.

    Raises:
        DataError: if it is no image, or not finite.
    """
    if depth == 8:
        return encoded(single(sample))
    check_images(to_uint8(sample[None]))
    return png(to_uint16(sample).numpy())


def encoded(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def neighbours(
    samples: Tensor, train: np.ndarray, columns: int = 6, *, beside: bool = False, scale: int | None = None,
    headings: Sequence[str] | None = None, look: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Image.Image:  # fmt: skip
    """Show samples with their nearest training images framed in yellow.

    Args:
        samples: (n, channel, height, width) in [-1, 1].
        train: (m, channel, height, width) training images of 8 or 16 bits, memory-mapped or not.
        columns: samples in a row; with ``beside`` pairs in a row. Samples that fill no row are left out.
        beside: each sample has its neighbour on its right. Otherwise the rightmost column holds the neighbour
            of the last sample of each row, as in the paper.
        scale, headings: as in `tile`.
        look: uint8 images -> the indices of the training images that are nearest to them; None: between bytes.

    Raises:
        ConfigError: if there are fewer samples than columns.
        DataError: if shapes differ, or samples are not finite.

    Source: Goodfellow et al. 2014, Figure 2; distances are Euclidean, between bytes where nothing else is given.
    """
    rows = len(samples) // max(columns, 1)
    if columns < 1 or rows < 1:
        raise ConfigError(
            f"{len(samples)} samples fill no row of {columns}: draw more samples or ask for fewer columns"
        )
    shown = to_uint8(samples[: rows * columns])
    check_images(shown)
    asked = shown if beside else shown[columns - 1 :: columns]
    train = bytes_of(train)
    indices = nearest(asked, train)[0] if look is None else look(asked)
    table = shown.reshape(rows, columns, *shown.shape[1:])
    found = train[indices].reshape(rows, -1, *shown.shape[1:])
    if beside:
        images = np.stack([table, found], axis=2).reshape(-1, *shown.shape[1:])
        width, frames = 2 * columns, set(range(1, len(images), 2))
    else:
        images = np.concatenate([table, found], axis=1).reshape(-1, *shown.shape[1:])
        width, frames = columns + 1, set(range(columns, len(images), columns + 1))
    return tile(images, width, scale=scale, frames=frames, headings=headings)


def walk(z0: Tensor, z1: Tensor, steps: int = 10) -> Tensor:
    """Return the points of straight lines in z space, ends included: (rows * steps, latent), row by row.

    ``grid(generate(walk(z0, z1, steps)), steps)`` shows what lies between pairs of points.

    Args:
        z0: (rows, latent) left ends, one for each row of the picture.
        z1: (rows, latent) right ends.
        steps: points on a line, both ends included.

    Raises:
        ConfigError: on fewer than 2 steps, or z0 and z1 of different shapes.

    Source: Goodfellow et al. 2014, Figure 3.
    """
    if steps < 2:
        raise ConfigError(f"steps is {steps}, but a row needs its two ends: at least 2")
    if z0.shape != z1.shape or z0.ndim != 2 or len(z0) < 1:
        raise ConfigError(f"the ends have shapes {tuple(z0.shape)} and {tuple(z1.shape)}; both must be (rows, latent)")
    t = torch.linspace(0, 1, steps, dtype=z0.dtype, device=z0.device)[None, :, None]
    return ((1 - t) * z0[:, None] + t * z1[:, None]).flatten(0, 1)


def save_arrays(
    path: str | Path, samples: Tensor | np.ndarray, labels: Tensor | None = None, *, whole: bool = False,
    **beside: np.ndarray,
) -> Path:  # fmt: skip
    """Write samples as array ``x`` of a .npz file, images as uint8, all else as float32; ``labels`` beside it.

    Args:
        path: the file, ending in .npz; its folder is made if missing.
        samples: images (n, channel, height, width) in [-1, 1] or as uint8, or vectors (n, feature).
        labels: (n,), what they were asked for as; None: they were not.
        whole: write images as float32 in [-1, 1], too: of data that keeps 16 bits.
        beside: further arrays by name.

    Raises:
        DataError: if image samples are not finite.
    """
    path = Path(path)
    x = samples.detach().cpu().float().numpy() if isinstance(samples, Tensor) else samples
    if x.ndim == 4 and x.dtype != np.uint8:
        x = x if whole and np.isfinite(x).all() else to_uint8(x)
    make_folder(path.parent)
    told: dict[str, Any] = {} if labels is None else {"labels": labels.numpy()}
    arrays: dict[str, Any] = {**told, **beside}
    with written(path) as place, place.open("wb") as file:
        np.savez_compressed(file, x=x, **arrays)
    return path


def class_columns(classes: int) -> int | None:
    """Return the columns of a grid with a class in each column; None where that would be too wide, or without classes.

    >>> class_columns(10), class_columns(0)
    (10, None)
    """
    return classes if 0 < classes <= MOST_CLASS_COLUMNS else None


def check_images(images: Rows) -> None:
    """Refuse what is no bytes of images, (n, 1, 3 or 4, height, width).

    Raises:
        DataError: naming shape and type.
    """
    if images.ndim != 4 or len(images) < 1 or images.shape[1] not in MODES or images.dtype != np.uint8:
        raise DataError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}, but pictures need uint8 "
            "(n, 1, 3 or 4, height, width); for vectors use scatter"
        )


def _check_texts(texts: Sequence[tuple[str, Sequence[str] | None, str, int]]) -> None:
    for name, lines, of, count in texts:
        if lines is not None and len(lines) != count:
            raise ConfigError(f"{len(lines)} {name} for {count} {of}: give one for each")


def _check_layout(columns: int, scale: int, gap: int, frames: Collection[int] | None, count: int) -> None:
    for name, value, least in (("columns", columns, 1), ("scale", scale, 1), ("gap", gap, 1 if frames else 0)):
        if value < least:
            raise ConfigError(f"{name} is {value}, but it must be at least {least}")
    if frames and not all(0 <= index < count for index in frames):
        raise ConfigError(f"frames are asked for around {sorted(frames)}, but there are only {count} images")
