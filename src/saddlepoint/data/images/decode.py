"""Decode any picture and bring it to the size and channels of a training set."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint._errors import DataError
from saddlepoint.data.options import MIN_SIDE

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_CAP = 64
_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112


class Unreadable(Exception):
    """A picture cannot be used; the text says why. Callers count these and go on."""


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow's warning about decompression bombs an error, and silence its remarks on odd metadata."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def open_picture(payload: bytes | np.ndarray, origin: str) -> Image.Image:
    """Open a picture without decoding it: size and mode are known afterwards.

    Args:
        payload: bytes of an image file, or uint8 pixels (height, width) or (height, width, channel).
        origin: name of the file or row, for messages.

    Raises:
        Unreadable: if it is not a picture, or smaller than 4 pixels on a side.
        DataError: if it declares more pixels than Pillow's limit against decompression bombs.
    """
    from PIL import Image

    if isinstance(payload, np.ndarray):
        pixels = payload[..., 0] if payload.ndim == 3 and payload.shape[2] == 1 else payload
        image: Image.Image = Image.fromarray(np.ascontiguousarray(pixels))
    else:
        try:
            image = Image.open(io.BytesIO(payload))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            limit = Image.MAX_IMAGE_PIXELS or 0
            raise DataError(
                f"{origin} declares more than {limit:,} pixels, the limit against decompression bombs; "
                "remove it, or scale it down first"
            ) from error
        except Exception as error:  # decoders of broken files raise anything, not OSError alone
            raise Unreadable("empty file" if not payload else "not an image that can be read") from error
    if min(image.size) < MIN_SIDE:
        raise Unreadable(f"{image.width}x{image.height} pixels, smaller than {MIN_SIDE}x{MIN_SIDE}")
    return image


def decode(image: Image.Image, done: Counter[str]) -> Image.Image:
    """Decode an opened picture to mode L or RGB, upright.

    Args:
        image: result of `open_picture`.
        done: counts conversions that change what is seen, by their description.

    Raises:
        Unreadable: if the file is damaged or its values have no defined brightness.
    """
    try:
        image.load()
        orientation = orientation_of(image)
        result = upright(_to_eight_bits(image, done), orientation)
        if orientation != 1:
            done["turned upright as their EXIF orientation says"] += 1
    except Unreadable:
        raise
    except Exception as error:  # as above: a truncated PNG, a bad JPEG and a broken palette fail differently
        raise Unreadable(f"damaged ({error or type(error).__name__})") from error
    return result


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded picture, 1 to 8; 1 is upright."""
    may_turn = "exif" in image.info or getattr(image, "format", None) in ("TIFF", "MPO")
    orientation = int(image.getexif().get(_ORIENTATION, 1)) if may_turn else 1
    return orientation if orientation in range(2, 9) else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture, or a channel of one, that is stored in an EXIF orientation."""
    return image if orientation == 1 else image.transpose(_turn(orientation))


def is_grey(image: Image.Image) -> bool:
    """Whether a decoded picture has no colour, also when it is stored as RGB with equal channels."""
    if image.mode == "L":
        return True
    pixels = np.asarray(image)
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def grey_by_mode(image: Image.Image) -> bool:
    """Whether an opened picture is grey for certain, judging by its mode alone."""
    return image.mode in _GREY or image.mode.startswith("I;16")


def shape_to(image: Image.Image, size: int, channels: int, fit: str) -> np.ndarray:
    """Crop or pad a decoded picture to a square and resize it (Lanczos): uint8 (channel, size, size)."""
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    width, height = image.size
    if width != height and fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    left, top, right, bottom = box = place_within(image.size, size)
    if image.size != (right - left, bottom - top):
        image = image.resize((right - left, bottom - top), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if box != (0, 0, size, size):
        # padded after resizing: a strip of 8 x 4,000,000 pixels would not fit into memory as a square
        square = Image.new(mode, (size, size))
        square.paste(image, (left, top))
        image = square
    pixels = np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(size, size, channels)
    return pixels[None, ..., 0] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def place_within(sides: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    """Return where a picture of (width, height) lies in the square it is padded to: left, top, right, bottom."""
    scale = size / max(sides)
    width, height = (max(1, round(side * scale)) for side in sides)
    left, top = (size - width) // 2, (size - height) // 2
    return left, top, left + width, top + height


@dataclass
class Survey:
    """Sizes and modes of a set of pictures, from their headers.

    Attributes:
        sizes: number of pictures by (width, height) as stored.
        modes: number of pictures by Pillow mode.
        grey: whether no picture has colour.
        total: pictures seen, readable or not.
        unreadable: (origin, reason) of those that cannot be used.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    grey: bool = True
    total: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, payload: bytes | np.ndarray, origin: str) -> Image.Image | None:
        """Count one picture; pixels are decoded only while all pictures before it were grey."""
        self.total += 1
        try:
            image = open_picture(payload, origin)
            if self.grey and not grey_by_mode(image):
                self.grey = is_grey(decode(image, Counter()))
        except Unreadable as problem:
            self.unreadable.append((origin, str(problem)))
            return None
        self.sizes[image.size] += 1
        self.modes[image.mode] += 1
        return image

    def choose_size(self) -> tuple[int, str]:
        """Return the default size and a sentence saying why (an empty one if it is the native size).

        Raises:
            DataError: if there are no images.
        """
        if not self.sizes:
            raise DataError("there are no images that can be used; give a folder or a file that holds some")
        if len(self.sizes) == 1:
            ((width, height),) = self.sizes
            if width == height:
                return width, ""
        short = int(np.median(np.repeat([min(s) for s in self.sizes], list(self.sizes.values()))))
        size = min(DEFAULT_CAP, 1 << (short.bit_length() - 1))
        kinds = f"{len(self.sizes)} different sizes" if len(self.sizes) > 1 else f"{width}x{height} pixels each"
        return size, (
            f"size {size} was chosen (images have {kinds}, the median short side is {short}; the largest power of "
            f"two up to {DEFAULT_CAP} is taken); another can be asked for"
        )

    def shape_notes(self, size: int, fit: str) -> list[str]:
        """Say what will be done to the shape of how many pictures."""
        oblong = sum(n for (w, h), n in self.sizes.items() if w != h)
        sides = [(min(s) if fit == "crop" else max(s), n) for s, n in self.sizes.items()]
        down, up = sum(n for s, n in sides if s > size), sum(n for s, n in sides if s < size)
        notes = []
        if oblong and fit == "crop":
            notes.append(f"{oblong} of {self.total} images are not square: their centre square was cropped")
        elif oblong:
            notes.append(f"{oblong} of {self.total} images are not square: they were padded with black")
        if down:
            notes.append(f"{down} of {self.total} images were scaled down to {size}x{size} (Lanczos)")
        if up:
            notes.append(f"{up} of {self.total} images are smaller than {size}x{size} and were enlarged (Lanczos)")
        return notes


def _turn(orientation: int) -> Image.Transpose:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }[orientation]


def _to_eight_bits(image: Image.Image, done: Counter[str]) -> Image.Image:
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode == "1":
        return image.convert("L")
    if mode == "I" or mode.startswith("I;16"):
        done["scaled from 16 to 8 bits"] += 1
        return _from_integers(np.asarray(image))
    if mode == "F":
        done["scaled from floats in [0, 1] to 8 bits"] += 1
        return _from_floats(np.asarray(image))
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image, done)
    if mode == "CMYK":
        done["converted from CMYK to RGB"] += 1
    return image.convert("RGB")


def _on_white(image: Image.Image, done: Counter[str]) -> Image.Image:
    from PIL import Image

    grey = image.mode in ("L", "LA", "La")
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    if layered.getchannel("A").getextrema() != (255, 255):
        done["transparent and were laid on white"] += 1
    return Image.alpha_composite(white, layered).convert("L" if grey else "RGB")


def _from_integers(values: np.ndarray) -> Image.Image:
    from PIL import Image

    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Unreadable(f"integer values from {low} to {high}, outside 0..65535")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _from_floats(values: np.ndarray) -> Image.Image:
    from PIL import Image

    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise Unreadable(f"float values from {low:g} to {high:g}, outside [0, 1]")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
