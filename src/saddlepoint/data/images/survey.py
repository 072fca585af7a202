"""What a set of pictures looks like, and the shape and the scale that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.flags import shown_size
from saddlepoint.data.images import depth, pages
from saddlepoint.data.images.decode import decode, grey_by_mode, is_grey, open_picture
from saddlepoint.data.images.depth import Extent, NotFinite
from saddlepoint.data.images.opening import Unreadable, Work, may_draft, refuse_tiny, work_of
from saddlepoint.data.plan import Finding

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_CAP = 64
_GREY_SIDE = 1024
"""At least twice this side, very large JPEGs are looked at for colours."""
_NEARLY = 0.03
"""Error of an aspect up to which the larger size is proposed."""

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass
class Survey:
    """Sizes, modes and values of a set of pictures: from their headers, of deep ones from their pixels.

    Attributes:
        sizes: number of pictures by (width, height) as stored.
        modes: number of pictures by Pillow mode, with ``;16`` where colours have 16 bits.
        grey: whether no picture has colour.
        total: pictures seen, readable or not.
        unreadable: (origin, reason) of those that cannot be used.
        extents: what values deep pictures hold, by kind.
        paged: files of several pages.
        every: whether every page is a picture.
        values: whether the pixels of deep pictures are looked into.
        work: what decoding all of them takes.
    """

    sizes: Counter[Size] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    grey: bool = True
    total: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    extents: dict[str, Extent] = field(default_factory=lambda: {"whole": Extent(), "floats": Extent()})
    paged: pages.Paged = field(default_factory=pages.Paged)
    every: bool = False
    values: bool = False
    work: Work = field(default_factory=Work)

    def pictures(self, payload: bytes | np.ndarray, origin: str) -> Iterator[tuple[Image.Image, str]]:
        """Count the pictures of one file, and go through them: opened, with the name of file and page.

        Each is to be decoded before the next is asked for. Pixels are decoded here only while all pictures before were
        grey, and of deep pictures if ``values``.

        Raises:
            DataError: if a picture, or all of them together, would be too costly to decode.
        """
        seen = self.total
        self.work.file(payload)
        try:
            image = open_picture(payload, origin)
            number = pages.count(image)
            for page, one in enumerate(pages.each(image, number, self.paged, self.every), 1):
                refuse_tiny(one)
                self.work.add(work_of(one), origin)
                self.total += 1
                size, mode = one.size, depth.mode_of(one)
                self._look_into(one, payload, origin)
                self.sizes[size] += 1
                self.modes[mode] += 1
                yield one, origin if number == 1 or not self.every else f"{origin} page {page}"
        except Unreadable as problem:
            self.total += self.total == seen
            self.unreadable.append((origin, str(problem)))
        except NotFinite:
            self.total += self.total == seen
            self.unreadable.append((origin, "it holds NaN or infinity, outside every range of values"))
        except DataError:
            raise
        except Exception as error:  # a damaged page raises anything
            self.total += self.total == seen
            self.unreadable.append((origin, f"damaged ({error or type(error).__name__})"))

    def add(self, payload: bytes | np.ndarray, origin: str) -> Image.Image | None:
        """Count one picture, of a file with several the first, and return it; None if it cannot be used."""
        return next((image for image, _ in self.pictures(payload, origin)), None)

    def _look_into(self, image: Image.Image, payload: bytes | np.ndarray, origin: str) -> None:
        colour = self.grey and not grey_by_mode(image)
        if not colour and not (self.values and depth.is_deep(image)):
            return
        if depth.is_deep(image) or depth.is_halved(image) or may_draft(image):
            # opened anew, because a loaded picture has forgotten how its file is written, and at which scale
            frame, image = image.tell(), open_picture(payload, origin)
            if frame:
                image.seek(frame)
        if not depth.is_deep(image):
            self.grey = is_grey(decode(image, Counter(), side=_GREY_SIDE))
            return
        values = depth.values_of(image)
        if self.values:
            self.extents["floats" if values.dtype.kind == "f" else "whole"].add(values)
        if values.ndim == 3:
            self.grey = self.grey and bool((values[..., :1] == values[..., 1:3]).all())

    @property
    def deep(self) -> bool:
        """Whether a picture has more than 8 bits."""
        return any(mode in ("I", "F") or ";16" in mode for mode in self.modes)

    def choose_size(self) -> tuple[Size, tuple[Finding, ...]]:
        """Return the default size, (width, height), and a finding that says why (none if it is the native size).

        Raises:
            DataError: if there are no images.
        """
        if not self.sizes:
            raise DataError("there are no images that can be used; give a folder or a file that holds some")
        if len(self.sizes) == 1:
            ((width, height),) = self.sizes
            if width == height:
                return (width, height), ()
        short = int(np.median(np.repeat([min(s) for s in self.sizes], list(self.sizes.values()))))
        side = min(DEFAULT_CAP, 1 << (short.bit_length() - 1))
        kinds = f"{len(self.sizes)} different sizes" if len(self.sizes) > 1 else f"{width}x{height} pixels each"
        why = (
            f"images have {kinds}, the median short side is {short}; the largest power of two up to {DEFAULT_CAP} is "
            "taken"
        )
        return (side, side), (Finding("size", f"size {side} was chosen", why, f"--size {self._option()}", False),)

    def _option(self) -> str:
        """Return the size to propose: where all images have one aspect that is not square, one of that aspect."""
        aspects = {width / height for width, height in self.sizes}
        if len(aspects) > 1 or aspects == {1.0}:
            return "N, or WIDTHxHEIGHT"
        own = min(self.sizes)
        return shown_size(oblong(own, min(DEFAULT_CAP, *own)))

    def shape_findings(self, size: Size, fit: str, ground: str) -> list[Finding]:
        """Say what will be done to the shape of how many pictures."""
        square, shown = size[0] == size[1], shown_size(size)
        other = sum(n for (w, h), n in self.sizes.items() if w * size[1] != h * size[0])
        pick = min if fit == "crop" else max
        scales = [(pick(w / size[0], h / size[1]), n) for (w, h), n in self.sizes.items()]
        down, up = sum(n for s, n in scales if s > 1), sum(n for s, n in scales if s < 1)
        found = []
        aspect = "not square" if square else f"of another aspect than {shown}"
        if other and fit == "crop":
            centre = "centre square" if square else "centre"
            says = f"{other} of {self.total} images are {aspect}: their {centre} was cropped"
            pad = "--fit pad" + (f", or --size {self._option()}" if square and other == self.total else "")
            found.append(Finding("size", says, "", pad, False))
        elif other:
            says = f"{other} of {self.total} images are {aspect}: they were padded with {ground}"
            found.append(Finding("size", says, "", "--background COLOUR, or --fit crop"))
        if down:
            says = f"{down} of {self.total} images were scaled down to {shown} (Lanczos)"
            found.append(Finding("size", says, "", "--size WIDTHxHEIGHT"))
        if up:
            says = f"{up} of {self.total} images are smaller than {shown} and were enlarged (Lanczos)"
            found.append(Finding("size", says, "", "--size WIDTHxHEIGHT"))
        return found


def oblong(own: Size, side: int) -> Size:
    """Return the size near the aspect of ``own``, its short side up to ``side``, that convolutional families can make.

    They double a start of 4 to 7 pixels on its short side.

    >>> oblong((640, 480), 64), oblong((48, 64), 32), oblong((1000, 10), 16)
    ((64, 48), (24, 32), (64, 16))
    """
    aspect, found = min(4.0, max(own) / min(own)), list[tuple[float, int, int]]()
    for start in (4, 5, 6, 7):
        times = 1
        while start * times * 2 <= side:
            times *= 2
        short, long = start * times, max(start, round(start * aspect)) * times
        off = abs(long / short / aspect - 1)
        found.append((off if off > _NEARLY else 0.0, -short, long))
    _, short, long = min(found)
    return (long, -short) if own[0] > own[1] else (-short, long)
