"""Pictures of more than 8 bits: their values as they stand, and the one scale that a set of them is brought to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.images.opening import open_image
from saddlepoint.data.plan import Finding

if TYPE_CHECKING:
    from PIL import Image

TOP = 65535
"""White where 16 bits are kept."""

_WELL_BELOW = 0.25
"""Floats in [-1, 1] that all end below this use a small part of that range: they get the range in use."""

_ROWS = 256

_PAYLOAD, _VALUES = "_saddlepoint_payload", "_saddlepoint_values"
# Pillow takes one byte of two of these; the same with the order of bytes turned round yields the other.
_OTHER_BYTE = {
    "RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B",
    "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B", "RGBA;16N": "RGBA;16B",
    "RGBX;16B": "RGBX;16L", "RGBX;16L": "RGBX;16B",
}  # fmt: skip
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 0, 262, 258, 339


class NotFinite(Exception):
    """A picture holds NaN or infinity."""


@dataclass(frozen=True)
class Levels:
    """The values that become black and white, for whole numbers and for floats.

    Attributes:
        whole: (lowest, highest) of pictures of whole numbers of more than 8 bits.
        floats: of pictures of floats.
    """

    whole: tuple[float, float] = (0.0, float(TOP))
    floats: tuple[float, float] = (0.0, 1.0)

    def bring(self, values: np.ndarray, top: int, kind: type) -> np.ndarray:
        """Return values on a scale from 0 to ``top``; what lies beyond is clipped, whole numbers are rounded.

        A few rows at a time: in double precision a large picture would take much memory.
        """
        low, high = self.whole if values.dtype.kind in "ui" else self.floats
        found: np.ndarray = np.empty(values.shape, kind)
        for start in range(0, len(values), _ROWS):
            part = (values[start : start + _ROWS].astype(np.float64) - low) / (high - low)
            part = part.clip(0.0, 1.0) * top
            found[start : start + _ROWS] = np.rint(part) if found.dtype.kind == "u" else part
        return found


@dataclass
class Extent:
    """What values a set of deep pictures holds.

    Attributes:
        low, high: least and largest value.
        pictures: how many pictures.
    """

    low: float = np.inf
    high: float = -np.inf
    pictures: int = 0

    def add(self, values: np.ndarray) -> None:
        """Count one picture."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.pictures += 1


def attach(image: Image.Image, *, payload: bytes | None = None, values: np.ndarray | None = None) -> Image.Image:
    """Keep with an opened picture what Pillow cannot hold: its file, or values that no mode of Pillow's has."""
    if payload is not None:
        setattr(image, _PAYLOAD, payload)
    if values is not None:
        setattr(image, _VALUES, values)
    return image


def payload_of(image: Image.Image) -> bytes:
    """Return the file that an opened picture came from; nothing of one that came from an array."""
    payload: bytes = getattr(image, _PAYLOAD, b"")
    return payload


def of_array(values: np.ndarray) -> Image.Image:
    """Return an array of more than 8 bits, (height, width) or (height, width, channel), as an opened picture."""
    from PIL import Image

    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype.kind == "f" and values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    mode = "RGBA" if values.ndim == 3 and values.shape[2] == 4 else "RGB" if values.ndim == 3 else "F"
    if values.ndim == 2 and values.dtype.kind in "ui":
        mode = "I;16" if values.dtype == np.uint16 else "I"
    return attach(Image.new(mode, (values.shape[1], values.shape[0])), values=values)


def is_deep(image: Image.Image) -> bool:
    """Whether an opened picture, not yet loaded, holds more than 8 bits that can be read."""
    if getattr(image, _VALUES, None) is not None:
        return True
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or _raw_mode(image) in _OTHER_BYTE


def is_halved(image: Image.Image) -> bool:
    """Whether only the upper 8 of 16 bits of an opened picture, not yet loaded, can be read."""
    raw = _raw_mode(image)
    return ";16" in raw and raw not in _OTHER_BYTE and not is_deep(image)


def mode_of(image: Image.Image) -> str:
    """Return Pillow's mode of an opened picture, with ``;16`` where colours have 16 bits."""
    deep = image.mode in ("RGB", "RGBA") and is_deep(image)
    return f"{image.mode};16" if deep else image.mode


def values_of(image: Image.Image) -> np.ndarray:
    """Return the values of a deep picture as they stand: (height, width) or (height, width, channel).

    Raises:
        NotFinite: if some are NaN or infinite.
    """
    kept: np.ndarray | None = getattr(image, _VALUES, None)
    if kept is None:
        raw = _raw_mode(image)
        kept = _both_bytes(image, raw) if raw in _OTHER_BYTE else _single(image)
    if kept.dtype.kind == "f" and not np.isfinite(kept).all():
        raise NotFinite
    return kept


def _single(image: Image.Image) -> np.ndarray:
    image.load()
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(_BITS, ()) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) in ((1,), 1):
        values = values.astype(np.int64) & 0xFFFFFFFF  # Pillow takes whole numbers of 32 bits for signed ones
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        # such as X-rays: the largest value is black
        values = values.max() - values if values.dtype.kind == "f" else _top_of(values) - values.astype(np.int64)
    return values


def _top_of(values: np.ndarray) -> int:
    return int((1 << max(8, int(values.max()).bit_length())) - 1)


def _both_bytes(image: Image.Image, raw: str) -> np.ndarray:
    """Return colours of 16 bits: the file is decoded twice, for the upper and for the lower bytes."""
    other: Any = open_image(payload_of(image), "a picture")
    frame = image.tell()
    if frame:
        other.seek(frame)
    other.tile = [tile._replace(args=_turned(tile.args, raw)) for tile in other.tile]
    image.load()
    other.load()
    found: np.ndarray = np.asarray(image).astype(np.uint16)
    found <<= 8
    found |= np.asarray(other)
    return found


def _turned(args: Any, raw: str) -> Any:
    if isinstance(args, str):
        return _OTHER_BYTE[raw]
    return tuple(_OTHER_BYTE[raw] if part == raw else part for part in args)


def _raw_mode(image: Image.Image) -> str:
    for tile in getattr(image, "tile", ())[:1]:
        args = (tile[3],) if isinstance(tile[3], str) else tuple(tile[3] or ())
        return next((part for part in args if isinstance(part, str) and ";16" in part), "")
    return ""


def choose_levels(
    extents: Mapping[str, Extent], asked: tuple[float, float] | None
) -> tuple[Levels, tuple[Finding, ...]]:
    """Choose one scale for a set of pictures of more than 8 bits, and say so.

    Whole numbers that end well below the range of their type get the range of as many bits as they use (4,095 of
    65,535: 12 bits), floats that leave [0, 1] the range in use; negative ones of either kind the range in use, floats
    in [-1, 1] that range.

    Args:
        extents: values by kind, ``whole`` and ``floats``, of the kinds that occur.
        asked: levels that were asked for, or None.

    Raises:
        DataError: if all values are the same, outside every usual range.

    >>> choose_levels({"whole": Extent(0, 4093, 30)}, None)[0].whole
    (0.0, 4095.0)
    """
    levels, findings = {}, []
    for kind, extent in extents.items():
        if not extent.pictures:
            continue
        chosen, why, sure = _scale(kind, extent) if asked is None else (asked, "", True)
        levels[kind] = chosen
        of = f"{extent.pictures:,} images of {'more than 8 bits' if kind == 'whole' else 'floats'}"
        beyond = extent.low < chosen[0] or extent.high > chosen[1]
        clipped = f"; values reach from {extent.low:g} to {extent.high:g} and are clipped" if beyond else ""
        says = f"{of} have one scale: {chosen[0]:g} is black, {chosen[1]:g} is white{clipped}"
        findings.append(Finding("depth", says, why, "" if asked else "--levels LOW,HIGH", sure))
    return Levels(**levels), tuple(findings)


def _scale(kind: str, extent: Extent) -> tuple[tuple[float, float], str, bool]:
    low, high = extent.low, extent.high
    in_use = f"values reach from {low:g} to {high:g}"
    if kind == "floats":
        if low >= 0 and 1 < high <= 255:
            return (0.0, 255.0), in_use, True
        if low >= -1 and _WELL_BELOW < max(-low, high) <= 1:
            return (0.0 if low >= 0 else -1.0, 1.0), in_use, True
        return _in_use(low, high), in_use, False
    if low < 0 or high > TOP:
        return _in_use(low, high), in_use, False
    top = (1 << max(8, int(high).bit_length())) - 1
    if top == TOP:
        return (0.0, float(TOP)), "", True
    return (0.0, float(top)), f"values end at {high:g} of 65535", False


def _in_use(low: float, high: float) -> tuple[float, float]:
    if low == high:
        raise DataError(
            f"the images hold values from {low:g} to {high:g} alone: there is nothing to see; name --levels"
        )
    return low, high
