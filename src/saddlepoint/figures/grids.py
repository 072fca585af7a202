"""Pictures of samples, without a screen: grids, filmstrips, neighbours, interpolations, scatter plots.

Every function returns a `PIL.Image.Image` that depends on its arguments alone: equal input gives equal bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import own_folder, parse_json, read_regular, snapshots_in, write_atomically, written
from saddlepoint.core.types import to_bytes, to_uint16
from saddlepoint.data import limits
from saddlepoint.data.dataset import bytes_of
from saddlepoint.data.images.opening import Unreadable, open_image
from saddlepoint.data.images.write import deep_png
from saddlepoint.figures import captions as words
from saddlepoint.figures import plots
from saddlepoint.figures.plots import scatter
from saddlepoint.metrics.distances import Rows, nearest

__all__ = [
    "BACKGROUND",
    "YELLOW",
    "choose_steps",
    "class_columns",
    "encoded",
    "filmstrip",
    "grid",
    "nearest",
    "neighbours",
    "picture_bytes",
    "read_snapshot",
    "save_arrays",
    "save_snapshot",
    "scatter",
    "single",
    "tile",
    "to_uint8",
    "walk",
]

YELLOW = (255, 216, 0)
"""Colour of frames around training images."""

BACKGROUND = 64
"""Grey level between tiles: black and white pictures both stand out from it."""

LANDMARKS = (0, 10_000, 50_000, 90_000)
"""Steps shown in every filmstrip that reaches them: the figure of the literature."""

MOST_CLASS_COLUMNS = 20
"""Classes up to which each has a column of its own in a grid."""

_CHEQUER, _CHEQUERS = 4, (204, 153)
"""Side of the squares behind images that can be seen through, and their grey levels."""

_KEY = "saddlepoint"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
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
    _check_images(images)
    count, channels, height, width = images.shape
    columns = columns or max(1, round((count * height / width) ** 0.5))
    scale = fitting_scale(max(height, width)) if scale is None else scale
    rows = -(-count // columns)
    _check_layout(columns, scale, gap, frames, count)
    _check_texts((("captions", captions, "rows", rows), ("headings", headings, "columns", columns),
                  ("titles", titles, "images", count)))  # fmt: skip
    strip = 0 if titles is None else words.STRIP
    high, wide = height * scale + strip + gap, width * scale + gap
    tops, lefts = [gap + row * high for row in range(rows)], [gap + column * wide for column in range(columns)]
    see_through = see_through and channels == 4
    canvas = np.full((rows * high + gap, columns * wide + gap, 3 + see_through), BACKGROUND, np.uint8)
    canvas[..., 3:] = 255
    # A frame is what the tile leaves uncovered of a yellow block.
    for index in frames or ():
        top, left = index // columns * high, index % columns * wide
        canvas[top : top + high - strip + gap, left : left + wide + gap, :3] = YELLOW
    for index, image in enumerate(images):
        top, left = tops[index // columns], lefts[index % columns]
        pixels = image.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        pixels = pixels if channels < 4 or see_through else _on_chequers(pixels)
        canvas[top : top + height * scale, left : left + width * scale] = pixels
    picture = Image.fromarray(canvas)
    if corner is not None:
        words.written_over(picture, corner, (gap, gap, gap + width * scale, gap + height * scale), BACKGROUND)
    if titles is not None:
        strips = [(lefts[i % columns], tops[i // columns] + height * scale) for i in range(count)]
        words.titled(picture, titles, strips, width * scale)
    if headings is not None:
        picture = words.headed(picture, headings, lefts, width * scale, BACKGROUND)
        tops = [top + picture.height - len(canvas) for top in tops]
    if captions is not None:
        picture = words.captioned(picture, captions, tops, height * scale, BACKGROUND)
    return picture.convert("L") if channels == 1 and not frames else picture


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
    _check_images(to_uint8(sample[None]))
    return deep_png(to_uint16(sample).numpy())


def encoded(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def neighbours(
    samples: Tensor, train: np.ndarray, columns: int = 6, *, beside: bool = False, scale: int | None = None,
    headings: Sequence[str] | None = None,
) -> Image.Image:  # fmt: skip
    """Show samples with their nearest training images framed in yellow.

    Args:
        samples: (n, channel, height, width) in [-1, 1].
        train: (m, channel, height, width) training images of 8 or 16 bits, memory-mapped or not.
        columns: samples in a row; with ``beside`` pairs in a row. Samples that fill no row are left out.
        beside: each sample has its neighbour on its right. Otherwise the rightmost column holds the neighbour
            of the last sample of each row, as in the paper.
        scale, headings: as in `tile`.

    Raises:
        ConfigError: if there are fewer samples than columns.
        DataError: if shapes differ, or samples are not finite.

    Source: Goodfellow et al. 2014, Figure 2; distances are Euclidean, between bytes.
    """
    rows = len(samples) // max(columns, 1)
    if columns < 1 or rows < 1:
        raise ConfigError(
            f"{len(samples)} samples fill no row of {columns}: draw more samples or ask for fewer columns"
        )
    shown = to_uint8(samples[: rows * columns])
    _check_images(shown)
    asked = shown if beside else shown[columns - 1 :: columns]
    train = bytes_of(train)
    indices, _ = nearest(asked, train)
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
    path.parent.mkdir(parents=True, exist_ok=True)
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
        _check_images(images)
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
            pixels = np.asarray(picture.convert(_MODES[channels]))
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


def _check_images(images: Rows) -> None:
    if images.ndim != 4 or len(images) < 1 or images.shape[1] not in _MODES or images.dtype != np.uint8:
        raise DataError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}, but pictures need uint8 "
            "(n, 1, 3 or 4, height, width); for vectors use scatter"
        )


def _check_texts(texts: Sequence[tuple[str, Sequence[str] | None, str, int]]) -> None:
    for name, lines, of, count in texts:
        if lines is not None and len(lines) != count:
            raise ConfigError(f"{len(lines)} {name} for {count} {of}: give one for each")


def _check_layout(columns: int, scale: int, gap: int, frames: Collection[int] | None, count: int) -> None:
    for name, value, least in (
        ("columns", columns, 1),
        ("scale", scale, 1),
        ("gap", gap, 1 if frames else 0),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}, but it must be at least {least}")
    if frames and not all(0 <= index < count for index in frames):
        raise ConfigError(f"frames are asked for around {sorted(frames)}, but there are only {count} images")
