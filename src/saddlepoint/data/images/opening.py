"""The one place where files of pictures are opened: by allowed kinds only, their cost checked before decoding."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits
from saddlepoint.data.images.headers import Costly, check_head
from saddlepoint.data.options import MIN_SIDE

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SCANS = "_saddlepoint_scans"
_WIDE = ("JPEG2000", "AVIF")
"""Kinds whose decoders hold 32 bits a value."""
_SLOW = {"JPEG2000": 8.0, "AVIF": 2.0, "WEBP": 1.5}
"""Kinds that take longer to decode, in units of PNG."""
_MODES = {"1": 0.3, "L": 0.5, "P": 1.0, "RGB": 1.0, "CMYK": 1.5, "YCbCr": 1.5, "LAB": 1.5, "HSV": 1.5}
_LAYERED = 3.0
"""Of pictures with transparency, which are laid on a ground, and of deep ones."""


class Unreadable(Exception):
    """A picture cannot be used; the text says why. Callers count these and go on."""


def open_image(content: bytes, origin: str, most_pixels: int | None = None) -> Image.Image:
    """Open a file of a picture without decoding it: own and foreign ones alike.

    Args:
        content: of the file.
        origin: name of the file or row, for messages.
        most_pixels: that it may have; None: as `limits` says.

    Returns:
        The picture, whose size and mode are known. It is in memory: no file stays open.

    Raises:
        Unreadable: if it is not a picture of one of the kinds of `limits.PICTURE_KINDS`, or smaller than 4 pixels on a
            side.
        DataError: if it would be too costly to decode.
    """
    from PIL import Image

    try:
        scans = check_head(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; of its size, which is checked below
            image = Image.open(io.BytesIO(content), formats=_kinds())
    except Costly as error:
        raise DataError(f"{origin} is too costly to open ({error}); save it again with another program") from error
    except Image.DecompressionBombError as error:
        raise _too_large(origin, "more", 2 * (Image.MAX_IMAGE_PIXELS or 0), most_pixels) from error
    except Exception as error:  # decoders of broken files raise anything, not OSError alone
        raise Unreadable("empty file" if not content else "not an image that can be read") from error
    if image.format in ("JPEG", "MPO"):
        setattr(image, _SCANS, scans)
    check_pixels(image, origin, len(content), most_pixels)
    return image


def _kinds() -> list[str]:
    """Return those of the allowed kinds that this Pillow knows; it raises KeyError on others."""
    from PIL import Image

    Image.init()
    return [kind for kind in limits.PICTURE_KINDS if kind in Image.OPEN]


def check_pixels(image: Image.Image, origin: str, size: int, most_pixels: int | None = None) -> None:
    """Refuse an opened picture, or a page of it, that has too many pixels.

    Args:
        image: opened, not loaded.
        origin: name of the file, for messages.
        size: bytes of the file.
        most_pixels: that it may have; None: as `limits` says, a JPEG more, since it can be decoded at an eighth.

    Raises:
        DataError: if there are more.
    """
    pixels, most = image.width * image.height, most_pixels
    if most is None:
        from PIL import Image

        top = Image.MAX_IMAGE_PIXELS or limits.MOST_PIXELS
        most = top if image.format in ("JPEG", "MPO") else min(top, max(_most_of(image), size))
    if pixels > most:
        raise _too_large(origin, f"{image.width:,}x{image.height:,}", most, most_pixels)
    if pixels * _scans(image) > limits.MOST_SCANNED:
        raise DataError(
            f"{origin} is a JPEG of {image.width:,}x{image.height:,} pixels in {_scans(image):,} scans, each of which "
            "goes over all of them; save it again without progression, or scale it down"
        )


def check_decoded(image: Image.Image, size: int) -> None:
    """Refuse a picture that would take too much memory at the scale at which it is about to be decoded.

    Raises:
        DataError: if it has too many pixels.
    """
    pixels, most = image.width * image.height, max(_most_of(image), size)
    if pixels > most and image.format:
        raise _too_large("a picture", f"{image.width:,}x{image.height:,}", most, None)


def _most_of(image: Image.Image) -> int:
    if is_wide(image) or image.format in _WIDE:
        return limits.MOST_DEEP_PIXELS
    return limits.MOST_WEBP_PIXELS if image.format == "WEBP" else limits.MOST_PIXELS


def _scans(image: Image.Image) -> int:
    return int(getattr(image, _SCANS, 1))


def _too_large(origin: str, shown: str, most: int, asked: int | None) -> DataError:
    if asked is not None:
        return DataError(f"{origin} declares {shown} pixels, and at most {most:,} are taken; scale it down first")
    return DataError(
        f"{origin} declares {shown} pixels, and at most {most:,} are decoded (fewer where they have more than 8 bits), "
        "the limit against decompression bombs; remove it, or scale it down first"
    )


def is_wide(image: Image.Image) -> bool:
    """Whether an opened picture has more than 8 bits a value: in its mode, or in how its file is written."""
    parts = (part for tile in getattr(image, "tile", ())[:1] for part in _strings(tile[3]))
    return image.mode in _DEEP or any(";16" in part for part in parts)


def _strings(args: object) -> tuple[str, ...]:
    found = (args,) if isinstance(args, str) else tuple(args) if isinstance(args, tuple | list) else ()
    return tuple(part for part in found if isinstance(part, str))


def draft(image: Image.Image, side: int) -> None:
    """Let a very large JPEG be decoded at a half, a quarter or an eighth, if that is at least twice ``side``.

    Args:
        image: opened, not loaded; its size changes.
        side: the longer of those that are needed, in pixels.
    """
    if may_draft(image):
        image.draft(None, (2 * side, 2 * side))


def may_draft(image: Image.Image) -> bool:
    """Whether an opened picture is a JPEG so large that it is decoded at a smaller scale."""
    return image.format in ("JPEG", "MPO") and image.width * image.height > limits.DRAFT_PIXELS


def work_of(image: Image.Image) -> float:
    """Return what decoding an opened picture takes, in pixels of an RGB PNG."""
    if not image.format:
        return image.width * image.height * len(image.getbands()) / 3 + limits.WORK_OF_IMAGE
    layered = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    weight = _LAYERED if layered or is_wide(image) else _MODES.get(image.mode, 1.5)
    weight *= _SLOW.get(image.format, max(1.0, _scans(image) / 4))
    return limits.WORK_OF_PICTURE + image.width * image.height * weight


class Work:
    """What decoding the rows of one data set takes, counted before each is decoded.

    Args:
        size: bytes of its files; None: those of its pictures, as far as they were seen.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size, self.done, self.seen, self.unpacked, self.files = size, 0.0, 0, 0, 0

    def file(self, payload: bytes | np.ndarray) -> None:
        """Count the bytes of a row."""
        if isinstance(payload, bytes):
            self.seen += len(payload)
            self.files += 1
        else:
            self.unpacked += payload.nbytes

    def add(self, work: float, origin: str) -> None:
        """Count a picture or another row, which takes so much.

        Raises:
            DataError: if it is one too many.
        """
        self.done += work
        size = self.seen + self.unpacked if self.size is None else self.size
        most = limits.MOST_WORK + limits.WORK_PER_BYTE * size
        # Files that lie on the disk one by one are as many as they seem; an archive may say any number.
        files = self.files if self.size is None else min(self.files, limits.FILES_OF_ARCHIVE)
        most += limits.WORK_OF_FILE * files  # a thousand icons are nobody's bomb
        if self.done <= most or limits.lifted() or self.seen + self.unpacked == 0:
            return
        if not self.seen and self.unpacked <= limits.MOST_SPREAD * size:
            return
        raise DataError(
            f"the rows up to {origin} take as much work as {self.done / 1e6:,.0f} million pixels in {size:,} bytes of "
            f"files, and at most {most / 1e6:,.0f} million are decoded ({limits.MOST_WORK / 1e6:,.0f} million "
            f"and {limits.WORK_PER_BYTE} for each byte): nearly all of it is packed away; scale pictures down first, "
            f"{limits.LIFT}"
        )


def refuse_tiny(image: Image.Image) -> None:
    """Raise `Unreadable` for a picture, or a page, that is smaller than 4 pixels on a side."""
    if min(image.size) < MIN_SIDE:
        raise Unreadable(f"{image.width}x{image.height} pixels, smaller than {MIN_SIDE}x{MIN_SIDE}")
