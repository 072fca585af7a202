"""Files that hold several pictures: TIFF stacks, OME-TIFF, animated GIF, WebP, PNG and AVIF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saddlepoint.data import limits
from saddlepoint.data.images.depth import payload_of
from saddlepoint.data.images.headers import check_directories, gif_frames
from saddlepoint.data.images.opening import check_pixels
from saddlepoint.data.plan import Finding

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")
"""Kinds of files whose pages are pictures of their own; the second picture of a camera's MPO is a preview."""

_COUNTED = {"GIF": gif_frames, "TIFF": check_directories}
"""Pillow goes through files of these kinds slowly."""
_SUBFILE, _REDUCED, _DESCRIPTION = 254, 1, 270


@dataclass
class Paged:
    """What files of several pages a set holds.

    Attributes:
        files: files of more than one page.
        pages: pages in all of them.
        used: pages of them that are taken.
        channels: files that call themselves OME-TIFF: their pages are channels, planes or times.
        smaller: pages left out because they are reduced copies of others.
    """

    files: int = 0
    pages: int = 0
    used: int = 0
    channels: int = 0
    smaller: int = 0

    def findings(self, asked: str | None) -> tuple[Finding, ...]:
        """Say what was done with the pages.

        Args:
            asked: ``first``, ``all``, or None: nothing was asked for.
        """
        if not self.files:
            return ()
        ome = f"; {self.channels:,} are OME-TIFF: pages are their channels, planes or times" if self.channels else ""
        less = f", {self.smaller:,} reduced copies left out" if self.smaller else ""
        if asked == "all":
            says = (
                f"each of the {self.used:,} pages of {self.files:,} files is an image{less}{ome}; pages of a file have "
                "its label and stay in one split"
            )
            return (Finding("pages", says, "", "--pages first"),)
        aside = f"{self.pages - self.used:,} pages are left aside"
        says = f"of {self.files:,} files with several pages the first page is taken, {aside}{ome}"
        return (Finding("pages", says, "", "--pages all", asked == "first"),)


def count(image: Image.Image) -> int:
    """Return how many pictures an opened file holds that are pictures of their own; for some kinds it is read through.

    Damaged files count as one: what is wrong shows when they are decoded.
    """
    if getattr(image, "format", None) not in KINDS or not getattr(image, "is_animated", False):
        return 1
    try:
        counted, payload = _COUNTED.get(image.format or ""), payload_of(image)
        number = counted(payload) if counted and payload else int(getattr(image, "n_frames", 1))
        return max(1, min(number, limits.MOST_PAGES))
    except Exception:  # a damaged directory of pages raises anything
        return 1


def each(image: Image.Image, pages: int, paged: Paged, every: bool) -> Iterator[Image.Image]:
    """Go through the pages of an opened file: the same object, which is to be decoded before the next is asked for.

    Args:
        image: opened, not loaded.
        pages: result of `count`.
        paged: is told.
        every: all pages, else the first.

    Raises:
        Exception: whatever a damaged page raises.
    """
    if pages == 1:
        yield image
        return
    paged.files += 1
    paged.pages += pages
    paged.channels += "<OME" in str(getattr(image, "tag_v2", {}).get(_DESCRIPTION, ""))
    for number in range(pages if every else 1):
        image.seek(number)
        check_pixels(image, f"page {number}", len(payload_of(image)))
        if number and int(getattr(image, "tag_v2", {}).get(_SUBFILE, 0) or 0) & _REDUCED:
            paged.smaller += 1
            continue
        paged.used += 1
        yield image
