"""From a decoded picture to a training row: cropped or padded to an aspect, resized, laid out by channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint.data.images.depth import TOP

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]
"""Red, green and blue in [0, 255]."""

WHITE: Colour = (255, 255, 255)
_LUMA = (0.299, 0.587, 0.114)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Planes:
    """A decoded picture of 16 bits: one Pillow image of mode F for each channel, in [0, 65535]; alpha comes last.

    Attributes:
        channels: grey, or red, green and blue, each time with or without alpha.
        alpha: whether the last one is alpha.
    """

    channels: tuple[Image.Image, ...]
    alpha: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.channels[0].size

    def transposed(self, turn: Image.Transpose) -> Planes:
        """Return the picture turned."""
        return Planes(tuple(channel.transpose(turn) for channel in self.channels), self.alpha)


def luma(colour: Colour) -> int:
    """Return a colour as grey (ITU-R 601).

    >>> luma((255, 255, 255)), luma((255, 0, 0))
    (255, 76)
    """
    return round(sum(share * part for share, part in zip(_LUMA, colour, strict=True)))


def crop_box(sides: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest centred box of the aspect of ``size`` in a picture of (width, height).

    >>> crop_box((16, 8), (4, 4)), crop_box((100, 100), (32, 48))
    ((4, 0, 12, 8), (16, 0, 83, 100))
    """
    scale = min(sides[0] / size[0], sides[1] / size[1])
    width, height = (max(1, min(side, round(part * scale))) for side, part in zip(sides, size, strict=True))
    left, top = (sides[0] - width) // 2, (sides[1] - height) // 2
    return left, top, left + width, top + height


def place_within(sides: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return where a picture of (width, height) lies in the frame it is padded to: left, top, right, bottom.

    >>> place_within((40, 20), (16, 16))
    (0, 4, 16, 12)
    """
    scale = min(size[0] / sides[0], size[1] / sides[1])
    width, height = (max(1, min(most, round(side * scale))) for side, most in zip(sides, size, strict=True))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def shape_to(
    image: Image.Image | Planes, size: tuple[int, int], channels: int, fit: str, ground: Colour = WHITE
) -> np.ndarray:
    """Crop or pad a decoded picture to the aspect of ``size``, and resize it (Lanczos).

    Args:
        image: mode L, RGB or RGBA, or `Planes`.
        size: (width, height) of the row.
        channels: 1, 3 or 4. With 4 a pixel that cannot be seen has the colour of the ground, and what is padded cannot
            be seen.
        fit: crop or pad.
        ground: what is padded with.

    Returns:
        (channel, height, width): uint8, of `Planes` uint16.
    """
    if isinstance(image, Planes):
        return _deep(image, size, channels, fit, ground)
    image = image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
    if fit == "crop" and crop_box(image.size, size) != (0, 0, *image.size):
        image = image.crop(crop_box(image.size, size))
    left, top, right, bottom = box = place_within(image.size, size) if fit == "pad" else (0, 0, *size)
    if image.size != (right - left, bottom - top):
        image = _resized(image, (right - left, bottom - top))
    pixels = np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(bottom - top, right - left, channels)
    if channels == 4:
        pixels = grounded(pixels, ground)
    if box != (0, 0, *size):
        # padded after resizing: a strip of 8 x 4,000,000 pixels would not fit into memory as a square
        around = np.empty((size[1], size[0], channels), np.uint8)
        around[:] = [luma(ground)] if channels == 1 else [*ground, 0][:channels]
        around[top:bottom, left:right] = pixels
        pixels = around
    return pixels[None, ..., 0] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def grounded(pixels: np.ndarray, ground: Colour) -> np.ndarray:
    """Return pixels (height, width, 4) with the colour of the ground where alpha is 0, so that it tells nothing."""
    unseen = pixels[..., 3] == 0
    if not unseen.any():
        return pixels
    pixels = pixels.copy()
    top = TOP // 255 if pixels.dtype == np.uint16 else 1
    pixels[unseen, :3] = [part * top for part in ground]
    return pixels


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _deep(image: Planes, size: tuple[int, int], channels: int, fit: str, ground: Colour) -> np.ndarray:
    planes = list(image.channels)
    if fit == "crop":
        planes = [plane.crop(crop_box(image.size, size)) for plane in planes]
    left, top, right, bottom = place_within(planes[0].size, size) if fit == "pad" else (0, 0, *size)
    inner = (right - left, bottom - top)
    arrays = [np.asarray(plane, dtype=np.float64) for plane in planes]
    alpha = arrays.pop() / TOP if image.alpha else None
    arrays = _as_channels(arrays, 1 if channels == 1 else 3)
    if alpha is not None:
        arrays = [plane * alpha for plane in arrays]  # so that what cannot be seen does not bleed into what can
    arrays = [_resampled(plane, inner) for plane in arrays]
    seen = np.ones((inner[1], inner[0])) if alpha is None else _resampled(alpha, inner).clip(0, 1)
    paint = [luma(ground)] if channels == 1 else list(ground)
    found = np.empty((channels, size[1], size[0]), np.float64)
    for k, (plane, part) in enumerate(zip(arrays, paint, strict=True)):
        found[k] = part * (TOP // 255)
        mixed = plane + (1 - seen) * part * (TOP // 255)
        found[k, top:bottom, left:right] = plane / np.maximum(seen, 1e-6) if channels == 4 else mixed
    if channels == 4:
        found[3] = 0
        found[3, top:bottom, left:right] = seen * TOP
    rounded = np.rint(found).clip(0, TOP).astype(np.uint16)
    if channels < 4:
        return rounded
    return np.ascontiguousarray(grounded(rounded.transpose(1, 2, 0), ground).transpose(2, 0, 1))


def _as_channels(planes: list[np.ndarray], channels: int) -> list[np.ndarray]:
    if len(planes) == channels:
        return planes
    if channels == 3:
        return planes * 3
    grey: np.ndarray = sum((share * plane for share, plane in zip(_LUMA, planes, strict=True)), np.zeros(1))
    return [grey]


def _resampled(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    if plane.shape == (size[1], size[0]):
        return plane
    return np.asarray(_resized(Image.fromarray(plane.astype(np.float32)), size), dtype=np.float64)
